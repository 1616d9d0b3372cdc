// Readers of the tokenizer files. Internal to lib/text.
#pragma once
#include "lib/text/tokenizer.h"

namespace mlt {

Result<std::unique_ptr<Tokenizer>> read_hf_tokenizer(std::string_view json);
Result<std::unique_ptr<Tokenizer>> read_sentencepiece(std::string_view file);

}  // namespace mlt
