// Making, joining, cutting and ordering tensors. Sorting, non-zero search and non-maximum suppression are in
// tensor_search.cc.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"
#include "lib/ops/tensor_search.h"

namespace mlt::ops {
namespace {

Result<Types> same_as(Call& call, std::string_view param) { return Types{call.type(param)}; }

// band_part

Status eval_band_part(Call& call) {
  const Tensor& x = call.tensor("x");
  if (x.rank() < 2) return input_error("x must have at least rank 2");
  int64_t lower = call.i64("lower"), upper = call.i64("upper");
  int64_t m = x.dims()[x.dims().size() - 2], n = x.dims().back(), bytes = element_bytes(x);
  MLT_TRY(copy_to_output(call, 0, x, x.dims()));
  if (call.failed() || x.size() == 0) return {};
  std::byte* data = call.out().mutable_bytes();
  for (int64_t r = 0; r < x.size() / n; ++r) {
    int64_t row = r % m;
    int64_t first = lower < 0 ? 0 : std::clamp<int64_t>(row - lower, 0, n);
    int64_t last = upper < 0 ? n : std::clamp<int64_t>(row + upper + 1, first, n);
    std::byte* at = data + r * n * bytes;
    std::memset(at, 0, static_cast<size_t>(first * bytes));
    std::memset(at + last * bytes, 0, static_cast<size_t>((n - last) * bytes));
  }
  return {};
}
Result<Types> infer_band_part(Call& call) {
  if (is_ranked(call, "x") && dims_of(call, "x").size() < 2) return input_error("x must have at least rank 2");
  return same_as(call, "x");
}

// cumsum

Result<Types> infer_cumsum(Call& call) {
  if (is_ranked(call, "x")) MLT_TRY(normalize_axis(call.i64("axis"), static_cast<int64_t>(dims_of(call, "x").size())));
  return same_as(call, "x");
}

template <typename T, typename Sum>
void cumulate(const Tensor& x, Tensor& y, size_t axis, bool exclusive, bool reverse) {
  int64_t n = x.dims()[axis], inner = product(x.dims(), axis + 1, x.dims().size());
  const T* in = x.data<T>();
  T* out = y.mutable_data<T>();
  for (int64_t lane = 0; lane < x.size() / n; ++lane) {
    int64_t base = lane / inner * inner * n + lane % inner;
    Sum sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      int64_t at = base + (reverse ? n - 1 - i : i) * inner;
      T value = in[at];
      if (exclusive) out[at] = static_cast<T>(sum);
      sum += static_cast<Sum>(value);
      if (!exclusive) out[at] = static_cast<T>(sum);
    }
  }
}

Status eval_cumsum(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  bool exclusive = call.flag("exclusive"), reverse = call.flag("reverse");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed() || x.size() == 0) return {};
  if (x.dtype() == DType::kI32) cumulate<int32_t, uint32_t>(x, y, static_cast<size_t>(axis), exclusive, reverse);
  else cumulate<float, double>(x, y, static_cast<size_t>(axis), exclusive, reverse);
  return {};
}

// fill, fill_like

template <typename T>
void fill_all(Tensor& y, T value) {
  std::fill_n(y.mutable_data<T>(), y.size(), value);
}
// The constant `value`, 0.0 in fp32 by default, everywhere.
Status fill_output(Call& call, const Dims& dims) {
  const Tensor* value = call.value("value");
  if (value != nullptr && value->size() != 1) return input_error("parameter \"value\" must be a single number");
  Tensor& y = output(call, 0, dims);
  if (call.failed()) return {};
  if (y.dtype() == DType::kI32) fill_all<int32_t>(y, value->data<int32_t>()[0]);
  else if (y.dtype() == DType::kBool) fill_all<uint8_t>(y, value->data<uint8_t>()[0]);
  else fill_all<float>(y, value ? value->data<float>()[0] : 0.0f);
  return {};
}
DType fill_dtype(Call& call) { return call.has("value") ? call.type("value").dtype : DType::kF32; }

