// Hugging Face's tokenizer.json: normalizer, pre-tokenizer, model, post-processor, decoder, added tokens (source of names
// and rules: the tokenizers library).
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <variant>

#include "lib/text/bpe.h"
#include "lib/text/formats.h"
#include "lib/text/pipeline.h"

namespace mlt {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 16;
const std::string kSpace = "\xE2\x96\x81";  // U+2581, a space in SentencePiece's way of writing
const std::string kReplacement = "\xEF\xBF\xBD";

struct AddedToken {
  int64_t id = 0;
  std::string content;
  std::string match;  // what stands for it in the text: content, normalized when the token is
  bool single_word = false, lstrip = false, rstrip = false, special = false, normalized = false;
};

std::string text_of(const Json& json, const char* key, std::string fallback = {}) {
  auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : fallback;
}
bool flag_of(const Json& json, const char* key, bool fallback) {
  auto it = json.find(key);
  return it != json.end() && it->is_boolean() ? it->get<bool>() : fallback;
}
int64_t int_of(const Json& json, const char* key, int64_t fallback) {
  auto it = json.find(key);
  return it != json.end() && it->is_number_integer() ? it->get<int64_t>() : fallback;
}
std::string type_of(const Json& json) { return json.is_object() ? text_of(json, "type", "?") : "?"; }

// A literal or a regular expression: {"String": ..} or {"Regex": ..}.
using Pattern = std::variant<std::string, Regex>;
Result<Pattern> read_pattern(const Json& json) {
  auto it = json.find("pattern");
  if (it != json.end() && it->is_string()) return Pattern(it->get<std::string>());
  if (it == json.end() || !it->is_object()) return input_error("tokenizer.json: a pattern is missing");
  if (it->contains("String")) return Pattern(text_of(*it, "String"));
  MLT_ASSIGN(Regex regex, Regex::compile(text_of(*it, "Regex")));
  return Pattern(std::move(regex));
}
Result<std::vector<Span>> find_pattern(const Pattern& pattern, const std::string& text) {
  if (const auto* regex = std::get_if<Regex>(&pattern)) return regex->find_all(text);
  const std::string& literal = std::get<std::string>(pattern);
  std::vector<Span> spans;
  if (!literal.empty())
    for (size_t at = 0; (at = text.find(literal, at)) != std::string::npos; at += literal.size()) spans.push_back({at, at + literal.size()});
  return spans;
}

std::string strip(const std::string& text, bool left, bool right) {
  std::u32string c = code_points(text);
  size_t begin = 0, end = c.size();
  while (left && begin < end && is_white_space(c[begin])) ++begin;
  while (right && end > begin && is_white_space(c[end - 1])) --end;
  return to_utf8(std::u32string_view(c).substr(begin, end - begin));
}

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

Status HfTokenizer::read_model(const Json& model) {
  if (!model.is_object()) return input_error("tokenizer.json: no model");
  std::string type = text_of(model, "type", model.contains("merges") ? "BPE" : "");
  const auto vocab = model.find("vocab");
  if (type == "BPE" || type == "WordPiece") {
    if (vocab == model.end() || !vocab->is_object()) return input_error("tokenizer.json: the model has no vocabulary");
    Vocabulary words;
    for (const auto& [token, id] : vocab->items()) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) return input_error("tokenizer.json: token \"" + token + "\" has no valid id");
      words[token] = id.get<int64_t>();
      tokens_[id.get<int64_t>()] = token;
    }
    std::string unknown = text_of(model, "unk_token");
    auto unknown_id = words.find(unknown);
    if (type == "BPE") {
      BytePairModel& bpe = bpe_.emplace();
      if (!unknown.empty() && unknown_id != words.end()) bpe.unknown = unknown_id->second;
      bpe.vocabulary = std::move(words);
      bpe.prefix = text_of(model, "continuing_subword_prefix");
      bpe.suffix = text_of(model, "end_of_word_suffix");
      bpe.fuse_unknown = flag_of(model, "fuse_unk", false);
      bpe.byte_fallback = flag_of(model, "byte_fallback", false);
      bpe.ignore_merges = flag_of(model, "ignore_merges", false);
      return read_merges(model);
    }
    WordPieceModel& pieces = word_pieces_.emplace();
    if (unknown_id == words.end()) return input_error("tokenizer.json: the unknown token \"" + unknown + "\" is not in the vocabulary");
    pieces.unknown = unknown_id->second;
    pieces.vocabulary = std::move(words);
    pieces.prefix = text_of(model, "continuing_subword_prefix", "##");
    pieces.max_characters = static_cast<size_t>(std::max<int64_t>(0, int_of(model, "max_input_chars_per_word", 100)));
    return {};
  }
  unsupported("model " + type);
  word_pieces_.emplace();
  return {};
}

