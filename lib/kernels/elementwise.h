// Elementwise functions on float32 (int32 and bool where noted), vectorised and threaded.
// In-place use (out == an input, same element positions) is allowed everywhere unless noted.
#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace mlt {

// Highest rank the strided kernels take.
inline constexpr int kMaxRank = 8;

// f(x) with at most two parameters a and b.
enum class Unary : uint8_t {
  kIdentity,
  kAbs,
  kNeg,
  kSquare,
  kSqrt,
  kRsqrt,    // 1 / sqrt(x + a)
  kInverse,  // 1 / (x + a)
  kExp,
  kExp2,
  kLog,  // log(x + a)
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kCeil,
  kFloor,
  kRound,  // to nearest, halves to even
  kSign,
  kRelu,
  kClip,             // min(max(x, a), b); relu6 is kClip 0, 6
  kThreshold,        // max(x, a)
  kThresholdedRelu,  // x >= a ? x : 0
  kLeakyRelu,        // x >= 0 ? x : a * x
  kClampedRelu,      // min(b, x >= 0 ? x : a * x)
  kLinear,           // a * x + b
  kSigmoid,
  kHardSigmoid,  // clip(a * x + b, 0, 1)
  kHardSwish,    // x * clip(a * x + b, 0, 1); usually a = 1/6, b = 1/2
  kSilu,         // x * sigmoid(x)
  kElu,          // x > 0 ? x : a * (exp(x) - 1)
  kScaledTanh,   // a * tanh(b * x)
  kSoftplus,     // log(1 + exp(x))
  kSoftplusParametric,  // a * log(1 + exp(b * x))
  kSoftsign,            // x / (1 + |x|)
  kGelu,                // x * (1 + erf(x / sqrt 2)) / 2
  kGeluTanh,            // x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
  kGeluSigmoid,         // x * sigmoid(1.702 x)
};

// An activation as an epilogue of other kernels.
struct Activation {
  Unary op = Unary::kIdentity;
  float a = 0, b = 0;
};

// Accuracy of the vectorised functions against the exact result, in units in the last place, wherever its magnitude is
// above 1e-35 (checked by tests): exp, exp2, log 2; tanh, sigmoid, erf, silu, elu, softplus 4; sin and cos 2e-7
// absolute; gelu's forms 4e-7 of max(1, |x|). NaN in gives NaN out; clip, relu and threshold pass it on.
void unary(Unary op, const float* in, float* out, int64_t count, float a = 0, float b = 0) noexcept;
inline void unary(const Activation& f, const float* in, float* out, int64_t count) noexcept {
  unary(f.op, in, out, count, f.a, f.b);
}

enum class Binary : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,       // int32: rounds toward negative infinity as kFloorDiv does
  kFloorDiv,  // floor(x / y); int32 division by zero gives 0
  kMod,       // x - y * floor(x / y): the sign of y; int32 modulo zero gives 0
  kPow,       // int32: exact modulo 2^32, negative exponents give 0 (1 and -1 excepted)
  kMax,
  kMin,  // NaN if either is NaN
};
enum class Compare : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };
enum class Logical : uint8_t { kAnd, kOr, kXor };

// Operands of a broadcasting operation: `shape` is the output's (rank <= kMaxRank, row-major contiguous), strides are
// in elements, 0 along a broadcast axis.
struct Broadcast {
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{}, a{}, b{};
};
// Strides for contiguous operands under numpy's rules (aligned at the last axis). False when the shapes do not
// broadcast or a rank is above kMaxRank.
bool make_broadcast(std::span<const int64_t> a_shape, std::span<const int64_t> b_shape, Broadcast* out);

void binary(Binary op, const Broadcast& shape, const float* a, const float* b, float* out) noexcept;
void binary(Binary op, const Broadcast& shape, const int32_t* a, const int32_t* b, int32_t* out) noexcept;
// Results are 0 or 1.
void compare(Compare op, const Broadcast& shape, const float* a, const float* b, uint8_t* out) noexcept;
void compare(Compare op, const Broadcast& shape, const int32_t* a, const int32_t* b, uint8_t* out) noexcept;
void logical(Logical op, const Broadcast& shape, const uint8_t* a, const uint8_t* b, uint8_t* out) noexcept;
// out = cond ? a : b; `element` is 1, 2, 4 or 8 bytes. cond_strides as in Broadcast. In place only over an operand of
// the full shape.
void select(const Broadcast& shape, const std::array<int64_t, kMaxRank>& cond_strides, const uint8_t* cond,
            const void* a, const void* b, void* out, int element) noexcept;

// out[o, c, i] = f(in[o, c, i] * scale[c] + bias[c]) over [outer, channels, inner]; a null scale is 1, a null bias 0.
// Batch norm at inference is this with scale = gamma / sqrt(var + eps), bias = beta - mean * scale.
void scale_bias(const float* in, float* out, int64_t outer, int64_t channels, int64_t inner, const float* scale,
                const float* bias, const Activation& f = {}) noexcept;
// x >= 0 ? x : alpha[c] * x.
void prelu(const float* in, float* out, int64_t outer, int64_t channels, int64_t inner,
           const float* alpha) noexcept;

}  // namespace mlt