Result<Types> infer_fill(Call& call) {
  MLT_ASSIGN(ir::Type type, shaped_by(call, "shape", fill_dtype(call)));
  return Types{std::move(type)};
}
Status eval_fill(Call& call) {
  MLT_ASSIGN(Types types, infer_fill(call));
  return fill_output(call, types[0].dims);
}
Result<Types> infer_fill_like(Call& call) {
  ir::Type type = call.type("ref_tensor");
  type.dtype = fill_dtype(call);
  type.dims = dims_of(call, "ref_tensor");
  return Types{std::move(type)};
}
Status eval_fill_like(Call& call) { return fill_output(call, dims_of(call, "ref_tensor")); }

// one_hot

Result<Types> infer_one_hot(Call& call) {
  DType dtype = call.has("on_value") ? call.type("on_value").dtype : call.has("off_value") ? call.type("off_value").dtype : DType::kI32;
  if (!is_ranked(call, "indices")) return Types{ir::Type::unranked(dtype)};
  Dims dims = dims_of(call, "indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(dims.size()) + 1));
  int64_t depth = ir::kUnknown;
  if (call.known("one_hot_vector_size")) {
    depth = call.i64("one_hot_vector_size");
    if (depth < 0) return input_error("one_hot_vector_size must not be negative");
  }
  dims.insert(dims.begin() + axis, depth);
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

template <typename T>
void one_hot(const Tensor& indices, Tensor& y, int64_t depth, int64_t inner, T on, T off) {
  fill_all<T>(y, off);
  T* out = y.mutable_data<T>();
  const int32_t* in = indices.data<int32_t>();
  for (int64_t i = 0; i < indices.size(); ++i)
    if (in[i] >= 0 && in[i] < depth) out[(i / inner * depth + in[i]) * inner + i % inner] = on;
}

Status eval_one_hot(Call& call) {
  MLT_ASSIGN(Types types, infer_one_hot(call));
  const Tensor& indices = call.tensor("indices");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), indices.rank() + 1));
  double on = call.f64("on_value"), off = call.f64("off_value");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t inner = product(indices.dims(), static_cast<size_t>(axis), indices.dims().size());
  int64_t depth = y.dims()[static_cast<size_t>(axis)];
  if (y.dtype() == DType::kBool) one_hot<uint8_t>(indices, y, depth, inner, on != 0, off != 0);
  else if (y.dtype() == DType::kI32) one_hot<int32_t>(indices, y, depth, inner, static_cast<int32_t>(on), static_cast<int32_t>(off));
  else one_hot<float>(indices, y, depth, inner, static_cast<float>(on), static_cast<float>(off));
  return {};
}

// pad

Result<Types> infer_pad(Call& call) {
  ir::Type type = call.type("x");
  std::string mode = call.str("mode");
  if (mode != "constant" && mode != "reflect" && mode != "replicate")
    return input_error("mode is \"" + mode + "\", not constant, reflect or replicate");
  if (!is_ranked(call, "x")) return Types{std::move(type)};
  Dims dims = dims_of(call, "x");
  const Dims& pad_dims = dims_of(call, "pad");
  if (is_ranked(call, "pad") && pad_dims.size() != 1) return input_error("pad must have rank 1");
  auto pad = known_ints(call, "pad");
  if (!pad) {
    int64_t length = is_ranked(call, "pad") ? pad_dims[0] : ir::kUnknown;
    if (length >= 0 && length != 2 * static_cast<int64_t>(dims.size()))
      return input_error("a pad that is not constant must have two elements for each of the " + std::to_string(dims.size()) + " axes of x");
    std::fill(dims.begin(), dims.end(), ir::kUnknown);
  } else {
    if (pad->size() % 2 != 0 || pad->size() / 2 > dims.size())
      return input_error("pad has " + std::to_string(pad->size()) + " elements for x of rank " + std::to_string(dims.size()));
    size_t first = dims.size() - pad->size() / 2;
    for (size_t i = 0; i < pad->size() / 2; ++i) {
      int64_t before = (*pad)[2 * i], after = (*pad)[2 * i + 1];
      if (before < 0 || after < 0) return input_error("pad must not be negative");
      int64_t& extent = dims[first + i];
      if (extent < 0) continue;
      int64_t limit = mode == "constant" ? INT32_MAX : mode == "reflect" ? extent - 1 : extent > 0 ? INT32_MAX : 0;
      if (std::max(before, after) > std::max<int64_t>(limit, 0))
        return input_error("cannot " + mode + " an axis of " + std::to_string(extent) + " by " + std::to_string(std::max(before, after)));
      extent += before + after;
    }
  }
  type.dims = std::move(dims);
  type.ranked = true;
  return Types{std::move(type)};
}

