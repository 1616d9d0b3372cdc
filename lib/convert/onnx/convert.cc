#include "lib/convert/onnx/convert.h"

#include "lib/convert/onnx/lowering.h"

namespace mlt::foreign::onnx {

// Of the standard operators.
constexpr int64_t kNewestOpset = 28;

// A ModelProto starts with ir_version (field 1, varint) in every file that exporters write; the graph (field 7) must be
// there. Walks the top level only.
bool looks_like_onnx(ByteSpan bytes) {
  size_t at = 0;
  bool version = false, graph = false;
  auto varint = [&](uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at < bytes.size(); shift += 7) {
      uint8_t byte = static_cast<uint8_t>(bytes[at++]);
      *value |= uint64_t{byte & 0x7fu} << shift;
      if (!(byte & 0x80)) return true;
    }
    return false;
  };
  while (at < bytes.size()) {
    uint64_t tag = 0, value = 0;
    if (!varint(&tag)) return false;
    uint64_t field = tag >> 3;
    switch (tag & 7) {
      case 0:
        if (!varint(&value)) return false;
        if (field == 1) version = value > 0 && value < 1000;
        else if (field != 5) return false;
        break;
      case 2:
        if (!varint(&value) || value > bytes.size() - at) return graph && version;
        if (field == 7) graph = true;
        else if (field == 1 || field == 5) return false;
        at += value;
        break;
      default: return false;
    }
  }
  return version && graph;
}

Result<Converted> convert_onnx(const Blob& bytes, const std::string& path, const Options& options) {
  std::string directory;
  if (!path.empty() && path != "-") {
    size_t slash = path.rfind('/');
    directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  }
  MLT_ASSIGN(Model model, read_model(bytes, directory));
  Converted result;
  result.source.format = "onnx";
  result.source.producer = model.producer + (model.producer_version.empty() ? "" : " " + model.producer_version);
  result.source.description = model.doc;
  result.source.metadata = model.metadata;
  if (auto it = model.opsets.find(""); it != model.opsets.end() && it->second > kNewestOpset)
    result.warnings.push_back("operator set " + std::to_string(it->second) + " is newer than " + std::to_string(kNewestOpset) + ", the newest known here; operators are taken in their older meaning");
  fuse_dynamic_quantization(model.graph);
  Driver driver(model, options, result);
  MLT_TRY(driver.run());
  return result;
}

}  // namespace mlt::foreign::onnx
