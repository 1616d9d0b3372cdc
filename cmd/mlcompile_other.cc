// What mlcompile writes beside compiled models: source code (--generate) and collections (--collection).
#include <fmt/core.h>

#include <map>

#include "cmd/mlcompile.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/codegen/codegen.h"
#include "lib/container/collection.h"
#include "lib/container/program.h"
#include "lib/container/save.h"

namespace mlt {

Result<CompiledFiles> compile_opened(const OpenedModel& model, bool keep_source) {
  std::string signature = "mltools " + cli::version();
  MLT_ASSIGN(CompiledFiles files, compile_model(model, {.component_version = signature, .compiler_version = signature, .keep_source = keep_source}));
  for (const std::string& reason : files.kept_sources)
    cli::print_warning(cli::printable(model.origin) + ": stored as its source, which Core ML cannot open: " + cli::printable(reason));
  for (const std::string& name : files.missing_weights)
    cli::print_warning(cli::printable(model.origin) + ": weight file " + cli::printable(name) + " is missing; the compiled model lacks it too");
  return files;
}

// A build system that sees an old output does what depends on it again only when something has changed.
Status write_text(const std::string& path, std::string_view text) {
  if (same_content(as_bytes(text), path)) {
    cli::print_info(path + ": unchanged, left alone");
    return {};
  }
  return write_file(path, as_bytes(text));
}

Status generate_source(const CompileArguments& o) {
  codegen::Options options;
  options.language = *codegen::language_of(*o.generate);  // one of the choices of the option
  options.class_name = o.class_name.value_or("");
  options.public_access = o.public_access;
  if (o.archive || o.encrypt || o.keep_source || o.to.given()) return usage_error("--generate writes source code; --archive, --encrypt, --keep-source, -r and -R do not go with it");
  if (o.optimize_for != "none") return usage_error("--generate writes source code; --optimize-for does not go with it");
  if (o.public_access && options.language != codegen::Language::kSwift) return usage_error("--public-access goes with --generate swift");
  if (o.depfile && cli::is_standard(o.output)) return usage_error("a dependency file needs an output with a name");
  std::vector<std::string> extensions = codegen::extensions(options.language);
  bool directory = o.output.ends_with('/') || path_kind(o.output) == PathKind::kDirectory;
  bool standard = cli::is_standard(o.output);
  std::string folder = directory ? o.output : "";
  if (standard) {
    if (extensions.size() > 1) return usage_error("two files do not fit on stdout", "name a directory");
  } else if (!directory) {
    if (!o.output.ends_with(extensions[0])) return usage_error(fmt::format("output \"{}\" is neither a directory nor named {}", o.output, extensions[0]), "a directory that is not there yet ends in '/'");
    size_t slash = o.output.rfind('/');
    folder = slash == o.output.npos ? "" : o.output.substr(0, slash + 1);
    options.file_name = o.output.substr(folder.size(), o.output.size() - folder.size() - extensions[0].size());
    if (options.file_name.empty()) return usage_error("output \"" + o.output + "\" has no name");
  }
  if (!folder.empty() && !folder.ends_with('/')) folder += '/';
  MLT_ASSIGN(cli::Output out, cli::Output::plan(directory ? folder + "source" : o.output, cli::Content::kText, {o.model}));
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  if (cli::is_standard(o.model)) model.name = options.file_name.empty() ? "model" : options.file_name;
  MLT_TRY(complete_mil_text(model));
  MLT_ASSIGN(auto files, codegen::generate(model, options));
  if (standard) {
    MLT_TRY(out.write(files[0].text));
    return out.finish();
  }
  if (directory) MLT_TRY(make_directories(folder));
  for (const codegen::SourceFile& file : files) MLT_TRY(write_text(folder + file.name, file.text));
  if (!o.depfile) return {};
  std::vector<std::string> inputs;
  if (!cli::is_standard(o.model)) inputs = source_files(model);
  return write_text(*o.depfile, depfile_text(folder + files[0].name, inputs));
}

Status pack_collection(const CompileArguments& o) {
  if (o.generate || o.archive || o.encrypt || o.to.given()) return usage_error("--collection writes a directory of archives; --generate, --archive, --encrypt, -r and -R do not go with it");
  if (o.optimize_for != "none") return usage_error("a collection holds archives; prepared weights are kept in directories", "leave --optimize-for out");
  if (cli::is_standard(o.output)) return usage_error("a collection is a directory, and stdout is none");
  std::string output = o.output;
  while (output.size() > 1 && output.ends_with('/')) output.pop_back();
  // Replaced as a whole, so only a collection (or nothing yet) may be in the way.
  if (path_kind(output) == PathKind::kDirectory && path_kind(output + "/manifest.json") != PathKind::kFile) {
    MLT_ASSIGN(auto names, FileTree::from_directory(output).names());
    if (!names.empty()) return resource_error("exists, and is not a model collection", "remove it first").in_path(output);
  } else if (path_kind(output) == PathKind::kFile || path_kind(output) == PathKind::kOther) {
    return resource_error("exists, and is not a directory").in_path(output);
  }
  MLT_ASSIGN(Blob text, cli::read_input(*o.collection));
  MLT_ASSIGN(Collection collection, parse_collection(text.text(), false).in(cli::input_name(*o.collection)));
  size_t slash = o.collection->rfind('/');
  std::string base = cli::is_standard(*o.collection) || slash == std::string::npos ? "" : o.collection->substr(0, slash + 1);

  // A description of another collection may name its own output as a model; then nothing may be replaced.
  std::vector<std::string> inputs;
  if (!cli::is_standard(*o.collection)) inputs.push_back(*o.collection);
  MLT_ASSIGN(AtomicDirectory directory, AtomicDirectory::create(output, true));
  std::map<std::string, Blob> files;
  for (CollectionModel& model : collection.models)
    for (size_t i = 0; i < model.variants.size(); ++i) {
      CollectionVariant& variant = model.variants[i];
      std::string path = variant.path.starts_with('/') ? variant.path : base + variant.path;
      if (path.starts_with(output + "/") || path == output) return usage_error("is in the output").in_path(path);
      MLT_ASSIGN(OpenedModel opened, cli::read_model(path, o.keys));
      std::vector<std::string> read = source_files(opened);
      FileTree tree = opened.files;
      if (opened.kind != FileKind::kCompiled) {
        MLT_ASSIGN(CompiledFiles compiled, compile_opened(opened, o.keep_source));
        tree = compiled.tree;
        read = compiled.inputs;
      }
      inputs.insert(inputs.end(), read.begin(), read.end());
      variant.path = archive_name(model, i);
      MLT_ASSIGN(AtomicFile file, AtomicFile::create(directory.temp_path() + "/" + variant.path));
      ArchiveDigest digest;
      MLT_TRY(write_zip(tree, [&](ByteSpan bytes) {
        digest.update(bytes.data(), bytes.size());
        variant.bytes += bytes.size();
        return file.write(bytes);
      }));
      MLT_TRY(file.commit());
      variant.sha256 = digest.finish();
    }
  MLT_TRY(write_file(directory.temp_path() + "/manifest.json", as_bytes(collection_manifest(collection))));
  if (same_directory(FileTree::from_directory(directory.temp_path()), output)) cli::print_info(output + ": unchanged, left alone");
  else MLT_TRY(directory.commit());
  return o.depfile ? write_text(*o.depfile, depfile_text(output, inputs)) : Status{};
}

}  // namespace mlt
