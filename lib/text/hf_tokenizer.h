// What hf_tokenizer.cc (model, added tokens, encoding) and hf_steps.cc (normalizers, pre-tokenizers, post-processors,
// decoders) share. Internal to lib/text.
#pragma once
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/text/bpe.h"
#include "lib/text/formats.h"
#include "lib/text/pipeline.h"

namespace mlt::hf {

using Json = nlohmann::json;

inline constexpr int kMaxDepth = 16;
inline const std::string kSpace = "\xE2\x96\x81";  // U+2581, a space in SentencePiece's way of writing
inline const std::string kReplacement = "\xEF\xBF\xBD";

struct AddedToken {
  int64_t id = 0;
  std::string content;
  std::string match;  // what stands for it in the text: content, normalized when the token is
  bool single_word = false, lstrip = false, rstrip = false, special = false, normalized = false;
};

inline std::string text_of(const Json& json, const char* key, std::string fallback = {}) {
  auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : fallback;
}
inline bool flag_of(const Json& json, const char* key, bool fallback) {
  auto it = json.find(key);
  return it != json.end() && it->is_boolean() ? it->get<bool>() : fallback;
}
inline int64_t int_of(const Json& json, const char* key, int64_t fallback) {
  auto it = json.find(key);
  return it != json.end() && it->is_number_integer() ? it->get<int64_t>() : fallback;
}
inline std::string type_of(const Json& json) { return json.is_object() ? text_of(json, "type", "?") : "?"; }

// Without white space at the ends.
std::string strip(const std::string& text, bool left, bool right);

class HfTokenizer : public Tokenizer {
 public:
  Status load(const Json& root);
  Result<std::vector<int64_t>> encode(std::string_view text) const override;
  std::string decode(const std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id_of(std::string_view token) const override {
    for (const AddedToken& added : added_)
      if (added.content == token) return added.id;
    auto it = vocabulary().find(std::string(token));
    return it == vocabulary().end() ? std::nullopt : std::optional(it->second);
  }
  std::vector<int64_t> end_ids() const override {
    static const std::set<std::string, std::less<>> kNames{"</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<eos>",
                                                           "<end_of_turn>", "<|end|>", "<|return|>", "[EOS]", "<|end_of_sentence|>", "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
    std::vector<int64_t> ids;
    for (const AddedToken& added : added_)
      if (added.special && kNames.contains(added.content)) ids.push_back(added.id);
    return ids;
  }

 private:
  const Vocabulary& vocabulary() const { return bpe_ ? bpe_->vocabulary : word_pieces_->vocabulary; }
  void unsupported(std::string what) {
    if (std::find(problems_.begin(), problems_.end(), what) == problems_.end()) problems_.push_back(std::move(what));
  }
  Status read_model(const Json& model);
  Status read_merges(const Json& model);
  Status read_added(const Json& root);
  Status read_normalizer(const Json& json, int depth);
  Status read_pre_tokenizer(const Json& json, int depth);
  Status read_post_processor(const Json& json, int depth);
  Status read_decoder(const Json& json, int depth);
  Result<std::string> normalize(std::string text) const;
  // Cuts a text at added tokens; a part with an id is one.
  struct Part {
    std::string text;
    std::optional<int64_t> id;
    bool first;
  };
  std::vector<Part> cut_added(const Part& part, bool normalized) const;

  std::vector<std::string> problems_;
  std::optional<BytePairModel> bpe_;
  std::optional<WordPieceModel> word_pieces_;
  std::vector<AddedToken> added_;
  std::unordered_map<int64_t, std::string> tokens_;
  std::set<int64_t> special_;
  std::vector<Normalizer> normalizers_;
  std::vector<PreTokenizer> pre_tokenizers_;
  std::vector<Decoder> decoders_;
  std::vector<int64_t> before_, after_;  // what stands around a text
};

}  // namespace mlt::hf
