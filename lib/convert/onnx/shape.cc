// Constants, shapes and the rearrangement of elements.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int64_t kFarEnd = int64_t{1} << 30;  // "to the end" in slices

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

void constant(Ctx& c) {
  if (const Tensor* t = c.tensor("value")) return c.out(0, c.driver().constant(*t, t->size() > 1 && !c.node.outputs.empty() ? std::string_view(c.node.outputs[0]) : std::string_view()));
  if (const Tensor* t = c.tensor("sparse_value")) return c.out(0, c.driver().constant(*t));
  if (c.has_attr("value_float")) return c.out(0, c.l.f32(c.f32("value_float", 0)), DType::kF32);
  if (auto v = c.floats("value_floats")) return c.out(0, c.l.floats(*v), DType::kF32);
  if (c.has_attr("value_int")) return c.out(0, c.driver().constant(Tensor::scalar(c.i64("value_int", 0))));
  if (auto v = c.ints("value_ints")) return c.out(0, c.driver().constant(Tensor::from<int64_t>({static_cast<int64_t>(v->size())}, *v)));
  if (c.has_attr("value_string")) return c.out(0, c.l.str(c.str("value_string", "")), DType::kString);
  if (auto v = c.strings("value_strings")) {
    int64_t n = static_cast<int64_t>(v->size());
    return c.out(0, c.l.constant(Tensor::of_strings({n}, *v)), DType::kString);
  }
  bad_input("a Constant without a value");
}

void identity(Ctx& c) { c.out(0, c.val(0)); }

void dropout(Ctx& c) {
  c.ignore({"consumed_inputs", "seed"});
  bool training = false;
  if (c.version() < 7) c.ignore({"is_test"});  // old files: inference is what is converted
  float ratio = c.version() < 12 ? c.f32("ratio", 0.5f) : 0.5f;
  if (c.version() >= 12) {
    if (V mode = c.opt(2)) {
      auto known = Lower::known(mode);
      if (known == nullptr) unsupported("a training mode that is not constant");
      training = to_ints(*known)[0] != 0;
    }
    if (c.has(1) && Lower::known(c.in(1))) ratio = to_floats(*Lower::known(c.in(1)))[0];
  }
  if (training && ratio != 0) unsupported("training mode");
  c.out(0, c.val(0));
  if (c.wants(1)) c.out(1, c.l.filled(c.known_dims(c.in(0)), DType::kBool, 1), DType::kBool);
}

void shape_op(Ctx& c) {
  V x = c.in(0);
  int64_t rank = Lower::rank(x);
  auto place = [rank](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + rank : i, 0, rank); };
  int64_t start = place(c.i64("start", 0)), end = place(c.i64("end", rank));
  if (end < start) end = start;
  bool known = true;
  std::vector<int64_t> part(Lower::dims(x).begin() + start, Lower::dims(x).begin() + end);
  for (int64_t d : part) known = known && d >= 0;
  if (known) return c.out(0, c.l.ints(part), DType::kI64);
  V shape = c.l.shape_of(x);
  if (start != 0 || end != rank) {
    shape = c.l.slice(shape, 0, start, end);
    c.l.set_partial(shape, part);
  }
  c.out(0, shape, DType::kI64);
}

void size_op(Ctx& c) {
  V x = c.in(0);
  int64_t count = product(Lower::dims(x), 0, Lower::dims(x).size());
  if (count >= 0) return c.out(0, c.l.i32(count), DType::kI64);
  c.out(0, c.l.reduce("reduce_prod", c.l.shape_of(x), {0}, false), DType::kI64);
}

