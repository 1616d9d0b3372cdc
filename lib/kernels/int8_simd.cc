// Products of codes and weights on Highway. Where AVX-512 has a dot product of bytes it takes a quad at a time; elsewhere
// codes and weights are widened to 16 bits and added in pairs, which cannot overflow (the byte products of AVX2 saturate).
#include "lib/kernels/hwy_config.h"

// One target more than the other families: AVX3_DL has the dot product.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "lib/kernels/gemm_target.h"
#include "lib/kernels/int8-inl.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

using namespace int8;

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
constexpr int kMr = 8, kNv = 3;
#else
constexpr int kMr = 4, kNv = 3;
#endif
// Rows of a tile: narrow ones take more, so that as many sums are under way.
constexpr int most_rows(int vectors) { return MLT_INT8_DOT ? (vectors == 1 ? 16 : vectors == 2 ? 12 : kMr) : kMr; }

// Everything but scaling and bounds, row by row from a copy of the sums.
template <int kVectors>
HWY_NOINLINE void finish_rows(const Int8Tile& t, const int32_t* sums) {
  const D d;
  const Finish finish(*t.finish);
  V scale[kVectors], bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    scale[j] = hn::LoadU(d, t.scale + j * kLanes);
    bias[j] = hn::LoadU(d, t.bias + j * kLanes);
  }
  const bool cheap = is_cheap(t.finish->f.op);
  // Sums of two tensors in codes, whose scales the caller has put together.
  const bool sum = finish.between && finish.narrows && t.residual != nullptr && finish.op == Unary::kIdentity && !finish.scaled && !finish.between_scaled;
  const VI none = hn::Zero(DI());
  HWY_ALIGN float values[most_rows(kVectors) * kVectors * kLanes];
  const auto store = [&](int i, const V* v) HWY_ATTR {
    if (finish.narrows) {
      VI c[4] = {none, none, none, none};
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) c[j] = finish.code(v[j]);
      store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
      return;
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j)
      if (t.cols > j * kLanes) store_first(d, v[j], t.out_float + i * t.pitch + j * kLanes, t.cols - j * kLanes);
  };
  for (int i = 0; i < t.rows; ++i, sums += kVectors * kLanes) {
    V v[kVectors];
    const uint8_t* residual = t.residual != nullptr ? t.residual + i * t.pitch : nullptr;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = hn::MulAdd(hn::ConvertTo(d, hn::Load(DI(), sums + j * kLanes)), scale[j], bias[j]);
    if (sum) {
      VI c[4] = {none, none, none, none};
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
        const V other = hn::MulAdd(code_floats(residual + j * kLanes), finish.residual_scale, finish.residual_shift);
        v[j] = hn::Round(hn::Min(finish.between_hi, hn::Max(v[j], finish.between_lo)));
        v[j] = hn::MulAdd(v[j], finish.between_scale, other);
      }
      if (finish.fits) {
        store_bytes(in_order(narrow_fitting(v[0], v[kVectors > 1 ? 1 : 0], v[kVectors > 2 ? 2 : 0], v[0], finish.zero16, finish.code_lo, finish.code_hi)),
                    t.out + i * t.pitch, t.cols);
        continue;
      }
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) c[j] = finish.bounded(v[j]);
      store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
      continue;
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = finish.value(v[j], residual != nullptr ? residual + j * kLanes : nullptr);
    if (cheap) {
      store(i, v);
    } else {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(v[j], d, values + (i * kVectors + j) * kLanes);
    }
  }
  if (cheap) return;
  // One call for the whole tile.
  elementwise_target().unary(t.finish->f.op, values, values, t.rows * kVectors * kLanes, t.finish->f.a, t.finish->f.b);
  for (int i = 0; i < t.rows; ++i) {
    V v[kVectors];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = hn::Load(d, values + (i * kVectors + j) * kLanes);
    store(i, v);
  }
}

