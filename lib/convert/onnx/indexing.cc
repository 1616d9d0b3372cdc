// Gathering, scattering, sorting, scans along an axis.
#include <algorithm>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

void gather(Ctx& c) {
  V x = c.in(0), indices = c.in(1);
  int64_t axis = c.axis("axis", 0, Lower::rank(x));
  same(c, c.l.gather(x, non_negative(c.l, indices, x, axis), axis));
}

void gather_elements(Ctx& c) {
  V x = c.in(0);
  int64_t axis = c.axis("axis", 0, Lower::rank(x));
  V indices = non_negative(c.l, c.in(1), x, axis);
  // Other axes of the indices may be shorter than the data's.
  const Dims data = Lower::dims(x), want = Lower::dims(indices);
  if (data.size() != want.size()) bad_input("data and indices differ in rank");
  for (size_t i = 0; i < data.size(); ++i)
    if (static_cast<int64_t>(i) != axis && want[i] >= 0 && data[i] != want[i]) x = c.l.slice(x, static_cast<int64_t>(i), 0, want[i]);
  same(c, c.l.through_int(x, [&](V t) { return c.l.op("gather_along_axis", {{"x", t}, {"indices", indices}, {"axis", c.l.i32(axis)}}); }));
}

// Index tuples (last axis) with negative entries counted from the end, where they are constant.
V tuple_indices(Ctx& c, V indices, V data, int64_t first_axis) {
  const Tensor* known = Lower::known(indices);
  if (known == nullptr || known->size() == 0) return indices;
  int64_t n = known->dims().back();
  Tensor fixed = Tensor::uninitialized(DType::kI32, known->dims());
  for (int64_t i = 0; i < known->size(); ++i) {
    int64_t at = known->data<int32_t>()[i];
    size_t axis = static_cast<size_t>(first_axis + i % n);
    if (at < 0 && axis < Lower::dims(data).size() && Lower::dims(data)[axis] >= 0) at += Lower::dims(data)[axis];
    fixed.mutable_data<int32_t>()[i] = static_cast<int32_t>(at);
  }
  return c.l.constant(std::move(fixed));
}

void gather_nd(Ctx& c) {
  V x = c.in(0);
  int64_t batch = c.i64("batch_dims", 0);
  V indices = tuple_indices(c, c.in(1), x, batch);
  if (batch > 0 && !c.l.at_least(ops::Opset::kCoreML6)) unsupported("batch_dims", "choose a newer --target");
  same(c, c.l.through_int(x, [&](V t) {
    std::vector<Input> inputs = {{"x", t}, {"indices", indices}};
    if (batch > 0) inputs.push_back({"batch_dims", c.l.i32(batch)});
    return c.l.op("gather_nd", inputs);
  }));
}

std::string scatter_mode(Ctx& c) {
  std::string reduction = c.version() >= 16 ? c.str("reduction", "none") : "none";
  return reduction == "none" ? "update" : reduction;
}

// [n, rank]: for each of the n elements of indices, in order, where it is, with its value in place of the axis' coordinate.
V element_tuples(Ctx& c, V indices, const Dims& extents, int64_t axis) {
  constexpr int64_t kMostElements = 1 << 24;
  int64_t n = 1;
  for (int64_t extent : extents) {
    if (extent < 0) unsupported("indices that cover the data in part and whose extents are not known");
    if (extent > kMostElements || (n *= extent) > kMostElements) unsupported("indices that cover the data in part and are more than " + std::to_string(kMostElements));
  }
  // The coordinates of axes [from, to).
  auto coordinates = [&](size_t from, size_t to) {
    Tensor columns = Tensor::uninitialized(DType::kI32, {n, static_cast<int64_t>(to - from)});
    int32_t* next = columns.mutable_data<int32_t>();
    Dims at(extents.size(), 0);
    for (int64_t i = 0; i < n; ++i) {
      for (size_t d = from; d < to; ++d) *next++ = static_cast<int32_t>(at[d]);
      for (size_t d = at.size(); d-- > 0;) {
        if (++at[d] < extents[d]) break;
        at[d] = 0;
      }
    }
    return c.l.constant(std::move(columns));
  };
  const size_t on = static_cast<size_t>(axis);
  std::vector<V> parts;
  if (on > 0) parts.push_back(coordinates(0, on));
  parts.push_back(c.l.reshape(c.l.cast(indices, DType::kI32), {n, 1}));
  if (on + 1 < extents.size()) parts.push_back(coordinates(on + 1, extents.size()));
  return parts.size() == 1 ? parts[0] : c.l.concat(parts, 1);
}