// Zeros stand for the input's extents, -1 for what is left; `given` is the shape as far as it is known.
V reshape_to(Ctx& c, V x, const std::vector<int64_t>& given, V target, bool allow_zero) {
  std::vector<int64_t> shape = given;
  const Dims& dims = Lower::dims(x);
  std::vector<bool> left(dims.size(), true);  // axes of x whose extent no zero stands for
  std::vector<bool> copied(shape.size(), false);
  bool exact = target == nullptr || Lower::known(target);
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == 0 && !allow_zero) {
      if (i >= dims.size()) bad_input("shape asks for axis " + std::to_string(i) + " of an input of rank " + std::to_string(Lower::rank(x)));
      shape[i] = dims[i];
      copied[i] = true;
      left[i] = false;
    }
  auto open = std::count(shape.begin(), shape.end(), ir::kUnknown);
  int64_t total = product(dims, 0, dims.size());
  if (total == 0 && open == 0) return c.l.zeros(shape, Lower::dtype(x));
  // What -1 stands for, when all open extents of x were copied.
  int64_t rest = 1, fill = std::count(given.begin(), given.end(), ir::kUnknown);
  for (size_t i = 0; i < dims.size(); ++i)
    if (left[i]) rest = rest < 0 || dims[i] < 0 ? -1 : rest * dims[i];
  if (fill == 1 && rest > 0) {
    int64_t others = 1;
    for (size_t i = 0; i < shape.size(); ++i)
      if (!copied[i] && shape[i] >= 0) others *= shape[i];
    if (others > 0 && rest % others == 0)
      for (size_t i = 0; i < shape.size(); ++i)
        if (given[i] < 0) shape[i] = rest / others;
    open = std::count(shape.begin(), shape.end(), ir::kUnknown);
  }
  if (open <= 1) return c.l.reshape(x, shape);
  bool several = std::any_of(copied.begin(), copied.end(), [](bool b) { return b; });
  if (!several) return nullptr;
  std::vector<V> parts;
  V extents = c.l.shape_of(x);
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t at = static_cast<int64_t>(i);
    if (copied[i] && shape[i] < 0) parts.push_back(c.l.slice(extents, 0, at, at + 1));
    else if (shape[i] >= 0 || exact) parts.push_back(c.l.ints({shape[i]}));
    else parts.push_back(c.l.slice(target, 0, at, at + 1));
  }
  return c.l.op("reshape", {{"x", x}, {"shape", c.l.concat(parts, 0)}});
}

void reshape(Ctx& c) {
  c.ignore({"consumed_inputs"});
  V x = c.in(0), target = c.has(1) ? c.in(1) : nullptr;
  bool allow_zero = c.i64("allowzero", 0) != 0;
  std::optional<std::vector<int64_t>> shape = c.ints("shape");
  if (!shape) shape = c.l.partial_ints(c.in(1));
  if (shape)
    if (V y = reshape_to(c, x, *shape, target, allow_zero)) return same(c, y);
  if (target == nullptr) unsupported("a shape with several open axes");
  if (Lower::rank(target) != 1 || Lower::dims(target)[0] < 0) unsupported("a target shape of unknown rank");
  // A zero in it would keep an extent, as it does in MIL.
  if (allow_zero && Lower::is_static(x) && product(Lower::dims(x), 0, Lower::dims(x).size()) == 0) unsupported("an empty input whose shape is not constant");
  same(c, c.l.op("reshape", {{"x", x}, {"shape", target}}));
}

void flatten(Ctx& c) {
  V x = c.in(0);
  int64_t rank = Lower::rank(x), axis = c.i64("axis", 1);
  if (axis < -rank || axis > rank) bad_input("axis " + std::to_string(axis) + " of rank " + std::to_string(rank));
  if (axis < 0) axis += rank;
  const Dims& dims = Lower::dims(x);
  int64_t outer = product(dims, 0, static_cast<size_t>(axis)), inner = product(dims, static_cast<size_t>(axis), dims.size());
  if (outer < 0 && inner < 0) return same(c, c.l.op("flatten2d", {{"x", x}, {"axis", c.l.i32(axis)}}));
  same(c, c.l.reshape(x, {outer, inner}));
}

void squeeze(Ctx& c) {
  V x = c.in(0);
  int64_t rank = Lower::rank(x);
  std::vector<int64_t> axes;
  if (auto given = c.ints_of("axes", 1, "axes")) {
    for (int64_t a : *given) axes.push_back(Lower::axis_of(a, rank));
  } else {
    for (int64_t i = 0; i < rank; ++i)
      if (c.known_dims(x)[static_cast<size_t>(i)] == 1) axes.push_back(i);
  }
  std::sort(axes.begin(), axes.end());
  same(c, c.l.squeeze(x, axes));
}

void unsqueeze(Ctx& c) {
  V x = c.in(0);
  auto axes = c.ints_of("axes", 1, "axes");
  if (!axes) bad_input("axes are missing");
  int64_t rank = Lower::rank(x) + static_cast<int64_t>(axes->size());
  for (int64_t& a : *axes) a = Lower::axis_of(a, rank);
  std::sort(axes->begin(), axes->end());
  same(c, c.l.expand_dims(x, *axes));
}

