// mlcompile: a Core ML model becomes what Core ML loads: an .mlmodelc directory, or an archive of it; or source code that
// uses it. Called coremlcompiler, or with one of its words, it takes the arguments of Apple's compiler.
#include "cmd/mlcompile.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/container/save.h"
#include "lib/container/zip.h"

using namespace mlt;

namespace {

// A directory is replaced as a whole, so only one that is a compiled model (or nothing yet) may be in the way.
Status check_directory(const std::string& path) {
  std::string_view name = path;
  while (name.ends_with('/')) name.remove_suffix(1);
  if (!name.ends_with(".mlmodelc"))
    return usage_error("output \"" + path + "\" is not named .mlmodelc", "or .mlarchive, for one file; \"-\" is an archive on stdout");
  PathKind kind = path_kind(path);
  if (kind == PathKind::kMissing) return {};
  if (kind != PathKind::kDirectory) return resource_error("exists, and is not a directory").in_path(path);
  if (detect_path(path) == FileKind::kCompiled) return {};
  MLT_ASSIGN(auto names, FileTree::from_directory(path).names());
  if (!names.empty()) return resource_error("exists, and is not a compiled model", "remove it first").in_path(path);
  return {};
}

Status compile(CompileArguments o) {
  // 1. Where to.
  bool archive = o.archive || o.to.given() || cli::is_standard(o.output) || o.output.ends_with(".mlarchive");
  if (o.encrypt && !o.to.given()) return usage_error("nobody to seal for", "give -r or -R");
  MLT_ASSIGN(const std::vector<std::string> targets, prepared_targets(o.optimize_for));
  if (archive && !targets.empty()) return usage_error("--optimize-for keeps prepared weights in a directory, to be mapped from there", "name the output .mlmodelc");
  if (o.depfile && cli::is_standard(o.output)) return usage_error("a dependency file needs an output with a name");
  std::optional<cli::SealedOutput> stream;
  if (archive) {
    if (o.output.ends_with(".mlmodelc") || o.output.ends_with(".mlmodelc/"))
      return o.to.given() ? usage_error("a sealed model is one file, and .mlmodelc is a directory", "name it .mlarchive.age")
                          : usage_error("--archive writes one file, and .mlmodelc is a directory", "name it .mlarchive");
    MLT_ASSIGN(auto planned, cli::SealedOutput::plan(o.output, {o.model}, o.to));
    stream.emplace(std::move(planned));
  } else {
    MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.model}));
    MLT_TRY(check_directory(o.output));
  }

  // 2. Open and compile. The name of the model's class is the source's; a stream has none, so it is the output's.
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  if (cli::is_standard(o.model)) model.name = cli::is_standard(o.output) ? "model" : model_base_name(o.output);
  MLT_ASSIGN(CompiledFiles files, compile_opened(model, o.keep_source));

  // 3. Write.
  if (archive && !o.to.given() && !cli::is_standard(o.output) && same_archive(files.tree, o.output)) {
    cli::print_info(o.output + ": unchanged, left alone");
  } else if (archive) {
    MLT_TRY(write_zip(files.tree, [&](ByteSpan bytes) { return stream->write(bytes); }));
    MLT_TRY(stream->finish());
  } else {
    MLT_TRY(write_directory(files.tree, o.output, targets));
  }
  if (!o.depfile) return {};
  if (cli::is_standard(o.model)) files.inputs.clear();
  return write_text(*o.depfile, depfile_text(o.output, files.inputs));
}

}  // namespace

int main(int argc, char** argv) {
  std::string called = argc > 0 ? argv[0] : "";
  called.erase(0, called.rfind('/') + 1);
  bool apple = called == "coremlcompiler" || called == "coremlc";
  cli::App app(apple ? called : "mlcompile", "compile a Core ML model to the .mlmodelc that Core ML loads");
  CompileArguments o;
  AppleWords words(app);
  app.usage(
      "[--archive] [-r RECIPIENT] [--depfile F] -o OUT MODEL\n"
      "--generate swift|objc|c++|python [--class NAME] -o OUT MODEL\n"
      "--collection RULES.json -o DIRECTORY\n"
      "compile|generate MODEL DIRECTORY [--language LANG] ...\n"
      "metadata MODEL");
  app.positional(o.model, "MODEL", "model to compile; '-' is stdin").file().optional();
  app.option("-o,--output", o.output, "OUT", ".mlmodelc directory, .mlarchive file, or '-' for an archive on stdout").file();
  app.flag("--archive", o.archive, "write one uncompressed archive, whatever its name");
  app.flag("--keep-source", o.keep_source, "store networks that cannot be compiled as they are");
  app.option("--optimize-for", o.optimize_for, "SETS", "keep weights prepared for these instruction sets: native, x86-64-v3, ... (none)");
  app.option("--depfile", o.depfile, "F", "write the files that were read to F, as a Makefile rule").file();
  app.flag("--encrypt", o.encrypt, "seal the archive for the recipients of -r and -R (they alone suffice)");
  cli::add_seal_options(app, o.to);
  app.option("--generate", o.generate, "LANG", "write a class for programs that use the model").choices({"swift", "objc", "c++", "python"});
  app.option("--class", o.class_name, "NAME", "of --generate, name of the class (the model's)");
  app.flag("--public-access", o.public_access, "of --generate swift, public classes");
  app.option("--collection", o.collection, "FILE", "pack the models of FILE with their rules into a directory").file();
  cli::add_key_options(app, o.keys);
  app.examples(
      "mlcompile -o MobileNet.mlmodelc MobileNet.mlpackage\n"
      "mlcompile --generate c++ -o MobileNet.hpp MobileNet.mlpackage\n"
      "mlconvert m.onnx -o - | mlcompile -o m.mlarchive -");
  return app.run(argc, argv, [&]() -> Status {
    if (words.chosen()) return words.run();
    if (apple) return usage_error("no command", called + " compile|generate MODEL DIRECTORY, or " + called + " metadata MODEL");
    if (o.model.empty() == !o.collection) return usage_error(o.collection ? "--collection names its models itself" : "missing argument MODEL");
    if (o.output.empty()) return usage_error("option '--output' is required");
    if (o.class_name && !o.generate) return usage_error("--class goes with --generate");
    if (o.public_access && !o.generate) return usage_error("--public-access goes with --generate");
    if (o.collection) return pack_collection(o);
    return o.generate ? generate_source(o) : compile(o);
  });
}
