// Sums, extremes and norms along axes. Floats accumulate in fp64, integers in int64.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Which axes go; all of them when the parameter is absent.
Result<std::vector<bool>> reduced_axes(Call& call, int64_t rank) {
  std::vector<bool> reduced(static_cast<size_t>(rank), !call.has("axes"));
  if (!call.has("axes")) return reduced;
  MLT_ASSIGN(std::vector<int64_t> axes, normalize_axes(call.ints("axes"), rank));
  for (int64_t axis : axes) reduced[static_cast<size_t>(axis)] = true;
  return reduced;
}

Dims reduced_dims(const Dims& dims, const std::vector<bool>& reduced, bool keep) {
  Dims out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!reduced[i]) out.push_back(dims[i]);
    else if (keep) out.push_back(1);
  }
  return out;
}

Result<Types> infer_reduce(Call& call) {
  DType dtype = call.type("x").dtype;
  bool keep = call.flag("keep_dims");
  if (!is_ranked(call, "x")) return Types{!keep && !call.has("axes") ? ir::Type::tensor(dtype) : ir::Type::unranked(dtype)};
  const Dims& x = dims_of(call, "x");
  MLT_ASSIGN(std::vector<bool> reduced, reduced_axes(call, static_cast<int64_t>(x.size())));
  return Types{ir::Type::tensor(dtype, reduced_dims(x, reduced, keep))};
}

// Walks the input of a reduction: kept axes give the outputs, reduced axes the elements of one.
struct Walk {
  Dims kept, kept_strides, gone, gone_strides;
  int64_t outputs = 1, each = 1;

  Walk(const Dims& dims, const std::vector<bool>& reduced) {
    Dims strides = row_major_strides(dims);
    for (size_t i = 0; i < dims.size(); ++i) {
      Dims &d = reduced[i] ? gone : kept, &s = reduced[i] ? gone_strides : kept_strides;
      (reduced[i] ? each : outputs) *= dims[i];
      if (!d.empty() && s.back() == strides[i] * dims[i]) {
        d.back() *= dims[i];
        s.back() = strides[i];
      } else {
        d.push_back(dims[i]);
        s.push_back(strides[i]);
      }
    }
    if (gone.empty()) {
      gone = {1};
      gone_strides = {1};
    }
  }

  int64_t start(int64_t output) const {
    int64_t offset = 0;
    for (size_t i = kept.size(); i-- > 0; output /= kept[i]) offset += output % kept[i] * kept_strides[i];
    return offset;
  }

  // f(element offset) for all elements of one output, in row-major order.
  template <typename F>
  void each_element(int64_t offset, Dims& index, F&& f) const {
    index.assign(gone.size() - 1, 0);
    for (;;) {
      for (int64_t i = 0, at = offset; i < gone.back(); ++i, at += gone_strides.back()) f(at);
      size_t d = gone.size() - 1;
      for (;;) {
        if (d-- == 0) return;
        offset += gone_strides[d];
        if (++index[d] < gone[d]) break;
        offset -= gone_strides[d] * gone[d];
        index[d] = 0;
      }
    }
  }
};

int32_t narrowed(double value) {
  if (std::isnan(value)) return 0;
  return static_cast<int32_t>(std::clamp(value, -2147483648.0, 2147483647.0));
}
int32_t narrowed(int64_t value) { return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(value))); }

// Each: constructed, add()ed every element, and asked for the result over n elements.
struct Sum {
  double f = 0;
  int64_t i = 0;
  void add(float v) { f += static_cast<double>(v); }
  void add(int32_t v) { i += v; }
  double result(int64_t) const { return f; }
  int64_t result_int(int64_t) const { return i; }
};
struct Mean : Sum {
  double result(int64_t n) const { return f / static_cast<double>(n); }
  int64_t result_int(int64_t n) const { return n == 0 ? 0 : i / n; }
};
struct Product {
  double f = 1;
  uint64_t i = 1;
  void add(float v) { f *= static_cast<double>(v); }
  void add(int32_t v) { i *= static_cast<uint64_t>(static_cast<int64_t>(v)); }
  double result(int64_t) const { return f; }
  int64_t result_int(int64_t) const { return static_cast<int64_t>(i); }
};
struct L1 : Sum {
  void add(float v) { f += std::abs(static_cast<double>(v)); }
  void add(int32_t v) { i += std::abs(static_cast<int64_t>(v)); }
};
struct SumSquare {
  double f = 0;
  uint64_t i = 0;
  void add(float v) { f += static_cast<double>(v) * static_cast<double>(v); }
  void add(int32_t v) { i += static_cast<uint64_t>(int64_t{v} * v); }
  double result(int64_t) const { return f; }
  int64_t result_int(int64_t) const { return static_cast<int64_t>(i); }
};
struct L2 : SumSquare {
  double result(int64_t) const { return std::sqrt(f); }
  int64_t result_int(int64_t) const { return narrowed(std::sqrt(static_cast<double>(i))); }
};
struct LogSum : Sum {
  double result(int64_t) const { return std::log(f); }
  int64_t result_int(int64_t) const { return narrowed(std::log(static_cast<double>(i))); }
};

