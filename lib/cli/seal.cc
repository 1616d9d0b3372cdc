#include "lib/cli/seal.h"

#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "lib/cli/diag.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"
#include "lib/container/save.h"
#include "lib/container/zip.h"

namespace mlt::cli {
namespace {

uint64_t size_of(const std::string& path) {
  std::error_code error;
  if (is_standard(path) || path_kind(path) != PathKind::kFile) return 0;
  auto size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

// Names the input in an error that names no place yet: not in one about the output or an identity file.
Error placed(Error error, const std::string& name) {
  if (error.context.empty() && error.code != Code::kUsage) error.context.push_back(name);
  return error;
}

std::string count(size_t recipients) {
  return fmt::format("{} recipient{}", recipients, recipients == 1 ? "" : "s");
}

bool wants_directory(const std::optional<std::string>& output) {
  if (!output) return false;
  std::string path = *output;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.ends_with(".mlpackage") || path.ends_with(".mlmodelc");
}

Status unpack(const Blob& content, const std::string& input, const std::string& output) {
  MLT_ASSIGN(FileTree tree, read_zip(content, input));
  if (detect_tree(tree) == FileKind::kUnknown) {
    // Some archives hold the directory itself, not what is in it.
    MLT_ASSIGN(std::vector<std::string> names, tree.names());
    std::string top = names.empty() ? "" : names[0].substr(0, names[0].find('/'));
    for (const std::string& name : names)
      if (!name.starts_with(top + "/")) top.clear();
    if (!top.empty()) tree = tree.subtree(top);
    if (detect_tree(tree) == FileKind::kUnknown)
      return input_error("the sealed archive holds neither a model package nor a compiled model")
          .in_path(input);
  }
  return save_tree(tree, output);
}

}  // namespace

Result<std::vector<crypt::Recipient>> read_recipients(const std::vector<std::string>& recipients,
                                                      const std::vector<std::string>& files) {
  std::vector<crypt::Recipient> out;
  for (const std::string& text : recipients) {
    // Something else than a recipient may be a secret given by mistake, and is not repeated.
    MLT_ASSIGN(auto recipient,
               crypt::Recipient::parse(text).in(text.starts_with("age1") ? "-r " + text : "-r"));
    out.push_back(std::move(recipient));
  }
  for (const std::string& path : files) {
    MLT_ASSIGN(Blob content, read_input(path));
    MLT_ASSIGN(auto parsed, crypt::parse_recipients(content.text()).in(input_name(path)));
    for (crypt::Recipient& recipient : parsed) out.push_back(std::move(recipient));
  }
  return out;
}

Result<std::unique_ptr<crypt::Source>> input_source(const std::string& path) {
  if (!is_standard(path)) return crypt::file_source(path);
  MLT_TRY(claim_stdin());
  return crypt::fd_source(STDIN_FILENO, input_name(path));
}

Status seal_input(const std::string& input, const std::vector<crypt::Recipient>& recipients, crypt::Form form,
                  Output output) {
  auto sink = [&output](ByteSpan bytes) { return output.write(bytes); };
  if (!is_standard(input) && path_kind(input) == PathKind::kDirectory) {
    FileTree tree = FileTree::from_directory(input);
    if (detect_tree(tree) == FileKind::kUnknown)
      return input_error("is a directory, but neither a model package nor a compiled model").in_path(input);
    MLT_ASSIGN(crypt::Sealer sealer, crypt::Sealer::start(recipients, form, sink));
    MLT_TRY(write_zip(tree, [&sealer](ByteSpan bytes) { return sealer.write(bytes); }));
    MLT_TRY(sealer.finish());
    MLT_TRY(output.finish());
    print_info(input + ": packed and sealed for " + count(recipients.size()));
    return {};
  }
  MLT_ASSIGN(std::unique_ptr<crypt::Source> source, input_source(input));
  Progress progress("sealing", size_of(input));
  uint64_t done = 0;
  MLT_TRY(crypt::seal(*source, recipients, form, [&](ByteSpan bytes) {
    progress.update(done += bytes.size());
    return output.write(bytes);
  }));
  MLT_TRY(output.finish());
  print_info(input_name(input) + ": sealed for " + count(recipients.size()));
  return {};
}

Status open_input(const std::string& input, Keyring& keys, const std::optional<std::string>& output) {
  std::string name = input_name(input);
  MLT_ASSIGN(Output target, Output::plan(output, Content::kBinary, {input}));
  MLT_ASSIGN(std::unique_ptr<crypt::Source> source, input_source(input));
  MLT_ASSIGN(auto opener, crypt::Opener::start(std::move(source)).in(name));
  auto identities = keys.identities(opener.needs_passphrase());
  if (!identities.ok()) return placed(std::move(identities).error(), name);

  // A directory can only be made from a whole archive: the content waits in a file that never gets its name.
  std::optional<AtomicFile> archive;
  bool decided = !wants_directory(output);
  Progress progress("opening", size_of(input));
  uint64_t done = 0;
  Status opened = opener.open(*identities, [&](ByteSpan bytes) -> Status {
    progress.update(done += bytes.size());
    if (!decided && as_text(bytes).starts_with("PK\x03\x04")) {
      std::string beside = *output;
      while (beside.size() > 1 && beside.back() == '/') beside.pop_back();
      MLT_ASSIGN(AtomicFile file, AtomicFile::create(beside + ".zip"));
      archive.emplace(std::move(file));
    }
    decided = true;
    return archive ? archive->write(bytes) : target.write(bytes);
  });
  if (!opened.ok()) return placed(std::move(opened).error(), name);
  print_info(fmt::format("{}: {} bytes, authentic", name, done));
  if (!archive) return target.finish();
  print_info(name + ": an archive, unpacked to " + *output);
  MLT_ASSIGN(Blob content, map_file("/proc/self/fd/" + std::to_string(archive->fd())));
  return unpack(content, name, *output);
}

}  // namespace mlt::cli
