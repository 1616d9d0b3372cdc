#include "lib/crypt/primitives.h"

#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>

namespace mlt::crypt {
namespace {

// No bytes at all lie somewhere, too: libsodium declares most of its pointers never to be null.
const unsigned char* raw(const std::byte* data) {
  static constexpr unsigned char kNothing = 0;
  return data != nullptr ? reinterpret_cast<const unsigned char*>(data) : &kNothing;
}
unsigned char* raw(std::byte* data) { return reinterpret_cast<unsigned char*>(data); }

}  // namespace

void wipe(void* data, size_t size) {
  if (size != 0) sodium_memzero(data, size);
}

LockedBytes::LockedBytes(size_t size) : size_(size) {
  if (size == 0) return;
  if (sodium_init() < 0) throw std::bad_alloc();  // chooses the canary of its allocator; idempotent
  data_ = static_cast<std::byte*>(sodium_malloc(size));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_, 0, size);
}

LockedBytes::LockedBytes(const LockedBytes& other) : LockedBytes(other.size_) {
  if (size_ != 0) std::memcpy(data_, other.data_, size_);
}

LockedBytes::~LockedBytes() { sodium_free(data_); }

SecretText::SecretText(std::string text) : bytes_(text.size()) {
  if (!text.empty()) std::memcpy(bytes_.data(), text.data(), text.size());
  wipe(text.data(), text.size());
}

void protect_process() {
  rlimit none{0, 0};
  (void)::setrlimit(RLIMIT_CORE, &none);
  (void)::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

Status init_primitives() {
  static const int state = sodium_init();
  if (state < 0)
    return resource_error("the cryptographic library cannot start (no source of random numbers)");
  return {};
}

void random_bytes(std::byte* data, size_t size) { randombytes_buf(data, size); }

std::array<std::byte, 32> hmac_sha256(ByteSpan key, ByteSpan message) {
  std::array<std::byte, 32> mac;
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(key.data()), key.size());
  crypto_auth_hmacsha256_update(&state, raw(message.data()), message.size());
  crypto_auth_hmacsha256_final(&state, raw(mac.data()));
  wipe(&state, sizeof state);
  return mac;
}

Key hkdf_sha256(ByteSpan input_key, ByteSpan salt, std::string_view info) {
  auto extracted = hmac_sha256(salt, input_key);
  Key out;
  const unsigned char block = 1;  // one block of output is all that 32 bytes need
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(extracted.data()), extracted.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(info.data()), info.size());
  crypto_auth_hmacsha256_update(&state, &block, 1);
  crypto_auth_hmacsha256_final(&state, raw(out.data()));
  wipe(&state, sizeof state);
  wipe(extracted.data(), extracted.size());
  return out;
}

