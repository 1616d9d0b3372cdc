// A class for Python over coremltools: on a Mac it runs there, elsewhere with the adapter that serves coremltools'
// predictions from libmltools.
#include <fmt/core.h>

#include "lib/codegen/interface.h"

namespace mlt::codegen {
namespace {

using coreml::FeatureKind;

std::string type_name(const Feature& f) {
  bool ints = f.type.element == FeatureKind::kInt64;
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "int";
    case FeatureKind::kDouble: return "float";
    case FeatureKind::kString: return "str";
    case FeatureKind::kImage: return "PIL.Image.Image";
    case FeatureKind::kDictionary: return ints ? "dict[int, float]" : "dict[str, float]";
    case FeatureKind::kSequence: return ints ? "list[int]" : "list[str]";
    default: return "numpy.ndarray";
  }
}

std::string fields(const std::vector<Feature>& features) {
  std::string out;
  // A dataclass wants fields without a default first.
  for (bool optional : {false, true})
    for (const Feature& f : features)
      if (f.type.optional == optional) out += "    " + f.id + ": " + type_name(f) + (optional ? " | None = None" : "") + "  # " + f.about + "\n";
  return out;
}

std::string names(const std::vector<Feature>& features) {
  return "{" + join(features, ", ", [](const Feature& f) { return quoted(f.id) + ": " + quoted(f.name); }) + "}";
}

std::string labels(const Interface& m) {
  if (m.labels.empty()) return "";
  std::string list;
  for (size_t i = 0; i < m.labels.size(); ++i)
    list += fmt::format("{}{}", i == 0 ? "" : i % 8 == 0 ? ",\n        " : ", ", m.integer_labels ? m.labels[i] : quoted(m.labels[i]));
  return "    # In the order of the model's scores.\n    CLASS_LABELS = (\n        " + list + ",\n    )\n\n";
}

constexpr char kText[] = R"("""$FILE$: made from a Core ML model by mlcompile; changes are lost when it is made again."""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

try:
    import mltools_coremltools  # noqa: F401  (predictions without a Mac)
except ImportError:
    pass
import coremltools as ct
$IMPORTS$

@dataclass
class $CLASS$Input:
    """What a prediction of $CLASS$ takes."""

$INPUTS$

@dataclass
class $CLASS$Output:
    """What a prediction of $CLASS$ gives."""

$OUTPUTS$

class $CLASS$:
    """$ABOUT$"""

$LABELS$    _INPUTS = $INPUTNAMES$
    _OUTPUTS = $OUTPUTNAMES$

    def __init__(self, path, **options):
        """path: a model, a package or a compiled model. options: those of coremltools' MLModel."""
        path = os.fspath(path)
        compiled = path.rstrip("/").endswith(".mlmodelc")
        self.model = (ct.models.CompiledMLModel if compiled else ct.models.MLModel)(path, **options)

    @staticmethod
    def _input(input, fields):
        if input is None:
            return $CLASS$Input(**fields)
        if fields:
            raise TypeError("give an input or its fields, not both")
        return input

    @classmethod
    def _features(cls, input):
        values = {name: getattr(input, field) for field, name in cls._INPUTS.items()}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def _output(cls, values):
        return $CLASS$Output(**{field: values[name] for field, name in cls._OUTPUTS.items()})

$PREDICTIONS$)";

constexpr char kPredictions[] = R"(    def prediction(self, input=None, /, **inputs):
        """input: a $CLASS$Input; or its fields as keywords."""
        return self._output(self.model.predict(self._features(self._input(input, inputs))))

    def predictions(self, inputs):
        """One $CLASS$Output for each $CLASS$Input."""
        return [self._output(values) for values in self.model.predict([self._features(input) for input in inputs])]
)";

constexpr char kStatePredictions[] = R"(    def make_state(self):
        """Keeps, between predictions, $STATES$."""
        return self.model.make_state()

    def prediction(self, input=None, /, state=None, **inputs):
        """input: a $CLASS$Input; or its fields as keywords. state: of make_state()."""
        if state is None:
            raise TypeError("a state is missing; make_state makes one")
        return self._output(self.model.predict(self._features(self._input(input, inputs)), state))
)";

}  // namespace

std::string python_text(const Interface& m) {
  std::string about = m.about.empty() ? "Loads the model and predicts." : m.about;
  if (about.ends_with('"')) about += ' ';
  if (!m.functions.empty()) about += "\n\n    Its functions are " + join(m.functions, ", ", one_line) + "; inputs and outputs are the default one's.\n    ";
  std::string predictions = m.states.empty()
                                ? fill(kPredictions, {{"CLASS", m.class_name}})
                                : fill(kStatePredictions, {{"CLASS", m.class_name}, {"STATES", join(m.states, ", ", [](const Feature& f) { return f.about; })}});
  // Named in annotations alone.
  std::string imports;
  for (const char* module : {"numpy", "PIL.Image"})
    for (const auto* list : {&m.inputs, &m.outputs})
      if (imports.find(module) == std::string::npos && fields(*list).find(std::string(module) + (module[0] == 'n' ? "." : "")) != std::string::npos) imports += fmt::format("{}    import {}\n", imports.empty() ? "\nif TYPE_CHECKING:\n" : "", module);
  return fill(kText, {{"IMPORTS", imports}, {"FILE", one_line(m.file)},
                      {"CLASS", m.class_name},
                      {"INPUTS", fields(m.inputs)},
                      {"OUTPUTS", fields(m.outputs)},
                      {"ABOUT", about},
                      {"LABELS", labels(m)},
                      {"INPUTNAMES", names(m.inputs)},
                      {"OUTPUTNAMES", names(m.outputs)},
                      {"PREDICTIONS", predictions}});
}

}  // namespace mlt::codegen
