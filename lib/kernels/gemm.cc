#include "lib/kernels/gemm.h"

#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/row_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/transpose_target.h"

namespace mlt {

const GemmTarget* gemm_simd();

namespace {

enum class Form { kDirect, kPacked, kGather, kTaps };

template <Form kForm>
void reference_tile(const Tile& t) noexcept {
  const int64_t width = t.nv * 4;
  for (int i = 0; i < t.rows; ++i) {
    float* c = t.c + i * t.ldc;
    for (int64_t j = 0; j < t.cols; ++j) {
      float sum = 0;
      if constexpr (kForm == Form::kTaps) {
        for (int64_t s = 0; s < t.segments; ++s)
          for (int64_t k = 0; k < t.k; ++k) sum += t.taps[s * t.rows + i][k] * t.b[(s * t.k + k) * width + j];
      } else {
        for (int64_t k = 0; k < t.k; ++k)
          sum += (kForm == Form::kDirect ? t.a[i * t.lda + k] : t.a[k * t.rows + i]) *
                 t.b[(kForm == Form::kGather ? t.offsets[k] : k * width) + j];
      }
      sum *= t.alpha;
      if (t.bias_col != nullptr) sum += t.bias_col[j];
      if (t.bias_row != nullptr) sum += t.bias_row[i];
      if (t.accumulate) sum += c[j];
      if (t.residual != nullptr) sum += t.residual[i * t.ldr + j];
      c[j] = sum;
    }
    if (t.f.op != Unary::kIdentity) unary(t.f, c, c, t.cols);
  }
}

void reference_half(const Tile& t) noexcept {
  const int64_t width = t.nv * 4;
  for (int i = 0; i < t.rows; ++i)
    for (int64_t j = 0; j < t.cols; ++j) {
      float sum = 0;
      for (int64_t k = 0; k < t.k; ++k) sum += t.a[i * t.lda + k] * half_to_float(t.half_b[k * width + j]);
      // The rest as for one column.
      float* c = t.c + i * t.ldc + j;
      if (t.bias_col != nullptr) sum += t.bias_col[j];
      if (t.accumulate) sum += *c;
      if (t.residual != nullptr) sum += t.residual[i * t.ldr + j];
      unary(t.f, &sum, c, 1);
      *c = t.f.op == Unary::kIdentity ? sum : *c;
    }
}
void reference_expand(const uint16_t* in, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = half_to_float(in[i]);
}

constexpr GemmTarget kReference{"reference", 4, 3, 4, reference_tile<Form::kDirect>, reference_tile<Form::kPacked>, reference_half,
                                reference_tile<Form::kGather>, reference_tile<Form::kTaps>, reference_expand};

// Rows of A that stay in the second-level cache next to a panel of B. B is read once for each block of rows: a matrix
// little larger than that is one block all the same.
constexpr int64_t kABlockFloats = 96 * 1024, kAWholeFloats = 256 * 1024;
constexpr int64_t kBlockFloats = 128 * 1024;  // read and written by a block of rows, where threads have rows of their own
constexpr int64_t kFarFloats = 128 * 1024;   // a residual this large has left that cache since it was made
constexpr int64_t kReadingRows = 8;          // reading a panel takes as long as multiplying so many rows by it
constexpr int64_t kDepth = kProductDepth;

// [k, n] block of B with any strides into panels of `width` columns, zero-padded.
template <typename T>
void pack_one(const T* b, int64_t k_stride, int64_t n_stride, int64_t k, int64_t cols, int64_t width, T* out) {
  if (n_stride == 1) {
    for (int64_t i = 0; i < k; ++i, out += width) {
      std::memcpy(out, b + i * k_stride, static_cast<size_t>(cols) * sizeof(T));
      for (int64_t j = cols; j < width; ++j) out[j] = 0;
    }
    return;
  }
  // Sixteen k at a time: each source line is read whole while the panel's rows stay in the first-level cache.
  const TransposeTile<uint32_t> tile = sizeof(T) == 4 && k_stride == 1 && !use_reference() ? transpose_tiles_simd().words : nullptr;
  for (int64_t k0 = 0; k0 < k; k0 += 16) {
    const int64_t k1 = std::min(k, k0 + 16);
    if (tile != nullptr) {
      tile(reinterpret_cast<const uint32_t*>(b + k0), n_stride, reinterpret_cast<uint32_t*>(out + k0 * width), width, cols, k1 - k0);
    } else {
      for (int64_t j = 0; j < cols; ++j)
        for (int64_t i = k0; i < k1; ++i) out[i * width + j] = b[i * k_stride + j * n_stride];
    }
    for (int64_t i = k0; i < k1; ++i)
      for (int64_t j = cols; j < width; ++j) out[i * width + j] = 0;
  }
}

// Rows [m0, m1) of one panel for k in [k0, k0 + kc); g's packed pointers are this panel's part.
void run_panel(const Product& g, const Panels& panels, int64_t panel, int64_t m0, int64_t m1, int64_t k0,
               int64_t kc) noexcept {
  const int64_t step = balanced_tile(m1 - m0, g.half_packed != nullptr ? kHalfRows : g.target.mr);
  const int64_t n0 = panels.first_column(panel);
  const bool last = k0 + kc == g.k;
  Tile t;
  t.k = kc;
  t.lda = g.lda;
  t.ldc = g.ldc;
  t.ldr = g.ldr;
  t.alpha = g.alpha;
  t.accumulate = k0 > 0;
  t.heavy = g.k * g.n * (g.half_packed != nullptr ? 2 : 4) > kNearBytes;
  t.far = k0 == 0 && g.residual != nullptr && g.m * g.n >= kFarFloats;
  if (last) t.f = g.f;
  t.nv = static_cast<int>(panels.width_in_vectors(panel));
  t.cols = std::min<int64_t>(t.nv * panels.lanes, g.n - n0);
  t.b = g.packed;
  t.half_b = g.half_packed;
  t.bias_col = last && g.bias != nullptr ? g.bias + n0 : nullptr;
  const auto kernel = g.half_packed != nullptr ? g.target.direct_half : g.target.direct;
  // Each tile fetches its share of the lines.
  const int64_t tiles = (m1 - m0 + step - 1) / step;
  const auto* ahead = static_cast<const float*>(g.ahead);
  t.ahead_lines = tiles > 2 ? (g.ahead_bytes / 64 + tiles - 1) / tiles : 0;
  for (int64_t m = m0; m < m1; m += step) {
    if (t.ahead_lines > 0) t.ahead = ahead + (m - m0) / step * t.ahead_lines * 16;
    t.rows = static_cast<int>(std::min(step, m1 - m));
    t.a = g.a + m * g.lda + k0;
    t.c = g.c + m * g.ldc + n0;
    t.residual = k0 == 0 && g.residual != nullptr ? g.residual + m * g.ldr + n0 : nullptr;
    kernel(t);
  }
}

// Rows [m0, m1) by panels [p0, p1).
void run_block(const Product& g, const Panels& panels, int64_t m0, int64_t m1, int64_t p0, int64_t p1) noexcept {
  Product one = g;
  for (int64_t k0 = 0; k0 < g.k; k0 += g.depth) {
    const int64_t kc = std::min(g.depth, g.k - k0);
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t at = panels.padded_columns() * k0 + panels.first_column(p) * kc;
      if (g.half_packed != nullptr) {
        one.half_packed = g.half_packed + at;
      } else {
        one.packed = g.packed + at;
        // With the last of these panels the next part of the first, and in the end the first part of the panel behind them.
        const bool turn = p + 1 == p1 && k0 + kc < g.k;
        const int64_t next_k = turn ? k0 + kc : p + 1 == p1 ? 0 : k0, next_p = turn ? p0 : p + 1;
        one.ahead_bytes = 0;
        if (next_p < panels.count) {
          const int64_t depth = std::min(g.depth, g.k - next_k);
          one.ahead = g.packed + panels.padded_columns() * next_k + panels.first_column(next_p) * depth;
          one.ahead_bytes = panels.width_in_vectors(next_p) * panels.lanes * depth * 4;
        }
      }
      run_panel(one, panels, p, m0, m1, k0, kc);
    }
  }
}

// Many rows: panels of float16 are expanded into a buffer, a part of k at a time, and used by all rows of a block.
void run_block_expanding(const Product& g, const Panels& panels, int64_t m0, int64_t m1, int64_t p0, int64_t p1) noexcept {
  constexpr int64_t kBuffer = 16 * 1024;
  alignas(64) float buffer[kBuffer];
  for (int64_t k0 = 0; k0 < g.k; k0 += g.depth) {
    const int64_t kc = std::min(g.depth, g.k - k0);
    for (int64_t p = p0; p < p1; ++p) {
      const int64_t n0 = panels.first_column(p), width = panels.width_in_vectors(p) * panels.lanes;
      const uint16_t* panel = g.half_packed + panels.padded_columns() * k0 + n0 * kc;
      const int64_t part = kBuffer / width;
      for (int64_t q = 0; q < kc; q += part) {
        const int64_t n = std::min(part, kc - q);
        g.target.expand(panel + q * width, buffer, n * width);
        // One panel as a product of its own.
        Product one = g;
        one.ahead = panel + (q + n) * width;
        one.ahead_bytes = panel + (q + 2 * n) * width <= g.half_packed + panels.padded_columns() * g.k ? n * width * 2 : 0;
        one.half_packed = nullptr;
        one.packed = buffer;
        run_panel(one, panels, p, m0, m1, k0 + q, n);
      }
    }
  }
}

}  // namespace