template <typename R>
Status eval_reduce(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(std::vector<bool> reduced, reduced_axes(call, x.rank()));
  Tensor& y = output(call, 0, reduced_dims(x.dims(), reduced, call.flag("keep_dims")));
  if (call.failed()) return {};
  Walk walk(x.dims(), reduced);
  bool ints = x.dtype() == DType::kI32;
  parallel_for(y.size(), std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, walk.each)), [&](int64_t begin, int64_t end) {
    Dims index;
    for (int64_t o = begin; o < end; ++o) {
      R r;
      if (ints) {
        const int32_t* in = x.data<int32_t>();
        if (walk.each > 0) walk.each_element(walk.start(o), index, [&](int64_t at) { r.add(in[at]); });
        y.mutable_data<int32_t>()[o] = narrowed(r.result_int(walk.each));
      } else {
        const float* in = x.data<float>();
        if (walk.each > 0) walk.each_element(walk.start(o), index, [&](int64_t at) { r.add(in[at]); });
        y.mutable_data<float>()[o] = static_cast<float>(r.result(walk.each));
      }
    }
  });
  return {};
}

// Max and Min, where NaN wins.
struct Larger {
  bool operator()(float v, float best) const { return v > best || std::isnan(v); }
  bool operator()(int32_t v, int32_t best) const { return v > best; }
};
struct Smaller {
  bool operator()(float v, float best) const { return v < best || std::isnan(v); }
  bool operator()(int32_t v, int32_t best) const { return v < best; }
};

template <typename T, typename Better>
void extremes(const Tensor& x, Tensor& y, const Walk& walk) {
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  parallel_for(y.size(), std::max<int64_t>(1, (1 << 14) / walk.each), [&](int64_t begin, int64_t end) {
    Dims index;
    for (int64_t o = begin; o < end; ++o) {
      int64_t start = walk.start(o);
      T best = in[start];
      walk.each_element(start, index, [&](int64_t at) { best = Better{}(in[at], best) ? in[at] : best; });
      out[o] = best;
    }
  });
}

template <typename Better>
Status eval_extreme(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(std::vector<bool> reduced, reduced_axes(call, x.rank()));
  Tensor& y = output(call, 0, reduced_dims(x.dims(), reduced, call.flag("keep_dims")));
  if (call.failed()) return {};
  Walk walk(x.dims(), reduced);
  if (walk.each == 0 && y.size() > 0) return input_error("no elements to choose from: x is " + dims_text(x.dims()));
  if (y.size() == 0) return {};
  if (x.dtype() == DType::kI32) extremes<int32_t, Better>(x, y, walk);
  else extremes<float, Better>(x, y, walk);
  return {};
}

Status eval_log_sum_exp(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(std::vector<bool> reduced, reduced_axes(call, x.rank()));
  Tensor& y = output(call, 0, reduced_dims(x.dims(), reduced, call.flag("keep_dims")));
  if (call.failed()) return {};
  Walk walk(x.dims(), reduced);
  Tensor floats = convert(x, DType::kF32);
  const float* in = floats.data<float>();
  Dims index;
  for (int64_t o = 0; o < y.size(); ++o) {
    int64_t start = walk.start(o);
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    if (walk.each > 0) {
      walk.each_element(start, index, [&](int64_t at) { top = Larger{}(in[at], static_cast<float>(top)) ? static_cast<double>(in[at]) : top; });
      walk.each_element(start, index, [&](int64_t at) { sum += std::exp(static_cast<double>(in[at]) - top); });
    }
    // Where the largest is infinite so is the answer; its difference to itself would be NaN.
    double result = std::isinf(top) ? top : top + std::log(sum);
    if (y.dtype() == DType::kI32) y.mutable_data<int32_t>()[o] = narrowed(result);
    else y.mutable_data<float>()[o] = static_cast<float>(result);
  }
  return {};
}

Result<Types> infer_arg(Call& call) {
  DType dtype = DType::kI32;
  if (call.info().param("output_dtype") != nullptr) {
    std::string name = call.str("output_dtype");
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name == "uint16") dtype = DType::kU16;
    else if (name != "int32") return input_error("output_dtype is \"" + name + "\", not int32 or uint16");
  }
  bool keep = call.flag("keep_dims");
  int64_t axis = call.i64("axis");
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  const Dims& x = dims_of(call, "x");
  MLT_ASSIGN(axis, normalize_axis(axis, static_cast<int64_t>(x.size())));
  std::vector<bool> reduced(x.size(), false);
  reduced[static_cast<size_t>(axis)] = true;
  return Types{ir::Type::tensor(dtype, reduced_dims(x, reduced, keep))};
}

