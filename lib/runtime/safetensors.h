// The safetensors format: u64 header size, a JSON header {name: {dtype, shape, data_offsets}}, the bytes (source: the
// format's public description). Internal to lib/runtime.
#pragma once
#include <map>
#include <string>

#include "lib/base/file.h"
#include "lib/tensor/tensor.h"

namespace mlt {

bool looks_like_safetensors(ByteSpan file);
Result<std::map<std::string, Tensor>> read_safetensors(const Blob& file);
// Strings have no form in it: kUnsupported.
Result<Bytes> write_safetensors(const std::map<std::string, Tensor>& tensors);

}  // namespace mlt
