// Resampling of the last two axes of [planes, height, width], nearest and linear, driven by per-axis tables so that
// every framework's coordinate rule is one function.
#pragma once
#include <cstdint>
#include <span>

namespace mlt {

// How an output position maps to an input position.
enum class Coordinates : uint8_t {
  kHalfPixel,         // (i + 0.5) * in / out - 0.5
  kPytorchHalfPixel,  // as kHalfPixel, but 0 when out is 1
  kAlignCorners,      // i * (in - 1) / (out - 1); 0 when out is 1
  kAsymmetric,        // i * in / out
  kTfHalfPixel,       // (i + 0.5) * in / out, for nearest alone
};
enum class NearestRound : uint8_t { kFloor, kCeil, kRoundHalfDown, kRoundHalfUp, kRoundHalfEven };

// The input position of output index i. `scale` is out / in as the caller knows it (a model may state a scale that
// differs from the ratio of the sizes).
double source_position(Coordinates rule, int64_t i, int64_t in, int64_t out, double scale) noexcept;

// One tap pair per output index: value = in[low] * (1 - weight) + in[high] * weight.
struct Tap {
  int32_t low = 0, high = 0;
  float weight = 0;
};
// Tables for one axis, written to taps[0, out). Positions outside the input are clamped to it.
void linear_taps(Coordinates rule, int64_t in, double scale, std::span<Tap> taps) noexcept;
void nearest_taps(Coordinates rule, NearestRound round, int64_t in, double scale, std::span<Tap> taps) noexcept;

// out[planes, y.size(), x.size()]; tables from above or the caller's own, indices within the input.
void resize_nearest(const float* in, float* out, int64_t planes, int64_t in_h, int64_t in_w, std::span<const Tap> y,
                    std::span<const Tap> x) noexcept;
void resize_linear(const float* in, float* out, int64_t planes, int64_t in_h, int64_t in_w, std::span<const Tap> y,
                   std::span<const Tap> x) noexcept;

}  // namespace mlt
