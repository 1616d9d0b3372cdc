// The tile kernels on Highway. AVX-512 holds 8 rows by 3 vectors (24 of 32 registers), the 16-register sets 4 by 3.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/gemm_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lib/base/float16.h"
#include "lib/kernels/activate-inl.h"
#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kMr = 8, kNv = 3;
#else
constexpr int kMr = 4, kNv = 3;
#endif

// Targets that store a part of a vector as fast as the whole.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
constexpr bool kMasks = true;
#else
constexpr bool kMasks = false;
#endif

// The common end of a tile, without a question for each vector: a product of little depth would otherwise spend as long here.
template <bool kResidual, int kRows, int kVectors>
HWY_INLINE void finish_whole(const Tile& t, V (&acc)[kRows][kVectors]) {
  const D d;
  const Cheap<D> cheap(d, t.f);
  const auto load = [&](const float* p, int j) HWY_ATTR {
    if constexpr (kMasks) return load_first(d, p + j * kLanes, t.cols - j * kLanes);
    return hn::LoadU(d, p + j * kLanes);
  };
  V bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bias[j] = t.bias_col == nullptr ? hn::Zero(d) : load(t.bias_col, j);
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      V v = hn::Add(acc[i][j], bias[j]);
      if constexpr (kResidual) v = hn::Add(v, j + 1 < kVectors ? hn::LoadU(d, t.residual + i * t.ldr + j * kLanes) : load(t.residual + i * t.ldr, j));
      v = cheap.bounded(v);
      float* c = t.c + i * t.ldc + j * kLanes;
      if constexpr (kMasks) {
        store_first(d, v, c, j + 1 < kVectors ? kLanes : t.cols - j * kLanes);
      } else {
        hn::StoreU(v, d, c);
      }
    }
  }
}

template <int kRows, int kVectors>
HWY_INLINE void finish(const Tile& t, V (&acc)[kRows][kVectors]) {
  const D d;
  if (t.alpha == 1.0f && !t.accumulate && t.bias_row == nullptr && t.f.op != Unary::kLeakyRelu && (kMasks ? t.cols > (kVectors - 1) * kLanes : t.cols >= kVectors * kLanes))
    return t.residual != nullptr ? finish_whole<true>(t, acc) : finish_whole<false>(t, acc);
  const V alpha = hn::Set(d, t.alpha);
  const bool scale = t.alpha != 1.0f;
  const Cheap<D> cheap(d, t.f);
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    const int64_t left = t.cols - j * kLanes;
    if (left <= 0) break;
    const bool whole = left >= kLanes;
    const auto mask = hn::FirstN(d, static_cast<size_t>(whole ? kLanes : left));
    V bias = hn::Zero(d);
    if (t.bias_col != nullptr) {
      const float* p = t.bias_col + j * kLanes;
      if (whole) {
        bias = hn::LoadU(d, p);
      } else {
        HWY_ALIGN float edge[kLanes] = {};
        for (int64_t e = 0; e < left; ++e) edge[e] = p[e];
        bias = hn::Load(d, edge);
      }
    }
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
      V v = acc[i][j];
      float* c = t.c + i * t.ldc + j * kLanes;
      if (scale) v = hn::Mul(v, alpha);
      v = hn::Add(v, bias);
      if (t.bias_row != nullptr) v = hn::Add(v, hn::Set(d, t.bias_row[i]));
      if (whole) {
        if (t.accumulate) v = hn::Add(v, hn::LoadU(d, c));
        if (t.residual != nullptr) v = hn::Add(v, hn::LoadU(d, t.residual + i * t.ldr + j * kLanes));
        v = cheap(v);
        hn::StoreU(v, d, c);
      } else {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
        if (t.accumulate) v = hn::Add(v, hn::MaskedLoad(mask, d, c));
        if (t.residual != nullptr) v = hn::Add(v, hn::MaskedLoad(mask, d, t.residual + i * t.ldr + j * kLanes));
        v = cheap(v);
        hn::BlendedStore(v, mask, d, c);
#else
        (void)mask;
        HWY_ALIGN float edge[kLanes] = {};
        if (t.accumulate) {
          for (int64_t e = 0; e < left; ++e) edge[e] = c[e];
          v = hn::Add(v, hn::Load(d, edge));
        }
        if (t.residual != nullptr) {
          for (int64_t e = 0; e < left; ++e) edge[e] = t.residual[i * t.ldr + j * kLanes + e];
          v = hn::Add(v, hn::Load(d, edge));
        }
        v = cheap(v);
        hn::Store(v, d, edge);
        for (int64_t e = 0; e < left; ++e) c[e] = edge[e];
#endif
      }
    }
  }
}

