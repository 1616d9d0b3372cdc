// SentencePiece models, BPE and unigram (source of field numbers and rules: sentencepiece_model.proto and the
// sentencepiece library). Its library in Debian brings a protobuf of its own that refuses to live in one process with
// the system's, so the part that is needed is here.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <queue>
#include <unordered_map>

#include "lib/text/formats.h"
#include "lib/text/pipeline.h"

namespace mlt {
namespace {

const std::string kSpace = "\xE2\x96\x81";  // U+2581
const std::string kReplacement = "\xEF\xBF\xBD";

// Fields of a protobuf message; stops at the first that is damaged.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}
  bool next() {
    if (rest_.empty()) return false;
    uint64_t tag = varint();
    number = tag >> 3;
    switch (tag & 7) {
      case 0: value = varint(); break;
      case 1: bytes = take(8); break;
      case 2: bytes = take(varint()); break;
      case 5:
        bytes = take(4);
        if (bytes.size() == 4) std::memcpy(&real, bytes.data(), 4);
        break;
      default: broken = true;
    }
    return !broken;
  }
  uint64_t number = 0, value = 0;
  std::string_view bytes;
  float real = 0;
  bool broken = false;

 private:
  uint64_t varint() {
    uint64_t result = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      result |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return result;
    }
    broken = true;
    return 0;
  }
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) {
      broken = true;
      return {};
    }
    std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  std::string_view rest_;
};

size_t character_size(std::string_view text) {
  auto lead = static_cast<unsigned char>(text[0]);
  size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return std::min(size, text.size());
}

// The normalizer's rules: a double-array trie (of the darts-clone library) from texts to offsets of their replacements.
class CharacterMap {
 public:
  Status load(std::string_view blob) {
    if (blob.empty()) return {};
    uint32_t size = 0;
    if (blob.size() < 4) return input_error("SentencePiece: damaged normalization rules");
    std::memcpy(&size, blob.data(), 4);
    if (size > blob.size() - 4 || size % 4 != 0) return input_error("SentencePiece: damaged normalization rules");
    units_.resize(size / 4);
    std::memcpy(units_.data(), blob.data() + 4, size);
    texts_ = std::string(blob.substr(4 + size));
    texts_ += '\0';
    return {};
  }
  // The longest rule that the text begins with: bytes it covers and what replaces them.
  std::optional<std::pair<size_t, std::string_view>> find(std::string_view text) const {
    if (units_.empty()) return std::nullopt;
    std::optional<std::pair<size_t, std::string_view>> best;
    auto offset = [](uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); };
    uint32_t at = offset(units_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
      auto byte = static_cast<unsigned char>(text[i]);
      at ^= byte;
      if (at >= units_.size() || (units_[at] & 0x800000FFu) != byte) break;
      uint32_t unit = units_[at];
      at ^= offset(unit);
      if ((unit >> 8) & 1) {
        if (at >= units_.size()) break;
        uint32_t value = units_[at] & 0x7FFFFFFFu;
        if (value >= texts_.size()) break;
        best = {i + 1, std::string_view(texts_.c_str() + value)};
      }
    }
    return best;
  }

 private:
  std::vector<uint32_t> units_;
  std::string texts_;
};

