// Completion scripts, written from the option table: what is completed is what is parsed.
#include <fmt/core.h>

#include "lib/cli/render.h"

namespace mlt::cli {
namespace {

std::string joined(const std::vector<std::string>& items, const char* separator) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : separator) + item;
  return out;
}

std::vector<std::string> names(const Row& row) {
  std::vector<std::string> out;
  if (!row.short_name.empty()) out.push_back(row.short_name);
  if (!row.long_name.empty()) out.push_back(row.long_name);
  return out;
}

std::string word_of(const Command& command) {
  const std::string& name = Render::name(command);
  return name.substr(name.find(' ') + 1);
}

// Escapes for text between single quotes of a shell; zsh also gives meaning to [ ] : in its specifications.
std::string quoted(const std::string& text, bool zsh) {
  std::string out;
  for (char c : text) {
    if (c == '\'')
      out += "'\\''";
    else if (zsh && (c == '[' || c == ']' || c == ':' || c == '\\'))
      out += std::string("\\") + c;
    else
      out += c;
  }
  return out;
}

// fish reads \' and \\ inside single quotes.
std::string fish_quoted(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string bash_cases(const Command& command) {
  std::string cases;
  std::vector<std::string> all;
  for (const Row& row : Render::options(command)) {
    for (const std::string& name : names(row)) all.push_back(name);
    if (!row.takes_value) continue;
    std::string action;
    if (!row.choices.empty())
      action = "COMPREPLY=($(compgen -W '" + quoted(joined(row.choices, " "), false) + "' -- \"$cur\"))";
    else if (row.completes == Completes::kFile)
      action = "IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$cur\"))";
    else if (row.completes == Completes::kDirectory)
      action = "IFS=$'\\n'; COMPREPLY=($(compgen -d -- \"$cur\"))";
    else
      action = "COMPREPLY=()";
    cases += fmt::format("      {}) {}; return ;;\n", joined(names(row), "|"), action);
  }
  return fmt::format("    case \"$prev\" in\n{}    esac\n    words='{}'\n", cases, joined(all, " "));
}

std::string bash(const Command& tool, const std::deque<Command>& words) {
  const std::string& name = Render::name(tool);
  std::string out =
      fmt::format("# bash completion for {0}, written by {0} --completions bash\n_{0}() {{\n", name);
  out += "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words IFS=$' \\t\\n'\n";
  out += "  compopt -o filenames 2>/dev/null\n  case \"${COMP_WORDS[1]}\" in\n";
  std::vector<std::string> commands;
  for (const Command& word : words) {
    commands.push_back(word_of(word));
    out += fmt::format("  {})\n{}    ;;\n", word_of(word), bash_cases(word));
  }
  out += fmt::format("  *)\n{}    ;;\n  esac\n", bash_cases(tool));
  out += "  if [[ $cur == -* ]]; then\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n";
  if (!commands.empty())
    out += fmt::format(
        "  elif [[ $COMP_CWORD == 1 ]]; then\n    IFS=$'\\n'\n    COMPREPLY=($(compgen -f -W $'{}' -- "
        "\"$cur\"))\n",
        joined(commands, "\\n"));
  out += fmt::format(
      "  else\n    IFS=$'\\n'\n    COMPREPLY=($(compgen -f -- \"$cur\"))\n  fi\n}}\ncomplete -F _{0} {0}\n",
      name);
  return out;
}

std::string zsh_arguments(const Command& command) {
  std::string out = "  _arguments -s -S";
  for (const Row& row : Render::options(command)) {
    std::string value;
    if (row.takes_value) {
      value = ":" + quoted(row.metavar, true) + ":";
      if (!row.choices.empty())
        value += "(" + quoted(joined(row.choices, " "), true) + ")";
      else if (row.completes == Completes::kFile)
        value += "_files";
      else if (row.completes == Completes::kDirectory)
        value += "_files -/";
      else
        value += " ";
    }
    for (const std::string& name : names(row))
      out += fmt::format(" \\\n    '{}{}[{}]{}'", row.list ? "*" : "", name, quoted(row.help, true), value);
  }
  return out + " \\\n    '*:file:_files'\n";
}

std::string zsh(const Command& tool, const std::deque<Command>& words) {
  const std::string& name = Render::name(tool);
  std::string out = fmt::format("#compdef {0}\n# written by {0} --completions zsh\n_{0}() {{\n", name);
  if (!words.empty()) {
    out += "  local -a commands=(";
    for (const Command& word : words)
      out += fmt::format(" '{}:{}'", word_of(word), quoted(Render::summary(word), true));
    out +=
        " )\n  if (( CURRENT == 2 )) && [[ ${words[2]} != -* ]]; then\n    _describe command commands\n  "
        "fi\n";
    out += "  case ${words[2]} in\n";
    for (const Command& word : words)
      out += fmt::format("  {})\n    shift words; (( CURRENT-- ))\n  {}    return ;;\n", word_of(word),
                         zsh_arguments(word));
    out += "  esac\n";
  }
  out += zsh_arguments(tool);
  out += fmt::format(
      "}}\nif [[ $zsh_eval_context[-1] == loadautofunc ]]; then _{0} \"$@\"; else compdef _{0} {0}; fi\n",
      name);
  return out;
}

void fish_options(std::string& out, const std::string& name, const Command& command,
                  const std::string& condition) {
  for (const Row& row : Render::options(command)) {
    out += fmt::format("complete -c {}{}", name, condition);
    if (!row.short_name.empty()) out += " -s " + row.short_name.substr(1);
    if (!row.long_name.empty()) out += " -l " + row.long_name.substr(2);
    if (row.takes_value) {
      if (!row.choices.empty())
        out += fmt::format(" -x -a '{}'", fish_quoted(joined(row.choices, " ")));
      else if (row.completes == Completes::kNothing)
        out += " -x";
      else if (row.completes == Completes::kDirectory)
        out += " -x -a '(__fish_complete_directories)'";
      else
        out += " -r -F";
    }
    out += fmt::format(" -d '{}'\n", fish_quoted(row.help));
  }
}

std::string fish(const Command& tool, const std::deque<Command>& words) {
  const std::string& name = Render::name(tool);
  std::string out = fmt::format("# fish completion for {0}, written by {0} --completions fish\n", name);
  std::vector<std::string> commands;
  for (const Command& word : words) commands.push_back(word_of(word));
  for (const Command& word : words) {
    out += fmt::format("complete -c {} -n __fish_use_subcommand -a {} -d '{}'\n", name, word_of(word),
                       fish_quoted(Render::summary(word)));
    fish_options(out, name, word, fmt::format(" -n '__fish_seen_subcommand_from {}'", word_of(word)));
  }
  fish_options(
      out, name, tool,
      words.empty() ? "" : fmt::format(" -n 'not __fish_seen_subcommand_from {}'", joined(commands, " ")));
  return out;
}

}  // namespace

std::string completion_script(const Command& tool, const std::deque<Command>& words,
                              const std::string& shell) {
  if (shell == "bash") return bash(tool, words);
  if (shell == "zsh") return zsh(tool, words);
  return fish(tool, words);
}

}  // namespace mlt::cli
