// Internal: inner loops of one instruction set, for int8.h.
//
// A quad is four products of one sum: four codes next to one another times four weights. Weights are packed as panels of
// `nv` vectors of columns: for each quad, each vector's columns, four int8 each; or where `pairs`, as int16, for each
// vector the products 0 and 2 of all columns, then 1 and 3.
#pragma once
#include <cstdint>

#include "lib/kernels/int8.h"
#include "lib/kernels/int8_curve.h"

namespace mlt {

// v = scale[column] * sum + bias[column], then in this order what is set.
struct Int8Finish {
  bool between = false;
  float between_inverse = 1, between_scale = 1, between_lo = 0, between_hi = 0;
  float residual_scale = 1, residual_shift = 0;  // v += residual_scale * code + residual_shift
  Activation f{};
  bool narrow = false;  // to codes: round(clip(v * inverse, lo, hi)) + zero; an activation may be part of the bounds
  float inverse = 1, lo = 0, hi = 255;
  int32_t zero = 0;
  // No value comes near the ends of int32, so that codes may be clipped after they are rounded, to these.
  bool fits = false;
  const Int8Curve* curve = nullptr;  // f * inverse, where the target has curves; what comes out of it fits
  uint8_t code_lo = 0, code_hi = 255;
};

struct Int8Tile {
  int64_t quads = 0, segments = 1;
  const uint8_t* const* taps = nullptr;  // for each segment, a pointer for each row to its codes,
  int64_t shift = 0;                     // from which they lie so far
  int64_t step = 0;                      // from a row's codes to the next row's, where it is the same for all; only with one segment
  const int8_t* b = nullptr;
  const int8_t* ahead = nullptr;  // memory to fetch, a line for every `ahead_every` quads; null for none
  int64_t ahead_every = 1;
  int rows = 0, nv = 0;
  int64_t cols = 0;                // valid columns
  const int32_t* start = nullptr;  // what sums begin with; these three are readable for all nv * lanes columns
  const float* scale = nullptr;
  const float* bias = nullptr;
  const Int8Finish* finish = nullptr;
  const uint8_t* table = nullptr;  // narrow: a function of the codes, or none
  const uint8_t* residual = nullptr;
  uint8_t* out = nullptr;      // narrow
  float* out_float = nullptr;  // or not
  int64_t pitch = 0;           // of out and residual, elements
};

// Where a vector of codes holds a few channels of several pixels: of so many at most.
constexpr int kInt8Places = 4;

// Columns of four lines of an image, for interleave(). Each place has its share of the 4 * lanes channels of a block,
// and whole shares are read.
struct Int8Columns {
  const uint8_t* from[4][kInt8Places];  // of each line, for each place
  int64_t step[4];                      // from a column to the next, by line
  int places = 1;                       // 1, 2 or 4, of no fewer than 16 channels each
  int64_t count = 0;
  uint8_t* out = nullptr;  // [column][4 * lanes][4], in an order of its own: interleaved_place()
};

struct Int8DepthwiseRun {
  const uint8_t* quads = nullptr;  // by interleave(), for each group of four kernel rows: [group][column][4 * lanes][4]
  int64_t groups = 1, columns = 0;
  const int8_t* weights = nullptr;  // [group][kx][4 vectors], as of a panel of 4 vectors, in interleave()'s order
  int64_t kernel_w = 0, stride = 1, dilation = 1;
  const int32_t* start = nullptr;  // in this order too
  const float* scale = nullptr;
  const float* bias = nullptr;
  const Int8Finish* finish = nullptr;
  int64_t channels = 0;  // of a place
  int places = 1;        // more only where int8_is_plain()
  int64_t at[kInt8Places] = {};  // elements from out and residual to each place's first pixel,
  int64_t pitch = 0;             // and from a pixel to the next
  const uint8_t* residual = nullptr;
  uint8_t* out = nullptr;
  float* out_float = nullptr;
  int64_t count = 0;  // pixels
};

struct Int8Target {
  const char* name;
  int rows[4];  // of a tile of one, two, three and four vectors at most
  int nv, lanes;
  bool pairs;
  bool curves;  // tiles take Int8Finish::curve
  void (*tile)(const Int8Tile& t) noexcept;
  void (*interleave)(const Int8Columns& c) noexcept;
  void (*depthwise)(const Int8DepthwiseRun& r) noexcept;

