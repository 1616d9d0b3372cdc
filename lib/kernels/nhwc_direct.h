// Internal: convolutions of few channels, or of groups of few, with channels innermost. Outputs are summed in registers, as
// many of a row as there is room for, over a padded copy of the input channels that they share.
#pragma once
#include <optional>
#include <vector>

#include "lib/kernels/aligned.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/nhwc_direct_target.h"
#include "lib/kernels/pool.h"

namespace mlt {

// What a convolution works on, as ConvNhwcPlan::run has it.
struct Images {
  const float* in;
  int64_t in_pitch;
  float* out;
  int64_t pitch;
  const float* residual;
  int64_t residual_pitch;
};

class NhwcDirect {
 public:
  // Whether vectors of output channels are at least half full; more than one group, but not one for each channel.
  static bool takes_groups(const ConvShape& shape) noexcept;
  // Whether it is the fastest way for a shape of one group: weights that stay in the first-level cache, and rows long enough.
  static bool pays(const ConvShape& shape, const ConvGeometry& g) noexcept;

  // Whether it is, and the rows under one window of `pool` stay in a cache meanwhile.
  static bool pays_pooled(const ConvShape& shape, const ConvGeometry& g, const PoolShape& pool) noexcept;

  // For a shape that has one group, or that takes_groups; `g` is its geometry. `planar`: the input is [N, C, H, W]. `pool`:
  // null, or what the maxima are taken over, if it pays_pooled: these are what is written, and a residual is not added.
  NhwcDirect(const ConvShape& shape, const ConvGeometry& g, bool planar, const PoolShape* pool, int64_t threads);
  const char* name() const;
  // Floats of the packed weights and of scratch.
  size_t weight_floats() const;
  size_t scratch_floats() const;
  // What the packed form depends on, besides the shape.
  int64_t form() const;
  // weights: [out_channels, in_channels / groups, kh, kw].
  void pack(const float* weights, float* packed) const noexcept;
  // bias: [out_channels].
  void run(const float* packed, const float* bias, const Activation& f, const Images& at, float* scratch) const noexcept;

 private:
  struct Taken {
    int64_t y, x, c;  // of the kernel, and channel of the group
  };
  Taken taken(int64_t segment, int64_t k) const;
  int64_t unit_vectors(int64_t unit) const;  // of output channels (kPairs, kQuads: of sums)
  int64_t vector_weights() const { return target_->lanes * segments_ * length_ * (across_ != 0 ? 3 : 1); }
  // Output channels of vector v of a unit: the first one, and how many.
  int64_t first_channel(int64_t unit, int64_t v) const;
  int64_t channel_count(int64_t unit, int64_t v) const;
  void copy_rows(int64_t image, int64_t unit, int64_t first, int64_t lines, const float* in, int64_t pitch, float* copy) const noexcept;
  bool is_ring() const { return lines_ < copy_lines(band_); }
  // What the rows of one unit have in common.
  struct Unit {
    int64_t index, vectors;
    const float *weights, *bias;
    DirectRow r;
    alignas(64) float biases[2 * 16];
  };
  void begin(Unit& unit, int64_t index, const float* packed, const float* bias, const Activation& f, int64_t pitch, int64_t residual_pitch) const noexcept;
  // Vectors [v, v + width_) of `count` pixels, whose inputs are `step` floats apart, to out and from residual.
  void tile(Unit& unit, const float* from, int64_t step, int64_t count, int64_t v, float* out, const float* residual) const noexcept;
  void run_pooled(const float* packed, const float* bias, const Activation& f, const Images& at, float* scratch) const noexcept;
  int64_t copy_lines(int64_t outputs) const { return (outputs - 1) * g_.stride[1] + (g_.kernel[1] - 1) * g_.dilation[1] + 1; }
  size_t copy_floats() const;

  ConvShape shape_;
  ConvGeometry g_;
  const DirectTarget* target_;
  bool planar_;
  bool flat_ = false;  // 1x1, which needs no copy
  DirectInput input_ = DirectInput::kShared;
  int64_t group_in_, group_out_;  // channels of a group
  // The channels of a unit are copied together: one group's (kShared), or those of two vectors of outputs, which lie in slots.
  int64_t units_ = 1, slot_groups_ = 1, slot_ = 0, pixel_ = 0;
  int64_t block_ = 1, band_ = 1;  // outputs at a time, rows of outputs at a time
  int64_t row_ = 0, row_pixels_ = 0, plane_ = 0;  // of the copy, in floats and pixels; plane_: from one channel to the next if planar
  int64_t segments_ = 1, length_ = 1, step_ = 1;
  std::optional<PoolShape> pool_;
  int64_t pool_band_ = 1, ring_ = 1;  // pooled rows at a time, and the rows under their windows
  int64_t threads_;
  int64_t across_ = 0;               // DirectRow's
  int64_t width_ = 2;                // vectors at a time
  int64_t slot_vectors_ = 1;         // of sums over a slot
  int64_t lines_ = 1;                // of the copy; fewer than a band's where rows are copied as they are needed
  std::vector<int64_t> offsets_;     // [lines_, or 1][segments_]: of windows that begin at each line of a ring
  std::vector<int32_t> indices_;
};

}  // namespace mlt
