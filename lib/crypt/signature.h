// Signatures of files, Ed25519 in minisign's formats (https://jedisct1.github.io/minisign/): keys and signatures go both
// ways between this program and minisign. What is signed is the file's BLAKE2b-512 digest, so files of any size are
// signed in constant memory.
//
//   public key:  a comment line, then base64("Ed" number[8] point[32])
//   secret key:  a comment line, then base64("Ed" kdf[2] "B2" salt[32] operations[8] memory[8] masked(number[8] secret[64]
//                checksum[32])); kdf "Sc": masked with scrypt of a passphrase, 0 0: not masked
//   signature:   a comment line, base64("ED" number[8] signature[64]), "trusted comment: ...", base64(signature[64] of
//                the first signature and the trusted comment)
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/crypt/primitives.h"
#include "lib/crypt/source.h"

namespace mlt::crypt {

struct VerifyKey {
  std::array<std::byte, 8> number{};
  std::array<std::byte, 32> point{};
  // The bare base64 text, or the content of a public key file. kUsage when malformed.
  static Result<VerifyKey> parse(std::string_view text);
  std::string text() const;  // base64, without comment
  std::string file() const;  // with comment
};

struct SignKey {
  VerifyKey verify_key;
  SigningKey secret;
  static SignKey generate();
  // The content of a secret key file; `passphrase` is called when it is protected. kKey when malformed or the
  // passphrase is wrong.
  static Result<SignKey> parse(std::string_view text, const std::function<Result<SecretText>()>& passphrase);
  // The content of a secret key file, protected by `passphrase` unless that is empty, at minisign's cost of guessing
  // (libsodium's "sensitive": a few seconds and 1 GiB).
  Result<SecretText> file(const SecretText& passphrase, uint64_t operations = 33554432, uint64_t memory = 1 << 30) const;
};

// The text of a signature file. trusted_comment: one line, signed too; kUsage when it has control characters.
Result<std::string> sign(Source& content, const SignKey& key, const std::string& trusted_comment);

struct Verdict {
  bool authentic = false;
  std::string reason;           // when not
  std::string trusted_comment;  // when authentic
};
// kInput when the signature is malformed.
Result<Verdict> verify(Source& content, std::string_view signature, const VerifyKey& key);

}  // namespace mlt::crypt
