// batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm. Sums are taken in double precision.
#include <algorithm>
#include <cmath>

#include "lib/base/threads.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// One value for each channel of x (axis 1).
Result<std::vector<ir::Type>> infer_per_channel(Call& call) {
  const ir::Type& x = call.type("x");
  if (x.rank() < 2) return input_error("x must have a batch and a channel axis, not " + x.to_string());
  for (std::string_view name : {"mean", "variance", "gamma", "beta"}) {
    if (call.info().param(name) == nullptr || !call.has(name)) continue;
    const ir::Type& type = call.type(name);
    if (type.rank() != 1 || !extents_agree(type.dims[0], x.dims[1]))
      return input_error(std::string(name) + " " + dims_text(type.dims) + " must have one value for each channel of x " + dims_text(x.dims));
  }
  return std::vector<ir::Type>{x};
}

// A parameter of `count` floats, or `fallback` repeated when it is absent.
std::vector<float> channel_values(Call& call, std::string_view name, int64_t count, float fallback) {
  if (!call.has(name)) return std::vector<float>(static_cast<size_t>(count), fallback);
  std::vector<float> values = call.floats(name);
  if (!call.failed() && static_cast<int64_t>(values.size()) != count)
    call.fail(std::string(name) + " must have " + std::to_string(count) + " values");
  return values;
}

Status eval_batch_norm(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed() || x.rank() < 2) return call.failed() ? Status() : input_error("x must have a channel axis");
  int64_t channels = x.dims()[1], plane = product(x.dims(), 2, x.dims().size());
  auto mean = channel_values(call, "mean", channels, 0), variance = channel_values(call, "variance", channels, 1);
  auto gamma = channel_values(call, "gamma", channels, 1), beta = channel_values(call, "beta", channels, 0);
  float epsilon = static_cast<float>(call.f64("epsilon"));
  if (call.failed()) return {};
  const float* from = x.data<float>();
  float* to = output(call, 0, x.dims()).mutable_data<float>();
  parallel_for(x.dims()[0] * channels, 1 + 8192 / (plane + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      size_t c = static_cast<size_t>(i % channels);
      float scale = gamma[c] / std::sqrt(variance[c] + epsilon);
      for (int64_t p = i * plane; p < (i + 1) * plane; ++p) to[p] = (from[p] - mean[c]) * scale + beta[c];
    }
  });
  return {};
}

Status eval_instance_norm(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed() || x.rank() < 2) return call.failed() ? Status() : input_error("x must have a channel axis");
  int64_t channels = x.dims()[1], plane = product(x.dims(), 2, x.dims().size());
  auto gamma = channel_values(call, "gamma", channels, 1), beta = channel_values(call, "beta", channels, 0);
  double epsilon = call.f64("epsilon");
  if (call.failed()) return {};
  const float* from = x.data<float>();
  float* to = output(call, 0, x.dims()).mutable_data<float>();
  parallel_for(x.dims()[0] * channels, 1 + 8192 / (plane + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      size_t c = static_cast<size_t>(i % channels);
      double sum = 0, squares = 0;
      for (int64_t p = i * plane; p < (i + 1) * plane; ++p) sum += static_cast<double>(from[p]);
      double mean = sum / static_cast<double>(plane);
      for (int64_t p = i * plane; p < (i + 1) * plane; ++p) {
        double d = static_cast<double>(from[p]) - mean;
        squares += d * d;
      }
      double scale = static_cast<double>(gamma[c]) / std::sqrt(squares / static_cast<double>(plane) + epsilon);
      for (int64_t p = i * plane; p < (i + 1) * plane; ++p)
        to[p] = static_cast<float>((static_cast<double>(from[p]) - mean) * scale + static_cast<double>(beta[c]));
    }
  });
  return {};
}

Result<std::vector<ir::Type>> infer_l2_norm(Call& call) {
  if (call.type("x").rank() < 3) return input_error("x must have rank 3 or more");
  return infer_same_as_x(call);
}

Status eval_l2_norm(Call& call) {
  const Tensor& x = call.tensor("x");
  double epsilon = call.f64("epsilon");
  if (call.failed() || x.rank() < 3) return call.failed() ? Status() : input_error("x must have rank 3 or more");
  size_t rank = x.dims().size();
  int64_t batch = product(x.dims(), 0, rank - 3), size = product(x.dims(), rank - 3, rank);
  const float* from = x.data<float>();
  float* to = output(call, 0, x.dims()).mutable_data<float>();
  for (int64_t b = 0; b < batch; ++b) {
    double squares = 0;
    for (int64_t p = b * size; p < (b + 1) * size; ++p) squares += static_cast<double>(from[p]) * static_cast<double>(from[p]);
    double norm = std::sqrt(squares + epsilon);
    for (int64_t p = b * size; p < (b + 1) * size; ++p) to[p] = static_cast<float>(static_cast<double>(from[p]) / norm);
  }
  return {};
}

