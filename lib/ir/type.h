// Types of MIL values (source: MIL.proto ValueType).
#pragma once
#include <string>
#include <vector>

#include "lib/tensor/tensor.h"

namespace mlt::ir {

inline constexpr int64_t kUnknown = -1;   // extent not known
inline constexpr int64_t kVariadic = -2;  // "..." : any number of further extents (rare; MIL.proto UnknownDimension.variadic)

struct Type {
  enum class Kind : uint8_t { kTensor, kList, kTuple, kDict, kState };
  Kind kind = Kind::kTensor;
  DType dtype = DType::kF32;  // tensor
  bool ranked = true;         // tensor: false when even the rank is unknown
  Dims dims;                  // tensor: extents, kUnknown where not known
  int64_t length = kUnknown;  // list
  std::vector<Type> params;   // list: {element}; tuple: elements; dict: {key, value}; state: {tensor}

  static Type tensor(DType dtype, Dims dims = {}) {
    Type type;
    type.dtype = dtype;
    type.dims = std::move(dims);
    return type;
  }
  static Type unranked(DType dtype) {
    Type type;
    type.dtype = dtype;
    type.ranked = false;
    return type;
  }
  static Type list(Type element, int64_t length = kUnknown);
  static Type tuple(std::vector<Type> elements);
  static Type dict(Type key, Type value);
  static Type state(Type tensor);
  static Type of(const Tensor& tensor) { return Type::tensor(tensor.dtype(), tensor.dims()); }

  bool is_tensor() const { return kind == Kind::kTensor; }
  bool is_state() const { return kind == Kind::kState; }
  // For a state, the tensor it holds; otherwise the type itself.
  const Type& held() const { return is_state() ? params[0] : *this; }
  int rank() const { return static_cast<int>(dims.size()); }
  // All extents known (tensor only).
  bool is_static() const;
  bool operator==(const Type& other) const;
  // "fp16[1, 3, ?]", "list<fp32[2], ?>", for messages; MIL text has its own printer.
  std::string to_string() const;
};

// True when a value of type `actual` may stand where `declared` is written: equal, or `declared` leaves open what
// `actual` fixes, or the other way round (extents unknown on either side match).
bool compatible(const Type& declared, const Type& actual);

}  // namespace mlt::ir
