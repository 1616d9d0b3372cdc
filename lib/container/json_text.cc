#include "lib/container/json_text.h"

#include <fmt/core.h>

#include <cmath>

namespace mlt {
namespace {

// Bytes of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t utf8_length(std::string_view text) {
  auto at = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i) { return (at(i) & 0xc0) == 0x80; };
  unsigned lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead < 0xe0) return follows(1) ? 2 : 0;
  if (lead >= 0xe0 && lead < 0xf0) {
    if (!follows(1) || !follows(2)) return 0;
    if ((lead == 0xe0 && at(1) < 0xa0) || (lead == 0xed && at(1) >= 0xa0)) return 0;
    return 3;
  }
  if (lead >= 0xf0 && lead < 0xf5) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if ((lead == 0xf0 && at(1) < 0x90) || (lead == 0xf4 && at(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

}  // namespace

std::string json_quoted(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    size_t length = utf8_length(text);
    char c = text[0];
    if (length == 0) {
      out += "\xef\xbf\xbd";
      length = 1;
    } else if (length > 1) {
      out += text.substr(0, length);
    } else {
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '/':
          out += "\\/";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        default:
          if (static_cast<unsigned char>(c) < 0x20)
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
          else
            out += c;
      }
    }
    text.remove_prefix(length);
  }
  return out += '"';
}

JsonText JsonText::string(std::string text) {
  JsonText out(Kind::kString);
  out.text_ = std::move(text);
  return out;
}
JsonText JsonText::number(long long value) {
  JsonText out(Kind::kNumber);
  out.text_ = std::to_string(value);
  return out;
}
JsonText JsonText::real(double value) {
  JsonText out(Kind::kNumber);
  if (!std::isfinite(value)) value = 0;
  out.text_ = value == std::floor(value) && std::fabs(value) < 1e15 ? fmt::format("{}", static_cast<long long>(value)) : fmt::format("{:.17g}", value);
  return out;
}
JsonText JsonText::boolean(bool value) {
  JsonText out(Kind::kNumber);
  out.text_ = value ? "true" : "false";
  return out;
}
JsonText JsonText::array() { return JsonText(Kind::kArray); }
JsonText JsonText::object() { return JsonText(Kind::kObject); }

JsonText& JsonText::add(JsonText item) {
  members_.emplace_back(std::string(), std::move(item));
  return *this;
}
JsonText& JsonText::set(std::string key, JsonText value) {
  members_.emplace_back(std::move(key), std::move(value));
  return *this;
}

std::string JsonText::to_string() const {
  std::string out;
  write(out, 0);
  return out;
}

void JsonText::write(std::string& out, size_t indent) const {
  if (kind_ == Kind::kString) {
    out += json_quoted(text_);
    return;
  }
  if (kind_ == Kind::kNumber) {
    out += text_;
    return;
  }
  bool object = kind_ == Kind::kObject;
  out += object ? "{\n" : "[\n";
  bool first = true;
  for (const auto& [key, value] : members_) {
    if (!first) out += ",\n";
    first = false;
    out.append(indent + 2, ' ');
    if (object) out += json_quoted(key) + " : ";
    value.write(out, indent + 2);
  }
  out += '\n';
  out.append(indent, ' ');
  out += object ? '}' : ']';
}

}  // namespace mlt
