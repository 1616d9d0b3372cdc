// Reading and writing elements at indices held in tensors.
//
// Indices: opsets before CoreML7 allow -extent <= index < extent and leave the rest undefined; here the rest is an
// error. From CoreML7 on "validate_indices" asks for the check; without it an index out of range is undefined but must
// be memory safe: here negative ones still count from the end, and beyond that a gather reads 0 and a scatter skips.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

constexpr int64_t kSkip = -1;

// Turns indices along axes of the given extents (index i belongs to extent i % size) into [0, extent) or kSkip.
Result<std::vector<int64_t>> resolved_indices(Call& call, const Dims& extents) {
  const Tensor& indices = call.tensor("indices");
  bool lenient = call.info().param("validate_indices") != nullptr && !call.flag("validate_indices");
  bool negative = call.info().param("validate_indices") == nullptr || lenient;
  std::vector<int64_t> resolved(static_cast<size_t>(indices.size()));
  const int32_t* in = indices.data<int32_t>();
  for (size_t i = 0; i < resolved.size(); ++i) {
    int64_t extent = extents[i % extents.size()], index = in[i];
    if (index < 0 && negative) index += extent;
    if (index < 0 || index >= extent) {
      if (!lenient)
        return input_error("index " + std::to_string(in[i]) + " is out of range for an axis of " + std::to_string(extent));
      index = kSkip;
    }
    resolved[i] = index;
  }
  return resolved;
}

bool agree(int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; }
bool agree(const Dims& a, const Dims& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](int64_t x, int64_t y) { return agree(x, y); });
}

void read_element(const std::byte* from, std::byte* to, int64_t index, int64_t bytes) {
  if (index == kSkip) std::memset(to, 0, static_cast<size_t>(bytes));
  else std::memcpy(to, from + index * bytes, static_cast<size_t>(bytes));
}

// gather

int64_t batch_dims_of(Call& call) { return call.info().param("batch_dims") == nullptr ? 0 : call.i64("batch_dims"); }

Result<Types> infer_gather(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x") || !is_ranked(call, "indices")) return Types{ir::Type::unranked(dtype)};
  const Dims &x = dims_of(call, "x"), &indices = dims_of(call, "indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(x.size())));
  int64_t batch = batch_dims_of(call);
  if (batch < 0 || batch > axis || batch > static_cast<int64_t>(indices.size()))
    return input_error("batch_dims " + std::to_string(batch) + " does not fit axis " + std::to_string(axis) + " and indices of rank " +
                       std::to_string(indices.size()));
  for (size_t i = 0; i < static_cast<size_t>(batch); ++i)
    if (!agree(x[i], indices[i])) return input_error("batch axes differ: " + dims_text(x) + " and " + dims_text(indices));
  Dims out(x.begin(), x.begin() + axis);
  out.insert(out.end(), indices.begin() + batch, indices.end());
  out.insert(out.end(), x.begin() + axis + 1, x.end());
  return Types{ir::Type::tensor(dtype, std::move(out))};
}

Status eval_gather(Call& call) {
  MLT_ASSIGN(Types types, infer_gather(call));
  const Tensor &x = call.tensor("x"), &indices = call.tensor("indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  size_t at = static_cast<size_t>(axis), batch = static_cast<size_t>(batch_dims_of(call));
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed()) return {};
  int64_t extent = x.dims()[at];
  MLT_ASSIGN(std::vector<int64_t> index, resolved_indices(call, {extent}));
  int64_t batches = product(x.dims(), 0, batch), outer = product(x.dims(), batch, at);
  int64_t inner = product(x.dims(), at + 1, x.dims().size()) * element_bytes(x);
  int64_t each = product(indices.dims(), batch, indices.dims().size());
  const std::byte* from = x.bytes().data();
  std::byte* to = y.mutable_bytes();
  if (y.size() == 0) return {};
  parallel_for(batches * outer, std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(1, each * inner)), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      for (int64_t i = 0; i < each; ++i)
        read_element(from + o * extent * inner, to + (o * each + i) * inner, index[static_cast<size_t>(o / outer * each + i)], inner);
  });
  return {};
}

