// A set of named files: a directory, an archive, or memory. Names are relative, with "/" ("weights/weight.bin"). Whoever
// reads a package need not know where it came from. Copies share. Safe from several threads.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"

namespace mlt {

class FileTree {
 public:
  FileTree() = default;  // no files
  // Nothing is read or listed until asked for. Links to files are followed (download caches store weights that way),
  // links to directories are not.
  static FileTree from_directory(std::string path);
  static FileTree from_blobs(std::map<std::string, Blob> files, std::string origin = {});

  // Maps the file on first use, then gives the same mapping. kInput when it is missing or the name leaves the tree.
  Result<Blob> open(std::string_view name) const;
  bool has(std::string_view name) const;
  // Names of all files below, sorted. kInput when there are more than 100,000, or deeper than 32 directories.
  Result<std::vector<std::string>> names() const;
  // The part below a directory, as a tree of its own; empty name: all of it.
  FileTree subtree(std::string_view directory) const;
  // Where it comes from, for messages: a directory's path, an archive's name.
  const std::string& origin() const;
  // Path of a file on disk, when it has one.
  std::optional<std::string> disk_path(std::string_view name) const;

  struct State;
  explicit FileTree(std::shared_ptr<const State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<const State> state_;
  std::string prefix_;  // "" or "a/b/"
};

}  // namespace mlt
