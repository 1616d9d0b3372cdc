#include "lib/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/integers_target.h"

namespace mlt {

const ElementwiseTarget* elementwise_simd();

namespace {

float sigmoid(float x) { return static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x)))); }
float softplus(float x) {
  // log(1 + exp(x)) without overflow.
  return static_cast<float>(std::max(static_cast<double>(x), 0.0) + std::log1p(std::exp(-std::fabs(static_cast<double>(x)))));
}
// As the vector forms: NaN passes.
float clip(float x, float lo, float hi) {
  x = x < lo ? lo : x;
  return x > hi ? hi : x;
}

int32_t int_pow(int32_t x, int32_t y) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y % 2 ? -1 : 1) : 0;
  uint32_t result = 1, base = static_cast<uint32_t>(x);
  for (uint32_t e = static_cast<uint32_t>(y); e != 0; e >>= 1, base *= base)
    if (e & 1) result *= base;
  return static_cast<int32_t>(result);
}

void unary_ref(Unary op, const float* in, float* out, int64_t count, float a, float b) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = unary_reference(op, in[i], a, b);
}
void binary_ref(Binary op, const float* a, int64_t as, const float* b, int64_t bs, float* out,
                int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = binary_reference(op, a[i * as], b[i * bs]);
}
void compare_ref(Compare op, const float* a, int64_t as, const float* b, int64_t bs, uint8_t* out,
                 int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = compare_reference(op, a[i * as], b[i * bs]);
}
void linear_ref(const float* in, float* out, int64_t count, float scale, float bias) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] * scale + bias;
}
void blend_ref(const float* a, float a_weight, const float* b, float b_weight, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = b_weight == 0 ? a[i] * a_weight : a[i] * a_weight + b[i] * b_weight;
}
void blend_at_ref(const float* line, const int32_t* low, const int32_t* high, const float* weight, float* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = line[low[i]] * (1 - weight[i]) + line[high[i]] * weight[i];
}
void binary_int_ref(Binary op, const int32_t* a, int64_t as, const int32_t* b, int64_t bs, int32_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = binary_reference(op, a[i * as], b[i * bs]);
}
void compare_int_ref(Compare op, const int32_t* a, int64_t as, const int32_t* b, int64_t bs, uint8_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = compare_reference(op, a[i * as], b[i * bs]);
}
void logical_ref(Logical op, const uint8_t* a, int64_t as, const uint8_t* b, int64_t bs, uint8_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = logical_reference(op, a[i * as], b[i * bs]);
}
void select_ref(const uint8_t* cond, const uint32_t* a, int64_t as, const uint32_t* b, int64_t bs, uint32_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = cond[i] != 0 ? a[i * as] : b[i * bs];
}
constexpr IntegersTarget kIntegersReference{binary_int_ref, compare_int_ref, logical_ref, select_ref};
const IntegersTarget& integers_target() noexcept { return use_reference() ? kIntegersReference : *integers_simd(); }

constexpr ElementwiseTarget kReference{unary_ref, binary_ref, compare_ref, linear_ref, blend_ref, blend_at_ref};

int64_t unary_cost(Unary op) {
  switch (op) {
    case Unary::kIdentity:
    case Unary::kAbs:
    case Unary::kNeg:
    case Unary::kSquare:
    case Unary::kCeil:
    case Unary::kFloor:
    case Unary::kRound:
    case Unary::kSign:
    case Unary::kRelu:
    case Unary::kClip:
    case Unary::kThreshold:
    case Unary::kThresholdedRelu:
    case Unary::kLeakyRelu:
    case Unary::kClampedRelu:
    case Unary::kLinear: return 1;
    case Unary::kSin:
    case Unary::kCos:
    case Unary::kExp:
    case Unary::kTanh:
    case Unary::kSigmoid:
    case Unary::kSilu:
    case Unary::kGelu: return 4;
    default: return 8;
  }
}

// Operands as a list of equally long runs, neighbouring axes merged where every operand allows it.
constexpr int kOperands = 3;
struct Runs {
  int rank = 0;  // outer axes
  std::array<int64_t, kMaxRank> shape{};
  std::array<std::array<int64_t, kMaxRank>, kOperands> strides{};
  int64_t length = 1;
  std::array<int64_t, kOperands> step{};  // along a run
  int64_t count = 1;

