#include "lib/crypt/header.h"

#include <algorithm>

#include "lib/crypt/encoding.h"

namespace mlt::crypt {
namespace {

constexpr size_t kColumns = 64;
constexpr std::string_view kVersionName = "age-encryption.org/";

bool is_visible(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x21 && c <= 0x7e; });
}

// A line without its line feed, which must be there.
Result<std::string> next_line(Buffered& in, Header& header) {
  MLT_ASSIGN(std::string line, in.line(kMaxHeaderSize));
  header.size += line.size();
  if (header.size > kMaxHeaderSize) return input_error("header is too large");
  if (!line.ends_with('\n')) return input_error("file ends inside the header");
  line.pop_back();
  return line;
}

Result<std::vector<std::string>> parse_arguments(std::string_view text) {
  std::vector<std::string> arguments;
  for (size_t start = 0;;) {
    size_t end = std::min(text.find(' ', start), text.size());
    std::string_view argument = text.substr(start, end - start);
    if (!is_visible(argument)) return input_error("malformed recipient line");
    arguments.emplace_back(argument);
    if (end == text.size()) return arguments;
    start = end + 1;
  }
}

}  // namespace

Result<Header> read_header(Buffered& in) {
  Header header;
  MLT_ASSIGN(ByteSpan start, in.peek(kVersionName.size()));
  if (as_text(start) != kVersionName) return input_error("not an age file");
  MLT_ASSIGN(std::string version, in.line(128));
  if (version != kVersionLine) {
    if (version.back() != '\n') return input_error("file ends inside the header");
    version = version.substr(kVersionName.size(), version.size() - kVersionName.size() - 1);
    if (!is_visible(version)) return input_error("malformed version line");
    return unsupported_error("age format of version '" + version + "'");
  }
  header.mac_input = version;
  header.size = version.size();
  for (;;) {
    MLT_ASSIGN(std::string line, next_line(in, header));
    if (line.starts_with("---")) {
      if (header.stanzas.empty()) return input_error("header names no recipient");
      if (!line.starts_with("--- ")) return input_error("malformed last line of the header");
      MLT_ASSIGN(Bytes mac, base64_decode(std::string_view(line).substr(4), Padding::kNone));
      if (mac.size() != header.mac.size()) return input_error("header MAC of wrong length");
      std::copy(mac.begin(), mac.end(), header.mac.begin());
      header.mac_input += "---";
      return header;
    }
    if (!line.starts_with("-> ")) return input_error("malformed recipient line");
    Stanza stanza;
    MLT_ASSIGN(stanza.arguments, parse_arguments(std::string_view(line).substr(3)));
    header.mac_input += line + "\n";
    for (;;) {
      MLT_ASSIGN(std::string body, next_line(in, header));
      if (body.size() > kColumns) return input_error("recipient body line is too long");
      MLT_ASSIGN(Bytes decoded, base64_decode(body, Padding::kNone));
      stanza.body.insert(stanza.body.end(), decoded.begin(), decoded.end());
      header.mac_input += body + "\n";
      if (body.size() < kColumns) break;
    }
    header.stanzas.push_back(std::move(stanza));
  }
}

std::string write_header(const std::vector<Stanza>& stanzas, const FileKey& file_key) {
  std::string out(kVersionLine);
  for (const Stanza& stanza : stanzas) {
    out += "->";
    for (const std::string& argument : stanza.arguments) out += " " + argument;
    out += "\n";
    std::string body = base64_encode(stanza.body, Padding::kNone);
    for (size_t at = 0; at < body.size(); at += kColumns) out += body.substr(at, kColumns) + "\n";
    if (body.size() % kColumns == 0) out += "\n";
  }
  out += "---";
  Key key = hkdf_sha256(file_key, {}, "header");
  auto mac = hmac_sha256(key, as_bytes(out));
  return out + " " + base64_encode(mac, Padding::kNone) + "\n";
}

bool mac_matches(const Header& header, const FileKey& file_key) {
  Key key = hkdf_sha256(file_key, {}, "header");
  return equal_constant_time(hmac_sha256(key, as_bytes(header.mac_input)), header.mac);
}

}  // namespace mlt::crypt
