// Hugging Face's tokenizer.json: normalizer, pre-tokenizer, model, post-processor, decoder, added tokens (source of names
// and rules: the tokenizers library).
#include "lib/text/hf_tokenizer.h"

namespace mlt {
namespace hf {

std::string strip(const std::string& text, bool left, bool right) {
  std::u32string c = code_points(text);
  size_t begin = 0, end = c.size();
  while (left && begin < end && is_white_space(c[begin])) ++begin;
  while (right && end > begin && is_white_space(c[end - 1])) --end;
  return to_utf8(std::u32string_view(c).substr(begin, end - begin));
}

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

}  // namespace hf

Result<std::unique_ptr<Tokenizer>> read_hf_tokenizer(std::string_view text) try {
  hf::Json root = hf::Json::parse(text, nullptr, false);
  if (root.is_discarded() || !root.is_object()) return input_error("tokenizer.json: not valid JSON");
  auto tokenizer = std::make_unique<hf::HfTokenizer>();
  MLT_TRY(tokenizer->load(root));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
} catch (const hf::Json::exception& e) {
  return input_error(std::string("tokenizer.json: ") + e.what());
}

}  // namespace mlt