Result<Types> infer_gather_along_axis(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x") || !is_ranked(call, "indices")) return Types{ir::Type::unranked(dtype)};
  const Dims &x = dims_of(call, "x"), &indices = dims_of(call, "indices");
  if (x.size() != indices.size()) return input_error("x and indices must have the same rank: " + dims_text(x) + " and " + dims_text(indices));
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(x.size())));
  for (size_t i = 0; i < x.size(); ++i)
    if (static_cast<int64_t>(i) != axis && !agree(x[i], indices[i]))
      return input_error("x and indices may differ along the axis only: " + dims_text(x) + " and " + dims_text(indices));
  return Types{ir::Type::tensor(dtype, indices)};
}

Status eval_gather_along_axis(Call& call) {
  MLT_ASSIGN(Types types, infer_gather_along_axis(call));
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  size_t at = static_cast<size_t>(axis);
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed()) return {};
  MLT_ASSIGN(std::vector<int64_t> index, resolved_indices(call, {x.dims()[at]}));
  int64_t inner = product(x.dims(), at + 1, x.dims().size()), bytes = element_bytes(x);
  int64_t from_block = x.dims()[at] * inner, to_block = y.dims()[at] * inner;
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t k = index[static_cast<size_t>(i)];
    if (k != kSkip) k = i / to_block * from_block + k * inner + i % inner;
    read_element(x.bytes().data(), y.mutable_bytes() + i * bytes, k, bytes);
  }
  return {};
}

// Where the last axis of indices addresses `depth` axes of x behind the batch axes.
Result<size_t> nd_depth(const Dims& x, const Dims& indices, int64_t batch) {
  if (indices.empty()) return input_error("indices must have at least rank 1");
  int64_t depth = indices.back();
  if (depth < 0) return input_error("the last extent of indices must be known");
  if (batch < 0 || batch >= static_cast<int64_t>(indices.size()) || depth > static_cast<int64_t>(x.size()) - batch)
    return input_error("indices of shape " + dims_text(indices) + " with batch_dims " + std::to_string(batch) + " do not fit " + dims_text(x));
  for (size_t i = 0; i < static_cast<size_t>(batch); ++i)
    if (!agree(x[i], indices[i])) return input_error("batch axes differ: " + dims_text(x) + " and " + dims_text(indices));
  return static_cast<size_t>(depth);
}

// Offsets (in slices) of what each index tuple addresses behind one batch, or kSkip.
Result<std::vector<int64_t>> nd_offsets(Call& call, const Dims& x, size_t batch, size_t depth) {
  int64_t tuples = product(call.tensor("indices").dims(), 0, call.tensor("indices").dims().size() - 1);
  std::vector<int64_t> offsets(static_cast<size_t>(tuples), 0);
  if (depth == 0) return offsets;
  Dims extents(x.begin() + static_cast<std::ptrdiff_t>(batch), x.begin() + static_cast<std::ptrdiff_t>(batch + depth));
  MLT_ASSIGN(std::vector<int64_t> index, resolved_indices(call, extents));
  for (size_t t = 0; t < offsets.size(); ++t)
    for (size_t d = 0; d < depth && offsets[t] != kSkip; ++d) {
      int64_t one = index[t * depth + d];
      offsets[t] = one == kSkip ? kSkip : offsets[t] * extents[d] + one;
    }
  return offsets;
}

Result<Types> infer_gather_nd(Call& call) {
  DType dtype = call.type("x").dtype;
  int64_t batch = batch_dims_of(call);
  if (!is_ranked(call, "x") || !is_ranked(call, "indices")) return Types{ir::Type::unranked(dtype)};
  const Dims &x = dims_of(call, "x"), &indices = dims_of(call, "indices");
  if (!indices.empty() && indices.back() < 0) return Types{ir::Type::unranked(dtype)};
  MLT_ASSIGN(size_t depth, nd_depth(x, indices, batch));
  Dims out(indices.begin(), indices.end() - 1);
  out.insert(out.end(), x.begin() + batch + static_cast<std::ptrdiff_t>(depth), x.end());
  return Types{ir::Type::tensor(dtype, std::move(out))};
}

