#include "lib/cli/app.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>

#include "lib/base/file.h"
#include "lib/base/threads.h"
#include "lib/cli/diag.h"
#include "lib/cli/render.h"

namespace mlt::cli {
namespace {

// CLI11 takes an argument such as "[1,2]" apart when it fills a list; a value must stay what the user typed.
// No argument of a process can contain this character as its first by accident and mean something.
constexpr char kGuard = '\x01';

template <typename T>
Target::Apply whole_number(T* value) {
  return [value](const std::string& text) -> Status {
    MLT_ASSIGN(int64_t number, parse_integer(text));
    if (!std::in_range<T>(number)) return usage_error("number out of range: '" + text + "'");
    *value = static_cast<T>(number);
    return {};
  };
}

Target::Apply real_number(double* value) {
  return [value](const std::string& text) -> Status {
    MLT_ASSIGN(*value, parse_number(text));
    return {};
  };
}

template <typename T>
Target::Apply into_optional(std::optional<T>* value) {
  return [value](const std::string& text) -> Status {
    T parsed{};
    if constexpr (std::is_same_v<T, double>)
      MLT_TRY(real_number(&parsed)(text));
    else
      MLT_TRY(whole_number(&parsed)(text));
    *value = parsed;
    return {};
  };
}

// Edit distance, for "did you mean". Inputs are option names: short.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t previous = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = previous;
    }
  }
  return row[b.size()];
}

Error unknown_option(const std::string& argument, const std::deque<Option>& options,
                     const std::function<std::string(const Option&)>& long_name) {
  std::string name = argument.substr(0, argument.find('='));
  if (name.size() > 2 && name[1] != '-') name.resize(2);  // "-xyz": the x
  std::string best;
  size_t best_distance = 3;
  for (const Option& option : options) {
    std::string candidate = long_name(option);
    if (candidate.empty() || name.size() < 5 || name.size() > 64) continue;
    if (size_t d = distance(name, candidate); d < best_distance) best = candidate, best_distance = d;
  }
  return usage_error("unknown option '" + name + "'", best.empty() ? "" : "did you mean '" + best + "'?");
}

Status flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    int error = errno;
    return resource_error(error == EPIPE ? "closed pipe"
                                         : std::string("cannot write: ") + std::strerror(error))
        .in_path("stdout");
  }
  // Network file systems report a full disk at close; the duplicate leaves descriptor 1 itself open.
  int copy = ::dup(STDOUT_FILENO);
  if (copy >= 0 && ::close(copy) != 0 && errno != EINTR)
    return resource_error(std::string("cannot write: ") + std::strerror(errno)).in_path("stdout");
  return {};
}

int report(Error error, const std::string& help_command) {
  if (error.code == Code::kUsage && error.hint.empty()) error.hint = "try '" + help_command + " --help'";
  print_error(error);
  return exit_status(error.code);
}

}  // namespace

std::string version() { return MLT_VERSION; }

Result<int64_t> parse_integer(const std::string& text) {
  int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc::result_out_of_range) return usage_error("number out of range: '" + text + "'");
  if (code != std::errc() || end != text.data() + text.size())
    return usage_error("expected a whole number, got '" + text + "'");
  return value;
}

Result<double> parse_number(const std::string& text) {
  double value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc::result_out_of_range) return usage_error("number out of range: '" + text + "'");
  if (code != std::errc() || end != text.data() + text.size())
    return usage_error("expected a number, got '" + text + "'");
  return value;
}

Target::Target(std::string& value)
    : apply([&value](const std::string& text) -> Status { return value = text, Status{}; }) {}
Target::Target(std::optional<std::string>& value)
    : apply([&value](const std::string& text) -> Status { return value = text, Status{}; }), optional(true) {}
Target::Target(std::vector<std::string>& value)
    : apply([&value](const std::string& text) -> Status { return value.push_back(text), Status{}; }),
      list(true),
      optional(true) {}
Target::Target(int& value) : apply(whole_number(&value)) {}
Target::Target(int64_t& value) : apply(whole_number(&value)) {}
Target::Target(uint64_t& value) : apply(whole_number(&value)) {}
Target::Target(double& value) : apply(real_number(&value)) {}
Target::Target(std::optional<int>& value) : apply(into_optional(&value)), optional(true) {}
Target::Target(std::optional<int64_t>& value) : apply(into_optional(&value)), optional(true) {}
Target::Target(std::optional<uint64_t>& value) : apply(into_optional(&value)), optional(true) {}
Target::Target(std::optional<double>& value) : apply(into_optional(&value)), optional(true) {}

Option& Option::choices(std::vector<std::string> values) { return choices_ = std::move(values), *this; }
Option& Option::range(double low, double high) { return range_ = {low, high}, *this; }
Option& Option::file() { return completes_ = Completes::kFile, *this; }
Option& Option::directory() { return completes_ = Completes::kDirectory, *this; }
Option& Option::hidden() { return hidden_ = true, *this; }
Option& Option::optional() { return required_ = false, *this; }
Option& Option::required() { return required_ = true, *this; }
Option& Option::common() { return common_ = true, *this; }
Option& Option::repeatable() { return list_ = true, *this; }

