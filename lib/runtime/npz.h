// NumPy's .npz: a zip of .npy files, one for each array. Internal to lib/runtime.
#pragma once
#include <map>
#include <string>

#include "lib/container/zip.h"
#include "lib/tensor/npy.h"

namespace mlt {

Result<std::map<std::string, Tensor>> read_npz(const Blob& file);
// The same, but large arrays of float32 and float64 that a tensor would be a copy of, since they are not aligned in the file, go
// to `raw` instead.
Result<std::map<std::string, Tensor>> read_npz(const Blob& file, std::map<std::string, RawArray>& raw);
Status write_npz(const std::map<std::string, Tensor>& arrays, const ByteSink& sink);

}  // namespace mlt