Status eval_gather_nd(Call& call) {
  MLT_ASSIGN(Types types, infer_gather_nd(call));
  const Tensor &x = call.tensor("x"), &indices = call.tensor("indices");
  size_t batch = static_cast<size_t>(batch_dims_of(call));
  MLT_ASSIGN(size_t depth, nd_depth(x.dims(), indices.dims(), static_cast<int64_t>(batch)));
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed()) return {};
  MLT_ASSIGN(std::vector<int64_t> offsets, nd_offsets(call, x.dims(), batch, depth));
  int64_t batches = product(x.dims(), 0, batch), slices = product(x.dims(), batch, batch + depth);
  int64_t inner = product(x.dims(), batch + depth, x.dims().size()) * element_bytes(x);
  int64_t each = batches == 0 ? 0 : static_cast<int64_t>(offsets.size()) / batches;
  if (y.size() == 0) return {};
  for (size_t t = 0; t < offsets.size(); ++t) {
    int64_t b = static_cast<int64_t>(t) / each;
    int64_t k = offsets[t] == kSkip ? kSkip : b * slices + offsets[t];
    read_element(x.bytes().data(), y.mutable_bytes() + static_cast<int64_t>(t) * inner, k, inner);
  }
  return {};
}

// scatter

enum class Mode { kUpdate, kAdd, kSub, kMul, kDiv, kMax, kMin };
Result<Mode> scatter_mode(Call& call) {
  std::string name = call.str("mode");
  constexpr std::pair<std::string_view, Mode> kModes[] = {{"update", Mode::kUpdate}, {"add", Mode::kAdd}, {"sub", Mode::kSub},
                                                          {"mul", Mode::kMul},       {"div", Mode::kDiv}, {"max", Mode::kMax},
                                                          {"min", Mode::kMin}};
  for (auto [text, mode] : kModes)
    if (name == text) return mode;
  return input_error("mode is \"" + name + "\", not update, add, sub, mul, div, max or min");
}

float combined(Mode mode, float a, float b) {
  switch (mode) {
    case Mode::kUpdate: return b;
    case Mode::kAdd: return a + b;
    case Mode::kSub: return a - b;
    case Mode::kMul: return a * b;
    case Mode::kDiv: return a / b;
    case Mode::kMax: return a > b ? a : b;
    case Mode::kMin: return a < b ? a : b;
  }
  return b;
}
int32_t combined(Mode mode, int32_t a, int32_t b) {
  uint32_t x = static_cast<uint32_t>(a), y = static_cast<uint32_t>(b);
  switch (mode) {
    case Mode::kUpdate: return b;
    case Mode::kAdd: return static_cast<int32_t>(x + y);
    case Mode::kSub: return static_cast<int32_t>(x - y);
    case Mode::kMul: return static_cast<int32_t>(x * y);
    case Mode::kDiv: return b == 0 ? 0 : b == -1 ? static_cast<int32_t>(0u - x) : a / b;
    case Mode::kMax: return std::max(a, b);
    case Mode::kMin: return std::min(a, b);
  }
  return b;
}

// y[target(k)] = combined(y[target(k)], updates[k]) for blocks of `inner` elements, in order.
template <typename T, typename Target>
void apply_updates(Tensor& y, const Tensor& updates, Mode mode, int64_t inner, Target target) {
  T* out = y.mutable_data<T>();
  const T* in = updates.data<T>();
  if (inner == 0) return;
  for (int64_t k = 0; k < updates.size() / inner; ++k) {
    int64_t block = target(k);
    if (block == kSkip) continue;
    for (int64_t i = 0; i < inner; ++i) out[block * inner + i] = combined(mode, out[block * inner + i], in[k * inner + i]);
  }
}
template <typename Target>
Status scatter_into_copy(Call& call, int64_t inner, Target target) {
  MLT_ASSIGN(Mode mode, scatter_mode(call));
  const Tensor &data = call.tensor("data"), &updates = call.tensor("updates");
  MLT_TRY(copy_to_output(call, 0, data, data.dims()));
  if (call.failed()) return {};
  if (data.dtype() == DType::kI32) apply_updates<int32_t>(call.out(), updates, mode, inner, target);
  else apply_updates<float>(call.out(), updates, mode, inner, target);
  return {};
}

Result<Types> data_type(Call& call) {
  MLT_TRY(scatter_mode(call));
  return Types{call.type("data")};
}
bool all_ranked(Call& call) { return is_ranked(call, "data") && is_ranked(call, "indices") && is_ranked(call, "updates"); }

Result<Types> infer_scatter(Call& call) {
  if (!all_ranked(call)) return data_type(call);
  const Dims &data = dims_of(call, "data"), &indices = dims_of(call, "indices"), &updates = dims_of(call, "updates");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(data.size())));
  Dims wanted(data.begin(), data.begin() + axis);
  wanted.insert(wanted.end(), indices.begin(), indices.end());
  wanted.insert(wanted.end(), data.begin() + axis + 1, data.end());
  if (!agree(wanted, updates)) return input_error("updates must have shape " + dims_text(wanted) + ", not " + dims_text(updates));
  return data_type(call);
}

