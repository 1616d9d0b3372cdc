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
#include <array>
#include <cstring>
#include <utility>

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
constexpr int kMr = 8, kNv = MLT_INT8_DOT ? 4 : 3;
#else
constexpr int kMr = 4, kNv = 3;
#endif
// Rows of a tile: narrow ones take more, so that as many sums are under way.
constexpr int most_rows(int vectors) { return MLT_INT8_DOT ? (vectors == 1 ? 16 : vectors == 2 ? 12 : vectors == 3 ? kMr : 6) : kMr; }

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

#if MLT_INT8_CURVES
struct Curve {
  explicit HWY_INLINE Curve(const Int8Curve& curve)
      : per_unit(hn::Set(D(), curve.per_unit)), half(hn::Set(D(), curve.half)), least(hn::Set(D(), curve.least)) {
    HWY_UNROLL(4) for (int k = 0; k < 4; ++k) lower[k] = hn::Load(D(), curve.c[k]), upper[k] = hn::Load(D(), curve.c[k] + kLanes);
  }
  HWY_INLINE V operator()(V v) const {
    const D d;
    // Behind this number floats are the integers: the last bits of the sum are the piece.
    const V whole = hn::Set(d, 0x1p23f), last = hn::Set(d, 0x1p23f + (Int8Curve::kPieces - 1));
    const V x = hn::Max(v, least), s = hn::Mul(hn::Abs(x), per_unit), u = hn::Min(hn::Add(s, whole), last), at = hn::Sub(s, hn::Sub(u, whole));
    V y = piece(3, u);
    y = hn::MulAdd(y, at, piece(2, u));
    y = hn::MulAdd(y, at, piece(1, u));
    y = hn::MulAdd(y, at, piece(0, u));
    return hn::MulAdd(x, half, y);
  }
  HWY_INLINE V piece(int power, V u) const { return V{_mm512_permutex2var_ps(lower[power].raw, _mm512_castps_si512(u.raw), upper[power].raw)}; }
  V per_unit, half, least, lower[4], upper[4];
};

// Codes of an activation that is a curve, row by row from a copy of the sums.
template <int kVectors>
HWY_NOINLINE void finish_curved(const Int8Tile& t, const int32_t* sums) {
  const D d;
  const Curve curve(*t.finish->curve);
  const Fitting fitting(*t.finish);
  V scale[kVectors], bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) scale[j] = hn::LoadU(d, t.scale + j * kLanes), bias[j] = hn::LoadU(d, t.bias + j * kLanes);
  for (int i = 0; i < t.rows; ++i, sums += kVectors * kLanes) {
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = curve(hn::MulAdd(hn::ConvertTo(d, hn::Load(DI(), sums + j * kLanes)), scale[j], bias[j]));
    HWY_UNROLL(4) for (int j = kVectors; j < 4; ++j) v[j] = v[0];
    store_bytes(in_order(fitting(v[0], v[1], v[2], v[3])), t.out + i * t.pitch, t.cols);
  }
}
#endif

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

// Stores all rows, as many at once as fill a vector of codes: four, two or one.
template <int kRows, int kVectors, bool kBare>
HWY_INLINE void finish_fitting(const Int8Tile& t, VI (&acc)[kRows][kVectors], const V (&scale)[kVectors], const V (&bias)[kVectors], const Fitting& fitting) {
  constexpr int kTogether = 4 / kVectors;
  uint8_t* to = t.out;
  const int64_t pitch = t.pitch, cols = t.cols;
#if MLT_INT8_DOT
  const uint8_t* table = t.table;
  const Lookup lookup(table != nullptr ? table : kNoTable);
#endif
  HWY_UNROLL(16) for (int i = 0; i < kRows; i += kTogether, to += kTogether * pitch) {
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      if (j >= kTogether * kVectors) {
        v[j] = v[0];
        continue;
      }
      const int row = i + j / kVectors < kRows ? i + j / kVectors : i, column = j % kVectors;
      v[j] = hn::MulAdd(hn::ConvertTo(D(), acc[row][column]), scale[column], bias[column]);
    }
    VB codes = in_order(fitting.template operator()<kBare>(v[0], v[1], v[2], v[3]));
#if MLT_INT8_DOT
    if (table != nullptr) codes = VB{lookup(codes.raw)};
#endif
    if (kTogether == 1) {
      store_bytes(codes, to, cols);
    } else {
      store_rows<kTogether, kVectors>(codes, to, pitch, cols, kRows - i);
    }
  }
}

