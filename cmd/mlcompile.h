// The parts of mlcompile.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/app.h"
#include "lib/cli/keys.h"
#include "lib/cli/seal.h"
#include "lib/container/compile.h"

namespace mlt {

struct CompileArguments {
  std::string model, output;
  bool archive = false, encrypt = false, keep_source = false;
  cli::SealOptions to;
  std::optional<std::string> depfile, generate, class_name, collection;
  std::string optimize_for = "none";
  bool public_access = false;
  cli::KeyOptions keys;
};

// The compiled form; what had to be kept or is missing is a warning.
Result<CompiledFiles> compile_opened(const OpenedModel& model, bool keep_source);
// A compiled model as a directory, with weights prepared for these instruction sets; left alone when it is there with the
// same content.
Status write_directory(const FileTree& tree, const std::string& path, const std::vector<std::string>& targets = {});
// The instruction sets of --optimize-for, "native,x86-64-v3", by the names of this machine's; empty for "none".
Result<std::vector<std::string>> prepared_targets(const std::string& text);
// A file, left alone when it has these bytes already.
Status write_text(const std::string& path, std::string_view text);

// --generate: source code into a directory, a file, or stdout.
Status generate_source(const CompileArguments& o);
// --collection: several models with rules into a directory.
Status pack_collection(const CompileArguments& o);

// The words of Apple's coremlcompiler: compile, generate, metadata.
class AppleWords {
 public:
  explicit AppleWords(cli::App& app);
  bool chosen() const;
  Status run();

 private:
  struct Arguments {
    std::string model, directory;
    std::optional<std::string> platform, deployment_target, sdkroot, plist, container, language, swift_version, dry_run, module;
    bool public_access = false, global_module = false, categories = false;
    cli::KeyOptions keys;
  };
  void common_options(cli::Command& command);
  Status check_target(const OpenedModel& model) const;
  Status write_plist() const;
  void say_what_means_nothing() const;
  Status compile();
  Status generate();
  Status metadata();
  cli::Command &compile_, &generate_, &metadata_;
  Arguments o_;
};

}  // namespace mlt
