// Activations: a function of each element, with constants or one constant per channel; and softmax.
#include <algorithm>
#include <cmath>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Applies f to every element; F is stateless.
template <typename F>
Status eval_map(Call& call) {
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<float, float>(x, y, F{});
  return {};
}
// f(x, alpha) and f(x, alpha, beta) with single numbers.
template <typename F>
Status eval_alpha(Call& call) {
  const Tensor& x = call.tensor("x");
  float alpha = scalar_f32(call, "alpha");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<float, float>(x, y, [alpha](float v) { return F{}(v, alpha); });
  return {};
}
template <typename F>
Status eval_alpha_beta(Call& call) {
  const Tensor& x = call.tensor("x");
  float alpha = scalar_f32(call, "alpha"), beta = scalar_f32(call, "beta");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<float, float>(x, y, [alpha, beta](float v) { return F{}(v, alpha, beta); });
  return {};
}

// Comparisons are written so that NaN passes through.
struct Relu {
  float operator()(float x) const { return x < 0 ? 0 : x; }
};
struct Relu6 {
  float operator()(float x) const { return x < 0 ? 0 : x > 6 ? 6 : x; }
};
struct Sigmoid {
  float operator()(float x) const { return 1 / (1 + std::exp(-x)); }
};
struct Silu {
  float operator()(float x) const { return x / (1 + std::exp(-x)); }
};
struct Softsign {
  float operator()(float x) const { return x / (1 + std::abs(x)); }
};
// log(1 + e^x) without overflow for large x or loss for very negative x.
struct Softplus {
  float operator()(float x) const { return std::log1p(std::exp(-std::abs(x))) + (x < 0 ? 0 : x); }
};
struct GeluExact {
  float operator()(float x) const { return 0.5f * x * (1 + std::erf(x * 0.70710678118654752f)); }
};
struct GeluTanh {
  float operator()(float x) const { return 0.5f * x * (1 + std::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x))); }
};
struct GeluSigmoid {
  float operator()(float x) const { return x / (1 + std::exp(-1.702f * x)); }
};
struct ClampedRelu {
  float operator()(float x, float alpha, float beta) const {
    float y = x < 0 ? alpha * x : x;
    return y > beta ? beta : y;
  }
};
struct Elu {
  float operator()(float x, float alpha) const { return x < 0 ? alpha * std::expm1(x) : x; }
};
struct LeakyRelu {
  float operator()(float x, float alpha) const { return x < 0 ? alpha * x : x; }
};
struct ThresholdedRelu {
  float operator()(float x, float alpha) const { return x < alpha ? 0 : x; }
};
struct Linear {
  float operator()(float x, float alpha, float beta) const { return alpha * x + beta; }
};
struct ScaledTanh {
  float operator()(float x, float alpha, float beta) const { return alpha * std::tanh(beta * x); }
};
struct SigmoidHard {
  float operator()(float x, float alpha, float beta) const {
    float y = alpha * x + beta;
    return y < 0 ? 0 : y > 1 ? 1 : y;
  }
};

Result<Types> infer_gelu(Call& call) {
  std::string mode = call.str("mode");
  if (mode != "EXACT" && mode != "TANH_APPROXIMATION" && mode != "SIGMOID_APPROXIMATION")
    return input_error("mode is \"" + mode + "\", not EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION");
  return infer_same_as_x(call);
}

Status eval_gelu(Call& call) {
  std::string mode = call.str("mode");
  if (mode == "TANH_APPROXIMATION") return eval_map<GeluTanh>(call);
  if (mode == "SIGMOID_APPROXIMATION") return eval_map<GeluSigmoid>(call);
  return eval_map<GeluExact>(call);
}

