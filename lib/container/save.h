// Writing models. Nothing appears under the target's name before it is complete.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/container/weight_blob.h"
#include "lib/container/zip.h"
#include "lib/coreml/model.h"

namespace mlt {

enum class SaveFormat { kModelFile, kPackage };
// By the extension of path: ".mlmodel" or ".mlpackage"; kUsage for another one.
Result<SaveFormat> save_format(const std::string& path);

Status save_model_file(const coreml::Model& model, const std::string& path);

// Writes a package: create one, add weights to weights(), set their offsets in the model, then finish(model).
class PackageWriter {
 public:
  // A directory at path; replaces an existing one when `replace`.
  static Result<std::unique_ptr<PackageWriter>> to_directory(const std::string& path, bool replace = true);
  // A package as an uncompressed zip, streamed by finish(). Weights wait in a nameless temporary file.
  static Result<std::unique_ptr<PackageWriter>> to_zip(ByteSink sink);

  // Created at the first call; without one the package has no weight file. deduplicate: see BlobWriter.
  Result<BlobWriter*> weights(bool deduplicate = true);
  // A file as it is, relative to the model file ("weights/weight.bin", other names): for copies of whole blob files.
  Status add_file(const std::string& name, const Blob& content);
  Status finish(const coreml::Model& model);

 private:
  PackageWriter() = default;
  std::unique_ptr<AtomicDirectory> directory_;
  ByteSink sink_;
  std::unique_ptr<BlobWriter> writer_;
  std::map<std::string, Blob> files_;  // to_zip: content; to_directory: already written, for sizes
};

// Whether a directory holds exactly these files with these contents.
// Files there whose names begin with `besides` (unless that is empty) are not compared, and counted.
bool same_directory(const FileTree& tree, const std::string& path, std::string_view besides = {}, size_t* found = nullptr);
// Whether a file is the archive that write_zip would make of the tree.
bool same_archive(const FileTree& tree, const std::string& path);
// Whether a file has exactly these bytes.
bool same_content(ByteSpan bytes, const std::string& path);

// A tree as a directory (compiled models, packages).
Status save_tree(const FileTree& tree, const std::string& path, bool replace = true);

}  // namespace mlt
