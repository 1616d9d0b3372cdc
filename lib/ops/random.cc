// Random tensors. Core ML leaves the generator open and draws anew on each run when seed is -1; here the numbers are a
// function of seed and position alone, and -1 is just another seed, so that equal inputs always give equal outputs.
#include <cmath>
#include <cstdint>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// 53 random bits in (0, 1): SplitMix64's finalizer over a counter (Steele, Lea, Flood 2014).
struct Generator {
  uint64_t key;
  explicit Generator(int64_t seed) : key(mixed(static_cast<uint64_t>(seed) + 0x632be59bd9b4e019ull)) {}
  static uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double at(int64_t i) const {
    uint64_t bits = mixed(key + (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15ull);
    return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
  }
};

template <typename F>
Status draw(Call& call, const ir::Type& type, F f) {
  Generator generator(call.i64("seed"));
  Tensor& y = output(call, 0, type.dims);
  if (call.failed()) return {};
  float* out = y.mutable_data<float>();
  parallel_for(y.size(), 1 << 12, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = f(generator, i);
  });
  return {};
}

// fp32 unless one of the constants says fp16.
Result<Types> infer_shaped(Call& call, std::string_view first, std::string_view second = {}) {
  DType dtype = call.has(first) ? call.type(first).dtype : !second.empty() && call.has(second) ? call.type(second).dtype : DType::kF32;
  MLT_ASSIGN(ir::Type type, shaped_by(call, "shape", dtype));
  return Types{std::move(type)};
}
Result<Types> infer_bernoulli(Call& call) { return infer_shaped(call, "prob"); }
Result<Types> infer_normal(Call& call) { return infer_shaped(call, "mean", "stddev"); }
Result<Types> infer_uniform(Call& call) { return infer_shaped(call, "low", "high"); }

Status eval_bernoulli(Call& call) {
  MLT_ASSIGN(Types types, infer_bernoulli(call));
  double prob = static_cast<double>(scalar_f32(call, "prob"));
  return draw(call, types[0], [prob](const Generator& g, int64_t i) { return g.at(i) < prob ? 1.0f : 0.0f; });
}

Status eval_normal(Call& call) {
  MLT_ASSIGN(Types types, infer_normal(call));
  double mean = static_cast<double>(scalar_f32(call, "mean")), deviation = static_cast<double>(scalar_f32(call, "stddev"));
  return draw(call, types[0], [mean, deviation](const Generator& g, int64_t i) {  // Box and Muller
    double radius = std::sqrt(-2 * std::log(g.at(2 * i)));
    return static_cast<float>(mean + deviation * radius * std::cos(6.283185307179586 * g.at(2 * i + 1)));
  });
}

Status eval_uniform(Call& call) {
  MLT_ASSIGN(Types types, infer_uniform(call));
  float low = scalar_f32(call, "low"), high = scalar_f32(call, "high");
  return draw(call, types[0], [low, high](const Generator& g, int64_t i) {
    float value = static_cast<float>(static_cast<double>(low) + (static_cast<double>(high) - static_cast<double>(low)) * g.at(i));
    return value < high || !(low < high) ? value : std::nextafter(high, low);  // rounding must not reach `high`
  });
}

Result<Types> infer_categorical(Call& call) {
  ir::Type type = call.type("x");
  std::string mode = call.str("mode");
  int64_t size = call.i64("size");
  if (mode != "logits" && mode != "probs") return input_error("mode is \"" + mode + "\", not logits or probs");
  if (size < 1) return input_error("size must be positive");
  if (!is_ranked(call, "x")) return Types{std::move(type)};
  type.dims = dims_of(call, "x");
  if (type.dims.empty()) return input_error("x must have at least rank 1");
  type.dims.back() = size;
  return Types{std::move(type)};
}

// Inverts the cumulative distribution of each row.
Status eval_categorical(Call& call) {
  MLT_ASSIGN(Types types, infer_categorical(call));
  const Tensor& x = call.tensor("x");
  bool logits = call.str("mode") == "logits";
  int64_t classes = x.dims().back(), size = call.i64("size");
  if (classes == 0) return input_error("x has no classes");
  std::vector<double> cumulative(static_cast<size_t>(x.size()));
  const float* in = x.data<float>();
  for (int64_t row = 0; row < x.size(); row += classes) {
    double top = static_cast<double>(in[row]), sum = 0;
    for (int64_t c = 0; c < classes; ++c) top = std::max(top, static_cast<double>(in[row + c]));
    for (int64_t c = 0; c < classes; ++c) {
      double value = static_cast<double>(in[row + c]);
      sum += logits ? std::exp(value - top) : std::max(0.0, value);
      cumulative[static_cast<size_t>(row + c)] = sum;
    }
  }
  return draw(call, types[0], [&](const Generator& g, int64_t i) {
    auto first = cumulative.begin() + i / size * classes, last = first + classes;
    auto at = std::upper_bound(first, last - 1, g.at(i) * *(last - 1));
    return static_cast<float>(at - first);
  });
}

constexpr OpDef row(std::string_view name, std::string_view signature, InferFn infer, EvalFn eval, std::string_view doc) {
  return {.name = name, .signature = signature, .domains = "T: fp16 fp32", .infer = infer, .eval = eval, .exactness = Exactness::kRandom, .doc = doc};
}

constexpr OpDef kOps[] = {
    row("random_bernoulli", "shape: int32, prob: const T = 0.5, seed: const int32 = -1 -> output", infer_bernoulli, eval_bernoulli,
        "1 with probability prob, else 0."),
    row("random_categorical", "x: T, mode: const string = \"logits\", size: const int32 = 1, seed: const int32 = -1 -> output", infer_categorical,
        eval_categorical, "Class indices drawn with the probabilities of each row of x."),
    row("random_normal", "shape: int32, mean: const T = 0.0, stddev: const T = 1.0, seed: const int32 = -1 -> output", infer_normal, eval_normal,
        "Normally distributed numbers."),
    row("random_uniform", "shape: int32, low: const T = 0.0, high: const T = 1.0, seed: const int32 = -1 -> output", infer_uniform, eval_uniform,
        "Evenly distributed numbers from low up to but without high."),
};

}  // namespace

std::span<const OpDef> random_ops() { return kOps; }

}  // namespace mlt::ops
