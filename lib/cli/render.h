// What --help and --completions share: the rows of an option table that users see. Internal to lib/cli.
#pragma once
#include <string>
#include <vector>

#include "lib/cli/app.h"

namespace mlt::cli {

struct Row {
  std::string short_name{}, long_name{};  // "-o", "--output"
  std::string metavar, help;
  std::vector<std::string> choices;
  Completes completes = Completes::kNothing;
  bool takes_value = false, list = false, common = false, required = false;
};

struct Render {
  static std::vector<Row> options(const Command& command);
  static std::vector<Row> positionals(const Command& command);
  static const std::string& name(const Command& c) { return c.name_; }
  static const std::string& summary(const Command& c) { return c.summary_; }
  static const std::string& usage(const Command& c) { return c.usage_; }
  static const std::string& examples(const Command& c) { return c.examples_; }
  static const std::string& notes(const Command& c) { return c.notes_; }
};

// words: the commands of the tool ("keygen"), for the tool's own help only.
std::string help_text(const Command& command, const std::deque<Command>& words);
// shell: "bash", "zsh" or "fish".
std::string completion_script(const Command& tool, const std::deque<Command>& words,
                              const std::string& shell);

}  // namespace mlt::cli
