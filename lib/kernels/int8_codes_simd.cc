// What works on codes alone, on Highway.
#include "lib/kernels/hwy_config.h"

#define HWY_WANT_AVX3_DL  // as int8_simd.cc
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8_codes_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "lib/kernels/gemm_target.h"
#include "lib/kernels/int8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

using namespace int8;

void interleave3(const uint8_t* planes, int64_t plane, int64_t count, uint8_t* out) noexcept {
  const hn::CappedTag<uint8_t, 16> d;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    hn::StoreInterleaved3(hn::LoadU(d, planes + i), hn::LoadU(d, planes + plane + i), hn::LoadU(d, planes + 2 * plane + i), d, out + 3 * i);
  for (; i < count; ++i)
    for (int64_t c = 0; c < 3; ++c) out[3 * i + c] = planes[c * plane + i];
}

void map(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const uint8_t* table) noexcept {
  if (table == nullptr) {
    for (int64_t r = 0; r < rows; ++r, in += in_pitch, out += out_pitch)
      for (int64_t i = 0; i < columns; i += 4 * kLanes) store_bytes(hn::LoadU(DB(), in + i), out + i, columns - i);
    return;
  }
#if MLT_INT8_DOT
  const Lookup lookup(table);
  for (int64_t r = 0; r < rows; ++r, in += in_pitch, out += out_pitch)
    for (int64_t i = 0; i < columns; i += 64) {
      const __mmask64 some = columns - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (columns - i)) - 1;
      _mm512_mask_storeu_epi8(out + i, some, lookup(_mm512_maskz_loadu_epi8(some, in + i)));
    }
#else
  for (int64_t r = 0; r < rows; ++r, in += in_pitch, out += out_pitch) {
    int64_t i = 0;
    for (; i + 8 <= columns; i += 8) {  // loads before stores, which might be of the table for all the compiler knows
      const uint8_t a = table[in[i]], b = table[in[i + 1]], c = table[in[i + 2]], d = table[in[i + 3]];
      const uint8_t e = table[in[i + 4]], f = table[in[i + 5]], g = table[in[i + 6]], h = table[in[i + 7]];
      out[i] = a, out[i + 1] = b, out[i + 2] = c, out[i + 3] = d, out[i + 4] = e, out[i + 5] = f, out[i + 6] = g, out[i + 7] = h;
    }
    for (; i < columns; ++i) out[i] = table[in[i]];
  }
#endif
}

// Windows of so many columns, a block of channels after the other.
template <int kColumns>
HWY_INLINE void most_of(const Int8Windows& t) {
  const DB db;
  const int64_t rows = t.rows, row_step = t.row_step, column_step = t.column_step;
  for (int64_t c = 0; c < t.channels; c += 4 * kLanes) {
    const uint8_t* pixel = t.in + c;
    uint8_t* out = t.out + c;
    const int64_t n = t.channels - c;
    for (int64_t x = 0; x < t.count; ++x, pixel += t.step, out += t.pitch) {
      VB v[kColumns];
      HWY_UNROLL(4) for (int k = 0; k < kColumns; ++k) v[k] = hn::LoadU(db, pixel + k * column_step);
      const uint8_t* row = pixel + row_step;
      for (int64_t y = 1; y < rows; ++y, row += row_step)
        HWY_UNROLL(4) for (int k = 0; k < kColumns; ++k) v[k] = hn::Max(v[k], hn::LoadU(db, row + k * column_step));
      HWY_UNROLL(4) for (int k = 1; k < kColumns; ++k) v[0] = hn::Max(v[0], v[k]);
      store_bytes(v[0], out, n);
    }
  }
}

