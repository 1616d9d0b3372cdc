// What every language writes from: features with identifiers, and the tools to write text.
#pragma once
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/codegen/codegen.h"
#include "lib/coreml/description.h"

namespace mlt::codegen {

struct Feature {
  std::string name, id;  // in the model; in the language
  std::string about;     // one line: what the model says of it, and its type
  coreml::FeatureType type;
};

struct Interface {
  std::string class_name, resource, file;  // identifier; name of the .mlmodelc; of the source file, without extension
  std::vector<Feature> inputs, outputs, states;
  std::vector<std::string> labels;
  bool integer_labels = false;
  std::vector<std::string> functions;
  std::string about;                                      // of the model, one line; may be empty
  std::vector<std::pair<std::string, std::string>> systems;
  int spec_version = 1;
  Options options;
};

// An identifier made of any text; not empty, not one of `reserved`.
std::string identifier(std::string_view text, const std::set<std::string>& reserved);
// Text on one line, for a comment: control characters are blanks, long text is cut, and nothing ends a comment.
std::string one_line(std::string_view text);
// "..." with escapes that C, C++, Objective-C, Python (and with swift, Swift) understand; bytes above 0x7f stay as they
// are, invalid UTF-8 becomes U+FFFD.
std::string quoted(std::string_view text, bool swift = false);
// "image" -> "Image"
std::string capitalized(std::string_view id);
// Replaces every "$KEY$" of the text once; values are not looked at again.
std::string fill(std::string_view text, std::initializer_list<std::pair<std::string_view, std::string>> values);
// Joined by a separator.
template <typename Items, typename Function>
std::string join(const Items& items, std::string_view separator, Function text_of) {
  std::string out;
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += separator;
    first = false;
    out += text_of(item);
  }
  return out;
}

std::string swift_text(const Interface& model);
std::string objc_header(const Interface& model);
std::string objc_source(const Interface& model);
std::string cpp_text(const Interface& model);
std::string python_text(const Interface& model);
const std::set<std::string>& reserved_words(Language language);

}  // namespace mlt::codegen
