#include "cmd/mlconvert_learner.h"

#include <fmt/core.h>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"
#include "lib/container/save.h"

namespace mlt {
namespace {

// "a,b,c", "@FILE" with one name a line, or "model": those of the file.
Status read_names(const std::string& text, foreign::LearnerOptions* options) {
  if (text == "model") {
    options->model_names = true;
    return {};
  }
  std::string list = text;
  char separator = ',';
  if (text.starts_with('@')) {
    MLT_ASSIGN(Blob blob, cli::read_input(text.substr(1)));
    list = blob.text();
    separator = '\n';
  }
  while (!list.empty() && list.back() == separator) list.pop_back();
  for (size_t at = 0; at <= list.size();) {
    size_t end = std::min(list.find(separator, at), list.size());
    std::string name = list.substr(at, end - at);
    if (name.ends_with('\r')) name.pop_back();
    if (name.empty()) return usage_error("--feature-names holds an empty name");
    options->feature_names.push_back(std::move(name));
    at = end + 1;
  }
  return {};
}

// The specification version of a system: classic models run on older ones than ML programs.
Result<int> version_of_target(const std::string& text) {
  std::string lower;
  for (char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  static constexpr struct {
    const char *ios, *macos, *spec;
    int version;
  } kRows[] = {{"ios11", "macos10.13", "1", 1}, {"ios11.2", "macos10.13.2", "2", 2}, {"ios12", "macos10.14", "3", 3}, {"ios13", "macos10.15", "4", 4}, {"ios14", "macos11", "5", 5}};
  for (const auto& row : kRows)
    if (lower == row.ios || lower == row.macos || lower == row.spec) return row.version;
  MLT_ASSIGN(ops::Opset opset, foreign::target_from_text(text));
  return foreign::spec_version(opset);
}

Status write(const coreml::Model& model, const LearnerRequest& r) {
  if (r.to == "mlpackage") {
    if (cli::is_standard(*r.output) || r.seal.given()) {
      MLT_ASSIGN(auto out, cli::SealedOutput::plan(r.output, {r.source}, r.seal));
      MLT_ASSIGN(auto writer, PackageWriter::to_zip([&](ByteSpan bytes) { return out.write(bytes); }));
      MLT_TRY(writer->finish(model));
      return out.finish();
    }
    MLT_TRY(cli::check_output(r.output, cli::Content::kBinary, {r.source}));
    MLT_ASSIGN(auto writer, PackageWriter::to_directory(*r.output));
    return writer->finish(model);
  }
  MLT_ASSIGN(Bytes bytes, model.serialize());
  MLT_ASSIGN(auto out, cli::SealedOutput::plan(r.output, {r.source}, r.seal));
  MLT_TRY(out.write(bytes));
  return out.finish();
}

}  // namespace

Status convert_learner(const foreign::Learner& learner, const Blob& bytes, const LearnerRequest& r) {
  foreign::LearnerOptions options;
  if (r.feature_names) MLT_TRY(read_names(*r.feature_names, &options));
  options.output_names = r.common.output_names;
  options.metadata = r.common.metadata;
  if (r.common.labels) {
    mlt::Labels labels;
    labels.integers = r.common.labels->strings.empty();
    labels.strings = r.common.labels->strings;
    labels.ints = r.common.labels->ints;
    options.labels = std::move(labels);
  }
  MLT_ASSIGN(foreign::LearnedModel learned, learner.convert(bytes, options).in(cli::input_name(r.source)));
  for (const std::string& warning : learned.warnings) cli::print_warning(cli::printable(warning));
  if (r.common.labels && learned.model.description().predicted_feature_name.empty()) return usage_error("--class-labels: the model is no classifier");
  if (r.target) {
    MLT_ASSIGN(int version, version_of_target(*r.target));
    if (learned.model.spec_version() > version)
      return unsupported_error(fmt::format("the model needs specification version {}, the target has {}", learned.model.spec_version(), version));
  }
  return r.output ? write(learned.model, r) : Status{};
}

}  // namespace mlt
