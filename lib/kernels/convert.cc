#include "lib/kernels/convert.h"

#include <algorithm>
#include <cmath>

#include "lib/base/float16.h"
#include "lib/kernels/convert_target.h"
#include "lib/kernels/dispatch.h"

namespace mlt {
namespace {

void half_to_float_ref(const uint16_t* in, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = half_to_float(in[i]);
}
void float_to_half_ref(const float* in, uint16_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = float_to_half(in[i]);
}
void constants_to_half_ref(const float* in, uint16_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    float a = std::abs(in[i]);
    if (a > 65504.0f && std::isfinite(a)) a = 65504.0f;
    else if (a < 0x1p-24f) a = 0;
    out[i] = float_to_half(std::copysign(a, in[i]));
  }
}
bool any_magnitude_ref(const float* in, int64_t count, float low, float high) noexcept {
  for (int64_t i = 0; i < count; ++i)
    if (std::abs(in[i]) > low && std::abs(in[i]) <= high) return true;
  return false;
}
template <typename T>
void dequantize_ref(const T* in, float* out, int64_t count, float scale, float zero_point) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = (static_cast<float>(in[i]) - zero_point) * scale;
}
void float_to_int32_ref(const float* in, int32_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = truncated(in[i]);
}
template <typename T>
void bool_ref(const uint8_t* in, T* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] != 0;
}
void int32_to_float_ref(const int32_t* in, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i]);
}
constexpr ConvertTarget kReference{half_to_float_ref, float_to_half_ref, constants_to_half_ref, any_magnitude_ref, dequantize_ref<int8_t>, dequantize_ref<uint8_t>,
                                   int32_to_float_ref, float_to_int32_ref, bool_ref<float>, bool_ref<int32_t>};

const ConvertTarget& target() noexcept { return use_reference() ? kReference : *convert_simd(); }

template <typename F>
void split(int64_t count, const F& f) noexcept {
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { f(begin, end - begin); });
}

template <typename T>
void quantize_any(const float* in, T* out, int64_t count, float scale, int32_t zero_point) noexcept {
  constexpr float kLow = std::numeric_limits<T>::min(), kHigh = std::numeric_limits<T>::max();
  const auto zero = static_cast<float>(zero_point);
  split(count, [&](int64_t from, int64_t n) {
    for (int64_t i = from; i < from + n; ++i) {
      const float q = std::nearbyint(in[i] / scale) + zero;
      out[i] = static_cast<T>(std::isnan(q) ? zero : std::min(kHigh, std::max(kLow, q)));
    }
  });
}

}  // namespace

void half_to_float(const uint16_t* in, float* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.half_to_float(in + from, out + from, n); });
}
void float_to_half(const float* in, uint16_t* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.float_to_half(in + from, out + from, n); });
}
void constants_to_half(const float* in, uint16_t* out, int64_t count) noexcept { target().constants_to_half(in, out, count); }
bool any_magnitude(const float* in, int64_t count, float low, float high) noexcept { return target().any_magnitude(in, count, low, high); }
void round_to_half(const float* in, float* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) {
    uint16_t half[512];
    for (int64_t i = from; i < from + n; i += 512) {
      const int64_t m = std::min<int64_t>(512, from + n - i);
      t.float_to_half(in + i, half, m);
      t.half_to_float(half, out + i, m);
    }
  });
}

void dequantize(const int8_t* in, float* out, int64_t count, float scale, int32_t zero_point) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) {
    t.dequantize_signed(in + from, out + from, n, scale, static_cast<float>(zero_point));
  });
}
void dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero_point) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) {
    t.dequantize_unsigned(in + from, out + from, n, scale, static_cast<float>(zero_point));
  });
}
void quantize(const float* in, int8_t* out, int64_t count, float scale, int32_t zero_point) noexcept {
  quantize_any(in, out, count, scale, zero_point);
}
void quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero_point) noexcept {
  quantize_any(in, out, count, scale, zero_point);
}

void palette_lookup(const uint8_t* index, const float* table, int table_size, float* out, int64_t count) noexcept {
  const int mask = table_size - 1;
  split(count, [&](int64_t from, int64_t n) {
    for (int64_t i = from; i < from + n; ++i) out[i] = table[index[i] & mask];
  });
}

void palette_lookup_packed(const uint8_t* packed, int bits, const float* table, float* out, int64_t count) noexcept {
  const unsigned mask = (1u << bits) - 1;
  if (bits == 8) return palette_lookup(packed, table, 256, out, count);
  split(count, [&](int64_t from, int64_t n) {
    if (bits == 4 && from % 2 == 0) {
      int64_t i = from;
      for (; i + 2 <= from + n; i += 2) {
        const unsigned byte = packed[i / 2];
        out[i] = table[byte & 15];
        out[i + 1] = table[byte >> 4];
      }
      if (i < from + n) out[i] = table[packed[i / 2] & 15];
      return;
    }
    for (int64_t i = from; i < from + n; ++i) {
      const int64_t bit = i * bits;
      unsigned value = packed[bit / 8] >> (bit % 8);
      if (bit % 8 + bits > 8) value |= static_cast<unsigned>(packed[bit / 8 + 1]) << (8 - bit % 8);
      out[i] = table[value & mask];
    }
  });
}

void int32_to_float(const int32_t* in, float* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.int32_to_float(in + from, out + from, n); });
}
void float_to_int32(const float* in, int32_t* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.float_to_int32(in + from, out + from, n); });
}
void bool_to_float(const uint8_t* in, float* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.bool_to_float(in + from, out + from, n); });
}
void bool_to_int32(const uint8_t* in, int32_t* out, int64_t count) noexcept {
  const ConvertTarget& t = target();
  split(count, [&](int64_t from, int64_t n) { t.bool_to_int32(in + from, out + from, n); });
}

}  // namespace mlt