Status HfTokenizer::read_merges(const Json& model) {
  auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) return input_error("tokenizer.json: the model has no merges");
  int64_t rank = 0;
  for (const Json& merge : *merges) {
    std::string left, right;
    if (merge.is_string()) {
      const auto& both = merge.get_ref<const std::string&>();
      size_t space = both.find(' ');
      if (space == std::string::npos) return input_error("tokenizer.json: merge \"" + both + "\" has no space");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0];
      right = merge[1];
    } else {
      return input_error("tokenizer.json: a merge is not a pair of tokens");
    }
    const std::string& prefix = bpe_->prefix;
    std::string merged = left + (!prefix.empty() && right.starts_with(prefix) ? right.substr(prefix.size()) : right);
    auto a = bpe_->vocabulary.find(left), b = bpe_->vocabulary.find(right), c = bpe_->vocabulary.find(merged);
    if (a == bpe_->vocabulary.end() || b == bpe_->vocabulary.end() || c == bpe_->vocabulary.end())
      return input_error("tokenizer.json: merge of \"" + left + "\" and \"" + right + "\": not in the vocabulary");
    bpe_->merges[BytePairModel::pair_key(a->second, b->second)] = {rank++, c->second};
  }
  return {};
}

Status HfTokenizer::read_normalizer(const Json& json, int depth) {
  if (json.is_null()) return {};
  std::string type = type_of(json);
  if (depth > kMaxDepth) return input_error("tokenizer.json: normalizers nest too deep");
  auto add = [&](Normalizer normalizer) {
    normalizers_.push_back(std::move(normalizer));
    return Status();
  };
  auto form = [&](NormalForm f) { return add([f](std::string text) { return normal_form(text, f); }); };
  if (type == "Sequence") {
    for (const Json& child : json.value("normalizers", Json::array())) MLT_TRY(read_normalizer(child, depth + 1));
    return {};
  }
  if (type == "NFC") return form(NormalForm::kNfc);
  if (type == "NFD") return form(NormalForm::kNfd);
  if (type == "NFKC") return form(NormalForm::kNfkc);
  if (type == "NFKD") return form(NormalForm::kNfkd);
  if (type == "Lowercase") return add([](std::string text) -> Result<std::string> { return lower_case(text); });
  if (type == "StripAccents")
    return add([](std::string text) -> Result<std::string> {
      std::u32string out;
      for (char32_t c : code_points(text))
        if (!is_mark(c)) out += c;
      return to_utf8(out);
    });
  if (type == "Strip") {
    bool left = flag_of(json, "strip_left", true), right = flag_of(json, "strip_right", true);
    return add([=](std::string text) -> Result<std::string> { return strip(text, left, right); });
  }
  if (type == "Prepend")
    return add([what = text_of(json, "prepend")](std::string text) -> Result<std::string> { return text.empty() ? text : what + text; });
  if (type == "Replace") {
    MLT_ASSIGN(Pattern pattern, read_pattern(json));
    return add([pattern, content = text_of(json, "content")](std::string text) -> Result<std::string> {
      if (const auto* regex = std::get_if<Regex>(&pattern)) return replace_matches(text, *regex, content);
      return replace_all(std::move(text), std::get<std::string>(pattern), content);
    });
  }
  if (type == "ByteLevel") return add([](std::string text) -> Result<std::string> { return bytes_to_names(text); });
  if (type == "BertNormalizer") {
    BertNormalization how;
    how.clean = flag_of(json, "clean_text", true);
    how.chinese = flag_of(json, "handle_chinese_chars", true);
    how.lower = flag_of(json, "lowercase", true);
    how.strip_accents = flag_of(json, "strip_accents", how.lower);
    return add([how](std::string text) { return bert_normalize(text, how); });
  }
  unsupported("normalizer " + type);
  return {};
}

