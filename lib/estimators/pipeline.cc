#include "lib/estimators/pipeline.h"

#include <algorithm>
#include <set>

namespace mlt {

Result<FeatureMap> Pipeline::predict(const FeatureMap& inputs) const {
  FeatureMap features = inputs;
  for (size_t i = 0; i < stages_.size(); ++i) {
    const PipelineStage& stage = stages_[i];
    if (stage.model == nullptr) {
      bool supplied = !stage.interface.outputs.empty();
      for (const Port& port : stage.interface.outputs) supplied &= features.count(port.name) != 0;
      if (supplied) continue;
      return Error(*stage.missing).in_path("pipeline stage " + std::to_string(i) + " (" + stage.name + ")");
    }
    auto result = stage.model->predict(features);
    if (!result) return std::move(result).error().in_path("pipeline stage " + std::to_string(i) + " (" + stage.name + ")");
    for (auto& [name, value] : *result) features[name] = std::move(value);
  }
  FeatureMap out;
  for (const Port& port : interface_.outputs) {
    auto it = features.find(port.name);
    if (it == features.end()) {
      if (port.optional) continue;
      return input_error("no stage of the pipeline gives the output \"" + port.name + "\"");
    }
    MLT_ASSIGN(out[port.name], adapt(port, it->second));
  }
  return out;
}

std::vector<std::string> Pipeline::missing_features() const {
  std::vector<std::string> out;
  for (const PipelineStage& stage : stages_) {
    if (stage.model == nullptr)
      for (const Port& port : stage.interface.outputs) out.push_back(port.name);
    else
      for (std::string& name : stage.model->missing_features()) out.push_back(std::move(name));
  }
  return out;
}

std::vector<std::string> Pipeline::needed_inputs(const std::vector<std::string>& supplied) const {
  std::set<std::string> have(supplied.begin(), supplied.end()), needed;
  for (const PipelineStage& stage : stages_) {
    bool skipped = stage.model == nullptr && !stage.interface.outputs.empty() &&
                   std::all_of(stage.interface.outputs.begin(), stage.interface.outputs.end(), [&](const Port& p) { return have.count(p.name) != 0; });
    if (!skipped)
      for (const Port& port : stage.interface.inputs)
        if (!have.count(port.name)) needed.insert(port.name);
    for (const Port& port : stage.interface.outputs) have.insert(port.name);
  }
  std::vector<std::string> out;
  for (const Port& port : interface_.inputs)
    if (needed.count(port.name)) out.push_back(port.name);
  return out;
}

}  // namespace mlt