template <typename T, typename Better>
void arg_extremes(const Tensor& x, Tensor& y, int64_t n, int64_t inner) {
  const T* in = x.data<T>();
  int32_t* out = y.mutable_data<int32_t>();
  parallel_for(y.size(), std::max<int64_t>(1, (1 << 14) / n), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      int64_t base = o / inner * inner * n + o % inner, best = 0;
      for (int64_t i = 1; i < n; ++i) {
        T top = in[base + best * inner];
        if (top != top) break;  // the first NaN stays
        if (Better{}(in[base + i * inner], top)) best = i;
      }
      out[o] = static_cast<int32_t>(best);
    }
  });
}

// The first of several equal elements.
template <typename Better>
Status eval_arg(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  std::vector<bool> reduced(x.dims().size(), false);
  size_t at = static_cast<size_t>(axis);
  reduced[at] = true;
  Tensor& y = output(call, 0, reduced_dims(x.dims(), reduced, call.flag("keep_dims")));
  if (call.failed() || y.size() == 0) return {};
  int64_t n = x.dims()[at], inner = product(x.dims(), at + 1, x.dims().size());
  if (n == 0) return input_error("no elements to choose from: x is " + dims_text(x.dims()));
  if (x.dtype() == DType::kI32) arg_extremes<int32_t, Better>(x, y, n, inner);
  else arg_extremes<float, Better>(x, y, n, inner);
  return {};
}

constexpr OpDef over_axes(std::string_view name, EvalFn eval, std::string_view doc, Exactness exactness = Exactness::kRounding) {
  return {.name = name, .signature = "x: T, axes?: const int32, keep_dims: const bool = false -> output",
          .domains = "T: fp16 fp32 int32", .infer = infer_reduce, .eval = eval, .exactness = exactness, .doc = doc};
}
constexpr OpDef arg(std::string_view name, EvalFn eval, std::string_view doc) {
  return {.name = name, .signature = "x: T, axis: const int32 = -1, keep_dims: const bool = false -> output",
          .domains = "T: fp16 fp32 int32", .infer = infer_arg, .eval = eval, .exactness = Exactness::kExact, .doc = doc};
}
constexpr OpDef arg_typed(std::string_view name, EvalFn eval, std::string_view doc) {
  return {.name = name, .since = Opset::kCoreML7,
          .signature = "x: T, axis: const int32 = -1, keep_dims: const bool = false, output_dtype: const string = \"int32\" -> output",
          .domains = "T: fp16 fp32 int32", .infer = infer_arg, .eval = eval, .exactness = Exactness::kExact, .doc = doc};
}

constexpr OpDef kOps[] = {
    arg("reduce_argmax", eval_arg<Larger>, "Index of the largest element along an axis."),
    arg_typed("reduce_argmax", eval_arg<Larger>, "Index of the largest element along an axis, as int32 or uint16."),
    arg("reduce_argmin", eval_arg<Smaller>, "Index of the smallest element along an axis."),
    arg_typed("reduce_argmin", eval_arg<Smaller>, "Index of the smallest element along an axis, as int32 or uint16."),
    over_axes("reduce_l1_norm", eval_reduce<L1>, "Sum of absolute values."),
    over_axes("reduce_l2_norm", eval_reduce<L2>, "Square root of the sum of squares."),
    over_axes("reduce_log_sum", eval_reduce<LogSum>, "Natural logarithm of the sum."),
    over_axes("reduce_log_sum_exp", eval_log_sum_exp, "Natural logarithm of the sum of e^x, without overflow."),
    over_axes("reduce_max", eval_extreme<Larger>, "The largest element; NaN if any is.", Exactness::kExact),
    over_axes("reduce_mean", eval_reduce<Mean>, "Arithmetic mean; for integers truncated toward zero."),
    over_axes("reduce_min", eval_extreme<Smaller>, "The smallest element; NaN if any is.", Exactness::kExact),
    over_axes("reduce_prod", eval_reduce<Product>, "Product; integers wrap around."),
    over_axes("reduce_sum", eval_reduce<Sum>, "Sum; integers wrap around."),
    over_axes("reduce_sum_square", eval_reduce<SumSquare>, "Sum of squares; integers wrap around."),
};

}  // namespace

std::span<const OpDef> reduction_ops() { return kOps; }

}  // namespace mlt::ops
