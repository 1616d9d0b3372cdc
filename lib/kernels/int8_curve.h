// Internal: activations of sums that become codes, as pieces of polynomials. Codes tell apart far fewer values than floats.
#pragma once
#include <optional>

#include "lib/kernels/elementwise.h"

namespace mlt {

// f(x) * factor = half * max(x, least) + the cubic polynomial in d of piece i, where |max(x, least)| * per_unit = i + d, i is
// the nearest integer or the last piece, and the last piece is a line.
struct Int8Curve {
  static constexpr int kPieces = 32;
  alignas(64) float c[4][kPieces];  // by power of d
  float per_unit = 1, half = 0.5f, least = 0;
};

// Nothing for functions that are not x / 2 and an even function which becomes |x| / 2, as gelu's forms and silu are, and where
// the greatest error is more than a 256th of a code; `factor` is the reciprocal of the codes' scale.
std::optional<Int8Curve> int8_curve(const Activation& f, float factor);

}  // namespace mlt
