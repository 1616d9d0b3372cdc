// Compiled models (.mlmodelc). File formats: reference mlmodelc.md (observed; Apple publishes none of them).
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/container/file_tree.h"
#include "lib/coreml/model.h"

namespace mlt {

// coremldata.bin, main file.
struct CoremlData {
  uint32_t model_type = 0;                   // number of the Model.Type member
  std::array<uint32_t, 3> format_version{};  // 9.0.0 for ML programs of specification 9
  std::array<uint32_t, 3> second_version{};
  std::string backend;  // "generic", "spec", or "generic.model0v..." for pipelines
  int32_t spec_version = 0;
  Blob description;  // ModelDescription message; "generic" back ends
  Blob spec;         // whole Model message; "spec" back end

  // Tails of "generic", as far as the model type has them.
  std::vector<uint64_t> program_tail;  // 502: pairs (502, 0), one per function
  std::vector<std::string> outputs;    // 500, 403
  bool has_labels = false, integer_labels = false;  // 403
  std::vector<std::string> labels;
  std::vector<int64_t> int_labels;
  std::string probabilities_name;
  uint64_t child_count = 0;  // 200, 201, 202
  Blob rest;                 // what the known tails leave over, or the whole tail of an unknown type
};
Result<CoremlData> parse_coremldata(const Blob& bytes);
Bytes write_coremldata(const CoremlData& data);

// analytics/coremldata.bin: sections of key-value pairs.
struct AnalyticsSection {
  std::string name;
  std::vector<std::pair<std::string, std::string>> pairs;
};
Result<std::vector<AnalyticsSection>> parse_analytics(const Blob& bytes);
Bytes write_analytics(const std::vector<AnalyticsSection>& sections);

// neural networks: model/coremldata.bin, image preprocessing per input.
struct CompiledPreprocessing {
  std::map<std::string, float> is_image, is_bgr, is_grayscale, blue_bias, green_bias, red_bias, gray_bias, channel_scale;
};
Result<CompiledPreprocessing> parse_compiled_preprocessing(const Blob& bytes);
Bytes write_compiled_preprocessing(const CompiledPreprocessing& maps);

// updatable networks: updateParameters/coremldata.bin, the layers that are trained with their outputs.
Result<std::vector<std::pair<std::string, std::string>>> parse_updatable_layers(const Blob& bytes);
Bytes write_updatable_layers(const std::vector<std::pair<std::string, std::string>>& layers);

// modelNames/coremldata.bin of pipelines.
Result<std::vector<std::string>> parse_model_names(const Blob& bytes);
Bytes write_model_names(const std::vector<std::string>& names);

struct CompiledModel {
  FileTree tree;
  std::optional<CoremlData> data;     // absent when coremldata.bin is
  std::optional<Blob> metadata_json;  // as it is
  std::optional<Blob> mil_text;       // model.mil
  std::optional<Blob> espresso_net, espresso_shape;
  std::vector<AnalyticsSection> analytics;
  // Description and type, from coremldata.bin or else metadata.json; the whole model for the "spec" back end; networks
  // with the layers of espresso_net. Programs have no body here: see mil_text.
  coreml::Model model;
  // Why espresso_net could not be read (model then has no layers): a layer that is not known, missing weights.
  std::optional<Error> network_error;
  std::vector<CompiledModel> children;  // model0/, model1/ ...
  std::vector<std::string> child_names;
};
// A tree with one of the files that only a compiled model has.
bool detect_compiled(const FileTree& tree);
// The first network_error of a model and its stages, with the stage as its place; null: all networks were read.
const Error* first_network_error(const CompiledModel& compiled);
// In a compiled network whose layers the compiled form cannot say: its source, whole. An own addition: Core ML ignores it.
inline constexpr const char* kKeptSource = "source.mlmodel";
// kInput when nothing in the tree says what the model is, or a file that is there is damaged.
Result<CompiledModel> open_compiled(const FileTree& tree);

}  // namespace mlt