Status eval_scatter(Call& call) {
  MLT_TRY(infer_scatter(call));
  const Tensor &data = call.tensor("data"), &indices = call.tensor("indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), data.rank()));
  size_t at = static_cast<size_t>(axis);
  int64_t extent = data.dims()[at], each = indices.size();
  MLT_ASSIGN(std::vector<int64_t> index, resolved_indices(call, {extent}));
  return scatter_into_copy(call, product(data.dims(), at + 1, data.dims().size()), [&](int64_t k) {
    int64_t i = index[static_cast<size_t>(k % each)];
    return i == kSkip ? kSkip : k / each * extent + i;
  });
}

Result<Types> infer_scatter_along_axis(Call& call) {
  if (!all_ranked(call)) return data_type(call);
  const Dims &data = dims_of(call, "data"), &indices = dims_of(call, "indices"), &updates = dims_of(call, "updates");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(data.size())));
  if (!agree(indices, updates)) return input_error("updates must have the shape of indices, " + dims_text(indices) + ", not " + dims_text(updates));
  if (data.size() != indices.size()) return input_error("data and indices must have the same rank: " + dims_text(data) + " and " + dims_text(indices));
  for (size_t i = 0; i < data.size(); ++i)
    if (static_cast<int64_t>(i) != axis && !agree(data[i], indices[i]))
      return input_error("data and indices may differ along the axis only: " + dims_text(data) + " and " + dims_text(indices));
  return data_type(call);
}