// A few rows wait for memory: what lies well ahead of the hardware's own guess is fetched, heavy weights from memory into
// the second-level cache long before they are fetched into the first. Others are there, and each fetch takes a load's place.
// One line in three is enough for the long way: the hardware fetches their neighbours, and there is room for few at a time.
template <int kVectors, typename T>
HWY_INLINE void fetch_ahead(const T* p, bool heavy) {
  const auto* bytes = reinterpret_cast<const char*>(p);
  if (heavy) __builtin_prefetch(bytes + 16384, 0, 2);
  constexpr int kBytes = kVectors * kLanes * static_cast<int>(sizeof(T));
  HWY_UNROLL(4) for (int at = 0; at < kBytes; at += 64) __builtin_prefetch(bytes + 2048 + at, 0, 3);
}

// kAhead: packed, and fetching what comes next; kPairs: direct, of pairs of bfloat16 in the place of floats.
enum class Form { kDirect, kPacked, kAhead, kGather, kTaps, kPairs };

template <Form kForm>
HWY_INLINE V multiply_add(V a, V b, V acc) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kForm == Form::kPairs) {
    // Written out: no target of Highway 1.0.3 has it. See bf16.cc for who may come here.
    asm("vdpbf16ps %2, %1, %0" : "+v"(acc.raw) : "v"(a.raw), "v"(b.raw));
    return acc;
  }
#endif
  return hn::MulAdd(a, b, acc);
}

// What comes from memory while sums are made: the lines of Tile::ahead and, a row at a time, what is read and written in the end.
template <int kRows, int kVectors>
struct Fetcher {
  HWY_INLINE Fetcher(const Tile& t, int64_t depth)
      : c(t.c), residual(t.residual), ldc(t.ldc), ldr(t.ldr), row(t.far ? 0 : kRows), ahead(t.ahead), every(depth) {
    row_every = depth >= 8 * kRows ? 4 : depth >= 2 * kRows ? depth / (2 * kRows) : 1;
    if (ahead == nullptr || t.ahead_lines < 1) {
      ahead = t.b;
      return;
    }
    if (t.far) depth = depth > kRows * row_every ? depth - kRows * row_every : 1;
    every = t.ahead_lines < depth ? depth / t.ahead_lines : 1;
    second = t.ahead_lines > depth;
  }
  // For how many of the next `rest` k there is nothing else to fetch.
  HWY_INLINE int64_t step(int64_t rest) {
    if (HWY_UNLIKELY(row < kRows)) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) __builtin_prefetch(c + j * kLanes, 1, 3);
      if (residual != nullptr) {
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) __builtin_prefetch(residual + j * kLanes, 0, 3);
        residual += ldr;
      }
      c += ldc;
      ++row;
      return row_every < rest ? row_every : rest;
    }
    __builtin_prefetch(ahead, 0, 2);
    ahead += 16;
    if (HWY_UNLIKELY(second)) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 16;
    }
    return every < rest ? every : rest;
  }
  const float *c, *residual;
  int64_t ldc, ldr;
  int row;
  const float* ahead;
  int64_t every, row_every;
  bool second = false;
};

