// Model packages: Manifest.json names the items below Data/, one of them the root model. Rules and key names:
// reference milblob.md section 2, from coremltools' modelpackage sources.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/container/file_tree.h"

namespace mlt {

struct PackageItem {
  std::string id;           // UUID
  std::string path;         // below Data/: "com.apple.CoreML/model.mlmodel"
  std::string name;         // "model.mlmodel", "weights"
  std::string author;       // "com.apple.CoreML"
  std::string description;  // "CoreML Model Specification"
};

struct Manifest {
  std::string version = "1.0.0";
  std::vector<PackageItem> items;  // by id
  std::string root_id;             // empty: no root model

  const PackageItem* find(std::string_view id) const;
  const PackageItem* root() const { return find(root_id); }
};

// kInput on anything that coremltools' reader refuses, and on item paths that leave Data/.
Result<Manifest> parse_manifest(ByteSpan json);
// 4-space indent, keys sorted, final newline.
std::string write_manifest(const Manifest& manifest);

struct Package {
  Manifest manifest;
  FileTree tree;           // of the whole package
  std::string model_path;  // "Data/com.apple.CoreML/model.mlmodel"
  FileTree model_dir;      // what "@model_path" means: "Data/com.apple.CoreML"
};
// kInput when there is no manifest, no root model or no model file. Other items may be missing (weights are looked up
// when they are read).
Result<Package> open_package(const FileTree& tree);

// The files of a package, Manifest.json included: model.mlmodel plus `files`, which are relative to the model file
// ("weights/weight.bin"). Item ids derive from the content, so the same model gives the same bytes.
Result<std::map<std::string, Blob>> make_package(const Blob& model, const std::map<std::string, Blob>& files);
// Only the manifest, for writers that put the files in place themselves. file_sizes: as `files` above.
std::string make_manifest(ByteSpan model, const std::map<std::string, uint64_t>& file_sizes);

}  // namespace mlt