void most(const Int8Windows& t) noexcept {
  if (t.columns == 2) return most_of<2>(t);
  if (t.columns == 3) return most_of<3>(t);
  const DB db;
  for (int64_t c = 0; c < t.channels; c += 4 * kLanes) {
    const uint8_t* pixel = t.in + c;
    uint8_t* out = t.out + c;
    const int64_t rows = t.rows, columns = t.columns, row_step = t.row_step, column_step = t.column_step, n = t.channels - c;
    for (int64_t x = 0; x < t.count; ++x, pixel += t.step, out += t.pitch) {
      VB v = hn::LoadU(db, pixel);
      const uint8_t* row = pixel;
      for (int64_t y = 0; y < rows; ++y, row += row_step)
        for (int64_t k = 0; k < columns; ++k) v = hn::Max(v, hn::LoadU(db, row + k * column_step));
      store_bytes(v, out, n);
    }
  }
}

// Sums of every fourth code each, beginning with the first, second, third and fourth.
HWY_INLINE void add_sums(VI (&sums)[4], hn::Vec<hn::ScalableTag<uint16_t>> even, hn::Vec<hn::ScalableTag<uint16_t>> odd) {
  const DI di;
  const hn::ScalableTag<uint32_t> du;
  const VI low = hn::Set(di, 0xffff);
  sums[0] = hn::Add(sums[0], hn::And(hn::BitCast(di, even), low));
  sums[1] = hn::Add(sums[1], hn::And(hn::BitCast(di, odd), low));
  sums[2] = hn::Add(sums[2], hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(du, even))));
  sums[3] = hn::Add(sums[3], hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(du, odd))));
}

void mean(const Int8Windows& t, int32_t zeros, float scale, const Int8Finish& f) noexcept {
  const D d;
  const DI di;
  const hn::ScalableTag<uint16_t> dh;
  const Finish finish(f);
  const V factor = hn::Set(d, scale);
  const auto low = hn::Set(dh, 0xff);
  for (int64_t c = 0; c < t.channels; c += 4 * kLanes) {
    const uint8_t* pixel = t.in + c;
    uint8_t* out = t.out + c;
    const int64_t rows = t.rows, columns = t.columns, row_step = t.row_step, column_step = t.column_step, n = t.channels - c;
    for (int64_t x = 0; x < t.count; ++x, pixel += t.step, out += t.pitch) {
      const VI none = hn::Set(di, -zeros);
      VI sums[4] = {none, none, none, none};
      const uint8_t* row = pixel;
      auto even = hn::Zero(dh), odd = even;
      int64_t room = 256;  // sums of so many codes fit 16 bits
      for (int64_t y = 0; y < rows; ++y, row += row_step)
        for (int64_t k = 0; k < columns; ++k) {
          const auto v = hn::BitCast(dh, hn::LoadU(DB(), row + k * column_step));
          even = hn::Add(even, hn::And(v, low)), odd = hn::Add(odd, hn::ShiftRight<8>(v));
          if (--room > 0) continue;
          add_sums(sums, even, odd);
          even = odd = hn::Zero(dh), room = 256;
        }
      add_sums(sums, even, odd);
      if (t.out_float != nullptr) {
        HWY_ALIGN float values[4 * kLanes];
        V v[4];
        HWY_UNROLL(4) for (int j = 0; j < 4; ++j) v[j] = hn::Mul(hn::ConvertTo(d, sums[j]), factor);
        hn::StoreInterleaved4(v[0], v[1], v[2], v[3], d, values);
        std::memcpy(t.out_float + c + x * t.pitch, values, static_cast<size_t>(std::min<int64_t>(n, 4 * kLanes)) * sizeof(float));
        continue;
      }
      VI code[4];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) code[j] = finish.code(hn::Mul(hn::ConvertTo(d, sums[j]), factor));
      const VI pairs = hn::Or(code[0], hn::ShiftLeft<8>(code[1])), others = hn::Or(code[2], hn::ShiftLeft<8>(code[3]));
      store_bytes(hn::BitCast(DB(), hn::Or(pairs, hn::ShiftLeft<16>(others))), out, n);
    }
  }
}

void quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero, uint8_t nan) noexcept {
  const D d;
  const V s = hn::Set(d, scale), lo = hn::Set(d, -static_cast<float>(zero)), hi = hn::Set(d, 255.0f - static_cast<float>(zero)),
          none = hn::Set(d, static_cast<float>(nan) - static_cast<float>(zero));
  const VI z = hn::Set(DI(), zero);
  // The quotient to the last bit, in less time than a division takes: Markstein's corrections with a reciprocal that is
  // exact but for its own rounding, twice because the first estimate is off by more than a unit. Far beyond the ends it may
  // be any number beyond them.
  const bool usual = scale > 0x1p-60f && scale < 0x1p60f, corrects = HWY_NATIVE_FMA && usual;
  const V inverse = hn::Set(d, 1 / scale), far = hn::Set(d, 512 * scale), near = hn::Neg(far);
  const auto quotient = [&](V v) HWY_ATTR {
    if (!corrects) return hn::Div(v, s);
    const V x = hn::Min(far, hn::Max(v, near));
    V q = hn::Mul(x, inverse);
    q = hn::MulAdd(hn::NegMulAdd(q, s, x), inverse, q);
    return hn::MulAdd(hn::NegMulAdd(q, s, x), inverse, q);
  };
  const auto code = [&](V v) HWY_ATTR {
    const V q = hn::IfThenElse(hn::Eq(v, v), quotient(v), none);
    return hn::Add(nearest(hn::Min(hi, hn::Max(q, lo))), z);
  };
  // Far from halves the product with the reciprocal will do, which is off by 2^-15 at most where codes end; so will it where
  // they have ended. Not so where the nearest integer is none of int32, or there is no number.
  const V near_half = hn::Set(d, 0.5f - 0x1p-14f);
  Int8Finish whole;
  whole.zero = zero;
  const Fitting fitting(whole);
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    V v[4], rest[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      v[j] = hn::Mul(hn::LoadU(d, in + i + j * kLanes), inverse);
      const V r = hn::ConvertTo(d, nearest(v[j]));
      rest[j] = hn::Abs(hn::Sub(v[j], r));
    }
    const auto plain = hn::And(hn::And(hn::Le(rest[0], near_half), hn::Le(rest[1], near_half)), hn::And(hn::Le(rest[2], near_half), hn::Le(rest[3], near_half)));
    if (usual && hn::AllTrue(d, plain)) {
      hn::StoreU(in_order(fitting(v[0], v[1], v[2], v[3])), DB(), out + i);
      continue;
    }
    hn::StoreU(in_order(narrow(code(hn::LoadU(d, in + i)), code(hn::LoadU(d, in + i + kLanes)), code(hn::LoadU(d, in + i + 2 * kLanes)),
                               code(hn::LoadU(d, in + i + 3 * kLanes)))), DB(), out + i);
  }
  const VI zeros = hn::Zero(DI());
  for (; i < count; i += kLanes) {
    HWY_ALIGN float edge[kLanes] = {};
    const int64_t n = std::min<int64_t>(kLanes, count - i);
    std::memcpy(edge, in + i, static_cast<size_t>(n) * sizeof(float));
    store_bytes(in_order(narrow(code(hn::Load(d, edge)), zeros, zeros, zeros)), out + i, n);
  }
}

void dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero) noexcept {
  const D d;
  const V s = hn::Set(d, scale), z = hn::Set(d, static_cast<float>(zero));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::Mul(hn::Sub(code_floats(in + i), z), s), d, out + i);
  for (; i < count; ++i) out[i] = (static_cast<float>(in[i]) - static_cast<float>(zero)) * scale;
}

void scale(const uint8_t* in, uint8_t* out, int64_t rows, int64_t columns, const float* factor, const float* shift, const Int8Finish& f) noexcept {
  const D d;
  const Finish finish(f);
  const VI none = hn::Zero(DI());
  const auto code = [&](const uint8_t* codes, int64_t i) HWY_ATTR { return finish.bounded(hn::MulAdd(code_floats(codes + i), hn::LoadU(d, factor + i), hn::LoadU(d, shift + i))); };
  for (int64_t r = 0; r < rows; ++r, in += columns, out += columns) {
    int64_t i = 0;
    for (; i + 4 * kLanes <= columns; i += 4 * kLanes)
      hn::StoreU(in_order(narrow(code(in, i), code(in, i + kLanes), code(in, i + 2 * kLanes), code(in, i + 3 * kLanes))), DB(), out + i);
    for (; i < columns; i += kLanes) store_bytes(in_order(narrow(code(in, i), none, none, none)), out + i, std::min<int64_t>(kLanes, columns - i));
  }
}

