// What stands behind a FileTree: implemented for directories and memory in file_tree.cc, for archives in zip.cc.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/container/file_tree.h"

namespace mlt {

struct FileTree::State {
  virtual ~State() = default;
  // name is a safe relative path. Safe from several threads.
  virtual Result<Blob> open(const std::string& name) const = 0;
  virtual bool has(const std::string& name) const = 0;
  virtual Result<std::vector<std::string>> names(const std::string& prefix) const = 0;  // whole names, any order
  virtual std::optional<std::string> disk_path(const std::string&) const { return std::nullopt; }
  std::string origin;
};

// "a" beside "a/b", unsafe names: nothing that could be written to a directory. kInput names the culprit.
Status check_tree_names(const std::vector<std::string>& sorted_names);

}  // namespace mlt