// A vector parameter with one number for each channel, x's second axis.
Status check_per_channel(Call& call, std::string_view param) {
  const Dims &x = dims_of(call, "x"), &vector = dims_of(call, param);
  if (vector.size() != 1) return input_error("parameter \"" + std::string(param) + "\" must have rank 1");
  if (x.size() < 2 || (x[1] >= 0 && vector[0] >= 0 && x[1] != vector[0]))
    return input_error("parameter \"" + std::string(param) + "\" has " + dims_text(vector) + " elements for x of shape " + dims_text(x));
  return {};
}

Result<Types> infer_prelu(Call& call) {
  if (!is_ranked(call, "x")) return infer_same_as_x(call);
  size_t rank = dims_of(call, "x").size();
  if (rank < 3 || rank > 5) return input_error("x must have rank 3, 4 or 5, not " + std::to_string(rank));
  MLT_TRY(check_per_channel(call, "alpha"));
  if (rank != 4 && call.known("alpha")) {
    std::vector<float> alpha = call.floats("alpha");
    for (float a : alpha)
      if (std::abs(a - alpha[0]) > 1e-5f) return input_error("with x of rank " + std::to_string(rank) + " all values of alpha must be equal");
  }
  return infer_same_as_x(call);
}

Result<Types> infer_softplus_parametric(Call& call) {
  if (!is_ranked(call, "x")) return infer_same_as_x(call);
  if (dims_of(call, "x").size() < 3) return input_error("x must have at least rank 3");
  MLT_TRY(check_per_channel(call, "alpha"));
  MLT_TRY(check_per_channel(call, "beta"));
  return infer_same_as_x(call);
}

// f(x, channel) over rows of one channel each.
template <typename F>
void map_channels(const Tensor& x, Tensor& y, F f) {
  int64_t channels = x.dims()[1], row = product(x.dims(), 2, x.dims().size());
  const float* in = x.data<float>();
  float* out = y.mutable_data<float>();
  parallel_for(x.dims()[0] * channels, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, row)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = r * row; i < (r + 1) * row; ++i) out[i] = f(in[i], static_cast<size_t>(r % channels));
  });
}

Status eval_prelu(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_TRY(check_per_channel(call, "alpha"));
  std::vector<float> alpha = call.floats("alpha");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  map_channels(x, y, [&](float v, size_t c) { return v < 0 ? alpha[c] * v : v; });
  return {};
}

Status eval_softplus_parametric(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_TRY(check_per_channel(call, "alpha"));
  MLT_TRY(check_per_channel(call, "beta"));
  std::vector<float> alpha = call.floats("alpha"), beta = call.floats("beta");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  map_channels(x, y, [&](float v, size_t c) { return alpha[c] * Softplus{}(beta[c] * v); });
  return {};
}

Result<Types> infer_softmax(Call& call) {
  if (!is_ranked(call, "x")) return infer_same_as_x(call);
  MLT_TRY(normalize_axis(call.i64("axis"), static_cast<int64_t>(dims_of(call, "x").size())));
  return infer_same_as_x(call);
}

Status eval_softmax(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  Tensor& y = output(call, 0, x.dims());
  if (call.failed() || x.size() == 0) return {};
  size_t at = static_cast<size_t>(axis);
  int64_t n = x.dims()[at], inner = product(x.dims(), at + 1, x.dims().size()), lanes = x.size() / n;
  const float* in = x.data<float>();
  float* out = y.mutable_data<float>();
  parallel_for(lanes, std::max<int64_t>(1, (1 << 12) / n), [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) {
      int64_t base = lane / inner * inner * n + lane % inner;
      float top = in[base];
      for (int64_t i = 1; i < n; ++i) top = std::max(top, in[base + i * inner]);
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        float e = std::exp(in[base + i * inner] - top);
        out[base + i * inner] = e;
        sum += e;
      }
      float scale = static_cast<float>(1 / sum);
      for (int64_t i = 0; i < n; ++i) out[base + i * inner] *= scale;
    }
  });
  return {};
}