Status HfTokenizer::read_pre_tokenizer(const Json& json, int depth) {
  if (json.is_null()) return {};
  std::string type = type_of(json);
  if (depth > kMaxDepth) return input_error("tokenizer.json: pre-tokenizers nest too deep");
  // Cuts each piece; the head of the first one stays first.
  using Cut = std::function<Result<std::vector<std::string>>(const std::string&, bool first)>;
  auto add = [&](Cut cut) {
    pre_tokenizers_.push_back([cut](std::vector<Piece> pieces) -> Result<std::vector<Piece>> {
      std::vector<Piece> out;
      for (const Piece& piece : pieces) {
        MLT_ASSIGN(auto parts, cut(piece.text, piece.first));
        bool first = piece.first;
        for (std::string& part : parts) {
          if (!part.empty()) out.push_back({std::move(part), first});
          first = false;
        }
      }
      return out;
    });
    return Status();
  };
  auto characters = [&](bool (*test)(char32_t), SplitBehavior behavior) {
    return add([=](const std::string& text, bool) -> Result<std::vector<std::string>> { return split(text, matching_characters(text, test), behavior); });
  };
  auto behavior_of = [&](const std::string& name) -> std::optional<SplitBehavior> {
    if (name == "Removed") return SplitBehavior::kRemoved;
    if (name == "Isolated") return SplitBehavior::kIsolated;
    if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
    if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
    if (name == "Contiguous") return SplitBehavior::kContiguous;
    unsupported("split behavior " + name);
    return std::nullopt;
  };
  if (type == "Sequence") {
    for (const Json& child : json.value("pretokenizers", Json::array())) MLT_TRY(read_pre_tokenizer(child, depth + 1));
    return {};
  }
  if (type == "ByteLevel") {
    bool space = flag_of(json, "add_prefix_space", true), cut = flag_of(json, "use_regex", true);
    MLT_ASSIGN(Regex regex, Regex::compile(kGpt2Pattern));
    return add([=](const std::string& text, bool) -> Result<std::vector<std::string>> {
      std::string whole = space && !text.starts_with(' ') ? " " + text : text;
      std::vector<std::string> parts{whole};
      if (cut) {
        MLT_ASSIGN(auto matches, regex.find_all(whole));
        parts = split(whole, matches, SplitBehavior::kIsolated);
      }
      for (std::string& part : parts) part = bytes_to_names(part);
      return parts;
    });
  }
  if (type == "Metaspace") {
    std::string replacement = text_of(json, "replacement", kSpace);
    std::string scheme = text_of(json, "prepend_scheme", flag_of(json, "add_prefix_space", true) ? "always" : "never");
    bool cut = flag_of(json, "split", true);
    return add([=](const std::string& text, bool first) -> Result<std::vector<std::string>> {
      std::string whole = replace_all(text, " ", replacement);
      if ((scheme == "always" || (scheme == "first" && first)) && !whole.starts_with(replacement)) whole = replacement + whole;
      if (!cut) return std::vector<std::string>{whole};
      MLT_ASSIGN(auto matches, find_pattern(Pattern(replacement), whole));
      return split(whole, matches, SplitBehavior::kMergedWithNext);
    });
  }
  if (type == "Split") {
    MLT_ASSIGN(Pattern pattern, read_pattern(json));
    auto behavior = behavior_of(text_of(json, "behavior"));
    bool invert = flag_of(json, "invert", false);
    if (!behavior) return {};
    return add([=](const std::string& text, bool) -> Result<std::vector<std::string>> {
      MLT_ASSIGN(auto matches, find_pattern(pattern, text));
      return split(text, matches, *behavior, invert);
    });
  }
  if (type == "BertPreTokenizer") {
    MLT_TRY(characters(is_white_space, SplitBehavior::kRemoved));
    return characters(is_punctuation, SplitBehavior::kIsolated);
  }
  if (type == "WhitespaceSplit") return characters(is_white_space, SplitBehavior::kRemoved);
  if (type == "Whitespace") {
    MLT_TRY(characters(is_white_space, SplitBehavior::kRemoved));
    return characters(is_word, SplitBehavior::kContiguous);
  }
  if (type == "Digits") return characters(is_numeric, flag_of(json, "individual_digits", false) ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  if (type == "Punctuation") {
    auto behavior = behavior_of(text_of(json, "behavior", "Isolated"));
    return behavior ? characters(is_punctuation, *behavior) : Status();
  }
  unsupported("pre-tokenizer " + type);
  return {};
}

Status HfTokenizer::read_post_processor(const Json& json, int depth) {
  if (json.is_null()) return {};
  if (depth > kMaxDepth) return input_error("tokenizer.json: post-processors nest too deep");
  std::string type = type_of(json);
  if (type == "ByteLevel") return {};  // moves offsets only
  if (type == "Sequence") {
    for (const Json& child : json.value("processors", Json::array())) MLT_TRY(read_post_processor(child, depth + 1));
    return {};
  }
  if (type == "TemplateProcessing") {
    bool seen = false;
    const Json special = json.value("special_tokens", Json::object());
    for (const Json& item : json.value("single", Json::array())) {
      if (!item.is_object()) return input_error("tokenizer.json: a template that cannot be read");
      if (item.contains("Sequence")) {
        seen = true;
        continue;
      }
      std::string name = item.contains("SpecialToken") ? text_of(item["SpecialToken"], "id") : "";
      auto found = special.find(name);
      if (found == special.end() || !found->is_object() || !found->contains("ids") || !(*found)["ids"].is_array())
        return input_error("tokenizer.json: the template names a token \"" + name + "\" that it does not define");
      for (const Json& id : (*found)["ids"])
        if (id.is_number_integer()) (seen ? after_ : before_).push_back(id.get<int64_t>());
    }
    return {};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const char* end : {"cls", "sep"}) {
      auto it = json.find(end);
      if (it == json.end() || !it->is_array() || it->size() != 2 || !(*it)[1].is_number_integer()) return input_error("tokenizer.json: a post-processor without its tokens");
      (end[0] == 'c' ? before_ : after_).push_back((*it)[1].get<int64_t>());
    }
    return {};
  }
  unsupported("post-processor " + type);
  return {};
}