// Codes of a sum of two tensors, whose scales the caller has put together: see adds_codes().
template <int kRows, int kVectors, bool kBare>
HWY_INLINE void finish_adding(const Int8Tile& t, VI (&acc)[kRows][kVectors], const V (&scale)[kVectors], const V (&bias)[kVectors], const Fitting& fitting) {
  const D d;
  const Int8Finish& f = *t.finish;
  const V lo = hn::Set(d, f.between_lo), hi = hn::Set(d, f.between_hi), between = hn::Set(d, f.between_scale);
  const V factor = hn::Set(d, f.residual_scale), shift = hn::Set(d, f.residual_shift);
  uint8_t* to = t.out;
  const int64_t pitch = t.pitch, cols = t.cols;
  const uint8_t* residual = t.residual;
  int64_t step = pitch;
  // Loads wait for stores to the bytes they want, masked or not, and the sum may be made in place.
  HWY_ALIGN uint8_t rows[kRows * 4 * kLanes];
  if (pitch < 4 * kLanes) {
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) hn::Store(hn::LoadU(DB(), residual + i * pitch), DB(), rows + i * 4 * kLanes);
    residual = rows, step = 4 * kLanes;
  }
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i, residual += step, to += pitch) {
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V other = hn::MulAdd(code_floats(residual + j * kLanes), factor, shift);
      v[j] = hn::MulAdd(hn::ConvertTo(d, acc[i][j]), scale[j], bias[j]);
      v[j] = hn::MulAdd(hn::Round(hn::Min(hi, hn::Max(v[j], lo))), between, other);
    }
    HWY_UNROLL(4) for (int j = kVectors; j < 4; ++j) v[j] = v[0];
    store_bytes(in_order(fitting.template operator()<kBare>(v[0], v[1], v[2], v[3])), to, cols);
  }
}

// False when codes are stored that the table has yet to be asked for.
template <int kRows, int kVectors>
HWY_INLINE bool finish_tile(const Int8Tile& t, VI (&acc)[kRows][kVectors]) {
  const D d;
  const Int8Finish& f = *t.finish;
  const bool adds = adds_codes(f) && f.fits && t.residual != nullptr;
  if (!adds && (!f.narrow || f.between || f.inverse != 1.0f || f.f.op != Unary::kIdentity || t.residual != nullptr)) {
    HWY_ALIGN int32_t sums[kRows * kVectors * kLanes];
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(acc[i][j], DI(), sums + (i * kVectors + j) * kLanes);
    }
#if MLT_INT8_CURVES
    if (f.curve != nullptr) return finish_curved<kVectors>(t, sums), false;
#endif
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
  if (adds) {
    const Fitting fitting(f);
    if (fitting.bare) finish_adding<kRows, kVectors, true>(t, acc, scale, bias, fitting);
    else finish_adding<kRows, kVectors, false>(t, acc, scale, bias, fitting);
    return false;
  }
  if (f.fits) {
    const Fitting fitting(f);
    if (fitting.bare) finish_fitting<kRows, kVectors, true>(t, acc, scale, bias, fitting);
    else finish_fitting<kRows, kVectors, false>(t, acc, scale, bias, fitting);
    return MLT_INT8_DOT;
  }
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    VI c[4] = {none, none, none, none};
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V v = hn::MulAdd(hn::ConvertTo(d, acc[i][j]), scale[j], bias[j]);
      c[j] = hn::Add(nearest(hn::Min(hi, hn::Max(v, lo))), zero);
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

#if MLT_INT8_DOT
// What the quad `at` codes behind the rows' begin adds.
template <int kRows, int kVectors>
HWY_INLINE void add_quad(VI (&acc)[kRows][kVectors], const uint8_t* const (&rows)[kRows], int64_t at, const int8_t* b) {
  VI bv[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::BitCast(DI(), hn::LoadU(hn::ScalableTag<int8_t>(), b + j * kVectorBytes));
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    const VI a = broadcast_quad(rows[i] + at);
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = dot(acc[i][j], a, bv[j]);
  }
}
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
#if MLT_INT8_DOT
      int64_t q = from;
      for (; q + 2 <= end; q += 2, b += 2 * kVectors * kVectorBytes) {
        add_quad<kRows, kVectors>(acc, rows, 4 * q, b);
        add_quad<kRows, kVectors>(acc, rows, 4 * q + 4, b + kVectors * kVectorBytes);
      }
      if (q < end) {
        add_quad<kRows, kVectors>(acc, rows, 4 * q, b);
        b += kVectors * kVectorBytes;
      }
#else
      for (int64_t q = from; q < end; ++q) {
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
        b += kVectors * kVectorBytes;
      }
#endif
    }
  }
  if (!finish_tile<kRows, kVectors>(t, acc) && t.table != nullptr) int8_codes_target().map(t.out, t.pitch, t.out, t.pitch, t.rows, t.cols, t.table);
}