void scatter_elements(Ctx& c) {
  V x = c.in(0), updates = c.in(2);
  int64_t axis = c.axis("axis", 0, Lower::rank(x));
  V indices = non_negative(c.l, c.in(1), x, axis);
  std::string mode = scatter_mode(c);
  bool flag = Lower::dtype(x) == DType::kBool;
  if (flag) {
    x = c.l.cast(x, DType::kI32);
    updates = c.l.cast(updates, DType::kI32);
  }
  V y;
  const Dims data = Lower::dims(x), &beside = Lower::dims(updates);
  Dims part = Lower::dims(indices);  // those of the updates, of which more may be known
  for (size_t i = 0; i < part.size() && beside.size() == part.size(); ++i)
    if (part[i] < 0) part[i] = beside[i];
  bool partial = false;
  for (size_t i = 0; i < data.size() && i < part.size(); ++i) partial = partial || (static_cast<int64_t>(i) != axis && data[i] != part[i]);
  if (partial) {
    // MIL's op wants equal extents off the axis: scatter index tuples instead.
    V tuples = element_tuples(c, indices, part, axis);
    y = c.l.op("scatter_nd", {{"data", x}, {"indices", tuples}, {"updates", c.l.reshape(updates, {Lower::dims(tuples)[0]})}, {"mode", c.l.str(mode)}});
  } else {
    y = c.l.op("scatter_along_axis", {{"data", x}, {"indices", indices}, {"updates", updates}, {"axis", c.l.i32(axis)}, {"mode", c.l.str(mode)}});
  }
  same(c, flag ? c.l.cast(y, DType::kBool) : y);
}

void scatter_nd(Ctx& c) {
  V x = c.in(0), updates = c.in(2);
  V indices = tuple_indices(c, c.in(1), x, 0);
  std::string mode = scatter_mode(c);
  bool flag = Lower::dtype(x) == DType::kBool;
  if (flag) {
    x = c.l.cast(x, DType::kI32);
    updates = c.l.cast(updates, DType::kI32);
  }
  V y = c.l.op("scatter_nd", {{"data", x}, {"indices", indices}, {"updates", updates}, {"mode", c.l.str(mode)}});
  same(c, flag ? c.l.cast(y, DType::kBool) : y);
}

void one_hot(Ctx& c) {
  V indices = c.in(0), values = c.in(2);
  auto given = c.l.known_ints(c.in(1));
  const Tensor* depth_tensor = Lower::known(c.in(1));
  if (!given && depth_tensor) given = to_ints(*depth_tensor);
  if (!given || given->size() != 1) unsupported("a depth that is not constant");
  int64_t depth = (*given)[0];
  if (depth <= 0 || depth > (1 << 24)) bad_input("a depth of " + std::to_string(depth));
  int64_t rank = Lower::rank(indices), axis = c.axis("axis", -1, rank + 1);
  indices = c.l.cast(indices, DType::kI32);
  indices = c.l.op("select", {{"cond", c.l.binary("less", indices, c.l.i32(0))}, {"a", c.l.add(indices, c.l.i32(depth))}, {"b", indices}});
  V hot = c.l.binary("equal", c.l.expand_dims(indices, {axis}), along_axis(c.l, c.l.index_vector(depth), axis, rank + 1));
  bool flag = Lower::dtype(values) == DType::kBool;
  if (flag) values = c.l.cast(values, DType::kI32);
  V off = c.l.squeeze(c.l.slice(values, 0, 0, 1), {0}), on = c.l.squeeze(c.l.slice(values, 0, 1, 2), {0});
  V y = select_broadcast(c.l, hot, on, off);
  c.out(0, flag ? c.l.cast(y, DType::kBool) : y, c.type(2));
}

