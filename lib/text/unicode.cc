#include "lib/text/unicode.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/uregex.h>
#include <unicode/ustring.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

namespace mlt {
namespace {

// Steps of the matcher, about a millisecond each.
constexpr int32_t kMatchLimit = 10'000;

std::u16string to_utf16(std::string_view text) {
  std::u16string out;
  for (char32_t c : code_points(text)) {
    if (c > 0xFFFF) {
      out += static_cast<char16_t>(0xD7C0 + (c >> 10));
      out += static_cast<char16_t>(0xDC00 + (c & 0x3FF));
    } else {
      out += static_cast<char16_t>(c);
    }
  }
  return out;
}

std::string from_utf16(std::u16string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char32_t c = text[i];
    if (c >= 0xD800 && c < 0xDC00 && i + 1 < text.size()) c = ((c - 0xD7C0) << 10) + (text[++i] & 0x3FFu);
    append_utf8(out, c);
  }
  return out;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  if (text.size() > (size_t{1} << 30)) return false;
  const auto* s = reinterpret_cast<const uint8_t*>(text.data());
  auto length = static_cast<int32_t>(text.size());
  for (int32_t i = 0; i < length;) {
    UChar32 c;
    U8_NEXT(s, i, length, c);
    if (c < 0) return false;
  }
  return true;
}

std::string lossy_utf8(std::string_view bytes) { return to_utf8(code_points(bytes)); }

std::u32string code_points(std::string_view text) {
  std::u32string out;
  const auto* s = reinterpret_cast<const uint8_t*>(text.data());
  auto length = static_cast<int64_t>(text.size());
  for (int64_t i = 0; i < length;) {
    UChar32 c;
    U8_NEXT_OR_FFFD(s, i, length, c);
    out += static_cast<char32_t>(c);
  }
  return out;
}

void append_utf8(std::string& text, char32_t c) {
  uint8_t buffer[4];
  int32_t n = 0;
  U8_APPEND_UNSAFE(buffer, n, c);
  text.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(n));
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (char32_t c : text) append_utf8(out, c);
  return out;
}

Result<std::string> normal_form(std::string_view text, NormalForm form) {
  UErrorCode error = U_ZERO_ERROR;
  const UNormalizer2* normalizer = form == NormalForm::kNfc    ? unorm2_getNFCInstance(&error)
                                   : form == NormalForm::kNfd  ? unorm2_getNFDInstance(&error)
                                   : form == NormalForm::kNfkc ? unorm2_getNFKCInstance(&error)
                                                               : unorm2_getNFKDInstance(&error);
  std::u16string source = to_utf16(text);
  if (source.size() > (size_t{1} << 28)) return resource_error("the text is too long");
  // No character grows by more than 18 in any form.
  std::u16string target(source.size() * 18 + 1, u'\0');
  int32_t length = unorm2_normalize(normalizer, source.data(), static_cast<int32_t>(source.size()), target.data(),
                                    static_cast<int32_t>(std::min<size_t>(target.size(), 0x7fffffff)), &error);
  if (U_FAILURE(error)) return resource_error(std::string("the text cannot be normalized: ") + u_errorName(error));
  return from_utf16(std::u16string_view(target).substr(0, static_cast<size_t>(length)));
}

std::string lower_case(std::string_view text) {
  std::string out;
  for (char32_t c : code_points(text)) {
    if (c < 0x80) {
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
      continue;
    }
    std::string one;
    append_utf8(one, c);
    std::u16string source = to_utf16(one);
    char16_t target[8];
    UErrorCode error = U_ZERO_ERROR;
    int32_t length = u_strToLower(target, 8, source.data(), static_cast<int32_t>(source.size()), "", &error);
    out += U_FAILURE(error) ? one : from_utf16({target, static_cast<size_t>(length)});
  }
  return out;
}

bool is_white_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }
bool is_punctuation(char32_t c) {
  if (c < 0x80) return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0;
}
bool is_numeric(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0; }
bool is_control(char32_t c) { return c != '\t' && c != '\n' && c != '\r' && (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_C_MASK) != 0; }
bool is_mark(char32_t c) { return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_M_MASK) != 0; }
bool is_nonspacing_mark(char32_t c) { return u_charType(static_cast<UChar32>(c)) == U_NON_SPACING_MARK; }
bool is_word(char32_t c) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_L_MASK | U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 || u_isUAlphabetic(static_cast<UChar32>(c));
}

Result<Regex> Regex::compile(const std::string& pattern) {
  // ICU's \s lacks two of the characters.
  std::string own;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      own += pattern[i];
      continue;
    }
    char next = pattern[++i];
    if (next == 's') own += "\\p{White_Space}";
    else if (next == 'S') own += "\\P{White_Space}";
    else own += {'\\', next};
  }
  if (!valid_utf8(own)) return input_error("a regular expression is not valid UTF-8");
  std::u16string wide = to_utf16(own);
  UErrorCode error = U_ZERO_ERROR;
  UParseError where{};
  URegularExpression* regex = uregex_open(wide.data(), static_cast<int32_t>(wide.size()), 0, &where, &error);
  Regex out;
  if (regex != nullptr) out.regex_ = std::shared_ptr<void>(regex, [](void* p) { uregex_close(static_cast<URegularExpression*>(p)); });
  if (U_FAILURE(error)) return unsupported_error("regular expression \"" + pattern + "\": " + u_errorName(error));
  uregex_setTimeLimit(regex, kMatchLimit, &error);
  return out;
}

Result<std::vector<Span>> Regex::find_all(std::string_view text) const {
  UErrorCode error = U_ZERO_ERROR;
  UText source = UTEXT_INITIALIZER;
  utext_openUTF8(&source, text.data(), static_cast<int64_t>(text.size()), &error);
  // A matcher has a place in a text: every call has its own.
  URegularExpression* regex = uregex_clone(static_cast<URegularExpression*>(regex_.get()), &error);
  std::vector<Span> spans;
  uregex_setTimeLimit(regex, kMatchLimit, &error);
  uregex_setUText(regex, &source, &error);
  while (U_SUCCESS(error) && uregex_findNext(regex, &error)) {
    auto begin = static_cast<size_t>(uregex_start64(regex, 0, &error)), end = static_cast<size_t>(uregex_end64(regex, 0, &error));
    if (U_SUCCESS(error) && end > begin && end <= text.size()) spans.push_back({begin, end});
  }
  uregex_close(regex);
  utext_close(&source);
  if (U_FAILURE(error)) return resource_error(std::string("a regular expression of the tokenizer takes too long: ") + u_errorName(error));
  return spans;
}

}  // namespace mlt