class SentencePiece : public Tokenizer {
 public:
  Status load(std::string_view file);
  Result<std::vector<int64_t>> encode(std::string_view text) const override;
  std::string decode(const std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id_of(std::string_view token) const override {
    auto it = ids_.find(std::string(token));
    return it == ids_.end() ? std::nullopt : std::optional(it->second);
  }
  std::vector<int64_t> end_ids() const override {
    if (eos_ < 0) return {};
    return {eos_};
  }

 private:
  enum Type : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  struct Piece {
    std::string text;
    float score = 0;
    uint64_t type = kNormal;
    bool found_in_text() const { return type == kNormal || type == kUserDefined || type == kUnused; }
  };
  int64_t text_id(const std::string& text) const {  // of pieces that stand for text; -1 for others
    auto it = ids_.find(text);
    return it != ids_.end() && pieces_[static_cast<size_t>(it->second)].found_in_text() ? it->second : -1;
  }
  uint64_t type(int64_t id) const { return pieces_[static_cast<size_t>(id)].type; }
  // Bytes of the longest user-defined symbol that the text begins with, or 0.
  size_t user_defined(std::string_view text) const {
    for (size_t n = std::min(longest_user_, text.size()); n > 0; --n)
      if (int64_t id = text_id(std::string(text.substr(0, n))); id >= 0 && type(id) == kUserDefined) return n;
    return 0;
  }
  std::string normalize(std::string_view text) const;
  // Pieces with their ids, -1 for unknown characters.
  using Found = std::vector<std::pair<std::string, int64_t>>;
  Found encode_bpe(const std::string& text) const;
  Found encode_unigram(const std::string& text) const;

  std::vector<Piece> pieces_;
  std::unordered_map<std::string, int64_t> ids_;
  CharacterMap rules_;
  uint64_t model_type_ = 1;
  bool byte_fallback_ = false, dummy_prefix_ = true, remove_spaces_ = true, escape_spaces_ = true, space_behind_ = false;
  std::string unknown_surface_ = " \xE2\x81\x87 ";
  int64_t unknown_ = 0, bos_ = -1, eos_ = -1;
  size_t longest_ = 0, longest_user_ = 0;
  float least_ = 0, greatest_ = 0;
};

Status SentencePiece::load(std::string_view file) {
  Error damaged = input_error("not a tokenizer.json, nor a SentencePiece model");
  std::string bos = "<s>", eos = "</s>";
  Fields model(file);
  while (model.next()) {
    if (model.number == 1) {
      Piece piece;
      Fields fields(model.bytes);
      while (fields.next()) {
        if (fields.number == 1) piece.text = std::string(fields.bytes);
        if (fields.number == 2) piece.score = fields.real;
        if (fields.number == 3) piece.type = fields.value;
      }
      if (fields.broken || piece.text.empty() || !valid_utf8(piece.text) || std::isnan(piece.score)) return damaged;
      pieces_.push_back(std::move(piece));
    } else if (model.number == 2) {
      Fields fields(model.bytes);
      while (fields.next()) {
        if (fields.number == 3) model_type_ = fields.value;
        if (fields.number == 24) space_behind_ = fields.value != 0;
        if (fields.number == 35) byte_fallback_ = fields.value != 0;
        if (fields.number == 44) unknown_surface_ = std::string(fields.bytes);
        if (fields.number == 46) bos = std::string(fields.bytes);
        if (fields.number == 47) eos = std::string(fields.bytes);
      }
      if (fields.broken) return damaged;
    } else if (model.number == 3) {
      Fields fields(model.bytes);
      while (fields.next()) {
        if (fields.number == 2) MLT_TRY(rules_.load(fields.bytes));
        if (fields.number == 3) dummy_prefix_ = fields.value != 0;
        if (fields.number == 4) remove_spaces_ = fields.value != 0;
        if (fields.number == 5) escape_spaces_ = fields.value != 0;
      }
      if (fields.broken) return damaged;
    }
  }
  if (model.broken || pieces_.empty()) return damaged;
  if (model_type_ != 1 && model_type_ != 2) return unsupported_error("SentencePiece: models of words or characters", "BPE and unigram models are supported");
  int64_t unknowns = 0;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    auto id = static_cast<int64_t>(i);
    if (!ids_.emplace(piece.text, id).second) return input_error("SentencePiece: two pieces \"" + piece.text + "\"");
    if (piece.type == kUnknown) unknown_ = id, ++unknowns;
    if (piece.type == kControl && piece.text == bos) bos_ = id;
    if (piece.type == kControl && piece.text == eos) eos_ = id;
    if (piece.found_in_text()) longest_ = std::max(longest_, piece.text.size());
    if (piece.type == kUserDefined) longest_user_ = std::max(longest_user_, piece.text.size());
  }
  bool any = false;
  for (const Piece& piece : pieces_) {
    if (piece.type != kNormal) continue;
    least_ = any ? std::min(least_, piece.score) : piece.score;
    greatest_ = any ? std::max(greatest_, piece.score) : piece.score;
    any = true;
  }
  if (unknowns != 1) return input_error("SentencePiece: " + std::to_string(unknowns) + " unknown pieces, 1 expected");
  return {};
}