Option& Command::add(const std::string& names) {
  Option& option = options_.emplace_back();
  size_t comma = names.find(',');
  std::string first = names.substr(0, comma);
  std::string second = comma == names.npos ? "" : names.substr(comma + 1);
  (first.starts_with("--") ? option.long_ : option.short_) = first;
  if (!second.empty()) option.long_ = second;
  return option;
}

Option& Command::flag(const std::string& names, bool& value, std::string help) {
  Option& option = add(names);
  option.flag_ = true;
  option.list_ = true;
  option.help_ = std::move(help);
  option.apply_ = [&value](const std::string&) -> Status { return value = true, Status{}; };
  return option;
}

Option& Command::option(const std::string& names, Target target, std::string metavar, std::string help) {
  Option& option = add(names);
  option.metavar_ = std::move(metavar);
  option.help_ = std::move(help);
  option.list_ = target.list;
  option.apply_ = std::move(target.apply);
  return option;
}

Option& Command::positional(Target target, std::string metavar, std::string help) {
  Option& option = positionals_.emplace_back();
  option.metavar_ = std::move(metavar);
  option.help_ = std::move(help);
  option.list_ = target.list;
  option.required_ = !target.optional && !target.list;
  option.apply_ = std::move(target.apply);
  return option;
}

void Command::not_yet(const std::string& names, bool takes_value) {
  Option& option = add(names);
  option.flag_ = !takes_value;
  option.list_ = option.hidden_ = option.not_yet_ = true;
  option.apply_ = [](const std::string&) -> Status { return {}; };
}

Status Command::parse(std::vector<std::string> arguments, bool* help) {
  CLI::App cli;
  cli.set_help_flag("");
  cli.allow_extras(true);
  std::vector<CLI::Option*> handles;
  for (const Option& option : options_) {
    std::string names =
        option.short_ + (option.short_.empty() || option.long_.empty() ? "" : ",") + option.long_;
    if (option.flag_)
      handles.push_back(cli.add_flag(names)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
    else
      handles.push_back(
          cli.add_option(names)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll));
  }
  std::vector<std::string> words;
  CLI::Option* rest = cli.add_option("words", words)->expected(-1);

  bool marked = false;
  for (std::string& argument : arguments) {
    if (argument == "--") marked = true;
    if (!marked && argument.starts_with("--") && argument.size() > 3 &&
        argument.find('=') == argument.size() - 1)
      return usage_error("option '" + argument.substr(0, argument.size() - 1) + "' needs a value");
    if (argument.starts_with('[') || argument.starts_with(kGuard)) argument.insert(argument.begin(), kGuard);
  }
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 pops from the back
  try {
    cli.parse(reversed);
  } catch (const CLI::ArgumentMismatch&) {
    // Only an option at the very end can lack its value.
    return usage_error("option '" + arguments.back() + "' needs a value");
  } catch (const CLI::ParseError& error) {
    return usage_error(error.what());
  }

  // Apply in command line order.
  std::vector<std::string> missing_features;
  std::vector<size_t> used(handles.size() + 1);
  size_t position = 0;
  std::optional<Error> first_error;
  auto apply = [&](Option& option, const std::string& shown, std::string text) -> Status {
    if (text.starts_with(kGuard)) text.erase(0, 1);
    if (++option.count_ > 1 && !option.list_) return usage_error(shown + " is given twice");
    if (!option.choices_.empty() &&
        std::find(option.choices_.begin(), option.choices_.end(), text) == option.choices_.end()) {
      std::string all;
      for (const std::string& choice : option.choices_) all += (all.empty() ? "" : ", ") + choice;
      return usage_error(shown + ": expected one of " + all + "; got '" + text + "'");
    }
    if (option.range_) {
      auto number = parse_number(text);
      if (number && !(*number >= option.range_->first && *number <= option.range_->second)) {
        return usage_error(fmt::format("{}: expected {} to {}, got {}", shown, option.range_->first,
                                       option.range_->second, text));
      }
    }
    return option.apply_(text).in(shown);
  };
  for (CLI::Option* parsed : cli.parse_order()) {
    size_t index = static_cast<size_t>(std::find(handles.begin(), handles.end(), parsed) - handles.begin());
    const std::string text = parsed->results().at(used[index]++);
    Status status;
    if (parsed == rest) {
      if (position >= positionals_.size()) {
        status =
            usage_error("unexpected argument '" + (text.starts_with(kGuard) ? text.substr(1) : text) + "'");
      } else {
        Option& option = positionals_[position];
        if (!option.list_) ++position;
        status = apply(option, option.metavar_, text);
      }
    } else {
      Option& option = options_[index];
      if (option.flag_ && text != "true")
        status = usage_error("option '" + option.display() + "' takes no value");
      else if (option.not_yet_)
        missing_features.push_back(option.display());
      else
        status = apply(option, option.display(), text);
    }
    if (!status.ok() && !first_error) first_error = std::move(status).error();
  }
  if (*help) return {};  // asked for help: whatever else is wrong, that is the answer
  for (const std::string& unknown : cli.remaining()) {
    if (unknown == "--") continue;
    return unknown_option(unknown, options_,
                          [](const Option& o) { return o.hidden_ ? std::string() : o.long_; });
  }
  if (first_error) return *std::move(first_error);
  if (!missing_features.empty()) {
    std::string all;
    for (const std::string& name : missing_features) all += (all.empty() ? "" : ", ") + name;
    return unsupported_error(all + (missing_features.size() == 1 ? " is" : " are") +
                             " not supported in this version");
  }
  return {};
}