// The source position of each output position along an axis; -1 for the constant.
std::vector<int64_t> pad_sources(int64_t extent, int64_t before, int64_t after, const std::string& mode) {
  std::vector<int64_t> sources;
  for (int64_t o = -before; o < extent + after; ++o) {
    int64_t i = o;
    if (o < 0) i = mode == "reflect" ? -o : mode == "replicate" ? 0 : -1;
    if (o >= extent) i = mode == "reflect" ? 2 * (extent - 1) - o : mode == "replicate" ? extent - 1 : -1;
    sources.push_back(i);
  }
  return sources;
}

Status eval_pad(Call& call) {
  MLT_ASSIGN(Types types, infer_pad(call));
  const Tensor& x = call.tensor("x");
  std::vector<int64_t> pad = call.ints("pad");
  std::string mode = call.str("mode");
  float constant = mode == "constant" ? scalar_f32(call, "constant_val") : 0;
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  pad.insert(pad.begin(), 2 * x.dims().size() - pad.size(), 0);
  if (x.rank() == 0) return copy_to_output(call, 0, x, {});
  std::vector<std::vector<int64_t>> sources;
  for (size_t i = 0; i < x.dims().size(); ++i) sources.push_back(pad_sources(x.dims()[i], pad[2 * i], pad[2 * i + 1], mode));
  Dims strides = row_major_strides(x.dims()), outer(y.dims().begin(), y.dims().end() - 1);
  const float* in = x.data<float>();
  int64_t row = y.dims().back(), before = pad[pad.size() - 2], width = x.dims().back();
  const std::vector<int64_t>& last = sources.back();
  int64_t rows = y.size() / row;
  parallel_for(rows, std::max<int64_t>(1, (1 << 14) / row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* out = y.mutable_data<float>() + r * row;
      int64_t offset = 0, rest = r;
      for (size_t d = outer.size(); d-- > 0 && offset >= 0; rest /= outer[d]) {
        int64_t source = sources[d][static_cast<size_t>(rest % outer[d])];
        offset = source < 0 ? -1 : offset + source * strides[d];
      }
      if (offset < 0) {
        std::fill_n(out, row, constant);
        continue;
      }
      for (int64_t i = 0; i < before; ++i) out[i] = last[static_cast<size_t>(i)] < 0 ? constant : in[offset + last[static_cast<size_t>(i)]];
      std::copy_n(in + offset, width, out + before);
      for (int64_t i = before + width; i < row; ++i) out[i] = last[static_cast<size_t>(i)] < 0 ? constant : in[offset + last[static_cast<size_t>(i)]];
    }
  });
  return {};
}

// range_1d

Result<Types> infer_range(Call& call) {
  DType dtype = call.type("start").dtype;
  Dims dims = {ir::kUnknown};
  if (call.known("start") && call.known("end") && call.known("step")) {
    double count = 0;
    if (is_float(dtype)) {
      // In fp32, as the op would be computed: (1 - 0) / 0.1 is 10 and not 9.9999998.
      float step = scalar_f32(call, "step");
      if (step == 0) return input_error("step must not be 0");
      count = static_cast<double>(std::ceil((scalar_f32(call, "end") - scalar_f32(call, "start")) / step));
    } else {
      int64_t step = call.i64("step");
      if (step == 0) return input_error("step must not be 0");
      count = std::ceil(static_cast<double>(call.i64("end") - call.i64("start")) / static_cast<double>(step));
    }
    if (!(count < 4294967296.0)) return input_error("the range is too long");
    dims[0] = std::max<int64_t>(0, static_cast<int64_t>(count));
  }
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

Status eval_range(Call& call) {
  MLT_ASSIGN(Types types, infer_range(call));
  double start = call.f64("start"), step = call.f64("step");
  if (call.failed()) return {};
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed()) return {};
  for (int64_t i = 0; i < y.size(); ++i) {
    if (y.dtype() == DType::kI32) y.mutable_data<int32_t>()[i] = static_cast<int32_t>(static_cast<int64_t>(start) + i * static_cast<int64_t>(step));
    else y.mutable_data<float>()[i] = static_cast<float>(start + static_cast<double>(i) * step);
  }
  return {};
}

