// Advice on a model: what is legal and still likely to be slow, large, wrong on a device or a nuisance to its
// users. Each rule is a row of one table (lint.cc).
#pragma once
#include <span>
#include <string>
#include <vector>

#include "lib/inspect/structure.h"

namespace mlt::inspect {

enum class Level { kNote, kWarning, kError };
std::string_view level_name(Level level);  // "note", "warning", "error"

struct LintFinding {
  std::string rule;
  Level level = Level::kWarning;
  std::string place;  // unit: "stage 1"; empty: the model, or its only unit
  std::string kind;   // of the operation, layer or constant ("constant"); empty: the model
  std::string name;
  std::string message;  // lower case, no final period
};

struct LintOptions {
  std::vector<std::string> ignore;          // names of rules
  uint64_t large_blob = uint64_t{2} << 30;  // bytes that devices cannot map at once
  uint64_t duplicate = 1024;                // bytes from which equal constants count
  size_t most_per_rule = 100;               // further ones become one finding that counts them
};

struct LintRuleInfo {
  std::string_view name;
  Level level;
  std::string_view doc;
};
std::vector<LintRuleInfo> lint_rules();

// In the order of the table. kUsage when `ignore` names no rule.
Result<std::vector<LintFinding>> lint(const Subject& subject, const LintOptions& options = {});

std::string lint_text(const std::vector<LintFinding>& findings, const std::string& name);
std::string lint_json(const std::vector<LintFinding>& findings,
                      const std::string& file);  // schema "mlinspect-lint"
std::string lint_sarif(const std::vector<LintFinding>& findings, const std::string& file);  // SARIF 2.1.0
std::string lint_github(const std::vector<LintFinding>& findings,
                        const std::string& file);  // workflow commands

}  // namespace mlt::inspect