void transpose(Ctx& c) {
  V x = c.in(0);
  std::vector<int64_t> perm;
  for (int64_t i = Lower::rank(x); i-- > 0;) perm.push_back(i);
  perm = c.ints("perm").value_or(perm);
  if (static_cast<int64_t>(perm.size()) != Lower::rank(x)) bad_input("perm has " + std::to_string(perm.size()) + " axes, the input " + std::to_string(Lower::rank(x)));
  same(c, c.l.transpose(x, perm));
}

void concat(Ctx& c) {
  std::vector<V> values;
  DType type = c.type(0);
  for (size_t i = 0; i < c.inputs(); ++i) {
    V v = c.in(i);
    // Empty parts of shape arithmetic contribute nothing.
    if (Lower::is_static(v) && product(Lower::dims(v), 0, Lower::dims(v).size()) == 0 && c.inputs() > 1) continue;
    values.push_back(v);
  }
  if (values.empty()) values.push_back(c.in(0));
  int64_t axis = c.axis("axis", c.version() < 4 ? 1 : 0, Lower::rank(values[0]));
  c.out(0, values.size() == 1 ? values[0] : c.l.concat(values, axis), type);
}

void split(Ctx& c) {
  V x = c.in(0);
  int64_t axis = c.axis("axis", 0, Lower::rank(x));
  size_t count = c.node.outputs.size();
  int64_t extent = Lower::dims(x)[static_cast<size_t>(axis)];
  auto sizes = c.ints_of("split", 1, "split");
  count = static_cast<size_t>(c.i64("num_outputs", static_cast<int64_t>(count)));
  if (count == 0 || count > 4096) bad_input("num_outputs is " + std::to_string(count));
  if (!sizes) {
    if (extent < 0) unsupported("a split of an axis of unknown extent");
    int64_t n = static_cast<int64_t>(count), each = (extent + n - 1) / n;
    sizes.emplace();
    for (int64_t i = 0; i < n; ++i) sizes->push_back(std::max<int64_t>(0, std::min(each, extent - i * each)));
  }
  if (sizes->size() == 1) return same(c, x);
  auto parts = c.l.ops("split", {{"x", x}, {"split_sizes", c.l.ints(*sizes)}, {"axis", c.l.i32(axis)}});
  for (size_t i = 0; i < parts.size() && i < c.node.outputs.size(); ++i) c.out(i, parts[i], c.type(0));
}

// Starts or ends known only at run time: one element per sliced axis goes into a full vector.
V full_vector(Ctx& c, V given, const std::vector<int64_t>& axes, const std::vector<int64_t>& base, V upper) {
  std::vector<V> parts;
  for (size_t d = 0; d < base.size(); ++d) {
    auto at = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d));
    if (at == axes.end()) {
      parts.push_back(c.l.ints({base[d]}));
      continue;
    }
    V one = c.l.slice(given, 0, at - axes.begin(), at - axes.begin() + 1);
    if (upper) one = c.l.binary("minimum", one, c.l.slice(upper, 0, static_cast<int64_t>(d), static_cast<int64_t>(d) + 1));
    parts.push_back(one);
  }
  return c.l.concat(parts, 0);
}