void top_k(Ctx& c) {
  c.ignore({"sorted"});
  V x = c.in(0);
  int64_t axis = c.axis("axis", -1, Lower::rank(x));
  int64_t k = c.version() < 10 ? c.i64("k", 1) : c.known(1, "K")[0];
  bool largest = c.i64("largest", 1) != 0;
  auto parts = c.l.ops("topk", {{"x", x}, {"k", c.l.i32(k)}, {"axis", c.l.i32(axis)}, {"ascending", c.l.boolean(!largest)}});
  c.out(0, parts[0], c.type(0));
  c.out(1, parts[1], DType::kI64);
}

template <bool kMax>
void arg(Ctx& c) {
  V x = c.in(0);
  int64_t axis = c.axis("axis", 0, Lower::rank(x));
  bool keep = c.i64("keepdims", 1) != 0, last = c.i64("select_last_index", 0) != 0;
  if (last) x = c.l.op("reverse", {{"x", x}, {"axes", c.l.ints({axis})}});
  V y = c.l.op(kMax ? "reduce_argmax" : "reduce_argmin", {{"x", x}, {"axis", c.l.i32(axis)}, {"keep_dims", c.l.boolean(keep)}});
  if (last) {
    int64_t n = c.known_dims(x)[static_cast<size_t>(axis)];
    y = c.l.sub(c.l.i32(n - 1), y);
  }
  c.out(0, y, DType::kI64);
}

void non_zero(Ctx& c) {
  V x = c.in(0);
  if (Lower::rank(x) == 0) x = c.l.expand_dims(x, {0});
  if (Lower::dtype(x) == DType::kBool) x = c.l.cast(x, DType::kI32);
  c.out(0, c.l.transpose(c.l.unary("non_zero", x), {1, 0}), DType::kI64);
}

void compress(Ctx& c) {
  V x = c.in(0);
  int64_t axis = 0;
  if (c.has_attr("axis")) axis = c.axis("axis", 0, Lower::rank(x));
  else x = c.l.reshape(x, {-1});
  if (const Tensor* condition = Lower::known(c.in(1))) {
    std::vector<int64_t> picked, flags = to_ints(*condition);
    for (size_t i = 0; i < flags.size(); ++i)
      if (flags[i]) picked.push_back(static_cast<int64_t>(i));
    return same(c, c.l.gather(x, c.l.ints(picked), axis));
  }
  V at = c.l.squeeze(c.l.unary("non_zero", c.l.cast(c.in(1), DType::kI32)), {1});
  same(c, c.l.gather(x, at, axis));
}

void reverse_sequence(Ctx& c) {
  int64_t batch = c.i64("batch_axis", 1), time = c.i64("time_axis", 0);
  same(c, c.l.op("reverse_sequence", {{"x", c.in(0)}, {"lengths", c.in(1)}, {"seq_axis", c.l.i32(time)}, {"batch_axis", c.l.i32(batch)}}));
}

void cum_sum(Ctx& c) {
  V x = c.in(0);
  int64_t axis = Lower::axis_of(c.known(1, "axis")[0], Lower::rank(x));
  bool exclusive = c.i64("exclusive", 0) != 0, reverse = c.i64("reverse", 0) != 0;
  same(c, c.l.op("cumsum", {{"x", x}, {"axis", c.l.i32(axis)}, {"exclusive", c.l.boolean(exclusive)}, {"reverse", c.l.boolean(reverse)}}));
}

void cum_prod(Ctx& c) {
  V x = c.in(0);
  int64_t axis = Lower::axis_of(c.known(1, "axis")[0], Lower::rank(x));
  bool exclusive = c.i64("exclusive", 0) != 0, reverse = c.i64("reverse", 0) != 0;
  int64_t n = c.known_dims(x)[static_cast<size_t>(axis)];
  if (n > 256) unsupported("products over more than 256 elements");
  Dims one = Lower::dims(x);
  one[static_cast<size_t>(axis)] = 1;
  V sum = c.l.filled(one, Lower::dtype(x), 1);
  std::vector<V> parts;
  for (int64_t i = 0; i < n; ++i) {
    int64_t at = reverse ? n - 1 - i : i;
    V next = c.l.mul(sum, c.l.slice(x, axis, at, at + 1));
    parts.push_back(exclusive ? sum : next);
    sum = next;
  }
  if (reverse) std::reverse(parts.begin(), parts.end());
  same(c, c.l.concat(parts, axis));
}

