#include "lib/ops/slicing.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Elements begin, begin + stride, ... along one axis. count is unknown while the extent or the bounds are; `begin` is
// only meaningful when everything is known.
struct SliceAxis {
  int64_t begin = 0, stride = 1, count = ir::kUnknown;
  bool squeeze = false;
};

struct Bounds {
  bool begin_known = false, end_known = false;  // a value
  bool begin_open = false, end_open = false;    // masked: from or to the very end
  int64_t begin = 0, end = 0, stride = 1;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Python's slice on an axis of `extent`; with an unknown extent only what follows from the bounds alone.
SliceAxis slice_axis(const Bounds& b, int64_t extent) {
  SliceAxis axis;
  axis.stride = b.stride;
  bool both = !b.begin_open && !b.end_open && b.begin_known && b.end_known;
  if (extent < 0) {
    if (both && b.stride > 0 && b.begin >= 0 && b.end >= 0) axis.count = ceil_div(std::max<int64_t>(0, b.end - b.begin), b.stride);
    if (both && b.stride < 0 && b.begin < 0 && b.end < 0) axis.count = ceil_div(std::max<int64_t>(0, b.begin - b.end), -b.stride);
    // More than one element may also be cut short by the extent.
    if (axis.count > 1) axis.count = ir::kUnknown;
    if (!b.begin_open && b.end_open && b.begin_known && ((b.begin == 0 && b.stride < 0) || (b.begin == -1 && b.stride > 0))) axis.count = 1;
    return axis;
  }
  if ((!b.begin_open && !b.begin_known) || (!b.end_open && !b.end_known)) return axis;
  int64_t low = b.stride > 0 ? 0 : -1, high = b.stride > 0 ? extent : extent - 1;
  auto position = [&](int64_t at) { return std::clamp(at < 0 ? at + extent : at, low, high); };
  int64_t begin = b.begin_open ? (b.stride > 0 ? low : high) : position(b.begin);
  int64_t end = b.end_open ? (b.stride > 0 ? high : low) : position(b.end);
  axis.begin = begin;
  axis.count = b.stride > 0 ? ceil_div(std::max<int64_t>(0, end - begin), b.stride) : ceil_div(std::max<int64_t>(0, begin - end), -b.stride);
  return axis;
}

Result<std::vector<int64_t>> per_axis(Call& call, std::string_view param, size_t rank, int64_t absent) {
  if (!call.has(param)) return std::vector<int64_t>(rank, absent);
  std::vector<int64_t> values = call.ints(param);
  if (call.failed()) return values;
  if (values.size() != rank)
    return input_error("parameter \"" + std::string(param) + "\" has " + std::to_string(values.size()) + " elements for x of rank " + std::to_string(rank));
  return values;
}

// begin, end, stride and masks of slice_by_index and slice_update.
Result<std::vector<SliceAxis>> slice_axes(Call& call) {
  Dims dims = dims_of(call, "x");
  size_t rank = dims.size();
  bool begin_known = call.value("begin") != nullptr, end_known = call.value("end") != nullptr;
  for (std::string_view param : {"begin", "end"}) {
    if (!is_ranked(call, param)) continue;
    const Dims& given = dims_of(call, param);
    if (given.size() != 1 || (given[0] >= 0 && given[0] != static_cast<int64_t>(rank)))
      return input_error("parameter \"" + std::string(param) + "\" must have one element for each axis of x, " + std::to_string(rank));
  }
  std::vector<int64_t> begin(rank), end(rank);
  if (begin_known) begin = call.ints("begin");
  if (end_known) end = call.ints("end");
  MLT_ASSIGN(std::vector<int64_t> stride, per_axis(call, "stride", rank, 1));
  MLT_ASSIGN(std::vector<int64_t> begin_mask, per_axis(call, "begin_mask", rank, 0));
  MLT_ASSIGN(std::vector<int64_t> end_mask, per_axis(call, "end_mask", rank, 0));
  MLT_ASSIGN(std::vector<int64_t> squeeze_mask, per_axis(call, "squeeze_mask", rank, 0));
  std::vector<SliceAxis> axes;
  if (call.failed()) return axes;
  for (size_t i = 0; i < rank; ++i) {
    if (squeeze_mask[i] != 0) {
      SliceAxis axis{begin_mask[i] != 0 ? 0 : begin[i], 1, 1, true};
      if (axis.begin < 0 && dims[i] >= 0) axis.begin += dims[i];
      axes.push_back(axis);
      continue;
    }
    if (stride[i] == 0) return input_error("stride must not be 0");
    axes.push_back(slice_axis({begin_known, end_known, begin_mask[i] != 0, end_mask[i] != 0, begin[i], end[i], stride[i]}, dims[i]));
  }
  return axes;
}

Dims sliced_dims(const std::vector<SliceAxis>& axes, bool squeeze) {
  Dims dims;
  for (const SliceAxis& axis : axes)
    if (!axis.squeeze || !squeeze) dims.push_back(axis.count);
  return dims;
}

// Where a region of `dims` starts (in elements) and its strides; an error when any of it lies outside.
struct Region {
  int64_t start = 0;
  Dims extents, strides;
};
Result<Region> region_of(const Dims& dims, const std::vector<SliceAxis>& axes) {
  Region region;
  Dims own = row_major_strides(dims);
  for (size_t i = 0; i < dims.size(); ++i) {
    const SliceAxis& axis = axes[i];
    if (axis.count < 0) return input_error("the slice is not known");
    int64_t last = axis.begin + (axis.count - 1) * axis.stride;
    if (axis.count > 0 && (axis.begin < 0 || axis.begin >= dims[i] || last < 0 || last >= dims[i]))
      return input_error("element " + std::to_string(axis.begin) + " is outside of axis " + std::to_string(i) + " of shape " + dims_text(dims));
    if (axis.count > 0) region.start += axis.begin * own[i];
    region.extents.push_back(axis.count);
    // With one element the stride is never used; keep it from overflowing.
    region.strides.push_back(axis.count > 1 ? axis.stride * own[i] : 0);
  }
  return region;
}

Status copy_region(Call& call, const std::vector<SliceAxis>& axes, const Dims& out_dims) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(Region region, region_of(x.dims(), axes));
  Tensor& y = output(call, 0, out_dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t bytes = element_bytes(x);
  copy_strided(x.bytes().data() + region.start * bytes, y.mutable_bytes(), region.extents, region.strides, bytes);
  return {};
}

}  // namespace

