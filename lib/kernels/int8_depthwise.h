// Internal: Int8Conv's convolutions of every channel by itself, one block of channels after the other, with the codes of
// four rows next to one another.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "lib/base/result.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/int8_target.h"

namespace mlt {

class Int8Depthwise {
 public:
  // w: [channels, kh, kw]; start, scale and bias are those of each channel; all are copied. `residual`: a tensor will be
  // added. kResource when memory runs out.
  Status prepare(const ConvGeometry& geometry, int64_t channels, const Int8Target& target, const Int8Finish& finish, bool residual, const int8_t* w, const int32_t* start,
                 const float* scale, const float* bias);
  size_t scratch_bytes() const { return slot_bytes_ * static_cast<size_t>(slots_); }
  size_t weight_bytes() const { return weights_.bytes(); }
  // outside: what windows read beyond the image, for every channel; pitch: elements from a pixel of `out` and `residual` to
  // the next.
  void run(int64_t batch, const uint8_t* in, const uint8_t* outside, const Int8Finish& finish, const uint8_t* table, const uint8_t* residual, void* out,
           int64_t pitch, uint8_t* scratch) const noexcept;

 private:
  int64_t width() const { return 4 * target_->lanes; }  // channels of a block
  int64_t channels_of(int64_t block) const { return std::min(width(), channels_ - block * width()); }
  int64_t places_of(int64_t block) const;
  int64_t kernel_vectors() const { return groups_ * g_.kernel[2] * 4; }
  int64_t columns_of(int64_t pixels) const { return (pixels - 1) * g_.stride[2] + (g_.kernel[2] - 1) * g_.dilation[2] + 1; }
  void gather(const uint8_t* const lines[4], const int64_t* columns, int places, int64_t count, const uint8_t* outside, uint8_t* to) const noexcept;

  ConvGeometry g_;
  const Int8Target* target_ = nullptr;
  int64_t channels_ = 0, blocks_ = 1;
  int64_t lines_ = 1;    // of the result, made from the same rows
  int64_t groups_ = 1;   // these rows by four
  int64_t segment_ = 1;  // pixels at a time
  bool places_ = false;  // a block of few channels holds those of several pixels
  int64_t slots_ = 1;
  size_t slot_bytes_ = 0;
  AlignedBuffer weights_, start_, scale_, bias_;
};

}  // namespace mlt
