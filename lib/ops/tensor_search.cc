#include "lib/ops/tensor_search.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Order of two elements, NaN after everything else in either direction; equal elements by index.
template <typename T>
struct Before {
  const T* data;
  int64_t step;
  bool ascending;
  bool operator()(int32_t a, int32_t b) const {
    T x = data[a * step], y = data[b * step];
    bool x_nan = x != x, y_nan = y != y;
    if (x_nan || y_nan) return x_nan != y_nan ? y_nan : a < b;
    if (x != y) return ascending ? x < y : x > y;
    return a < b;
  }
};

// Calls f(base, sorted) for each lane along the axis, `sorted` holding the indices of its first k elements in order.
template <typename T, typename F>
void sorted_lanes(const Tensor& x, size_t axis, int64_t k, bool ascending, F&& f) {
  int64_t n = x.dims()[axis], inner = product(x.dims(), axis + 1, x.dims().size());
  const T* in = x.data<T>();
  if (x.size() == 0 || k == 0) return;
  parallel_for(x.size() / n, std::max<int64_t>(1, (1 << 12) / n), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> order(static_cast<size_t>(n));
    for (int64_t lane = begin; lane < end; ++lane) {
      Before<T> before{in + lane / inner * inner * n + lane % inner, inner, ascending};
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
      f(lane, inner, before.data, order);
    }
  });
}

// k of the call, at most the axis; checks it. Unknown extents leave it as written.
Result<int64_t> k_of(Call& call, int64_t extent) {
  int64_t k = call.i64("k");
  bool all = k == -1 && call.def().since >= Opset::kCoreML7;
  if (all) return extent < 0 ? ir::kUnknown : extent;
  if (k < 0) return input_error("k must not be negative");
  if (extent >= 0 && k > extent) return input_error("k is " + std::to_string(k) + " for an axis of " + std::to_string(extent));
  return k;
}

bool returns_indices(Call& call) { return call.info().param("return_indices") == nullptr || call.flag("return_indices"); }

}  // namespace

Result<Types> infer_argsort(Call& call) {
  ir::Type type = call.type("x");
  int64_t axis = call.i64("axis");
  if (is_ranked(call, "x")) {
    type.dims = dims_of(call, "x");
    MLT_TRY(normalize_axis(axis, type.rank()));
  }
  type.dtype = DType::kI32;
  return Types{std::move(type)};
}

Status eval_argsort(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  bool ascending = call.flag("ascending");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  int64_t n = x.dims()[static_cast<size_t>(axis)];
  if (n > INT32_MAX) return input_error("the axis is too long to sort");
  int32_t* out = y.mutable_data<int32_t>();
  auto write = [&](int64_t lane, int64_t inner, const void*, const std::vector<int32_t>& order) {
    int32_t* to = out + lane / inner * inner * n + lane % inner;
    for (int64_t i = 0; i < n; ++i) to[i * inner] = order[static_cast<size_t>(i)];
  };
  if (x.dtype() == DType::kI32) sorted_lanes<int32_t>(x, static_cast<size_t>(axis), n, ascending, write);
  else sorted_lanes<float>(x, static_cast<size_t>(axis), n, ascending, write);
  return {};
}

Result<Types> infer_topk(Call& call) {
  ir::Type values = call.type("x");
  int64_t axis = call.i64("axis");
  if (is_ranked(call, "x")) {
    values.dims = dims_of(call, "x");
    MLT_ASSIGN(axis, normalize_axis(axis, values.rank()));
    int64_t& extent = values.dims[static_cast<size_t>(axis)];
    MLT_ASSIGN(extent, k_of(call, extent));
  }
  ir::Type indices = values;
  indices.dtype = DType::kI32;
  if (!returns_indices(call)) {
    if (call.has("output_indices_dtype")) return input_error("output_indices_dtype needs return_indices");
    return Types{std::move(values)};
  }
  if (call.info().param("output_indices_dtype") != nullptr) {
    std::string name = call.str("output_indices_dtype");
    if (name == "uint16") indices.dtype = DType::kU16;
    else if (name != "int32") return input_error("output_indices_dtype is \"" + name + "\", not int32 or uint16");
  }
  return Types{std::move(values), std::move(indices)};
}

