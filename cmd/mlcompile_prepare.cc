// Weights prepared for instruction sets, kept in the compiled model's directory.
#include <algorithm>
#include <map>

#include "cmd/mlcompile.h"
#include "lib/cli/diag.h"
#include "lib/container/save.h"
#include "lib/kernels/target.h"
#include "lib/runtime/packed_file.h"

namespace mlt {
namespace {

// Whether the directory has what write_packed() would make.
bool prepared(const std::string& directory, const std::string& target) {
  select_kernel_target(target);
  const bool kept = renew_packed(directory);
  select_kernel_target("");
  return kept;
}

// Weights prepared for instruction sets, beside the compiled model.
Status prepare_weights(const std::string& directory, const std::vector<std::string>& targets) {
  for (const std::string& target : targets) {
    select_kernel_target(target);
    Result<size_t> forms = write_packed(directory);
    select_kernel_target("");
    if (!forms) return std::move(forms).error();
  }
  return {};
}

}  // namespace

// "native,x86-64-v3" as this machine's instruction sets; empty for "none".
Result<std::vector<std::string>> prepared_targets(const std::string& text) {
  static const std::map<std::string, std::string, std::less<>> kLevels = {{"x86-64-v2", "sse4"}, {"x86-64-v3", "avx2"}, {"x86-64-v4", "avx3"}};
  const std::vector<std::string> usable = kernel_targets();
  std::vector<std::string> targets;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    std::string name = text.substr(start, end - start);
    start = end + 1;
    if (name == "none" && text == name) return targets;
    if (auto level = kLevels.find(name); level != kLevels.end()) name = level->second;
    if (name == "native") name = kernel_target();
    if (std::find(usable.begin(), usable.end(), name) == usable.end()) {
      if (!select_kernel_target(name)) {
        std::string list;
        for (const std::string& one : usable) list += ", " + one;
        return usage_error("--optimize-for: unknown instruction set \"" + name + "\"", "none, native, x86-64-v2, x86-64-v3, x86-64-v4" + list);
      }
      select_kernel_target("");
      return unsupported_error("--optimize-for: this machine cannot prepare weights for " + name);
    }
    if (std::find(targets.begin(), targets.end(), name) == targets.end()) targets.push_back(std::move(name));
  }
  return targets;
}

Status write_directory(const FileTree& tree, const std::string& path, const std::vector<std::string>& targets) {
  // Of prepared weights only those that are asked for may be there.
  size_t found = 0;
  bool same = same_directory(tree, path, kPackedPrefix, &found) && found == targets.size();
  for (const std::string& target : targets) same = same && prepared(path, target);
  if (same) {
    cli::print_info(path + ": unchanged, left alone");
    return {};
  }
  MLT_TRY(save_tree(tree, path));
  return prepare_weights(path, targets);
}

}  // namespace mlt
