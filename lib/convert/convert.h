// Source bytes -> Core ML program and model: choice of target, lowering, passes, classifier head, description. What
// cmd/mlconvert does, without files.
#pragma once
#include <functional>

#include "lib/convert/frontend.h"
#include "lib/coreml/model.h"
#include "lib/passes/pass.h"

namespace mlt::foreign {

struct Request {
  std::string from;                        // frontend's name; empty: by content
  std::optional<ops::Opset> target;        // nothing: the oldest that works
  bool float16 = true;                     // compute type
  std::vector<std::string> keep_float32;   // regular expressions: operations, by kind or name, that compute in float32 nevertheless
  bool float16_io = false;                 // inputs and outputs too (from iOS16)
  std::optional<std::vector<std::string>> passes;  // instead of the usual list
  std::string stop_after;                  // "lower", "passes", or a pass's name; empty: all
  std::vector<InputOption> inputs;
  std::vector<std::pair<std::string, std::string>> output_names;  // from, to; an empty `from` counts outputs in order
  std::vector<std::pair<std::string, std::string>> states;  // input, output: see states.h
  std::optional<Labels> labels;
  coreml::Metadata metadata;
  std::function<void(const passes::Pass&, size_t changes)> after_pass;
};

struct Conversion {
  Converted converted;
  ops::Opset opset = ops::Opset::kCoreML5;
  bool complete = true;  // false: stopped early
};

// kUnsupported, with every reason in the message, when something of the source cannot be expressed and `check` is null;
// with `check`, those are put there instead.
Result<Conversion> convert_source(const Blob& bytes, const std::string& path, const Request& request, std::vector<Unsupported>* check = nullptr);

// What follows lowering: interface types, passes, names, labels. For programs that come from elsewhere.
Status finish_conversion(Conversion& conversion, const Request& request);

// Description and specification version of the model; the program is stored by coreml::store_program.
Result<coreml::Model> make_model(const Conversion& conversion, const Request& request);

// Whether coreml::store_program will put anything into a weight file.
bool has_file_weights(const ir::Program& program, int spec_version);

// "iOS17", "macOS14", "CoreML7" or a specification version.
Result<ops::Opset> target_from_text(const std::string& text);
int spec_version(ops::Opset opset);

// --input: "name,shape=1x3x224x224,type=image,color=RGB,scale=0.0039,bias=-1,-1,-1,value=...,dtype=float16".
// shape: extents separated by x, each a number, a range 1..512 or a choice {1,8,16}.
Result<InputOption> parse_input_option(const std::string& text);

}  // namespace mlt::foreign
