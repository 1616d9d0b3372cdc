// Estimators from models: everything that is neither an ML program nor a neural network. Messages become the plain
// structs of lib/estimators.
#pragma once
#include <functional>
#include <memory>

#include "lib/coreml/model.h"
#include "lib/estimators/estimator.h"

namespace mlt::coreml {

// Makes the stages of a pipeline that are not classic models: neural networks, ML programs and linked models (the runtime
// does).
using StageFactory = std::function<Result<std::unique_ptr<Estimator>>(const Model& stage)>;

// True for the kinds that make_estimator builds by itself; pipelines included (their stages may need the factory).
bool is_classic(ModelKind kind);

// kUnsupported for models whose weights are part of Apple's systems (or of an app: custom models): the message says
// what is missing. Inside a pipeline such a stage is kept: prediction skips it when the caller supplies its outputs.
// kInput when the model is damaged. Pipelines nest at most 16 deep.
Result<std::unique_ptr<Estimator>> make_estimator(const Model& model, const StageFactory& other_kinds = {});

// Where a linked model says its model is (source: LinkedModel.proto): a file name, and directories to look in, "." being
// the model's own. kInput when the name leaves its directory; the directories are as the model has them.
struct LinkedFile {
  std::string name;
  std::vector<std::string> directories;
};
Result<LinkedFile> linked_file(const Model& model);

// A description as estimators read it.
Port to_port(const FeatureDescription& feature);
Interface to_interface(const Description& description);

// Why a model of this kind cannot run here: what is missing and which features can be supplied instead.
Error missing_stage_error(const Model& model);

}  // namespace mlt::coreml
