// Large constants whose elements are made when they are used. Converting a model turns gigabytes of weights from one form
// into another; a recipe instead of a result lets them go from file to file in pieces, none of them staying in memory.
#pragma once
#include <memory>
#include <optional>

#include "lib/tensor/tensor.h"

namespace mlt {

class Deferred {
 public:
  virtual ~Deferred() = default;
  // Elements [begin, end) in row-major order. Any number of threads; the same elements every time.
  virtual void produce(int64_t begin, int64_t end, std::byte* out) const = 0;
  // Elements in pieces that cost least: pieces begin at multiples of it.
  virtual int64_t piece() const { return int64_t{1} << 14; }
  // The elements in memory or in a mapped file, perhaps not aligned; null when they have to be computed.
  virtual const std::byte* stored() const { return nullptr; }
  // A tensor of the same elements in perhaps another order, which is cheaper to look at.
  virtual std::optional<Tensor> shuffled() const { return std::nullopt; }
  // What it was converted from, when the conversion lost nothing.
  virtual std::optional<Tensor> exact_source() const { return std::nullopt; }
  // Nobody will look soon: pages of mapped files may leave memory.
  virtual void release() const {}
};

// Elements [begin, end) of a tensor of whole-byte elements, deferred or not.
void read_elements(const Tensor& t, int64_t begin, int64_t end, std::byte* out);
// Where the elements lie, perhaps not aligned; null when they have to be computed.
const std::byte* stored_elements(const Tensor& t);
// Whether the tensor's elements come from a file and are worth leaving there: large, and deferred or mapped.
bool waits_in_file(const Tensor& t);

// The blob's bytes as elements wherever they lie; as Tensor::from_blob, but without a copy when they are large and not aligned.
Result<Tensor> tensor_of_file(DType dtype, Dims dims, const Blob& blob);
// Equal for equal elements of equal type: all bytes of a small tensor, samples of a large one.
uint64_t fingerprint(const Tensor& t);
// The same of elements in memory.
uint64_t fingerprint(DType dtype, ByteSpan bytes);

// A matrix transposed, deferred when waits_in_file(t). Elements of 2 or 4 bytes.
Tensor transposed_matrix(const Tensor& t);
// convert(t, DType::kF32) of float16 or bfloat16, deferred when waits_in_file(t).
Tensor widened(const Tensor& t);

}  // namespace mlt
