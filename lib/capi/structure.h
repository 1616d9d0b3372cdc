// What a model is made of, as JSON for callers of other languages.
#pragma once
#include <string>

#include "lib/container/open.h"

namespace mlt {

// {"program": {"functions": {NAME: {"inputs": [NAME...], "block": BLOCK}}}} with
// BLOCK {"inputs": [NAME...], "operations": [{"operator", "inputs": {PARAM: [NAME or null...]}, "outputs": [NAME...], "blocks": [BLOCK...]}],
// "outputs": [NAME...]}; null stands for a value written in place, and operations that are no constants have a "cost" as well, the
// estimated part of the function's time. Of a neural network {"neuralNetwork": {"layers": [{"name", "type", "inputs", "outputs"}...]}},
// in the order in which they run. kUnsupported for other models.
Result<std::string> structure_json(const OpenedModel& model);

}  // namespace mlt