#if MLT_INT8_DOT
// The same of as many rows as there are at most, which lie equally far apart: there are fewer registers than pointers to
// them.
template <int kVectors>
HWY_NOINLINE void tile_apart(const Int8Tile& t) {
  constexpr int kRows = most_rows(kVectors);
  VI acc[kRows][kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    const VI start = hn::LoadU(DI(), t.start + j * kLanes);
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) acc[i][j] = start;
  }
  const uint8_t* row = t.taps[0] + t.shift;
  const int8_t* HWY_RESTRICT b = t.b;
  const int8_t* ahead = t.ahead;
  const int64_t quads = t.quads, step = t.step, every = ahead != nullptr ? t.ahead_every : quads;
  for (int64_t from = 0; from < quads; from += every) {
    if (ahead != nullptr) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += 64;
    }
    const int64_t end = quads - from < every ? quads : from + every;
    for (int64_t q = from; q < end; ++q, row += 4, b += kVectors * kVectorBytes) {
      VI bv[kVectors];
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::BitCast(DI(), hn::LoadU(hn::ScalableTag<int8_t>(), b + j * kVectorBytes));
      const uint8_t* four = row;
      HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
        if (i > 0 && i % 4 == 0) four += 4 * step;
        const VI a = broadcast_quad(four + i % 4 * step);
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = dot(acc[i][j], a, bv[j]);
      }
    }
  }
  if (!finish_tile<kRows, kVectors>(t, acc) && t.table != nullptr) int8_codes_target().map(t.out, t.pitch, t.out, t.pitch, t.rows, t.cols, t.table);
}
#endif

using TileFunction = void (*)(const Int8Tile& t);
constexpr int kMostRows = 16;

template <int kVectors, int... kRows>
constexpr std::array<TileFunction, kMostRows> tiles_of(std::integer_sequence<int, kRows...>) {
  return {tile<kRows + 1, kVectors>...};
}

void tile_any(const Int8Tile& t) noexcept {
  static constexpr std::array<TileFunction, kMostRows> kTiles[] = {tiles_of<1>(std::make_integer_sequence<int, most_rows(1)>()), tiles_of<2>(std::make_integer_sequence<int, most_rows(2)>()),
                                                                   tiles_of<3>(std::make_integer_sequence<int, most_rows(3)>()),
#if MLT_INT8_DOT
                                                                   tiles_of<4>(std::make_integer_sequence<int, most_rows(4)>()),
#endif
  };
#if MLT_INT8_DOT
  if (t.step != 0 && t.nv == 1 && t.rows == most_rows(1)) return tile_apart<1>(t);
  if (t.step != 0 && t.nv == 2 && t.rows == most_rows(2)) return tile_apart<2>(t);
#endif
  kTiles[t.nv - 1][static_cast<size_t>(t.rows - 1)](t);
}

// The share of each place, side by side.
template <int kPlaces>
HWY_INLINE VB load_places(const uint8_t* const (&from)[kInt8Places], int64_t at) {
  if constexpr (kPlaces == 1) {
    return hn::LoadU(DB(), from[0] + at);
  } else {
    const hn::Half<DB> half;
    if constexpr (kPlaces == 2) {
      return hn::Combine(DB(), hn::LoadU(half, from[1] + at), hn::LoadU(half, from[0] + at));
    } else {
      const hn::Half<decltype(half)> quarter;
      return hn::Combine(DB(), hn::Combine(half, hn::LoadU(quarter, from[3] + at), hn::LoadU(quarter, from[2] + at)),
                         hn::Combine(half, hn::LoadU(quarter, from[1] + at), hn::LoadU(quarter, from[0] + at)));
    }
  }
}

