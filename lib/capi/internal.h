// What the parts of the C interface share.
#pragma once
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "lib/capi/mltools.h"
#include "lib/container/open.h"
#include "lib/runtime/predictor.h"

struct mlt_model {
  mlt::OpenedModel opened;
  std::unique_ptr<mlt::Predictor> predictor;
  std::string description, structure;
};
struct mlt_state {
  mlt::StateTensors tensors;
};
struct mlt_features {
  mlt::FeatureMap map;
  // Texts handed out by getters: the record as JSON, and the entries of dictionaries and lists.
  mutable std::string json;
  mutable std::map<std::string, std::vector<std::pair<std::string, double>>, std::less<>> entries;
  mutable std::map<std::string, mlt::Tensor, std::less<>> float_pixels;  // of float16 images
};
struct mlt_binding {
  mlt_model* model;
  mlt::ArrayMap inputs, outputs;
  std::unique_ptr<mlt::Binding> bound;  // by the first run after a change
};

namespace mlt::capi {

// The message of mlt_last_error(), of this thread.
inline thread_local std::string last_error;

inline mlt_status fail(mlt_status status, std::string message) {
  last_error = std::move(message);
  return status;
}
inline mlt_status fail(const Error& error) {
  return fail(static_cast<mlt_status>(exit_status(error.code)), error.hint.empty() ? error.to_string() : error.to_string() + " (" + error.hint + ")");
}

// Runs a function's body; what the standard library throws (memory) becomes a status.
template <typename F>
mlt_status guard(F&& body) {
  try {
    last_error.clear();
    return body();
  } catch (const std::bad_alloc&) {
    return fail(MLT_RESOURCE, "out of memory");
  } catch (const std::exception& e) {
    return fail(MLT_RESOURCE, e.what());
  }
}

struct DTypeRow {
  mlt_dtype code;
  DType dtype;
};
constexpr DTypeRow kDTypes[] = {{MLT_F16, DType::kF16}, {MLT_F32, DType::kF32}, {MLT_F64, DType::kF64}, {MLT_I8, DType::kI8},
                                {MLT_I16, DType::kI16}, {MLT_I32, DType::kI32}, {MLT_I64, DType::kI64}, {MLT_U8, DType::kU8},
                                {MLT_U16, DType::kU16}, {MLT_U32, DType::kU32}, {MLT_BOOL, DType::kBool}};

// The caller's memory, as a tensor that does not own it.
inline Result<Tensor> array_window(mlt_dtype dtype, const int64_t* shape, size_t rank, const void* data) {
  if ((shape == nullptr && rank > 0) || data == nullptr || rank > 16) return usage_error("shape or data missing, or rank above 16");
  for (const DTypeRow& row : kDTypes) {
    if (row.code != dtype) continue;
    Dims dims(shape, shape + rank);
    MLT_TRY(element_count(dims));
    return Tensor::window(row.dtype, std::move(dims), const_cast<std::byte*>(static_cast<const std::byte*>(data)), nullptr);
  }
  return usage_error("unknown element type");
}

}  // namespace mlt::capi
