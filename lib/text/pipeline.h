// The steps of a tokenizer.json around its model: normalizers rewrite a text, pre-tokenizers cut it, decoders put tokens
// together again (source of the rules: the tokenizers library). Internal to lib/text.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/text/unicode.h"

namespace mlt {

using Normalizer = std::function<Result<std::string>(std::string text)>;

// A cut piece; `first` when it begins where the whole text does.
struct Piece {
  std::string text;
  bool first = false;
};
using PreTokenizer = std::function<Result<std::vector<Piece>>(std::vector<Piece> pieces)>;
using Decoder = std::function<std::vector<std::string>(std::vector<std::string> tokens)>;

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
// Cuts at `matches` (sorted, apart); with `invert` at what lies between them.
std::vector<std::string> split(const std::string& text, const std::vector<Span>& matches, SplitBehavior behavior, bool invert = false);
// Spans of the characters that a test holds for.
std::vector<Span> matching_characters(std::string_view text, bool (*test)(char32_t));

std::string replace_all(std::string text, const std::string& from, const std::string& to);
Result<std::string> replace_matches(const std::string& text, const Regex& regex, const std::string& to);

struct BertNormalization {
  bool clean = true, chinese = true, strip_accents = true, lower = true;
};
Result<std::string> bert_normalize(const std::string& text, const BertNormalization& how);

// GPT-2's names of bytes: printable ones stand for themselves, the rest follow from U+0100 on.
std::string bytes_to_names(std::string_view bytes);
// Back; a token with other characters stands for its own bytes.
std::string names_to_bytes(std::string_view names);
extern const char* const kGpt2Pattern;

}  // namespace mlt