  Runs(int in_rank, const std::array<int64_t, kMaxRank>& in_shape,
       std::array<const std::array<int64_t, kMaxRank>*, kOperands> in_strides) {
    for (int i = 0; i < in_rank; ++i) {
      const size_t axis = static_cast<size_t>(i);
      if (in_shape[axis] == 1) continue;
      std::array<int64_t, kOperands> s{};
      for (size_t o = 0; o < kOperands; ++o) s[o] = in_strides[o] != nullptr ? (*in_strides[o])[axis] : 0;
      bool merge = rank > 0;
      const size_t back = static_cast<size_t>(rank - 1);
      for (size_t o = 0; o < kOperands && merge; ++o) merge = strides[o][back] == s[o] * in_shape[axis];
      const size_t at = merge ? back : static_cast<size_t>(rank++);
      shape[at] = merge ? shape[at] * in_shape[axis] : in_shape[axis];
      for (size_t o = 0; o < kOperands; ++o) strides[o][at] = s[o];
    }
    if (rank > 0) {
      --rank;
      length = shape[static_cast<size_t>(rank)];
      for (size_t o = 0; o < kOperands; ++o) step[o] = strides[o][static_cast<size_t>(rank)];
    }
    for (int i = 0; i < rank; ++i) count *= shape[static_cast<size_t>(i)];
  }

  // body(output offset, operand offsets, length) for all parts of all runs, threaded.
  template <typename Body>
  void each(int64_t cost, const Body& body) const noexcept {
    if (count <= 0 || length <= 0) return;
    // Long runs are cut so that one run alone still occupies every thread.
    const int64_t part = std::min<int64_t>(length, std::max<int64_t>(kMinWork / cost, 4096));
    const int64_t parts = (length + part - 1) / part;
    parallel_for(count * parts, grain_for(part * cost), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t run = i / parts, from = i % parts * part;
        std::array<int64_t, kOperands> offset{};
        for (size_t o = 0; o < kOperands; ++o) offset[o] = from * step[o];
        int64_t rest = run;
        for (int axis = rank - 1; axis >= 0; --axis) {
          const size_t at = static_cast<size_t>(axis);
          const int64_t index = rest % shape[at];
          rest /= shape[at];
          for (size_t o = 0; o < kOperands; ++o) offset[o] += index * strides[o][at];
        }
        body(run * length + from, offset, std::min(part, length - from));
      }
    });
  }
};

bool unit(int64_t step) { return step == 0 || step == 1; }

// Runs of two operands by `run`, where both go on or stay, or else element by element.
template <typename Op, typename T, typename R>
void broadcast_with(Op op, const Broadcast& s, const T* a, const T* b, R* out, void (*run)(Op, const T*, int64_t, const T*, int64_t, R*, int64_t) noexcept,
                    int64_t cost = 1) noexcept {
  const Runs runs(s.rank, s.shape, {&s.a, &s.b, nullptr});
  const int64_t xs = runs.step[0], ys = runs.step[1];
  runs.each(cost, [&](int64_t at, const auto& offset, int64_t n) {
    if (unit(xs) && unit(ys)) return run(op, a + offset[0], xs, b + offset[1], ys, out + at, n);
    for (int64_t i = 0; i < n; ++i) run(op, a + offset[0] + i * xs, 0, b + offset[1] + i * ys, 0, out + at + i, 1);
  });
}

}  // namespace

float binary_reference(Binary op, float x, float y) noexcept {
  switch (op) {
    case Binary::kAdd: return x + y;
    case Binary::kSub: return x - y;
    case Binary::kMul: return x * y;
    case Binary::kDiv: return x / y;
    case Binary::kFloorDiv: return std::floor(x / y);
    case Binary::kMod: {
      if (std::isinf(y) && std::isfinite(x) && x != 0) return (x < 0) != (y < 0) ? y : x;
      float r = std::fmod(x, y);
      if (r == 0) return std::copysign(0.0f, y);
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    }
    case Binary::kPow: return std::pow(x, y);
    case Binary::kMax: return x > y || std::isnan(x) ? x : y;
    case Binary::kMin: return x < y || std::isnan(x) ? x : y;
  }
  return 0;
}

