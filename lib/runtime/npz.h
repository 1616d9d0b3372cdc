// NumPy's .npz: a zip of .npy files, one for each array. Internal to lib/runtime.
#pragma once
#include <map>
#include <string>

#include "lib/container/zip.h"
#include "lib/tensor/tensor.h"

namespace mlt {

Result<std::map<std::string, Tensor>> read_npz(const Blob& file);
Status write_npz(const std::map<std::string, Tensor>& arrays, const ByteSink& sink);

}  // namespace mlt
