#include <algorithm>

#include "lib/cli/render.h"

namespace mlt::cli {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kColumn = 29;  // where the help of an option starts

std::string label(const Row& row) {
  std::string text = row.short_name.empty() ? "    " : row.short_name;
  if (!row.long_name.empty()) text += (row.short_name.empty() ? "" : ", ") + row.long_name;
  if (row.takes_value) text += " " + row.metavar;
  return text;
}

// "  label    help", help wrapped at kWidth and indented to kColumn.
void append_row(std::string& out, const std::string& left, const std::string& help) {
  std::string line = "  " + left;
  if (line.size() + 2 > kColumn) {
    out += line + "\n";
    line.assign(kColumn, ' ');
  } else {
    line.resize(kColumn, ' ');
  }
  size_t start = 0;
  bool fresh = true;
  while (start < help.size()) {
    size_t end = std::min(help.find(' ', start), help.size());
    std::string word = help.substr(start, end - start);
    if (!fresh && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line.assign(kColumn, ' ');
      fresh = true;
    }
    line += (fresh ? "" : " ") + word;
    fresh = false;
    start = end + 1;
  }
  out += line + "\n";
}

std::string indented(const std::string& text) {
  std::string out = "  ";
  for (size_t i = 0; i < text.size(); ++i) {
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += "  ";
  }
  if (out.back() != '\n') out += '\n';
  return out;
}

std::string default_usage(const Command& command) {
  std::string text = "[OPTION]...";
  for (const Row& row : Render::positionals(command)) {
    std::string item = row.metavar + (row.list ? "..." : "");
    text += " " + (row.required ? item : "[" + item + "]");
  }
  return text;
}

}  // namespace

std::vector<Row> Render::options(const Command& command) {
  std::vector<Row> rows;
  for (const Option& o : command.options_) {
    if (o.hidden_) continue;
    rows.push_back({.short_name = o.short_,
                    .long_name = o.long_,
                    .metavar = o.metavar_,
                    .help = o.help_,
                    .choices = o.choices_,
                    .completes = o.completes_,
                    .takes_value = !o.flag_,
                    .list = o.list_,
                    .common = o.common_,
                    .required = o.required_});
  }
  std::stable_partition(rows.begin(), rows.end(), [](const Row& row) { return !row.common; });
  return rows;
}

std::vector<Row> Render::positionals(const Command& command) {
  std::vector<Row> rows;
  for (const Option& o : command.positionals_) {
    if (o.hidden_) continue;
    rows.push_back({.metavar = o.metavar_,
                    .help = o.help_,
                    .choices = o.choices_,
                    .completes = o.completes_,
                    .takes_value = true,
                    .list = o.list_,
                    .required = o.required_});
  }
  return rows;
}

std::string help_text(const Command& command, const std::deque<Command>& words) {
  std::string out = Render::name(command) + ": " + Render::summary(command) + "\n\n";
  std::string usage = Render::usage(command).empty() ? default_usage(command) : Render::usage(command);
  std::string lead = "usage: ";
  for (size_t start = 0; start <= usage.size();) {
    size_t end = std::min(usage.find('\n', start), usage.size());
    out += lead + Render::name(command) + " " + usage.substr(start, end - start) + "\n";
    lead = "       ";
    start = end + 1;
  }
  out += "\n";
  for (const Command& word : words) {
    std::string name = Render::name(word);
    append_row(out, name.substr(name.find(' ') + 1), Render::summary(word));
  }
  for (const Row& row : Render::positionals(command)) append_row(out, row.metavar, row.help);
  if (!words.empty() || !Render::positionals(command).empty()) out += "\n";
  for (const Row& row : Render::options(command)) append_row(out, label(row), row.help);
  if (!Render::notes(command).empty())
    out += "\n" + Render::notes(command) + (Render::notes(command).back() == '\n' ? "" : "\n");
  if (!Render::examples(command).empty()) out += "\nexamples:\n" + indented(Render::examples(command));
  return out;
}

}  // namespace mlt::cli
