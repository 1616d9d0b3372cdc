#include "lib/cli/diag.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace mlt::cli {
namespace {

// Length of the well-formed UTF-8 sequence at the head of text, 0 when there is none (Unicode 15, table 3-7).
size_t utf8_length(std::string_view text) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) > 0x9f) || (lead == 0xf0 && at(1) < 0x90) ||
      (lead == 0xf4 && at(1) > 0x8f))
    return 0;
  return length;
}

// A stderr that cannot be written leaves nobody to tell.
void put(const std::string& text) { (void)std::fwrite(text.data(), 1, text.size(), stderr); }

void line(std::string_view prefix, const char* kind, const char* code, std::string_view message) {
  std::fflush(stdout);  // keeps the order when both go to the same place
  std::string text = printable(message);
  bool color = use_color(STDERR_FILENO) && code[0] != '\0';
  put(fmt::format("{}{}{}{}{}\n", prefix, color ? code : "", kind, color ? "\x1b[0m" : "", text));
}

std::string prefix() { return diag().tool + ": "; }

}  // namespace

DiagState& diag() {
  static DiagState state;
  return state;
}

bool use_color(int fd) {
  if (diag().color != Color::kAuto) return diag().color == Color::kAlways;
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && no_color[0] != '\0') return false;
  const char* term = std::getenv("TERM");
  return ::isatty(fd) != 0 && (term == nullptr || std::string_view(term) != "dumb");
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    size_t length = utf8_length(text);
    auto byte = static_cast<unsigned char>(text[0]);
    bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f ||
                   (length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
    if (length == 0) length = 1, control = true;
    for (size_t i = 0; i < length; ++i) {
      if (control)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
      else
        out += text[i];
    }
    text.remove_prefix(length);
  }
  return out;
}

void print_error(std::string_view message) { line(prefix(), "error: ", "\x1b[1;31m", message); }
void print_error(const Error& error) {
  print_error(error.to_string());
  if (!error.hint.empty()) print_hint(error.hint);
}
void print_warning(std::string_view message) {
  if (!diag().quiet) line(prefix(), "warning: ", "\x1b[1;33m", message);
}
void print_hint(std::string_view message) {
  if (!diag().quiet) line("", "hint: ", "\x1b[1;36m", message);
}
void print_info(std::string_view message) {
  if (diag().verbose && !diag().quiet) line(prefix(), "", "", message);
}

Progress::Progress(std::string label, uint64_t total)
    : label_(std::move(label)), total_(total), active_(!diag().quiet && ::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void Progress::update(uint64_t done) {
  if (!active_) return;
  using namespace std::chrono;
  int64_t now = duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
  if (last_ms_ < 0) last_ms_ = now;  // work shorter than a moment draws nothing
  if (now - last_ms_ < 100) return;
  last_ms_ = now;
  drawn_ = true;
  if (total_ != 0)
    put(fmt::format("\r\x1b[K{} {}%", printable(label_), std::min<uint64_t>(100, done * 100 / total_)));
  else
    put(fmt::format("\r\x1b[K{} {}", printable(label_), done));
  std::fflush(stderr);
}

}  // namespace mlt::cli