// Blocks of rows by panels, for the threads to share. Two ways: where the weights weigh little beside what is read and written,
// each thread keeps to rows of its own, which it or its cache has from the step before; otherwise to panels of its own.
void run_product(const Product& g) noexcept {
  const Panels panels(g.n, g.target);
  const int64_t tile_rows = balanced_tile(g.m, g.target.mr), tiles = (g.m + tile_rows - 1) / tile_rows;
  const int64_t floats = g.m * std::min(g.k, g.depth) <= kAWholeFloats ? kAWholeFloats : kABlockFloats;
  const int64_t most = std::max<int64_t>(1, floats / std::min(g.k, g.depth) / tile_rows);  // tiles of one block
  const int64_t threads = threads_here();
  int64_t blocks = (tiles + most - 1) / most;
  bool by_rows = blocks > 1;
  if (threads > 1) {
    by_rows = (by_rows || g.n * g.k <= 2 * g.m * (g.k + g.n)) && tiles >= 4 * threads;
    if (by_rows) {
      // Each block reads all weights: few blocks, unless what they read and write leaves the cache between two panels, or few
      // panels leave nothing to even the ends out with.
      const int64_t even = panels.count >= 4 ? threads : panels.count >= 2 ? 2 * threads : 4 * threads;
      const int64_t wanted = g.half_packed != nullptr ? threads : std::max(even, g.m * (g.k + g.n) / kBlockFloats);
      blocks = std::min(tiles, (std::max(blocks, wanted) + threads - 1) / threads * threads);
    } else if ((panels.count < 4 * threads || panels.count % threads != 0) && g.half_packed == nullptr) {
      blocks = std::max<int64_t>(blocks, std::min<int64_t>(panels.count <= 2 * threads ? 4 : 2, tiles / 2));
    }
  }
  by_rows = by_rows || blocks == 1;
  const auto first_row = [&](int64_t block) { return std::min(g.m, tiles * block / blocks * tile_rows); };
  const int64_t work = std::max(g.m / blocks, kReadingRows) * g.k * panels.widest * panels.lanes / 8;
  parallel_for(blocks * panels.count, grain_for(work), [&](int64_t begin, int64_t end) {
    const auto run = [&](int64_t r0, int64_t r1, int64_t p0, int64_t p1) {
      const int64_t m0 = first_row(r0), m1 = first_row(r1);
      if (g.half_packed != nullptr && m1 - m0 > 2 * kHalfRows) return run_block_expanding(g, panels, m0, m1, p0, p1);
      run_block(g, panels, m0, m1, p0, p1);
    };
    while (begin < end) {
      const int64_t inner = by_rows ? panels.count : blocks, o = begin / inner, i0 = begin % inner, i1 = std::min(inner, i0 + (end - begin));
      if (by_rows) {
        run(o, o + 1, i0, i1);
      } else {
        run(i0, i1, o, o + 1);
      }
      begin += i1 - i0;
    }
  });
}

