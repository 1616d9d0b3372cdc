#include "lib/runtime/npz.h"

#include "lib/tensor/npy.h"

namespace mlt {

namespace {

constexpr size_t kLarge = size_t{1} << 20;

bool worth_leaving(const RawArray& array) {
  size_t element = array.dtype == DType::kF32 ? 4 : array.dtype == DType::kF64 ? 8 : 0;
  return element != 0 && array.bytes.size() >= kLarge && reinterpret_cast<uintptr_t>(array.bytes.bytes().data()) % element != 0;
}

Result<std::map<std::string, Tensor>> read(const Blob& file, std::map<std::string, RawArray>* raw) {
  MLT_ASSIGN(FileTree tree, read_zip(file, "npz"));
  MLT_ASSIGN(std::vector<std::string> names, tree.names());
  std::map<std::string, Tensor> arrays;
  for (const std::string& name : names) {
    if (!name.ends_with(".npy")) return input_error("entry \"" + name + "\" is not a .npy file");
    MLT_ASSIGN(Blob entry, tree.open(name));
    std::string array = name.substr(0, name.size() - 4);
    if (raw != nullptr) {
      auto found = find_npy(entry);
      if (found && *found && worth_leaving(**found)) {
        raw->emplace(array, std::move(**found));
        continue;
      }
    }
    auto tensor = read_npy(entry);
    if (!tensor) return std::move(tensor).error().in_path(name);
    arrays[array] = std::move(*tensor);
  }
  return arrays;
}

}  // namespace

Result<std::map<std::string, Tensor>> read_npz(const Blob& file) { return read(file, nullptr); }
Result<std::map<std::string, Tensor>> read_npz(const Blob& file, std::map<std::string, RawArray>& raw) { return read(file, &raw); }

Status write_npz(const std::map<std::string, Tensor>& arrays, const ByteSink& sink) {
  std::map<std::string, Blob> entries;
  for (const auto& [name, tensor] : arrays) {
    MLT_ASSIGN(Bytes npy, write_npy(tensor));
    entries[name + ".npy"] = Blob(std::move(npy));
  }
  return write_zip(FileTree::from_blobs(std::move(entries)), sink);
}

}  // namespace mlt
