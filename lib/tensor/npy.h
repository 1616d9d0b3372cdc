// NumPy's .npy format, versions 1-3 (source: numpy.lib.format). Little-endian and native types; Fortran order is read.
#pragma once
#include <optional>

#include "lib/base/bytes.h"
#include "lib/tensor/tensor.h"

namespace mlt {

// Numeric types, bool, and fixed-width unicode strings (<U..., read as strings).
Result<Tensor> read_npy(const Blob& file);

// Where the numbers of an array in a file are, for those who read them there: they need not be aligned.
struct RawArray {
  DType dtype = DType::kF32;
  Dims dims;
  Blob bytes;  // row after row
};
// nullopt where they are in another order, or strings.
Result<std::optional<RawArray>> find_npy(const Blob& file);
// bf16, fp8 and sub-byte types have no NumPy name: they are written as float32, int8 or uint8.
Result<Bytes> write_npy(const Tensor& tensor);

}  // namespace mlt