// Every class of every batch entry is suppressed by itself, so each becomes a batch entry of MIL's op, which pads its
// results; the rows that count are then picked out: [selected, 3] of batch, class, box.
void non_max_suppression(Ctx& c) {
  Lower& l = c.l;
  if (l.at_least(ops::Opset::kCoreML7)) unsupported("targets from iOS17 on, whose operation has no box numbers", "use --target iOS15 or iOS16");
  V boxes = c.fin(0), scores = c.fin(1);
  const Dims dims = c.known_dims(scores);
  if (dims.size() != 3 || Lower::rank(boxes) != 3) bad_input("boxes and scores must have rank 3");
  int64_t batch = dims[0], classes = dims[1], count = dims[2];
  int64_t limit = c.opt(2) ? c.known(2, "max_output_boxes_per_class")[0] : 0;
  float iou = c.opt(3) ? c.known_floats(3, "iou_threshold").at(0) : 0;
  bool filter = c.opt(4) != nullptr;
  float threshold = filter ? c.known_floats(4, "score_threshold").at(0) : 0;
  limit = std::min(limit, count);
  if (limit <= 0 || batch <= 0 || classes <= 0) return c.out(0, l.zeros({0, 3}, DType::kI32), DType::kI64);
  if (c.i64("center_point_box", 0) == 0) {  // two opposite corners (y, x, y, x), in either order
    auto column = [&](int64_t i) { return l.slice(boxes, 2, i, i + 1); };
    V y0 = l.binary("minimum", column(0), column(2)), y1 = l.binary("maximum", column(0), column(2));
    V x0 = l.binary("minimum", column(1), column(3)), x1 = l.binary("maximum", column(1), column(3));
    boxes = l.concat({l.mul(l.add(x0, x1), 0.5), l.mul(l.add(y0, y1), 0.5), l.sub(x1, x0), l.sub(y1, y0)}, 2);
  }
  V each = l.reshape(l.broadcast_to(l.expand_dims(boxes, {1}), {batch, classes, count, 4}), {batch * classes, count, 4});
  V flat = l.reshape(scores, {batch * classes, count, 1});
  auto out = l.ops("non_maximum_suppression", {{"boxes", each}, {"scores", flat}, {"iou_threshold", l.f32(iou)},
                                               {"score_threshold", l.f32(filter ? threshold : -3e4)}, {"max_boxes", l.i32(limit)}});
  V picked_scores = l.squeeze(out[1], {2}), indices = out[2], numbers = out[3];
  V valid = l.binary("less", l.expand_dims(l.index_vector(limit), {0}), l.expand_dims(numbers, {1}));
  if (filter) valid = l.op("logical_and", {{"x", valid}, {"y", l.binary("greater", picked_scores, l.f32(threshold))}});
  V where = l.unary("non_zero", l.cast(valid, DType::kI32));  // [selected, 2]
  V row = l.slice(where, 1, 0, 1);
  V box = l.expand_dims(l.op("gather_nd", {{"x", indices}, {"indices", where}}), {1});
  V batch_index = l.binary("floor_div", row, l.i32(classes)), class_index = l.binary("mod", row, l.i32(classes));
  c.out(0, l.concat({batch_index, class_index, box}, 1), DType::kI64);
}

constexpr Row kRows[] = {
    {"ArgMax", arg<true>}, {"ArgMin", arg<false>}, {"Compress", compress}, {"CumProd", cum_prod, "", "up to 256 elements"},
    {"CumSum", cum_sum}, {"Gather", gather}, {"GatherElements", gather_elements}, {"GatherND", gather_nd},
    {"NonMaxSuppression", non_max_suppression, "", "below iOS17"}, {"NonZero", non_zero}, {"OneHot", one_hot, "", "depth constant"}, {"ReverseSequence", reverse_sequence},
    {"Scatter", scatter_elements}, {"ScatterElements", scatter_elements}, {"ScatterND", scatter_nd},
    {"TopK", top_k, "", "K constant"},
};

}  // namespace

std::span<const Row> families::indexing() { return kRows; }

}  // namespace mlt::foreign::onnx
