#include "lib/estimators/nms.h"

#include <algorithm>
#include <cmath>

namespace mlt {

std::vector<int64_t> suppress(const float* scores, const float* boxes, int64_t n, int64_t classes, double iou_threshold,
                              double confidence_threshold, bool per_class, int64_t max_boxes) {
  struct Candidate {
    float score;
    int64_t index, label;
  };
  std::vector<Candidate> candidates;
  for (int64_t i = 0; i < n; ++i) {
    const float* row = scores + i * classes;
    int64_t label = 0;
    for (int64_t c = 1; c < classes; ++c)
      if (row[c] > row[label]) label = c;
    if (classes > 0 && !(row[label] < confidence_threshold) && !std::isnan(row[label])) candidates.push_back({row[label], i, label});
  }
  std::stable_sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  auto iou = [&](int64_t a, int64_t b) {
    const float *p = boxes + a * 4, *q = boxes + b * 4;
    double left = std::max(p[0] - p[2] / 2.0, q[0] - q[2] / 2.0), right = std::min(p[0] + p[2] / 2.0, q[0] + q[2] / 2.0);
    double top = std::max(p[1] - p[3] / 2.0, q[1] - q[3] / 2.0), bottom = std::min(p[1] + p[3] / 2.0, q[1] + q[3] / 2.0);
    double overlap = std::max(0.0, right - left) * std::max(0.0, bottom - top);
    double all = static_cast<double>(p[2]) * p[3] + static_cast<double>(q[2]) * q[3] - overlap;
    return all > 0 ? overlap / all : 0.0;
  };
  std::vector<int64_t> kept;
  std::vector<int64_t> kept_labels;
  for (const Candidate& candidate : candidates) {
    if (max_boxes >= 0 && static_cast<int64_t>(kept.size()) >= max_boxes) break;
    bool keep = true;
    for (size_t k = 0; k < kept.size() && keep; ++k)
      if (!per_class || kept_labels[k] == candidate.label) keep = !(iou(kept[k], candidate.index) > iou_threshold);
    if (!keep) continue;
    kept.push_back(candidate.index);
    kept_labels.push_back(candidate.label);
  }
  return kept;
}

namespace {

class Nms : public Estimator {
 public:
  Nms(Interface interface, NmsParams params) : interface_(std::move(interface)), p_(std::move(params)) {}

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(Tensor scores, matrix(inputs, p_.confidence_input));
    MLT_ASSIGN(Tensor boxes, matrix(inputs, p_.coordinates_input));
    int64_t n = scores.dims()[0], classes = scores.dims()[1];
    if (boxes.dims()[0] != n || boxes.dims()[1] != 4)
      return input_error("feature \"" + p_.coordinates_input + "\": expected " + std::to_string(n) + "x4, got " + dims_text(boxes.dims()));
    double iou = p_.iou_threshold, threshold = p_.confidence_threshold;
    if (!p_.iou_input.empty() && inputs.count(p_.iou_input)) {
      MLT_ASSIGN(iou, feature_number(inputs, p_.iou_input));
    }
    if (!p_.threshold_input.empty() && inputs.count(p_.threshold_input)) {
      MLT_ASSIGN(threshold, feature_number(inputs, p_.threshold_input));
    }
    std::vector<int64_t> kept = suppress(scores.data<float>(), boxes.data<float>(), n, classes, iou, threshold, p_.per_class);
    int64_t rows = static_cast<int64_t>(kept.size());
    for (const std::string* name : {&p_.confidence_output, &p_.coordinates_output})
      if (const Port* port = interface_.output(*name)) {
        if (port->max_rows >= 0) rows = std::min(rows, port->max_rows);
        rows = std::max(rows, port->min_rows);
      }
    FeatureMap out;
    MLT_ASSIGN(out[p_.confidence_output], gather(inputs, p_.confidence_input, p_.confidence_output, scores, kept, rows));
    MLT_ASSIGN(out[p_.coordinates_output], gather(inputs, p_.coordinates_input, p_.coordinates_output, boxes, kept, rows));
    return out;
  }

 private:
  static Result<Tensor> matrix(const FeatureMap& inputs, const std::string& name) {
    MLT_ASSIGN(const FeatureValue* value, require_feature(inputs, name));
    const auto* tensor = std::get_if<Tensor>(value);
    if (tensor == nullptr || !tensor->valid() || tensor->dtype() == DType::kString)
      return input_error("feature \"" + name + "\": expected a multi-array, got " + feature_text(*value));
    Dims dims = tensor->dims();
    while (dims.size() > 2 && dims.front() == 1) dims.erase(dims.begin());
    if (dims.size() != 2) return input_error("feature \"" + name + "\": expected two axes, got " + dims_text(tensor->dims()));
    return convert(*tensor, DType::kF32).reshaped(dims);
  }
  Result<FeatureValue> gather(const FeatureMap& inputs, const std::string& input, const std::string& output, const Tensor& rows,
                              const std::vector<int64_t>& kept, int64_t count) const {
    int64_t width = rows.dims()[1];
    Dims dims{count, width};
    MLT_TRY(element_count(dims));
    Tensor out = Tensor::zeros(DType::kF32, dims);
    for (int64_t i = 0; i < std::min<int64_t>(count, static_cast<int64_t>(kept.size())); ++i)
      std::copy_n(rows.data<float>() + kept[static_cast<size_t>(i)] * width, width, out.mutable_data<float>() + i * width);
    const Port* port = interface_.output(output);
    DType dtype = port != nullptr ? port->dtype : std::get<Tensor>(inputs.find(input)->second).dtype();
    return FeatureValue(convert(out, dtype));
  }

  Interface interface_;
  NmsParams p_;
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_nms(Interface interface, NmsParams params) {
  for (const std::string* name : {&params.confidence_input, &params.coordinates_input, &params.confidence_output, &params.coordinates_output})
    if (name->empty()) return input_error("non-maximum suppression: a feature name is missing");
  for (const Port& port : interface.outputs)
    if (port.min_rows > (int64_t{1} << 24)) return input_error("non-maximum suppression: too many rows");
  return std::unique_ptr<Estimator>(std::make_unique<Nms>(std::move(interface), std::move(params)));
}

}  // namespace mlt
