// JSON in the form of Apple's metadata.json: two-space indent, " : ", empty containers over three lines, "\/". Order of
// members is the caller's.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mlt {

class JsonText {
 public:
  static JsonText string(std::string text);
  static JsonText number(long long value);
  static JsonText real(double value);  // whole numbers without a point, others with up to 17 digits; 0 when not finite
  static JsonText boolean(bool value);
  static JsonText array();
  static JsonText object();

  JsonText& add(JsonText item);                   // array
  JsonText& set(std::string key, JsonText value);  // object; appends
  const std::vector<std::pair<std::string, JsonText>>& members() const { return members_; }
  bool empty() const { return members_.empty(); }
  // No final newline.
  std::string to_string() const;

 private:
  enum class Kind { kString, kNumber, kArray, kObject };
  explicit JsonText(Kind kind) : kind_(kind) {}
  void write(std::string& out, size_t indent) const;

  Kind kind_;
  std::string text_;
  std::vector<std::pair<std::string, JsonText>> members_;  // arrays: without keys
};

// In double quotes; bytes that are no UTF-8 become U+FFFD.
std::string json_quoted(std::string_view text);

}  // namespace mlt
