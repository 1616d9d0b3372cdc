#include "lib/cli/io.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace mlt::cli {
namespace {

bool stdin_claimed = false;

bool identify(const std::string& path, int standard, struct stat* info) {
  if (is_standard(path)) return ::fstat(standard, info) == 0 && S_ISREG(info->st_mode);
  return ::stat(path.c_str(), info) == 0 && (S_ISREG(info->st_mode) || S_ISDIR(info->st_mode));
}

}  // namespace

std::string input_name(const std::string& path) { return is_standard(path) ? "stdin" : path; }
std::string output_name(const std::string& path) { return is_standard(path) ? "stdout" : path; }

Status claim_stdin() {
  if (stdin_claimed) return usage_error("stdin can be read only once: '-' is given twice");
  stdin_claimed = true;
  return {};
}

Result<Blob> read_input(const std::string& path) {
  if (!is_standard(path)) return map_file(path);
  MLT_TRY(claim_stdin());
  MLT_ASSIGN(Bytes bytes, read_fd(STDIN_FILENO, "stdin"));
  return Blob(std::move(bytes));
}

bool same_file(const std::string& input, const std::string& output) {
  struct stat a, b;
  return identify(input, STDIN_FILENO, &a) && identify(output, STDOUT_FILENO, &b) && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

Status check_output(const std::optional<std::string>& path, Content content,
                    const std::vector<std::string>& inputs) {
  if (path && path->empty()) return usage_error("output path is empty");
  std::string target = path.value_or("-");
  for (const std::string& input : inputs) {
    if (same_file(input, target)) {
      return usage_error(
          "input and output are the same file: " + (is_standard(target) ? input_name(input) : target),
          "write to another name and rename it afterwards");
    }
  }
  if (content == Content::kBinary && !path && ::isatty(STDOUT_FILENO) != 0)
    return usage_error("refusing to write binary data to the terminal",
                       "use '-o FILE', or force it with '-o -'");
  return {};
}

Result<Output> Output::plan(const std::optional<std::string>& path, Content content,
                            const std::vector<std::string>& inputs) {
  MLT_TRY(check_output(path, content, inputs));
  Output output;
  output.path_ = path.value_or("-");
  output.stdout_ = is_standard(output.path_);
  return output;
}

Status Output::open() {
  if (stdout_ || file_) return {};
  MLT_ASSIGN(AtomicFile file, AtomicFile::create(path_));
  file_.emplace(std::move(file));
  return {};
}

Status Output::write(ByteSpan bytes) {
  if (stdout_) {
    std::fflush(stdout);  // what went through stdio comes first
    return write_fd(STDOUT_FILENO, bytes, "stdout");
  }
  MLT_TRY(open());
  return file_->write(bytes);
}

Status Output::finish() {
  if (stdout_) return {};
  MLT_TRY(open());
  return file_->commit();
}

}  // namespace mlt::cli
