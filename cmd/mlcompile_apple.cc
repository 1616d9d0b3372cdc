// mlcompile as Apple's coremlcompiler: its words, its arguments in its order, what it prints. What the arguments are is
// public: Apple's xcspec for Core ML in swift-build, and build scripts that call the program.
#include <fmt/core.h>

#include "cmd/mlcompile.h"
#include "lib/base/versions.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/codegen/codegen.h"
#include "lib/container/program.h"
#include "lib/container/save.h"

namespace mlt {
namespace {

// An Info.plist fragment that adds nothing: what a compiled model needs of the app's own.
constexpr char kEmptyPlist[] = R"(<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict/>
</plist>
)";

std::string below(std::string directory, const std::string& name) {
  while (directory.size() > 1 && directory.ends_with('/')) directory.pop_back();
  return directory + "/" + name;
}

Result<bool> yes_or_no(const std::optional<std::string>& text) {
  if (!text || *text == "no" || *text == "NO") return false;
  if (*text == "yes" || *text == "YES") return true;
  return usage_error("--dry-run takes yes or no");
}

}  // namespace

AppleWords::AppleWords(cli::App& app)
    : compile_(app.command("compile", "as Apple's coremlcompiler does: MODEL becomes DIRECTORY/NAME.mlmodelc")),
      generate_(app.command("generate", "as coremlcompiler does: a class for MODEL, as source code in DIRECTORY")),
      metadata_(app.command("metadata", "as coremlcompiler does: print the metadata of MODEL as JSON")) {
  for (cli::Command* command : {&compile_, &generate_}) {
    command->positional(o_.model, "MODEL", "model to read; '-' is stdin").file();
    command->positional(o_.directory, "DIRECTORY", "where to write; made when it is not there").directory();
    command->option("--platform", o_.platform, "NAME", "macos, ios, maccatalyst, tvos, watchos or xros").repeatable();
    command->option("--deployment-target", o_.deployment_target, "V", "least version of the platform; warns when it is too old").repeatable();
    command->option("--sdkroot", o_.sdkroot, "DIR", "means nothing here").repeatable();
    command->option("--output-partial-info-plist", o_.plist, "F", "write what an app's Info.plist needs of it (nothing)").file().repeatable();
    command->option("--container", o_.container, "KIND", "means nothing here").repeatable();
    command->flag("--print-diagnostic-categories", o_.categories, "means nothing here");
    cli::add_key_options(*command, o_.keys);
  }
  compile_.not_yet("--encrypt", true);
  generate_.option("--language", o_.language, "LANG", "Swift or Objective-C (default); C++ and Python, too").repeatable();
  generate_.option("--swift-version", o_.swift_version, "V", "5 or later, or 4: the same is written for all").repeatable();
  generate_.flag("--public-access", o_.public_access, "Swift: public classes");
  generate_.flag("--globalmodule", o_.global_module, "Swift: classes that Objective-C can use");
  generate_.option("--dry-run", o_.dry_run, "YES", "with 'yes': print the names of the files only").repeatable();
  compile_.examples("mlcompile compile m.mlpackage Resources/ --platform ios --deployment-target 16.0");
  generate_.examples("mlcompile generate m.mlpackage Sources/ --language Swift --swift-version 5");
  metadata_.positional(o_.model, "MODEL", "model to read; '-' is stdin").file();
  cli::add_key_options(metadata_, o_.keys);
  metadata_.examples("mlcompile metadata m.mlpackage");
}

bool AppleWords::chosen() const { return compile_.chosen() || generate_.chosen() || metadata_.chosen(); }

void AppleWords::say_what_means_nothing() const {
  std::string names;
  auto add = [&](bool given, const char* name) {
    if (given) names += (names.empty() ? "" : ", ") + std::string(name);
  };
  add(o_.sdkroot.has_value(), "--sdkroot");
  add(o_.container.has_value(), "--container");
  add(o_.categories, "--print-diagnostic-categories");
  if (!names.empty()) cli::print_hint(names + ": accepted, and without a meaning off a Mac");
}