int32_t binary_reference(Binary op, int32_t x, int32_t y) noexcept {
  const auto ux = static_cast<uint32_t>(x), uy = static_cast<uint32_t>(y);
  switch (op) {
    case Binary::kAdd: return static_cast<int32_t>(ux + uy);
    case Binary::kSub: return static_cast<int32_t>(ux - uy);
    case Binary::kMul: return static_cast<int32_t>(ux * uy);
    case Binary::kDiv:
    case Binary::kFloorDiv: {
      if (y == 0) return 0;
      int64_t q = int64_t{x} / y;
      if (int64_t{x} % y != 0 && (x < 0) != (y < 0)) --q;
      return static_cast<int32_t>(static_cast<uint32_t>(q));
    }
    case Binary::kMod: {
      if (y == 0) return 0;
      int64_t r = int64_t{x} % y;
      return static_cast<int32_t>(r != 0 && (r < 0) != (y < 0) ? r + y : r);
    }
    case Binary::kPow: return int_pow(x, y);
    case Binary::kMax: return std::max(x, y);
    case Binary::kMin: return std::min(x, y);
  }
  return 0;
}

bool logical_reference(Logical op, uint8_t x, uint8_t y) noexcept {
  switch (op) {
    case Logical::kAnd: return x != 0 && y != 0;
    case Logical::kOr: return x != 0 || y != 0;
    case Logical::kXor: return (x != 0) != (y != 0);
  }
  return false;
}

float unary_reference(Unary op, float x, float a, float b) noexcept {
  switch (op) {
    case Unary::kIdentity: return x;
    case Unary::kAbs: return std::fabs(x);
    case Unary::kNeg: return -x;
    case Unary::kSquare: return x * x;
    case Unary::kSqrt: return std::sqrt(x);
    case Unary::kRsqrt: return 1.0f / std::sqrt(x + a);
    case Unary::kInverse: return 1.0f / (x + a);
    case Unary::kExp: return std::exp(x);
    case Unary::kExp2: return std::exp2(x);
    case Unary::kLog: return std::log(x + a);
    case Unary::kSin: return std::sin(x);
    case Unary::kCos: return std::cos(x);
    case Unary::kTan: return std::tan(x);
    case Unary::kAsin: return std::asin(x);
    case Unary::kAcos: return std::acos(x);
    case Unary::kAtan: return std::atan(x);
    case Unary::kSinh: return std::sinh(x);
    case Unary::kCosh: return std::cosh(x);
    case Unary::kTanh: return std::tanh(x);
    case Unary::kAsinh: return std::asinh(x);
    case Unary::kAcosh: return std::acosh(x);
    case Unary::kAtanh: return std::atanh(x);
    case Unary::kErf: return std::erf(x);
    case Unary::kCeil: return std::ceil(x);
    case Unary::kFloor: return std::floor(x);
    case Unary::kRound: return std::nearbyint(x);
    case Unary::kSign: return x > 0 ? 1.0f : x < 0 ? -1.0f : x;
    case Unary::kRelu: return x < 0 ? 0 : x;
    case Unary::kClip: return clip(x, a, b);
    case Unary::kThreshold: return x < a ? a : x;
    case Unary::kThresholdedRelu: return x < a ? 0 : x;
    case Unary::kLeakyRelu: return x < 0 ? a * x : x;
    case Unary::kClampedRelu: {
      const float y = x < 0 ? a * x : x;
      return y > b ? b : y;
    }
    case Unary::kLinear: return a * x + b;
    case Unary::kSigmoid: return sigmoid(x);
    case Unary::kHardSigmoid: return clip(a * x + b, 0, 1);
    case Unary::kHardSwish: return x * clip(a * x + b, 0, 1);
    case Unary::kSilu: return x < -100 ? -0.0f * std::isfinite(x) : x * sigmoid(x);
    case Unary::kElu: return x > 0 ? x : a * std::expm1(x);
    case Unary::kScaledTanh: return a * std::tanh(b * x);
    case Unary::kSoftplus: return softplus(x);
    case Unary::kSoftplusParametric: return a * softplus(b * x);
    case Unary::kSoftsign: return x / (1 + std::fabs(x));
    case Unary::kGelu: return static_cast<float>(0.5 * x * std::erfc(-static_cast<double>(x) * 0.70710678118654752440));
    case Unary::kGeluTanh: {
      const double d = x;
      return static_cast<float>(d / (1 + std::exp(-2 * 0.79788456080286535588 * (d + 0.044715 * d * d * d))));
    }
    case Unary::kGeluSigmoid: {
      const double d = x;
      return static_cast<float>(d / (1 + std::exp(-1.702 * d)));
    }
  }
  return x;
}

const ElementwiseTarget& elementwise_target() noexcept {
  return use_reference() ? kReference : *elementwise_simd();
}

