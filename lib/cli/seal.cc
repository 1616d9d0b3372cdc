#include "lib/cli/seal.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "lib/cli/diag.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"
#include "lib/container/open.h"
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

Status unpack(Blob content, const std::string& input, const std::string& output) {
  if (detect_bytes(content.bytes()) == FileKind::kZstd) {
    MLT_ASSIGN(content, decompress_zstd(content, OpenOptions{}.max_decompressed).in(input));
  }
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

Result<std::unique_ptr<crypt::Source>> input_or_package(const std::string& path) {
  if (is_standard(path) || path_kind(path) != PathKind::kDirectory) return input_source(path);
  FileTree tree = FileTree::from_directory(path);
  if (detect_tree(tree) == FileKind::kUnknown)
    return input_error("is a directory, but neither a model package nor a compiled model").in_path(path);
  // The archive is made in a file that never gets a name: a source gives bytes when it is asked, an archive pushes them.
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), std::fclose);
  if (!file) return resource_error(std::string("cannot make a temporary file: ") + std::strerror(errno));
  MLT_TRY(write_zip(tree, fd_sink(fileno(file.get()), "temporary file")));
  MLT_ASSIGN(Blob content, map_file("/proc/self/fd/" + std::to_string(fileno(file.get()))));
  return crypt::blob_source(std::move(content));
}

void add_seal_options(Command& command, SealOptions& options, bool output) {
  command.option("-r,--recipient", options.recipients, "RECIPIENT",
                 std::string(output ? "seal the output" : "seal") + " for RECIPIENT (age1... or ssh-ed25519 ...); may be repeated");
  command.option("-R,--recipients-file", options.files, "FILE",
                 std::string(output ? "seal it" : "seal") + " for the recipients listed in FILE").file();
}

Result<SealedOutput> SealedOutput::plan(const std::optional<std::string>& path, const std::vector<std::string>& inputs,
                                        const SealOptions& options) {
  MLT_ASSIGN(Output output, Output::plan(path, Content::kBinary, inputs));
  SealedOutput out(std::move(output));
  MLT_ASSIGN(out.recipients_, read_recipients(options.recipients, options.files));
  return out;
}

Status SealedOutput::write(ByteSpan bytes) {
  if (recipients_.empty()) return output_->write(bytes);
  if (!sealer_) {
    Output* to = output_.get();
    MLT_ASSIGN(crypt::Sealer sealer,
               crypt::Sealer::start(recipients_, crypt::Form::kBinary, [to](ByteSpan sealed) { return to->write(sealed); }));
    sealer_.emplace(std::move(sealer));
  }
  return sealer_->write(bytes);
}

Status SealedOutput::finish() {
  if (!recipients_.empty()) {
    MLT_TRY(write({}));
    MLT_TRY(sealer_->finish());
  }
  return output_->finish();
}

Status seal_input(const std::string& input, const std::vector<crypt::Recipient>& recipients, crypt::Form form,
                  bool compress, Output output) {
  bool directory = !is_standard(input) && path_kind(input) == PathKind::kDirectory;
  FileTree tree;
  std::unique_ptr<crypt::Source> source;
  if (directory) {
    tree = FileTree::from_directory(input);
    if (detect_tree(tree) == FileKind::kUnknown)
      return input_error("is a directory, but neither a model package nor a compiled model").in_path(input);
  } else {
    MLT_ASSIGN(source, input_source(input));
  }
  MLT_ASSIGN(crypt::Sealer sealer,
             crypt::Sealer::start(recipients, form, [&output](ByteSpan bytes) { return output.write(bytes); }));
  std::optional<ZstdWriter> packer;
  if (compress) packer.emplace([&sealer](ByteSpan bytes) { return sealer.write(bytes); });
  Progress progress("sealing", size_of(input));
  uint64_t done = 0;
  auto write = [&](ByteSpan bytes) {
    progress.update(done += bytes.size());
    return packer ? packer->write(bytes) : sealer.write(bytes);
  };
  if (directory) {
    MLT_TRY(write_zip(tree, write));
  } else {
    Bytes buffer(1 << 18);
    for (;;) {
      MLT_ASSIGN(size_t n, source->read(buffer));
      if (n == 0) break;
      MLT_TRY(write(ByteSpan(buffer).first(n)));
    }
  }
  if (packer) MLT_TRY(packer->finish());
  MLT_TRY(sealer.finish());
  MLT_TRY(output.finish());
  print_info(input_name(input) + (directory ? ": packed and sealed for " : ": sealed for ") + count(recipients.size()));
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
    if (!decided && (as_text(bytes).starts_with("PK\x03\x04") || as_text(bytes).starts_with("\x28\xb5\x2f\xfd"))) {
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
