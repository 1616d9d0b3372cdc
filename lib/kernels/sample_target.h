// Internal: what each instruction set provides for reading images at given places.
#pragma once
#include <cstdint>

namespace mlt {

struct SampleTaps {
  static constexpr int64_t kPoints = 256;
  alignas(64) int32_t at[4][kPoints];
  alignas(64) float weight[4][kPoints];  // 0: not read
  alignas(64) float rest[kPoints];       // of what lies outside
};

struct SampleTarget {
  // out[i] = plane[at[0][i]] * weight[0][i] + ... of 4 + rest[i]; n <= kPoints.
  void (*blend)(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept;
  // out[i] = weight[0][i] != 0 ? plane[at[0][i]] : rest[i].
  void (*pick)(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept;
};
const SampleTarget* sample_simd();
// One point by itself, as the ends of vectors are made.
float blend_point(const float* plane, const SampleTaps& taps, int64_t i) noexcept;

}  // namespace mlt
