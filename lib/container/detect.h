// What a file or directory is, judged by its content.
#pragma once
#include <string>
#include <string_view>

#include "lib/base/file.h"

namespace mlt {

enum class FileKind {
  kUnknown,
  kModel,     // Core ML Model message (.mlmodel)
  kMilText,   // "program(...)" (.mil, model.mil)
  kPackage,   // .mlpackage directory
  kCompiled,  // .mlmodelc directory
  kZip,       // archive, of whatever
  kZstd,
  kAge,       // sealed, binary or armored
  kOnnx,
};
// "Core ML model", "MIL text", "model package", ...
std::string_view file_kind_name(FileKind kind);

FileKind detect_bytes(ByteSpan bytes);
class FileTree;
// kPackage, kCompiled or kUnknown.
FileKind detect_tree(const FileTree& tree);
// kUnknown also when the path is missing or unreadable.
FileKind detect_path(const std::string& path);

}  // namespace mlt
