// Models in a row: each stage reads features by name from what the caller gave and earlier stages produced, and adds
// its own outputs.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct PipelineStage {
  std::string name;
  Interface interface;
  std::unique_ptr<Estimator> model;  // null: cannot run here; `missing` says why
  std::optional<Error> missing;
};

class Pipeline : public Estimator {
 public:
  Pipeline(Interface interface, std::vector<PipelineStage> stages) : interface_(std::move(interface)), stages_(std::move(stages)) {}
  // A stage that cannot run here is skipped when the caller supplies all its outputs among the inputs; otherwise its
  // error (kUnsupported) is returned.
  Result<FeatureMap> predict(const FeatureMap& inputs) const override;
  std::vector<std::string> missing_features() const override;
  // Names of the pipeline's inputs that some stage still reads when `supplied` features are given.
  std::vector<std::string> needed_inputs(const std::vector<std::string>& supplied) const;
  const std::vector<PipelineStage>& stages() const { return stages_; }

 private:
  Interface interface_;
  std::vector<PipelineStage> stages_;
};

}  // namespace mlt
