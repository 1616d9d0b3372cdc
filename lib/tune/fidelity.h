// Does a compressed model still answer as the original does?
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/compress/report.h"
#include "lib/estimators/feature.h"
#include "lib/runtime/predictor.h"

namespace mlt::tune {

struct OutputFidelity {
  std::string name;
  bool label = false;
  int64_t values = 0;            // numbers, or labels
  double max_abs = 0;
  double relative = 0;           // root of: sum of squared differences over sum of squares of the original
  std::optional<double> psnr;    // dB, of the largest magnitude; nothing when equal
  int64_t same = 0;              // labels that agree; of an array of scores: records whose largest is at the same place
  int64_t compared = 0;          // ... of so many
};

struct LayerFidelity {
  std::string name, kind;
  double relative = 0;
  std::optional<double> psnr;
};

struct Fidelity {
  int64_t records = 0;
  std::vector<OutputFidelity> outputs;
  std::vector<LayerFidelity> worst;  // what ops compute, the worst first
  // With expected labels in the data: how many each model gets right.
  std::optional<int64_t> right_before, right_after;
  // Share of answers that are lost: of right labels when the data says which are right, else of labels that agree; for
  // models without labels the largest relative error of an output.
  double drop = 0;
  std::string drop_of;  // "accuracy", "label agreement", "relative error"
  double error = 0;     // the largest relative error of an output that is no label
};

class Reference {
 public:
  // Runs the original on the records. A record may hold the expected label under the name of the predicted feature.
  static Result<Reference> create(const OpenedModel& original, std::vector<FeatureMap> records);
  // limit: compare on so many records only; 0: all.
  Result<Fidelity> compare(const OpenedModel& candidate, size_t limit = 0) const;
  // The ops whose results differ most, over the first records.
  Result<std::vector<LayerFidelity>> worst_layers(const OpenedModel& original, const OpenedModel& candidate, size_t count) const;
  const std::vector<FeatureMap>& records() const { return records_; }

 private:
  std::vector<FeatureMap> records_, answers_;
  std::vector<std::optional<FeatureValue>> expected_;
  std::string label_;
};

// Members for a report: {"records": ..., "drop": ..., "outputs": [...], "worst_layers": [...]}.
std::string to_json(const Fidelity& fidelity);
// Lines for people.
std::vector<std::string> to_text(const Fidelity& fidelity);
// "accuracy drops by 2%", "relative error is 2%"
std::string drop_text(const Fidelity& fidelity);

}  // namespace mlt::tune
