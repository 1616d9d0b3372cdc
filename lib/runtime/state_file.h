// The states of a model in a file, to go on with a sequence later: .npz or .safetensors, an array for each state by its
// name, in the element type that the model declares.
#pragma once
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

namespace mlt {

// Types of all states, by name; empty for a model that keeps none.
std::map<std::string, ir::Type> state_types(Predictor& predictor);

// All states of the model from a file; floats of another width are rounded to the declared type. kInput naming the state
// that is missing, unknown, or of another shape or kind; kUsage when the model keeps none.
Result<StateTensors> read_states(const Blob& file, Predictor& predictor);

// format: kNpz or kSafetensors.
Status write_states(const StateTensors& states, Predictor& predictor, RecordFormat format, const RecordWriter::Sink& sink);

}  // namespace mlt