#if MLT_INT8_DOT
alignas(64) constexpr uint8_t kNoTable[256] = {};
#endif

// A vector that holds several rows of codes; `rows` of them are to be stored at most.
template <int kTogether, int kVectors>
HWY_INLINE void store_rows(VB codes, uint8_t* to, int64_t pitch, int64_t cols, int rows) {
  constexpr int64_t kRow = kVectors * kLanes;
  if (cols == kRow && pitch == kRow && rows >= kTogether) return hn::StoreU(codes, DB(), to);
  HWY_ALIGN uint8_t edge[4 * kLanes];
  hn::Store(codes, DB(), edge);
  HWY_UNROLL(4) for (int r = 0; r < kTogether; ++r) {
    if (r >= rows) break;
    if (cols == kRow) std::memcpy(to + r * pitch, edge + r * kRow, kRow);
    else std::memcpy(to + r * pitch, edge + r * kRow, static_cast<size_t>(cols));
  }
}

// False when codes are stored that the table has yet to be asked for.
template <int kRows, int kVectors>
HWY_INLINE bool finish_tile(const Int8Tile& t, VI (&acc)[kRows][kVectors]) {
  const D d;
  const Int8Finish& f = *t.finish;
  if (!f.narrow || f.between || f.inverse != 1.0f || f.f.op != Unary::kIdentity || t.residual != nullptr) {
    HWY_ALIGN int32_t sums[kRows * kVectors * kLanes];
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(acc[i][j], DI(), sums + (i * kVectors + j) * kLanes);
    }
    finish_rows<kVectors>(t, sums);
    return false;
  }
  // By far the most frequent: scaling and bounds are all there is.
  const V lo = hn::Set(d, f.lo), hi = hn::Set(d, f.hi);
  const VI zero = hn::Set(DI(), f.zero), none = hn::Zero(DI());
  V scale[kVectors], bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    scale[j] = hn::LoadU(d, t.scale + j * kLanes);
    bias[j] = hn::LoadU(d, t.bias + j * kLanes);
  }
  if (f.fits) {
    const VW zero16 = hn::Set(DW(), static_cast<int16_t>(f.zero));
    const VB code_lo = hn::Set(DB(), f.code_lo), code_hi = hn::Set(DB(), f.code_hi);
    // As many rows as fill a vector of codes: four, two or one.
    constexpr int kTogether = 4 / kVectors;
#if MLT_INT8_DOT
    const Lookup lookup(t.table != nullptr ? t.table : kNoTable);
#endif
    HWY_UNROLL(16) for (int i = 0; i < kRows; i += kTogether) {
      V v[4];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
        if (j >= kTogether * kVectors) {
          v[j] = v[0];
          continue;
        }
        const int row = i + j / kVectors < kRows ? i + j / kVectors : i, column = j % kVectors;
        v[j] = hn::MulAdd(hn::ConvertTo(d, acc[row][column]), scale[column], bias[column]);
      }
      VB codes = in_order(narrow_fitting(v[0], v[1], v[2], v[3], zero16, code_lo, code_hi));
#if MLT_INT8_DOT
      if (t.table != nullptr) codes = VB{lookup(codes.raw)};
#endif
      uint8_t* to = t.out + i * t.pitch;
      if (kTogether == 1) {
        store_bytes(codes, to, t.cols);
      } else {
        store_rows<kTogether, kVectors>(codes, to, t.pitch, t.cols, kRows - i);
      }
    }
    return MLT_INT8_DOT;
  }
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    VI c[4] = {none, none, none, none};
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V v = hn::MulAdd(hn::ConvertTo(d, acc[i][j]), scale[j], bias[j]);
      c[j] = hn::Add(hn::NearestInt(hn::Min(hi, hn::Max(v, lo))), zero);
    }
    store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
  }
  return false;
}

