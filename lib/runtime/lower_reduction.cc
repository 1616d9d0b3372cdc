// Softmax, normalisations and reductions.
#include <algorithm>

#include "lib/kernels/norm.h"
#include "lib/kernels/reduce.h"
#include "lib/kernels/sort.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// [outer, axis, inner] around a run of adjacent axes.
struct Split {
  int64_t outer = 1, axis = 1, inner = 1;
};
Split split_at(const Dims& dims, size_t first, size_t last) {
  Split s;
  for (size_t i = 0; i < dims.size(); ++i) (i < first ? s.outer : i <= last ? s.axis : s.inner) *= dims[i];
  return s;
}

std::optional<Lowered> lower_softmax(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).empty()) return l.refuse("not a float tensor");
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(l.dims(x).size()));
  if (!axis) return l.refuse("axis");
  auto a = static_cast<size_t>(*axis);
  Split s = split_at(l.dims(x), a, a);
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    softmax(c.f32(x), c.f32_out(out), s.outer, s.axis, s.inner);
    return Status();
  };
  return lowered;
}

// gamma and beta as constants of `count` values, or absent.
bool scale_params(Lowering& l, int64_t count, Tensor* gamma, Tensor* beta) {
  for (auto [name, tensor] : {std::pair{"gamma", gamma}, std::pair{"beta", beta}}) {
    int id = l.in(name);
    if (id < 0) continue;
    if (!l.is_constant(id)) return false;
    *tensor = l.constant(id);
    if (tensor->size() != count) return false;
  }
  return true;
}

std::optional<Lowered> lower_layer_norm(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).empty()) return l.refuse("not a float tensor");
  auto rank = static_cast<int64_t>(l.dims(x).size());
  std::vector<int64_t> given = l.call.has("axes") ? l.call.ints("axes") : std::vector<int64_t>();
  if (given.empty())
    for (int64_t i = 0; i < rank; ++i) given.push_back(i);
  auto axes = ops::normalize_axes(given, rank);
  if (!axes) return l.refuse("axes");
  std::sort(axes->begin(), axes->end());
  for (size_t i = 0; i < axes->size(); ++i)
    if ((*axes)[i] != rank - static_cast<int64_t>(axes->size() - i)) return l.refuse("axes are not the last ones");
  auto first = static_cast<size_t>(axes->front());
  Split s = split_at(l.dims(x), first, static_cast<size_t>(rank - 1));
  Tensor gamma, beta;
  if (!scale_params(l, s.axis, &gamma, &beta)) return l.refuse("gamma or beta");
  if (s.axis == 0 || s.outer == 0) return l.refuse("empty");
  auto epsilon = static_cast<float>(l.call.f64("epsilon"));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    layer_norm(c.f32(x), c.f32_out(out), s.outer, s.axis, gamma.valid() ? gamma.data<float>() : nullptr, beta.valid() ? beta.data<float>() : nullptr, epsilon);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_instance_norm(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).size() < 3) return l.refuse("not a float tensor of rank 3 or more");
  const Dims& dims = l.dims(x);
  int64_t batch = dims[0], channels = dims[1], inner = 1;
  for (size_t i = 2; i < dims.size(); ++i) inner *= dims[i];
  Tensor gamma, beta;
  if (!scale_params(l, channels, &gamma, &beta)) return l.refuse("gamma or beta");
  if (batch * channels * inner == 0) return l.refuse("empty");
  auto epsilon = static_cast<float>(l.call.f64("epsilon"));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    group_norm(c.f32(x), c.f32_out(out), batch, channels, inner, channels, gamma.valid() ? gamma.data<float>() : nullptr,
               beta.valid() ? beta.data<float>() : nullptr, epsilon);
    return Status();
  };
  return lowered;
}

// Over the last three axes.
std::optional<Lowered> lower_l2_norm(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).size() < 3) return l.refuse("not a float tensor of rank 3 or more");
  const size_t rank = l.dims(x).size();
  const Split s = split_at(l.dims(x), rank - 3, rank - 1);
  if (s.outer * s.axis == 0) return l.refuse("empty");
  auto epsilon = static_cast<float>(l.call.f64("epsilon"));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    l2_normalize(c.f32(x), c.f32_out(out), s.outer, s.axis, epsilon);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_local_response_norm(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).size() < 3) return l.refuse("not a float tensor of rank 3 or more");
  const Dims& dims = l.dims(x);
  int64_t inner = 1;
  for (size_t i = 2; i < dims.size(); ++i) inner *= dims[i];
  int64_t size = l.call.i64("size");
  if (size < 1 || size % 2 == 0 || dims[0] * dims[1] * inner == 0) return l.refuse("size");
  auto alpha = static_cast<float>(l.call.f64("alpha")), beta = static_cast<float>(l.call.f64("beta")), k = static_cast<float>(l.call.f64("k"));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=, n = dims[0], channels = dims[1]](RunContext& c) {
    local_response_norm(c.f32(x), c.f32_out(out), n, channels, inner, size, alpha, beta, k);
    return Status();
  };
  return lowered;
}

