#include "lib/kernels/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"

namespace mlt {

double source_position(Coordinates rule, int64_t i, int64_t in, int64_t out, double scale) noexcept {
  const auto x = static_cast<double>(i);
  switch (rule) {
    case Coordinates::kHalfPixel: return (x + 0.5) / scale - 0.5;
    case Coordinates::kPytorchHalfPixel: return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case Coordinates::kAlignCorners: return out > 1 ? x * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
    case Coordinates::kAsymmetric: return x / scale;
    case Coordinates::kTfHalfPixel: return (x + 0.5) / scale;
  }
  return 0;
}

void linear_taps(Coordinates rule, int64_t in, double scale, std::span<Tap> taps) noexcept {
  const auto out = static_cast<int64_t>(taps.size());
  for (int64_t i = 0; i < out; ++i) {
    const double position = std::clamp(source_position(rule, i, in, out, scale), 0.0, static_cast<double>(in - 1));
    const double low = std::floor(position);
    Tap& t = taps[static_cast<size_t>(i)];
    t.low = static_cast<int32_t>(low);
    t.high = static_cast<int32_t>(std::min<int64_t>(in - 1, t.low + int64_t{1}));
    t.weight = static_cast<float>(position - low);
  }
}

void nearest_taps(Coordinates rule, NearestRound round, int64_t in, double scale, std::span<Tap> taps) noexcept {
  const auto out = static_cast<int64_t>(taps.size());
  for (int64_t i = 0; i < out; ++i) {
    const double p = source_position(rule, i, in, out, scale);
    double r = 0;
    switch (round) {
      case NearestRound::kFloor: r = std::floor(p); break;
      case NearestRound::kCeil: r = std::ceil(p); break;
      case NearestRound::kRoundHalfDown: r = std::ceil(p - 0.5); break;
      case NearestRound::kRoundHalfUp: r = std::floor(p + 0.5); break;
      case NearestRound::kRoundHalfEven: r = std::nearbyint(p); break;
    }
    const auto at = static_cast<int32_t>(std::clamp(r, 0.0, static_cast<double>(in - 1)));
    taps[static_cast<size_t>(i)] = {at, at, 0};
  }
}

void resize_nearest(const float* in, float* out, int64_t planes, int64_t in_h, int64_t in_w, std::span<const Tap> y,
                    std::span<const Tap> x) noexcept {
  const auto oh = static_cast<int64_t>(y.size()), ow = static_cast<int64_t>(x.size());
  if (ow == 0) return;
  parallel_for(planes * oh, grain_for(ow), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = y[static_cast<size_t>(i % oh)].low;
      float* o = out + i * ow;
      // Enlarging repeats rows.
      if (i > begin && i % oh > 0 && y[static_cast<size_t>(i % oh - 1)].low == row) {
        std::memcpy(o, o - ow, static_cast<size_t>(ow) * sizeof(float));
        continue;
      }
      const float* source = in + (i / oh * in_h + row) * in_w;
      for (int64_t c = 0; c < ow; ++c) o[c] = source[x[static_cast<size_t>(c)].low];
    }
  });
}

void resize_linear(const float* in, float* out, int64_t planes, int64_t in_h, int64_t in_w, std::span<const Tap> y,
                   std::span<const Tap> x) noexcept {
  constexpr int64_t kLine = 4096;
  const auto oh = static_cast<int64_t>(y.size()), ow = static_cast<int64_t>(x.size());
  const ElementwiseTarget& ew = elementwise_target();
  parallel_for(planes * oh, grain_for(ow * 4), [&](int64_t begin, int64_t end) {
    alignas(64) float line[kLine], scaled[kLine];
    for (int64_t i = begin; i < end; ++i) {
      const Tap& t = y[static_cast<size_t>(i % oh)];
      const float* low = in + (i / oh * in_h + t.low) * in_w;
      const float* high = in + (i / oh * in_h + t.high) * in_w;
      float* o = out + i * ow;
      if (in_w <= kLine) {
        // Rows are blended first: contiguous.
        const float* source = low;
        if (t.weight != 0) {
          ew.linear(low, line, in_w, 1 - t.weight, 0);
          ew.linear(high, scaled, in_w, t.weight, 0);
          ew.binary(Binary::kAdd, line, 1, scaled, 1, line, in_w);
          source = line;
        }
        for (int64_t c = 0; c < ow; ++c) {
          const Tap& u = x[static_cast<size_t>(c)];
          o[c] = source[u.low] * (1 - u.weight) + source[u.high] * u.weight;
        }
        continue;
      }
      for (int64_t c = 0; c < ow; ++c) {
        const Tap& u = x[static_cast<size_t>(c)];
        const float a = low[u.low] * (1 - t.weight) + high[u.low] * t.weight;
        const float b = low[u.high] * (1 - t.weight) + high[u.high] * t.weight;
        o[c] = a * (1 - u.weight) + b * u.weight;
      }
    }
  });
}

}  // namespace mlt