HWY_INLINE VI broadcast_quad(const uint8_t* p) {
  int32_t quad;
  std::memcpy(&quad, p, 4);
  return hn::Set(DI(), quad);
}

#if MLT_INT8_DOT
constexpr int64_t kVectorBytes = 4 * kLanes;  // of weights, for a quad
// Written out, because Highway 1.0.3 asks the compiler for AVX-VNNI in this target and not for AVX-512's, which all
// machines have that it chooses the target for.
HWY_INLINE VI dot(VI acc, VI a, VI b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.raw) : "v"(a.raw), "v"(b.raw));
  return acc;
}
#else
constexpr int64_t kVectorBytes = 8 * kLanes;
#endif

template <int kRows, int kVectors>
HWY_NOINLINE void tile(const Int8Tile& t) {
  const DI di;
  VI acc[kRows][kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    const VI start = hn::LoadU(di, t.start + j * kLanes);
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) acc[i][j] = start;
  }
  const int8_t* HWY_RESTRICT b = t.b;
  const uint8_t* const* taps = t.taps;
  const int8_t* ahead = t.ahead;
  const int64_t every = ahead != nullptr ? t.ahead_every : t.quads;
  for (int64_t s = 0; s < t.segments; ++s, taps += kRows) {
    const uint8_t* rows[kRows];
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) rows[i] = taps[i] + t.shift;
    for (int64_t from = 0; from < t.quads; from += every) {
      if (ahead != nullptr) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += 64;
      }
      const int64_t end = t.quads - from < every ? t.quads : from + every;
      for (int64_t q = from; q < end; ++q) {
#if MLT_INT8_DOT
        VI bv[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::BitCast(di, hn::LoadU(hn::ScalableTag<int8_t>(), b + j * kVectorBytes));
        HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
          const VI a = broadcast_quad(rows[i] + 4 * q);
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = dot(acc[i][j], a, bv[j]);
        }
#else
        const DW dw;
        const auto* w = reinterpret_cast<const int16_t*>(b);
        HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
          const VI a = broadcast_quad(rows[i] + 4 * q);
          const VW even = hn::BitCast(dw, hn::And(a, hn::Set(di, 0x00ff00ff)));
          const VW odd = hn::BitCast(dw, hn::ShiftRight<8>(hn::BitCast(hn::ScalableTag<uint16_t>(), a)));
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
            acc[i][j] = hn::Add(acc[i][j], pair_sums(even, hn::LoadU(dw, w + 4 * j * kLanes)));
            acc[i][j] = hn::Add(acc[i][j], pair_sums(odd, hn::LoadU(dw, w + 4 * j * kLanes + 2 * kLanes)));
          }
        }
#endif
        b += kVectors * kVectorBytes;
      }
    }
  }
  if (!finish_tile<kRows, kVectors>(t, acc) && t.table != nullptr) int8_codes_target().map(t.out, t.pitch, t.out, t.pitch, t.rows, t.cols, t.table);
}

template <int kVectors, int kRows = 1>
void tile_rows(const Int8Tile& t) {
  if constexpr (kRows < most_rows(kVectors)) {
    if (t.rows > kRows) return tile_rows<kVectors, kRows + 1>(t);
  }
  tile<kRows, kVectors>(t);
}

void tile_any(const Int8Tile& t) noexcept {
  switch (t.nv) {
    case 1: return tile_rows<1>(t);
    case 2: return tile_rows<2>(t);
    default: return tile_rows<3>(t);
  }
}