App::App(std::string name, std::string summary) : Command(std::move(name), std::move(summary)) {
  diag().tool = name_;
}
App::~App() = default;

void App::json_flag(std::string help) { has_json_ = true, json_help_ = std::move(help); }
void App::threads_option() { has_threads_ = true; }

Command& App::command(const std::string& word, std::string summary) {
  return commands_.emplace_back(name_ + " " + word, std::move(summary));
}

void App::add_common(Command& command) {
  auto common = [](Option& option) -> Option& { return option.common(); };
  if (has_json_) common(command.flag("--json", json_, json_help_));
  if (has_threads_ && &command == this)
    common(command.option("--threads", threads_, "N", "threads to use (default: all available cores)")
               .range(1, 4096));
  common(command.flag("-q,--quiet", diag().quiet, "print errors only"));
  common(command.flag("-v,--verbose", diag().verbose, "say more on stderr"));
  common(command
             .option(
                 "--color",
                 [](const std::string& text) -> Status {
                   diag().color = text == "always"  ? Color::kAlways
                                  : text == "never" ? Color::kNever
                                                    : Color::kAuto;
                   return {};
                 },
                 "WHEN", "auto, always or never; NO_COLOR is respected")
             .choices({"auto", "always", "never"}));
  common(command.flag("-h,--help", help_, "show this help"));
  common(command.flag("--version", version_, "show the version"));
}

Result<int> App::run_checked(int argc, char** argv, const std::function<Result<int>()>& body) {
  add_common(*this);
  option("--completions", completions_, "SHELL", "").choices({"bash", "zsh", "fish"}).hidden();
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  for (const std::string& word : missing_words_)
    if (!arguments.empty() && arguments[0] == word)
      return unsupported_error("'" + word + "' is not supported in this version");
  Command* called = this;
  for (Command& word : commands_) {
    add_common(word);
    if (!arguments.empty() && name_ + " " + arguments[0] == word.name_) called = &word;
  }
  if (called != this) arguments.erase(arguments.begin());
  called->chosen_ = true;

  Status parsed = called->parse(std::move(arguments), &help_);
  if (help_) {
    static const std::deque<Command> no_words;
    std::fputs(help_text(*called, called == this ? commands_ : no_words).c_str(), stdout);
    return 0;
  }
  if (version_ && parsed.ok()) {
    fmt::print("{} (mltools) {}\n", name_, version());
    return 0;
  }
  MLT_TRY(std::move(parsed));
  if (!completions_.empty()) {
    std::fputs(completion_script(*this, commands_, completions_).c_str(), stdout);
    return 0;
  }
  for (const Option& option : called->options_)
    if (option.required_ && !option.given())
      return usage_error("option '" + option.display() + "' is required");
  for (const Option& option : called->positionals_)
    if (option.required_ && !option.given()) return usage_error("missing argument " + option.metavar_);
  if (threads_ > 0) set_thread_count(threads_);
  return body();
}

int App::run_erased(int argc, char** argv, const std::function<Result<int>()>& body) {
  install_cleanup_signal_handlers();
  std::string help_command = name_;
  int status = 0;
  try {
    Result<int> result = run_checked(argc, argv, body);
    for (const Command& word : commands_)
      if (word.chosen_) help_command = word.name_;
    status = result.ok() ? *result : report(std::move(result).error(), help_command);
    if (Status flushed = flush_stdout(); !flushed.ok()) {
      // A body that met the closed pipe itself has reported it.
      if (status == 0 || status == 1) status = report(std::move(flushed).error(), help_command);
    }
  } catch (const std::bad_alloc&) {
    status = report(resource_error("out of memory"), help_command);
  } catch (const std::system_error& error) {
    // What fmt throws when stdout cannot be written.
    bool output = std::ferror(stdout) != 0;
    std::string why =
        error.code().value() == EPIPE ? "closed pipe" : "cannot write: " + error.code().message();
    status = report(output ? resource_error(why).in_path("stdout")
                           : resource_error(std::string("internal error: ") + error.what()),
                    help_command);
  } catch (const std::exception& error) {
    status = report(resource_error(std::string("internal error: ") + error.what()), help_command);
  }
  return status;
}

}  // namespace mlt::cli
