// Where the corpus of third-party models is: MLT_CORPUS, or ../shared/corpus beside the source tree. Tests that need it
// pass with a message when it is absent.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace mlt::test {

inline std::string corpus_dir() {
  const char* env = std::getenv("MLT_CORPUS");
  std::string path = env ? env : std::string(MLT_SOURCE_DIR) + "/../shared/corpus";
  return std::filesystem::is_directory(path) ? path : "";
}

// Entries of a corpus folder with an extension (".mlmodel"), sorted. Empty, with a message, without a corpus.
inline std::vector<std::string> corpus_files(const std::string& folder, const std::string& extension) {
  std::vector<std::string> paths;
  std::string root = corpus_dir();
  if (root.empty()) {
    std::fprintf(stderr, "skipped: no corpus (set MLT_CORPUS)\n");
    return paths;
  }
  for (const auto& entry : std::filesystem::directory_iterator(root + "/" + folder))
    if (entry.path().extension() == extension) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace mlt::test
