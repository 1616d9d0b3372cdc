// The steps of Hugging Face's tokenizer.json around the model, read into those of pipeline.h.
#include <variant>

#include "lib/text/hf_tokenizer.h"

namespace mlt::hf {
namespace {

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

}  // namespace

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

}  // namespace mlt::hf
