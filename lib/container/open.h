// Opening any Core ML model, whatever it is stored in: .mlmodel, .mlpackage, .mlmodelc, MIL text, a zip of any of
// these, .zst of one file, or a sealed one of them. Recognised by content.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/file.h"
#include "lib/base/random_access.h"
#include "lib/base/result.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"
#include "lib/container/mlmodelc.h"
#include "lib/container/mlpackage.h"
#include "lib/container/weight_blob.h"
#include "lib/container/zip.h"
#include "lib/coreml/model.h"

namespace mlt {

struct OpenOptions {
  // Opens an age file, in memory only. Without it a sealed model is a kKey error.
  std::function<Result<std::shared_ptr<const RandomAccess>>(const Blob& sealed)> unseal;
  ZipLimits zip;
  coreml::ParseLimits parse;
  uint64_t max_decompressed = uint64_t{16} << 30;  // of .zst
};

struct OpenedModel {
  FileKind kind = FileKind::kUnknown;  // kModel, kPackage, kCompiled, kMilText: after unsealing and unpacking
  bool sealed = false;                 // came out of an age file
  std::string name;                    // base name without extensions: "MobileNet"
  std::string origin;                  // path as given, for messages
  // kMilText: an empty model (the text is all there is). kCompiled: the description and the kind; programs and networks
  // are in `compiled`, whose own model has moved here.
  coreml::Model model;
  FileTree files;  // rooted at what "@model_path" means
  std::shared_ptr<coreml::WeightSource> weights;
  std::optional<Blob> mil_text;           // kMilText; kCompiled ML programs
  std::optional<Package> package;         // kPackage
  std::optional<CompiledModel> compiled;  // kCompiled
};

Result<OpenedModel> open_model(const std::string& path, const OpenOptions& options = {});
// bytes: a file's content (never a directory). name is used for messages and OpenedModel::name.
Result<OpenedModel> open_memory(const Blob& bytes, const std::string& name, const OpenOptions& options = {});
// A tree that holds a package or a compiled model, at its root or in its only top directory, or one model file.
Result<OpenedModel> open_tree(const FileTree& tree, const std::string& name, const OpenOptions& options = {});

// Compresses a stream to .zst.
class ZstdWriter {
 public:
  explicit ZstdWriter(ByteSink sink, int level = 3);
  ~ZstdWriter();
  Status write(ByteSpan bytes);
  Status finish();

 private:
  struct State;
  Status step(ByteSpan bytes, bool last);
  std::unique_ptr<State> state_;
};
// Decompresses .zst; kResource over the limit.
Result<Blob> decompress_zstd(const Blob& bytes, uint64_t limit);
// "dir/MobileNet.mlpackage/" -> "MobileNet"; also drops .zst and .age.
std::string model_base_name(const std::string& path);

}  // namespace mlt
