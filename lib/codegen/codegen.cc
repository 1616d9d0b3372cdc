#include "lib/codegen/codegen.h"

#include <fmt/core.h>

#include <cctype>

#include "lib/base/versions.h"
#include "lib/codegen/interface.h"
#include "lib/container/metadata_json.h"
#include "lib/container/program.h"

namespace mlt::codegen {
namespace {

using coreml::FeatureKind;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// Features with identifiers that differ from each other; what cannot be said is added to `problems`.
std::vector<Feature> features_of(const std::vector<coreml::FeatureDescription>& described, Language language, const char* role,
                                 std::vector<std::string>& problems) {
  std::set<std::string> taken = reserved_words(language);
  std::vector<Feature> out;
  for (const coreml::FeatureDescription& feature : described) {
    const coreml::FeatureType& type = feature.type;
    bool typed = type.kind != FeatureKind::kNone;
    if (type.kind == FeatureKind::kDictionary || type.kind == FeatureKind::kSequence)
      typed = type.element == FeatureKind::kInt64 || type.element == FeatureKind::kString;
    if (!typed) problems.push_back(fmt::format("{} \"{}\" has no type", role, feature.name));
    Feature row{feature.name, identifier(feature.name, taken), "", type};
    // capitalized() joins names in Objective-C, so that names may not differ in the first letter's case alone.
    taken.insert(row.id);
    taken.insert(capitalized(row.id));
    if (row.id[0] >= 'A' && row.id[0] <= 'Z') taken.insert(std::string(1, static_cast<char>(row.id[0] - 'A' + 'a')) + row.id.substr(1));
    std::string doc = one_line(feature.doc);
    row.about = fmt::format("{} ({}{})", doc.empty() ? one_line(feature.name) : doc, type.optional ? "optional; " : "", coreml::format_type(type));
    out.push_back(std::move(row));
  }
  return out;
}

Result<Interface> interface_of(const OpenedModel& opened, const Options& options) {
  Interface out;
  out.options = options;
  out.resource = opened.name;
  // A class of C++ may not have the name of one of its members.
  std::set<std::string> reserved = reserved_words(options.language);
  if (options.language == Language::kCpp) reserved.insert({"prediction", "predictions", "make_state", "class_labels", "mltools_model", "model_", "to_features", "to_output"});
  out.class_name = identifier(options.class_name.empty() ? opened.name : options.class_name, reserved);
  out.file = !options.file_name.empty() ? options.file_name : !options.class_name.empty() ? options.class_name : opened.name;
  // A module of Python is imported by an identifier.
  if (options.language == Language::kPython && options.file_name.empty()) out.file = out.class_name;
  if (!options.class_name.empty() && out.class_name != options.class_name)
    return usage_error(fmt::format("\"{}\" cannot be the name of a class", options.class_name));
  const coreml::Description& description = opened.model.description();
  auto interface = description.function();
  std::vector<std::string> problems;
  if (!interface || interface->outputs.empty()) {
    problems.push_back("the model describes no outputs");
    interface = interface ? interface : coreml::FunctionDescription{};
  }
  out.inputs = features_of(interface->inputs, options.language, "input", problems);
  out.outputs = features_of(interface->outputs, options.language, "output", problems);
  out.states = features_of(interface->states, options.language, "state", problems);
  if (!problems.empty()) {
    std::string all;
    for (const std::string& problem : problems) all += (all.empty() ? "" : "; ") + problem;
    return unsupported_error("no class can be written: " + all);
  }
  coreml::Model::ClassLabels labels = opened.model.class_labels();
  out.labels = labels.as_text();
  out.integer_labels = labels.present && labels.integers;
  if (opened.compiled && opened.compiled->data && opened.compiled->data->has_labels) {
    out.labels = opened.compiled->data->labels;
    out.integer_labels = out.labels.empty() && !opened.compiled->data->int_labels.empty();
    for (int64_t label : opened.compiled->data->int_labels) out.labels.push_back(std::to_string(label));
  }
  if (out.labels.empty() && !interface->predicted_feature_name.empty() &&
      (opened.model.kind() == coreml::ModelKind::kMlProgram || opened.kind == FileKind::kMilText)) {
    MLT_ASSIGN(auto program, load_program(opened));
    out.labels = program_class_labels(*program);
    const coreml::FeatureDescription* label = coreml::find_feature(interface->outputs, interface->predicted_feature_name);
    out.integer_labels = label != nullptr && label->type.kind == FeatureKind::kInt64;
  }
  if (!description.functions.empty()) out.functions = description.function_names();
  out.about = one_line(description.metadata.short_description);
  out.spec_version = opened.model.spec_version();
  out.systems = systems_of(out.spec_version);
  if (options.platform) {
    auto system = system_name(options.platform->name);
    if (!system) return usage_error(fmt::format("\"{}\" is no platform", options.platform->name), "macos, ios, maccatalyst, tvos, watchos or xros");
    if (!options.platform->version.empty()) {
      if (!compare_versions(options.platform->version, "1")) return usage_error(fmt::format("\"{}\" is no version", options.platform->version));
      for (auto& [name, version] : out.systems)
        if (name == *system && compare_versions(options.platform->version, version) > 0) version = options.platform->version;
    }
  }
  return out;
}

}  // namespace

std::optional<Language> language_of(std::string_view name) {
  std::string text = lower(name);
  if (text == "swift") return Language::kSwift;
  if (text == "objc" || text == "objective-c") return Language::kObjectiveC;
  if (text == "c++" || text == "cpp") return Language::kCpp;
  if (text == "python") return Language::kPython;
  return std::nullopt;
}

std::vector<std::string> extensions(Language language) {
  switch (language) {
    case Language::kSwift: return {".swift"};
    case Language::kObjectiveC: return {".h", ".m"};
    case Language::kCpp: return {".hpp"};
    case Language::kPython: return {".py"};
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> systems_of(int spec_version) {
  const Availability* row = availability_of(spec_version);
  if (row == nullptr) return {};
  // Core ML came to visionOS with its first version.
  return {{"macOS", row->macos}, {"iOS", row->ios}, {"tvOS", row->ios}, {"watchOS", row->watchos}, {"visionOS", *row->visionos ? row->visionos : "1.0"}};
}

std::optional<std::string> system_name(std::string_view platform) {
  constexpr std::pair<const char*, const char*> kNames[] = {{"macos", "macOS"},     {"macosx", "macOS"},     {"ios", "iOS"},         {"iphoneos", "iOS"},
                                                            {"maccatalyst", "iOS"}, {"tvos", "tvOS"},        {"watchos", "watchOS"}, {"xros", "visionOS"},
                                                            {"visionos", "visionOS"}};
  std::string wanted = lower(platform);
  for (const auto& [name, system] : kNames)
    if (wanted == name || wanted == std::string(name) + "-simulator") return system;
  return std::nullopt;
}

Result<std::vector<SourceFile>> generate(const OpenedModel& model, const Options& options) {
  MLT_ASSIGN(Interface interface, interface_of(model, options));
  std::vector<SourceFile> out;
  for (const std::string& extension : extensions(options.language)) out.push_back({interface.file + extension, ""});
  switch (options.language) {
    case Language::kSwift: out[0].text = swift_text(interface); break;
    case Language::kObjectiveC:
      out[0].text = objc_header(interface);
      out[1].text = objc_source(interface);
      break;
    case Language::kCpp: out[0].text = cpp_text(interface); break;
    case Language::kPython: out[0].text = python_text(interface); break;
  }
  return out;
}

const std::set<std::string>& reserved_words(Language language) {
  static const std::set<std::string> swift = {
      "Any", "Protocol", "Self", "Type", "actor", "as", "associatedtype", "async", "await", "break", "case", "catch", "class", "continue", "default",
      "defer", "deinit", "do", "else", "enum", "extension", "fallthrough", "false", "featureNames", "featureValue", "fileprivate", "for", "func",
      "guard", "if", "import", "in", "init", "inout", "internal", "is", "let", "nil", "open", "operator", "precedencegroup", "private", "protocol",
      "provider", "public", "repeat", "rethrows", "return", "self", "static", "struct", "subscript", "super", "switch", "throw", "throws", "true",
      "try", "typealias", "var", "where", "while", "options", "state", "hash", "description"};
  static const std::set<std::string> objc = {
      "BOOL", "Class", "IMP", "NO", "SEL", "YES", "alloc", "asm", "auto", "bool", "break", "case", "char", "class", "const", "continue", "copy",
      "dealloc", "debugDescription", "default", "description", "do", "double", "else", "enum", "error", "extern", "featureNames", "float", "for",
      "goto", "hash", "id", "if", "in", "init", "inline", "inout", "int", "int64_t", "isProxy", "long", "mutableCopy", "new", "nil", "nonatomic",
      "options", "register", "release", "restrict", "retain", "return", "self", "short", "signed", "sizeof", "static", "struct", "super", "superclass",
      "switch", "true", "false", "typedef", "typeof", "union", "unsigned", "void", "volatile", "while", "zone", "NULL", "provider", "state"};
  static const std::set<std::string> cpp = {
      "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break", "case", "catch", "char", "char16_t", "char32_t",
      "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit",
      "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum", "explicit", "export", "extern", "false", "float",
      "for", "friend", "goto", "if", "inline", "int", "long", "mltools", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
      "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast", "requires", "return", "short", "signed", "sizeof",
      "state", "static", "static_assert", "static_cast", "std", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try",
      "typedef", "typeid", "typename", "union", "unsigned", "using", "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq", "unix", "linux"};
  static const std::set<std::string> python = {
      "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
      "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "self", "state",
      "try", "while", "with", "yield", "ct", "field", "dataclass"};
  switch (language) {
    case Language::kSwift: return swift;
    case Language::kObjectiveC: return objc;
    case Language::kCpp: return cpp;
    case Language::kPython: return python;
  }
  return cpp;
}

}  // namespace mlt::codegen