template <int kRows, int kVectors, Form kForm>
HWY_NOINLINE void tile(const Tile& t) {
  const D d;
  V acc[kRows][kVectors];
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT b = t.b;
  if constexpr (kForm == Form::kTaps) {
    const float* const* taps = t.taps;
    Fetcher<kRows, kVectors> fetcher(t, t.k * t.segments);
    for (int64_t s = 0; s < t.segments; ++s, taps += kRows) {
      const float* rows[kRows];
      HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) rows[i] = taps[i];
      for (int64_t k = 0; k < t.k;) {
        for (const int64_t end = k + fetcher.step(t.k - k); k < end; ++k) {
          V bv[kVectors];
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::LoadU(d, b + kLanes * j);
          HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
            const V av = hn::Set(d, rows[i][k]);
            HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::MulAdd(av, bv[j], acc[i][j]);
          }
          b += kLanes * kVectors;
        }
      }
    }
  } else if constexpr (kForm == Form::kGather) {
    const float* HWY_RESTRICT a = t.a;
    const int32_t* HWY_RESTRICT offsets = t.offsets;
    for (int64_t k = 0; k < t.k; ++k) {
      const float* p = b + offsets[k];
      V bv[kVectors];
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::LoadU(d, p + kLanes * j);
      HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
        const V av = hn::Set(d, a[i]);
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::MulAdd(av, bv[j], acc[i][j]);
      }
      a += kRows;
    }
  } else if constexpr (kForm == Form::kPacked || kForm == Form::kAhead) {
    const float* HWY_RESTRICT a = t.a;
    [[maybe_unused]] const float* ahead = t.ahead;
    for (int64_t k = 0; k < t.k; ++k) {
      V bv[kVectors];
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::LoadU(d, b + kLanes * j);
      HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
        const V av = hn::Set(d, a[i]);
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::MulAdd(av, bv[j], acc[i][j]);
      }
      if constexpr (kForm == Form::kAhead) {
        hwy::Prefetch(ahead);
        ahead += 16;
      }
      a += kRows;
      b += kLanes * kVectors;
    }
  } else {
    // One pointer per three rows, each reached with an index of 0, lda or 2 * lda, keeps the addresses in registers.
    const float* rows[(kRows + 2) / 3];
    HWY_UNROLL(8) for (int i = 0; i < (kRows + 2) / 3; ++i) rows[i] = t.a + 3 * i * t.lda;
    const int64_t lda = t.lda, lda2 = 2 * t.lda;
    [[maybe_unused]] const bool heavy = t.heavy;
    Fetcher<kRows, kVectors> fetcher(t, t.k);
    for (int64_t k = 0; k < t.k;) {
      for (const int64_t end = k + fetcher.step(t.k - k); k < end; ++k) {
        V bv[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::LoadU(d, b + kLanes * j);
        if constexpr (kRows <= 2) fetch_ahead<kVectors>(b, heavy);
        HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
          const V av = hn::Set(d, rows[i / 3][k + (i % 3 == 0 ? 0 : i % 3 == 1 ? lda : lda2)]);
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = multiply_add<kForm>(av, bv[j], acc[i][j]);
        }
        b += kLanes * kVectors;
      }
    }
  }
  finish<kRows, kVectors>(t, acc);
}

// Elsewhere Highway emulates halves slowly; the scalar conversion through a small buffer is no slower.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
HWY_INLINE V load_half(const uint16_t* p) {
  const hn::Rebind<uint16_t, D> du;
  const hn::Rebind<hwy::float16_t, D> dh;
  return hn::PromoteTo(D(), hn::BitCast(dh, hn::LoadU(du, p)));
}
#else
HWY_INLINE V load_half(const uint16_t* p) {
  HWY_ALIGN float x[kLanes];
  for (int i = 0; i < kLanes; ++i) x[i] = half_to_float(p[i]);
  return hn::Load(D(), x);
}
#endif

template <int kRows, int kVectors>
HWY_NOINLINE void tile_half(const Tile& t) {
  const D d;
  V acc[kRows][kVectors];
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::Zero(d);
  }
  const uint16_t* HWY_RESTRICT b = t.half_b;
  const bool heavy = t.heavy;
  for (int64_t k = 0; k < t.k; ++k) {
    V bv[kVectors];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = load_half(b + kLanes * j);
    fetch_ahead<kVectors>(b, heavy);
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
      const V av = hn::Set(d, t.a[i * t.lda + k]);
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::MulAdd(av, bv[j], acc[i][j]);
    }
    b += kLanes * kVectors;
  }
  finish<kRows, kVectors>(t, acc);
}