void pack_panel(const float* b, int64_t k_stride, int64_t n_stride, int64_t k, int64_t cols, int64_t width, float* out) noexcept {
  pack_one(b, k_stride, n_stride, k, cols, width, out);
}

const GemmTarget& gemm_target() noexcept { return use_reference() ? kReference : *gemm_simd(); }

template <typename T>
void pack_columns(const GemmTarget& target, const T* w, int64_t n, int64_t k, int64_t row_stride,
                  int64_t col_stride, int64_t depth, T* out) noexcept {
  const Panels panels(n, target);
  for (int64_t k0 = 0; k0 < k; k0 += depth) {
    const int64_t kc = std::min(depth, k - k0);
    parallel_for(panels.count, grain_for(kc * 64), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t n0 = panels.first_column(p), width = panels.width_in_vectors(p) * panels.lanes;
        pack_one(w + n0 * row_stride + k0 * col_stride, col_stride, row_stride, kc, std::min(width, n - n0), width,
                   out + panels.padded_columns() * k0 + n0 * kc);
      }
    });
  }
}

template void pack_columns(const GemmTarget&, const float*, int64_t, int64_t, int64_t, int64_t, int64_t, float*) noexcept;
template void pack_columns(const GemmTarget&, const uint16_t*, int64_t, int64_t, int64_t, int64_t, int64_t, uint16_t*) noexcept;
template void pack_columns(const GemmTarget&, const uint32_t*, int64_t, int64_t, int64_t, int64_t, int64_t, uint32_t*) noexcept;

