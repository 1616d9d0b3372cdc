// Text to token ids and back, as a tokenizer file says: a Hugging Face tokenizer.json (BPE or WordPiece models) or a
// SentencePiece .model.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"

namespace mlt {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // With the special tokens that the file puts around a text (a SentencePiece model: its begin token, if it has one).
  // kInput when the text is not valid UTF-8.
  virtual Result<std::vector<int64_t>> encode(std::string_view text) const = 0;
  // Without special tokens; ids that do not exist count as nothing. Bytes that form no character become U+FFFD.
  virtual std::string decode(const std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id_of(std::string_view token) const = 0;
  // Ids that end a text: the model's own, or special tokens of well-known names.
  virtual std::vector<int64_t> end_ids() const = 0;
};

// By content. kInput for a damaged file, kUnsupported with all reasons for parts that are not implemented.
Result<std::unique_ptr<Tokenizer>> open_tokenizer(const Blob& file);

// Decodes a text as its tokens come: gives out characters once no further token can change them.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int64_t id);
  std::string finish();  // what was held back

 private:
  const Tokenizer& tokenizer_;
  std::vector<int64_t> ids_;  // of the window
  size_t given_ = 0;          // tokens at its head whose text was given out
};

}  // namespace mlt
