#include <fmt/core.h>

#include <map>
#include <set>

#include "lib/coreml/limits.h"
#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

size_t rank_of(const ArrayType& array) {
  if (array.flexibility == Flexibility::kEnumerated)
    return array.enumerated_shapes.empty() ? 0 : array.enumerated_shapes[0].size();
  return array.flexibility == Flexibility::kRange ? array.shape_range.size() : array.shape.size();
}

// What one stage gives may be taken by the next: the comparison of coremltools' Comparison.cpp for arrays, kinds and
// key types for the rest. Images are scaled to what is asked for.
bool compatible(const FeatureType& a, const FeatureType& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case FeatureKind::kMultiArray:
      if (a.array.data_type != b.array.data_type || rank_of(a.array) != rank_of(b.array)) return false;
      return a.array.flexibility != Flexibility::kFixed || b.array.flexibility != Flexibility::kFixed ||
             a.array.shape == b.array.shape;
    case FeatureKind::kDictionary:
    case FeatureKind::kSequence: return a.element == b.element;
    default: return true;
  }
}

}  // namespace

void check_pipeline(const Model& model, Checker& check, int depth) {
  if (depth >= kMaxPipelineNesting) {
    check.error("pipelines nest too deep");
    return;
  }
  const Description& description = model.description();
  size_t count = model.child_count();
  check.require(count > 0, "pipeline has no stages");
  std::map<std::string, FeatureType> known;
  for (const FeatureDescription& input : description.inputs) known[input.name] = input.type;
  for (size_t i = 0; i < count && !check.full(); i++) {
    Model stage = model.child(i);
    Checker::Place place(check, fmt::format("stage {} ({})", i, stage.kind_name()));
    for (const FeatureDescription& input : stage.description().inputs) {
      auto it = known.find(input.name);
      if (it == known.end()) {
        // An optional input may stay open.
        if (!input.type.optional)
          check.error(fmt::format("input \"{}\" is neither an input of the pipeline nor made by an earlier stage", input.name));
      } else if (!compatible(input.type, it->second)) {
        check.error(fmt::format("input \"{}\" is {}, but {} is given", input.name, format_type(input.type),
                                format_type(it->second)));
      }
    }
    check_model(stage, check, depth + 1);
    if (stage.spec_version() > model.spec_version())
      check.warning(fmt::format("stage is of specification version {}, the pipeline of {}", stage.spec_version(),
                                model.spec_version()));
    for (const FeatureDescription& output : stage.description().outputs) known[output.name] = output.type;
    bool last = i + 1 == count;
    if (stage.updatable() && !(model.updatable() && last))
      check.error(model.updatable() ? "only the last stage may be updatable" : "stage of a fixed pipeline is updatable");
    if (model.updatable() && last && !stage.updatable()) check.error("last stage of an updatable pipeline must be updatable");
  }
  for (const FeatureDescription& output : description.outputs) {
    auto it = known.find(output.name);
    if (it == known.end()) check.error(fmt::format("output \"{}\" is not made by any stage", output.name));
    else if (!compatible(output.type, it->second))
      check.error(fmt::format("output \"{}\" is {}, but {} is made", output.name, format_type(output.type),
                              format_type(it->second)));
  }
  const spec::Model& proto = model.proto();
  const auto& names = proto.has_pipelineclassifier()  ? proto.pipelineclassifier().pipeline().names()
                      : proto.has_pipelineregressor() ? proto.pipelineregressor().pipeline().names()
                                                      : proto.pipeline().names();
  if (names.size() > 0) {
    if (static_cast<size_t>(names.size()) != count)
      check.error(fmt::format("pipeline has {} stages but {} names for them", count, names.size()));
    std::set<std::string> unique(names.begin(), names.end());
    check.require(unique.size() == static_cast<size_t>(names.size()), "two stages have the same name");
  }
}

}  // namespace mlt::coreml
