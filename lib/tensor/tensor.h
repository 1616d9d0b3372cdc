// Tensor: element type, extents, and bytes that are owned, mapped from a file, or lent by an arena. Row-major, dense.
// Copies share the bytes; clone() makes new ones.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/tensor/dtype.h"

namespace mlt {

using Dims = std::vector<int64_t>;
class Deferred;  // deferred.h

// Product of extents; an error when an extent is negative or the product does not fit 48 bits.
Result<int64_t> element_count(const Dims& dims);
// Bytes that hold `count` elements, sub-byte types packed: ceil(count * bits / 8).
int64_t storage_bytes(DType dtype, int64_t count);
std::string dims_text(const Dims& dims, std::string_view separator = "x");  // "1x3x224x224"; "scalar" when empty; -1 as "?"
Dims row_major_strides(const Dims& dims);  // in elements

template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::kF32;
  else if constexpr (std::is_same_v<T, double>) return DType::kF64;
  else if constexpr (std::is_same_v<T, bool>) return DType::kBool;
  else if constexpr (std::is_same_v<T, int8_t>) return DType::kI8;
  else if constexpr (std::is_same_v<T, int16_t>) return DType::kI16;
  else if constexpr (std::is_same_v<T, int32_t>) return DType::kI32;
  else if constexpr (std::is_same_v<T, int64_t>) return DType::kI64;
  else if constexpr (std::is_same_v<T, uint8_t>) return DType::kU8;
  else if constexpr (std::is_same_v<T, uint16_t>) return DType::kU16;
  else if constexpr (std::is_same_v<T, uint32_t>) return DType::kU32;
  else { static_assert(std::is_same_v<T, uint64_t>); return DType::kU64; }
}

class Tensor {
 public:
  Tensor() = default;  // no value: valid() is false
  // 64-byte aligned, contents undefined / zero. dims must have been checked with element_count.
  static Tensor uninitialized(DType dtype, Dims dims);
  static Tensor zeros(DType dtype, Dims dims);
  // Shares the blob's bytes, read-only; an error when its size is not exactly that of dtype and dims, or when its
  // alignment does not suit the element type (then the bytes are copied instead).
  static Result<Tensor> from_blob(DType dtype, Dims dims, const Blob& blob);
  // Elements that `source` makes when bytes() or data() is first called; whole-byte types. Who can use them in pieces asks
  // deferred() instead, and nothing stays.
  static Tensor deferred(DType dtype, Dims dims, std::shared_ptr<const Deferred> source);
  // A writable window on memory that `owner` keeps alive (an arena).
  static Tensor window(DType dtype, Dims dims, std::byte* data, std::shared_ptr<void> owner);
  template <typename T>
  static Tensor from(Dims dims, std::span<const T> values) {
    Tensor tensor = uninitialized(dtype_of<T>(), std::move(dims));
    std::copy(values.begin(), values.end(), tensor.mutable_data<T>());
    return tensor;
  }
  template <typename T>
  static Tensor from(Dims dims, const std::vector<T>& values) {
    Tensor tensor = uninitialized(dtype_of<T>(), std::move(dims));
    std::copy(values.begin(), values.end(), tensor.mutable_data<T>());
    return tensor;
  }
  template <typename T>
  static Tensor scalar(T value) {
    Tensor tensor = uninitialized(dtype_of<T>(), {});
    *tensor.mutable_data<T>() = value;
    return tensor;
  }
  static Tensor ints(const std::vector<int64_t>& values);  // int32, rank 1
  static Tensor string(std::string value);
  static Tensor of_strings(Dims dims, std::vector<std::string> values);

  bool valid() const { return data_ != nullptr || strings_ != nullptr || later_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t size() const { return size_; }  // elements
  int64_t nbytes() const { return storage_bytes(dtype_, size_); }
  ByteSpan bytes() const { return {address(), static_cast<size_t>(nbytes())}; }
  const Deferred* deferred() const;  // null for elements that are there
  std::byte* mutable_bytes() { return data_; }
  bool writable() const { return writable_; }
  Blob blob() const { return {owner_, bytes()}; }

  // T must have the element's size (fp16 and bf16 as uint16_t, bool as bool or uint8_t); asserted.
  template <typename T>
  const T* data() const {
    assert(sizeof(T) * 8 == static_cast<size_t>(dtype_bits(dtype_)));
    return reinterpret_cast<const T*>(address());
  }
  template <typename T>
  T* mutable_data() {
    assert(sizeof(T) * 8 == static_cast<size_t>(dtype_bits(dtype_)) && writable_);
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  std::span<const T> span() const { return {data<T>(), static_cast<size_t>(size_)}; }
  const std::vector<std::string>& strings() const { return *strings_; }
  std::vector<std::string>& mutable_strings() { return *strings_; }

  Tensor clone() const;
  friend bool same_bytes(const Tensor& a, const Tensor& b);
  // Same bytes, other extents of equal product (asserted).
  Tensor reshaped(Dims dims) const;

 private:
  struct Later;
  const std::byte* address() const { return later_ == nullptr ? data_ : made(); }
  const std::byte* made() const;

  DType dtype_ = DType::kF32;
  bool writable_ = false;
  Dims dims_;
  int64_t size_ = 0;
  std::byte* data_ = nullptr;
  const Later* later_ = nullptr;  // owned by owner_; then data_ is null
  std::shared_ptr<const void> owner_;
  std::shared_ptr<std::vector<std::string>> strings_;
};

// Converts element by element: float -> float rounds to nearest even; float -> integer truncates toward zero and
// saturates; integer -> narrower integer wraps; anything -> bool is != 0. Sub-byte types are unpacked and packed.
// Strings convert to nothing else. Returns the same bytes when the dtype is already right.
Tensor convert(const Tensor& tensor, DType dtype);
inline Tensor to_compute(const Tensor& tensor) { return convert(tensor, compute_dtype(tensor.dtype())); }

// Elements of any numeric tensor as a vector (convenience for small tensors).
std::vector<float> to_floats(const Tensor& tensor);
std::vector<int64_t> to_ints(const Tensor& tensor);
std::vector<double> to_doubles(const Tensor& tensor);

// Sub-byte packing as in blob storage v2: element i occupies bits [i*n, (i+1)*n) of a little-endian bit stream.
// unpack_bits yields one byte per element (int4 sign-extended); pack_bits is its inverse.
std::vector<uint8_t> unpack_bits(DType dtype, ByteSpan packed, int64_t count);
Bytes pack_bits(DType dtype, std::span<const uint8_t> values);

bool same_bytes(const Tensor& a, const Tensor& b);  // dtype, dims and bytes equal

}  // namespace mlt
