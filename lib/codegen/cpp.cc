// A class for C++17 over libmltools: structs of inputs and outputs, and a model that knows their names.
#include <fmt/core.h>

#include "lib/codegen/interface.h"

namespace mlt::codegen {
namespace {

using coreml::ArrayDataType;
using coreml::FeatureKind;

std::string element(const coreml::ArrayType& type) {
  switch (type.data_type) {
    case ArrayDataType::kInt8: return "std::int8_t";
    case ArrayDataType::kInt32: return "std::int32_t";
    case ArrayDataType::kDouble: case ArrayDataType::kInvalid: return "double";
    default: return "float";  // float16 too: C++17 has none
  }
}

std::string type_name(const Feature& f) {
  bool ints = f.type.element == FeatureKind::kInt64;
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "std::int64_t";
    case FeatureKind::kDouble: return "double";
    case FeatureKind::kString: return "std::string";
    case FeatureKind::kImage: return f.type.image.color_space == coreml::ColorSpace::kGrayscaleFloat16 ? "mltools::FloatImage" : "mltools::Image";
    case FeatureKind::kDictionary: return ints ? "std::map<std::int64_t, double>" : "std::map<std::string, double>";
    case FeatureKind::kSequence: return ints ? "std::vector<std::int64_t>" : "std::vector<std::string>";
    default: return "mltools::Array<" + element(f.type.array) + ">";
  }
}

std::string getter(const Feature& f) {
  bool ints = f.type.element == FeatureKind::kInt64;
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "int64";
    case FeatureKind::kDouble: return "number";
    case FeatureKind::kString: return "text";
    case FeatureKind::kImage: return f.type.image.color_space == coreml::ColorSpace::kGrayscaleFloat16 ? "float_image" : "image";
    case FeatureKind::kDictionary: return ints ? "by_int64" : "by_text";
    case FeatureKind::kSequence: return ints ? "int64s" : "texts";
    default: return "array<" + element(f.type.array) + ">";
  }
}

std::string field(const Feature& f) {
  bool number = f.type.kind == FeatureKind::kInt64 || f.type.kind == FeatureKind::kDouble;
  std::string type = f.type.optional ? "std::optional<" + type_name(f) + ">" : type_name(f);
  return "  // " + f.about + "\n  " + type + " " + f.id + (number && !f.type.optional ? " = 0" : "") + ";\n";
}

std::string fields(const std::vector<Feature>& features) {
  return join(features, "", field);
}

std::string labels(const Interface& m) {
  if (m.labels.empty()) return "";
  std::string type = m.integer_labels ? "std::int64_t" : "std::string";
  std::string list;
  for (size_t i = 0; i < m.labels.size(); ++i)
    list += fmt::format("{}{}", i == 0 ? "" : i % 8 == 0 ? ",\n        " : ", ", m.integer_labels ? "INT64_C(" + m.labels[i] + ")" : quoted(m.labels[i]));
  return fill(
      "\n  // In the order of the model's scores.\n  static const std::vector<$TYPE$> &class_labels() {\n"
      "    static const std::vector<$TYPE$> labels = {\n        $LIST$};\n    return labels;\n  }\n",
      {{"TYPE", type}, {"LIST", list}});
}

constexpr char kText[] = R"(// $FILE$.hpp: made from a Core ML model by mlcompile; changes are lost when it is made again.
#pragma once
#include <mltools.hpp>

#include <optional>

// What a prediction of $CLASS$ takes.
struct $CLASS$Input {
$INPUTS$};

// What a prediction of $CLASS$ gives.
struct $CLASS$Output {
$OUTPUTS$};

// $ABOUT$
class $CLASS$ {
 public:
  // path: the model, in any form that mltools opens. Failures are mltools::Error, here and below.
  explicit $CLASS$(const std::string &path, const mlt_open_options *options = nullptr) : model_(path, options) {}

  const mltools::Model &mltools_model() const { return model_; }
$PREDICTIONS$$LABELS$
 private:
  static mltools::Features to_features(const $CLASS$Input &input) {
    mltools::Features out;
$SET$    return out;
  }
  static $CLASS$Output to_output(const mltools::Features &values) {
    $CLASS$Output out;
$GET$    return out;
  }

  mltools::Model model_;
};
)";

constexpr char kPredictions[] = R"(
  $CLASS$Output prediction(const $CLASS$Input &input) const { return to_output(model_.predict(to_features(input))); }
$CONVENIENCE$
  std::vector<$CLASS$Output> predictions(const std::vector<$CLASS$Input> &inputs) const {
    std::vector<$CLASS$Output> out;
    for (const $CLASS$Input &input : inputs) out.push_back(prediction(input));
    return out;
  }
)";

constexpr char kStatePredictions[] = R"(
  // Keeps, between predictions, $STATES$.
  mltools::State make_state() const { return model_.new_state(); }

  $CLASS$Output prediction(const $CLASS$Input &input, const mltools::State &state) const {
    return to_output(model_.predict(to_features(input), &state));
  }
)";

}  // namespace

std::string cpp_text(const Interface& m) {
  std::string set, get, convenience;
  for (const Feature& f : m.inputs) {
    std::string name = quoted(f.name);
    set += f.type.optional ? "    if (input." + f.id + ") out.set(" + name + ", *input." + f.id + ");\n" : "    out.set(" + name + ", input." + f.id + ");\n";
  }
  for (const Feature& f : m.outputs) get += "    out." + f.id + " = values." + getter(f) + "(" + quoted(f.name) + ");\n";
  bool optionals = false;
  for (const Feature& f : m.inputs) optionals |= f.type.optional;
  if (!m.inputs.empty() && !optionals)
    convenience = fill("  $CLASS$Output prediction($PARAMETERS$) const { return prediction($CLASS$Input{$PASS$}); }\n",
                       {{"CLASS", m.class_name},
                        {"PARAMETERS", join(m.inputs, ", ", [](const Feature& f) { return type_name(f) + " " + f.id; })},
                        {"PASS", join(m.inputs, ", ", [](const Feature& f) { return "std::move(" + f.id + ")"; })}});
  std::string about = m.about.empty() ? "Loads the model and predicts." : m.about;
  if (!m.functions.empty()) about += "\n// Its functions are " + join(m.functions, ", ", one_line) + "; inputs and outputs are the default one's.";
  std::string predictions =
      m.states.empty() ? fill(kPredictions, {{"CLASS", m.class_name}, {"CONVENIENCE", convenience}})
                       : fill(kStatePredictions, {{"CLASS", m.class_name}, {"STATES", join(m.states, ", ", [](const Feature& f) { return f.about; })}});
  return fill(kText, {{"FILE", one_line(m.file)},
                      {"CLASS", m.class_name},
                      {"INPUTS", fields(m.inputs)},
                      {"OUTPUTS", fields(m.outputs)},
                      {"ABOUT", about},
                      {"PREDICTIONS", predictions},
                      {"LABELS", labels(m)},
                      {"SET", set},
                      {"GET", get}});
}

}  // namespace mlt::codegen