void unary(Unary op, const float* in, float* out, int64_t count, float a, float b) noexcept {
  if (op == Unary::kIdentity) {
    if (in == out || count <= 0) return;
    parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) {
      std::memcpy(out + begin, in + begin, static_cast<size_t>(end - begin) * sizeof(float));
    });
    return;
  }
  const ElementwiseTarget& target = elementwise_target();
  const int64_t grain = kMinWork / unary_cost(op);
  if (count <= grain) return target.unary(op, in, out, count, a, b);
  parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    target.unary(op, in + begin, out + begin, end - begin, a, b);
  });
}

bool make_broadcast(std::span<const int64_t> a_shape, std::span<const int64_t> b_shape, Broadcast* out) {
  const size_t rank = std::max(a_shape.size(), b_shape.size());
  if (rank > kMaxRank) return false;
  out->rank = static_cast<int>(rank);
  int64_t a_stride = 1, b_stride = 1;
  for (size_t i = 0; i < rank; ++i) {
    const size_t axis = rank - 1 - i;
    const int64_t x = i < a_shape.size() ? a_shape[a_shape.size() - 1 - i] : 1;
    const int64_t y = i < b_shape.size() ? b_shape[b_shape.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) return false;
    out->shape[axis] = x == 1 ? y : x;
    out->a[axis] = x == 1 ? 0 : a_stride;
    out->b[axis] = y == 1 ? 0 : b_stride;
    a_stride *= x;
    b_stride *= y;
  }
  return true;
}

namespace {

// Runs shorter than kShortRun that one operand reads again and again, while the other and the result go on: that operand
// is written out for up to kTile elements, and the runs are one. Which operand repeats, or nothing.
constexpr int64_t kShortRun = 64, kTile = 512;
std::optional<size_t> repeated_short_run(const Runs& runs) {
  if (runs.rank == 0 || runs.length < 1 || runs.length >= kShortRun || runs.step[0] != 1 || runs.step[1] != 1) return std::nullopt;
  const auto back = static_cast<size_t>(runs.rank - 1);
  if (runs.shape[back] < 4) return std::nullopt;
  for (size_t o : {size_t{0}, size_t{1}})
    if (runs.strides[o][back] == 0 && runs.strides[1 - o][back] == runs.length) return o;
  return std::nullopt;
}

void binary_repeated(Binary op, const Runs& runs, size_t repeated, const float* a, const float* b, float* out) noexcept {
  const ElementwiseTarget& target = elementwise_target();
  const auto back = static_cast<size_t>(runs.rank - 1);
  const int64_t length = runs.length, rows = runs.shape[back], together = kTile / length, part = together * 16;
  const int64_t parts = (rows + part - 1) / part;
  int64_t outer = 1;
  for (size_t i = 0; i < back; ++i) outer *= runs.shape[i];
  parallel_for(outer * parts, grain_for(std::min(rows, part) * length), [&](int64_t begin, int64_t end) {
    alignas(64) float tile[kTile];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / parts, first = item % parts * part, last = std::min(rows, first + part);
      std::array<int64_t, 2> at{};
      for (int64_t rest = o, i = static_cast<int64_t>(back) - 1; i >= 0; --i) {
        const auto axis = static_cast<size_t>(i);
        for (size_t k = 0; k < 2; ++k) at[k] += rest % runs.shape[axis] * runs.strides[k][axis];
        rest /= runs.shape[axis];
      }
      const float* again = (repeated == 0 ? a : b) + at[repeated];
      const float* other = (repeated == 0 ? b : a) + at[1 - repeated];
      for (int64_t r = 0; r < std::min(together, last - first); ++r) std::copy_n(again, length, tile + r * length);
      for (int64_t r = first; r < last; r += together) {
        const int64_t n = std::min(together, last - r) * length;
        const float* x = other + r * length;
        float* y = out + (o * rows + r) * length;
        repeated == 0 ? target.binary(op, tile, 1, x, 1, y, n) : target.binary(op, x, 1, tile, 1, y, n);
      }
    }
  });
}

}  // namespace

void binary(Binary op, const Broadcast& s, const float* a, const float* b, float* out) noexcept {
  const ElementwiseTarget& target = elementwise_target();
  const Runs runs(s.rank, s.shape, {&s.a, &s.b, nullptr});
  if (const auto repeated = repeated_short_run(runs)) return binary_repeated(op, runs, *repeated, a, b, out);
  const int64_t xs = runs.step[0], ys = runs.step[1];
  runs.each(op == Binary::kPow || op == Binary::kMod ? 16 : 1, [&](int64_t at, const auto& offset, int64_t n) {
    if (unit(xs) && unit(ys)) return target.binary(op, a + offset[0], xs, b + offset[1], ys, out + at, n);
    for (int64_t i = 0; i < n; ++i)
      out[at + i] = binary_reference(op, a[offset[0] + i * xs], b[offset[1] + i * ys]);
  });
}