// tile

Result<Types> infer_tile(Call& call) {
  ir::Type type = call.type("x");
  if (!is_ranked(call, "x")) return Types{std::move(type)};
  Dims dims = dims_of(call, "x");
  auto reps = known_ints(call, "reps");
  if (reps) {
    if (reps->empty() || reps->size() != dims.size())
      return input_error("reps has " + std::to_string(reps->size()) + " elements for x of rank " + std::to_string(dims.size()));
    for (size_t i = 0; i < dims.size(); ++i) {
      // coremltools refuses a constant 0; one that is computed (a count of selected elements) makes an empty tensor.
      if ((*reps)[i] < 0) return input_error("elements of reps must not be negative");
      if (dims[i] >= 0) dims[i] *= (*reps)[i];
    }
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i] > (int64_t{1} << 48)) return input_error("shape " + dims_text(dims) + " is too large");
  } else {
    std::fill(dims.begin(), dims.end(), ir::kUnknown);
  }
  return Types{ir::Type::tensor(type.dtype, std::move(dims))};
}

Status eval_tile(Call& call) {
  MLT_ASSIGN(Types types, infer_tile(call));
  const Tensor& x = call.tensor("x");
  std::vector<int64_t> reps = call.ints("reps");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  // Every axis becomes two: one that repeats (stride 0) and the axis itself.
  Dims dims, strides, own = row_major_strides(x.dims());
  for (size_t i = 0; i < x.dims().size(); ++i) {
    dims.insert(dims.end(), {reps[i], x.dims()[i]});
    strides.insert(strides.end(), {0, own[i]});
  }
  copy_strided(x.bytes().data(), y.mutable_bytes(), dims, strides, element_bytes(x));
  return {};
}

// flatten2d, shape, identity

Result<Types> infer_flatten2d(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::tensor(dtype, {ir::kUnknown, ir::kUnknown})};
  const Dims& x = dims_of(call, "x");
  int64_t rank = static_cast<int64_t>(x.size()), axis = call.i64("axis");
  if (axis < -rank || axis > rank) return input_error("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(rank));
  size_t at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
  auto joined = [&](size_t begin, size_t end) -> Result<int64_t> {
    Dims part(x.begin() + static_cast<std::ptrdiff_t>(begin), x.begin() + static_cast<std::ptrdiff_t>(end));
    if (std::any_of(part.begin(), part.end(), [](int64_t d) { return d < 0; })) return ir::kUnknown;
    return element_count(part);
  };
  MLT_ASSIGN(int64_t before, joined(0, at));
  MLT_ASSIGN(int64_t after, joined(at, x.size()));
  return Types{ir::Type::tensor(dtype, {before, after})};
}
Status eval_flatten2d(Call& call) {
  MLT_ASSIGN(Types types, infer_flatten2d(call));
  return copy_to_output(call, 0, call.tensor("x"), types[0].dims);
}

