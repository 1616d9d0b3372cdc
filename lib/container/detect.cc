#include "lib/container/detect.h"

#include <algorithm>

#include "lib/container/file_tree.h"
#include "lib/container/mlmodelc.h"
#include "lib/coreml/wire.h"

namespace mlt {
namespace {

using coreml::WireField;
using coreml::WireReader;
using coreml::WireType;

// Core ML's Model uses fields 1, 2, 10 and numbers from 200 on; ModelDescription (field 2) those below. ONNX also
// starts with a version number, then has a producer name as field 2.
bool looks_like_description(ByteSpan bytes) {
  WireReader reader(bytes);
  WireField field;
  while (true) {
    auto more = reader.next(&field);
    if (!more.ok()) return false;
    if (!*more) return true;
    switch (field.number) {
      case 1: case 10: case 11: case 12: case 13: case 20: case 21: case 50: case 100:
        if (field.type != WireType::kBytes) return false;
        break;
      default:
        if (field.number < 100) return false;
    }
  }
}

// Judges by the fields up to the first damage, so that a truncated model is still reported as a model.
bool looks_like_model(ByteSpan bytes) {
  WireReader reader(bytes);
  WireField field;
  int known = 0;
  while (true) {
    auto more = reader.next(&field);
    if (!more.ok()) return known > 0;
    if (!*more) return known > 0;
    switch (field.number) {
      case 1:
        if (field.type != WireType::kVarint || field.value > 1000) return false;
        known++;
        break;
      case 2:
        if (field.type != WireType::kBytes || !looks_like_description(field.bytes)) return false;
        known++;
        break;
      case 10:
        if (field.type != WireType::kVarint) return false;
        break;
      default:
        if (field.number < 200 || field.type != WireType::kBytes) return false;
    }
  }
}

// ModelProto: ir_version 1, producer strings 2-4, model_version 5, doc 6, graph 7, opset_import 8, metadata 14, 20, 25.
bool looks_like_onnx(ByteSpan bytes) {
  WireReader reader(bytes);
  WireField field;
  bool graph = false, version = false;
  while (true) {
    auto more = reader.next(&field);
    if (!more.ok() || !*more) return graph && version;
    if (field.number == 1 && field.type == WireType::kVarint) version = true;
    else if (field.number == 7 && field.type == WireType::kBytes) graph = true;
    else if (field.number > 30) return false;
  }
}

bool looks_like_mil(std::string_view text) {
  while (true) {
    size_t start = text.find_first_not_of(" \t\r\n");
    if (start == text.npos) return false;
    text.remove_prefix(start);
    if (!text.starts_with("//")) break;
    size_t line = text.find('\n');
    if (line == text.npos) return false;
    text.remove_prefix(line);
  }
  if (!text.starts_with("program")) return false;
  text.remove_prefix(7);
  size_t next = text.find_first_not_of(" \t\r\n");
  return next != text.npos && text[next] == '(';
}

}  // namespace

std::string_view file_kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kUnknown: break;
    case FileKind::kModel: return "Core ML model";
    case FileKind::kMilText: return "MIL text";
    case FileKind::kPackage: return "model package";
    case FileKind::kCompiled: return "compiled model";
    case FileKind::kZip: return "zip archive";
    case FileKind::kZstd: return "zstd file";
    case FileKind::kAge: return "sealed file";
    case FileKind::kOnnx: return "ONNX model";
  }
  return "unknown";
}

FileKind detect_bytes(ByteSpan bytes) {
  std::string_view head = as_text(bytes.first(std::min<size_t>(bytes.size(), 64)));
  if (head.starts_with("age-encryption.org/v1\n") || head.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"))
    return FileKind::kAge;
  if (head.starts_with(std::string_view("PK\x03\x04", 4)) || head.starts_with(std::string_view("PK\x05\x06", 4)))
    return FileKind::kZip;
  if (head.starts_with("\x28\xb5\x2f\xfd")) return FileKind::kZstd;
  if (looks_like_mil(as_text(bytes))) return FileKind::kMilText;
  if (bytes.size() >= 2 && looks_like_model(bytes)) return FileKind::kModel;
  if (looks_like_onnx(bytes)) return FileKind::kOnnx;
  return FileKind::kUnknown;
}

FileKind detect_tree(const FileTree& tree) {
  if (tree.has("Manifest.json")) return FileKind::kPackage;
  if (detect_compiled(tree)) return FileKind::kCompiled;
  return FileKind::kUnknown;
}

FileKind detect_path(const std::string& path) {
  switch (path_kind(path)) {
    case PathKind::kDirectory: return detect_tree(FileTree::from_directory(path));
    case PathKind::kFile: {
      auto file = map_file(path);
      return file.ok() ? detect_bytes(file->bytes()) : FileKind::kUnknown;
    }
    default: return FileKind::kUnknown;
  }
}

}  // namespace mlt
