// The frame of every tool: one option table per command, from which parsing, --help and shell completions all
// come, so that tools cannot differ in manners. CLI11 splits the arguments; the rules on top of it are here:
//   - unknown options, values that do not parse, an option given twice (unless it takes a list): exit 2 with
//   a hint;
//   - options that DESIGN of the tool foresees but this version lacks (`not_yet`): exit 4, all of them
//   listed;
//   - an Error returned by the body is printed as "tool: error: ..." plus "hint: ..." and decides the exit
//   status;
//   - bad_alloc and unexpected exceptions end in exit 5; so does a stdout that cannot be flushed (disk full,
//   closed
//     pipe), also for --help.
//
//   int main(int argc, char** argv) {
//     mlt::cli::App app("mlshow", "show a model");
//     std::string model;
//     std::optional<std::string> out;
//     bool ops = false;
//     app.positional(model, "MODEL", "model to show").file();
//     app.option("-o,--output", out, "OUT", "write to OUT; '-' is stdout").file();
//     app.flag("--ops", ops, "count the operations");
//     app.not_yet("--html", true);
//     app.json_flag();
//     app.examples("mlshow model.mlpackage\nmlshow --ops - < model.mlmodel");
//     return app.run(argc, argv, [&]() -> mlt::Status { ... });
//   }
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "lib/base/result.h"

namespace mlt::cli {

// Where the value of an option or positional goes. Implicit from the variable; the variable must outlive
// run(). string/int/int64/uint64/double and optionals of them: at most once. vector<string>: any number of
// times. A function: called once per occurrence, in command line order, with the text; its Error is a usage
// error.
class Target {
 public:
  using Apply = std::function<Status(const std::string& text)>;
  Target(std::string& value);                 // NOLINT(google-explicit-constructor)
  Target(std::optional<std::string>& value);  // NOLINT
  Target(std::vector<std::string>& value);    // NOLINT
  Target(int& value);                         // NOLINT
  Target(int64_t& value);                     // NOLINT
  Target(uint64_t& value);                    // NOLINT
  Target(double& value);                      // NOLINT
  Target(std::optional<int>& value);          // NOLINT
  Target(std::optional<int64_t>& value);      // NOLINT
  Target(std::optional<uint64_t>& value);     // NOLINT
  Target(std::optional<double>& value);       // NOLINT
  template <typename F>
  requires std::is_invocable_r_v<Status, F&, const std::string&> Target(F function)
      : apply(std::move(function)), list(true) {}  // NOLINT

  Apply apply;
  bool list = false;      // may be given more than once
  bool optional = false;  // as a positional: may be absent
};

enum class Completes { kNothing, kFile, kDirectory };

// One row of the option table. The setters return *this, for chaining.
class Option {
 public:
  Option& choices(
      std::vector<std::string> values);    // any other value is a usage error; offered by completions
  Option& range(double low, double high);  // inclusive bounds of a number
  Option& file();                          // completions offer files
  Option& directory();
  Option& hidden();      // parsed, but not in --help or completions
  Option& optional();    // a positional that may be absent
  Option& required();    // absent is a usage error
  Option& common();      // shown with the common options, after the tool's own
  Option& repeatable();  // a scalar that may be given again: the last one wins
  bool given() const { return count_ > 0; }
  const std::string& name() const { return long_.empty() ? short_ : long_; }

 private:
  friend class Command;
  friend class App;
  friend struct Render;
  std::string short_, long_;  // "-o", "--output"; either may be empty
  std::string metavar_, help_;
  std::function<Status(const std::string&)> apply_;
  std::vector<std::string> choices_;
  std::optional<std::pair<double, double>> range_;
  Completes completes_ = Completes::kNothing;
  bool flag_ = false, list_ = false, hidden_ = false, required_ = false, not_yet_ = false, common_ = false;
  int count_ = 0;
  std::string display() const { return long_.empty() ? short_ : long_; }
};

// A set of options: a whole tool, or one word of it ("mlencrypt keygen").
class Command {
 public:
  Command(std::string name, std::string summary) : name_(std::move(name)), summary_(std::move(summary)) {}
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;

  // names: "--long", "-s,--long" or "-s". help: one short line, lower case, no final period.
  Option& flag(const std::string& names, bool& value, std::string help);
  Option& option(const std::string& names, Target target, std::string metavar, std::string help);
  // Positionals fill in order of declaration. optional<> may be absent; a vector takes all that remain (at
  // least one when required()) and must be declared last.
  Option& positional(Target target, std::string metavar, std::string help);
  // Planned but absent in this version: not in --help; using it ends the tool with exit status 4.
  void not_yet(const std::string& names, bool takes_value);
  // Replaces the generated "usage:" line; without the leading tool name; several lines allowed.
  void usage(std::string text) { usage_ = std::move(text); }
  // One command per line, shown at the end of --help.
  void examples(std::string text) { examples_ = std::move(text); }
  // Lines shown between the options and the examples (a table of commands, say).
  void notes(std::string text) { notes_ = std::move(text); }
  // True when this command is the one that was called.
  bool chosen() const { return chosen_; }
  const std::string& name() const { return name_; }

 protected:
  friend class App;
  friend struct Render;
  Option& add(const std::string& names);
  Status parse(std::vector<std::string> arguments, bool* help);
  std::string name_, summary_, usage_, examples_, notes_;
  std::deque<Option> options_, positionals_;  // deque: references stay valid
  bool chosen_ = false;
};

class App : public Command {
 public:
  // name: as in man pages, whatever argv[0] says. summary: one line, lower case, no final period.
  // Adds -h, --help; --version; -q, --quiet; -v, --verbose; --color.
  App(std::string name, std::string summary);
  ~App();

  // --json: the tool has a machine form of its output.
  void json_flag(std::string help = "machine-readable output");
  // --threads N (not for the words of a tool): sizes the pool of lib/base/threads.h (default: all cores
  // available to the process).
  void threads_option();
  bool json() const { return json_; }

  // A word that, as first argument, selects another option table: "keygen". The common options are there too.
  Command& command(const std::string& word, std::string summary);

  // A planned word that this version lacks: using it ends the tool with exit status 4.
  void not_yet_command(const std::string& word) { missing_words_.push_back(word); }

  // Parses, runs body, reports. body returns Status (0 when ok) or Result<int> (an exit status). Returns the
  // exit status of the process. Also installs the signal handlers that remove unfinished outputs.
  template <typename Body>
  int run(int argc, char** argv, Body&& body) {
    return run_erased(argc, argv, [&]() -> Result<int> {
      if constexpr (std::is_same_v<std::invoke_result_t<Body>, Status>) {
        MLT_TRY(body());
        return 0;
      } else {
        return body();
      }
    });
  }

 private:
  int run_erased(int argc, char** argv, const std::function<Result<int>()>& body);
  Result<int> run_checked(int argc, char** argv, const std::function<Result<int>()>& body);
  void add_common(Command& command);
  std::deque<Command> commands_;
  std::vector<std::string> missing_words_;
  bool json_ = false, has_json_ = false, has_threads_ = false;
  std::string json_help_;
  bool help_ = false, version_ = false;
  int threads_ = 0;
  std::string completions_;
};

// "0.1.0"
std::string version();

// Strict conversions for values that tools take apart themselves ("8", "-1.5e3"); the whole text must be
// consumed.
Result<int64_t> parse_integer(const std::string& text);
Result<double> parse_number(const std::string& text);

}  // namespace mlt::cli