void binary(Binary op, const Broadcast& s, const int32_t* a, const int32_t* b, int32_t* out) noexcept {
  broadcast_with(op, s, a, b, out, integers_target().binary, op == Binary::kPow || op == Binary::kMod || op == Binary::kDiv || op == Binary::kFloorDiv ? 8 : 1);
}

void compare(Compare op, const Broadcast& s, const float* a, const float* b, uint8_t* out) noexcept {
  broadcast_with(op, s, a, b, out, elementwise_target().compare);
}
void compare(Compare op, const Broadcast& s, const int32_t* a, const int32_t* b, uint8_t* out) noexcept {
  broadcast_with(op, s, a, b, out, integers_target().compare);
}
void logical(Logical op, const Broadcast& s, const uint8_t* a, const uint8_t* b, uint8_t* out) noexcept {
  broadcast_with(op, s, a, b, out, integers_target().logical);
}

template <typename T>
static void select_as(const Runs& runs, const uint8_t* cond, const void* a, const void* b, void* out) noexcept {
  runs.each(2, [&](int64_t at, const auto& offset, int64_t n) {
    const T* x = static_cast<const T*>(a) + offset[0];
    const T* y = static_cast<const T*>(b) + offset[1];
    const uint8_t* c = cond + offset[2];
    T* o = static_cast<T*>(out) + at;
    const int64_t xs = runs.step[0], ys = runs.step[1], cs = runs.step[2];
    if constexpr (sizeof(T) == 4) {
      if (cs == 1 && unit(xs) && unit(ys)) return integers_target().select(c, x, xs, y, ys, o, n);
    }
    if (cs == 0 && unit(xs) && unit(ys)) {
      const bool first = *c != 0;
      if ((first ? xs : ys) == 0) std::fill_n(o, n, first ? *x : *y);
      else std::memmove(o, first ? x : y, static_cast<size_t>(n) * sizeof(T));
      return;
    }
    for (int64_t i = 0; i < n; ++i) o[i] = c[i * cs] != 0 ? x[i * xs] : y[i * ys];
  });
}

void select(const Broadcast& s, const std::array<int64_t, kMaxRank>& cond_strides, const uint8_t* cond,
            const void* a, const void* b, void* out, int element) noexcept {
  const Runs runs(s.rank, s.shape, {&s.a, &s.b, &cond_strides});
  switch (element) {
    case 1: return select_as<uint8_t>(runs, cond, a, b, out);
    case 2: return select_as<uint16_t>(runs, cond, a, b, out);
    case 4: return select_as<uint32_t>(runs, cond, a, b, out);
    default: return select_as<uint64_t>(runs, cond, a, b, out);
  }
}

void scale_bias(const float* in, float* out, int64_t outer, int64_t channels, int64_t inner, const float* scale,
                const float* bias, const Activation& f) noexcept {
  const ElementwiseTarget& target = elementwise_target();
  if (inner <= 0) return;
  parallel_for(outer * channels, grain_for(inner * 2), [&](int64_t begin, int64_t end) {
    if (inner == 1) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t c = i % channels;
        out[i] = in[i] * (scale != nullptr ? scale[c] : 1) + (bias != nullptr ? bias[c] : 0);
      }
      if (f.op != Unary::kIdentity) target.unary(f.op, out + begin, out + begin, end - begin, f.a, f.b);
      return;
    }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c = i % channels;
      float* o = out + i * inner;
      target.linear(in + i * inner, o, inner, scale != nullptr ? scale[c] : 1, bias != nullptr ? bias[c] : 0);
      if (f.op != Unary::kIdentity) target.unary(f.op, o, o, inner, f.a, f.b);
    }
  });
}

void prelu(const float* in, float* out, int64_t outer, int64_t channels, int64_t inner,
           const float* alpha) noexcept {
  const ElementwiseTarget& target = elementwise_target();
  if (inner <= 0) return;
  parallel_for(outer * channels, grain_for(inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      target.unary(Unary::kLeakyRelu, in + i * inner, out + i * inner, inner, alpha[i % channels], 0);
  });
}

}  // namespace mlt
