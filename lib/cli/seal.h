// Sealing and opening whole inputs as tools do it: recipients from options, packages packed on the way in and
// unpacked on the way out.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/cli/io.h"
#include "lib/cli/keys.h"
#include "lib/crypt/age.h"

namespace mlt::cli {

// The options by which a tool is told for whom to seal what it writes.
struct SealOptions {
  std::vector<std::string> recipients;  // -r, --recipient RECIPIENT
  std::vector<std::string> files;       // -R, --recipients-file FILE
  bool given() const { return !recipients.empty() || !files.empty(); }
};
// output: says that it is the tool's output that is sealed.
void add_seal_options(Command& command, SealOptions& options, bool output = true);

// What a tool writes as one stream, sealed when recipients are given (and never in the clear on the way).
class SealedOutput {
 public:
  // The checks of Output::plan; kUsage for recipients that are none.
  static Result<SealedOutput> plan(const std::optional<std::string>& path, const std::vector<std::string>& inputs,
                                   const SealOptions& options);
  Status write(ByteSpan bytes);
  Status finish();

 private:
  explicit SealedOutput(Output output) : output_(std::make_unique<Output>(std::move(output))) {}
  std::unique_ptr<Output> output_;  // keeps its place: the sealer writes to it
  std::vector<crypt::Recipient> recipients_;
  std::optional<crypt::Sealer> sealer_;
};

// Recipients given directly ("age1...") and in files, one a line ("-": stdin). Errors name the option or the
// file.
Result<std::vector<crypt::Recipient>> read_recipients(const std::vector<std::string>& recipients,
                                                      const std::vector<std::string>& files);

// A stream over a file or stdin ("-"). Errors: kInput.
Result<std::unique_ptr<crypt::Source>> input_source(const std::string& path);

// The same, or the uncompressed zip of a model directory.
Result<std::unique_ptr<crypt::Source>> input_or_package(const std::string& path);

// Seals the file, stdin ("-") or model directory `input` into `output` and finishes it. A directory must be a
// package or a compiled model, and is sealed as an uncompressed zip. compress: as .zst.
Status seal_input(const std::string& input, const std::vector<crypt::Recipient>& recipients, crypt::Form form,
                  bool compress, Output output);

// Opens the sealed file `input` into the path `output` (nullopt or "-": stdout). An output whose name ends in
// .mlpackage or .mlmodelc becomes a directory when the content is an archive of one.
Status open_input(const std::string& input, Keyring& keys, const std::optional<std::string>& output);

}  // namespace mlt::cli