Status eval_topk(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), x.rank()));
  Dims dims = x.dims();
  int64_t& k = dims[static_cast<size_t>(axis)];
  if (k > INT32_MAX) return input_error("the axis is too long to sort");
  MLT_ASSIGN(k, k_of(call, k));
  bool ascending = call.flag("ascending"), indices = returns_indices(call);
  Tensor& values = output(call, 0, dims);
  int32_t* at = indices ? output(call, 1, dims).mutable_data<int32_t>() : nullptr;
  if (call.failed()) return {};
  auto pick = [&]<typename T>(T* out) {
    sorted_lanes<T>(x, static_cast<size_t>(axis), k, ascending,
                    [&](int64_t lane, int64_t inner, const T* in, const std::vector<int32_t>& order) {
                      int64_t to = lane / inner * inner * k + lane % inner;
                      for (int64_t i = 0; i < k; ++i) {
                        int32_t index = order[static_cast<size_t>(i)];
                        out[to + i * inner] = in[index * inner];
                        if (at != nullptr) at[to + i * inner] = index;
                      }
                    });
  };
  if (x.dtype() == DType::kI32) pick(values.mutable_data<int32_t>());
  else pick(values.mutable_data<float>());
  return {};
}

Result<Types> infer_non_zero(Call& call) {
  int64_t rank = is_ranked(call, "x") ? static_cast<int64_t>(dims_of(call, "x").size()) : ir::kUnknown;
  return Types{ir::Type::tensor(DType::kI32, {ir::kUnknown, rank})};
}

Status eval_non_zero(Call& call) {
  const Tensor& x = call.tensor("x");
  auto is_set = [&](int64_t i) {
    if (x.dtype() == DType::kF32) return x.data<float>()[i] != 0;
    if (x.dtype() == DType::kI32) return x.data<int32_t>()[i] != 0;
    return x.data<uint8_t>()[i] != 0;
  };
  int64_t count = 0;
  for (int64_t i = 0; i < x.size(); ++i) count += is_set(i);
  Tensor& y = output(call, 0, {count, x.rank()});
  if (call.failed()) return {};
  int32_t* out = y.mutable_data<int32_t>();
  Dims index(x.dims().size(), 0);
  for (int64_t i = 0; i < x.size(); ++i, next_index(index, x.dims())) {
    if (!is_set(i)) continue;
    for (int64_t d : index) *out++ = static_cast<int32_t>(d);
  }
  return {};
}

// Non-maximum suppression. Up to CoreML6 boxes lie on the middle axis ([n, boxes, 4], [n, boxes, classes]), from CoreML7
// on the last one.
namespace {

bool boxes_last(Call& call) { return call.def().since >= Opset::kCoreML7; }

struct Box {
  float left, right, top, bottom, area;
};

bool overlaps(const Box& a, const Box& b, float limit) {
  float width = std::max(0.0f, std::min(a.right, b.right) - std::max(a.left, b.left));
  float height = std::max(0.0f, std::min(a.bottom, b.bottom) - std::max(a.top, b.top));
  float shared = width * height, joined = a.area + b.area - shared;
  return joined > 0 && shared / joined > limit;
}

}  // namespace

Result<Types> infer_nms(Call& call) {
  const DType dtype = call.type("boxes").dtype;
  int64_t most = call.i64("max_boxes");
  if (most < 0) return input_error("max_boxes must not be negative");
  if (!is_ranked(call, "boxes") || !is_ranked(call, "scores")) return input_error("the ranks of boxes and scores must be known");
  const Dims &boxes = dims_of(call, "boxes"), &scores = dims_of(call, "scores");
  if (boxes.size() != 3 || scores.size() != 3) return input_error("boxes and scores must have rank 3");
  size_t box_axis = boxes_last(call) ? 2 : 1, other = 3 - box_axis;
  auto agree = [](int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; };
  if (!agree(boxes[other], 4) || !agree(boxes[0], scores[0]) || !agree(boxes[box_axis], scores[box_axis]))
    return input_error("boxes of shape " + dims_text(boxes) + " do not fit scores of shape " + dims_text(scores));
  Dims box_dims = {scores[0], most, 4}, score_dims = {scores[0], most, scores[other]};
  if (boxes_last(call)) {
    std::swap(box_dims[1], box_dims[2]);
    std::swap(score_dims[1], score_dims[2]);
  }
  Types types = {ir::Type::tensor(dtype, box_dims), ir::Type::tensor(dtype, score_dims), ir::Type::tensor(DType::kI32, {scores[0], most})};
  if (!boxes_last(call)) types.push_back(ir::Type::tensor(DType::kI32, {scores[0]}));
  return types;
}

