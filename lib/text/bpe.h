// The models of tokenizers: a piece of text to ids. Internal to lib/text.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mlt {

using Vocabulary = std::unordered_map<std::string, int64_t>;

// Byte pair encoding (source of the rules: the tokenizers library): adjacent symbols merge by rank, the leftmost of
// equals first.
struct BytePairModel {
  Vocabulary vocabulary;
  struct Merge {
    int64_t rank, id;
  };
  std::unordered_map<uint64_t, Merge> merges;  // by pair_key
  std::optional<int64_t> unknown;
  std::string prefix, suffix;  // of symbols that go on a word, and that end it
  bool fuse_unknown = false, byte_fallback = false, ignore_merges = false;

  static uint64_t pair_key(int64_t left, int64_t right) { return (static_cast<uint64_t>(left) << 32) | static_cast<uint32_t>(right); }
  void encode(std::string_view piece, std::vector<int64_t>& ids) const;
};

// Longest entry first, from left to right.
struct WordPieceModel {
  Vocabulary vocabulary;
  int64_t unknown = 0;
  std::string prefix = "##";
  size_t max_characters = 100;
  void encode(std::string_view piece, std::vector<int64_t>& ids) const;
};

}  // namespace mlt
