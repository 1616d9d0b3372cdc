#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "lib/inspect/lint.h"
#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

using nlohmann::ordered_json;

std::string dumped(const ordered_json& value) {
  return value.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string location(const LintFinding& f) {
  std::string text = f.place;
  if (!f.kind.empty()) text += (text.empty() ? "" : ": ") + f.kind + " " + f.name;
  return text;
}

// A relative reference as RFC 3986 has it: what is not unreserved or '/' in percent form.
std::string uri(const std::string& path) {
  std::string out;
  for (char c : path) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// Values of workflow commands: the characters that end a property or a line.
std::string command_text(std::string_view text, bool property) {
  std::string out;
  for (char c : text) {
    if (c == '%')
      out += "%25";
    else if (c == '\r')
      out += "%0D";
    else if (c == '\n')
      out += "%0A";
    else if (property && c == ':')
      out += "%3A";
    else if (property && c == ',')
      out += "%2C";
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out;
}

}  // namespace

std::string lint_text(const std::vector<LintFinding>& findings, const std::string& name) {
  std::string out;
  int64_t counts[3] = {};
  for (const LintFinding& f : findings) {
    ++counts[static_cast<int>(f.level)];
    std::string at = location(f);
    out += fmt::format("{}: {}{}{} [{}]\n", level_name(f.level), clean(at, 200), at.empty() ? "" : ": ",
                       clean(f.message), f.rule);
  }
  if (findings.empty()) return clean(name) + ": nothing to say\n";
  return out + fmt::format("{}: {}, {}, {}\n", clean(name), plural(counts[2], "error"),
                           plural(counts[1], "warning"), plural(counts[0], "note"));
}

std::string lint_json(const std::vector<LintFinding>& findings, const std::string& file) {
  ordered_json list = ordered_json::array();
  for (const LintFinding& f : findings)
    list.push_back({{"rule", f.rule},
                    {"level", std::string(level_name(f.level))},
                    {"place", f.place},
                    {"kind", f.kind},
                    {"name", f.name},
                    {"message", f.message}});
  return dumped(
      {{"schema", "mlinspect-lint"}, {"schema_version", 1}, {"file", file}, {"findings", std::move(list)}});
}

std::string lint_sarif(const std::vector<LintFinding>& findings, const std::string& file) {
  ordered_json rules = ordered_json::array(), results = ordered_json::array();
  std::vector<LintRuleInfo> table = lint_rules();
  for (const LintRuleInfo& rule : table)
    rules.push_back({{"id", std::string(rule.name)},
                     {"shortDescription", {{"text", std::string(rule.doc)}}},
                     {"defaultConfiguration", {{"level", std::string(level_name(rule.level))}}}});
  for (const LintFinding& f : findings) {
    size_t index = 0;
    while (index < table.size() && table[index].name != f.rule) ++index;
    ordered_json place = {{"physicalLocation", {{"artifactLocation", {{"uri", uri(file)}}}}}};
    if (!f.name.empty()) {
      std::string full = f.place.empty() ? f.name : f.place + "/" + f.name;
      place["logicalLocations"] =
          ordered_json::array({{{"name", f.name}, {"fullyQualifiedName", full}, {"kind", f.kind}}});
    }
    std::string at = location(f);
    results.push_back({{"ruleId", f.rule},
                       {"ruleIndex", index},
                       {"level", std::string(level_name(f.level))},
                       {"message", {{"text", at.empty() ? f.message : at + ": " + f.message}}},
                       {"locations", ordered_json::array({std::move(place)})}});
  }
  ordered_json run = {{"tool", {{"driver", {{"name", "mlinspect"}, {"rules", std::move(rules)}}}}},
                      {"results", std::move(results)}};
  return dumped({{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
                 {"version", "2.1.0"},
                 {"runs", ordered_json::array({std::move(run)})}});
}

std::string lint_github(const std::vector<LintFinding>& findings, const std::string& file) {
  std::string out;
  for (const LintFinding& f : findings) {
    std::string at = location(f);
    out += fmt::format("::{} file={},title={}::{}\n",
                       f.level == Level::kNote ? "notice" : level_name(f.level), command_text(file, true),
                       f.rule, command_text(at.empty() ? f.message : at + ": " + f.message, false));
  }
  return out;
}

}  // namespace mlt::inspect
