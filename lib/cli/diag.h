// What tools say on stderr. The rules:
//   - "tool: error: lower case, no period", then "hint: what to do" when there is something to do;
//   - stdout carries data only, stderr everything else; -q silences all but errors, -v adds info;
//   - text that came from a file is shown with control characters escaped, so that a model cannot drive a
//   terminal;
//   - progress is drawn only when stderr is a terminal, and is gone when the work is done.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/error.h"

namespace mlt::cli {

enum class Color { kAuto, kAlways, kNever };

struct DiagState {
  std::string tool = "mltools";
  bool quiet = false;
  bool verbose = false;
  Color color = Color::kAuto;
};
DiagState& diag();  // set by App

void print_error(const Error& error);  // error line and hint
void print_error(std::string_view message);
void print_warning(std::string_view message);
void print_hint(std::string_view message);
void print_info(std::string_view message);  // only with -v

// Whether to colour what goes to the descriptor: --color, else a terminal and NO_COLOR unset or empty.
bool use_color(int fd);

// Control characters (other than newline and tab) and invalid bytes as \xNN.
std::string printable(std::string_view text);

// "working 37%" on a terminal, at most ten times a second; nothing elsewhere or with -q.
class Progress {
 public:
  Progress(std::string label, uint64_t total);  // total 0: unknown
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void update(uint64_t done);

 private:
  std::string label_;
  uint64_t total_;
  bool active_, drawn_ = false;
  int64_t last_ms_ = -1;
};

}  // namespace mlt::cli