void interleave(const uint8_t* const rows[4], const int64_t steps[4], int64_t count, int64_t blocks, uint8_t* out) noexcept {
  const DB db;
  const hn::ScalableTag<uint16_t> dh;
  const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  for (int64_t i = 0; i < count; ++i, r0 += steps[0], r1 += steps[1], r2 += steps[2], r3 += steps[3])
    for (int64_t block = 0; block < blocks; ++block, out += 16 * kLanes) {
      const int64_t c = block * 4 * kLanes;
      const VB v0 = hn::LoadU(db, r0 + c), v1 = hn::LoadU(db, r1 + c), v2 = hn::LoadU(db, r2 + c), v3 = hn::LoadU(db, r3 + c);
      const auto lo01 = hn::BitCast(dh, hn::InterleaveLower(db, v0, v1)), hi01 = hn::BitCast(dh, hn::InterleaveUpper(db, v0, v1));
      const auto lo23 = hn::BitCast(dh, hn::InterleaveLower(db, v2, v3)), hi23 = hn::BitCast(dh, hn::InterleaveUpper(db, v2, v3));
      hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, lo01, lo23)), db, out);
      hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, lo01, lo23)), db, out + 4 * kLanes);
      hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, hi01, hi23)), db, out + 8 * kLanes);
      hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, hi01, hi23)), db, out + 12 * kLanes);
    }
}

// What a column of the kernel adds to four vectors of sums.
HWY_INLINE void add_column(VI (&acc)[4], const uint8_t* in, const int8_t* w) {
  const DI di;
  HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
    const VI a = hn::BitCast(di, hn::LoadU(DB(), in + 4 * j * kLanes));
#if MLT_INT8_DOT
    acc[j] = dot(acc[j], a, hn::BitCast(di, hn::LoadU(hn::ScalableTag<int8_t>(), w + j * kVectorBytes)));
#else
    const DW dw;
    const auto* pairs = reinterpret_cast<const int16_t*>(w + j * kVectorBytes);
    const VW even = hn::BitCast(dw, hn::And(a, hn::Set(di, 0x00ff00ff)));
    const VW odd = hn::BitCast(dw, hn::ShiftRight<8>(hn::BitCast(hn::ScalableTag<uint16_t>(), a)));
    acc[j] = hn::Add(acc[j], hn::Add(pair_sums(even, hn::LoadU(dw, pairs)), pair_sums(odd, hn::LoadU(dw, pairs + 2 * kLanes))));
#endif
  }
}

// Three columns of at most four rows, and nothing but bounds: the weights stay in registers.
HWY_INLINE void depthwise3(const Int8DepthwiseRow& r, const Finish& finish, int64_t block, const int8_t* weights, const VI (&start)[4], const V (&scale)[4],
                           const V (&bias)[4]) {
  const D d;
  const int64_t column = r.blocks * 16 * kLanes, n = std::min<int64_t>(4 * kLanes, r.channels - block * 4 * kLanes);
  const uint8_t* in = r.quads + block * 16 * kLanes;
  uint8_t* out = r.out + block * 4 * kLanes;
#if MLT_INT8_DOT
  VI w[12];
  HWY_UNROLL(12) for (int i = 0; i < 12; ++i) w[i] = hn::BitCast(DI(), hn::LoadU(hn::ScalableTag<int8_t>(), weights + i * kVectorBytes));
#endif
  for (int64_t x = 0; x < r.count; ++x, in += r.stride * column, out += r.channels) {
    VI acc[4] = {start[0], start[1], start[2], start[3]};
    HWY_UNROLL(3) for (int kx = 0; kx < 3; ++kx) {
#if MLT_INT8_DOT
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j)
        acc[j] = dot(acc[j], hn::BitCast(DI(), hn::LoadU(DB(), in + kx * r.dilation * column + 4 * j * kLanes)), w[kx * 4 + j]);
#else
      add_column(acc, in + kx * r.dilation * column, weights + kx * 4 * kVectorBytes);
#endif
    }
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) v[j] = hn::MulAdd(hn::ConvertTo(d, acc[j]), scale[j], bias[j]);
    store_bytes(narrow_fitting(v[0], v[1], v[2], v[3], finish.zero16, finish.code_lo, finish.code_hi), out, n);
  }
}

