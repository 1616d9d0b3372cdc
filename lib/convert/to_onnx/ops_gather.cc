// Reading and writing at indices, sorting, selection.
#include <algorithm>

#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {
namespace {

// ONNX takes int32 and int64 indices only.
S indices_of(Ctx& c) {
  DType t = c.dtype("indices");
  return t == DType::kI32 ? c.in("indices") : c.i64("indices");
}

void gather(Ctx& c) {
  int64_t rank = c.rank("x"), axis = c.axis("axis", rank), batch = c.call.info().param("batch_dims") ? c.call.i64("batch_dims") : 0;
  S x = c.in("x"), indices = indices_of(c);
  if (batch == 0) return c.out(c.g.node("Gather", {x, indices}, {{"axis", axis}}));
  // The gathered axis moves behind the batch axes, the result back.
  int64_t own = c.rank("indices") - batch;
  if (axis != batch) {
    std::vector<int64_t> perm;
    for (int64_t i = 0; i < rank; ++i)
      if (i != axis) perm.push_back(i);
    perm.insert(perm.begin() + batch, axis);
    x = c.g.transpose(x, perm);
  }
  S wide = c.g.unsqueeze(c.dtype("indices") == DType::kI64 ? indices : c.i64("indices"), {c.rank("indices")});
  S y = c.g.node("GatherND", {x, wide}, {{"batch_dims", batch}});
  if (axis != batch) {
    std::vector<int64_t> perm;
    int64_t total = rank - 1 + own, between = axis - batch;
    for (int64_t i = 0; i < batch; ++i) perm.push_back(i);
    for (int64_t i = 0; i < between; ++i) perm.push_back(batch + own + i);
    for (int64_t i = 0; i < own; ++i) perm.push_back(batch + i);
    for (int64_t i = batch + own + between; i < total; ++i) perm.push_back(i);
    y = c.g.transpose(y, perm);
  }
  c.out(y);
}
void gather_along_axis(Ctx& c) {
  c.out(c.g.node("GatherElements", {c.in("x"), indices_of(c)}, {{"axis", c.axis("axis", c.rank("x"))}}));
}
void gather_nd(Ctx& c) {
  int64_t batch = c.call.info().param("batch_dims") ? c.call.i64("batch_dims") : 0;
  c.out(c.g.node("GatherND", {c.in("x"), c.i64("indices")}, {{"batch_dims", batch}}));
}

// The reduction of ONNX, and the updates as it needs them.
std::vector<Attr> reduction(Ctx& c, S* updates) {
  std::string mode = c.call.str("mode");
  std::vector<Attr> attributes;
  if (mode == "update") return attributes;
  if (mode == "sub") *updates = c.g.node("Neg", {*updates});
  if (mode == "div") *updates = c.g.node("Reciprocal", {*updates});
  std::string name = mode == "add" || mode == "sub" ? "add" : mode == "mul" || mode == "div" ? "mul" : mode;
  if (mode == "div" && !c.is_float("data")) unsupported("integer division by scattered updates");
  int64_t need = name == "max" || name == "min" ? 18 : 16;
  if (!c.g.at_least(need)) unsupported("scatter with mode \"" + mode + "\" needs --opset " + std::to_string(need));
  attributes.emplace_back("reduction", name);
  return attributes;
}
void scatter_along_axis(Ctx& c) {
  S updates = c.in("updates");
  auto attributes = reduction(c, &updates);
  attributes.emplace_back("axis", c.axis("axis", c.rank("data")));
  c.out(c.g.node("ScatterElements", {c.in("data"), indices_of(c), updates}, attributes));
}
void scatter(Ctx& c) {
  int64_t rank = c.rank("data"), axis = c.axis("axis", rank), own = c.rank("indices");
  S updates = c.in("updates"), indices = c.i64("indices");
  if (own > 1) unsupported("scatter at indices of rank " + std::to_string(own));
  if (own == 0) {
    updates = c.g.unsqueeze(updates, {axis});
    indices = c.g.reshape(indices, {1});
  }
  auto attributes = reduction(c, &updates);
  attributes.emplace_back("axis", axis);
  std::vector<int64_t> shape(static_cast<size_t>(rank), 1);
  shape[static_cast<size_t>(axis)] = -1;
  S wide = c.g.node("Expand", {c.g.reshape(indices, shape), c.g.node("Shape", {updates})});
  c.out(c.g.node("ScatterElements", {c.in("data"), wide, updates}, attributes));
}
void scatter_nd(Ctx& c) {
  S updates = c.in("updates");
  auto attributes = reduction(c, &updates);
  c.out(c.g.node("ScatterND", {c.in("data"), c.i64("indices"), updates}, attributes));
}

void topk(Ctx& c) {
  int64_t axis = c.axis("axis", c.rank("x"));
  S k = c.known("k") || !c.has("k") ? c.g.ints({c.call.i64("k")}) : c.g.reshape(c.i64("k"), {1});
  bool sort = c.call.info().param("sort") == nullptr || c.call.flag("sort");
  auto y = c.g.nodes("TopK", {c.in("x"), k}, 2, {{"axis", axis}, {"largest", !c.call.flag("ascending")}, {"sorted", sort}});
  c.out(0, y[0]);
  if (c.op.outputs.size() > 1 && (c.call.info().param("return_indices") == nullptr || c.call.flag("return_indices")))
    c.out(1, c.g.cast(y[1], c.out_dtype(1)));
}
void argsort(Ctx& c) {
  int64_t axis = c.axis("axis", c.rank("x"));
  S x = c.in("x"), n = c.g.slice(c.g.node("Shape", {x}), 0, axis, axis + 1);
  auto y = c.g.nodes("TopK", {x, n}, 2, {{"axis", axis}, {"largest", !c.call.flag("ascending")}});
  c.out(c.g.cast(y[1], c.out_dtype()));
}
void non_zero(Ctx& c) { c.out(c.g.cast(c.g.transpose(c.g.node("NonZero", {c.in("x")}), {1, 0}), c.out_dtype())); }
void one_hot(Ctx& c) {
  DType t = c.out_dtype();
  S values = c.g.constant(convert(Tensor::from<float>({2}, std::vector<float>{static_cast<float>(c.call.f64("off_value")), static_cast<float>(c.call.f64("on_value"))}), t));
  S depth = c.known("one_hot_vector_size") ? c.g.int64(c.call.i64("one_hot_vector_size")) : c.i64("one_hot_vector_size");
  c.out(c.g.node("OneHot", {c.i64("indices"), depth, values}, {{"axis", c.call.i64("axis")}}));
}

// Boxes [batch, n, (x, y, width, height)] by their centers; ONNX gives triples (batch, class, box) of what stays, MIL
// rows of exactly max_boxes, padded with zeros (indices with -1), best first.
void non_maximum_suppression(Ctx& c) {
  int64_t most = c.call.i64("max_boxes");
  const Dims& boxes = c.dims("boxes");
  bool flat = c.call.def().since >= ops::Opset::kCoreML7;
  if (flat || boxes.size() != 3 || boxes[0] != 1) unsupported("suppression of several images at once, or of boxes on the last axis");
  if (c.call.flag("per_class_suppression") || c.dims("scores").back() != 1) unsupported("suppression over several classes");
  S b = c.in("boxes"), s = c.in("scores");
  if (c.dtype("boxes") == DType::kF16) b = c.g.cast(b, DType::kF32), s = c.g.cast(s, DType::kF32);
  S picked = c.g.node("NonMaxSuppression",
                      {b, c.g.transpose(s, {0, 2, 1}), c.g.constant(Tensor::from<int64_t>({1}, std::vector<int64_t>{most})),
                       c.g.floats({static_cast<float>(c.call.f64("iou_threshold"))}), c.g.floats({static_cast<float>(c.call.f64("score_threshold"))})},
                      {{"center_point_box", 1}});
  S index = c.g.reshape(c.g.slice(picked, 1, 2, 3), {-1});
  S count = c.g.node("Shape", {index});
  S missing = c.g.node("Sub", {c.g.ints({most}), count});
  auto padded = [&](const S& rows, int64_t width, const S& value) {
    S pads = width ? c.g.concat({c.g.ints({0, 0}), missing, c.g.ints({0})}, 0) : c.g.concat({c.g.ints({0}), missing}, 0);
    return c.g.unsqueeze(c.g.node("Pad", {rows, pads, value}), {0});
  };
  S rows = c.g.node("Gather", {c.g.squeeze(b, {0}), index}), best = c.g.node("Gather", {c.g.squeeze(s, {0}), index});
  S zero = c.g.scalar(DType::kF32, 0);
  S out_boxes = padded(rows, 4, zero), out_scores = padded(best, 1, zero);
  if (c.dtype("boxes") == DType::kF16) out_boxes = c.g.cast(out_boxes, DType::kF16), out_scores = c.g.cast(out_scores, DType::kF16);
  c.out(0, out_boxes);
  c.out(1, out_scores);
  c.out(2, padded(c.g.cast(index, DType::kI32), 0, c.g.scalar(DType::kI32, -1)));
  c.out(3, c.g.cast(count, DType::kI32));
}

constexpr Row kRows[] = {
    {"gather", gather}, {"gather_along_axis", gather_along_axis}, {"gather_nd", gather_nd}, {"scatter", scatter},
    {"scatter_along_axis", scatter_along_axis}, {"scatter_nd", scatter_nd}, {"topk", topk}, {"argsort", argsort}, {"non_zero", non_zero},
    {"one_hot", one_hot}, {"non_maximum_suppression", non_maximum_suppression},
};

}  // namespace

std::span<const Row> families::gather() { return kRows; }

}  // namespace mlt::foreign::to_onnx
