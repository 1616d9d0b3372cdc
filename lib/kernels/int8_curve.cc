#include "lib/kernels/int8_curve.h"

#include <array>
#include <cmath>
#include <numbers>

namespace mlt {

namespace {

constexpr int kPieces = Int8Curve::kPieces;
constexpr double kMostError = 1.0 / 256;

float value(const Activation& f, float x) {
  float y = 0;
  unary(f.op, &x, &y, 1, f.a, f.b);
  return y;
}

// Pieces up to `reach`, behind which the even part is |x| / 2.
Int8Curve curve_of(const Activation& f, float factor, double reach) {
  Int8Curve curve{};
  const double unit = reach / (kPieces - 1.5);
  curve.per_unit = static_cast<float>(1 / unit);
  curve.half = 0.5f * factor;
  curve.least = static_cast<float>(-reach);
  for (int i = 0; i < kPieces - 1; ++i) {
    // Through four values where Chebyshev's polynomial has its zeros: divided differences, then powers.
    std::array<double, 4> at{}, y{};
    for (size_t k = 0; k < 4; ++k) {
      at[k] = 0.5 * std::cos((2.0 * static_cast<double>(k) + 1) * std::numbers::pi / 8);
      const auto x = static_cast<float>((i + at[k]) * unit);
      y[k] = (static_cast<double>(value(f, x)) - 0.5 * static_cast<double>(x)) * static_cast<double>(factor);
    }
    for (size_t order = 1; order < 4; ++order)
      for (size_t k = 3; k >= order; --k) y[k] = (y[k] - y[k - 1]) / (at[k] - at[k - order]);
    std::array<double, 4> c{y[3]};
    for (size_t k = 3; k-- > 0;) {
      for (size_t power = 3; power > 0; --power) c[power] = c[power - 1] - at[k] * c[power];
      c[0] = y[k] - at[k] * c[0];
    }
    for (size_t power = 0; power < 4; ++power) curve.c[power][i] = static_cast<float>(c[power]);
  }
  const double slope = 0.5 * unit * static_cast<double>(factor);
  curve.c[0][kPieces - 1] = static_cast<float>(slope * (kPieces - 1)), curve.c[1][kPieces - 1] = static_cast<float>(slope);
  return curve;
}

double at(const Int8Curve& curve, float v) {
  const float x = std::fmax(v, curve.least), s = std::fabs(x) * curve.per_unit;
  const auto i = static_cast<int>(std::fmin(std::nearbyint(s), static_cast<float>(kPieces - 1)));
  const auto d = static_cast<double>(s) - i;
  double y = 0;
  for (int power = 3; power >= 0; --power) y = y * d + static_cast<double>(curve.c[power][i]);
  return y + static_cast<double>(x * curve.half);
}

}  // namespace

std::optional<Int8Curve> int8_curve(const Activation& f, float factor) {
  switch (f.op) {
    case Unary::kGelu:
    case Unary::kGeluTanh:
    case Unary::kGeluSigmoid:
    case Unary::kSilu: break;
    default: return std::nullopt;
  }
  std::optional<Int8Curve> best;
  double least = kMostError;
  for (double reach : {3.5, 4.0, 4.5, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0}) {
    const Int8Curve curve = curve_of(f, factor, reach);
    double error = 0;
    for (int k = -600; k <= 600; ++k) {
      const auto x = static_cast<float>(k * reach / 400);
      error = std::fmax(error, std::fabs(at(curve, x) - static_cast<double>(value(f, x)) * static_cast<double>(factor)));
    }
    if (error < least) best = curve, least = error;
  }
  return best;
}

}  // namespace mlt
