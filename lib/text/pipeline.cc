#include "lib/text/pipeline.h"

#include <algorithm>
#include <array>
#include <unordered_map>

namespace mlt {

const char* const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::vector<std::string> split(const std::string& text, const std::vector<Span>& matches, SplitBehavior behavior, bool invert) {
  struct Part {
    Span span;
    bool match;
  };
  std::vector<Part> parts;
  size_t at = 0;
  for (const Span& m : matches) {
    if (m.first > at) parts.push_back({{at, m.first}, invert});
    parts.push_back({m, !invert});
    at = m.second;
  }
  if (at < text.size()) parts.push_back({{at, text.size()}, invert});

  std::vector<Span> out;
  switch (behavior) {
    case SplitBehavior::kRemoved:
      for (const Part& p : parts)
        if (!p.match) out.push_back(p.span);
      break;
    case SplitBehavior::kIsolated:
      for (const Part& p : parts) out.push_back(p.span);
      break;
    case SplitBehavior::kContiguous: {
      bool before = false;
      for (const Part& p : parts) {
        if (p.match == before && !out.empty()) out.back().second = p.span.second;
        else out.push_back(p.span);
        before = p.match;
      }
      break;
    }
    case SplitBehavior::kMergedWithPrevious: {
      bool before = false;
      for (const Part& p : parts) {
        if (p.match && !before && !out.empty()) out.back().second = p.span.second;
        else out.push_back(p.span);
        before = p.match;
      }
      break;
    }
    case SplitBehavior::kMergedWithNext: {
      bool after = false;
      for (auto p = parts.rbegin(); p != parts.rend(); ++p) {
        if (p->match && !after && !out.empty()) out.back().first = p->span.first;
        else out.push_back(p->span);
        after = p->match;
      }
      std::reverse(out.begin(), out.end());
      break;
    }
  }
  std::vector<std::string> pieces;
  for (const Span& s : out)
    if (s.second > s.first) pieces.push_back(text.substr(s.first, s.second - s.first));
  return pieces;
}

std::vector<Span> matching_characters(std::string_view text, bool (*test)(char32_t)) {
  std::vector<Span> spans;
  size_t at = 0;
  for (char32_t c : code_points(text)) {
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (test(c)) spans.push_back({at, at + size});
    at += size;
  }
  return spans;
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  if (from.empty()) return text;
  std::string out;
  size_t at = 0;
  for (size_t found; (found = text.find(from, at)) != std::string::npos; at = found + from.size()) out.append(text, at, found - at).append(to);
  return out.append(text, at, std::string::npos);
}

Result<std::string> replace_matches(const std::string& text, const Regex& regex, const std::string& to) {
  MLT_ASSIGN(auto matches, regex.find_all(text));
  std::string out;
  size_t at = 0;
  for (const Span& m : matches) {
    out.append(text, at, m.first - at).append(to);
    at = m.second;
  }
  return out.append(text, at, std::string::npos);
}

Result<std::string> bert_normalize(const std::string& text, const BertNormalization& how) {
  auto is_chinese = [](char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  };
  std::u32string out;
  for (char32_t c : code_points(text)) {
    if (how.clean && (c == 0 || c == 0xFFFD || is_control(c))) continue;
    if (how.clean && is_white_space(c)) c = ' ';
    if (how.chinese && is_chinese(c)) out += {U' ', c, U' '};
    else out += c;
  }
  std::string result = to_utf8(out);
  if (how.strip_accents) {
    MLT_ASSIGN(std::string apart, normal_form(result, NormalForm::kNfd));
    out.clear();
    for (char32_t c : code_points(apart))
      if (!is_nonspacing_mark(c)) out += c;
    result = to_utf8(out);
  }
  return how.lower ? lower_case(result) : result;
}

namespace {

struct ByteNames {
  std::array<char32_t, 256> name{};
  std::unordered_map<char32_t, unsigned char> byte;
  ByteNames() {
    char32_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      name[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[name[b]] = static_cast<unsigned char>(b);
    }
  }
};

const ByteNames& byte_names() {
  static const ByteNames names;
  return names;
}

}  // namespace

std::string bytes_to_names(std::string_view bytes) {
  std::string out;
  for (unsigned char b : bytes) append_utf8(out, byte_names().name[b]);
  return out;
}

std::string names_to_bytes(std::string_view names) {
  std::string out;
  for (char32_t c : code_points(names)) {
    auto it = byte_names().byte.find(c);
    if (it == byte_names().byte.end()) return std::string(names);
    out += static_cast<char>(it->second);
  }
  return out;
}

}  // namespace mlt