Result<Types> infer_slice_by_index(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  MLT_ASSIGN(std::vector<SliceAxis> axes, slice_axes(call));
  return Types{ir::Type::tensor(dtype, sliced_dims(axes, true))};
}

Status eval_slice_by_index(Call& call) {
  MLT_ASSIGN(std::vector<SliceAxis> axes, slice_axes(call));
  if (call.failed()) return {};
  return copy_region(call, axes, sliced_dims(axes, true));
}

Result<Types> infer_slice_update(Call& call) {
  ir::Type type = call.type("x");
  if (!is_ranked(call, "x") || !is_ranked(call, "update")) return Types{std::move(type)};
  const Dims& update = dims_of(call, "update");
  if (update.empty()) return input_error("update must not be a scalar");
  MLT_ASSIGN(std::vector<SliceAxis> axes, slice_axes(call));
  Dims wanted = sliced_dims(axes, true);
  bool fits = update.size() == wanted.size();
  for (size_t i = 0; fits && i < wanted.size(); ++i) fits = wanted[i] < 0 || update[i] < 0 || wanted[i] == update[i];
  if (!fits && !call.failed()) return input_error("update must have shape " + dims_text(wanted) + ", not " + dims_text(update));
  return Types{std::move(type)};
}

Status eval_slice_update(Call& call) {
  MLT_TRY(infer_slice_update(call));
  const Tensor &x = call.tensor("x"), &update = call.tensor("update");
  MLT_ASSIGN(std::vector<SliceAxis> axes, slice_axes(call));
  MLT_ASSIGN(Region region, region_of(x.dims(), axes));
  MLT_TRY(copy_to_output(call, 0, x, x.dims()));
  if (call.failed() || update.size() == 0) return {};
  int64_t bytes = element_bytes(x), row = region.extents.back(), step = region.strides.back();
  Dims outer(region.extents.begin(), region.extents.end() - 1), index(outer.size(), 0);
  const std::byte* in = update.bytes().data();
  std::byte* out = call.out().mutable_bytes() + region.start * bytes;
  do {
    int64_t offset = 0;
    for (size_t i = 0; i < outer.size(); ++i) offset += index[i] * region.strides[i];
    if (step == 1) {
      std::memcpy(out + offset * bytes, in, static_cast<size_t>(row * bytes));
    } else {
      for (int64_t i = 0; i < row; ++i) std::memcpy(out + (offset + i * step) * bytes, in + i * bytes, static_cast<size_t>(bytes));
    }
    in += row * bytes;
  } while (next_index(index, outer));
  return {};
}