Result<Types> infer_shape(Call& call) {
  return Types{ir::Type::tensor(DType::kI32, {is_ranked(call, "x") ? static_cast<int64_t>(dims_of(call, "x").size()) : ir::kUnknown})};
}
// Needs only x's extents: a value, or a static type.
Status eval_shape(Call& call) {
  if (call.value("x") == nullptr && !call.type("x").is_static()) return input_error("the shape of x is not known");
  const Dims& x = dims_of(call, "x");
  Tensor& y = output(call, 0, {static_cast<int64_t>(x.size())});
  if (call.failed()) return {};
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] > INT32_MAX) return input_error("extent " + std::to_string(x[i]) + " does not fit int32");
    y.mutable_data<int32_t>()[i] = static_cast<int32_t>(x[i]);
  }
  return {};
}

Result<Types> infer_identity(Call& call) { return same_as(call, "x"); }
Status eval_identity(Call& call) {
  if (ListValue list = call.list("x")) {
    call.set_out_list(0, std::move(list));
    return {};
  }
  const Tensor& x = call.tensor("x");
  return copy_to_output(call, 0, x, x.dims());
}

// concat, stack, split

Result<DType> common_dtype(Call& call) {
  if (call.count("values") == 0) return input_error("there is nothing to join");
  return call.type("values").dtype;  // one type domain: all are the same
}

Result<Types> infer_concat(Call& call) {
  MLT_ASSIGN(DType dtype, common_dtype(call));
  bool interleave = call.flag("interleave");
  int64_t axis = call.i64("axis");
  size_t n = call.count("values");
  for (size_t i = 0; i < n; ++i)
    if (!is_ranked(call, "values", i)) return Types{ir::Type::unranked(dtype)};
  Dims out = dims_of(call, "values", 0);
  // Scalars become a vector.
  if (out.empty()) out = {1};
  MLT_ASSIGN(axis, normalize_axis(axis, static_cast<int64_t>(out.size())));
  int64_t joined = 0;
  for (size_t i = 0; i < n; ++i) {
    const Dims& given = dims_of(call, "values", i);
    bool scalar = given.empty() && dims_of(call, "values", 0).empty();
    if (!scalar && given.size() != out.size()) return input_error("shapes " + dims_text(out) + " and " + dims_text(given) + " have different ranks");
    for (size_t d = 0; d < out.size(); ++d) {
      int64_t extent = scalar ? 1 : given[d];
      bool along = static_cast<int64_t>(d) == axis;
      if (along) joined = joined < 0 || extent < 0 ? ir::kUnknown : joined + extent;
      if (extent < 0 || (along && !interleave)) continue;
      if (out[d] >= 0 && out[d] != extent) return input_error("shapes " + dims_text(out) + " and " + dims_text(given) + " do not join along axis " + std::to_string(axis));
      out[d] = extent;
    }
  }
  out[static_cast<size_t>(axis)] = joined;
  return Types{ir::Type::tensor(dtype, std::move(out))};
}

Status eval_concat(Call& call) {
  MLT_ASSIGN(Types types, infer_concat(call));
  bool interleave = call.flag("interleave");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), types[0].rank()));
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  size_t at = static_cast<size_t>(axis), n = call.count("values");
  int64_t outer = product(y.dims(), 0, at), inner = product(y.dims(), at + 1, y.dims().size()) * element_bytes(y), start = 0;
  int64_t row = y.dims()[at] * inner;
  for (size_t k = 0; k < n; ++k) {
    const Tensor& x = call.tensor("values", k);
    if (x.dtype() != y.dtype()) return input_error("element type differs from the inferred one");
    int64_t extent = x.rank() == 0 ? 1 : x.dims()[at];
    const std::byte* in = x.bytes().data();
    for (int64_t o = 0; o < outer; ++o) {
      std::byte* out = y.mutable_bytes() + o * row;
      if (!interleave) {
        if (extent > 0) std::memcpy(out + start, in + o * extent * inner, static_cast<size_t>(extent * inner));
        continue;
      }
      for (int64_t i = 0; i < extent; ++i)
        std::memcpy(out + (i * static_cast<int64_t>(n) + static_cast<int64_t>(k)) * inner, in + (o * extent + i) * inner, static_cast<size_t>(inner));
    }
    start += extent * inner;
  }
  return {};
}