template <int kVectors>
void tile_half_rows(const Tile& t) {
  switch (t.rows) {
    case 1: return tile_half<1, kVectors>(t);
    case 2: return tile_half<2, kVectors>(t);
    case 3: return tile_half<3, kVectors>(t);
    default: return tile_half<4, kVectors>(t);
  }
}

void expand(const uint16_t* in, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; i += kLanes) hn::StoreU(load_half(in + i), D(), out + i);
}

template <int kVectors, Form kForm>
void tile_rows(const Tile& t) {
  switch (t.rows) {
    case 1: return tile<1, kVectors, kForm>(t);
    case 2: return tile<2, kVectors, kForm>(t);
    case 3: return tile<3, kVectors, kForm>(t);
    case 4: return tile<4, kVectors, kForm>(t);
    default: break;
  }
  if constexpr (kMr > 4) {
    switch (t.rows) {
      case 5: return tile<5, kVectors, kForm>(t);
      case 6: return tile<6, kVectors, kForm>(t);
      case 7: return tile<7, kVectors, kForm>(t);
      case 8: return tile<8, kVectors, kForm>(t);
      default: break;
    }
  }
}

template <Form kForm>
void tile_any(const Tile& t) noexcept {
  switch (t.nv) {
    case 1: tile_rows<1, kForm>(t); break;
    case 2: tile_rows<2, kForm>(t); break;
    default: tile_rows<3, kForm>(t); break;
  }
  activate_rectangle(t.f, t.c, t.rows, t.ldc, t.cols);
}

void tile_packed(const Tile& t) noexcept {
  if (t.ahead != nullptr) return tile_any<Form::kAhead>(t);
  tile_any<Form::kPacked>(t);
}

void tile_half_any(const Tile& t) noexcept {
  switch (t.nv) {
    case 1: tile_half_rows<1>(t); break;
    case 2: tile_half_rows<2>(t); break;
    default: tile_half_rows<3>(t); break;
  }
  activate_rectangle(t.f, t.c, t.rows, t.ldc, t.cols);
}

const GemmTarget* simd_target() {
  static constexpr GemmTarget kTarget{
      HWY_TARGET == HWY_AVX3 ? "gemm 8x48" : HWY_TARGET == HWY_AVX2 ? "gemm 4x24" : kMr == 8 ? "gemm 8x12" : "gemm 4x12",
      kMr, kNv, kLanes, tile_any<Form::kDirect>, tile_packed, tile_half_any,
      tile_any<Form::kGather>, tile_any<Form::kTaps>, expand};
  return &kTarget;
}

#if HWY_TARGET == HWY_AVX3
// To nearest, ties to even; a NaN stays one.
HWY_INLINE __m512i bf16_bits(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_srli_epi32(_mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000)), 16);
}
void narrow(const float* in, uint16_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = static_cast<__mmask16>(count - i >= 16 ? 0xffff : (1 << (count - i)) - 1);
    _mm512_mask_cvtepi32_storeu_epi16(out + i, mask, bf16_bits(_mm512_maskz_loadu_ps(mask, in + i)));
  }
}
const Bf16Target* pairs_target() {
  static constexpr GemmTarget kGemm{"gemm bf16 8x48", kMr, kNv, kLanes, tile_any<Form::kPairs>, nullptr, nullptr, nullptr, nullptr, nullptr};
  static constexpr Bf16Target kTarget{&kGemm, narrow};
  return &kTarget;
}
#else
const Bf16Target* pairs_target() { return nullptr; }
#endif

#else
const GemmTarget* simd_target() { return nullptr; }
const Bf16Target* pairs_target() { return nullptr; }
#endif
}  // namespace
const GemmTarget* gemm_simd_target() { return simd_target(); }
const Bf16Target* gemm_bf16_target() { return pairs_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(gemm_simd_target);
HWY_EXPORT(gemm_bf16_target);
const Bf16Target* bf16_simd() { return HWY_DYNAMIC_DISPATCH(gemm_bf16_target)(); }
const GemmTarget* gemm_simd() { return HWY_DYNAMIC_DISPATCH(gemm_simd_target)(); }
}  // namespace mlt
#endif