template <typename T, typename Weights>
Status fill_panels(AlignedBuffer& data, const GemmTarget& target, int64_t n, int64_t k, Weights&& w, int64_t row_stride, int64_t col_stride,
                   const PackedName& name) {
  if (n < 1 || k < 1 || n > (int64_t{1} << 40) / k) return usage_error("matrix product: weights of impossible size");
  const int64_t depth = balanced_depth(k, kDepth);
  const size_t bytes = static_cast<size_t>(Panels(n, target).padded_columns() * k) * sizeof(T);
  const std::string form = form_name(target.name, {static_cast<int64_t>(sizeof(T)), n, k, depth, row_stride});
  return prepare_form(data, bytes, name, form, [&] {
    pack_columns(target, w(), n, k, row_stride, col_stride, depth, data.data<T>());
    return Status();
  });
}

Result<PackedWeights> PackedWeights::prepare(int64_t n, int64_t k, Floats w, int64_t row_stride, int64_t col_stride, const PackedName& name) {
  PackedWeights packed;
  packed.n_ = n;
  packed.k_ = k;
  packed.target_ = &gemm_target();
  MLT_TRY(fill_panels<float>(packed.data_, *packed.target_, n, k, w, row_stride, col_stride, name));
  return packed;
}

Result<PackedWeights> PackedWeights::prepare_half(int64_t n, int64_t k, Halves w, int64_t row_stride, int64_t col_stride, const PackedName& name) {
  PackedWeights packed;
  packed.n_ = n;
  packed.k_ = k;
  packed.half_ = true;
  packed.target_ = &gemm_target();
  MLT_TRY(fill_panels<uint16_t>(packed.data_, *packed.target_, n, k, w, row_stride, col_stride, name));
  return packed;
}

Result<PackedWeights> PackedWeights::pack(int64_t n, int64_t k, const float* w, int64_t row_stride, int64_t col_stride) {
  return prepare(n, k, [w] { return w; }, row_stride, col_stride, {});
}

Result<PackedWeights> PackedWeights::pack_half(int64_t n, int64_t k, const uint16_t* w, int64_t row_stride, int64_t col_stride) {
  return prepare_half(n, k, [w] { return w; }, row_stride, col_stride, {});
}

void PackedWeights::run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias,
                        const Activation& f, const float* residual, int64_t ldr) const noexcept {
  if (m <= 0) return;
  run_product({*target_, m, n_, k_, balanced_depth(k_, kDepth), a, lda, half_ ? nullptr : data_.data(),
               half_ ? data_.data<uint16_t>() : nullptr, c, ldc, 1.0f, bias, f, residual,
               ldr});
}

// One slot's scratch: B's panels for one product and, when A's rows are not contiguous, A copied row by row.
static size_t slot_floats(const Matmul& p, const GemmTarget& target) noexcept {
  const Panels panels(std::max<int64_t>(p.n, 1), target);
  size_t bytes = align_up(static_cast<size_t>(panels.padded_columns() * std::max<int64_t>(p.k, 0)) * sizeof(float));
  if (p.a_col != 1) bytes += align_up(static_cast<size_t>(p.m * std::max<int64_t>(p.k, 0)) * sizeof(float));
  return (bytes + kSlack) / sizeof(float);
}

static int64_t batch_count(const Matmul& p) noexcept {
  int64_t count = 1;
  for (int i = 0; i < p.batch_rank; ++i) count *= p.batch[static_cast<size_t>(i)];
  return count;
}

size_t matmul_scratch_bytes(const Matmul& p) noexcept {
  const int64_t slots = std::clamp<int64_t>(p.slots, 1, std::max<int64_t>(1, batch_count(p)));
  return slot_floats(p, gemm_target()) * sizeof(float) * static_cast<size_t>(slots);
}

