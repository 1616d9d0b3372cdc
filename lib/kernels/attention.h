// Attention: softmax(scale * Q . K^T + mask + bias) . V without ever holding all scores. For a block of queries, keys are taken
// a block at a time; a running maximum and sum per query make the result independent of how many keys came before.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

struct Attention {
  // Where an operand's elements lie, in elements. A stride of 0 repeats: a key head shared by a group of query heads, a
  // mask without batch axes.
  struct Operand {
    std::array<int64_t, kMaxRank> batch{};
    int64_t row = 0, col = 1;
  };
  enum class Mask : uint8_t { kNone, kFloat, kBool, kBoolNot };  // added; taking part where not 0; where 0
  int64_t queries = 0, keys = 0, depth = 0, values = 0;  // rows of Q, of K and V, columns of Q and K, columns of V and out
  int batch_rank = 0;
  std::array<int64_t, kMaxRank> batch{};
  Operand q, k, v, out;  // out.col is 1
  Operand mask;          // a row per query, a column per key
  Operand bias;          // likewise: float, added as well
  float masked = -__builtin_inff();  // added where a mask of flags says that a key takes no part
  // The last keys and values may lie elsewhere, as what a cache grows by: only where attention_reads_in_place().
  int64_t tail = 0;
  Operand k_tail, v_tail;
  Mask mask_kind = Mask::kNone;
  float scale = 1;
  int slots = 1;  // blocks of queries worked on at the same time; thread_count() is a good value
};

// Whether keys and values are read where they lie, once, because queries are few.
bool attention_reads_in_place(const Attention& p) noexcept;
// Bytes of scratch that attention() needs, at any thread count.
size_t attention_scratch_bytes(const Attention& p) noexcept;
// `scratch` is aligned to kAlignment; `out` overlaps nothing. A query whose keys are all masked with -infinity gives NaN. With no keys the
// result is 0.
void attention(const Attention& p, const float* q, const float* k, const float* v, const void* mask, float* out, void* scratch,
               const float* k_tail = nullptr, const float* v_tail = nullptr, const float* bias = nullptr) noexcept;

}  // namespace mlt
