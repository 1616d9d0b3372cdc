// The cryptographic functions that the age format is made of, over libsodium (the only file that includes it
// is primitives.cc). Secrets are wiped when they go out of scope.
#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace mlt::crypt {

// Overwrites memory in a way that the compiler keeps.
void wipe(void* data, size_t size);

// N secret bytes; zero at first, wiped at the end. Copies are made knowingly, each wiped on its own.
template <size_t N>
class Secret {
 public:
  Secret() { bytes_.fill(std::byte{0}); }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { wipe(bytes_.data(), N); }
  std::byte* data() { return bytes_.data(); }
  const std::byte* data() const { return bytes_.data(); }
  static constexpr size_t size() { return N; }
  operator ByteSpan() const { return bytes_; }  // NOLINT(google-explicit-constructor)

 private:
  std::array<std::byte, N> bytes_;
};

// A passphrase or the text of a secret key.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(const SecretText&) = default;
  SecretText(SecretText&& other) noexcept : text_(other.text_) { other.clear(); }
  SecretText& operator=(const SecretText&) = delete;
  SecretText& operator=(SecretText&& other) noexcept {
    if (this != &other) {
      clear();
      text_ = other.text_;
      other.clear();
    }
    return *this;
  }
  ~SecretText() { clear(); }
  std::string_view view() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  void clear() {
    wipe(text_.data(), text_.size());
    text_.clear();
  }
  std::string text_;
};

using FileKey = Secret<16>;
using Key = Secret<32>;
constexpr size_t kTagSize = 16;
constexpr size_t kNonceSize = 12;
using Nonce = std::array<std::byte, kNonceSize>;

// Prepares the library; every entry point of lib/crypt calls it. kResource when no random source can be had.
Status init_primitives();

void random_bytes(std::byte* data, size_t size);
template <size_t N>
Secret<N> random_secret() {
  Secret<N> secret;
  random_bytes(secret.data(), N);
  return secret;
}

Key hkdf_sha256(ByteSpan input_key, ByteSpan salt, std::string_view info);  // RFC 5869, 32 bytes out
std::array<std::byte, 32> hmac_sha256(ByteSpan key, ByteSpan message);
bool equal_constant_time(ByteSpan a, ByteSpan b);

std::array<std::byte, 32> x25519_base(const Key& secret);
// kInput when the result is all zero (the point has low order).
Result<Key> x25519(const Key& secret, ByteSpan point);

// scrypt with r = 8, p = 1, N = 2^log_n; needs 2^(log_n + 10) bytes of memory. kResource when they cannot be
// had.
Result<Key> scrypt(std::string_view passphrase, ByteSpan salt, int log_n);

// ChaCha20-Poly1305 (RFC 8439) without additional data. out has plain.size() + kTagSize bytes.
void aead_seal(const Key& key, const Nonce& nonce, ByteSpan plain, std::byte* out);
// out has sealed.size() - kTagSize bytes; false when the tag is wrong. sealed.size() >= kTagSize.
bool aead_open(const Key& key, const Nonce& nonce, ByteSpan sealed, std::byte* out);

}  // namespace mlt::crypt
