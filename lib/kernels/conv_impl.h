// Internal: what a ConvPlan holds. conv.cc makes it, conv_run.cc runs it.
#pragma once
#include <string>
#include <vector>

#include "lib/kernels/conv_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/winograd_target.h"

namespace mlt {

// How a convolution becomes a matrix product over the im2col matrix, which is packed as it is needed. In the first two,
// vectors run along pixels and weights are the broadcast side; in the third the other way round.
enum class ConvMethod {
  kPrivate,   // each thread packs and multiplies blocks of pixels of its own
  kShared,    // threads share a block of pixels and split the output channels: few pixels
  kSwapped,   // vectors run along output channels, results are transposed: so few pixels that vectors stay empty
  kWinograd,  // 3x3 behind any depth, stride 1: products of transformed tiles
  kDirect,    // vectors of pixels straight from padded rows: few output channels, or few input channels
  kDepthwise  // no product: one input channel per group, plane by plane
};

// Above it lanes are never so empty that swapping pays.
inline constexpr int64_t kMaxSwappedPixels = 128;

struct ConvPlan::Impl {
  ConvShape shape;
  ConvGeometry g;
  Activation f;
  ConvMethod method = ConvMethod::kPrivate;
  const GemmTarget* gemm = nullptr;
  const ConvTarget* conv = nullptr;
  int64_t rows = 0, k = 0;                 // of one group's product: output channels, channels * taps
  int64_t channel_step = 0, depth = 0;     // k is cut into parts of this many channels, depth = channel_step * taps
  int64_t row_step = 0;                    // rows of a tile
  int64_t panels_per_block = 0, blocks = 0;  // kPrivate, kShared
  int64_t strip_rows = 0;           // kDirect: output rows at a time
  std::vector<int32_t> offsets;     // kDirect: where each row of the im2col matrix begins in a strip
  int64_t tile_rows_per_block = 0;  // kWinograd
  const WinogradTarget* winograd = nullptr;
  int64_t threads = 1;
  AlignedBuffer weights, bias;
  std::string kernel_name;

  void choose(int64_t pool, bool allow_winograd);
  bool choose_winograd();
  bool choose_direct();
  int64_t strip_input_rows() const;
  void pack_winograd(const float* w);
  size_t winograd_slot_floats() const;
  void pack_weights(const float* w);
  size_t weight_floats() const;
  size_t scratch_floats() const;  // all slots
  size_t slot_floats() const;

  void run_private(const float* in, float* out, const float* residual, float* scratch) const noexcept;
  void run_shared(const float* in, float* out, const float* residual, float* scratch) const noexcept;
  void run_swapped(const float* in, float* out, const float* residual, float* scratch) const noexcept;
  void run_winograd(const float* in, float* out, const float* residual, float* scratch) const noexcept;
  void run_direct(const float* in, float* out, const float* residual, float* scratch) const noexcept;
  void run_depthwise(const float* in, float* out, const float* residual, float* scratch) const noexcept;

 private:
  int64_t block_columns(const Panels& panels, int64_t b0, int64_t b1) const noexcept {
    return panels.first_column(b1 - 1) + panels.width_in_vectors(b1 - 1) * panels.lanes - panels.first_column(b0);
  }
  void multiply(const Panels& panels, int64_t group, int64_t m0, int64_t m1, int64_t b0, int64_t b1, int64_t k0,
                const float* packed, const float* residual, float* out) const noexcept;
  void pack_block(const Panels& panels, const float* in, int64_t c0, int64_t c1, int64_t part_c0, int64_t part_kc,
                  int64_t b0, int64_t b1, float* packed) const noexcept;
};

}  // namespace mlt
