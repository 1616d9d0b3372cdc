// The parts of mlconvert that start from a Core ML model, and what writes its results.
#pragma once
#include <optional>
#include <string>

#include "lib/cli/keys.h"
#include "lib/cli/seal.h"
#include "lib/container/open.h"
#include "lib/convert/convert.h"

namespace mlt {

struct Target {
  std::string source, to, output;   // to: mlpackage, mlmodel, mil, onnx
  std::optional<std::string> precision;
  std::optional<std::string> function;
  int64_t opset = 17;
  cli::SealOptions seal;  // sealed output is one stream: a package travels as a zip
};

// MIL text of a program.
Status write_text(const Target& target, const ir::Program& program, int spec_version);
// A package of a conversion: a directory, or a zip on stdout.
Status write_package(const foreign::Conversion& conversion, const foreign::Request& request, const Target& target);
// A Core ML model in another form; MIL text must have been completed.
Status convert_model(OpenedModel& opened, foreign::Request& request, const Target& target);

}  // namespace mlt