template <int kPlaces>
HWY_INLINE void interleave_places(const Int8Columns& t) {
  const DB db;
  const hn::ScalableTag<uint16_t> dh;
  int64_t at[4] = {0, 0, 0, 0};
  uint8_t* out = t.out;
  for (int64_t i = 0; i < t.count; ++i, out += 16 * kLanes) {
    const VB v0 = load_places<kPlaces>(t.from[0], at[0]), v1 = load_places<kPlaces>(t.from[1], at[1]);
    const VB v2 = load_places<kPlaces>(t.from[2], at[2]), v3 = load_places<kPlaces>(t.from[3], at[3]);
    const auto lo01 = hn::BitCast(dh, hn::InterleaveLower(db, v0, v1)), hi01 = hn::BitCast(dh, hn::InterleaveUpper(db, v0, v1));
    const auto lo23 = hn::BitCast(dh, hn::InterleaveLower(db, v2, v3)), hi23 = hn::BitCast(dh, hn::InterleaveUpper(db, v2, v3));
    hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, lo01, lo23)), db, out);
    hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, lo01, lo23)), db, out + 4 * kLanes);
    hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, hi01, hi23)), db, out + 8 * kLanes);
    hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, hi01, hi23)), db, out + 12 * kLanes);
    HWY_UNROLL(4) for (int e = 0; e < 4; ++e) at[e] += t.step[e];
  }
}

void interleave(const Int8Columns& t) noexcept {
  if constexpr (kLanes >= 16)
    if (t.places == 4) return interleave_places<4>(t);
  if constexpr (kLanes >= 8)
    if (t.places == 2) return interleave_places<2>(t);
  interleave_places<1>(t);
}

// What a column of the kernel adds to the sums of pixels whose columns lie `step` bytes apart.
template <int kCount>
HWY_INLINE void add_column(VI (&acc)[kCount][4], const uint8_t* in, int64_t step, const int8_t* w) {
  const DI di;
  HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
#if MLT_INT8_DOT
    const VI weights = hn::BitCast(di, hn::LoadU(hn::ScalableTag<int8_t>(), w + j * kVectorBytes));
    HWY_UNROLL(4) for (int i = 0; i < kCount; ++i) acc[i][j] = dot(acc[i][j], hn::BitCast(di, hn::LoadU(DB(), in + i * step + 4 * j * kLanes)), weights);
#else
    const DW dw;
    const auto* pairs = reinterpret_cast<const int16_t*>(w + j * kVectorBytes);
    HWY_UNROLL(4) for (int i = 0; i < kCount; ++i) {
      const VI a = hn::BitCast(di, hn::LoadU(DB(), in + i * step + 4 * j * kLanes));
      const VW even = hn::BitCast(dw, hn::And(a, hn::Set(di, 0x00ff00ff)));
      const VW odd = hn::BitCast(dw, hn::ShiftRight<8>(hn::BitCast(hn::ScalableTag<uint16_t>(), a)));
      acc[i][j] = hn::Add(acc[i][j], hn::Add(pair_sums(even, hn::LoadU(dw, pairs)), pair_sums(odd, hn::LoadU(dw, pairs + 2 * kLanes))));
    }
#endif
  }
}

// Four codes of each sixteen channels lie in each vector of sums: narrow() brings them in order.
template <int kPlaces>
HWY_INLINE void store_places(VB v, uint8_t* out, const int64_t (&at)[kInt8Places], int64_t n) {
  if constexpr (kPlaces == 1) {
    store_bytes(v, out + at[0], n);
  } else {
    HWY_ALIGN uint8_t edge[4 * kLanes];
    hn::Store(v, DB(), edge);
    HWY_UNROLL(4) for (int i = 0; i < kPlaces; ++i) {
      if (n == 4 * kLanes / kPlaces) std::memcpy(out + at[i], edge + i * 4 * kLanes / kPlaces, 4 * kLanes / kPlaces);
      else std::memcpy(out + at[i], edge + i * 4 * kLanes / kPlaces, static_cast<size_t>(n));
    }
  }
}

// Pixels whose sums are made at once, so that the weights are loaded once for all.
constexpr int kPixels = kLanes == 16 ? 4 : 2;

template <int kCount>
HWY_INLINE void depthwise_sums(const Int8DepthwiseRun& r, int64_t x, VI (&acc)[kCount][4]) {
  constexpr int64_t kColumn = 16 * kLanes;
  HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
    const VI start = hn::LoadU(DI(), r.start + j * kLanes);
    HWY_UNROLL(4) for (int i = 0; i < kCount; ++i) acc[i][j] = start;
  }
  const int8_t* w = r.weights;
  const uint8_t* in = r.quads + x * r.stride * kColumn;
  for (int64_t g = 0; g < r.groups; ++g, in += r.columns * kColumn) {
    const uint8_t* column = in;
    for (int64_t kx = 0; kx < r.kernel_w; ++kx, column += r.dilation * kColumn, w += 4 * kVectorBytes)
      add_column<kCount>(acc, column, r.stride * kColumn, w);
  }
}

