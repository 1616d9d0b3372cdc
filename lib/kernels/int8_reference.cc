// The scalar reference of int8_target.h, and what is common to all.
#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/int8.h"
#include "lib/kernels/int8_target.h"

namespace mlt {

const Int8Target* int8_simd();
const Int8CodesTarget* int8_codes_simd();

uint8_t int8_code(const Int8Finish& f, float v) {
  v *= f.inverse;
  v = v > f.lo ? v : f.lo;  // no number is the lowest code
  return static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(std::min(f.hi, v))) + f.zero, 0, 255));
}

Int8Finish int8_finish(const Int8Epilogue& e) {
  Int8Finish f;
  if (e.between) {
    f.between = true;
    f.between_inverse = 1 / e.between->scale, f.between_scale = e.between->scale;
    f.between_lo = lowest(*e.between), f.between_hi = highest(*e.between);
  }
  if (e.residual) f.residual_scale = e.residual->scale, f.residual_shift = e.residual->scale * lowest(*e.residual);
  f.f = e.f;
  if (e.out) {
    f.narrow = true;
    f.inverse = 1 / e.out->scale, f.lo = lowest(*e.out), f.hi = highest(*e.out);
    f.zero = e.out->zero;
  }
  return f;
}

namespace {

// Vectors of four lanes.
constexpr int kRefLanes = 4;

float finished(const Int8Finish& f, float v, const uint8_t* residual) {
  if (f.between) v = std::nearbyint(std::min(f.between_hi, std::max(v * f.between_inverse, f.between_lo))) * f.between_scale;
  if (residual != nullptr) v += f.residual_scale * static_cast<float>(*residual) + f.residual_shift;
  if (f.f.op != Unary::kIdentity) unary(f.f, &v, &v, 1);
  return v;
}

uint8_t looked_up(const uint8_t* table, uint8_t code) { return table != nullptr ? table[code] : code; }

void reference_tile(const Int8Tile& t) noexcept {
  for (int i = 0; i < t.rows; ++i)
    for (int64_t j = 0; j < t.cols; ++j) {
      auto sum = static_cast<uint32_t>(t.start[j]);
      const int8_t* b = t.b + j / kRefLanes * 4 * kRefLanes + j % kRefLanes * 4;
      for (int64_t s = 0; s < t.segments; ++s)
        for (int64_t q = 0; q < t.quads; ++q, b += t.nv * 4 * kRefLanes)
          for (int e = 0; e < 4; ++e) sum += static_cast<uint32_t>(static_cast<int32_t>(t.taps[s * t.rows + i][t.shift + 4 * q + e]) * b[e]);
      const float v = finished(*t.finish, static_cast<float>(static_cast<int32_t>(sum)) * t.scale[j] + t.bias[j],
                               t.residual != nullptr ? t.residual + i * t.pitch + j : nullptr);
      if (t.finish->narrow) t.out[i * t.pitch + j] = looked_up(t.table, int8_code(*t.finish, v));
      else t.out_float[i * t.pitch + j] = v;
    }
}

void reference_interleave(const Int8Columns& t) noexcept {
  constexpr int64_t kWidth = 4 * kRefLanes;
  for (int64_t i = 0; i < t.count; ++i)
    for (int64_t c = 0; c < kWidth; ++c)
      for (int e = 0; e < 4; ++e) t.out[(i * kWidth + interleaved_place(c, kRefLanes)) * 4 + e] = t.from[e][0][i * t.step[e] + c];
}

void reference_interleave3(const uint8_t* planes, int64_t plane, int64_t count, uint8_t* out) noexcept {
  for (int64_t i = 0; i < 3 * count; ++i) out[i] = planes[i % 3 * plane + i / 3];
}

void reference_depthwise(const Int8DepthwiseRun& r) noexcept {
  constexpr int64_t kColumn = 16 * kRefLanes;
  for (int64_t x = 0; x < r.count; ++x)
    for (int64_t c = 0; c < r.channels; ++c) {
      const int64_t place = interleaved_place(c, kRefLanes);
      auto sum = static_cast<uint32_t>(r.start[place]);
      for (int64_t g = 0; g < r.groups; ++g)
        for (int64_t kx = 0; kx < r.kernel_w; ++kx)
          for (int e = 0; e < 4; ++e)
            sum += static_cast<uint32_t>(static_cast<int32_t>(r.quads[(g * r.columns + x * r.stride + kx * r.dilation) * kColumn + place * 4 + e]) *
                                         r.weights[(g * r.kernel_w + kx) * kColumn + place * 4 + e]);
      const int64_t to = r.at[0] + x * r.pitch + c;
      const float v = finished(*r.finish, static_cast<float>(static_cast<int32_t>(sum)) * r.scale[place] + r.bias[place], r.residual != nullptr ? r.residual + to : nullptr);
      if (r.finish->narrow) r.out[to] = int8_code(*r.finish, v);
      else r.out_float[to] = v;
    }
}

void reference_most(const Int8Windows& t) noexcept {
  for (int64_t x = 0; x < t.count; ++x)
    for (int64_t c = 0; c < t.channels; ++c) {
      uint8_t v = 0;
      for (int64_t y = 0; y < t.rows; ++y)
        for (int64_t k = 0; k < t.columns; ++k) v = std::max(v, t.in[x * t.step + y * t.row_step + k * t.column_step + c]);
      t.out[x * t.pitch + c] = v;
    }
}

void reference_mean(const Int8Windows& t, int32_t zeros, float scale, const Int8Finish& f) noexcept {
  for (int64_t x = 0; x < t.count; ++x)
    for (int64_t c = 0; c < t.channels; ++c) {
      int32_t sum = -zeros;
      for (int64_t y = 0; y < t.rows; ++y)
        for (int64_t k = 0; k < t.columns; ++k) sum += t.in[x * t.step + y * t.row_step + k * t.column_step + c];
      const float v = static_cast<float>(sum) * scale;
      if (t.out_float != nullptr) t.out_float[x * t.pitch + c] = v;
      else t.out[x * t.pitch + c] = int8_code(f, v);
    }
}

void reference_quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero, uint8_t nan) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    const float v = std::nearbyint(in[i] / scale) + static_cast<float>(zero);
    out[i] = std::isnan(v) ? nan : static_cast<uint8_t>(std::clamp(v, 0.0f, 255.0f));
  }
}