void depthwise(const Int8DepthwiseRow& r) noexcept {
  const D d;
  const DI di;
  const Finish finish(*r.finish);
  const bool cheap = is_cheap(r.finish->f.op);
  const int64_t column = r.blocks * 16 * kLanes, group = r.columns * column;
  for (int64_t block = 0; block < r.blocks; ++block) {
    const int64_t c0 = block * 4 * kLanes, n = std::min<int64_t>(4 * kLanes, r.channels - c0);
    const int8_t* weights = r.weights + block * r.groups * r.kernel_w * 4 * kVectorBytes;
    VI start[4];
    V scale[4], bias[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      start[j] = hn::LoadU(di, r.start + c0 + j * kLanes);
      scale[j] = hn::LoadU(d, r.scale + c0 + j * kLanes);
      bias[j] = hn::LoadU(d, r.bias + c0 + j * kLanes);
    }
    if (finish.plain && finish.fits && r.residual == nullptr && r.groups == 1 && r.kernel_w == 3) {
      depthwise3(r, finish, block, weights, start, scale, bias);
      continue;
    }
    for (int64_t x = 0; x < r.count; ++x) {
      VI acc[4] = {start[0], start[1], start[2], start[3]};
      const uint8_t* in = r.quads + x * r.stride * column + block * 16 * kLanes;
      const int8_t* w = weights;
      for (int64_t g = 0; g < r.groups; ++g, in += group)
        for (int64_t kx = 0; kx < r.kernel_w; ++kx, w += 4 * kVectorBytes) add_column(acc, in + kx * r.dilation * column, w);
      // Four codes of each sixteen channels lie in each vector: narrow() brings them in order.
      V v[4];
      HWY_ALIGN uint8_t others[4 * kLanes];
      if (r.residual != nullptr)
        for (int64_t c = 0; c < n; ++c) others[interleaved_place(c, kLanes)] = r.residual[x * r.channels + c0 + c];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
        v[j] = hn::MulAdd(hn::ConvertTo(d, acc[j]), scale[j], bias[j]);
        v[j] = finish.value(v[j], r.residual != nullptr ? others + j * kLanes : nullptr);
      }
      const int64_t at = x * r.channels + c0;
      if (cheap && finish.narrows) {
        store_bytes(narrow(finish.code(v[0]), finish.code(v[1]), finish.code(v[2]), finish.code(v[3])), r.out + at, n);
        continue;
      }
      HWY_ALIGN float mixed[4 * kLanes];
      HWY_ALIGN float values[4 * kLanes];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) hn::Store(v[j], d, mixed + j * kLanes);
      for (int64_t c = 0; c < n; ++c) values[c] = mixed[interleaved_place(c, kLanes)];
      if (cheap) {
        std::memcpy(r.out_float + at, values, static_cast<size_t>(n) * sizeof(float));
      } else {
        finish_slowly(*r.finish, finish, values, n, r.out + at, r.out_float + at);
      }
    }
  }
  if (r.table != nullptr) int8_codes_target().map(r.out, 0, r.out, 0, 1, r.count * r.channels, r.table);
}

const Int8Target* simd_target() {
  static constexpr Int8Target kTarget{MLT_INT8_DOT ? "int8 vnni 8x48" : HWY_TARGET == HWY_AVX3 ? "int8 8x48" : HWY_TARGET == HWY_AVX2 ? "int8 4x24" : kMr == 8 ? "int8 8x12" : "int8 4x12",
                                      {most_rows(1), most_rows(2), most_rows(3)}, kNv, kLanes, !MLT_INT8_DOT, tile_any, interleave, depthwise};
  return &kTarget;
}

#else
const Int8Target* simd_target() { return nullptr; }
#endif
}  // namespace
const Int8Target* int8_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(int8_simd_target);
const Int8Target* int8_simd() { return HWY_DYNAMIC_DISPATCH(int8_simd_target)(); }
}  // namespace mlt
#endif