void slice(Ctx& c) {
  V x = c.in(0);
  size_t rank = static_cast<size_t>(Lower::rank(x));
  std::optional<std::vector<int64_t>> starts, ends, axes, steps;
  if (c.version() < 10) {
    starts = c.ints("starts");
    ends = c.ints("ends");
    axes = c.ints("axes");
  } else {
    starts = c.l.known_ints(c.in(1));
    ends = c.l.known_ints(c.in(2));
    if (c.opt(3)) axes = c.known(3, "axes");
    if (c.opt(4)) steps = c.known(4, "steps");
  }
  size_t n = starts ? starts->size() : ends ? ends->size() : static_cast<size_t>(std::max<int64_t>(0, Lower::dims(c.in(1))[0]));
  if (!axes) {
    axes.emplace();
    for (size_t i = 0; i < n; ++i) axes->push_back(static_cast<int64_t>(i));
  }
  if (!steps) steps.emplace(n, 1);
  if (axes->size() != n || steps->size() != n || (starts && ends && starts->size() != ends->size())) bad_input("starts, ends, axes and steps differ in length");
  for (int64_t& a : *axes) a = Lower::axis_of(a, static_cast<int64_t>(rank));
  std::vector<int64_t> begin(rank, 0), end(rank, 0), stride(rank, 1);
  std::vector<bool> begin_mask(rank, true), end_mask(rank, true);
  for (size_t d = 0; d < rank; ++d) end[d] = std::max<int64_t>(0, Lower::dims(x)[d]);
  bool whole = true;
  for (size_t i = 0; i < n; ++i) {
    size_t d = static_cast<size_t>((*axes)[i]);
    int64_t step = (*steps)[i], extent = Lower::dims(x)[d];
    if (step == 0) bad_input("a step of 0");
    stride[d] = step;
    begin_mask[d] = end_mask[d] = false;
    if (!starts || !ends) {
      if (step != 1) unsupported("a step other than 1 with bounds that are not constant");
      whole = false;
      continue;
    }
    int64_t from = (*starts)[i], to = (*ends)[i];
    if (extent >= 0) {
      if (from < 0) from += extent;
      if (to < 0) to += extent;
      if (step > 0) {
        begin[d] = std::clamp<int64_t>(from, 0, extent);
        end[d] = std::clamp<int64_t>(to, begin[d], extent);
        if (begin[d] != 0 || end[d] != extent || step != 1) whole = false;
      } else {
        begin[d] = std::clamp<int64_t>(from, -1, extent - 1);
        end[d] = std::clamp<int64_t>(to, -1, extent - 1);
        whole = false;
        if (end[d] == -1) {  // below the first element: MIL would read -1 as the last
          end_mask[d] = true;
          end[d] = 0;
        }
        if (begin[d] < 0) unsupported("an empty slice with a negative step");
      }
    } else {
      begin[d] = from;
      end[d] = to;
      whole = false;
      if (step > 0) {
        if (from == 0) begin_mask[d] = true;
        if (to >= kFarEnd) {
          end_mask[d] = true;
          end[d] = 0;
        }
      } else {
        if (from >= kFarEnd || from == -1) begin_mask[d] = true, begin[d] = 0;
        if (to <= -kFarEnd) end_mask[d] = true, end[d] = 0;
      }
    }
  }
  if (whole) return c.out(0, c.val(0));
  V b = starts ? c.l.ints(begin) : nullptr, e = ends ? c.l.ints(end) : nullptr;
  if (!starts || !ends) {
    // Negative bounds stay: the op counts them from the end, as here.
    if (starts)
      for (size_t i = 0; i < n; ++i) begin[static_cast<size_t>((*axes)[i])] = (*starts)[i];
    if (ends)
      for (size_t i = 0; i < n; ++i) end[static_cast<size_t>((*axes)[i])] = (*ends)[i];
    b = starts ? c.l.ints(begin) : full_vector(c, c.in(1), *axes, begin, nullptr);
    if (ends) {
      for (size_t i = 0; i < n; ++i) {
        size_t d = static_cast<size_t>((*axes)[i]);
        if (end[d] >= kFarEnd) end_mask[d] = true, end[d] = 0;
      }
      e = c.l.ints(end);
    } else {
      e = full_vector(c, c.in(2), *axes, end, c.l.shape_of(x));
    }
  }
  same(c, c.l.op("slice_by_index", {{"x", x}, {"begin", b}, {"end", e}, {"stride", c.l.ints(stride)},
                                    {"begin_mask", c.l.bools(begin_mask)}, {"end_mask", c.l.bools(end_mask)}}));
}

void expand(Ctx& c) {
  V x = c.in(0);
  auto shape = c.l.known_ints(c.in(1));
  if (shape && Lower::is_static(x)) {
    Dims target(*shape), own = Lower::dims(x);
    size_t rank = std::max(target.size(), own.size());
    Dims result(rank, 1);
    for (size_t i = 0; i < rank; ++i) {
      int64_t a = i + own.size() < rank ? 1 : own[i + own.size() - rank];
      int64_t b = i + target.size() < rank ? 1 : target[i + target.size() - rank];
      if (a != b && a != 1 && b != 1) bad_input("shape " + dims_text(own) + " does not broadcast to " + dims_text(target));
      result[i] = a == 1 ? b : a;
    }
    return same(c, c.l.broadcast_to(x, result));
  }
  // Adding zeros of the wanted shape broadcasts.
  same(c, c.l.through_int(x, [&](V v) {
    V zeros = c.l.op("fill", {{"shape", c.in(1)}, {"value", c.l.scalar_like(v, 0)}});
    return c.l.add(v, zeros);
  }));
}

