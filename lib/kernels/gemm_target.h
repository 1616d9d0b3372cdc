// Internal: the tile kernel that matrix products and convolutions are built from.
//
// A tile is up to `mr` rows by up to `nv` vectors of columns of C, held in registers while k runs. B is a panel: for
// each k, the tile's columns adjacent (nv * lanes, zero-padded). A is either rows of the caller's matrix ("direct") or
// a packed panel: for each k, the tile's rows adjacent.
#pragma once
#include <algorithm>
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

struct Tile {
  int64_t k = 0;
  const float* a = nullptr;
  int64_t lda = 0;  // direct only
  const float* b = nullptr;
  const int32_t* offsets = nullptr;  // gather only: for each k, where its columns begin, from b
  const float* const* taps = nullptr;  // taps only: for each segment, a pointer for each row to its k floats of A
  int64_t segments = 1;                // taps only: A is k * segments deep
  const float* ahead = nullptr;      // packed, direct and taps: memory to fetch; null for none. packed: 16 floats for each k
  int64_t ahead_lines = 0;           // direct and taps: about so many times 16 floats, at most two for each k
  bool heavy = false;                // direct and direct_half: all of B is more than a near cache holds
  bool far = false;                  // direct and taps: fetches c and the residual, if there is one, while sums are made
  const uint16_t* half_b = nullptr;  // instead of b, for direct_half
  float* c = nullptr;
  int64_t ldc = 0;
  int rows = 0, nv = 0;
  int64_t cols = 0;  // valid columns, <= nv * lanes
  // c = [c +] alpha * a.b [+ bias_col[j]] [+ bias_row[i]] [+ residual], then f. Callers that split k add the residual
  // with the first part, because it may be what c held before, and leave the biases and f to the last.
  float alpha = 1;
  bool accumulate = false;
  const float* bias_col = nullptr;
  const float* bias_row = nullptr;
  const float* residual = nullptr;
  int64_t ldr = 0;
  Activation f{};
};

struct GemmTarget {
  const char* name;
  int mr, nv, lanes;
  void (*direct)(const Tile&) noexcept;
  void (*packed)(const Tile&) noexcept;
  // As direct, with B in float16 and at most kHalfRows rows.
  void (*direct_half)(const Tile&) noexcept;
  // As packed, with the columns of each k anywhere. Whole vectors are read.
  void (*gather)(const Tile&) noexcept;
  // As direct, with A's rows in pieces that lie anywhere.
  void (*taps)(const Tile&) noexcept;
  // Expands float16 panels.
  void (*expand)(const uint16_t* in, float* out, int64_t count) noexcept;
};

inline constexpr int kHalfRows = 4;

// Products of bfloat16, two k at a time.
struct Bf16Target {
  const GemmTarget* gemm;  // direct only
  void (*narrow)(const float* in, uint16_t* out, int64_t count) noexcept;
};

// The table in use.
const GemmTarget& gemm_target() noexcept;

// Columns are cut into panels of 3 vectors, the last one or two narrower so that none is a lone vector (a one-vector
// tile cannot keep the multipliers busy).
struct Panels {
  Panels(int64_t columns, const GemmTarget& target)
      : lanes(target.lanes), cols(columns), vectors((columns + lanes - 1) / lanes) {
    count = (vectors + target.nv - 1) / target.nv;
    widest = target.nv;
    narrow = count * widest - vectors;  // this many panels lack one vector
    if (vectors < widest) widest = vectors, narrow = 0;
  }
  int64_t width_in_vectors(int64_t panel) const { return widest - (panel >= count - narrow ? 1 : 0); }
  int64_t first_column(int64_t panel) const {
    int64_t full = count - narrow;
    return lanes * (panel * widest - std::max<int64_t>(0, panel - full));
  }
  int64_t padded_columns() const { return vectors * lanes; }
  int64_t lanes, cols, vectors, count = 0, widest = 0, narrow = 0;
};

// Rows in tiles of equal size, rather than a few full ones and a tiny rest.
inline int64_t balanced_tile(int64_t rows, int64_t most) {
  int64_t tiles = (rows + most - 1) / most;
  return (rows + tiles - 1) / tiles;
}

// k is cut into equal parts of at most about `most`; the last part may be shorter.
inline int64_t balanced_depth(int64_t k, int64_t most) {
  int64_t parts = (k + most - 1) / most;
  return parts <= 1 ? k : (k + parts - 1) / parts;
}

// C = f(alpha * A . B + bias + residual) over all panels of B.
struct Product {
  const GemmTarget& target;
  int64_t m, n, k, depth;
  const float* a;
  int64_t lda;
  const float* packed;  // for each depth block: panels
  const uint16_t* half_packed;  // or these
  float* c;
  int64_t ldc;
  float alpha;
  const float* bias;
  Activation f;
  const float* residual;
  int64_t ldr;
  const void* ahead = nullptr;  // what is read after this panel, to be fetched while this one is used
  int64_t ahead_bytes = 0;
};
void run_product(const Product& g) noexcept;

inline constexpr int64_t kProductDepth = 1024;  // of k at once, at most about
// Weights beyond this do not stay in a second-level cache from one product to the next.
inline constexpr int64_t kNearBytes = 1536 * 1024;

// Packs W, [n, k] through its strides: for each part of k of `depth`, panels of columns (that is, of n).
// Panels(n).padded_columns() * k floats.
template <typename T>
void pack_columns(const GemmTarget& target, const T* w, int64_t n, int64_t k, int64_t row_stride,
                  int64_t col_stride, int64_t depth, T* out) noexcept;

// A [k, cols] block of a right operand, through its strides, as one panel of `width` columns, zero-padded.
void pack_panel(const float* b, int64_t k_stride, int64_t n_stride, int64_t k, int64_t cols, int64_t width, float* out) noexcept;

inline bool is_cheap(Unary op) {
  return op == Unary::kIdentity || op == Unary::kRelu || op == Unary::kClip || op == Unary::kLeakyRelu;
}

}  // namespace mlt
