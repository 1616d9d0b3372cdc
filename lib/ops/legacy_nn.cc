// Layers of NeuralNetwork that MIL has no word for (source of their meaning: NeuralNetwork.proto). Programs lifted from
// networks use them; they are never written to a model.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "lib/ops/call.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"

namespace mlt::ops {
namespace {

Status check_most(int64_t boxes) {
  if (boxes < 1 || boxes > (int64_t{1} << 24)) return input_error("max_boxes must be between 1 and 2^24");
  return {};
}

Result<std::vector<ir::Type>> infer_nn_nms(Call& call) {
  Dims boxes = call.type("boxes").dims, scores = call.type("scores").dims;
  auto given = known_ints(call, "max_boxes");
  if (given && given->size() != 1) return input_error("max_boxes must be one number");
  int64_t most = given ? (*given)[0] : ir::kUnknown;
  if (call.failed()) return *call.error();
  if (boxes.size() != 3 || scores.size() != 3) return input_error("boxes and scores must have rank 3: [batch, boxes, 4] and [batch, boxes, classes]");
  if (boxes[2] >= 0 && boxes[2] != 4) return input_error("a box must have 4 values, not " + std::to_string(boxes[2]));
  for (size_t d = 0; d < 2; ++d)
    if (boxes[d] >= 0 && scores[d] >= 0 && boxes[d] != scores[d]) return input_error("boxes " + dims_text(boxes) + " and scores " + dims_text(scores) + " do not agree");
  if (given) MLT_TRY(check_most(most));
  DType dtype = call.type("boxes").dtype;
  int64_t batch = boxes[0] >= 0 ? boxes[0] : scores[0];
  return std::vector<ir::Type>{ir::Type::tensor(dtype, {batch, most, 4}), ir::Type::tensor(dtype, {batch, most, scores[2]}), ir::Type::tensor(dtype, {batch, most}),
                               ir::Type::tensor(dtype, {batch})};
}

// Intersection over union of two boxes given as centre x, centre y, width, height.
float overlap(const float* a, const float* b) {
  float width = std::min(a[0] + a[2] / 2, b[0] + b[2] / 2) - std::max(a[0] - a[2] / 2, b[0] - b[2] / 2);
  float height = std::min(a[1] + a[3] / 2, b[1] + b[3] / 2) - std::max(a[1] - a[3] / 2, b[1] - b[3] / 2);
  float both = std::max(width, 0.0f) * std::max(height, 0.0f), either = a[2] * a[3] + b[2] * b[3] - both;
  return either > 0 ? both / either : 0.0f;
}

Status eval_nn_nms(Call& call) {
  const Tensor &boxes = call.tensor("boxes"), &scores = call.tensor("scores");
  const Tensor &iou = call.tensor("iou_threshold"), &threshold = call.tensor("score_threshold");
  if (call.failed()) return *call.error();
  if (iou.size() != 1 || threshold.size() != 1) return input_error("thresholds must be one number each");
  float max_iou = iou.data<float>()[0], min_score = threshold.data<float>()[0];
  int64_t most = call.i64("max_boxes"), batch = boxes.dims()[0], count = boxes.dims()[1], classes = scores.dims()[2];
  bool per_class = call.flag("per_class");
  if (call.failed()) return *call.error();
  MLT_TRY(check_most(most));
  if (scores.dims()[0] != batch || scores.dims()[1] != count || boxes.dims()[2] != 4) return input_error("boxes and scores do not agree");
  if (count < 1 || classes < 1) return input_error("there are no boxes or no classes");
  MLT_TRY(element_count({batch, most, std::max<int64_t>(classes, 4)}));
  Tensor kept_boxes = Tensor::zeros(DType::kF32, {batch, most, 4}), kept_scores = Tensor::zeros(DType::kF32, {batch, most, classes});
  Tensor indices = Tensor::uninitialized(DType::kF32, {batch, most}), counts = Tensor::uninitialized(DType::kF32, {batch});
  std::fill_n(indices.mutable_data<float>(), indices.size(), -1.0f);
  std::vector<float> best(static_cast<size_t>(count));
  std::vector<int64_t> label(best.size()), order(best.size());
  for (int64_t n = 0; n < batch; ++n) {
    const float *box = boxes.data<float>() + n * count * 4, *score = scores.data<float>() + n * count * classes;
    for (int64_t i = 0; i < count; ++i) {
      const float* row = score + i * classes;
      int64_t top = 0;
      for (int64_t c = 1; c < classes; ++c)
        if (row[c] > row[top]) top = c;
      // Not a number sorts last, so that the order is one.
      best[static_cast<size_t>(i)] = std::isnan(row[top]) ? -std::numeric_limits<float>::infinity() : row[top];
      label[static_cast<size_t>(i)] = top;
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return best[static_cast<size_t>(a)] > best[static_cast<size_t>(b)]; });
    std::vector<int64_t> kept;
    for (int64_t i : order) {
      if (static_cast<int64_t>(kept.size()) == most || best[static_cast<size_t>(i)] < min_score) break;
      bool keep = std::none_of(kept.begin(), kept.end(), [&](int64_t k) {
        return (!per_class || label[static_cast<size_t>(k)] == label[static_cast<size_t>(i)]) && overlap(box + 4 * k, box + 4 * i) > max_iou;
      });
      if (keep) kept.push_back(i);
    }
    if (kept.empty()) kept.push_back(order[0]);  // never an empty answer
    for (size_t k = 0; k < kept.size(); ++k) {
      int64_t row = n * most + static_cast<int64_t>(k);
      std::copy_n(box + 4 * kept[k], 4, kept_boxes.mutable_data<float>() + row * 4);
      std::copy_n(score + classes * kept[k], classes, kept_scores.mutable_data<float>() + row * classes);
      indices.mutable_data<float>()[row] = static_cast<float>(kept[k]);
    }
    counts.mutable_data<float>()[n] = static_cast<float>(kept.size());
  }
  call.set_out(0, std::move(kept_boxes));
  call.set_out(1, std::move(kept_scores));
  call.set_out(2, std::move(indices));
  call.set_out(3, std::move(counts));
  return {};
}

constexpr OpDef kOps[] = {
    {.name = "nn_nms",
     .signature = "boxes: T, scores: T, iou_threshold: T, score_threshold: T, max_boxes: int32, per_class: const bool = false -> "
                  "kept_boxes, kept_scores, indices, count",
     .domains = "T: fp32",
     .infer = infer_nn_nms,
     .eval = eval_nn_nms,
     .exactness = Exactness::kExact,
     .core = false,
     .doc = "Non-maximum suppression of boxes [batch, n, 4] (centre x, centre y, width, height) by scores [batch, n, classes]: the most "
            "confident first, those below score_threshold left out, as are those that overlap a kept one (per_class: of the same best "
            "class) by more than iou_threshold. At least the best box is kept. Rows not used are 0, their index is -1."},
};

}  // namespace

std::span<const OpDef> legacy_nn_ops() { return kOps; }

}  // namespace mlt::ops
