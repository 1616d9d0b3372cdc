#include <fmt/core.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

void check_neighbors(const spec::Int64Parameter& parameter, Checker& check) {
  int64_t value = parameter.defaultvalue();
  if (value <= 0) check.error(fmt::format("number of neighbours is {}", value));
  if (parameter.has_set()) {
    bool found = false;
    for (int64_t allowed : parameter.set().values()) {
      found |= allowed == value;
      if (allowed <= 0) check.error(fmt::format("{} is among the allowed numbers of neighbours", allowed));
    }
    check.require(found, "default number of neighbours is not among the allowed ones");
  } else if (parameter.has_range()) {
    const spec::Int64Range& range = parameter.range();
    if (range.minvalue() <= 0 || range.minvalue() > range.maxvalue())
      check.error(fmt::format("range of the number of neighbours is {}..{}", range.minvalue(), range.maxvalue()));
    else if (value < range.minvalue() || value > range.maxvalue())
      check.error("default number of neighbours is outside its range");
  }
}

}  // namespace

void check_knn(const Model& model, Checker& check) {
  const spec::KNearestNeighborsClassifier& knn = model.proto().knearestneighborsclassifier();
  Model::ClassLabels labels = model.class_labels();
  check_neighbors(knn.numberofneighbors(), check);
  if (knn.WeightingScheme_case() == spec::KNearestNeighborsClassifier::WEIGHTINGSCHEME_NOT_SET)
    check.error("weighting of neighbours is not stated");
  using Knn = spec::KNearestNeighborsClassifier;
  bool default_integer = knn.DefaultClassLabel_case() == Knn::kDefaultInt64Label;
  if (knn.DefaultClassLabel_case() == Knn::DEFAULTCLASSLABEL_NOT_SET) {
    if (labels.size() == 0) check.error("without class labels a default label is needed");
  } else if (labels.present && labels.integers != default_integer) {
    check.error("default label and class labels are of different types");
  }
  check_classifier_interface(model.description(), labels, true, default_integer, check);

  const spec::NearestNeighborsIndex& index = knn.nearestneighborsindex();
  auto samples = static_cast<size_t>(index.floatsamples_size());
  if (samples != labels.size()) check.error(fmt::format("has {} samples but {} labels", samples, labels.size()));
  for (const spec::FloatVector& sample : index.floatsamples()) {
    if (sample.vector_size() == index.numberofdimensions()) continue;
    check.error(fmt::format("a sample has {} values, {} expected", sample.vector_size(), index.numberofdimensions()));
    break;
  }
  switch (index.IndexType_case()) {
    case spec::NearestNeighborsIndex::kLinearIndex: break;
    case spec::NearestNeighborsIndex::kSingleKdTreeIndex:
      check.require(index.singlekdtreeindex().leafsize() > 0, "leaf size of the tree is not positive");
      break;
    case spec::NearestNeighborsIndex::INDEXTYPE_NOT_SET: check.error("kind of index is not stated"); break;
  }
  check.require(index.has_squaredeuclideandistance(), "distance is not stated");
}

}  // namespace mlt::coreml
