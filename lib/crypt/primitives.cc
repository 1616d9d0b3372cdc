#include "lib/crypt/primitives.h"

#include <sodium.h>

#include <cassert>
#include <cerrno>

namespace mlt::crypt {
namespace {

const unsigned char* raw(const std::byte* data) { return reinterpret_cast<const unsigned char*>(data); }
unsigned char* raw(std::byte* data) { return reinterpret_cast<unsigned char*>(data); }

}  // namespace

void wipe(void* data, size_t size) {
  if (size != 0) sodium_memzero(data, size);
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
