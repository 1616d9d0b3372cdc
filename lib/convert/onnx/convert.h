// The ONNX frontend's two entry points; see lib/convert/frontend.h.
#pragma once
#include "lib/convert/frontend.h"

namespace mlt::foreign::onnx {

bool looks_like_onnx(ByteSpan bytes);
Result<Converted> convert_onnx(const Blob& bytes, const std::string& path, const Options& options);

}  // namespace mlt::foreign::onnx