Result<Types> infer_stack(Call& call) {
  MLT_ASSIGN(DType dtype, common_dtype(call));
  int64_t axis = call.i64("axis");
  size_t n = call.count("values");
  for (size_t i = 0; i < n; ++i)
    if (!is_ranked(call, "values", i)) return Types{ir::Type::unranked(dtype)};
  Dims out = dims_of(call, "values", 0);
  for (size_t i = 1; i < n; ++i) {
    const Dims& given = dims_of(call, "values", i);
    bool fits = given.size() == out.size();
    for (size_t d = 0; fits && d < out.size(); ++d) {
      fits = given[d] < 0 || out[d] < 0 || given[d] == out[d];
      out[d] = std::max(out[d], given[d]);
    }
    if (!fits) return input_error("shapes " + dims_text(out) + " and " + dims_text(given) + " do not stack");
  }
  MLT_ASSIGN(axis, normalize_axis(axis, static_cast<int64_t>(out.size()) + 1));
  out.insert(out.begin() + axis, static_cast<int64_t>(n));
  return Types{ir::Type::tensor(dtype, std::move(out))};
}

Status eval_stack(Call& call) {
  MLT_ASSIGN(Types types, infer_stack(call));
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), types[0].rank()));
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  size_t at = static_cast<size_t>(axis);
  int64_t n = y.dims()[at], outer = product(y.dims(), 0, at), inner = product(y.dims(), at + 1, y.dims().size()) * element_bytes(y);
  for (int64_t k = 0; k < n; ++k) {
    const Tensor& x = call.tensor("values", static_cast<size_t>(k));
    if (x.dtype() != y.dtype()) return input_error("element type differs from the inferred one");
    for (int64_t o = 0; o < outer; ++o)
      std::memcpy(y.mutable_bytes() + (o * n + k) * inner, x.bytes().data() + o * inner, static_cast<size_t>(inner));
  }
  return {};
}

