#include "lib/compress/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/float16.h"

namespace mlt::compress {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;

// The elements of slice s along an axis: runs of `inner` elements, `outer` of them, `slices * inner` apart.
struct Slices {
  int64_t outer = 1, slices = 1, inner = 1;
  Slices(const Dims& dims, int axis) {
    if (axis < 0) {
      for (int64_t d : dims) inner *= d;
      return;
    }
    auto at = static_cast<size_t>(axis);
    for (size_t i = 0; i < dims.size(); ++i) (i < at ? outer : i == at ? slices : inner) *= dims[i];
  }
  template <typename F>
  void each(int64_t slice, F f) const {
    for (int64_t o = 0; o < outer; ++o) {
      int64_t begin = (o * slices + slice) * inner;
      for (int64_t i = begin; i < begin + inner; ++i) f(static_cast<size_t>(i));
    }
  }
  size_t of(size_t i) const { return static_cast<size_t>(static_cast<int64_t>(i) / inner % slices); }
  template <typename F>
  void on_all_threads(F f) const {
    parallel_for(slices, 1 + 16384 / std::max<int64_t>(1, outer * inner), [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) f(s);
    });
  }
};

}  // namespace

LinearCodes quantize_linear(std::span<const float> values, const Dims& dims, const LinearOptions& options) {
  Slices slices(dims, options.axis);
  auto count = static_cast<size_t>(slices.slices);
  float qmin = options.is_signed ? (options.symmetric ? -127.0f : -128.0f) : 0.0f;
  float qmax = options.is_signed ? 127.0f : (options.symmetric ? 254.0f : 255.0f);
  auto rounded = [half = options.half](float v) { return half ? round_to_half(v) : v; };

  LinearCodes out;
  out.codes.resize(values.size());
  out.scale.resize(count);
  out.zero_point.resize(count);
  out.has_zero_point = !(options.is_signed && options.symmetric);
  std::vector<float> zero_points(count);
  slices.on_all_threads([&](int64_t s) {
    auto at = static_cast<size_t>(s);
    float low = 0, high = 0;  // symmetric or not, zero is in the range
    slices.each(s, [&](size_t i) {
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    });
    if (options.symmetric) {
      high = std::max(-low, high);
      low = -high;
    }
    float range = rounded(high - low);
    // A range beyond the type's is only narrowed by the division that follows.
    if (!std::isfinite(range)) range = high - low;
    float scale = std::isfinite(range) ? rounded(range / (qmax - qmin)) : rounded(static_cast<float>((static_cast<double>(high) - low) / (qmax - qmin)));
    float zero_point = 0;
    if (options.symmetric) {
      zero_point = options.is_signed ? 0.0f : 127.0f;
    } else if (range > 0 && std::isfinite(range)) {
      float numerator = rounded(rounded(qmin * high) - rounded(qmax * low));
      if (!std::isfinite(numerator)) numerator = qmin * high - qmax * low;
      zero_point = std::nearbyint(rounded(numerator / range));
    } else {
      zero_point = static_cast<float>(std::nearbyint((static_cast<double>(qmin) * high - static_cast<double>(qmax) * low) / (static_cast<double>(high) - low)));
    }
    if (high == low) {
      // All zero: any scale will do, but 0 is one that a runtime may divide by.
      scale = 1;
      zero_point = options.symmetric ? zero_point : std::clamp(0.0f, qmin, qmax);
    } else if (scale == 0) {
      // So small that the scale vanishes in the weight's type: its smallest number instead.
      scale = options.half ? kSmallestHalf : 0x1p-149f;
      if (!options.symmetric) zero_point = std::nearbyint(qmin - low / scale);
    }
    zero_point = std::clamp(zero_point, qmin, qmax);
    // Near the largest number a scale that was rounded up would make infinities.
    float reach = std::max(qmax - zero_point, zero_point - qmin);
    while (options.half && std::isinf(round_to_half(scale * reach))) scale = half_to_float(static_cast<uint16_t>(float_to_half(scale) - 1));
    slices.each(s, [&](size_t i) {
      float code = std::nearbyint(rounded(values[i] / scale)) + zero_point;
      out.codes[i] = static_cast<uint8_t>(static_cast<int>(std::clamp(code, qmin, qmax)));
    });
    out.scale[at] = scale;
    zero_points[at] = zero_point;
    out.zero_point[at] = static_cast<uint8_t>(static_cast<int>(zero_point));
  });
  out.distance = measure(values, [&](size_t i) {
    size_t s = slices.of(i);
    float code = options.is_signed ? static_cast<float>(static_cast<int8_t>(out.codes[i])) : static_cast<float>(out.codes[i]);
    return rounded(out.scale[s] * (code - zero_points[s]));
  });
  return out;
}

AffineCodes quantize_affine(std::span<const float> values, const Dims& dims, int axis, bool symmetric) {
  Slices slices(dims, axis);
  auto count = static_cast<size_t>(slices.slices);
  AffineCodes out;
  out.codes.resize(values.size());
  out.scale.resize(count);
  out.bias.resize(count);
  slices.on_all_threads([&](int64_t s) {
    auto at = static_cast<size_t>(s);
    float low = std::numeric_limits<float>::infinity(), high = -low;
    slices.each(s, [&](size_t i) {
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    });
    // Halved where the difference itself would overflow.
    float range = high / 2 - low / 2;
    float scale = symmetric ? std::max(std::abs(low), std::abs(high)) / 127.0f : std::isfinite(high - low) ? (high - low) / 255.0f : range / 127.5f;
    // All equal: any scale will do that is not 0. So small that it vanishes: the smallest number.
    if (scale == 0) scale = low == high && (low == 0 || !symmetric) ? 1.0f : 0x1p-149f;
    float bias = symmetric ? -128 * scale : low, inverse = 1 / scale;
    bool divide = symmetric || !std::isfinite(inverse);
    slices.each(s, [&](size_t i) {
      float steps = divide ? (values[i] - bias) / scale : (values[i] - bias) * inverse;
      out.codes[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(steps), 0.0f, 255.0f));
    });
    out.scale[at] = scale;
    out.bias[at] = bias;
  });
  out.distance = measure(values, [&](size_t i) {
    size_t s = slices.of(i);
    return static_cast<float>(out.codes[i]) * out.scale[s] + out.bias[s];
  });
  return out;
}

}  // namespace mlt::compress
