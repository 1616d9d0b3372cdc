// Foreign model -> IR program. A frontend recognises its files by content and lowers them with the options below; the
// table of frontends is in frontends.cc.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/coreml/description.h"
#include "lib/ir/graph.h"
#include "lib/ops/op_def.h"

namespace mlt::foreign {

// One axis of an input as the user or the source states it.
struct Extent {
  int64_t lower = 1, upper = 1;         // equal: fixed
  std::vector<int64_t> choices;         // enumerated: one of these
  bool fixed() const { return choices.empty() && lower == upper; }
};

// How one input of the source becomes a feature (--input).
struct InputOption {
  std::string name;                          // in the source
  std::optional<std::vector<Extent>> shape;  // of the source's layout
  bool image = false;
  coreml::ColorSpace color = coreml::ColorSpace::kRgb;
  float scale = 1;
  std::vector<float> bias;                   // one, or one per channel
  std::optional<DType> dtype;                // of the feature: fp32, fp16, int32
  std::optional<std::vector<double>> value;  // bind the input to a constant
};

struct Options {
  ops::Opset opset = ops::Opset::kCoreML5;
  std::vector<InputOption> inputs;
  bool float16_outputs = false;
  // The target was asked for: what a newer one would say better is spelled out for this one.
  bool fixed_target = false;
};

// A source op that cannot be expressed, with every node concerned.
struct Unsupported {
  std::string op;      // "Einsum", "ai.onnx.ml.SVMClassifier"
  std::string reason;
  std::vector<std::string> nodes;
  bool newer_opset = false;  // a newer target might do
};

// Class labels of an output that holds their probabilities.
struct Labels {
  std::vector<std::string> strings;  // or, when empty, integers
  std::vector<int64_t> ints;
  std::string probabilities;         // output that holds the probabilities; empty: the only float output, or the last
  std::string label_name = {}, dictionary_name = {};  // of the outputs made; empty: classLabel, classLabel_probs
};

struct Source {
  std::string format;    // "onnx"
  std::string producer;  // may be empty
  std::string description;
  std::vector<std::pair<std::string, std::string>> metadata;  // for user-defined metadata
};

// What a conversion yields: a program with one function "main", whose inputs and outputs are the features.
struct Converted {
  std::unique_ptr<ir::Program> program;
  std::vector<coreml::FeatureDescription> inputs, outputs, states;
  std::vector<Unsupported> unsupported;  // when not empty, the program is not usable
  std::vector<std::string> warnings;
  std::optional<Labels> labels;  // the source's own
  std::string keep_float32;  // not empty: why the program must not be turned to float16
  Source source;
};

struct Frontend {
  std::string_view name;  // "onnx"
  // True when the bytes look like this format.
  bool (*detect)(ByteSpan bytes);
  // path: where the bytes come from ("" or "-" when from a pipe), for files beside it.
  Result<Converted> (*convert)(const Blob& bytes, const std::string& path, const Options& options);
};

const std::vector<Frontend>& frontends();
// By name, or by content when name is empty; kUsage or kInput when there is none.
Result<const Frontend*> find_frontend(const std::string& name, ByteSpan bytes);

// A source operator and how it is covered, for --list-ops.
struct Coverage {
  std::string frontend, op;
  std::string note;  // what is not covered, empty when all is
};
std::vector<Coverage> coverage();

// Text of the list, one problem a line: "Einsum: 2 nodes (a, b): reason".
std::string describe(const std::vector<Unsupported>& unsupported);

}  // namespace mlt::foreign