void tile(Ctx& c) {
  V x = c.in(0);
  if (c.version() < 6) {
    int64_t axis = Lower::axis_of(c.known(2, "axis")[0], Lower::rank(x));
    std::vector<int64_t> reps(static_cast<size_t>(Lower::rank(x)), 1);
    reps[static_cast<size_t>(axis)] = c.known(1, "tiles")[0];
    return same(c, c.l.op("tile", {{"x", x}, {"reps", c.l.ints(reps)}}));
  }
  if (Lower::rank(x) == 0) return c.out(0, c.val(0));
  same(c, c.l.op("tile", {{"x", x}, {"reps", c.in(1)}}));
}

void constant_of_shape(Ctx& c) {
  const Tensor* value = c.tensor("value");
  DType type = value ? value->dtype() : DType::kF32;
  if (value && value->size() != 1) bad_input("value must have one element");
  double number = value ? to_doubles(*value)[0] : 0;
  DType mil = mil_dtype(type);
  if (auto shape = c.l.known_ints(c.in(0))) {
    for (int64_t d : *shape)
      if (d < 0) bad_input("a negative extent");
    return c.out(0, c.l.filled(*shape, mil, number), type);
  }
  V shape = c.in(0);
  V fill = mil == DType::kBool ? c.l.cast(c.l.op("fill", {{"shape", shape}, {"value", c.l.i32(number != 0)}}), DType::kBool)
                               : c.l.op("fill", {{"shape", shape}, {"value", mil == DType::kI32 ? c.l.i32(static_cast<int64_t>(number)) : c.l.f32(number)}});
  c.out(0, fill, type);
}

void range(Ctx& c) {
  c.ignore({"stash_type"});
  const Tensor *a = Lower::known(c.in(0)), *b = Lower::known(c.in(1)), *d = Lower::known(c.in(2));
  if (a && b && d) {
    double start = to_doubles(*a)[0], limit = to_doubles(*b)[0], delta = to_doubles(*d)[0];
    if (delta == 0) bad_input("a delta of 0");
    double count = std::max(0.0, std::ceil((limit - start) / delta));
    if (!(count < (1 << 26))) throw LowerError{resource_error("a range of " + std::to_string(count) + " numbers")};
    int64_t n = static_cast<int64_t>(count);
    Tensor out = Tensor::uninitialized(DType::kF64, {n});
    for (int64_t i = 0; i < n; ++i) out.mutable_data<double>()[i] = start + static_cast<double>(i) * delta;
    return c.out(0, c.l.constant(convert(out, a->dtype())), c.type(0));
  }
  same(c, c.l.op("range_1d", {{"end", c.in(1)}, {"start", c.in(0)}, {"step", c.in(2)}}));
}

void eye_like(Ctx& c) {
  const Dims dims = c.known_dims(c.in(0));
  if (dims.size() != 2) bad_input("EyeLike needs a matrix");
  DType type = c.has_attr("dtype") ? dtype_from_onnx(c.i64("dtype", 1)).value_or(DType::kF32) : c.type(0);
  int64_t k = std::clamp<int64_t>(c.i64("k", 0), INT32_MIN, INT32_MAX);
  Lower::check_constant(dims);
  Tensor out = Tensor::zeros(DType::kF32, dims);
  for (int64_t r = 0; r < dims[0]; ++r)
    if (r + k >= 0 && r + k < dims[1]) out.mutable_data<float>()[r * dims[1] + r + k] = 1;
  c.out(0, c.l.constant(convert(out, mil_dtype(type))), type);
}

// Padding by repeating elements, along one axis: MIL's own modes cover the last two axes of float tensors only.
V pad_by_gather(Ctx& c, V x, int64_t axis, int64_t before, int64_t after, const std::string& mode) {
  int64_t n = Lower::dims(x)[static_cast<size_t>(axis)];
  if (n <= 0) unsupported("padding of an axis of unknown extent");
  Lower::check_constant({n, 1});
  Lower::check_constant({before});
  Lower::check_constant({after});
  std::vector<int64_t> index;
  for (int64_t i = -before; i < n + after; ++i) {
    int64_t at = i;
    if (mode == "edge") at = std::clamp<int64_t>(i, 0, n - 1);
    else if (mode == "wrap") at = ((i % n) + n) % n;
    else if (n == 1) at = 0;
    else {
      int64_t period = 2 * (n - 1);
      at = ((i % period) + period) % period;
      if (at >= n) at = period - at;
    }
    index.push_back(at);
  }
  return c.l.gather(x, c.l.ints(index), axis);
}

