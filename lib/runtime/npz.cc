#include "lib/runtime/npz.h"

#include "lib/tensor/npy.h"

namespace mlt {

Result<std::map<std::string, Tensor>> read_npz(const Blob& file) {
  MLT_ASSIGN(FileTree tree, read_zip(file, "npz"));
  MLT_ASSIGN(std::vector<std::string> names, tree.names());
  std::map<std::string, Tensor> arrays;
  for (const std::string& name : names) {
    if (!name.ends_with(".npy")) return input_error("entry \"" + name + "\" is not a .npy file");
    MLT_ASSIGN(Blob entry, tree.open(name));
    auto tensor = read_npy(entry);
    if (!tensor) return std::move(tensor).error().in_path(name);
    arrays[name.substr(0, name.size() - 4)] = std::move(*tensor);
  }
  return arrays;
}

Status write_npz(const std::map<std::string, Tensor>& arrays, const ByteSink& sink) {
  std::map<std::string, Blob> entries;
  for (const auto& [name, tensor] : arrays) {
    MLT_ASSIGN(Bytes npy, write_npy(tensor));
    entries[name + ".npy"] = Blob(std::move(npy));
  }
  return write_zip(FileTree::from_blobs(std::move(entries)), sink);
}

}  // namespace mlt