bool equal_constant_time(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::array<std::byte, 32> x25519_base(const Key& secret) {
  std::array<std::byte, 32> point;
  crypto_scalarmult_curve25519_base(raw(point.data()), raw(secret.data()));
  return point;
}

Result<Key> x25519(const Key& secret, ByteSpan point) {
  if (point.size() != crypto_scalarmult_curve25519_BYTES) return input_error("X25519 share of wrong length");
  Key shared;
  if (crypto_scalarmult_curve25519(raw(shared.data()), raw(secret.data()), raw(point.data())) != 0)
    return input_error("X25519 share is a low order point");
  return shared;
}

Result<Key> scrypt(std::string_view passphrase, ByteSpan salt, int log_n) {
  Key key;
  if (crypto_pwhash_scryptsalsa208sha256_ll(reinterpret_cast<const uint8_t*>(passphrase.data()),
                                            passphrase.size(), raw(salt.data()), salt.size(),
                                            uint64_t{1} << log_n, 8, 1, raw(key.data()), key.size()) != 0)
    return resource_error("not enough memory for the passphrase's work factor of " + std::to_string(log_n));
  return key;
}

Result<std::array<std::byte, 32>> ed25519_point_to_x25519(ByteSpan point) {
  std::array<std::byte, 32> out;
  if (point.size() != 32 || crypto_sign_ed25519_pk_to_curve25519(raw(out.data()), raw(point.data())) != 0)
    return input_error("not a usable Ed25519 public key");
  return out;
}

Key ed25519_seed_to_x25519(ByteSpan seed) {
  assert(seed.size() == 32);
  SigningKey secret;
  std::array<std::byte, 32> point;
  crypto_sign_ed25519_seed_keypair(raw(point.data()), raw(secret.data()), raw(seed.data()));
  Key out;
  crypto_sign_ed25519_sk_to_curve25519(raw(out.data()), raw(secret.data()));
  return out;
}

std::array<std::byte, 32> sha256(ByteSpan message) {
  std::array<std::byte, 32> out;
  crypto_hash_sha256(raw(out.data()), raw(message.data()), message.size());
  return out;
}

void ed25519_keypair(SigningKey& secret, std::array<std::byte, 32>& point) {
  crypto_sign_ed25519_keypair(raw(point.data()), raw(secret.data()));
}

std::array<std::byte, 32> ed25519_point(const SigningKey& secret) {
  SigningKey derived;
  std::array<std::byte, 32> point;
  crypto_sign_ed25519_seed_keypair(raw(point.data()), raw(derived.data()), raw(secret.data()));
  return point;
}

std::array<std::byte, 64> ed25519_sign(const SigningKey& secret, ByteSpan message) {
  std::array<std::byte, 64> out;
  crypto_sign_ed25519_detached(raw(out.data()), nullptr, raw(message.data()), message.size(), raw(secret.data()));
  return out;
}

bool ed25519_verify(ByteSpan point, ByteSpan message, ByteSpan signature) {
  return point.size() == 32 && signature.size() == 64 &&
         crypto_sign_ed25519_verify_detached(raw(signature.data()), raw(message.data()), message.size(), raw(point.data())) == 0;
}

struct Blake2b::State {
  crypto_generichash_blake2b_state state;
};

Blake2b::Blake2b(size_t out_size) : state_(std::make_unique<State>()), size_(out_size) {
  crypto_generichash_blake2b_init(&state_->state, nullptr, 0, out_size);
}
Blake2b::~Blake2b() = default;
void Blake2b::update(ByteSpan bytes) { crypto_generichash_blake2b_update(&state_->state, raw(bytes.data()), bytes.size()); }
Bytes Blake2b::finish() {
  Bytes out(size_);
  crypto_generichash_blake2b_final(&state_->state, raw(out.data()), size_);
  return out;
}

Status scrypt_limits(std::string_view passphrase, ByteSpan salt, uint64_t operations, uint64_t memory, uint64_t max_memory,
                     std::span<std::byte> out) {
  // Work is bounded by memory too: an honest key spends about 32 operations a byte of it.
  if (memory > max_memory || operations > max_memory * 32) return input_error("the passphrase's work factor is too large");
  assert(salt.size() == crypto_pwhash_scryptsalsa208sha256_SALTBYTES);
  if (crypto_pwhash_scryptsalsa208sha256(raw(out.data()), out.size(), passphrase.data(), passphrase.size(), raw(salt.data()),
                                         operations, memory) != 0)
    return resource_error("not enough memory for the passphrase's work factor");
  return {};
}

void aead_seal(const Key& key, const Nonce& nonce, ByteSpan plain, std::byte* out) {
  crypto_aead_chacha20poly1305_ietf_encrypt(raw(out), nullptr, raw(plain.data()), plain.size(), nullptr, 0,
                                            nullptr, raw(nonce.data()), raw(key.data()));
}

bool aead_open(const Key& key, const Nonce& nonce, ByteSpan sealed, std::byte* out) {
  assert(sealed.size() >= kTagSize);
  return crypto_aead_chacha20poly1305_ietf_decrypt(raw(out), nullptr, nullptr, raw(sealed.data()),
                                                   sealed.size(), nullptr, 0, raw(nonce.data()),
                                                   raw(key.data())) == 0;
}

}  // namespace mlt::crypt