struct ReduceKind {
  std::string_view kind;
  Reduce op;
  Reduce before, after;  // where reduced axes lie apart: of all their groups but the last, and of the last
};
constexpr ReduceKind kReduce[] = {
    {"reduce_sum", Reduce::kSum, Reduce::kSum, Reduce::kSum},
    {"reduce_mean", Reduce::kMean, Reduce::kMean, Reduce::kMean},
    {"reduce_max", Reduce::kMax, Reduce::kMax, Reduce::kMax},
    {"reduce_min", Reduce::kMin, Reduce::kMin, Reduce::kMin},
    {"reduce_prod", Reduce::kProd, Reduce::kProd, Reduce::kProd},
    {"reduce_sum_square", Reduce::kSumSquare, Reduce::kSumSquare, Reduce::kSum},
    {"reduce_l1_norm", Reduce::kL1, Reduce::kL1, Reduce::kSum},
    {"reduce_l2_norm", Reduce::kL2, Reduce::kL2, Reduce::kL2},
    {"reduce_log_sum", Reduce::kLogSum, Reduce::kSum, Reduce::kLogSum},
    {"reduce_log_sum_exp", Reduce::kLogSumExp, Reduce::kLogSumExp, Reduce::kLogSumExp},
};

struct ReduceStage {
  Reduce op;
  Split split;
};

template <typename T>
Lowered reduced_in_stages(const std::vector<ReduceStage>& stages, int x, int out) {
  const Split& first = stages.front().split;
  const int64_t room = stages.size() > 1 ? first.outer * first.inner : 0;
  Lowered lowered;
  lowered.kernel = stages.size() > 1 ? "simd, in stages" : "simd";
  lowered.scratch = static_cast<size_t>(2 * room) * sizeof(T);
  lowered.run = [=](RunContext& c) {
    const T* from = c.tensor(x).data<T>();
    for (size_t i = 0; i < stages.size(); ++i) {
      T* to = i + 1 == stages.size() ? c.out(out).mutable_data<T>() : reinterpret_cast<T*>(c.scratch) + static_cast<int64_t>(i % 2) * room;
      const Split& s = stages[i].split;
      reduce(stages[i].op, from, to, s.outer, s.axis, s.inner);
      from = to;
    }
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_reduce(Lowering& l) {
  int x = l.in("x"), out = l.out();
  const bool ints = compute_dtype(l.type(x).dtype) == DType::kI32;
  if (!l.is_float(x) && !ints) return l.refuse("element type");
  Dims dims = l.dims(x);
  auto rank = static_cast<int64_t>(dims.size());
  std::vector<int64_t> given = l.call.has("axes") ? l.call.ints("axes") : std::vector<int64_t>();
  if (given.empty())
    for (int64_t i = 0; i < rank; ++i) given.push_back(i);
  auto axes = ops::normalize_axes(given, rank);
  if (!axes || rank == 0) return l.refuse("axes");
  std::vector<bool> reduced(dims.size(), false);
  for (int64_t a : *axes) reduced[static_cast<size_t>(a)] = true;
  const ReduceKind* row = std::begin(kReduce);
  while (row->kind != l.node().op->kind) ++row;
  // Groups of reduced axes with nothing but single extents between them, the last group first.
  std::vector<ReduceStage> stages;
  for (size_t end = dims.size(); end > 0; --end) {
    if (!reduced[end - 1]) continue;
    size_t first = end - 1;
    for (size_t i = first; i-- > 0 && (reduced[i] || dims[i] == 1);)
      if (reduced[i]) first = i;
    const Split s = split_at(dims, first, end - 1);
    if (s.axis == 0) return l.refuse("empty");
    std::fill(dims.begin() + static_cast<std::ptrdiff_t>(first), dims.begin() + static_cast<std::ptrdiff_t>(end), 1);
    if (s.axis > 1 || stages.empty()) stages.push_back({row->before, s});
    end = first + 1;
  }
  if (stages.empty()) return l.refuse("axes");
  stages.back().op = row->after;
  if (stages.size() == 1) stages.back().op = row->op;
  if (ints && (row->op == Reduce::kL2 || row->op == Reduce::kLogSum || row->op == Reduce::kLogSumExp || (row->op == Reduce::kMean && stages.size() > 1)))
    return l.refuse("integers");
  return ints ? reduced_in_stages<int32_t>(stages, x, out) : reduced_in_stages<float>(stages, x, out);
}

std::optional<Lowered> lower_cumsum(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  const DType type = compute_dtype(l.type(x).dtype);
  if (type != DType::kF32 && type != DType::kI32) return l.refuse("element type");
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(l.dims(x).size()));
  if (!axis) return l.refuse("axis");
  const Split s = split_at(l.dims(x), static_cast<size_t>(*axis), static_cast<size_t>(*axis));
  const bool exclusive = l.call.flag("exclusive"), reverse = l.call.flag("reverse");
  Lowered lowered;
  lowered.kernel = "sums";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    if (type == DType::kF32) cumsum(c.f32(x), c.f32_out(out), s.outer, s.axis, s.inner, exclusive, reverse);
    else cumsum(c.tensor(x).data<int32_t>(), c.out(out).mutable_data<int32_t>(), s.outer, s.axis, s.inner, exclusive, reverse);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_arg(Lowering& l, bool max) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x)) return l.refuse("not float");
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(l.dims(x).size()));
  if (!axis) return l.refuse("axis");
  Split s = split_at(l.dims(x), static_cast<size_t>(*axis), static_cast<size_t>(*axis));
  if (s.axis == 0) return l.refuse("empty");
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=](RunContext& c) {
    (max ? arg_max : arg_min)(c.f32(x), c.out(out).mutable_data<int32_t>(), s.outer, s.axis, s.inner);
    return Status();
  };
  return lowered;
}
std::optional<Lowered> lower_argmax(Lowering& l) { return lower_arg(l, true); }
std::optional<Lowered> lower_argmin(Lowering& l) { return lower_arg(l, false); }