std::string SentencePiece::normalize(std::string_view text) const {
  auto prefix = [&](std::string_view from) -> std::pair<size_t, std::string_view> {
    if (size_t n = user_defined(from)) return {n, from.substr(0, n)};
    if (auto rule = rules_.find(from)) return *rule;
    size_t n = character_size(from);
    return {n, from.substr(0, n)};
  };
  std::string out;
  while (remove_spaces_ && !text.empty()) {
    auto [size, what] = prefix(text);
    if (what != " ") break;
    text.remove_prefix(size);
  }
  if (text.empty()) return out;
  const std::string space = escape_spaces_ ? kSpace : " ";
  if (dummy_prefix_ && !space_behind_) out += space;
  bool after_space = remove_spaces_;
  while (!text.empty()) {
    auto [size, what] = prefix(text);
    while (after_space && what.starts_with(' ')) what.remove_prefix(1);
    if (!what.empty()) {
      for (char c : what) {
        if (c == ' ') out += space;
        else out += c;
      }
      after_space = remove_spaces_ && what.ends_with(' ');
    }
    text.remove_prefix(size);
  }
  while (remove_spaces_ && out.ends_with(space)) out.resize(out.size() - space.size());
  if (dummy_prefix_ && space_behind_) out += space;
  return out;
}

SentencePiece::Found SentencePiece::encode_bpe(const std::string& text) const {
  struct Symbol {
    size_t begin, size;
    int previous, next;
    bool fixed;
  };
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < text.size();) {
    std::string_view rest = std::string_view(text).substr(at);
    size_t user = user_defined(rest), size = user > 0 ? user : character_size(rest);
    int index = static_cast<int>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({at, size, index - 1, -1, user > 0});
    at += size;
  }
  struct Candidate {
    float score;
    int left;
    size_t left_size, size;
    bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
  };
  std::priority_queue<Candidate> queue;
  // Merged pieces that may not be used, and where they fall apart again.
  std::unordered_map<std::string, size_t> seams;
  auto consider = [&](int left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(a.next)];
    if (a.fixed || b.fixed || a.size + b.size > longest_) return;
    std::string both = text.substr(a.begin, a.size + b.size);
    int64_t id = text_id(both);
    if (id < 0) return;
    if (type(id) == kUnused) seams[both] = a.size;
    queue.push({pieces_[static_cast<size_t>(id)].score, left, a.size, a.size + b.size});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int>(i));
  while (!queue.empty()) {
    Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.size != best.left_size || left.next < 0 || left.size + symbols[static_cast<size_t>(left.next)].size != best.size) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.size = best.size;
    right.size = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  Found out;
  for (int i = symbols.empty() ? -1 : 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    std::vector<std::string> stack{text.substr(symbols[static_cast<size_t>(i)].begin, symbols[static_cast<size_t>(i)].size)};
    while (!stack.empty()) {
      std::string piece = std::move(stack.back());
      stack.pop_back();
      auto seam = seams.find(piece);
      if (seam != seams.end()) {
        stack.push_back(piece.substr(seam->second));
        stack.push_back(piece.substr(0, seam->second));
        continue;
      }
      int64_t id = text_id(piece);
      out.emplace_back(std::move(piece), id);
    }
  }
  return out;
}