// From CoreML7 on, constants may have another float type than x.
#define MLT_TWO_VERSIONS(NAME, PARAMS_T, PARAMS_U, INFER, EVAL, DOC)                                                    \
  {.name = NAME, .signature = "x: T, " PARAMS_T " -> output", .domains = "T: fp16 fp32", .infer = INFER, .eval = EVAL, .doc = DOC}, \
  {.name = NAME, .since = Opset::kCoreML7, .signature = "x: T, " PARAMS_U " -> output", .domains = "T: fp16 fp32; U: fp16 fp32",   \
   .infer = INFER, .eval = EVAL, .doc = DOC}
#define MLT_ALPHA(NAME, INFER, EVAL, DOC) MLT_TWO_VERSIONS(NAME, "alpha: const T", "alpha: const U", INFER, EVAL, DOC)
#define MLT_ALPHA_BETA(NAME, INFER, EVAL, DOC) \
  MLT_TWO_VERSIONS(NAME, "alpha: const T, beta: const T", "alpha: const U, beta: const U", INFER, EVAL, DOC)

constexpr OpDef kOps[] = {
    MLT_ALPHA_BETA("clamped_relu", infer_with_scalars, eval_alpha_beta<ClampedRelu>, "min(beta, x) where x >= 0, otherwise min(beta, alpha * x)."),
    MLT_ALPHA("elu", infer_with_scalars, eval_alpha<Elu>, "x where x > 0, otherwise alpha * (e^x - 1)."),
    {.name = "gelu", .signature = "x: T, mode: const string = \"EXACT\" -> output", .domains = "T: fp16 fp32", .infer = infer_gelu,
     .eval = eval_gelu, .doc = "x times the normal distribution function of x, exactly or by a tanh or sigmoid approximation."},
    MLT_ALPHA("leaky_relu", infer_with_scalars, eval_alpha<LeakyRelu>, "x where x >= 0, otherwise alpha * x."),
    MLT_ALPHA_BETA("linear_activation", infer_with_scalars, eval_alpha_beta<Linear>, "alpha * x + beta."),
    MLT_ALPHA("prelu", infer_prelu, eval_prelu, "x where x > 0, otherwise alpha * x with one alpha for each channel (axis 1)."),
    {.name = "relu", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Relu>,
     .exactness = Exactness::kExact, .doc = "max(x, 0)."},
    {.name = "relu6", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Relu6>,
     .exactness = Exactness::kExact, .doc = "min(max(x, 0), 6)."},
    MLT_ALPHA_BETA("scaled_tanh", infer_with_scalars, eval_alpha_beta<ScaledTanh>, "alpha * tanh(beta * x)."),
    {.name = "sigmoid", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Sigmoid>,
     .doc = "1 / (1 + e^-x)."},
    MLT_ALPHA_BETA("sigmoid_hard", infer_with_scalars, eval_alpha_beta<SigmoidHard>, "min(max(alpha * x + beta, 0), 1)."),
    {.name = "silu", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Silu>,
     .doc = "x * sigmoid(x)."},
    {.name = "softmax", .signature = "x: T, axis: const int32 = -1 -> output", .domains = "T: fp16 fp32", .infer = infer_softmax,
     .eval = eval_softmax, .doc = "e^x divided by the sum of e^x along an axis."},
    {.name = "softplus", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Softplus>,
     .doc = "log(1 + e^x)."},
    MLT_ALPHA_BETA("softplus_parametric", infer_softplus_parametric, eval_softplus_parametric,
                   "alpha * log(1 + e^(beta * x)) with one alpha and beta for each channel (axis 1)."),
    {.name = "softsign", .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_map<Softsign>,
     .doc = "x / (1 + |x|)."},
    MLT_ALPHA("thresholded_relu", infer_with_scalars, eval_alpha<ThresholdedRelu>, "x where x >= alpha, otherwise 0."),
};

#undef MLT_ALPHA_BETA
#undef MLT_ALPHA
#undef MLT_TWO_VERSIONS

}  // namespace

std::span<const OpDef> activation_ops() { return kOps; }

}  // namespace mlt::ops
