#include "lib/codegen/interface.h"

#include <fmt/core.h>

namespace mlt::codegen {
namespace {

bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of the valid UTF-8 sequence at the start of text; 0: none.
size_t utf8_length(std::string_view text) {
  unsigned char first = static_cast<unsigned char>(text[0]);
  size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 0;
  if (length > 2) {
    unsigned char second = static_cast<unsigned char>(text[1]);
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  }
  return length;
}

}  // namespace

std::string identifier(std::string_view text, const std::set<std::string>& reserved) {
  std::string id;
  for (char c : text) id += is_alpha(c) || is_digit(c) ? c : '_';
  if (id.empty() || is_digit(id[0])) id.insert(0, "_");
  // A name of underscores alone has a meaning of its own in Swift and Python.
  if (id.find_first_not_of('_') == id.npos) id += "feature";
  while (reserved.count(id)) id += '_';
  return id;
}

std::string one_line(std::string_view text) {
  constexpr size_t kLongest = 200;
  std::string out;
  while (!text.empty() && out.size() < kLongest) {
    size_t length = utf8_length(text);
    unsigned char c = static_cast<unsigned char>(text[0]);
    bool line = text.starts_with("\xe2\x80\xa8") || text.starts_with("\xe2\x80\xa9") || text.starts_with("\xc2\x85");
    if (length == 0) out += "\xef\xbf\xbd";
    else if (c < 0x20 || c == 0x7f || line) out += ' ';
    else out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  if (!text.empty()) out += "...";
  // A backslash at the end of a line comment takes in the next line; */ ends the other kind; three quotes end a Python text.
  for (size_t at; (at = out.find("*/")) != out.npos;) out.replace(at, 2, "* ");
  for (size_t at; (at = out.find("\"\"\"")) != out.npos;) out.replace(at, 3, "'''");
  for (char& c : out)
    if (c == '\\') c = '/';
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string quoted(std::string_view text, bool swift) {
  std::string out = "\"";
  while (!text.empty()) {
    size_t length = utf8_length(text);
    unsigned char c = static_cast<unsigned char>(text[0]);
    if (length == 0) out += "\xef\xbf\xbd";
    else if (c == '"' || c == '\\') (out += '\\') += text[0];
    else if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else if (c < 0x20 || c == 0x7f) out += swift ? fmt::format("\\u{{{:x}}}", c) : fmt::format("\\{:03o}", c);
    else if (c == '?' && !swift) out += out.ends_with('?') ? "\"\"?" : "?";  // no trigraphs
    else out += text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + "\"";
}

std::string capitalized(std::string_view id) {
  std::string out(id);
  if (!out.empty() && out[0] >= 'a' && out[0] <= 'z') out[0] = static_cast<char>(out[0] - 'a' + 'A');
  return out;
}

std::string fill(std::string_view text, std::initializer_list<std::pair<std::string_view, std::string>> values) {
  std::string out;
  while (!text.empty()) {
    size_t start = text.find('$');
    size_t end = start == text.npos ? text.npos : text.find('$', start + 1);
    if (end == text.npos) return out += text;
    out += text.substr(0, start);
    std::string_view key = text.substr(start + 1, end - start - 1);
    for (const auto& value : values)
      if (value.first == key) out += value.second;
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace mlt::codegen
