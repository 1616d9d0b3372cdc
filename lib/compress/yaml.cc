#include "lib/compress/yaml.h"

#include <fmt/core.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mlt::compress {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kDeepest = 32;

struct Line {
  size_t number = 0;
  int indent = 0;
  std::string_view text;  // without indentation, comment and trailing blanks
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// Cuts a comment off; a "#" in quotes or within a word is none.
std::string_view without_comment(std::string_view text) {
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"') ++i;
      else if (c == quote) quote = 0;
    } else if ((c == '"' || c == '\'') && (i == 0 || std::string_view(" [{,:\t").find(text[i - 1]) != std::string_view::npos)) {
      quote = c;
    } else if (c == '#' && (i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t')) {
      return text.substr(0, i);
    }
  }
  return text;
}

class Reader {
 public:
  Result<Json> run(std::string_view text) {
    size_t number = 0;
    while (!text.empty()) {
      size_t end = text.find('\n');
      std::string_view line = text.substr(0, end);
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
      ++number;
      line = without_comment(line);
      std::string_view content = trimmed(line);
      if (content.empty() || (content == "---" && lines_.empty())) continue;
      size_t indent = line.find_first_not_of(' ');
      if (line[indent] == '\t') return fail(number, "is indented with a tab");
      lines_.push_back({number, static_cast<int>(std::min<size_t>(indent, 1 << 20)), content});
    }
    if (lines_.empty()) return Json(nullptr);
    MLT_ASSIGN(Json value, block(0));
    if (at_ < lines_.size()) return fail(lines_[at_].number, "is indented as nothing before it");
    return value;
  }

 private:
  static Error fail(size_t line, const std::string& what) { return input_error(fmt::format("line {} {}", line, what)); }

  // "key: rest"; nothing when there is no such colon.
  Result<bool> key_of(const Line& line, std::string* key, std::string_view* rest) {
    std::string_view text = line.text;
    if (text.front() == '{' || text.front() == '[') return false;
    size_t colon;
    if (text.front() == '"' || text.front() == '\'') {
      std::string_view after = text;
      MLT_ASSIGN(Json name, quoted(after, line.number));
      after = trimmed(after);
      if (after.empty() || after.front() != ':') return false;
      *key = name.get<std::string>();
      *rest = trimmed(after.substr(1));
      return true;
    }
    for (colon = text.find(':'); colon != std::string_view::npos; colon = text.find(':', colon + 1))
      if (colon + 1 == text.size() || text[colon + 1] == ' ') break;
    if (colon == std::string_view::npos) return false;
    *key = std::string(trimmed(text.substr(0, colon)));
    *rest = trimmed(text.substr(colon + 1));
    return true;
  }

  Result<Json> block(int depth) {
    if (depth > kDeepest) return fail(lines_[at_].number, "is nested too deep");
    int indent = lines_[at_].indent;
    std::string_view text = lines_[at_].text;
    if (text == "-" || text.starts_with("- ")) {
      Json list = Json::array();
      while (at_ < lines_.size() && lines_[at_].indent == indent && (lines_[at_].text == "-" || lines_[at_].text.starts_with("- "))) {
        Line& line = lines_[at_];
        std::string_view rest = trimmed(line.text.substr(1));
        if (rest.empty()) {
          ++at_;
          MLT_ASSIGN(Json item, nested(indent, depth));
          list.push_back(std::move(item));
        } else {
          // What follows the dash is a block of its own.
          line.indent = indent + static_cast<int>(rest.data() - line.text.data());
          line.text = rest;
          std::string key;
          std::string_view unused;
          MLT_ASSIGN(bool mapping, key_of(line, &key, &unused));
          if (mapping || rest.starts_with("- ")) {
            MLT_ASSIGN(Json item, block(depth + 1));
            list.push_back(std::move(item));
          } else {
            MLT_ASSIGN(Json item, whole(rest, line.number));
            ++at_;
            list.push_back(std::move(item));
          }
        }
      }
      return list;
    }
    std::string key;
    std::string_view rest;
    MLT_ASSIGN(bool mapping, key_of(lines_[at_], &key, &rest));
    if (!mapping) {
      size_t number = lines_[at_].number;
      // A flow collection may be the whole text, over several lines.
      std::string joined;
      for (; at_ < lines_.size() && lines_[at_].indent >= indent; ++at_) joined += std::string(lines_[at_].text) + " ";
      kept_.push_back(std::make_unique<std::string>(std::move(joined)));
      return whole(trimmed(*kept_.back()), number);
    }
    Json map = Json::object();
    while (at_ < lines_.size() && lines_[at_].indent == indent) {
      size_t number = lines_[at_].number;
      MLT_ASSIGN(bool pair, key_of(lines_[at_], &key, &rest));
      if (!pair) return fail(number, "is no \"key: value\"");
      if (map.contains(key)) return fail(number, fmt::format("gives \"{}\" again", key));
      ++at_;
      if (rest.empty()) {
        bool list_here = at_ < lines_.size() && lines_[at_].indent == indent && (lines_[at_].text == "-" || lines_[at_].text.starts_with("- "));
        if (list_here) {
          MLT_ASSIGN(map[key], block(depth + 1));
        } else {
          MLT_ASSIGN(map[key], nested(indent, depth));
        }
      } else {
        MLT_ASSIGN(map[key], whole(rest, number));
      }
    }
    if (at_ < lines_.size() && lines_[at_].indent > indent) return fail(lines_[at_].number, "is indented as nothing before it");
    return map;
  }

