// Inputs and outputs of tools: "-" is stdin or stdout, outputs appear complete or not at all, and the
// refusals that save users from themselves.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace mlt::cli {

inline bool is_standard(const std::string& path) { return path == "-"; }
// How messages name a path: "stdin" or "stdout" for "-".
std::string input_name(const std::string& path);
std::string output_name(const std::string& path);

// All bytes of a file (mapped) or of stdin ("-", read once; a second read is an error). A terminal as stdin
// is read. Missing or unreadable: kInput. Directories: kInput.
Result<Blob> read_input(const std::string& path);
// Marks stdin as used, for readers that stream from descriptor 0 themselves; kUsage when somebody has it
// already.
Status claim_stdin();

// True when both paths name the same existing file or directory (device and inode). "-" is the file behind
// the descriptor when that is a regular file, so `tool -o m < m` is seen too.
bool same_file(const std::string& input, const std::string& output);

enum class Content { kText, kBinary };

// The checks that every output passes before work starts, for outputs that somebody else writes (a package
// directory). path: nullopt means stdout by default, "-" stdout by request. kUsage when the output is one of
// the inputs, or when binary content would go to a terminal without having been asked for with "-o -".
Status check_output(const std::optional<std::string>& path, Content content,
                    const std::vector<std::string>& inputs);

// A stream of output bytes: stdout, or a file created beside its target at the first write and renamed into
// place by finish(). Destroyed before finish(), the file never appears.
class Output {
 public:
  // Does the checks of check_output; opens nothing yet.
  static Result<Output> plan(const std::optional<std::string>& path, Content content,
                             const std::vector<std::string>& inputs);
  Status write(ByteSpan bytes);
  Status write(std::string_view text) { return write(as_bytes(text)); }
  // An output nothing was written to becomes an empty file.
  Status finish();
  bool to_stdout() const { return stdout_; }
  const std::string& path() const { return path_; }  // "-" for stdout

 private:
  Output() = default;
  Status open();
  bool stdout_ = false;
  std::string path_;
  std::optional<AtomicFile> file_;
};

}  // namespace mlt::cli
