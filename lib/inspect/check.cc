#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "lib/inspect/inspect.h"
#include "lib/ir/verify.h"

namespace mlt::inspect {

using coreml::Finding;
using coreml::Severity;

std::vector<Finding> check(const Subject& subject) {
  std::vector<Finding> out;
  // A compiled model keeps the interface only, and text has no message; what is checked then is the program.
  bool whole = !subject.opened.compiled || (subject.opened.compiled->data && subject.opened.compiled->data->backend == "spec");
  if (whole) out = coreml::validate(subject.opened.model, subject.opened.weights.get());
  bool pipeline = coreml::is_pipeline(subject.opened.model.kind());
  for (size_t i = 0; i < subject.programs.size(); ++i) {
    if (subject.programs[i] == nullptr) continue;
    for (const Error& error : ir::verify(*subject.programs[i])) {
      std::string place = pipeline ? fmt::format("stage {}", i) : "";
      for (auto it = error.context.rbegin(); it != error.context.rend(); ++it) place += (place.empty() ? "" : ": ") + *it;
      out.push_back({Severity::kError, place.empty() ? "program" : place, error.message});
    }
  }
  for (const Weight& weight : list_weights(subject))
    if (weight.missing && !whole) {
      out.push_back({Severity::kWarning, "weights", fmt::format("file {} is missing", weight.place.substr(0, weight.place.rfind(':')))});
      break;
    }
  return out;
}

std::string findings_text(const Report& report, const std::vector<Finding>& findings) {
  std::string out;
  size_t errors = 0;
  for (const Finding& finding : findings) {
    bool error = finding.severity == Severity::kError;
    errors += error;
    out += fmt::format("{}: {}{}{}\n", error ? "error" : "warning", finding.place, finding.place.empty() ? "" : ": ", finding.message);
  }
  if (findings.empty()) return fmt::format("{}: valid\n", report.name);
  auto plural = [](size_t count, const char* word) { return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s"); };
  return out + fmt::format("{}: {}, {}\n", report.name, plural(errors, "error"), plural(findings.size() - errors, "warning"));
}

std::string findings_json(const Report& report, const std::vector<Finding>& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  bool valid = true;
  for (const Finding& finding : findings) {
    bool error = finding.severity == Severity::kError;
    valid &= !error;
    list.push_back({{"severity", error ? "error" : "warning"}, {"place", finding.place}, {"message", finding.message}});
  }
  nlohmann::ordered_json out = {{"schema", "mlinspect-validate"}, {"schema_version", 1}, {"file", report.file}, {"valid", valid}, {"findings", std::move(list)}};
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace mlt::inspect