Status eval_scatter_along_axis(Call& call) {
  MLT_TRY(infer_scatter_along_axis(call));
  const Tensor &data = call.tensor("data"), &indices = call.tensor("indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), data.rank()));
  size_t at = static_cast<size_t>(axis);
  MLT_ASSIGN(std::vector<int64_t> index, resolved_indices(call, {data.dims()[at]}));
  int64_t inner = product(data.dims(), at + 1, data.dims().size());
  int64_t to_block = data.dims()[at] * inner, from_block = indices.dims()[at] * inner;
  return scatter_into_copy(call, 1, [&](int64_t k) {
    int64_t i = index[static_cast<size_t>(k)];
    return i == kSkip ? kSkip : k / from_block * to_block + i * inner + k % inner;
  });
}

Result<Types> infer_scatter_nd(Call& call) {
  if (!all_ranked(call)) return data_type(call);
  const Dims &data = dims_of(call, "data"), &indices = dims_of(call, "indices"), &updates = dims_of(call, "updates");
  if (!indices.empty() && indices.back() < 0) return data_type(call);
  MLT_ASSIGN(size_t depth, nd_depth(data, indices, 0));
  Dims wanted(indices.begin(), indices.end() - 1);
  wanted.insert(wanted.end(), data.begin() + static_cast<std::ptrdiff_t>(depth), data.end());
  if (!agree(wanted, updates)) return input_error("updates must have shape " + dims_text(wanted) + ", not " + dims_text(updates));
  return data_type(call);
}

Status eval_scatter_nd(Call& call) {
  MLT_TRY(infer_scatter_nd(call));
  const Tensor &data = call.tensor("data"), &indices = call.tensor("indices");
  MLT_ASSIGN(size_t depth, nd_depth(data.dims(), indices.dims(), 0));
  MLT_ASSIGN(std::vector<int64_t> offsets, nd_offsets(call, data.dims(), 0, depth));
  return scatter_into_copy(call, product(data.dims(), depth, data.dims().size()),
                           [&](int64_t k) { return offsets[static_cast<size_t>(k)]; });
}

constexpr std::string_view kT5 = "T: fp16 fp32 int32";
constexpr std::string_view kT6 = "T: fp16 fp32 int32; I: int32 uint16 int16";
constexpr std::string_view kT7 = "T: fp16 fp32 int32 int16 uint16 int8 uint8; I: int32 int16 uint16 int8 uint8";
constexpr std::string_view kGather = "Slices of x along an axis, chosen by indices.";
constexpr std::string_view kAlong = "Elements of x along an axis, chosen by indices of x's rank.";
constexpr std::string_view kGatherNd = "Slices of x, each addressed by a tuple on the last axis of indices.";
constexpr std::string_view kScatter = "data with updates combined into its slices along an axis.";
constexpr std::string_view kScatterAlong = "data with updates combined into its elements along an axis.";
constexpr std::string_view kScatterNd = "data with updates combined into slices addressed by tuples on the last axis of indices.";

constexpr OpDef row(std::string_view name, Opset since, std::string_view signature, std::string_view domains, InferFn infer, EvalFn eval,
                    Exactness exactness, std::string_view doc) {
  return {.name = name, .since = since, .signature = signature, .domains = domains, .infer = infer, .eval = eval,
          .exactness = exactness, .doc = doc};
}

constexpr OpDef kOps[] = {
    row("gather", Opset::kCoreML5, "x: T, indices: int32, axis: const int32 = 0 -> output", kT5, infer_gather, eval_gather, Exactness::kExact, kGather),
    row("gather", Opset::kCoreML6, "x: T, indices: I, axis: const int32 = 0, batch_dims: const int32 = 0 -> output", kT6, infer_gather, eval_gather,
        Exactness::kExact, kGather),
    row("gather", Opset::kCoreML7,
        "x: T, indices: I, axis: const int32 = 0, batch_dims: const int32 = 0, validate_indices: const bool = false -> output", kT7, infer_gather,
        eval_gather, Exactness::kExact, kGather),
    row("gather_along_axis", Opset::kCoreML5, "x: T, indices: int32, axis: const int32 = 0 -> output", kT5, infer_gather_along_axis,
        eval_gather_along_axis, Exactness::kExact, kAlong),
    row("gather_along_axis", Opset::kCoreML6, "x: T, indices: I, axis: const int32 = 0 -> output", kT6, infer_gather_along_axis,
        eval_gather_along_axis, Exactness::kExact, kAlong),
    row("gather_along_axis", Opset::kCoreML7, "x: T, indices: I, axis: const int32 = 0, validate_indices: const bool = false -> output", kT7,
        infer_gather_along_axis, eval_gather_along_axis, Exactness::kExact, kAlong),
    row("gather_nd", Opset::kCoreML5, "x: T, indices: int32 -> output", kT5, infer_gather_nd, eval_gather_nd, Exactness::kExact, kGatherNd),
    row("gather_nd", Opset::kCoreML6, "x: T, indices: I, batch_dims: const int32 = 0 -> output", kT6, infer_gather_nd, eval_gather_nd,
        Exactness::kExact, kGatherNd),
    row("gather_nd", Opset::kCoreML7, "x: T, indices: I, batch_dims: const int32 = 0, validate_indices: const bool = false -> output", kT7,
        infer_gather_nd, eval_gather_nd, Exactness::kExact, kGatherNd),
    row("scatter", Opset::kCoreML5, "data: T, indices: int32, updates: T, axis: const int32 = 0, mode: const string = \"add\" -> output", kT5,
        infer_scatter, eval_scatter, Exactness::kRounding, kScatter),
    row("scatter", Opset::kCoreML7,
        "data: T, indices: int32, updates: T, axis: const int32 = 0, mode: const string = \"add\", validate_indices: const bool = false -> output",
        kT5, infer_scatter, eval_scatter, Exactness::kRounding, kScatter),
    row("scatter_along_axis", Opset::kCoreML5, "data: T, indices: int32, updates: T, axis: const int32 = 0, mode: const string = \"add\" -> output",
        kT5, infer_scatter_along_axis, eval_scatter_along_axis, Exactness::kRounding, kScatterAlong),
    row("scatter_along_axis", Opset::kCoreML7,
        "data: T, indices: int32, updates: T, axis: const int32 = 0, mode: const string = \"add\", validate_indices: const bool = false -> output",
        kT5, infer_scatter_along_axis, eval_scatter_along_axis, Exactness::kRounding, kScatterAlong),
    row("scatter_nd", Opset::kCoreML5, "data: T, indices: int32, updates: T, mode: const string = \"add\" -> output", kT5, infer_scatter_nd,
        eval_scatter_nd, Exactness::kRounding, kScatterNd),
    row("scatter_nd", Opset::kCoreML7,
        "data: T, indices: int32, updates: T, mode: const string = \"add\", validate_indices: const bool = false -> output", kT5, infer_scatter_nd,
        eval_scatter_nd, Exactness::kRounding, kScatterNd),
};

}  // namespace

std::span<const OpDef> scatter_gather_ops() { return kOps; }

}  // namespace mlt::ops
