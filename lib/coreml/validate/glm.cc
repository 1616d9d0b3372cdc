#include <fmt/core.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

// Rows of weights, all of one length; returns that length.
template <typename Rows>
int check_rows(const Rows& rows, int offsets, Checker& check) {
  if (rows.size() != offsets) check.error(fmt::format("has {} rows of weights but {} offsets", rows.size(), offsets));
  for (const auto& row : rows) {
    if (row.value_size() == rows[0].value_size()) continue;
    check.error(fmt::format("rows of weights differ in length: {} and {}", rows[0].value_size(), row.value_size()));
    break;
  }
  return rows.size() > 0 ? rows[0].value_size() : 0;
}

// Elements that the inputs give; -1 when a shape does not tell.
int64_t input_elements(const std::vector<FeatureDescription>& inputs) {
  int64_t total = 0;
  for (const FeatureDescription& input : inputs) {
    int64_t count = 1;
    if (input.type.kind == FeatureKind::kMultiArray) {
      if (input.type.array.shape.empty() || input.type.array.flexibility != Flexibility::kFixed) return -1;
      for (int64_t extent : input.type.array.shape) {
        if (extent < 0 || extent > (1 << 24) || count > (int64_t{1} << 32)) return -1;
        count *= extent;
      }
    }
    total += count;
  }
  return total;
}

void check_length(const Model& model, int length, Checker& check) {
  int64_t given = input_elements(model.description().inputs);
  if (length > 0 && given >= 0 && given != length)
    check.error(fmt::format("has {} weights per row, but the inputs give {} values", length, given));
}

}  // namespace

void check_glm(const Model& model, Checker& check) {
  const Description& description = model.description();
  if (model.kind() == ModelKind::kGlmRegressor) {
    check_regressor_interface(description, check);
    check.features("input", description.inputs, 0, {FeatureKind::kDouble, FeatureKind::kInt64, FeatureKind::kMultiArray});
    check.features("output", description.outputs, 0, {FeatureKind::kDouble, FeatureKind::kMultiArray});
    const spec::GLMRegressor& glm = model.proto().glmregressor();
    check_length(model, check_rows(glm.weights(), glm.offset_size(), check), check);
    check.require(glm.postevaluationtransform() >= 0 && glm.postevaluationtransform() <= 2, "unknown link function");
    return;
  }
  const spec::GLMClassifier& glm = model.proto().glmclassifier();
  Model::ClassLabels labels = model.class_labels();
  check_classifier_interface(description, labels, false, false, check);
  check.features("input", description.inputs, 0, {FeatureKind::kDouble, FeatureKind::kInt64, FeatureKind::kMultiArray});
  check.require(glm.postevaluationtransform() == 0 || glm.postevaluationtransform() == 1, "unknown link function");
  check.require(glm.classencoding() == 0 || glm.classencoding() == 1, "unknown class encoding");
  if (!check.require(glm.weights_size() > 0, "has no weights")) return;
  int length = check_rows(glm.weights(), glm.offset_size(), check);
  check.require(length > 0, "rows of weights are empty");
  check_length(model, length, check);
  if (!labels.present) return;
  auto rows = static_cast<size_t>(glm.weights_size()), classes = labels.size();
  size_t expected = classes;
  if (glm.classencoding() == spec::GLMClassifier::ReferenceClass) expected = classes > 0 ? classes - 1 : 0;
  else if (classes == 2) expected = 1;
  if (rows != expected) check.error(fmt::format("{} classes need {} rows of weights, found {}", classes, expected, rows));
  if (classes > 2 && glm.postevaluationtransform() == spec::GLMClassifier::Probit)
    check.error("the probit link is for two classes only");
}

}  // namespace mlt::coreml
