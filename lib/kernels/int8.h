// Arithmetic on tensors of eight bits: products of unsigned codes with signed weights, summed exactly in int32, and what
// stands between them, so that activations stay one byte each. Images are [N, H, W, C], channels innermost.
//
// Codes are uint8: the value of one is scale * (code - zero). Tensors declared int8 are kept with 128 added to code and
// zero. Kernels may read (never use) up to kSlack bytes behind a tensor. Nothing allocates while running; results do not
// depend on the thread count.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "lib/base/result.h"
#include "lib/kernels/conv.h"
#include "lib/kernels/pool.h"

namespace mlt {

struct Codes {
  float scale = 1;
  int32_t zero = 0;  // 0 to 255
  bool operator==(const Codes&) const = default;
};

// Any function of a code, by code.
using CodeTable = std::array<uint8_t, 256>;

// What happens to a sum before it is stored.
struct Int8Epilogue {
  std::optional<Codes> between{};   // it is rounded to these codes, and
  std::optional<Codes> residual{};  // a tensor of these codes is added
  Activation f{};
  std::optional<Codes> out{};  // codes of the result; none: float32
  std::optional<CodeTable> table{};  // of these codes, which are then the result; only with `out`
};

// A convolution of up to three axes, or a matrix product: a convolution whose image is [rows, 1].
class Int8Conv {
 public:
  // Sums of this many products fit int32.
  static constexpr int64_t kMaxDepth = 65000;
  static bool takes(const ConvShape& shape) noexcept;
  // weights: [out_channels, in_channels / groups, kernel], with a scale for each output channel; bias: [out_channels] or null;
  // all are copied. Windows read `in.zero` where they reach outside. kUsage when the shape is not valid or not taken,
  // kResource when memory runs out.
  //
  // The sums are exact; scaling them and the epilogue are float32. A result in codes is that of the same operations in
  // exact arithmetic but for ties and near-ties: at most one code away, two where `between` rounds as well.
  static Result<Int8Conv> create(const ConvShape& shape, const Codes& in, const int8_t* weights, const float* weight_scale, const float* bias,
                                 const Int8Epilogue& epilogue);
  Int8Conv(Int8Conv&&) noexcept;
  Int8Conv& operator=(Int8Conv&&) noexcept;
  ~Int8Conv();

  size_t scratch_bytes() const;
  size_t weight_bytes() const;
  const char* kernel() const;
  // `out` is uint8 or float as the epilogue has it, dense; residual: codes of the same shape, or null.
  void run(const uint8_t* in, void* out, const uint8_t* residual, void* scratch) const noexcept;
  // Without a residual, to pixels that lie `pitch` elements apart.
  void run_apart(const uint8_t* in, void* out, int64_t pitch, void* scratch) const noexcept;

  struct Impl;

 private:
  explicit Int8Conv(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// code = clip(round(x / scale) + zero), halves to even; `nan` where x is no number. Divides, as MIL's quantize does.
void quantize_codes(const float* in, uint8_t* out, int64_t count, const Codes& q, uint8_t nan) noexcept;
// The same of three planes of `count` numbers each, to pixels of three channels.
void quantize_pixels(const float* in, uint8_t* out, int64_t count, const Codes& q, uint8_t nan) noexcept;
void dequantize_codes(const uint8_t* in, float* out, int64_t count, const Codes& q) noexcept;
// out = f(a + b).
void add_codes(const uint8_t* a, const Codes& qa, const uint8_t* b, const Codes& qb, const Activation& f, uint8_t* out, const Codes& qo,
               int64_t count) noexcept;
// Other codes for the same numbers, as quantize makes them.
CodeTable recoding(const Codes& from, const Codes& to);
// out[i] = table[in[i]]. In place is allowed.
void map_codes(const uint8_t* in, uint8_t* out, int64_t count, const CodeTable& table) noexcept;
// The same for `rows` rows of `columns` codes, which begin `in_pitch` and `out_pitch` codes apart; a null table: a copy.
void map_code_rows(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const CodeTable* table) noexcept;
// Codes of x * factor[channel] + shift[channel] of pixels of `channels` codes; factor or shift may be null. Scratch:
// scale_codes_scratch() bytes.
void scale_codes(const uint8_t* in, const Codes& q, const float* factor, const float* shift, uint8_t* out, const Codes& to, int64_t pixels, int64_t channels,
                 void* scratch) noexcept;
size_t scale_codes_scratch(int64_t channels) noexcept;
// Codes of instance_norm over `inner` values of each of batch * channels planes; gamma or beta may be null. `nan` as quantize_codes().
void norm_codes(const uint8_t* in, const Codes& q, uint8_t* out, const Codes& to, uint8_t nan, int64_t batch, int64_t channels, int64_t inner, const float* gamma,
                const float* beta, float epsilon) noexcept;
// Pixel (y, x) of each image of the result is the pixel (ys[y], xs[x]).
void pick_code_pixels(const uint8_t* in, uint8_t* out, int64_t batch, int64_t h, int64_t w, int64_t channels, std::span<const int32_t> ys, std::span<const int32_t> xs) noexcept;
// The mean of every channel of each of `batch` images of `pixels`, in floats.
void mean_of_codes(const uint8_t* in, const Codes& q, float* out, int64_t batch, int64_t pixels, int64_t channels) noexcept;
// As pool_nhwc; kMax gives codes of `qi` and ignores qo, and every window holds an element.
void pool_codes_nhwc(Pool op, const PoolShape& shape, const uint8_t* in, const Codes& qi, uint8_t* out, const Codes& qo) noexcept;

}  // namespace mlt