Status HfTokenizer::read_decoder(const Json& json, int depth) {
  using Tokens = std::vector<std::string>;
  if (json.is_null()) return {};
  if (depth > kMaxDepth) return input_error("tokenizer.json: decoders nest too deep");
  std::string type = type_of(json);
  auto add = [&](Decoder decoder) {
    decoders_.push_back(std::move(decoder));
    return Status();
  };
  if (type == "Sequence") {
    for (const Json& child : json.value("decoders", Json::array())) MLT_TRY(read_decoder(child, depth + 1));
    return {};
  }
  if (type == "ByteLevel")
    return add([](Tokens tokens) {
      std::string bytes;
      for (const std::string& token : tokens) bytes += names_to_bytes(token);
      return Tokens{lossy_utf8(bytes)};
    });
  if (type == "Metaspace") {
    std::string replacement = text_of(json, "replacement", kSpace);
    bool prepended = text_of(json, "prepend_scheme", flag_of(json, "add_prefix_space", true) ? "always" : "never") != "never";
    return add([=](Tokens tokens) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        std::string head = i == 0 && prepended && tokens[i].starts_with(replacement) ? tokens[i].substr(replacement.size()) : tokens[i];
        tokens[i] = replace_all(head, replacement, " ");
      }
      return tokens;
    });
  }
  if (type == "WordPiece") {
    std::string prefix = text_of(json, "prefix", "##");
    bool cleanup = flag_of(json, "cleanup", true);
    return add([=](Tokens tokens) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        std::string& token = tokens[i];
        if (i > 0) token = token.starts_with(prefix) ? token.substr(prefix.size()) : " " + token;
        if (!cleanup) continue;
        for (auto [from, to] : {std::pair{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"},
                                {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}})
          token = replace_all(token, from, to);
      }
      return tokens;
    });
  }
  if (type == "BPEDecoder") {
    std::string suffix = text_of(json, "suffix", "</w>");
    return add([=](Tokens tokens) {
      for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
      return tokens;
    });
  }
  if (type == "Fuse")
    return add([](Tokens tokens) {
      std::string all;
      for (const std::string& token : tokens) all += token;
      return Tokens{all};
    });
  if (type == "ByteFallback")
    return add([](Tokens tokens) {
      Tokens out;
      std::string bytes;
      auto flush = [&] {
        if (bytes.empty()) return;
        if (valid_utf8(bytes)) out.push_back(bytes);
        else out.insert(out.end(), bytes.size(), kReplacement);
        bytes.clear();
      };
      for (const std::string& token : tokens) {
        char* end = nullptr;
        if (token.size() == 6 && token.starts_with("<0x") && token[5] == '>' && std::isxdigit(static_cast<unsigned char>(token[3])) &&
            std::isxdigit(static_cast<unsigned char>(token[4]))) {
          bytes += static_cast<char>(std::strtol(token.c_str() + 3, &end, 16));
          continue;
        }
        flush();
        out.push_back(token);
      }
      flush();
      return out;
    });
  if (type == "Strip") {
    std::string content = text_of(json, "content", " ");
    int64_t start = int_of(json, "start", 0), stop = int_of(json, "stop", 0);
    if (content.empty()) return {};
    return add([=](Tokens tokens) {
      for (std::string& token : tokens) {
        for (int64_t i = 0; i < start && token.starts_with(content); ++i) token.erase(0, content.size());
        for (int64_t i = 0; i < stop && token.ends_with(content); ++i) token.resize(token.size() - content.size());
      }
      return tokens;
    });
  }
  if (type == "Replace") {
    MLT_ASSIGN(Pattern pattern, read_pattern(json));
    return add([pattern, content = text_of(json, "content")](Tokens tokens) {
      for (std::string& token : tokens) {
        if (const auto* regex = std::get_if<Regex>(&pattern)) {
          auto replaced = replace_matches(token, *regex, content);
          if (replaced) token = std::move(*replaced);
        } else {
          token = replace_all(token, std::get<std::string>(pattern), content);
        }
      }
      return tokens;
    });
  }
  unsupported("decoder " + type);
  return {};
}

