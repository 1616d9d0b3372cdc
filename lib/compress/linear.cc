#include "lib/compress/linear.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/float16.h"

namespace mlt::compress {
namespace {

constexpr float kSmallestHalf = 0x1p-24f;

template <typename F>
void on_all_threads(const Grid& grid, F f) {
  parallel_for(grid.count(), 1 + 16384 / std::max<int64_t>(1, grid.block_size()), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) f(s);
  });
}

}  // namespace

LinearCodes quantize_linear(std::span<const float> values, const Grid& grid, const LinearOptions& options) {
  auto count = static_cast<size_t>(grid.count());
  auto range_of_codes = static_cast<float>(1 << options.bits);
  float qmin = options.is_signed ? (options.symmetric ? 1 : 0) - range_of_codes / 2 : 0.0f;
  float qmax = options.is_signed ? range_of_codes / 2 - 1 : range_of_codes - (options.symmetric ? 2 : 1);
  auto rounded = [half = options.half](float v) { return half ? round_to_half(v) : v; };

  LinearCodes out;
  out.codes.resize(values.size());
  out.scale.resize(count);
  out.zero_point.resize(count);
  out.has_zero_point = !(options.is_signed && options.symmetric);
  out.is_signed = options.is_signed;
  out.half = options.half;
  on_all_threads(grid, [&](int64_t s) {
    auto at = static_cast<size_t>(s);
    float low = 0, high = 0;  // symmetric or not, zero is in the range
    grid.runs(s, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        low = std::min(low, values[i]);
        high = std::max(high, values[i]);
      }
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
      zero_point = options.is_signed ? 0.0f : std::floor(qmax / 2);
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
    grid.runs(s, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        float code = std::nearbyint(rounded(values[i] / scale)) + zero_point;
        out.codes[i] = static_cast<uint8_t>(static_cast<int>(std::clamp(code, qmin, qmax)));
      }
    });
    out.scale[at] = scale;
    out.zero_point[at] = static_cast<uint8_t>(static_cast<int>(zero_point));
  });
  return out;
}

void LinearCodes::decode(const Grid& grid, size_t begin, size_t end, float* out) const {
  grid.stretches(begin, end, [&](int64_t block, size_t first, size_t last) {
    auto at = static_cast<size_t>(block);
    float zero = is_signed ? static_cast<float>(static_cast<int8_t>(zero_point[at])) : static_cast<float>(zero_point[at]);
    for (size_t i = first; i < last; ++i) {
      float code = is_signed ? static_cast<float>(static_cast<int8_t>(codes[i])) : static_cast<float>(codes[i]);
      float value = scale[at] * (code - zero);
      out[i - begin] = half ? round_to_half(value) : value;
    }
  });
}

AffineCodes quantize_affine(std::span<const float> values, const Grid& grid, int bits, bool symmetric) {
  auto count = static_cast<size_t>(grid.count());
  float steps = static_cast<float>((1 << bits) - 1), half = static_cast<float>(1 << bits) / 2;
  AffineCodes out;
  out.codes.resize(values.size());
  out.scale.resize(count);
  out.bias.resize(count);
  on_all_threads(grid, [&](int64_t s) {
    auto at = static_cast<size_t>(s);
    float low = std::numeric_limits<float>::infinity(), high = -low;
    grid.runs(s, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        low = std::min(low, values[i]);
        high = std::max(high, values[i]);
      }
    });
    // Halved where the difference itself would overflow.
    float range = high / 2 - low / 2;
    float scale = symmetric ? std::max(std::abs(low), std::abs(high)) / (half - 1) : std::isfinite(high - low) ? (high - low) / steps : range / (steps / 2);
    // All equal: any scale will do that is not 0. So small that it vanishes: the smallest number.
    if (scale == 0) scale = low == high && (low == 0 || !symmetric) ? 1.0f : 0x1p-149f;
    float bias = symmetric ? -half * scale : low, inverse = 1 / scale;
    bool divide = symmetric || !std::isfinite(inverse);
    grid.runs(s, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        float code = divide ? (values[i] - bias) / scale : (values[i] - bias) * inverse;
        out.codes[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(code), 0.0f, steps));
      }
    });
    out.scale[at] = scale;
    out.bias[at] = bias;
  });
  return out;
}

}  // namespace mlt::compress
