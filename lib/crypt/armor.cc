#include "lib/crypt/armor.h"

#include <algorithm>
#include <cstring>

#include "lib/crypt/encoding.h"

namespace mlt::crypt {
namespace {

constexpr size_t kColumns = 64;
constexpr size_t kLineBytes = kColumns / 4 * 3;

bool is_space(std::string_view text) { return text.find_first_not_of(" \t\r\n\v\f") == text.npos; }

class ArmorSource : public Source {
 public:
  explicit ArmorSource(std::unique_ptr<Source> inner) : in_(std::move(inner)) {}

  Result<size_t> read(std::span<std::byte> buffer) override {
    if (!begun_) MLT_TRY(begin().in("armor"));
    size_t used = 0;
    while (used < buffer.size()) {
      if (start_ == decoded_.size()) {
        if (ended_) break;
        MLT_TRY(next_line().in("armor"));
        continue;
      }
      size_t n = std::min(buffer.size() - used, decoded_.size() - start_);
      std::memcpy(buffer.data() + used, decoded_.data() + start_, n);
      start_ += n;
      used += n;
    }
    return used;
  }

 private:
  // A line without its LF or CRLF.
  Result<std::string> line() {
    MLT_ASSIGN(std::string text, in_.line(kArmorSlack + 2));
    if (text.empty()) return input_error("ends early");
    if (text.ends_with('\n')) {
      text.pop_back();
      if (text.ends_with('\r')) text.pop_back();
    }
    return text;
  }

  Status begin() {
    begun_ = true;
    for (size_t removed = 0;;) {
      MLT_ASSIGN(std::string text, line());
      if (is_space(text)) {
        removed += text.size() + 1;
        if (removed > kArmorSlack) return input_error("too much white space before the first line");
        continue;
      }
      if (text != kArmorBegin) return input_error("the first line is not '" + std::string(kArmorBegin) + "'");
      return {};
    }
  }

  Status next_line() {
    decoded_.clear();
    start_ = 0;
    MLT_ASSIGN(std::string text, line());
    if (text == kArmorEnd) return end();
    if (text.empty() || text.size() > kColumns) return input_error("line of wrong length");
    MLT_ASSIGN(decoded_, base64_decode(text, Padding::kRequired));
    if (decoded_.size() < kLineBytes) {
      MLT_ASSIGN(std::string last, line());
      if (last != kArmorEnd) return input_error("short line before the last");
      return end();
    }
    return {};
  }

  Status end() {
    ended_ = true;
    MLT_ASSIGN(ByteSpan rest, in_.peek(kArmorSlack + 1));
    if (!is_space(as_text(rest))) return input_error("data after the last line");
    if (rest.size() > kArmorSlack) return input_error("too much white space after the last line");
    return {};
  }

  Buffered in_;
  Bytes decoded_;
  size_t start_ = 0;
  bool begun_ = false, ended_ = false;
};

}  // namespace

std::unique_ptr<Source> armor_source(std::unique_ptr<Source> inner) {
  return std::make_unique<ArmorSource>(std::move(inner));
}

Status ArmorWriter::write(ByteSpan bytes) {
  std::string out;
  if (!begun_) out = std::string(kArmorBegin) + "\n";
  begun_ = true;
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  size_t whole = pending_.size() / kLineBytes * kLineBytes;
  for (size_t at = 0; at < whole; at += kLineBytes)
    out += base64_encode(ByteSpan(pending_).subspan(at, kLineBytes), Padding::kRequired) + "\n";
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(whole));
  return sink_(as_bytes(out));
}

Status ArmorWriter::finish() {
  std::string out;
  if (!begun_) out = std::string(kArmorBegin) + "\n";
  if (!pending_.empty()) out += base64_encode(pending_, Padding::kRequired) + "\n";
  return sink_(as_bytes(out + std::string(kArmorEnd) + "\n"));
}

}  // namespace mlt::crypt
