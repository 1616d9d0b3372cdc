#include "lib/text/tokenizer.h"

#include "lib/text/formats.h"

namespace mlt {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

Result<std::unique_ptr<Tokenizer>> open_tokenizer(const Blob& file) {
  std::string_view text = as_text(file.bytes());
  size_t start = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  start = text.find_first_not_of(" \t\r\n", start);
  if (start == std::string_view::npos) return input_error("the tokenizer file is empty");
  return text[start] == '{' ? read_hf_tokenizer(text.substr(start)) : read_sentencepiece(text);
}

std::string StreamDecoder::push(int64_t id) {
  std::string before = tokenizer_.decode({ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_)});
  ids_.push_back(id);
  std::string now = tokenizer_.decode(ids_);
  if (now.size() <= before.size() || now.ends_with(kReplacement)) return {};
  std::string fresh = now.substr(before.size());
  // The tokens given out last stay: how the next begins may depend on them.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_));
  given_ = ids_.size();
  return fresh;
}

std::string StreamDecoder::finish() {
  std::string before = tokenizer_.decode({ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(given_)});
  std::string now = tokenizer_.decode(ids_);
  ids_.clear();
  given_ = 0;
  return now.size() > before.size() ? now.substr(before.size()) : std::string();
}

}  // namespace mlt
