#include "lib/text/tokenizer.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace mlt;
using Json = nlohmann::json;

namespace {

const std::string kFolder = MLT_SOURCE_DIR "/testdata/tokenizers/";

std::unique_ptr<Tokenizer> open(const std::string& name) {
  auto file = map_file(kFolder + name);
  REQUIRE_MESSAGE(file.ok(), name);
  auto tokenizer = open_tokenizer(*file);
  REQUIRE_MESSAGE(tokenizer.ok(), (tokenizer.ok() ? "" : tokenizer.error().to_string()));
  return std::move(*tokenizer);
}

std::string text_of(const std::vector<int64_t>& ids) {
  std::string out;
  for (int64_t id : ids) out += std::to_string(id) + " ";
  return out;
}

Result<std::unique_ptr<Tokenizer>> open_text(const std::string& json) {
  return open_tokenizer(Blob(Bytes(as_bytes(json).begin(), as_bytes(json).end())));
}

}  // namespace

TEST_CASE("ids and texts are those of the tokenizers and sentencepiece libraries") {
  for (const char* name : {"gpt2.json", "llama3.json", "qwen.json", "llama2.json", "mistral.json", "metaspace.json", "bert.json", "clip.json", "words.json", "bpe.model",
                           "unigram.model", "bpe-user.model", "unigram-user.model"}) {
    CAPTURE(name);
    auto tokenizer = open(name);
    std::string stem(name);
    auto file = map_file(kFolder + stem.substr(0, stem.find('.')) + ".expected.json");
    REQUIRE(file.ok());
    Json cases = Json::parse(as_text(file->bytes()));
    REQUIRE(cases.size() > 20);
    for (const Json& c : cases) {
      auto text = c["text"].get<std::string>();
      CAPTURE(text);
      auto ids = tokenizer->encode(text);
      REQUIRE(ids.ok());
      CHECK(text_of(*ids) == text_of(c["ids"].get<std::vector<int64_t>>()));
      CHECK(tokenizer->decode(c["ids"].get<std::vector<int64_t>>()) == c["decoded"].get<std::string>());
    }
  }
}

TEST_CASE("a stream of tokens gives the text, never half a character") {
  for (const char* name : {"gpt2.json", "llama2.json", "metaspace.json", "bert.json", "bpe.model"}) {
    CAPTURE(name);
    auto tokenizer = open(name);
    auto ids = tokenizer->encode("The fox \xF0\x9F\xA6\x8A didn't see na\xC3\xAFve \xE6\x97\xA5\xE6\x9C\xAC");
    REQUIRE(ids.ok());
    StreamDecoder stream(*tokenizer);
    std::string text;
    for (int64_t id : *ids) {
      std::string piece = stream.push(id);
      CHECK(piece.find("\xEF\xBF\xBD") == std::string::npos);
      text += piece;
    }
    text += stream.finish();
    CHECK(text == tokenizer->decode(*ids));
  }
}

TEST_CASE("tokens by name, and those that end a text") {
  auto llama = open("llama3.json");
  CHECK(llama->end_ids() == std::vector<int64_t>{1, 2});
  CHECK(llama->id_of("<|end|>") == 1);
  CHECK(llama->id_of("no such token") == std::nullopt);
  auto piece = open("bpe.model");
  CHECK(piece->end_ids() == std::vector<int64_t>{2});
  CHECK(piece->id_of("<s>") == 1);
  CHECK(piece->id_of("no such token") == std::nullopt);
  CHECK(piece->decode({-1, 1 << 20, 1}).empty());
  CHECK(llama->decode({-1, 1 << 20, 1}).empty());
}

TEST_CASE("what is not supported is listed; what is damaged is refused") {
  auto unigram = open_text(R"({"model": {"type": "Unigram", "vocab": [["a", 0.0]]}, "normalizer": {"type": "Precompiled"}})");
  REQUIRE(!unigram.ok());
  CHECK(unigram.error().code == Code::kUnsupported);
  CHECK(unigram.error().message == "tokenizer.json: not supported: model Unigram, normalizer Precompiled");
  std::string nested = R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": )";
  for (int i = 0; i < 100; ++i) nested += R"({"type": "Sequence", "normalizers": [)";
  nested += R"({"type": "NFC"})";
  for (int i = 0; i < 100; ++i) nested += "]}";
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{}"), std::string("\x0a\x05hello"), nested + "}", std::string(R"({"model": {"type": "BPE", "vocab": {"a": -1}}})"),
        std::string(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})"), std::string(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [1]}})"),
        std::string(R"({"model": {"type": "BPE", "vocab": [], "merges": []}})"), std::string(R"({"model": {"type": "WordPiece", "vocab": {"a": 0}}})"),
        std::string(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Replace"}})"),
        std::string(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 1}]})"),
        std::string(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}})")}) {
    CAPTURE(text);
    auto tokenizer = open_text(text);
    REQUIRE(!tokenizer.ok());
    CHECK(tokenizer.error().code == Code::kInput);
  }
  auto bad_regex = open_text(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"}})");
  REQUIRE(!bad_regex.ok());
  CHECK(bad_regex.error().code == Code::kUnsupported);
  // A pattern that backtracks for ever is stopped.
  auto slow = open_text(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated"}})");
  REQUIRE(slow.ok());
  auto ids = (*slow)->encode(std::string(64, 'a') + "c");
  REQUIRE(!ids.ok());
  CHECK(ids.error().code == Code::kResource);
  CHECK(!(*slow)->encode("\xff").ok());
}