// Where the orders of a value's slices along its axis go.
template <typename T>
Lowered in_order(Split s, int64_t k, int x, int values, int indices, bool ascending) {
  Lowered lowered;
  lowered.kernel = "sorted keys";
  lowered.scratch = sort_scratch_bytes(s.outer * s.inner, s.axis, k);
  lowered.run = [=](RunContext& c) {
    top_k(c.tensor(x).data<T>(), values < 0 ? nullptr : c.out(values).mutable_data<T>(),
          indices < 0 ? nullptr : c.out(indices).mutable_data<int32_t>(), s.outer, s.axis, s.inner, k, ascending, c.scratch);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_order(Lowering& l, bool whole) {
  const int x = l.in("x"), out = l.out();
  const DType dtype = compute_dtype(l.type(x).dtype);
  if (dtype != DType::kF32 && dtype != DType::kI32) return l.refuse("element type");
  const Dims& dims = l.dims(x);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(dims.size()));
  if (!axis) return l.refuse("axis");
  const Split s = split_at(dims, static_cast<size_t>(*axis), static_cast<size_t>(*axis));
  if (s.axis == 0 || s.axis > INT32_MAX) return l.refuse("extents");
  const int64_t k = l.dims(out)[static_cast<size_t>(*axis)];
  l.keep_constant(x);
  const int values = whole ? -1 : out, indices = whole ? out : l.node().outs.size() > 1 ? l.out(1) : -1;
  const auto make = dtype == DType::kF32 ? in_order<float> : in_order<int32_t>;
  return make(s, k, x, values, indices, l.call.flag("ascending"));
}
std::optional<Lowered> lower_topk(Lowering& l) { return lower_order(l, false); }
std::optional<Lowered> lower_argsort(Lowering& l) { return lower_order(l, true); }

const std::vector<LowerRow>& rows() {
  static const std::vector<LowerRow> table = [] {
    std::vector<LowerRow> list{
        {"softmax", "simd", lower_softmax},
        {"layer_norm", "simd", lower_layer_norm},
        {"instance_norm", "simd", lower_instance_norm},
        {"l2_norm", "simd", lower_l2_norm},
        {"local_response_norm", "simd", lower_local_response_norm},
        {"reduce_argmax", "simd", lower_argmax},
        {"reduce_argmin", "simd", lower_argmin},
        {"cumsum", "sums", lower_cumsum},
        {"topk", "sorted keys", lower_topk},
        {"argsort", "sorted keys", lower_argsort},
    };
    for (const ReduceKind& row : kReduce) list.push_back({row.kind, "simd", lower_reduce});
    return list;
  }();
  return table;
}

}  // namespace

std::span<const LowerRow> reduction_lowerings() { return rows(); }

}  // namespace mlt
