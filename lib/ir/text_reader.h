// What MIL text is made of: characters, words, strings, numbers, types and literals. The parser of programs
// (text_parse.cc) builds on it. Every error names line and column.
#pragma once
#include <fmt/core.h>

#include <charconv>
#include <string>
#include <string_view>

#include "lib/ir/text.h"
#include "lib/ir/text_tokens.h"

namespace mlt::ir {

class TextReader {
 public:
  TextReader(std::string_view text, const BlobResolver& blobs) : text_(text), blobs_(blobs) {}

 protected:
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  std::string position(size_t offset) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < text_.size(); ++i) {
      if (text_[i] == '\n') ++line, column = 1;
      else ++column;
    }
    return fmt::format("MIL text {}:{}", line, column);
  }
  Error fail_at(size_t offset, std::string message) const { return input_error(position(offset) + ": " + message); }
  Error fail(std::string message) const { return fail_at(at_, std::move(message)); }

  void skip() {
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
        ++at_;
      } else if (text_.substr(at_, 2) == "//") {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  bool peek(char c) {
    skip();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  Status expect(std::string_view token) {
    if (!accept(token)) return fail(fmt::format("expected '{}'{}", token, found()));
    return {};
  }
  std::string found() const {
    if (at_ >= text_.size()) return ", found the end of the text";
    auto c = static_cast<unsigned char>(text_[at_]);
    return c < 0x20 || c >= 0x7f ? fmt::format(", found byte 0x{:02x}", c) : fmt::format(", found '{}'", text_[at_]);
  }
  std::string_view word() {
    skip();
    size_t start = at_;
    while (at_ < text_.size() && is_identifier_char(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  Status keyword(std::string_view wanted) {
    skip();
    size_t start = at_;
    if (word() != wanted) {
      at_ = start;
      return fail(fmt::format("expected '{}'{}", wanted, found()));
    }
    return {};
  }
  Result<std::string> name(std::string_view what) {
    if (peek('"')) return string();
    std::string_view text = word();
    if (text.empty()) return fail(fmt::format("expected {}{}", what, found()));
    return std::string(text);
  }
  Result<std::string> string() {
    skip();
    size_t start = at_;
    if (!accept("\"")) return fail("expected a string" + found());
    std::string out;
    while (at_ < text_.size()) {
      char c = text_[at_++];
      if (c == '"') return out;
      if (c == '\\') {
        if (at_ == text_.size()) break;
        c = text_[at_++];
        switch (c) {
          case 'n': c = '\n'; break;
          case 't': c = '\t'; break;
          case '"': case '\\': case '/': break;
          default: return fail_at(at_ - 2, "unknown escape in a string");
        }
      }
      out += c;
    }
    return fail_at(start, "string without an end");
  }
  template <typename T>
  Result<T> integer() {
    skip();
    T value{};
    auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (code == std::errc::result_out_of_range) return fail("number out of range");
    if (code != std::errc{}) return fail("expected an integer" + found());
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && is_identifier_char(text_[at_])) return fail("expected an integer" + found());
    return value;
  }
  // Hexadecimal, decimal, inf or nan. F: float or double, so that there is one rounding only.
  template <typename F>
  Result<F> floating() {
    skip();
    size_t start = at_;
    bool negative = accept("-");
    auto format = std::chars_format::general;
    if (text_.substr(at_, 2) == "0x" || text_.substr(at_, 2) == "0X") {
      at_ += 2;
      format = std::chars_format::hex;
    }
    F value{};
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) return fail("expected a number" + found());
    auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value, format);
    if (code == std::errc::result_out_of_range) return fail_at(start, "number out of range");
    if (code != std::errc{}) return fail("expected a number" + found());
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && is_identifier_char(text_[at_])) return fail("expected a number" + found());
    return negative ? -value : value;
  }

  // Literals are read by the type in front of them, so that their nesting cannot exceed the type's, which is bounded.
  Result<Type> type(int depth = 0);
  Result<LiteralPtr> typed();  // type(literal)
  Result<Literal> literal(const Type& declared);

  std::string_view text_;
  const BlobResolver& blobs_;
  size_t at_ = 0;

 private:
  struct Elements;
  Result<int64_t> extent();
  template <typename ElementType>
  Status items(Literal& out, std::string_view close, const ElementType& element_type);
  Result<BlobRef> blob_ref();
  Result<Tensor> resolve(const BlobRef& ref, const Type& declared, size_t start);
  Result<Tensor> tensor(const Type& declared);
  Status nest(Dims& dims, size_t axis, Elements& elements);
  template <typename T>
  Status add_integer(Elements& elements);
  Status element(Elements& elements);

  bool in_blob_ = false;
};

}  // namespace mlt::ir