void reference_dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i] - zero) * scale;
}

void reference_map(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const uint8_t* table) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; ++i) out[r * out_pitch + i] = looked_up(table, in[r * in_pitch + i]);
}

void reference_scale(const uint8_t* in, uint8_t* out, int64_t rows, int64_t columns, const float* factor, const float* shift, const Int8Finish& f) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; ++i) out[r * columns + i] = int8_code(f, static_cast<float>(in[r * columns + i]) * factor[i] + shift[i]);
}

void reference_moments(const uint8_t* in, int64_t count, int64_t* sums) noexcept {
  for (int64_t i = 0; i < count; ++i) sums[0] += in[i], sums[1] += int64_t{in[i]} * in[i];
}

void reference_add(const uint8_t* a, float scale, float shift, const uint8_t* b, const Int8Finish& f, uint8_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = int8_code(f, finished(f, scale * static_cast<float>(a[i]) + shift, b + i));
}

constexpr Int8Target kReference{"int8 scalar", {4, 4, 4, 4}, 3, kRefLanes, false, false, reference_tile, reference_interleave, reference_depthwise};
constexpr Int8CodesTarget kCodesReference{reference_interleave3, reference_most, reference_mean, reference_quantize, reference_dequantize, reference_map, reference_scale, reference_moments, reference_add};

}  // namespace

const Int8Target& int8_target() noexcept { return use_reference() || int8_simd() == nullptr ? kReference : *int8_simd(); }
const Int8CodesTarget& int8_codes_target() noexcept { return use_reference() || int8_codes_simd() == nullptr ? kCodesReference : *int8_codes_simd(); }

}  // namespace mlt