Result<Types> infer_split(Call& call) {
  constexpr int64_t kMostParts = 1 << 16;
  ir::Type type = call.type("x");
  if (!call.has("num_splits") && !call.has("split_sizes")) return input_error("one of num_splits and split_sizes must be given");
  auto sizes = known_ints(call, "split_sizes");
  int64_t parts = call.has("num_splits")    ? call.i64("num_splits")
                  : sizes                   ? static_cast<int64_t>(sizes->size())
                  : is_ranked(call, "split_sizes") && dims_of(call, "split_sizes").size() == 1 ? dims_of(call, "split_sizes")[0]
                                                                                                   : ir::kUnknown;
  if (call.failed()) return Types{};
  if (parts < 1 || parts > kMostParts) return input_error("cannot split into " + std::to_string(parts) + " parts");
  if (sizes && static_cast<int64_t>(sizes->size()) != parts)
    return input_error("num_splits is " + std::to_string(parts) + ", but there are " + std::to_string(sizes->size()) + " split_sizes");
  if (!is_ranked(call, "x")) return Types(static_cast<size_t>(parts), ir::Type::unranked(type.dtype));
  Dims dims = dims_of(call, "x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(dims.size())));
  int64_t extent = dims[static_cast<size_t>(axis)];
  if (!call.has("split_sizes")) {
    if (extent >= 0 && extent % parts != 0)
      return input_error("an axis of " + std::to_string(extent) + " cannot be split into " + std::to_string(parts) + " equal parts");
    sizes.emplace(static_cast<size_t>(parts), extent < 0 ? ir::kUnknown : extent / parts);
  } else if (!sizes) {
    sizes.emplace(static_cast<size_t>(parts), ir::kUnknown);
  } else {
    int64_t sum = 0;
    for (int64_t size : *sizes) {
      if (size < 0) return input_error("split_sizes must not be negative");
      sum += size;
    }
    if (extent >= 0 && sum != extent) return input_error("split_sizes add up to " + std::to_string(sum) + ", not " + std::to_string(extent));
  }
  Types types;
  for (int64_t size : *sizes) {
    dims[static_cast<size_t>(axis)] = size;
    types.push_back(ir::Type::tensor(type.dtype, dims));
  }
  return types;
}

Status eval_split(Call& call) {
  MLT_ASSIGN(Types types, infer_split(call));
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  size_t at = static_cast<size_t>(axis);
  int64_t outer = product(x.dims(), 0, at), inner = product(x.dims(), at + 1, x.dims().size()) * element_bytes(x), start = 0;
  for (size_t k = 0; k < types.size(); ++k) {
    Tensor& y = output(call, k, types[k].dims);
    if (call.failed()) return {};
    int64_t bytes = types[k].dims[at] * inner;
    for (int64_t o = 0; bytes > 0 && o < outer; ++o)
      std::memcpy(y.mutable_bytes() + o * bytes, x.bytes().data() + o * x.dims()[at] * inner + start, static_cast<size_t>(bytes));
    start += bytes;
  }
  return {};
}

#define MLT_ANY4 "T: fp16 fp32 int32 bool"
#define MLT_ANY8 "T: fp16 fp32 int8 uint8 int16 uint16 int32 bool"

constexpr OpDef kOps[] = {
    {.name = "argsort", .signature = "x: T, axis: const int32 = -1, ascending: const bool = false -> output", .domains = "T: fp16 fp32 int32",
     .infer = infer_argsort, .eval = eval_argsort, .exactness = Exactness::kExact,
     .doc = "Indices that sort x along an axis, by default from the largest; equal elements keep their order."},
    {.name = "band_part", .signature = "x: T, lower: const int32 = -1, upper: const int32 = -1 -> output", .domains = MLT_ANY4,
     .infer = infer_band_part, .eval = eval_band_part, .exactness = Exactness::kExact,
     .doc = "The innermost matrices of x with everything outside a band around the diagonal set to 0."},
    {.name = "concat", .signature = "values*: T, axis: const int32, interleave: const bool = false -> output", .domains = MLT_ANY8,
     .infer = infer_concat, .eval = eval_concat, .exactness = Exactness::kExact, .doc = "Tensors joined along an axis, in turn or element by element."},
    {.name = "cumsum", .signature = "x: T, axis: const int32 = 0, exclusive: const bool = false, reverse: const bool = false -> output",
     .domains = "T: fp16 fp32 int32", .infer = infer_cumsum, .eval = eval_cumsum, .doc = "Running sum along an axis."},
    {.name = "fill", .signature = "shape: int32, value: const T = 0.0 -> output", .domains = MLT_ANY4, .infer = infer_fill, .eval = eval_fill,
     .exactness = Exactness::kExact, .doc = "A tensor of a given shape with one value everywhere."},
    {.name = "fill_like", .since = Opset::kCoreML6, .signature = "ref_tensor: T, value: const U = 0.0 -> output", .domains = MLT_ANY4 "; U: fp16 fp32 int32 bool",
     .infer = infer_fill_like, .eval = eval_fill_like, .exactness = Exactness::kExact, .reads_types_only = true,
     .doc = "A tensor of another's shape with one value everywhere."},
    {.name = "flatten2d", .signature = "x: T, axis: const int32 = 1 -> output", .domains = MLT_ANY4, .infer = infer_flatten2d, .eval = eval_flatten2d,
     .exactness = Exactness::kExact, .doc = "x as a matrix: the axes before `axis` are its rows, the others its columns."},
    {.name = "identity", .signature = "x: any -> output", .infer = infer_identity, .eval = eval_identity, .exactness = Exactness::kExact, .doc = "x itself."},
    {.name = "non_maximum_suppression",
     .signature = "boxes: T, scores: T, iou_threshold: const T, score_threshold: const T, max_boxes: const int32, per_class_suppression: const bool = false "
                  "-> selected_boxes, selected_scores, indices, count",
     .domains = "T: fp16 fp32", .infer = infer_nms, .eval = eval_nms,
     .doc = "The boxes (center x, center y, width, height) of best score that overlap no better one by more than iou_threshold."},
    {.name = "non_maximum_suppression", .since = Opset::kCoreML7,
     .signature = "boxes: T, scores: T, iou_threshold: const T, max_boxes: const int32, per_class_suppression: const bool = false "
                  "-> selected_boxes, selected_scores, indices",
     .domains = "T: fp16 fp32", .infer = infer_nms, .eval = eval_nms,
     .doc = "The boxes of best score that overlap no better one by more than iou_threshold; boxes are on the last axis."},
    {.name = "non_zero", .signature = "x: T -> output", .domains = MLT_ANY4, .infer = infer_non_zero, .eval = eval_non_zero,
     .exactness = Exactness::kExact, .doc = "The indices of the elements that are not 0, one row each."},
    {.name = "one_hot",
     .signature = "indices: int32, one_hot_vector_size: int32, axis: const int32 = -1, on_value: const T = 1, off_value: const T = 0 -> output",
     .domains = MLT_ANY4, .infer = infer_one_hot, .eval = eval_one_hot, .exactness = Exactness::kExact,
     .doc = "Along a new axis, on_value at the position an index names and off_value elsewhere."},
    {.name = "pad", .signature = "x: T, pad: int32, mode: const string = \"constant\", constant_val: const T = 0.0 -> output", .domains = "T: fp16 fp32",
     .infer = infer_pad, .eval = eval_pad, .exactness = Exactness::kExact, .doc = "x with elements added before and after along its last axes."},
    {.name = "range_1d", .signature = "end: T, start: T, step: T -> output", .domains = "T: fp16 fp32 int32", .infer = infer_range, .eval = eval_range,
     .doc = "start, start + step, ... up to but without end."},
    {.name = "shape", .signature = "x: T -> output", .domains = MLT_ANY8, .infer = infer_shape, .eval = eval_shape, .exactness = Exactness::kExact,
     .reads_types_only = true, .doc = "The extents of x."},
    {.name = "split", .signature = "x: T, num_splits?: const int32, split_sizes?: const int32, axis: const int32 -> *", .domains = MLT_ANY8,
     .infer = infer_split, .eval = eval_split, .exactness = Exactness::kExact, .doc = "x cut into parts along an axis."},
    {.name = "stack", .signature = "values*: T, axis: const int32 -> output", .domains = MLT_ANY8, .infer = infer_stack, .eval = eval_stack,
     .exactness = Exactness::kExact, .doc = "Tensors of one shape joined along a new axis."},
    {.name = "tile", .signature = "x: T, reps: int32 -> output", .domains = MLT_ANY4, .infer = infer_tile, .eval = eval_tile,
     .exactness = Exactness::kExact, .doc = "x repeated along each axis."},
    {.name = "topk", .signature = "x: T, k: const int32 = 1, axis: const int32 = -1, ascending: const bool = false -> values, indices",
     .domains = "T: fp16 fp32 int32", .infer = infer_topk, .eval = eval_topk, .exactness = Exactness::kExact,
     .doc = "The k largest (or smallest) elements along an axis, and their indices."},
    {.name = "topk", .since = Opset::kCoreML6,
     .signature = "x: T, k: const int32 = 1, axis: const int32 = -1, ascending: const bool = false, sort: const bool = true, "
                  "return_indices: const bool = true -> *",
     .domains = "T: fp16 fp32 int32", .infer = infer_topk, .eval = eval_topk, .exactness = Exactness::kExact,
     .doc = "The k largest (or smallest) elements along an axis, and their indices if asked for."},
    {.name = "topk", .since = Opset::kCoreML7,
     .signature = "x: T, k: const K = 1, axis: const int32 = -1, ascending: const bool = false, sort: const bool = true, "
                  "return_indices: const bool = true, output_indices_dtype: const string = \"int32\" -> *",
     .domains = "T: fp16 fp32 int8 int16 int32 uint8 uint16; K: int8 int16 int32", .infer = infer_topk, .eval = eval_topk,
     .exactness = Exactness::kExact, .doc = "The k largest (or smallest) elements along an axis (all for k = -1), and their indices if asked for."},
};

#undef MLT_ANY4
#undef MLT_ANY8

}  // namespace

std::span<const OpDef> tensor_operation_ops() { return kOps; }

}  // namespace mlt::ops