void pad(Ctx& c) {
  V x = c.in(0);
  size_t rank = static_cast<size_t>(Lower::rank(x));
  std::string mode = c.str("mode", "constant");
  std::vector<int64_t> pads;
  double value = 0;
  if (c.version() < 11) {
    pads = c.ints(c.version() < 2 ? "paddings" : "pads").value_or(std::vector<int64_t>{});
    value = c.f32("value", 0);
  } else {
    pads = c.known(1, "pads");
    if (V v = c.opt(2)) {
      const Tensor* known = Lower::known(v);
      if (known == nullptr) unsupported("a fill value that is not constant");
      if (known->size() != 1) bad_input("constant_value must have one element");
      value = to_doubles(*known)[0];
    }
  }
  std::vector<int64_t> before(rank, 0), after(rank, 0), axes;
  if (c.version() >= 18 && c.opt(3)) {
    for (int64_t a : c.known(3, "axes")) axes.push_back(Lower::axis_of(a, static_cast<int64_t>(rank)));
  } else {
    for (size_t i = 0; i < rank; ++i) axes.push_back(static_cast<int64_t>(i));
  }
  if (pads.size() != 2 * axes.size()) bad_input("pads has " + std::to_string(pads.size()) + " numbers, " + std::to_string(2 * axes.size()) + " needed");
  for (size_t i = 0; i < axes.size(); ++i) {
    before[static_cast<size_t>(axes[i])] = pads[i];
    after[static_cast<size_t>(axes[i])] = pads[i + axes.size()];
  }
  bool any = false;
  for (size_t i = 0; i < rank; ++i) {  // negative padding removes
    if (before[i] < 0 || after[i] < 0) {
      int64_t extent = Lower::dims(x)[i];
      if (extent < 0) unsupported("negative padding of an axis of unknown extent");
      x = c.l.slice(x, static_cast<int64_t>(i), std::max<int64_t>(0, -before[i]), extent - std::max<int64_t>(0, -after[i]));
      before[i] = std::max<int64_t>(0, before[i]);
      after[i] = std::max<int64_t>(0, after[i]);
    }
    any = any || before[i] || after[i];
  }
  if (!any) return same(c, x == c.in(0) ? c.l.unary("identity", x) : x);
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") bad_input("unknown mode \"" + mode + "\"");
  bool is_f32 = Lower::dtype(x) == DType::kF32;
  if (mode == "constant" && is_f32) {
    std::vector<int64_t> all;
    for (size_t i = 0; i < rank; ++i) all.insert(all.end(), {before[i], after[i]});
    return same(c, c.l.op("pad", {{"x", x}, {"pad", c.l.ints(all)}, {"mode", c.l.str("constant")}, {"constant_val", c.l.f32(value)}}));
  }
  if (mode == "constant") {
    for (size_t i = 0; i < rank; ++i) {
      if (!before[i] && !after[i]) continue;
      std::vector<V> parts;
      Dims dims = c.known_dims(x, "padding of integers");
      auto block = [&](int64_t n) {
        Dims d = dims;
        d[i] = n;
        if (n) parts.push_back(c.l.filled(d, Lower::dtype(x), value));
      };
      block(before[i]);
      parts.push_back(x);
      block(after[i]);
      x = c.l.concat(parts, static_cast<int64_t>(i));
    }
    return same(c, x);
  }
  bool spatial = is_f32 && rank >= 2 && mode != "wrap";
  for (size_t i = 0; i + 2 < rank; ++i) spatial = spatial && !before[i] && !after[i];
  for (size_t i = rank >= 2 ? rank - 2 : 0; i < rank; ++i) {
    if (!before[i] && !after[i]) continue;
    int64_t extent = Lower::dims(x)[i], limit = extent < 0 ? 0 : mode == "reflect" ? extent - 1 : extent;
    spatial = spatial && (extent < 0 || (before[i] <= limit && after[i] <= limit));
  }
  if (spatial) {
    std::vector<int64_t> all = {before[rank - 1], after[rank - 1]};
    if (rank > 2 || before[0] || after[0]) all.insert(all.begin(), {before[rank - 2], after[rank - 2]});
    return same(c, c.l.op("pad", {{"x", x}, {"pad", c.l.ints(all)}, {"mode", c.l.str(mode == "edge" ? "replicate" : "reflect")}, {"constant_val", c.l.f32(0)}}));
  }
  for (size_t i = 0; i < rank; ++i)
    if (before[i] || after[i]) x = pad_by_gather(c, x, static_cast<int64_t>(i), before[i], after[i], mode);
  same(c, x);
}