// Rows too few to repay packing B: products of rows when B's columns are contiguous, sums of scaled rows when its rows
// are. False when neither.
static bool matmul_few_rows(const Matmul& p, const float* a, const float* b, float* c) noexcept {
  constexpr int64_t kFewRows = 4, kColumns = 512;
  const bool by_dot = p.b_row == 1 && p.a_col == 1;
  if (p.m > kFewRows || (!by_dot && p.b_col != 1)) return false;
  const RowTarget& row = row_target();
  const ElementwiseTarget& ew = elementwise_target();
  const int64_t parts = (p.n + kColumns - 1) / kColumns;
  parallel_for(parts, grain_for(p.m * p.k * kColumns / 4), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t n0 = part * kColumns, n = std::min(kColumns, p.n - n0);
      for (int64_t i = 0; i < p.m; ++i) {
        const float* x = a + i * p.a_row;
        float* y = c + i * p.c_row + n0;
        if (by_dot) {
          for (int64_t j = 0; j < n; ++j) y[j] = row.dot(x, b + (n0 + j) * p.b_col, p.k);
        } else {
          std::fill_n(y, n, 0.0f);
          for (int64_t k = 0; k < p.k; ++k) row.axpy(x[k * p.a_col], b + k * p.b_row + n0, y, n);
        }
        if (p.alpha != 1) ew.linear(y, y, n, p.alpha, 0);
        if (p.bias != nullptr) row.accumulate(Reduce::kSum, p.bias + n0, y, n);
        if (p.f.op != Unary::kIdentity) ew.unary(p.f.op, y, y, n, p.f.a, p.f.b);
      }
    }
  });
  return true;
}

static void matmul_one(const Matmul& p, const GemmTarget& target, const float* a, const float* b, float* c,
                       float* scratch) noexcept {
  if (matmul_few_rows(p, a, b, c)) return;
  const Panels panels(p.n, target);
  float* packed = scratch;
  float* rows = packed + align_up(static_cast<size_t>(panels.padded_columns() * p.k) * sizeof(float)) / sizeof(float);
  const int64_t depth = balanced_depth(p.k, kDepth);
  parallel_for(panels.count, grain_for(p.k * panels.widest * panels.lanes / 4), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t n0 = panels.first_column(panel), width = panels.width_in_vectors(panel) * panels.lanes;
      for (int64_t k0 = 0; k0 < p.k; k0 += depth) {
        const int64_t kc = std::min(depth, p.k - k0);
        pack_one(b + k0 * p.b_row + n0 * p.b_col, p.b_row, p.b_col, kc, std::min(width, p.n - n0), width,
                   packed + panels.padded_columns() * k0 + n0 * kc);
      }
    }
  });
  int64_t lda = p.a_row;
  if (p.a_col != 1) {
    parallel_for(p.m, grain_for(p.k), [&](int64_t begin, int64_t end) {
      for (int64_t k0 = 0; k0 < p.k; k0 += 16)
        for (int64_t i = begin; i < end; ++i)
          for (int64_t k = k0; k < std::min(p.k, k0 + 16); ++k) rows[i * p.k + k] = a[i * p.a_row + k * p.a_col];
    });
    a = rows;
    lda = p.k;
  }
  run_product({target, p.m, p.n, p.k, depth, a, lda, packed, nullptr, c, p.c_row, p.alpha, p.bias, p.f, nullptr, 0});
}

void matmul(const Matmul& p, const float* a, const float* b, float* c, void* scratch) noexcept {
  const int64_t count = batch_count(p);
  if (p.m <= 0 || p.n <= 0 || count <= 0) return;
  const GemmTarget& target = gemm_target();
  const size_t slot_size = slot_floats(p, target);
  auto one = [&](int64_t slot, int64_t index) {
    const float *ab = a, *bb = b;
    float* cb = c;
    int64_t rest = index;
    for (int i = p.batch_rank - 1; i >= 0; --i) {
      const size_t axis = static_cast<size_t>(i);
      const int64_t at = rest % p.batch[axis];
      rest /= p.batch[axis];
      ab += at * p.a_batch[axis];
      bb += at * p.b_batch[axis];
      cb += at * p.c_batch[axis];
    }
    if (p.k > 0)
      return matmul_one(p, target, ab, bb, cb, static_cast<float*>(scratch) + static_cast<size_t>(slot) * slot_size);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) cb[i * p.c_row + j] = p.bias != nullptr ? p.bias[j] : 0;
      unary(p.f, cb + i * p.c_row, cb + i * p.c_row, p.n);
    }
  };
  const int64_t slots = std::clamp<int64_t>(p.slots, 1, count);
  // Few large products are better split inside.
  if (slots > 1 && (count >= 4 * slots || p.m * p.n * p.k < kMinWork * 64)) {
    for_slots(slots, count, one);
  } else {
    for (int64_t i = 0; i < count; ++i) one(0, i);
  }
}

}  // namespace mlt