  Result<Json> nested(int indent, int depth) {
    if (at_ == lines_.size() || lines_[at_].indent <= indent) return Json(nullptr);
    return block(depth + 1);
  }

  Result<Json> whole(std::string_view text, size_t number) {
    MLT_ASSIGN(Json value, flow(text, number, 0));
    if (!trimmed(text).empty()) return fail(number, fmt::format("has more than a value: \"{}\"", trimmed(text)));
    return value;
  }

  Result<Json> quoted(std::string_view& text, size_t number) {
    char quote = text.front();
    std::string out;
    for (size_t i = 1; i < text.size(); ++i) {
      char c = text[i];
      if (c == quote) {
        if (quote == '\'' && i + 1 < text.size() && text[i + 1] == '\'') {
          out += '\'';
          ++i;
          continue;
        }
        text.remove_prefix(i + 1);
        return Json(out);
      }
      if (c == '\\' && quote == '"') {
        if (++i == text.size()) break;
        c = text[i];
        if (c == 'n') c = '\n';
        else if (c == 't') c = '\t';
        else if (c != '"' && c != '\\' && c != '/') return fail(number, fmt::format("has the escape \\{}, which is not understood here", c));
      }
      out += c;
    }
    return fail(number, "has a quote that does not end");
  }

  Result<Json> flow(std::string_view& text, size_t number, int depth) {
    if (depth > kDeepest) return fail(number, "is nested too deep");
    text = trimmed(text);
    if (text.empty()) return fail(number, "lacks a value");
    char c = text.front();
    if (c == '"' || c == '\'') return quoted(text, number);
    if (std::string_view("&*!|>%@`").find(c) != std::string_view::npos) return fail(number, fmt::format("starts a value with \"{}\" (anchors, tags and multi-line texts are not understood here)", c));
    if (c == '[' || c == '{') {
      char closing = c == '[' ? ']' : '}';
      Json out = c == '[' ? Json::array() : Json::object();
      text.remove_prefix(1);
      for (;;) {
        text = trimmed(text);
        if (!text.empty() && text.front() == closing) break;
        if (c == '[') {
          MLT_ASSIGN(Json item, flow(text, number, depth + 1));
          out.push_back(std::move(item));
        } else {
          std::string key;
          if (!text.empty() && (text.front() == '"' || text.front() == '\'')) {
            MLT_ASSIGN(Json name, quoted(text, number));
            key = name.get<std::string>();
            text = trimmed(text);
            if (text.empty() || text.front() != ':') return fail(number, "lacks a \":\"");
            text.remove_prefix(1);
          } else {
            size_t colon = text.find(':');
            if (colon == std::string_view::npos) return fail(number, "lacks a \":\"");
            key = std::string(trimmed(text.substr(0, colon)));
            text.remove_prefix(colon + 1);
          }
          if (out.contains(key)) return fail(number, fmt::format("gives \"{}\" again", key));
          MLT_ASSIGN(out[key], flow(text, number, depth + 1));
        }
        text = trimmed(text);
        if (!text.empty() && text.front() == ',') text.remove_prefix(1);
        else if (text.empty() || text.front() != closing) return fail(number, fmt::format("lacks a \"{}\"", closing));
      }
      text.remove_prefix(1);
      return out;
    }
    size_t end = depth == 0 ? std::string_view::npos : text.find_first_of(",]}");
    std::string_view word = trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end);
    return scalar(word);
  }

  static Json scalar(std::string_view word) {
    if (word.empty() || word == "~" || word == "null" || word == "Null" || word == "NULL") return nullptr;
    if (word == "true" || word == "True" || word == "TRUE") return true;
    if (word == "false" || word == "False" || word == "FALSE") return false;
    int64_t whole = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), whole);
    if (error == std::errc() && end == word.data() + word.size()) return whole;
    double real = 0;
    auto [stop, wrong] = std::from_chars(word.data(), word.data() + word.size(), real);
    if (wrong == std::errc() && stop == word.data() + word.size()) return real;
    return std::string(word);
  }

  std::vector<Line> lines_;
  std::vector<std::unique_ptr<std::string>> kept_;
  size_t at_ = 0;
};

}  // namespace

Result<Json> read_yaml(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  return Reader().run(text);
}

}  // namespace mlt::compress
