#include "lib/container/save.h"

#include <fmt/core.h>

#include <algorithm>

#include "lib/container/mlpackage.h"
#include "lib/container/tree_state.h"

namespace mlt {
namespace {

const std::string kModelDir = "Data/com.apple.CoreML";

Status write_plain(const std::string& path, ByteSpan bytes) {
  // Inside a directory that is not yet in place, so no second temporary name.
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (!file) return resource_error("cannot create").in_path(path);
  bool ok = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  ok = std::fclose(file) == 0 && ok;
  if (!ok) return resource_error("cannot write").in_path(path);
  return {};
}

Status write_below(const std::string& root, const std::string& name, ByteSpan bytes) {
  size_t slash = name.rfind('/');
  if (slash != name.npos) MLT_TRY(make_directories(root + "/" + name.substr(0, slash)));
  return write_plain(root + "/" + name, bytes);
}

}  // namespace

Result<SaveFormat> save_format(const std::string& path) {
  std::string_view name = path;
  while (name.ends_with("/")) name.remove_suffix(1);
  if (name.ends_with(".mlmodel")) return SaveFormat::kModelFile;
  if (name.ends_with(".mlpackage")) return SaveFormat::kPackage;
  return usage_error("output name ends neither in .mlmodel nor in .mlpackage").in_path(path);
}

Status save_model_file(const coreml::Model& model, const std::string& path) {
  MLT_ASSIGN(Bytes bytes, model.serialize());
  return write_file(path, bytes);
}

Result<std::unique_ptr<PackageWriter>> PackageWriter::to_directory(const std::string& path, bool replace) {
  std::unique_ptr<PackageWriter> writer(new PackageWriter);
  MLT_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
  writer->directory_ = std::make_unique<AtomicDirectory>(std::move(directory));
  return writer;
}

Result<std::unique_ptr<PackageWriter>> PackageWriter::to_zip(ByteSink sink) {
  std::unique_ptr<PackageWriter> writer(new PackageWriter);
  writer->sink_ = std::move(sink);
  return writer;
}

Result<BlobWriter*> PackageWriter::weights(bool deduplicate) {
  if (!writer_) {
    if (files_.count("weights/weight.bin")) return usage_error("the package already has a weight file");
    if (directory_) {
      std::string path = directory_->temp_path() + "/" + kModelDir + "/weights";
      MLT_TRY(make_directories(path));
      MLT_ASSIGN(writer_, BlobWriter::create(path + "/weight.bin", deduplicate));
    } else {
      MLT_ASSIGN(writer_, BlobWriter::create_temporary(deduplicate));
    }
  }
  return writer_.get();
}

Status PackageWriter::add_file(const std::string& name, const Blob& content) {
  if (!is_safe_relative_path(name) || name == "model.mlmodel")
    return usage_error(fmt::format("\"{}\" cannot be a file of a package", name));
  if (writer_ && name == "weights/weight.bin") return usage_error("the package already has a weight file");
  if (!files_.emplace(name, content).second) return usage_error(fmt::format("\"{}\" is added twice", name));
  if (directory_) return write_below(directory_->temp_path(), kModelDir + "/" + name, content.bytes());
  return {};
}

Status PackageWriter::finish(const coreml::Model& model) {
  if (writer_) {
    MLT_ASSIGN(Blob weights, writer_->finish());
    // A weight file without blobs would only puzzle.
    if (writer_->count() > 0) {
      files_.emplace("weights/weight.bin", std::move(weights));
    } else if (directory_) {
      remove_tree(directory_->temp_path() + "/" + kModelDir + "/weights");
    }
  }
  MLT_ASSIGN(Bytes bytes, model.serialize());
  Blob serialized(std::move(bytes));
  if (!directory_) {
    MLT_ASSIGN(auto files, make_package(serialized, files_));
    return write_zip(FileTree::from_blobs(std::move(files)), sink_);
  }
  std::map<std::string, uint64_t> sizes;
  for (const auto& [name, content] : files_) sizes.emplace(name, content.size());
  std::string manifest = make_manifest(serialized.bytes(), sizes);
  MLT_TRY(write_below(directory_->temp_path(), kModelDir + "/model.mlmodel", serialized.bytes()));
  MLT_TRY(write_below(directory_->temp_path(), "Manifest.json", as_bytes(manifest)));
  return directory_->commit();
}

bool same_content(ByteSpan bytes, const std::string& path) {
  if (path_kind(path) != PathKind::kFile) return false;
  auto there = map_file(path);
  return there.ok() && there->size() == bytes.size() && std::equal(bytes.begin(), bytes.end(), there->bytes().begin());
}

bool same_directory(const FileTree& tree, const std::string& path, std::string_view besides, size_t* found) {
  if (path_kind(path) != PathKind::kDirectory) return false;
  auto wanted = tree.names();
  auto there = FileTree::from_directory(path).names();
  if (!wanted.ok() || !there.ok()) return false;
  const size_t more = besides.empty() ? 0 : std::erase_if(*there, [&](const std::string& name) { return name.starts_with(besides); });
  if (found != nullptr) *found = more;
  if (*wanted != *there) return false;
  for (const std::string& name : *wanted) {
    auto content = tree.open(name);
    if (!content.ok() || !same_content(content->bytes(), path + "/" + name)) return false;
  }
  return true;
}

bool same_archive(const FileTree& tree, const std::string& path) {
  if (path_kind(path) != PathKind::kFile) return false;
  auto there = map_file(path);
  if (!there.ok()) return false;
  size_t at = 0;
  Status same = write_zip(tree, [&](ByteSpan bytes) -> Status {
    ByteSpan rest = there->bytes().subspan(at);
    if (bytes.size() > rest.size() || !std::equal(bytes.begin(), bytes.end(), rest.begin())) return make_error(Code::kNegative, "differs");
    at += bytes.size();
    return {};
  });
  return same.ok() && at == there->size();
}

Status save_tree(const FileTree& tree, const std::string& path, bool replace) {
  MLT_ASSIGN(std::vector<std::string> names, tree.names());
  MLT_TRY(check_tree_names(names));
  MLT_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(path, replace));
  for (const std::string& name : names) {
    MLT_ASSIGN(Blob content, tree.open(name));
    MLT_TRY(write_below(directory.temp_path(), name, content.bytes()));
  }
  return directory.commit();
}

}  // namespace mlt
