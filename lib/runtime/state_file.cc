#include "lib/runtime/state_file.h"

#include "lib/runtime/npz.h"
#include "lib/runtime/safetensors.h"

namespace mlt {
namespace {

Error keeps_none() { return usage_error("the model keeps no state between predictions", "--state-in and --state-out are for models with states"); }

bool same_class(DType a, DType b) {
  return a == b || (is_float(a) && is_float(b)) || (is_integer(a) && is_integer(b));
}

}  // namespace

std::map<std::string, ir::Type> state_types(Predictor& predictor) {
  std::map<std::string, ir::Type> all;
  for (Executor* executor : predictor.executors()) all.merge(executor->state_types());
  return all;
}

Result<StateTensors> read_states(const Blob& file, Predictor& predictor) {
  auto types = state_types(predictor);
  if (types.empty()) return keeps_none();
  std::map<std::string, Tensor> arrays;
  if (looks_like_safetensors(file.bytes())) {
    MLT_ASSIGN(arrays, read_safetensors(file));
  } else {
    MLT_ASSIGN(arrays, read_npz(file));
  }
  for (const auto& [name, tensor] : arrays) {
    if (types.contains(name)) continue;
    std::string names;
    for (const auto& [known, type] : types) names += (names.empty() ? "" : ", ") + known;
    return input_error("the model has no state \"" + name + "\"", "its states are: " + names);
  }
  MLT_ASSIGN(StateTensors states, predictor.initial_state());
  for (const auto& [name, type] : types) {
    auto it = arrays.find(name);
    std::string place = "state \"" + name + "\": ";
    if (it == arrays.end()) return input_error(place + "missing from the file");
    if (it->second.dims() != type.dims) return input_error(place + "expected " + dims_text(type.dims) + ", got " + dims_text(it->second.dims()));
    if (!same_class(it->second.dtype(), type.dtype))
      return input_error(place + "expected " + std::string(dtype_name(type.dtype)) + ", got " + std::string(dtype_name(it->second.dtype())));
    states[name] = to_compute(convert(it->second, type.dtype)).clone();
  }
  return states;
}

Status write_states(const StateTensors& states, Predictor& predictor, RecordFormat format, const RecordWriter::Sink& sink) {
  auto types = state_types(predictor);
  if (types.empty()) return keeps_none();
  std::map<std::string, Tensor> arrays;
  for (const auto& [name, type] : types) {
    auto it = states.find(name);
    if (it == states.end()) return input_error("state \"" + name + "\" is missing");
    arrays[name] = convert(it->second, type.dtype);
  }
  if (format == RecordFormat::kNpz) return write_npz(arrays, sink);
  if (format != RecordFormat::kSafetensors) return usage_error("states are written as .npz or .safetensors");
  MLT_ASSIGN(Bytes file, write_safetensors(arrays));
  return sink(file);
}

}  // namespace mlt
