// Spelling that the printer and the parser of MIL text share.
#pragma once
#include <string>
#include <string_view>

namespace mlt::ir {

// Opset names of the wire format and their tokens in text. CoreML9 has been seen as both ios19 and ios26; both are
// read (the first row of an opset is the one printed).
struct OpsetName {
  std::string_view opset, token;
};
inline constexpr OpsetName kOpsetNames[] = {
    {"CoreML5", "ios15"}, {"CoreML6", "ios16"}, {"CoreML7", "ios17"},
    {"CoreML8", "ios18"}, {"CoreML9", "ios26"}, {"CoreML9", "ios19"},
};
std::string opset_token(std::string_view opset);

inline bool is_identifier_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '@';
}
// What is written without quotes: letters, digits, '_', '.', '@', not starting with a digit.
bool is_plain_identifier(std::string_view name);
// In double quotes; backslash, double quote and line feed are escaped.
std::string quoted(std::string_view text);
// C hexadecimal form with the fewest digits: 0x1.8p+1, 0x0p+0, -inf, nan. Exact for every float type.
std::string hex_float(double value);

}  // namespace mlt::ir