Status HfTokenizer::read_added(const Json& root) {
  for (const Json& item : root.value("added_tokens", Json::array())) {
    AddedToken token;
    token.id = int_of(item, "id", -1);
    token.content = text_of(item, "content");
    if (token.id < 0 || token.id > INT32_MAX || token.content.empty()) return input_error("tokenizer.json: an added token without id or content");
    token.single_word = flag_of(item, "single_word", false);
    token.lstrip = flag_of(item, "lstrip", false);
    token.rstrip = flag_of(item, "rstrip", false);
    token.special = flag_of(item, "special", false);
    token.normalized = flag_of(item, "normalized", !token.special);
    token.match = token.content;
    if (token.normalized) {
      MLT_ASSIGN(token.match, normalize(token.content));
    }
    tokens_[token.id] = token.content;
    if (token.special) special_.insert(token.id);
    added_.push_back(std::move(token));
  }
  return {};
}

Status HfTokenizer::load(const Json& root) {
  auto part = [&](const char* key) {
    auto it = root.find(key);
    return it == root.end() ? Json() : *it;
  };
  MLT_TRY(read_model(part("model")));
  MLT_TRY(read_normalizer(part("normalizer"), 0));
  MLT_TRY(read_pre_tokenizer(part("pre_tokenizer"), 0));
  MLT_TRY(read_post_processor(part("post_processor"), 0));
  MLT_TRY(read_decoder(part("decoder"), 0));
  if (part("decoder").is_null())
    decoders_.push_back([](std::vector<std::string> tokens) {
      std::string all;
      for (const std::string& token : tokens) all += (all.empty() ? "" : " ") + token;
      return std::vector<std::string>{all};
    });
  if (!problems_.empty()) {
    std::string list;
    for (const std::string& problem : problems_) list += (list.empty() ? "" : ", ") + problem;
    return unsupported_error("tokenizer.json: not supported: " + list);
  }
  return read_added(root);
}

