// The cryptographic functions that the age format is made of, over libsodium (the only file that includes it
// is primitives.cc). Secrets are wiped when they go out of scope.
#pragma once
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace mlt::crypt {

// Overwrites memory in a way that the compiler keeps.
void wipe(void* data, size_t size);

// Memory for secrets: locked (as far as the system lets us: RLIMIT_MEMLOCK), between guard pages, left out of core
// dumps, wiped when it goes. Zero at first.
class LockedBytes {
 public:
  LockedBytes() = default;
  explicit LockedBytes(size_t size);
  LockedBytes(const LockedBytes& other);
  LockedBytes(LockedBytes&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr, other.size_ = 0; }
  LockedBytes& operator=(LockedBytes other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~LockedBytes();
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// N secret bytes; zero at first. Copies are made knowingly, each wiped on its own.
template <size_t N>
class Secret {
 public:
  Secret() : bytes_(N) {}
  std::byte* data() { return bytes_.data(); }
  const std::byte* data() const { return bytes_.data(); }
  static constexpr size_t size() { return N; }
  operator ByteSpan() const { return {bytes_.data(), N}; }  // NOLINT(google-explicit-constructor)

 private:
  LockedBytes bytes_;
};

// A passphrase or the text of a secret key.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text);  // wipes what it was given
  std::string_view view() const { return as_text({bytes_.data(), bytes_.size()}); }
  bool empty() const { return bytes_.size() == 0; }

 private:
  LockedBytes bytes_;
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

// Keeps what this process holds in memory out of core dumps and away from debuggers of the same user. For programs,
// once they hold secrets; cannot be undone.
void protect_process();

Key hkdf_sha256(ByteSpan input_key, ByteSpan salt, std::string_view info);  // RFC 5869, 32 bytes out
std::array<std::byte, 32> hmac_sha256(ByteSpan key, ByteSpan message);
bool equal_constant_time(ByteSpan a, ByteSpan b);

std::array<std::byte, 32> x25519_base(const Key& secret);
// kInput when the result is all zero (the point has low order).
Result<Key> x25519(const Key& secret, ByteSpan point);

// scrypt with r = 8, p = 1, N = 2^log_n; needs 2^(log_n + 10) bytes of memory. kResource when they cannot be
// had.
Result<Key> scrypt(std::string_view passphrase, ByteSpan salt, int log_n);

// Ed25519 keys as X25519 keys (RFC 7748's birational map). kInput when the point is not on the curve.
Result<std::array<std::byte, 32>> ed25519_point_to_x25519(ByteSpan point);
Key ed25519_seed_to_x25519(ByteSpan seed);
std::array<std::byte, 32> sha256(ByteSpan message);

// Ed25519 (RFC 8032). The secret is seed and public key, 64 bytes.
using SigningKey = Secret<64>;
void ed25519_keypair(SigningKey& secret, std::array<std::byte, 32>& point);
std::array<std::byte, 32> ed25519_point(const SigningKey& secret);  // computed from the seed, not read
std::array<std::byte, 64> ed25519_sign(const SigningKey& secret, ByteSpan message);
bool ed25519_verify(ByteSpan point, ByteSpan message, ByteSpan signature);

// BLAKE2b (RFC 7693) without a key, of a stream.
class Blake2b {
 public:
  explicit Blake2b(size_t out_size);
  ~Blake2b();
  Blake2b(const Blake2b&) = delete;
  void update(ByteSpan bytes);
  Bytes finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
  size_t size_;
};

// scrypt as libsodium's high-level interface picks its parameters from two limits, into `out` (any size). kResource when
// the memory cannot be had, kInput when the limits are beyond `max_memory`.
Status scrypt_limits(std::string_view passphrase, ByteSpan salt, uint64_t operations, uint64_t memory, uint64_t max_memory,
                     std::span<std::byte> out);

// ChaCha20-Poly1305 (RFC 8439) without additional data. out has plain.size() + kTagSize bytes.
void aead_seal(const Key& key, const Nonce& nonce, ByteSpan plain, std::byte* out);
// out has sealed.size() - kTagSize bytes; false when the tag is wrong. sealed.size() >= kTagSize.
bool aead_open(const Key& key, const Nonce& nonce, ByteSpan sealed, std::byte* out);

}  // namespace mlt::crypt