SentencePiece::Found SentencePiece::encode_unigram(const std::string& text) const {
  struct Node {
    float score = 0;
    int64_t id = -1;
    size_t from = std::string::npos;
  };
  std::vector<Node> nodes(text.size() + 1);
  const float unknown_score = least_ - 10;
  nodes[0].from = 0;
  for (size_t at = 0; at < text.size();) {
    size_t step = character_size(std::string_view(text).substr(at));
    bool single = false;
    for (size_t size = 1; size <= std::min(longest_, text.size() - at); ++size) {
      if (at + size < text.size() && (static_cast<unsigned char>(text[at + size]) & 0xC0) == 0x80) continue;
      int64_t id = text_id(text.substr(at, size));
      if (id < 0 || type(id) == kUnused) continue;
      float own = type(id) == kUserDefined ? static_cast<float>(size) * greatest_ - 0.1f : pieces_[static_cast<size_t>(id)].score;
      float score = nodes[at].score + own;
      Node& target = nodes[at + size];
      if (target.from == std::string::npos || score > target.score) target = {score, id, at};
      single = single || size == step;
    }
    if (!single) {
      float score = nodes[at].score + unknown_score;
      Node& target = nodes[at + step];
      if (target.from == std::string::npos || score > target.score) target = {score, -1, at};
    }
    at += step;
  }
  Found out;
  for (size_t end = text.size(); end > 0; end = nodes[end].from) out.emplace_back(text.substr(nodes[end].from, end - nodes[end].from), nodes[end].id);
  std::reverse(out.begin(), out.end());
  return out;
}

Result<std::vector<int64_t>> SentencePiece::encode(std::string_view text) const {
  if (!valid_utf8(text)) return input_error("the text is not valid UTF-8");
  std::string normal = normalize(text);
  std::vector<int64_t> ids;
  if (bos_ >= 0) ids.push_back(bos_);
  bool unknown_before = false;
  for (const auto& [piece, id] : model_type_ == 2 ? encode_bpe(normal) : encode_unigram(normal)) {
    bool unknown = id < 0;
    if (!unknown) {
      ids.push_back(id);
    } else if (byte_fallback_) {
      for (unsigned char byte : piece) {
        static const char* const kDigits = "0123456789ABCDEF";
        auto it = ids_.find(std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">");
        ids.push_back(it != ids_.end() ? it->second : unknown_);
      }
    } else if (!unknown_before) {
      ids.push_back(unknown_);
    }
    unknown_before = unknown;
  }
  return ids;
}

std::string SentencePiece::decode(const std::vector<int64_t>& ids) const {
  std::string text, bytes;
  bool head_seen = false;
  auto flush = [&] {
    for (std::string_view rest = bytes; !rest.empty();) {
      size_t n = character_size(rest);
      if (!valid_utf8(rest.substr(0, n))) n = 0;
      text += n > 0 ? std::string(rest.substr(0, n)) : kReplacement;
      rest.remove_prefix(std::max<size_t>(n, 1));
    }
    bytes.clear();
  };
  for (int64_t id : ids) {
    if (id < 0 || id >= static_cast<int64_t>(pieces_.size()) || type(id) == kControl) continue;
    std::string piece = pieces_[static_cast<size_t>(id)].text;
    if (type(id) == kByte && piece.size() == 6) {
      bytes += static_cast<char>(std::strtol(piece.c_str() + 3, nullptr, 16));
      continue;
    }
    flush();
    if (type(id) == kUnknown) {
      text += unknown_surface_;
      continue;
    }
    if (text.empty() && !head_seen && (dummy_prefix_ || remove_spaces_) && piece.starts_with(kSpace)) {
      piece.erase(0, kSpace.size());
      head_seen = !remove_spaces_;
    }
    text += replace_all(piece, kSpace, " ");
  }
  flush();
  return text;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> read_sentencepiece(std::string_view file) {
  auto tokenizer = std::make_unique<SentencePiece>();
  MLT_TRY(tokenizer->load(file));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace mlt
