#include "lib/container/file_tree.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "lib/container/tree_state.h"

namespace mlt {
namespace {

constexpr size_t kMaxNames = 100'000;
constexpr int kMaxDepth = 32;

struct DirectoryState : FileTree::State {
  std::string root;
  mutable std::mutex mutex;
  mutable std::map<std::string, Blob> mapped;

  // Refuses links to directories on the way: they may leave the tree or loop.
  bool plain_way(const std::string& name) const {
    for (size_t slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
      struct stat info;
      if (::lstat((root + "/" + name.substr(0, slash)).c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
    }
    return true;
  }
  bool has(const std::string& name) const override {
    return plain_way(name) && path_kind(root + "/" + name) == PathKind::kFile;
  }
  Result<Blob> open(const std::string& name) const override {
    std::lock_guard lock(mutex);
    auto it = mapped.find(name);
    if (it != mapped.end()) return it->second;
    std::string path = root + "/" + name;
    if (!plain_way(name)) return input_error("no such file").in_path(path);
    switch (path_kind(path)) {
      case PathKind::kFile: break;
      case PathKind::kMissing: return input_error("no such file").in_path(path);
      default: return input_error("is not a regular file").in_path(path);
    }
    MLT_ASSIGN(Blob blob, map_file(path));
    mapped.emplace(name, blob);
    return blob;
  }
  std::optional<std::string> disk_path(const std::string& name) const override {
    if (!has(name)) return std::nullopt;
    return root + "/" + name;
  }
  Result<std::vector<std::string>> names(const std::string& prefix) const override {
    std::vector<std::string> all;
    MLT_TRY(walk(prefix.empty() ? "" : prefix.substr(0, prefix.size() - 1), 0, &all));
    return all;
  }
  Status walk(const std::string& relative, int depth, std::vector<std::string>* all) const {
    std::string path = relative.empty() ? root : root + "/" + relative;
    if (depth > kMaxDepth) return input_error("directories nest too deep").in_path(path);
    std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
    if (!directory) return input_error(std::string("cannot list: ") + std::strerror(errno)).in_path(path);
    std::vector<std::string> below;
    while (dirent* entry = ::readdir(directory.get())) {
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      std::string child = relative.empty() ? name : relative + "/" + name;
      struct stat info;
      if (::lstat((root + "/" + child).c_str(), &info) != 0) continue;
      if (S_ISDIR(info.st_mode)) below.push_back(child);
      else if (path_kind(root + "/" + child) == PathKind::kFile) all->push_back(child);
      if (all->size() + below.size() > kMaxNames) return input_error("too many files").in_path(path);
    }
    directory.reset();
    for (const std::string& child : below) MLT_TRY(walk(child, depth + 1, all));
    return {};
  }
};

struct MemoryState : FileTree::State {
  std::map<std::string, Blob> files;
  bool has(const std::string& name) const override { return files.count(name) > 0; }
  Result<Blob> open(const std::string& name) const override {
    auto it = files.find(name);
    if (it == files.end()) return input_error("no such file").in_path(origin.empty() ? name : origin + "/" + name);
    return it->second;
  }
  Result<std::vector<std::string>> names(const std::string& prefix) const override {
    std::vector<std::string> all;
    for (auto it = files.lower_bound(prefix); it != files.end() && it->first.starts_with(prefix); ++it)
      all.push_back(it->first);
    return all;
  }
};

}  // namespace

FileTree FileTree::from_directory(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  auto state = std::make_shared<DirectoryState>();
  state->root = path.empty() ? "." : path;
  state->origin = path;
  return FileTree(std::move(state));
}

FileTree FileTree::from_blobs(std::map<std::string, Blob> files, std::string origin) {
  auto state = std::make_shared<MemoryState>();
  state->files = std::move(files);
  state->origin = std::move(origin);
  return FileTree(std::move(state));
}

Result<Blob> FileTree::open(std::string_view name) const {
  if (!is_safe_relative_path(name)) return input_error("file name leaves its package").in_path(std::string(name));
  if (!state_) return input_error("no such file").in_path(std::string(name));
  return state_->open(prefix_ + std::string(name));
}

bool FileTree::has(std::string_view name) const {
  return state_ && is_safe_relative_path(name) && state_->has(prefix_ + std::string(name));
}

Result<std::vector<std::string>> FileTree::names() const {
  if (!state_) return std::vector<std::string>{};
  MLT_ASSIGN(auto names, state_->names(prefix_));
  for (std::string& name : names) name.erase(0, prefix_.size());
  std::sort(names.begin(), names.end());
  return names;
}

FileTree FileTree::subtree(std::string_view directory) const {
  FileTree tree = *this;
  if (directory.empty()) return tree;
  if (!is_safe_relative_path(directory)) return {};
  tree.prefix_ += std::string(directory) + "/";
  return tree;
}

const std::string& FileTree::origin() const {
  static const std::string kNone;
  return state_ ? state_->origin : kNone;
}

std::optional<std::string> FileTree::disk_path(std::string_view name) const {
  if (!state_ || !is_safe_relative_path(name)) return std::nullopt;
  return state_->disk_path(prefix_ + std::string(name));
}

Status check_tree_names(const std::vector<std::string>& sorted_names) {
  for (size_t i = 0; i < sorted_names.size(); i++) {
    const std::string& name = sorted_names[i];
    if (!is_safe_relative_path(name)) return input_error("file name leaves its archive").in_path(name);
    // Everything below "a" sorts at or after "a/".
    auto below = std::lower_bound(sorted_names.begin(), sorted_names.end(), name + "/");
    if (below != sorted_names.end() && below->starts_with(name + "/"))
      return input_error("is both a file and a directory").in_path(name);
    if (i > 0 && sorted_names[i - 1] == name) return input_error("two files have this name").in_path(name);
  }
  return {};
}

}  // namespace mlt
