// mlconvert's options: what they are, and the conversion they ask for.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/app.h"
#include "lib/cli/keys.h"
#include "lib/cli/seal.h"
#include "lib/convert/convert.h"
#include "lib/coreml/model.h"

namespace mlt {

// What was asked for on the command line.
struct ConvertOptions {
  std::string source, from, to, io_precision = "float32", stop_after;
  std::optional<std::string> output, precision, target, passes, labels, probabilities, function, feature_names;
  std::optional<int> opset;
  std::vector<std::string> inputs, outputs, metadata, states, keep_float32;
  bool check = false, list_ops = false;
  cli::KeyOptions keys;
  cli::SealOptions to_seal;  // whom the output is sealed for
};

void add_options(cli::App& app, ConvertOptions& o);
Result<foreign::Request> make_request(const ConvertOptions& o);
// Nothing is accepted and ignored: kUsage when an option means nothing for a Core ML model of this kind.
Status options_for_model(const ConvertOptions& o, coreml::ModelKind kind);
// What is there already may be replaced when it is a package.
Status check_package(const std::string& path);
// Sets what KEY=VALUE pairs say; an empty value removes.
Status edit_metadata(const std::vector<std::string>& pairs, coreml::Metadata* metadata);

}  // namespace mlt
