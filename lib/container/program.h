// The ML program of an opened model, wherever it is: in the message, in a compiled model's model.mil, or as MIL text.
#pragma once
#include <memory>
#include <vector>

#include "lib/base/result.h"
#include "lib/container/open.h"
#include "lib/ir/graph.h"

namespace mlt {

// kUsage when the model has no ML program (see OpenedModel::model.kind()). Constants are windows on the mapped weights;
// those of a missing weight file have an invalid tensor.
Result<std::unique_ptr<ir::Program>> load_program(const OpenedModel& opened);
// One entry for a model, one per stage for a pipeline; null where there is no ML program.
Result<std::vector<std::unique_ptr<ir::Program>>> load_programs(const OpenedModel& opened);

// A model around a program that comes without one (MIL text): interface from the default function ("main", or else the
// first), shapes and their flexibility from its types and its FlexibleShapeInformation, specification version from its
// opset and `text_version` ("1.3" means 9 or later). Inputs and outputs that no feature can hold are listed in the
// error (kUnsupported).
Result<coreml::Model> model_of_program(const ir::Program& program, std::string_view text_version);
// The version in the header of MIL text: "1.3"; empty when there is none.
std::string_view mil_text_version(std::string_view text);
// Gives `opened` of kind kMilText the model that its text describes; other kinds are left alone.
Status complete_mil_text(OpenedModel& opened);

// Blob files that the program's constants name, each once, sorted: "@model_path/weights/weight.bin".
std::vector<std::string> weight_files(const ir::Program& program);

}  // namespace mlt
