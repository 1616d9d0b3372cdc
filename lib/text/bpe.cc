#include "lib/text/bpe.h"

#include <cstdio>
#include <queue>

#include "lib/text/unicode.h"

namespace mlt {
namespace {

std::string byte_token(unsigned char byte) {
  char name[8];
  std::snprintf(name, sizeof(name), "<0x%02X>", byte);
  return name;
}

struct Symbol {
  int64_t id;
  int previous, next;  // -1: none
  bool alive = true;
};

struct Candidate {
  int64_t rank;
  int left;
  int64_t left_id, right_id, id;
  bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

}  // namespace

void BytePairModel::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  if (piece.empty()) return;
  if (ignore_merges)
    if (auto whole = vocabulary.find(std::string(piece)); whole != vocabulary.end()) {
      ids.push_back(whole->second);
      return;
    }
  std::vector<Symbol> symbols;
  bool unknown_before = false;
  auto add = [&](int64_t id) {
    int at = static_cast<int>(symbols.size());
    if (at > 0) symbols.back().next = at;
    symbols.push_back({id, at - 1, -1});
  };
  std::u32string characters = code_points(piece);
  for (size_t i = 0; i < characters.size(); ++i) {
    std::string plain, name;
    append_utf8(plain, characters[i]);
    if (i > 0) name = prefix;
    name += plain;
    if (i + 1 == characters.size()) name += suffix;
    if (auto it = vocabulary.find(name); it != vocabulary.end()) {
      add(it->second);
      unknown_before = false;
      continue;
    }
    if (byte_fallback) {
      std::vector<int64_t> bytes;
      for (unsigned char byte : name)
        if (auto it = vocabulary.find(byte_token(byte)); it != vocabulary.end()) bytes.push_back(it->second);
      if (bytes.size() == name.size()) {
        for (int64_t id : bytes) add(id);
        unknown_before = false;
        continue;
      }
    }
    if (unknown && !(fuse_unknown && unknown_before)) add(*unknown);
    unknown_before = unknown.has_value();
  }

  std::priority_queue<Candidate> queue;
  auto consider = [&](int left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    int64_t a = symbols[static_cast<size_t>(left)].id, b = symbols[static_cast<size_t>(symbols[static_cast<size_t>(left)].next)].id;
    auto it = merges.find(pair_key(a, b));
    if (it != merges.end()) queue.push({it->second.rank, left, a, b, it->second.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int>(i));
  while (!queue.empty()) {
    Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (!left.alive || left.id != best.left_id || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != best.right_id) continue;
    left.id = best.id;
    right.alive = false;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
  for (const Symbol& symbol : symbols)
    if (symbol.alive) ids.push_back(symbol.id);
}

void WordPieceModel::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  std::u32string characters = code_points(piece);
  if (characters.size() > max_characters) {
    ids.push_back(unknown);
    return;
  }
  std::vector<int64_t> found;
  for (size_t start = 0; start < characters.size();) {
    size_t end = characters.size();
    for (; end > start; --end) {
      std::string name = start > 0 ? prefix : "";
      name += to_utf8(std::u32string_view(characters).substr(start, end - start));
      auto it = vocabulary.find(name);
      if (it == vocabulary.end()) continue;
      found.push_back(it->second);
      break;
    }
    if (end == start) {
      ids.push_back(unknown);
      return;
    }
    start = end;
  }
  ids.insert(ids.end(), found.begin(), found.end());
}

}  // namespace mlt