Result<std::string> HfTokenizer::normalize(std::string text) const {
  for (const Normalizer& normalizer : normalizers_) {
    MLT_ASSIGN(text, normalizer(std::move(text)));
  }
  return text;
}

std::vector<HfTokenizer::Part> HfTokenizer::cut_added(const Part& part, bool normalized) const {
  const std::string& text = part.text;
  std::vector<Part> out;
  auto word_at = [&](size_t at) { return at < text.size() && !code_points(text.substr(at, 4)).empty() && is_word(code_points(text.substr(at, 4))[0]); };
  auto word_before = [&](size_t at) {
    while (at > 0 && (text[at - 1] & 0xC0) == 0x80) --at;
    return at > 0 && word_at(at - 1);
  };
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    // The longest of those that begin here.
    const AddedToken* best = nullptr;
    for (const AddedToken& token : added_)
      if (token.normalized == normalized && !token.match.empty() && (best == nullptr || token.match.size() > best->match.size()) &&
          text.compare(at, token.match.size(), token.match) == 0)
        best = &token;
    if (best == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + best->match.size();
    at = end;
    if (best->single_word && (word_before(begin) || word_at(end))) continue;
    if (best->lstrip) {
      std::string kept = strip(text.substr(done, begin - done), false, true);
      begin = done + kept.size();
    }
    if (best->rstrip) end += text.size() - end - strip(text.substr(end), true, false).size();
    if (begin > done) out.push_back({text.substr(done, begin - done), std::nullopt, part.first && done == 0});
    out.push_back({text.substr(begin, end - begin), best->id, false});
    done = at = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), std::nullopt, part.first && done == 0});
  return out;
}

Result<std::vector<int64_t>> HfTokenizer::encode(std::string_view text) const {
  if (!valid_utf8(text)) return input_error("the text is not valid UTF-8");
  std::vector<int64_t> ids = before_;
  for (const Part& raw : cut_added({std::string(text), std::nullopt, true}, false)) {
    if (raw.id) {
      ids.push_back(*raw.id);
      continue;
    }
    MLT_ASSIGN(std::string normal, normalize(raw.text));
    for (const Part& part : cut_added({std::move(normal), std::nullopt, raw.first}, true)) {
      if (part.id) {
        ids.push_back(*part.id);
        continue;
      }
      std::vector<Piece> pieces{{part.text, part.first}};
      for (const PreTokenizer& pre : pre_tokenizers_) {
        MLT_ASSIGN(pieces, pre(std::move(pieces)));
      }
      for (const Piece& piece : pieces) {
        if (bpe_) bpe_->encode(piece.text, ids);
        else word_pieces_->encode(piece.text, ids);
      }
    }
  }
  ids.insert(ids.end(), after_.begin(), after_.end());
  return ids;
}

std::string HfTokenizer::decode(const std::vector<int64_t>& ids) const {
  std::vector<std::string> tokens;
  for (int64_t id : ids)
    if (auto it = tokens_.find(id); it != tokens_.end() && !special_.contains(id)) tokens.push_back(it->second);
  for (const Decoder& decoder : decoders_) tokens = decoder(std::move(tokens));
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> read_hf_tokenizer(std::string_view text) try {
  Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) return input_error("tokenizer.json: not valid JSON");
  auto tokenizer = std::make_unique<HfTokenizer>();
  MLT_TRY(tokenizer->load(root));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
} catch (const Json::exception& e) {
  return input_error(std::string("tokenizer.json: ") + e.what());
}

}  // namespace mlt