// Which axes are normalized, as one flag per axis of x.
Result<std::vector<bool>> normalized_axes(Call& call, int64_t rank) {
  std::vector<bool> chosen(static_cast<size_t>(rank), true);
  if (!call.has("axes")) return chosen;
  std::vector<int64_t> axes = call.ints("axes");
  if (call.failed()) return *call.error();
  std::fill(chosen.begin(), chosen.end(), false);
  for (int64_t axis : axes) {
    MLT_ASSIGN(int64_t a, normalize_axis(axis, rank));
    chosen[static_cast<size_t>(a)] = true;
  }
  return chosen;
}

Result<std::vector<ir::Type>> infer_layer_norm(Call& call) {
  const ir::Type& x = call.type("x");
  MLT_ASSIGN(std::vector<bool> chosen, normalized_axes(call, x.rank()));
  Dims wanted;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (chosen[i]) wanted.push_back(x.dims[i]);
  for (std::string_view name : {"gamma", "beta"}) {
    if (!call.has(name)) continue;
    const Dims& dims = call.type(name).dims;
    bool fits = dims.size() == wanted.size();
    for (size_t i = 0; fits && i < dims.size(); ++i) fits = extents_agree(dims[i], wanted[i]);
    if (!fits) return input_error(std::string(name) + " " + dims_text(dims) + " must have the normalized extents " + dims_text(wanted));
  }
  return std::vector<ir::Type>{x};
}

Status eval_layer_norm(Call& call) {
  const Tensor& x = call.tensor("x");
  double epsilon = call.f64("epsilon");
  if (call.failed()) return {};
  MLT_ASSIGN(std::vector<bool> chosen, normalized_axes(call, x.rank()));
  // Offsets of the elements normalized together, and of the groups.
  Dims inner, outer, inner_strides, outer_strides, strides = row_major_strides(x.dims());
  for (size_t i = 0; i < chosen.size(); ++i) {
    (chosen[i] ? inner : outer).push_back(x.dims()[i]);
    (chosen[i] ? inner_strides : outer_strides).push_back(strides[i]);
  }
  auto offsets = [](const Dims& dims, const Dims& steps) {
    std::vector<int64_t> list(static_cast<size_t>(product(dims, 0, dims.size())));
    Dims index(dims.size(), 0);
    for (int64_t& offset : list) {
      offset = 0;
      for (size_t d = 0; d < dims.size(); ++d) offset += index[d] * steps[d];
      next_index(index, dims);
    }
    return list;
  };
  bool trailing = std::is_sorted(chosen.begin(), chosen.end());
  int64_t size = product(inner, 0, inner.size()), groups = product(outer, 0, outer.size());
  std::vector<int64_t> at, starts;
  if (!trailing) at = offsets(inner, inner_strides), starts = offsets(outer, outer_strides);
  auto gamma = channel_values(call, "gamma", size, 1), beta = channel_values(call, "beta", size, 0);
  if (call.failed()) return {};
  float* target = output(call, 0, x.dims()).mutable_data<float>();
  const float* source = x.data<float>();
  parallel_for(groups, 1 + 8192 / (size + 1), [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      int64_t start = trailing ? g * size : starts[static_cast<size_t>(g)];
      auto where = [&](int64_t i) { return start + (trailing ? i : at[static_cast<size_t>(i)]); };
      double sum = 0, squares = 0;
      for (int64_t i = 0; i < size; ++i) sum += static_cast<double>(source[where(i)]);
      double mean = sum / static_cast<double>(size);
      for (int64_t i = 0; i < size; ++i) {
        double d = static_cast<double>(source[where(i)]) - mean;
        squares += d * d;
      }
      double scale = 1.0 / std::sqrt(squares / static_cast<double>(size) + epsilon);
      for (int64_t i = 0; i < size; ++i) {
        size_t j = static_cast<size_t>(i);
        target[where(i)] = static_cast<float>((static_cast<double>(source[where(i)]) - mean) * scale * static_cast<double>(gamma[j]) +
                                              static_cast<double>(beta[j]));
      }
    }
  });
  return {};
}

Result<std::vector<ir::Type>> infer_local_response_norm(Call& call) {
  if (call.type("x").rank() < 2) return input_error("x must have a channel axis");
  if (call.i64("size") < 1 && !call.failed()) return input_error("size must be positive");
  return infer_same_as_x(call);
}

