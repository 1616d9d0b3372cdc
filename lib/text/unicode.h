// Unicode, through ICU: normal forms, categories, regular expressions over UTF-8. Internal to lib/text.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"

namespace mlt {

bool valid_utf8(std::string_view text);
// Each maximal piece that is no character becomes U+FFFD.
std::string lossy_utf8(std::string_view bytes);

// Code points of valid UTF-8, and back.
std::u32string code_points(std::string_view text);
std::string to_utf8(std::u32string_view text);
void append_utf8(std::string& text, char32_t c);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
Result<std::string> normal_form(std::string_view text, NormalForm form);
// Each character by itself, without regard to its neighbours.
std::string lower_case(std::string_view text);

bool is_white_space(char32_t c);
bool is_punctuation(char32_t c);  // category P, and ASCII's $+<=>^`|~
bool is_numeric(char32_t c);      // category N
bool is_control(char32_t c);      // category C, but tab, newline, return
bool is_mark(char32_t c);         // category M
bool is_nonspacing_mark(char32_t c);
bool is_word(char32_t c);         // letters, marks, digits, connectors

using Span = std::pair<size_t, size_t>;  // bytes [first, second)

// A regular expression in the dialect that tokenizers are written in (Oniguruma's); \s is Unicode's white space.
class Regex {
 public:
  static Result<Regex> compile(const std::string& pattern);
  // Matches that are not empty, from left to right. kResource when the pattern takes too long.
  Result<std::vector<Span>> find_all(std::string_view text) const;

 private:
  std::shared_ptr<void> regex_;
};

}  // namespace mlt