Status eval_nms(Call& call) {
  MLT_ASSIGN(Types types, infer_nms(call));
  const Tensor &boxes = call.tensor("boxes"), &scores = call.tensor("scores");
  bool last = boxes_last(call), per_class = call.flag("per_class_suppression");
  float iou = scalar_f32(call, "iou_threshold");
  float least = last ? -std::numeric_limits<float>::infinity() : scalar_f32(call, "score_threshold");
  for (size_t i = 0; i < types.size(); ++i) output(call, i, types[i].dims);
  if (call.failed()) return {};
  int64_t batches = scores.dims()[0], count = scores.dims()[last ? 2 : 1], classes = scores.dims()[last ? 1 : 2], most = types[2].dims[1];
  auto at = [last](int64_t batch, int64_t box, int64_t field, int64_t n_boxes, int64_t n_fields) {
    return static_cast<size_t>(last ? (batch * n_fields + field) * n_boxes + box : (batch * n_boxes + box) * n_fields + field);
  };
  const float *box_in = boxes.data<float>(), *score_in = scores.data<float>();
  float *box_out = call.out(0).mutable_data<float>(), *score_out = call.out(1).mutable_data<float>();
  int32_t* index_out = call.out(2).mutable_data<int32_t>();
  std::fill_n(box_out, call.out(0).size(), 0.0f);
  std::fill_n(score_out, call.out(1).size(), 0.0f);
  std::fill_n(index_out, call.out(2).size(), -1);
  if (classes == 0 && count > 0) return input_error("scores have no classes");
  std::vector<Box> corners(static_cast<size_t>(count));
  std::vector<float> best(static_cast<size_t>(count));
  std::vector<int64_t> kind(static_cast<size_t>(count));
  std::vector<int32_t> order(static_cast<size_t>(count)), kept;
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t i = 0; i < count; ++i) {
      size_t s = static_cast<size_t>(i);
      auto field = [&](int64_t f) { return box_in[at(b, i, f, count, 4)]; };
      corners[s] = {field(0) - 0.5f * field(2), field(0) + 0.5f * field(2), field(1) - 0.5f * field(3), field(1) + 0.5f * field(3),
                    field(2) * field(3)};
      best[s] = score_in[at(b, i, 0, count, classes)];
      kind[s] = 0;
      for (int64_t c = 1; c < classes; ++c) {
        float score = score_in[at(b, i, c, count, classes)];
        if (score > best[s]) {
          best[s] = score;
          kind[s] = c;
        }
      }
    }
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), Before<float>{best.data(), 1, false});
    kept.clear();
    for (int32_t i : order) {
      size_t s = static_cast<size_t>(i);
      if (static_cast<int64_t>(kept.size()) == most || !(best[s] > least)) break;
      bool free = std::none_of(kept.begin(), kept.end(), [&](int32_t k) {
        size_t other = static_cast<size_t>(k);
        return (!per_class || kind[other] == kind[s]) && overlaps(corners[other], corners[s], iou);
      });
      if (free) kept.push_back(i);
    }
    // Core ML always hands out at least the best box, even one below the score threshold.
    if (kept.empty() && count > 0 && most > 0) kept.push_back(order[0]);
    for (size_t k = 0; k < kept.size(); ++k) {
      int64_t to = static_cast<int64_t>(k);
      for (int64_t f = 0; f < 4; ++f) box_out[at(b, to, f, most, 4)] = box_in[at(b, kept[k], f, count, 4)];
      for (int64_t c = 0; c < classes; ++c) score_out[at(b, to, c, most, classes)] = score_in[at(b, kept[k], c, count, classes)];
      index_out[b * most + to] = kept[k];
    }
    if (!last) call.out(3).mutable_data<int32_t>()[b] = static_cast<int32_t>(kept.size());
  }
  return {};
}

}  // namespace mlt::ops