// An even window reaches one channel further back than forward.
Status eval_local_response_norm(Call& call) {
  const Tensor& x = call.tensor("x");
  int64_t size = call.i64("size");
  double alpha = call.f64("alpha"), beta = call.f64("beta"), k = call.f64("k");
  if (call.failed()) return {};
  if (x.rank() < 2 || size < 1) return input_error("x must have a channel axis and size must be positive");
  int64_t channels = x.dims()[1], plane = product(x.dims(), 2, x.dims().size());
  const float* from = x.data<float>();
  float* to = output(call, 0, x.dims()).mutable_data<float>();
  parallel_for(x.dims()[0] * channels, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> squares(static_cast<size_t>(plane));
    for (int64_t i = begin; i < end; ++i) {
      int64_t n = i / channels, c = i % channels;
      int64_t first = std::max<int64_t>(0, c - size / 2), last = std::min(channels - 1, c + (size - 1) / 2);
      std::fill(squares.begin(), squares.end(), 0.0);
      for (int64_t j = first; j <= last; ++j) {
        const float* row = from + (n * channels + j) * plane;
        for (int64_t p = 0; p < plane; ++p) squares[static_cast<size_t>(p)] += static_cast<double>(row[p]) * static_cast<double>(row[p]);
      }
      for (int64_t p = 0; p < plane; ++p)
        to[i * plane + p] = static_cast<float>(static_cast<double>(from[i * plane + p]) /
                                               std::pow(k + alpha / static_cast<double>(size) * squares[static_cast<size_t>(p)], beta));
    }
  });
  return {};
}

constexpr std::string_view kBatchNormDoc = "gamma * (x - mean) / sqrt(variance + epsilon) + beta for each channel of x [n, c, d...].";
constexpr std::string_view kInstanceNormDoc = "Normalizes each channel of each example of x [n, c, d...] by its own mean and variance, then scales by gamma and adds beta.";
constexpr std::string_view kL2NormDoc = "x / sqrt(sum of squares + epsilon), the sum over the last three axes.";
constexpr std::string_view kLayerNormDoc = "gamma * (x - mean) / sqrt(variance + epsilon) + beta, statistics over the given axes (all when absent).";
constexpr std::string_view kLrnDoc = "x / (k + alpha / size * sum of squares over `size` neighbouring channels) ^ beta.";

constexpr OpDef kOps[] = {
    {.name = "batch_norm",
     .signature = "x: T, mean: const T, variance: const T, gamma?: const T, beta?: const T, epsilon: const T = 1e-5 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_per_channel,
     .eval = eval_batch_norm,
     .doc = kBatchNormDoc},
    {.name = "batch_norm",
     .since = Opset::kCoreML7,
     .signature = "x: T, mean: const U, variance: const U, gamma?: const U, beta?: const U, epsilon: const U = 1e-5 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_per_channel,
     .eval = eval_batch_norm,
     .doc = kBatchNormDoc},
    {.name = "instance_norm",
     .signature = "x: T, gamma?: const T, beta?: const T, epsilon: const T = 1e-5 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_per_channel,
     .eval = eval_instance_norm,
     .doc = kInstanceNormDoc},
    {.name = "instance_norm",
     .since = Opset::kCoreML7,
     .signature = "x: T, gamma?: const U, beta?: const U, epsilon: const U = 1e-5 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_per_channel,
     .eval = eval_instance_norm,
     .doc = kInstanceNormDoc},
    {.name = "l2_norm",
     .signature = "x: T, epsilon: const T = 1e-6 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_l2_norm,
     .eval = eval_l2_norm,
     .doc = kL2NormDoc},
    {.name = "l2_norm",
     .since = Opset::kCoreML7,
     .signature = "x: T, epsilon: const U = 1e-6 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_l2_norm,
     .eval = eval_l2_norm,
     .doc = kL2NormDoc},
    {.name = "layer_norm",
     .signature = "x: T, axes?: const int32, gamma?: const T, beta?: const T, epsilon: const T = 1e-5 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_layer_norm,
     .eval = eval_layer_norm,
     .doc = kLayerNormDoc},
    {.name = "layer_norm",
     .since = Opset::kCoreML7,
     .signature = "x: T, axes?: const int32, gamma?: const U, beta?: const U, epsilon: const U = 1e-5 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_layer_norm,
     .eval = eval_layer_norm,
     .doc = kLayerNormDoc},
    {.name = "local_response_norm",
     .signature = "x: T, size: const int32, alpha: const T = 1e-4, beta: const T = 0.75, k: const T = 1.0 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_local_response_norm,
     .eval = eval_local_response_norm,
     .doc = kLrnDoc},
    {.name = "local_response_norm",
     .since = Opset::kCoreML7,
     .signature = "x: T, size: const int32, alpha: const U = 1e-4, beta: const U = 0.75, k: const U = 1.0 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_local_response_norm,
     .eval = eval_local_response_norm,
     .doc = kLrnDoc},
};

}  // namespace

std::span<const OpDef> normalization_ops() { return kOps; }

}  // namespace mlt::ops
