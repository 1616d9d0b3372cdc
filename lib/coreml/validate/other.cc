#include <fmt/core.h>

#include <cmath>
#include <set>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

using Kind = FeatureKind;

void check_curves(const spec::ClassConfidenceThresholding& model, Checker& check) {
  check.require(model.precisionrecallcurves_size() > 0, "has no precision-recall curves");
  auto pair = [&](const spec::FloatVector& values, const spec::FloatVector& thresholds) {
    if (values.vector_size() == 0 || values.vector_size() != thresholds.vector_size())
      check.error("a curve is empty or differs in length from its thresholds");
    for (const spec::FloatVector* list : {&values, &thresholds})
      for (float value : list->vector())
        if (!std::isfinite(value) || value < 0) return check.error("a curve has a value that is negative or not finite");
  };
  for (const auto& curve : model.precisionrecallcurves()) {
    pair(curve.precisionvalues(), curve.precisionconfidencethresholds());
    pair(curve.recallvalues(), curve.recallconfidencethresholds());
    if (check.full()) return;
  }
}

void check_nms(const Model& model, Checker& check) {
  const spec::NonMaximumSuppression& nms = model.proto().nonmaximumsuppression();
  const Description& description = model.description();
  std::set<std::string> inputs, outputs;
  auto input = [&](const std::string& name, bool needed, Kind kind) {
    if (needed || find_feature(description.inputs, name)) check.feature("input", description.inputs, name, {kind});
    inputs.insert(name);
  };
  input(nms.confidenceinputfeaturename(), true, Kind::kMultiArray);
  input(nms.coordinatesinputfeaturename(), true, Kind::kMultiArray);
  input(nms.iouthresholdinputfeaturename(), false, Kind::kDouble);
  input(nms.confidencethresholdinputfeaturename(), false, Kind::kDouble);
  for (const std::string& name : {nms.confidenceoutputfeaturename(), nms.coordinatesoutputfeaturename()}) {
    check.feature("output", description.outputs, name, {Kind::kMultiArray});
    outputs.insert(name);
  }
  for (const FeatureDescription& feature : description.inputs)
    if (!inputs.count(feature.name)) check.error(fmt::format("input \"{}\" is not used", feature.name));
  for (const FeatureDescription& feature : description.outputs)
    if (!outputs.count(feature.name)) check.error(fmt::format("output \"{}\" is not made", feature.name));
  auto threshold = [&](const char* what, double value) {
    if (!(value >= 0 && value <= 1)) check.error(fmt::format("{} threshold {} is outside 0..1", what, value));
  };
  threshold("overlap", nms.iouthreshold());
  threshold("confidence", nms.confidencethreshold());
  const FeatureDescription* confidence = find_feature(description.outputs, nms.confidenceoutputfeaturename());
  int labels = nms.has_stringclasslabels()  ? nms.stringclasslabels().vector_size()
               : nms.has_int64classlabels() ? nms.int64classlabels().vector_size()
                                            : 0;
  if (!confidence || labels == 0) return;
  const ArrayType& array = confidence->type.array;
  if (array.flexibility == Flexibility::kFixed && array.shape.size() == 2 && array.shape[1] != labels)
    check.error(fmt::format("has {} class labels, but {} confidences per box", labels, array.shape[1]));
  if (array.flexibility == Flexibility::kRange && array.shape_range.size() == 2 && !array.shape_range[1].contains(labels))
    check.error(fmt::format("has {} class labels, outside the range of confidences per box", labels));
}

void check_recommender(const Model& model, Checker& check) {
  const spec::ItemSimilarityRecommender& items = model.proto().itemsimilarityrecommender();
  const Description& description = model.description();
  int strings = items.itemstringids().vector_size(), ints = items.itemint64ids().vector_size();
  check.require(strings == 0 || ints == 0, "has both text and integer item ids");
  auto count = static_cast<uint64_t>(std::max(strings, ints));
  std::set<uint64_t> seen;
  for (const auto& item : items.itemitemsimilarities()) {
    if (!seen.insert(item.itemid()).second) check.error(fmt::format("item {} is listed twice", item.itemid()));
    if (count > 0 && item.itemid() >= count) check.error(fmt::format("item {} has no id", item.itemid()));
    for (const auto& other : item.similaritemlist())
      if (count > 0 && other.itemid() >= count)
        check.error(fmt::format("item {} is similar to {}, which has no id", item.itemid(), other.itemid()));
    if (check.full()) return;
  }
  check.feature("item input", description.inputs, items.iteminputfeaturename(), {Kind::kDictionary, Kind::kSequence});
  if (!items.numrecommendationsinputfeaturename().empty())
    check.feature("input", description.inputs, items.numrecommendationsinputfeaturename(), {Kind::kInt64});
  for (const std::string& name : {items.itemrestrictioninputfeaturename(), items.itemexclusioninputfeaturename()})
    if (!name.empty()) check.feature("input", description.inputs, name, {Kind::kSequence, Kind::kDictionary});
  for (const std::string& name : {items.recommendeditemlistoutputfeaturename(), items.recommendeditemscoreoutputfeaturename()})
    if (!name.empty()) check.feature("output", description.outputs, name, {Kind::kSequence, Kind::kDictionary});
}

}  // namespace

void check_other(const Model& model, Checker& check) {
  const spec::Model& proto = model.proto();
  switch (model.kind()) {
    case ModelKind::kCustomModel:
      check.require(!proto.custommodel().classname().empty(), "name of the class is missing");
      for (const auto& [key, value] : proto.custommodel().parameters()) {
        check.require(!key.empty(), "a parameter has no name");
        if (value.value_case() == 0) check.error(fmt::format("parameter \"{}\" has no value", key));
      }
      return;
    case ModelKind::kLinkedModel:
      check.require(!model.updatable(), "a linked model cannot be updatable");
      if (check.require(proto.linkedmodel().has_linkedmodelfile(), "link is not stated"))
        check.require(!proto.linkedmodel().linkedmodelfile().linkedmodelfilename().defaultvalue().empty(),
                      "name of the linked model is missing");
      return;
    case ModelKind::kClassConfidenceThresholding: return check_curves(proto.classconfidencethresholding(), check);
    case ModelKind::kNonMaximumSuppression: return check_nms(model, check);
    case ModelKind::kItemSimilarityRecommender: return check_recommender(model, check);
    case ModelKind::kBayesianProbitRegressor:
      for (const FeatureDescription& input : model.description().inputs) {
        const ArrayType& array = input.type.array;
        if (input.type.kind != Kind::kMultiArray || array.data_type != ArrayDataType::kInt32 || array.shape.empty() ||
            array.shape.size() > 2)
          check.error(fmt::format("input \"{}\" must be an int32 array with one or two axes", input.name));
      }
      return;
    case ModelKind::kSerializedModel:
      check.require(!proto.serializedmodel().identifier().empty(), "identifier is missing");
      return;
    default: return;  // identity: nothing can be wrong
  }
}

}  // namespace mlt::coreml