  int64_t vector_bytes() const { return (pairs ? 8 : 4) * lanes; }
  // One weight into a vector of a panel: column `lane`, product e of its quad.
  void put(int8_t* vector, int64_t lane, int64_t e, int8_t w) const {
    if (!pairs) vector[lane * 4 + e] = w;
    else reinterpret_cast<int16_t*>(vector)[e % 2 * 2 * lanes + lane * 2 + e / 2] = w;
  }
};

// Windows of a line, which have all of their rows and columns inside the image.
struct Int8Windows {
  const uint8_t* in = nullptr;                   // the first window's first pixel
  int64_t rows = 1, columns = 1;                 // of a window
  int64_t row_step = 0, column_step = 0, step = 0;  // codes from a row, a column, a window to the next
  int64_t count = 0, channels = 0;
  uint8_t* out = nullptr;
  float* out_float = nullptr;  // of a mean: where codes are not wanted
  int64_t pitch = 0;  // codes from a result to the next
};

// What works on codes alone.
struct Int8CodesTarget {
  // Three planes, `plane` codes apart, to `count` pixels.
  void (*interleave3)(const uint8_t* planes, int64_t plane, int64_t count, uint8_t* out) noexcept;
  // The greatest code of each window, channel by channel.
  void (*most)(const Int8Windows& t) noexcept;
  // Codes of (sum - zeros) * scale, or these numbers.
  void (*mean)(const Int8Windows& t, int32_t zeros, float scale, const Int8Finish& f) noexcept;
  void (*quantize)(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero, uint8_t nan) noexcept;
  void (*dequantize)(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero) noexcept;
  // out[i] = table[in[i]] for rows of `columns` codes, or in[i] without a table; in place is allowed.
  void (*map)(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const uint8_t* table) noexcept;
  // Codes of in[i] * factor[i] + shift[i] for `rows` rows of `columns`, which lie one behind the other; factor and shift are
  // readable for a vector more.
  void (*scale)(const uint8_t* in, uint8_t* out, int64_t rows, int64_t columns, const float* factor, const float* shift, const Int8Finish& f) noexcept;
  // What `count` codes and their squares add up to is added to sums[0] and sums[1].
  void (*moments)(const uint8_t* in, int64_t count, int64_t* sums) noexcept;
  // The residual is b; scale and shift are a's.
  void (*add)(const uint8_t* a, float scale, float shift, const uint8_t* b, const Int8Finish& f, uint8_t* out, int64_t count) noexcept;
};

const Int8Target& int8_target() noexcept;
const Int8CodesTarget& int8_codes_target() noexcept;

// Ends of the range, counted from zero.
inline float lowest(const Codes& q) { return -static_cast<float>(q.zero); }
inline float highest(const Codes& q) { return 255.0f - static_cast<float>(q.zero); }
Int8Finish int8_finish(const Int8Epilogue& e);
uint8_t int8_code(const Int8Finish& f, float v);
// Scaling, rounding and bounds are all there is.
inline bool int8_is_plain(const Int8Finish& f) { return f.narrow && !f.between && f.inverse == 1.0f && f.f.op == Unary::kIdentity && f.fits; }
// A sum of two tensors of codes, scaled to the codes it is to have; `between` is one of them.
inline bool adds_codes(const Int8Finish& f) { return f.narrow && f.between && f.between_inverse == 1.0f && f.inverse == 1.0f && f.f.op == Unary::kIdentity; }

// Where interleave() puts channel c of a block, counted in quads: vector j has channels 4 j to 4 j + 3 of each sixteen.
inline int64_t interleaved_place(int64_t c, int64_t lanes) { return (c % 16) / 4 * lanes + c / 16 * 4 + c % 4; }

}  // namespace mlt