Status AppleWords::check_target(const OpenedModel& model) const {
  if (o_.deployment_target && !compare_versions(*o_.deployment_target, "1")) return usage_error("--deployment-target: \"" + *o_.deployment_target + "\" is no version");
  if (!o_.platform) return {};
  auto system = codegen::system_name(*o_.platform);
  if (!system) return usage_error("--platform: \"" + *o_.platform + "\" is no platform", "macos, ios, maccatalyst, tvos, watchos or xros");
  if (!o_.deployment_target) return {};
  for (const auto& [name, version] : codegen::systems_of(model.model.spec_version()))
    if (name == *system && compare_versions(*o_.deployment_target, version) < 0)
      cli::print_warning(fmt::format("{}: specification version {} needs {} {}, and the deployment target is {}", cli::printable(model.origin),
                                     model.model.spec_version(), name, version, *o_.deployment_target));
  return {};
}

Status AppleWords::write_plist() const { return o_.plist ? write_text(*o_.plist, kEmptyPlist) : Status{}; }

Status AppleWords::compile() {
  MLT_ASSIGN(OpenedModel model, cli::read_model(o_.model, o_.keys));
  if (cli::is_standard(o_.model)) model.name = "model";
  MLT_TRY(check_target(model));
  MLT_ASSIGN(CompiledFiles files, compile_opened(model, false));
  std::string path = below(o_.directory, model.name + ".mlmodelc");
  MLT_TRY(make_directories(o_.directory));
  MLT_TRY(write_directory(files.tree, path));
  MLT_TRY(write_plist());
  // What Apple's prints: the file by which a build system knows that the model is there.
  fmt::print("{}/coremldata.bin\n", path);
  return {};
}

Status AppleWords::generate() {
  codegen::Options options;
  auto language = codegen::language_of(o_.language.value_or("Objective-C"));
  if (!language) return usage_error("--language: \"" + *o_.language + "\" is no language that is known here", "Swift, Objective-C, C++ or Python");
  options.language = *language;
  bool swift = options.language == codegen::Language::kSwift;
  if (!swift && (o_.public_access || o_.global_module || o_.swift_version)) return usage_error("--public-access, --globalmodule and --swift-version go with --language Swift");
  if (o_.swift_version && !compare_versions(*o_.swift_version, "1")) return usage_error("--swift-version: \"" + *o_.swift_version + "\" is no version");
  options.public_access = o_.public_access;
  options.global_module = o_.global_module;
  if (o_.platform) options.platform = codegen::Platform{*o_.platform, o_.deployment_target.value_or("")};
  MLT_ASSIGN(bool dry_run, yes_or_no(o_.dry_run));
  MLT_ASSIGN(OpenedModel model, cli::read_model(o_.model, o_.keys));
  if (cli::is_standard(o_.model)) model.name = "model";
  MLT_TRY(complete_mil_text(model));
  MLT_TRY(check_target(model));
  MLT_ASSIGN(auto files, codegen::generate(model, options));
  if (!dry_run) MLT_TRY(make_directories(o_.directory));
  for (const codegen::SourceFile& file : files) {
    std::string path = below(o_.directory, file.name);
    if (!dry_run) MLT_TRY(write_text(path, file.text));
    fmt::print("{}\n", path);
  }
  if (!dry_run) MLT_TRY(write_plist());
  return {};
}

Status AppleWords::metadata() {
  MLT_ASSIGN(OpenedModel model, cli::read_model(o_.model, o_.keys));
  if (cli::is_standard(o_.model)) model.name = "model";
  MLT_ASSIGN(std::string json, compiled_metadata_json(model));
  fmt::print("{}\n", json);
  return {};
}

Status AppleWords::run() {
  say_what_means_nothing();
  if (compile_.chosen()) return compile();
  return generate_.chosen() ? generate() : metadata();
}

}  // namespace mlt