namespace {

// An axis per element of begin and size; size -1 takes the rest.
Result<std::vector<SliceAxis>> sized_axes(Call& call) {
  const Dims& dims = dims_of(call, "x");
  for (std::string_view param : {"begin", "size"}) {
    if (!is_ranked(call, param)) continue;
    const Dims& given = dims_of(call, param);
    if (given.size() != 1 || (given[0] >= 0 && given[0] != static_cast<int64_t>(dims.size())))
      return input_error("parameter \"" + std::string(param) + "\" must have one element for each axis of x, " + std::to_string(dims.size()));
  }
  auto begin = known_ints(call, "begin"), size = known_ints(call, "size");
  std::vector<SliceAxis> axes(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    SliceAxis& axis = axes[i];
    bool placed = begin && ((*begin)[i] >= 0 || dims[i] >= 0);
    if (placed) axis.begin = (*begin)[i] < 0 ? (*begin)[i] + dims[i] : (*begin)[i];
    if (!size) continue;
    if ((*size)[i] < -1) return input_error("size must not be below -1");
    if ((*size)[i] >= 0) axis.count = (*size)[i];
    else if (placed && dims[i] >= 0) axis.count = dims[i] - axis.begin;
    bool outside = placed && dims[i] >= 0 && axis.count != ir::kUnknown && (axis.begin < 0 || axis.count < 0 || axis.begin + axis.count > dims[i]);
    if (outside || (axis.count >= 0 && dims[i] >= 0 && axis.count > dims[i]))
      return input_error("begin and size lie outside of axis " + std::to_string(i) + " of shape " + dims_text(dims));
  }
  return axes;
}

}  // namespace

Result<Types> infer_slice_by_size(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  MLT_ASSIGN(std::vector<SliceAxis> axes, sized_axes(call));
  return Types{ir::Type::tensor(dtype, sliced_dims(axes, false))};
}

Status eval_slice_by_size(Call& call) {
  MLT_ASSIGN(std::vector<SliceAxis> axes, sized_axes(call));
  return copy_region(call, axes, sliced_dims(axes, false));
}

Result<Types> infer_sliding_windows(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  Dims dims = dims_of(call, "x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(dims.size())));
  int64_t size = call.i64("size"), stride = call.i64("stride");
  int64_t& extent = dims[static_cast<size_t>(axis)];
  if (size < 1 || stride < 1) return input_error("size and stride must be positive");
  if (extent >= 0 && size > extent) return input_error("a window of " + std::to_string(size) + " does not fit an axis of " + std::to_string(extent));
  if (extent >= 0) extent = (extent - size) / stride + 1;
  dims.insert(dims.begin() + axis + 1, size);
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

Status eval_sliding_windows(Call& call) {
  MLT_ASSIGN(Types types, infer_sliding_windows(call));
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  Dims strides = row_major_strides(x.dims());
  int64_t own = strides[static_cast<size_t>(axis)];
  if (types[0].dims[static_cast<size_t>(axis)] > 1) strides[static_cast<size_t>(axis)] = own * call.i64("stride");
  strides.insert(strides.begin() + axis + 1, own);
  copy_strided(x.bytes().data(), y.mutable_bytes(), types[0].dims, strides, element_bytes(x));
  return {};
}

}  // namespace mlt::ops