void center_crop_pad(Ctx& c) {
  V x = c.in(0);
  std::vector<int64_t> shape = c.known(1, "shape"), axes = c.ints("axes").value_or(std::vector<int64_t>{});
  if (axes.empty())
    for (int64_t i = 0; i < Lower::rank(x); ++i) axes.push_back(i);
  if (axes.size() != shape.size()) bad_input("axes and shape differ in length");
  for (size_t k = 0; k < axes.size(); ++k) {
    int64_t axis = Lower::axis_of(axes[k], Lower::rank(x)), n = c.known_dims(x)[static_cast<size_t>(axis)], want = shape[k];
    if (want < n) {
      int64_t from = (n - want) / 2;
      x = c.l.slice(x, axis, from, from + want);
    } else if (want > n) {
      int64_t before = (want - n) / 2;
      std::vector<V> parts;
      auto block = [&](int64_t count) {
        Dims d = Lower::dims(x);
        d[static_cast<size_t>(axis)] = count;
        if (count) parts.push_back(c.l.zeros(d, Lower::dtype(x)));
      };
      block(before);
      parts.push_back(x);
      block(want - n - before);
      x = c.l.concat(parts, axis);
    }
  }
  same(c, x == c.in(0) ? c.l.unary("identity", x) : x);
}

void trilu(Ctx& c) {
  V x = c.in(0);
  bool upper = c.i64("upper", 1) != 0;
  int64_t k = c.opt(1) ? c.known(1, "k")[0] : 0;
  size_t rank = static_cast<size_t>(Lower::rank(x));
  if (rank < 2) bad_input("Trilu needs rank 2");
  int64_t rows = Lower::dims(x)[rank - 2], cols = Lower::dims(x)[rank - 1];
  if (rows < 0 || cols < 0) {  // of ones: band_part keeps what lies near the diagonal
    V ones = c.l.op("fill", {{"shape", c.l.shape_of(x)}, {"value", c.l.f32(1)}});
    auto band = [&](int64_t lower, int64_t above) { return c.l.op("band_part", {{"x", ones}, {"lower", c.l.i32(lower)}, {"upper", c.l.i32(above)}}); };
    bool direct = upper ? k <= 0 : k >= 0;
    V kept = direct ? upper ? band(-k, -1) : band(-1, k) : upper ? band(-1, k - 1) : band(-k - 1, -1);
    V keep = c.l.binary(direct ? "greater" : "less", kept, c.l.f32(0.5));
    if (Lower::dtype(x) == DType::kBool) return same(c, c.l.op("logical_and", {{"x", x}, {"y", keep}}));
    return same(c, select_broadcast(c.l, keep, x, c.l.scalar_like(x, 0)));
  }
  Lower::check_constant({rows, cols});
  Tensor mask = Tensor::uninitialized(DType::kBool, {rows, cols});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t q = 0; q < cols; ++q) mask.mutable_data<bool>()[r * cols + q] = upper ? q - r >= k : q - r <= k;
  V keep = c.l.constant(std::move(mask));
  if (Lower::dtype(x) == DType::kBool) return same(c, c.l.op("logical_and", {{"x", x}, {"y", keep}}));
  same(c, select_broadcast(c.l, keep, x, c.l.scalar_like(x, 0)));
}

constexpr Row kRows[] = {
    {"CenterCropPad", center_crop_pad}, {"Concat", concat}, {"Constant", constant}, {"ConstantOfShape", constant_of_shape},
    {"Dropout", dropout, "", "inference only"}, {"Expand", expand}, {"EyeLike", eye_like}, {"Flatten", flatten},
    {"Identity", identity}, {"Pad", pad}, {"Range", range}, {"Reshape", reshape}, {"Shape", shape_op}, {"Size", size_op},
    {"Slice", slice, "", "axes and steps constant"}, {"Split", split}, {"Squeeze", squeeze}, {"Tile", tile},
    {"Transpose", transpose}, {"Trilu", trilu}, {"Unsqueeze", unsqueeze},
};

}  // namespace

std::span<const Row> families::shape() { return kRows; }

}  // namespace mlt::foreign::onnx
