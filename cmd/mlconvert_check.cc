#include "cmd/mlconvert_check.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/convert/learners/learner.h"

namespace mlt {
namespace {

std::string check_json(const foreign::Conversion& conversion, const std::vector<foreign::Unsupported>& problems) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array(), warnings = nlohmann::ordered_json::array();
  for (const foreign::Unsupported& u : problems) list.push_back({{"operator", u.op}, {"count", u.nodes.size()}, {"nodes", u.nodes}, {"reason", u.reason}});
  for (const std::string& w : conversion.converted.warnings) warnings.push_back(w);
  nlohmann::ordered_json out = {{"schema", "mlconvert-check"}, {"schema_version", 1}, {"convertible", problems.empty()}};
  if (problems.empty()) out["target"] = ops::opset_token(conversion.opset);
  out["unsupported"] = list;
  out["warnings"] = warnings;
  // Names in a file need not be UTF-8.
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

Status print_operators(bool json) {
  MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const foreign::Coverage& c : foreign::coverage()) list.push_back({{"format", c.frontend}, {"operator", c.op}, {"limits", c.note}});
    for (const foreign::LearnerCoverage& c : foreign::learner_coverage()) list.push_back({{"format", c.format}, {"operator", c.name}, {"limits", c.note}});
    MLT_TRY(out.write(nlohmann::ordered_json{{"schema", "mlconvert-operators"}, {"schema_version", 1}, {"operators", list}}.dump(2) + "\n"));
    return out.finish();
  }
  for (const foreign::Coverage& c : foreign::coverage()) MLT_TRY(out.write(c.frontend + "\t" + c.op + "\t" + c.note + "\n"));
  for (const foreign::LearnerCoverage& c : foreign::learner_coverage()) MLT_TRY(out.write(fmt::format("{}\t{}\t{}\n", c.format, c.name, c.note)));
  return out.finish();
}

Result<int> print_check(const foreign::Conversion& conversion, const std::vector<foreign::Unsupported>& problems, bool json) {
  MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
  std::string text = problems.empty() ? fmt::format("convertible, target {}\n", ops::opset_token(conversion.opset)) : cli::printable(foreign::describe(problems));
  MLT_TRY(out.write(json ? check_json(conversion, problems) : text));
  MLT_TRY(out.finish());
  return problems.empty() ? 0 : exit_status(Code::kUnsupported);
}

Result<int> print_check(const std::string& learner, const std::optional<std::string>& reason, bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (reason) list.push_back({{"operator", learner}, {"count", 1}, {"nodes", nlohmann::ordered_json::array()}, {"reason", *reason}});
  nlohmann::ordered_json report = {{"schema", "mlconvert-check"}, {"schema_version", 1}, {"convertible", !reason}, {"unsupported", list}, {"warnings", nlohmann::ordered_json::array()}};
  MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
  MLT_TRY(out.write(json ? report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n" : reason ? cli::printable(*reason) + "\n" : "convertible\n"));
  MLT_TRY(out.finish());
  return reason ? exit_status(Code::kUnsupported) : 0;
}

}  // namespace mlt
