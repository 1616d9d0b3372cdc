// Internal: loops over one panel of compact weights.
//
// A panel holds nv vectors of columns. Its k are cut into parts as those of PackedWeights are, each part into groups of eight
// k, the last one padded: for each column a 32-bit word of eight codes, those of the first k lowest, then for each k and
// column the low three bytes of the float. A code is an index among the pairs of exponents, and above it the sign: the pair's
// number, which is the exponent without its lowest bit, and the sign are the float's high byte.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

inline constexpr int kCompactPairs = 8, kCompactGroup = 8;

// A weight of another exponent: k * (the panel's width) + column within the panel, and the weight.
struct CompactException {
  uint32_t at;
  float value;
};

struct CompactPanel {
  const uint8_t* data = nullptr;
  int nv = 0;
  int64_t k = 0, depth = 0;
  const uint32_t* table = nullptr;  // [16], high bytes of floats, by code
  const CompactException *next = nullptr, *end = nullptr;  // in order
  const float* x = nullptr;
  int64_t cols = 0;  // valid columns, more than nv - 1 vectors
  const float *bias = nullptr, *residual = nullptr;  // of the panel's columns; null for none
  Activation f{};  // if it is cheap
  float* out = nullptr;
};

// How exponents become codes: but for zeros' pair, which may be one of them, all pairs are among the 15 from `low` on.
struct CompactPairs {
  uint8_t pairs[16] = {};  // by code, with or without a sign
  uint8_t codes[16] = {};  // by min(pair - low, 15), of whole numbers without a sign; what pairs[] denies means nothing
  uint32_t low = 0;
};

struct CompactTarget {
  void (*product)(const CompactPanel&) noexcept;
  // `count` k, at most a group, of the panel's columns, [count, nv * lanes]. False when there are weights of other exponents;
  // their codes mean nothing.
  bool (*encode)(const float* rows, int64_t count, int nv, const CompactPairs& pairs, uint8_t* out) noexcept;
};

}  // namespace mlt
