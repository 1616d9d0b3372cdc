// What a model is made of, as JSON for callers of other languages.
#pragma once
#include <string>

#include "lib/container/open.h"

namespace mlt {

// {"program": {"functions": {NAME: {"inputs": [NAME...], "block": BLOCK}}}} with
// BLOCK {"inputs": [NAME...], "operations": [{"operator", "inputs": {PARAM: [NAME or null...]}, "outputs": [NAME...], "blocks": [BLOCK...]}],
// "outputs": [NAME...]}; null stands for a value written in place. kUnsupported for models that have no ML program.
Result<std::string> program_structure_json(const OpenedModel& model);

}  // namespace mlt
