#include "lib/kernels/attention.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/aligned.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/row_target.h"

namespace mlt {
namespace {

constexpr int64_t kQueryBlock = 32;  // rows of scores held at once
constexpr int64_t kKeyBlock = 512;
constexpr int64_t kFewQueries = 4;  // up to here packing the keys does not pay

size_t floats(int64_t count) { return align_up(static_cast<size_t>(count) * sizeof(float)) / sizeof(float); }

bool is_flags(const Attention& p) { return p.mask_kind == Attention::Mask::kBool || p.mask_kind == Attention::Mask::kBoolNot; }

// How the work is cut, and where everything lies in the scratch, in floats.
struct Layout {
  Layout(const Attention& p, const GemmTarget& target) : lanes(target.lanes), value_panels(std::max<int64_t>(p.values, 1), target) {
    for (int i = 0; i < p.batch_rank; ++i) heads *= p.batch[static_cast<size_t>(i)];
    // Heads that share their keys and values share the packed form.
    for (int i = p.batch_rank - 1; i >= 0; --i) {
      const auto axis = static_cast<size_t>(i);
      if (p.k.batch[axis] == 0 && p.v.batch[axis] == 0) continue;
      packed_stride[axis] = packed_heads;
      packed_heads *= p.batch[axis];
    }
    few = attention_reads_in_place(p);
    const int64_t parts = std::max<int64_t>(1, (p.keys + kKeyBlock - 1) / kKeyBlock);
    key_block = ((p.keys + parts - 1) / parts + lanes - 1) / lanes * lanes;
    key_blocks = key_block == 0 ? 0 : (p.keys + key_block - 1) / key_block;
    score_stride = key_block + 16;  // never a power of two: its rows would share cache sets
    query_blocks = (p.queries + kQueryBlock - 1) / kQueryBlock;
    const int64_t padded_keys = (p.keys + lanes - 1) / lanes * lanes;
    if (!few) {
      packed_key = floats(padded_keys * p.depth);
      packed_value = floats(p.keys * value_panels.padded_columns());
    }
    // A mask of flags becomes one of numbers, in the order of its distinct elements.
    if (is_flags(p)) {
      mask_row = p.mask.col != 0 ? p.keys : 1;
      int64_t rows = mask_row;
      if (p.mask.row != 0) rows *= p.queries;
      mask_elements = rows;
      for (int i = p.batch_rank - 1; i >= 0; --i) {
        const auto axis = static_cast<size_t>(i);
        if (p.mask.batch[axis] == 0) continue;
        mask_stride[axis] = mask_elements;
        mask_elements *= p.batch[axis];
      }
    }
    // Many small heads are packed one by one, just before they are used, and stay in the cache.
    constexpr size_t kSmall = (size_t{1} << 17) / sizeof(float);
    in_slot = !few && packed_heads == heads && heads >= 4 * p.slots && packed_key + packed_value <= kSmall;
    const size_t packed = in_slot ? 0 : (packed_key + packed_value) * static_cast<size_t>(packed_heads);
    mask_at = packed;
    slots_at = mask_at + floats(mask_elements);
    const int64_t rows = std::min(kQueryBlock, p.queries);
    queries_at = floats(rows * score_stride);
    stats_at = queries_at + floats(p.q.col != 1 ? rows * p.depth : 0);
    packed_at = stats_at + floats(2 * rows);
    slot = packed_at + (in_slot ? packed_key + packed_value : 0);
  }
  int64_t lanes;
  Panels value_panels;
  int64_t heads = 1, packed_heads = 1;
  std::array<int64_t, kMaxRank> packed_stride{}, mask_stride{};
  bool few = false, in_slot = false;
  int64_t key_block, key_blocks, score_stride, query_blocks;
  int64_t mask_row = 0, mask_elements = 0;
  size_t packed_key = 0, packed_value = 0, mask_at, slots_at, queries_at, stats_at, packed_at, slot;
};

int64_t slots_of(const Attention& p, const Layout& layout) {
  return std::clamp<int64_t>(p.slots, 1, std::max<int64_t>(1, layout.heads * layout.query_blocks));
}

// The operands of one head.
struct Head {
  const float *q = nullptr, *k = nullptr, *v = nullptr, *mask = nullptr, *bias = nullptr, *k_tail = nullptr, *v_tail = nullptr;
  float* out = nullptr;
  const float *packed_key = nullptr, *packed_value = nullptr;
  int64_t mask_row = 0, mask_col = 0;
};

struct Run {
  const Attention& p;
  const Layout& layout;
  const GemmTarget& gemm;
  const RowTarget& row;
  const ElementwiseTarget& ew;
};

// Keys and values of one head, block by block, as the right operands of the two products.
void pack(const Run& r, const float* k, const float* v, float* key, float* value) {
  const Attention& p = r.p;
  for (int64_t from = 0; from < p.keys; from += r.layout.key_block) {
    const int64_t count = std::min(r.layout.key_block, p.keys - from);
    const Panels panels(count, r.gemm);
    for (int64_t i = 0; i < panels.count; ++i) {
      const int64_t n0 = panels.first_column(i), width = panels.width_in_vectors(i) * panels.lanes;
      pack_panel(k + (from + n0) * p.k.row, p.k.col, p.k.row, p.depth, std::min(width, count - n0), width, key + (from + n0) * p.depth);
    }
    const Panels& columns = r.layout.value_panels;
    for (int64_t i = 0; i < columns.count; ++i) {
      const int64_t n0 = columns.first_column(i), width = columns.width_in_vectors(i) * columns.lanes;
      pack_panel(v + from * p.v.row + n0 * p.v.col, p.v.row, p.v.col, count, std::min(width, p.values - n0), width,
                 value + from * columns.padded_columns() + n0 * count);
    }
  }
}

// C[rows, n] = alpha * A . B over all panels of B, [k, n]; `finish` sets a panel's epilogue.
template <typename Finish>
void product(const Run& r, const Panels& panels, const float* a, int64_t lda, int64_t rows, int64_t k, const float* b, float* c, int64_t ldc,
             int64_t n, const Finish& finish) {
  const int64_t step = balanced_tile(rows, r.gemm.mr);
  for (int64_t i = 0; i < panels.count; ++i) {
    const int64_t n0 = panels.first_column(i);
    Tile t;
    t.k = k;
    t.lda = lda;
    t.ldc = ldc;
    t.nv = static_cast<int>(panels.width_in_vectors(i));
    t.cols = std::min<int64_t>(t.nv * panels.lanes, n - n0);
    t.b = b + n0 * k;
    for (int64_t m = 0; m < rows; m += step) {
      t.rows = static_cast<int>(std::min(step, rows - m));
      t.a = a + m * lda;
      t.c = c + m * ldc + n0;
      finish(t, m, n0);
      r.gemm.direct(t);
    }
  }
}

// Scores become weights relative to the largest score so far; returns the factor for what was summed before.
float advance(const Run& r, float* scores, int64_t count, float* largest, float* sum) {
  const float block = r.row.max(scores, count);
  const float m = block > *largest || std::isnan(block) ? block : *largest;
  if (m == -INFINITY) {  // nothing but masked keys yet
    std::fill_n(scores, count, 0.0f);
    return 1;
  }
  const float factor = *largest == m ? 1.0f : std::exp(*largest - m);
  *sum = *sum * factor + static_cast<float>(r.row.exp_sum(scores, scores, count, m));
  *largest = m;
  return factor;
}

void add_bias(const Run& r, const Head& head, int64_t query, int64_t from, int64_t count, float* scores) {
  if (head.bias == nullptr) return;
  const Attention::Operand& b = r.p.bias;
  r.ew.binary(Binary::kAdd, scores, 1, head.bias + query * b.row + from * b.col, b.col, scores, count);
}

void query_block(const Run& r, const Head& head, int64_t first, float* slot) {
  const Attention& p = r.p;
  const Layout& layout = r.layout;
  const int64_t rows = std::min(kQueryBlock, p.queries - first), stride = layout.score_stride;
  float *scores = slot, *largest = slot + layout.stats_at, *sum = largest + rows;
  std::fill_n(largest, rows, -INFINITY);
  std::fill_n(sum, rows, 0.0f);
  const float* q = head.q + first * p.q.row;
  int64_t lda = p.q.row;
  if (p.q.col != 1) {
    float* copy = slot + layout.queries_at;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t e = 0; e < p.depth; ++e) copy[i * p.depth + e] = q[i * p.q.row + e * p.q.col];
    q = copy;
    lda = p.depth;
  }
  float* out = head.out + first * p.out.row;
  for (int64_t from = 0; from < p.keys; from += layout.key_block) {
    const int64_t count = std::min(layout.key_block, p.keys - from);
    const float* mask = head.mask == nullptr ? nullptr : head.mask + first * head.mask_row + from * head.mask_col;
    product(r, Panels(count, r.gemm), q, lda, rows, p.depth, head.packed_key + from * p.depth, scores, stride, count,
            [&](Tile& t, int64_t m, int64_t n0) {
              t.alpha = p.scale;
              if (mask == nullptr || head.mask_col == 0) return;
              t.residual = mask + m * head.mask_row + n0;
              t.ldr = head.mask_row;
            });
    if (mask != nullptr && head.mask_col == 0)
      for (int64_t i = 0; i < rows; ++i) r.ew.linear(scores + i * stride, scores + i * stride, count, 1, mask[i * head.mask_row]);
    for (int64_t i = 0; i < rows; ++i) {
      add_bias(r, head, first + i, from, count, scores + i * stride);
      const float factor = advance(r, scores + i * stride, count, largest + i, sum + i);
      if (from > 0 && factor != 1) r.ew.linear(out + i * p.out.row, out + i * p.out.row, p.values, factor, 0);
    }
    const Panels& columns = layout.value_panels;
    product(r, columns, scores, stride, rows, count, head.packed_value + from * columns.padded_columns(), out, p.out.row, p.values,
            [&](Tile& t, int64_t, int64_t) { t.accumulate = from > 0; });
  }
  for (int64_t i = 0; i < rows; ++i) r.ew.linear(out + i * p.out.row, out + i * p.out.row, p.values, 1 / sum[i], 0);
}

// A few queries: keys and values are read where they lie, once.
void few_queries(const Run& r, const Head& head, float* slot) {
  const Attention& p = r.p;
  const int64_t stride = r.layout.score_stride;
  float *largest = slot + r.layout.stats_at, *sum = largest + p.queries;
  std::fill_n(largest, p.queries, -INFINITY);
  std::fill_n(sum, p.queries, 0.0f);
  for (int64_t i = 0; i < p.queries; ++i) std::fill_n(head.out + i * p.out.row, p.values, 0.0f);
  for (int64_t from = 0; from < p.keys; from += r.layout.key_block) {
    const int64_t count = std::min(r.layout.key_block, p.keys - from);
    // Of these keys the first `here` lie before the tail.
    const int64_t before = p.keys - p.tail, here = std::clamp<int64_t>(before - from, 0, count), there = std::max<int64_t>(from - before, 0);
    for (int64_t i = 0; i < p.queries; ++i) {
      float* scores = slot + i * stride;
      const float* q = head.q + i * p.q.row;
      float* copy = slot + r.layout.queries_at;
      if (p.q.col != 1) {
        for (int64_t e = 0; e < p.depth; ++e) copy[e] = q[e * p.q.col];
        q = copy;
      }
      if (here > 0) r.row.dots(q, head.k + from * p.k.row, p.k.row, here, p.depth, scores);
      if (here < count) r.row.dots(q, head.k_tail + there * p.k_tail.row, p.k_tail.row, count - here, p.depth, scores + here);
      r.ew.linear(scores, scores, count, p.scale, 0);
      if (head.mask != nullptr) {
        const float* mask = head.mask + i * head.mask_row + from * head.mask_col;
        r.ew.binary(Binary::kAdd, scores, 1, mask, head.mask_col == 0 ? 0 : 1, scores, count);
      }
      add_bias(r, head, i, from, count, scores);
      const float factor = advance(r, scores, count, largest + i, sum + i);
      float* out = head.out + i * p.out.row;
      if (factor != 1) r.ew.linear(out, out, p.values, factor, 0);
      if (here > 0) r.row.combine(scores, head.v + from * p.v.row, p.v.row, here, out, p.values);
      if (here < count) r.row.combine(scores + here, head.v_tail + there * p.v_tail.row, p.v_tail.row, count - here, out, p.values);
    }
  }
  for (int64_t i = 0; i < p.queries; ++i) r.ew.linear(head.out + i * p.out.row, head.out + i * p.out.row, p.values, 1 / sum[i], 0);
}

}  // namespace

