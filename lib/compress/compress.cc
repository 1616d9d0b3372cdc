#include "lib/compress/compress.h"

#include <fmt/core.h>

#include "lib/compress/parts.h"
#include "lib/coreml/mil_write.h"

namespace mlt::compress {
namespace {

bool nests_program(const coreml::Model& model) {
  for (size_t i = 0; i < model.child_count(); ++i) {
    coreml::Model child = model.child(i);
    if (child.kind() == coreml::ModelKind::kMlProgram || nests_program(child)) return true;
  }
  return false;
}

Status one_program(coreml::Model& model, ir::Program& program, const Config& config, coreml::WeightSink* sink, const std::string& stage, Report* report) {
  if (sink == nullptr) return usage_error("an ML program needs a weight file");
  int spec_version = model.spec_version();
  MLT_TRY(compress_program(program, config, *sink, &spec_version, stage, report));
  if (spec_version > model.spec_version()) model.set_spec_version(spec_version);
  return coreml::store_program(model, program, sink, {.keep_file_references = true});
}

}  // namespace

std::string joined(const std::vector<std::string>& reasons, const char* separator) {
  std::string text;
  for (const std::string& reason : reasons) text += (text.empty() ? "" : separator) + reason;
  return text;
}

Result<Report> compress(coreml::Model& model, std::span<const std::unique_ptr<ir::Program>> programs, const Config& config, coreml::WeightSink* sink) {
  Report report;
  report.method = describe(config);
  bool any = false;
  if (model.kind() == coreml::ModelKind::kMlProgram) {
    if (programs.size() != 1 || programs[0] == nullptr) return input_error("the model has no program");
    MLT_TRY(one_program(model, *programs[0], config, sink, "", &report));
    any = true;
  } else {
    int newest = model.spec_version();
    for (size_t i = 0; i < model.child_count(); ++i) {
      coreml::Model child = model.child(i);
      std::string stage = fmt::format("stage {}", i);
      if (nests_program(child)) return unsupported_error("ML programs in a pipeline within a pipeline").in_path(stage);
      if (child.kind() != coreml::ModelKind::kMlProgram) continue;
      if (i >= programs.size() || programs[i] == nullptr) return input_error("the stage has no program").in_path(stage);
      MLT_TRY(one_program(child, *programs[i], config, sink, stage, &report).in(stage));
      newest = std::max(newest, child.spec_version());
      any = true;
    }
    if (config.target && !any) return usage_error("only ML programs have an opset that --target could raise");
    if (newest > model.spec_version()) model.set_spec_version(newest);
    size_t before = report.weights.size();
    MLT_TRY(compress_networks(model, config, &report));
    any = any || report.weights.size() > before || coreml::is_neural_network(model.kind());
  }
  if (!any) return unsupported_error(fmt::format("a model of type {} has no weights that could be compressed", model.kind_name()), "ML programs and neural networks have");
  return report;
}

}  // namespace mlt::compress