void moments(const uint8_t* in, int64_t count, int64_t* sums) noexcept {
  constexpr int64_t kMost = 8192;  // vectors whose squares' sums fit int32
  const DI di;
  const DW dw;
  const VW one = hn::Set(dw, int16_t{1});
  const hn::ScalableTag<uint16_t> dh;
  const auto low = hn::Set(dh, 0xff);
  int64_t i = 0;
  while (i + 4 * kLanes <= count) {
    VI first = hn::Zero(di), second = first;
    for (const int64_t end = std::min(count - 4 * kLanes, i + (kMost - 1) * 4 * kLanes); i <= end; i += 4 * kLanes) {
      const auto v = hn::BitCast(dh, hn::LoadU(DB(), in + i));
      const VW even = hn::BitCast(dw, hn::And(v, low)), odd = hn::BitCast(dw, hn::ShiftRight<8>(v));
      first = hn::Add(first, pair_sums(hn::Add(even, odd), one));
      second = hn::Add(second, hn::Add(pair_sums(even, even), pair_sums(odd, odd)));
    }
    HWY_ALIGN int32_t parts[2][kLanes];
    hn::Store(first, di, parts[0]);
    hn::Store(second, di, parts[1]);
    for (int j = 0; j < kLanes; ++j) sums[0] += parts[0][j], sums[1] += parts[1][j];
  }
  for (; i < count; ++i) sums[0] += in[i], sums[1] += int64_t{in[i]} * in[i];
}

void add(const uint8_t* a, float scale, float shift, const uint8_t* b, const Int8Finish& f, uint8_t* out, int64_t count) noexcept {
  const D d;
  const Finish finish(f);
  const V s = hn::Set(d, scale), t = hn::Set(d, shift);
  const bool cheap = is_cheap(f.f.op);
  const VI none = hn::Zero(DI());
  const auto sum = [&](const uint8_t* pa, const uint8_t* pb) HWY_ATTR { return finish.value(hn::MulAdd(code_floats(pa), s, t), pb); };
  int64_t i = 0;
  for (; cheap && i + 4 * kLanes <= count; i += 4 * kLanes) {
    VI c[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) c[j] = finish.code(sum(a + i + j * kLanes, b + i + j * kLanes));
    hn::StoreU(in_order(narrow(c[0], c[1], c[2], c[3])), DB(), out + i);
  }
  HWY_ALIGN uint8_t edge_a[kLanes] = {}, edge_b[kLanes] = {};
  for (; i < count; i += kLanes) {
    const int64_t n = std::min<int64_t>(kLanes, count - i);
    const uint8_t *pa = a + i, *pb = b + i;
    if (n < kLanes) {
      std::memcpy(edge_a, pa, static_cast<size_t>(n));
      std::memcpy(edge_b, pb, static_cast<size_t>(n));
      pa = edge_a, pb = edge_b;
    }
    const V v = sum(pa, pb);
    if (cheap) {
      store_bytes(in_order(narrow(finish.code(v), none, none, none)), out + i, n);
      continue;
    }
    HWY_ALIGN float values[kLanes];
    hn::Store(v, d, values);
    finish_slowly(f, finish, values, n, out + i, nullptr);
  }
}

const Int8CodesTarget* simd_target() {
  static constexpr Int8CodesTarget kTarget{interleave3, most, mean, quantize, dequantize, map, scale, moments, add};
  return &kTarget;
}

#else
const Int8CodesTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const Int8CodesTarget* int8_codes_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(int8_codes_simd_target);
const Int8CodesTarget* int8_codes_simd() { return HWY_DYNAMIC_DISPATCH(int8_codes_simd_target)(); }
}  // namespace mlt
#endif