bool attention_reads_in_place(const Attention& p) noexcept { return p.queries <= kFewQueries && p.k.col == 1 && p.v.col == 1; }

size_t attention_scratch_bytes(const Attention& p) noexcept {
  const Layout layout(p, gemm_target());
  return (layout.slots_at + layout.slot * static_cast<size_t>(slots_of(p, layout))) * sizeof(float) + kSlack;
}

void attention(const Attention& p, const float* q, const float* k, const float* v, const void* mask, float* out, void* scratch,
               const float* k_tail, const float* v_tail, const float* bias) noexcept {
  const GemmTarget& gemm = gemm_target();
  const Layout layout(p, gemm);
  const Run run{p, layout, gemm, row_target(), elementwise_target()};
  auto* memory = static_cast<float*>(scratch);
  if (p.queries <= 0 || p.values <= 0 || layout.heads <= 0) return;

  auto head_at = [&](int64_t index) {
    Head head{q, k, v, static_cast<const float*>(mask), bias, k_tail, v_tail, out, nullptr, nullptr, p.mask.row, p.mask.col};
    int64_t packed = 0, flags = 0;
    for (int i = p.batch_rank - 1; i >= 0; --i) {
      const auto axis = static_cast<size_t>(i);
      const int64_t at = index % p.batch[axis];
      index /= p.batch[axis];
      head.q += at * p.q.batch[axis];
      head.k += at * p.k.batch[axis];
      head.v += at * p.v.batch[axis];
      if (p.tail > 0) {
        head.k_tail += at * p.k_tail.batch[axis];
        head.v_tail += at * p.v_tail.batch[axis];
      }
      head.out += at * p.out.batch[axis];
      if (p.mask_kind == Attention::Mask::kFloat) head.mask += at * p.mask.batch[axis];
      if (bias != nullptr) head.bias += at * p.bias.batch[axis];
      packed += at * layout.packed_stride[axis];
      flags += at * layout.mask_stride[axis];
    }
    if (!layout.in_slot) head.packed_key = memory + static_cast<size_t>(packed) * (layout.packed_key + layout.packed_value);
    if (!layout.in_slot) head.packed_value = head.packed_key + layout.packed_key;
    if (p.mask_kind == Attention::Mask::kNone) head.mask = nullptr;
    if (is_flags(p)) {
      head.mask = memory + layout.mask_at + flags;
      head.mask_row = p.mask.row != 0 ? layout.mask_row : 0;
      head.mask_col = p.mask.col != 0 ? 1 : 0;
    }
    return head;
  };
  if (p.keys <= 0) {
    for (int64_t h = 0; h < layout.heads; ++h)
      for (int64_t i = 0; i < p.queries; ++i) std::fill_n(head_at(h).out + i * p.out.row, p.values, 0.0f);
    return;
  }

  if (is_flags(p)) {
    // Each distinct element once: axes along which the mask repeats count one.
    const auto* flags = static_cast<const uint8_t*>(mask);
    const int64_t rows = layout.mask_elements / layout.mask_row, row_count = p.mask.row != 0 ? p.queries : 1;
    parallel_for(rows, grain_for(layout.mask_row), [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        int64_t rest = at / row_count, from = at % row_count * p.mask.row;
        for (int i = p.batch_rank - 1; i >= 0; --i) {
          const auto axis = static_cast<size_t>(i);
          if (p.mask.batch[axis] == 0) continue;
          from += rest % p.batch[axis] * p.mask.batch[axis];
          rest /= p.batch[axis];
        }
        float* to = memory + layout.mask_at + at * layout.mask_row;
        for (int64_t j = 0; j < layout.mask_row; ++j) to[j] = (flags[from + j * p.mask.col] != 0) == (p.mask_kind == Attention::Mask::kBool) ? 0.0f : p.masked;
      }
    });
  }

  const int64_t slots = slots_of(p, layout);
  float* slot_memory = memory + layout.slots_at;
  if (layout.few) {
    auto one = [&](int64_t slot, int64_t h) { few_queries(run, head_at(h), slot_memory + static_cast<size_t>(slot) * layout.slot); };
    if (p.keys * (p.depth + p.values) * layout.heads < kMinWork * 2) {
      for (int64_t h = 0; h < layout.heads; ++h) one(0, h);
    } else {
      for_slots(slots, layout.heads, one);
    }
    return;
  }
  if (layout.in_slot) {
    return for_slots(slots, layout.heads, [&](int64_t slot, int64_t h) {
      float *own = slot_memory + static_cast<size_t>(slot) * layout.slot, *key = own + layout.packed_at, *value = key + layout.packed_key;
      Head head = head_at(h);
      head.packed_key = key;
      head.packed_value = value;
      pack(run, head.k, head.v, key, value);
      for (int64_t from = 0; from < p.queries; from += kQueryBlock) query_block(run, head, from, own);
    });
  }
  // Of the heads that share a packed form, the first packs it.
  parallel_for(layout.heads, grain_for(p.keys * (p.depth + p.values)), [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      bool first = true;
      int64_t rest = h;
      for (int i = p.batch_rank - 1; i >= 0; --i) {
        const auto axis = static_cast<size_t>(i);
        if (p.k.batch[axis] == 0 && p.v.batch[axis] == 0 && rest % p.batch[axis] != 0) first = false;
        rest /= p.batch[axis];
      }
      if (!first) continue;
      const Head head = head_at(h);
      pack(run, head.k, head.v, const_cast<float*>(head.packed_key), const_cast<float*>(head.packed_value));
    }
  });
  for_slots(slots, layout.heads * layout.query_blocks, [&](int64_t slot, int64_t task) {
    query_block(run, head_at(task / layout.query_blocks), task % layout.query_blocks * kQueryBlock,
                slot_memory + static_cast<size_t>(slot) * layout.slot);
  });
}

}  // namespace mlt