template <int kPlaces, int kCount, bool kBare>
HWY_INLINE void depthwise_plain(const Int8DepthwiseRun& r, const Fitting& fitting, const V (&scale)[4], const V (&bias)[4], int64_t x) {
  VI acc[kCount][4];
  depthwise_sums<kCount>(r, x, acc);
  const int64_t pitch = r.pitch, n = r.channels;
  uint8_t* to = r.out + x * pitch;
  HWY_UNROLL(4) for (int i = 0; i < kCount; ++i, to += pitch) {
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) v[j] = hn::MulAdd(hn::ConvertTo(D(), acc[i][j]), scale[j], bias[j]);
    store_places<kPlaces>(fitting.template operator()<kBare>(v[0], v[1], v[2], v[3]), to, r.at, n);
  }
}

template <int kPlaces, bool kBare>
HWY_NOINLINE void depthwise_plain(const Int8DepthwiseRun& run) {
  const Int8DepthwiseRun r = run;  // which no store can change
  const Fitting fitting(*r.finish);
  V scale[4], bias[4];
  HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
    scale[j] = hn::LoadU(D(), r.scale + j * kLanes);
    bias[j] = hn::LoadU(D(), r.bias + j * kLanes);
  }
  int64_t x = 0;
  for (; x + kPixels <= r.count; x += kPixels) depthwise_plain<kPlaces, kPixels, kBare>(r, fitting, scale, bias, x);
  if (kPixels > 2 && r.count - x >= 2) depthwise_plain<kPlaces, 2, kBare>(r, fitting, scale, bias, x), x += 2;
  if (x < r.count) depthwise_plain<kPlaces, 1, kBare>(r, fitting, scale, bias, x);
}

template <int kPlaces>
HWY_INLINE void depthwise_plain(const Int8DepthwiseRun& r) {
  if (Fitting(*r.finish).bare) depthwise_plain<kPlaces, true>(r);
  else depthwise_plain<kPlaces, false>(r);
}

void depthwise(const Int8DepthwiseRun& r) noexcept {
  if (int8_is_plain(*r.finish) && r.residual == nullptr) {
    if constexpr (kLanes >= 16)
      if (r.places == 4) return depthwise_plain<4>(r);
    if constexpr (kLanes >= 8)
      if (r.places == 2) return depthwise_plain<2>(r);
    return depthwise_plain<1>(r);
  }
  const D d;
  const Finish finish(*r.finish);
  const bool cheap = is_cheap(r.finish->f.op);
  const int64_t n = r.channels;
  for (int64_t x = 0; x < r.count; ++x) {
    VI acc[1][4];
    depthwise_sums<1>(r, x, acc);
    const int64_t at = r.at[0] + x * r.pitch;
    V v[4];
    HWY_ALIGN uint8_t others[4 * kLanes];
    if (r.residual != nullptr)
      for (int64_t c = 0; c < n; ++c) others[interleaved_place(c, kLanes)] = r.residual[at + c];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      v[j] = hn::MulAdd(hn::ConvertTo(d, acc[0][j]), hn::LoadU(d, r.scale + j * kLanes), hn::LoadU(d, r.bias + j * kLanes));
      v[j] = finish.value(v[j], r.residual != nullptr ? others + j * kLanes : nullptr);
    }
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
      finish_slowly(*r.finish, finish, values, n, finish.narrows ? r.out + at : nullptr, finish.narrows ? nullptr : r.out_float + at);
    }
  }
}

const Int8Target* simd_target() {
  static constexpr Int8Target kTarget{MLT_INT8_DOT ? "int8 vnni 8x48" : HWY_TARGET == HWY_AVX3 ? "int8 8x48" : HWY_TARGET == HWY_AVX2 ? "int8 4x24" : kMr == 8 ? "int8 8x12" : "int8 4x12",
                                      {most_rows(1), most_rows(2), most_rows(3), most_rows(4)}, kNv, kLanes, !MLT_INT8_DOT, MLT_INT8_CURVES, tile_any, interleave, depthwise};
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
