#include "lib/crypt/signature.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/crypt/encoding.h"

namespace mlt::crypt {
namespace {

constexpr std::string_view kTrusted = "trusted comment: ";
constexpr size_t kPublicSize = 2 + 8 + 32;
constexpr size_t kMaskedSize = 8 + 64 + 32;
constexpr size_t kSecretSize = 2 + 2 + 2 + 32 + 8 + 8 + kMaskedSize;
constexpr size_t kSignatureSize = 2 + 8 + 64;
// What a key file may ask for.
constexpr uint64_t kMaxMemory = uint64_t{4} << 30;
// Files signed without hashing (an older form of minisign's) are held in memory to be verified.
constexpr size_t kMaxLegacy = size_t{1} << 30;

std::vector<std::string_view> lines(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    out.push_back(line);
  }
  while (!out.empty() && out.back().empty()) out.pop_back();
  return out;
}

// The base64 line of a key file: after a comment, or alone.
std::string_view key_line(std::string_view text) {
  auto all = lines(text);
  if (all.size() == 1) return all[0];
  if (all.size() == 2 && all[0].starts_with("untrusted comment:")) return all[1];
  return {};
}

template <size_t N>
std::array<std::byte, N> part(ByteSpan bytes, size_t offset) {
  std::array<std::byte, N> out;
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), N, out.begin());
  return out;
}

uint64_t number_at(ByteSpan bytes, size_t offset) {
  uint64_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The key number as minisign shows it: a little-endian number in hexadecimal.
std::string number_text(const std::array<std::byte, 8>& number) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string out;
  for (size_t i = number.size(); i-- > 0;) {
    auto value = std::to_integer<unsigned>(number[i]);
    out += kDigits[value >> 4];
    out += kDigits[value & 15];
  }
  return out;
}

Bytes checksum(const SignKey& key) {
  Blake2b hash(32);
  hash.update(as_bytes("Ed"));
  hash.update(key.verify_key.number);
  hash.update({key.secret.data(), 64});
  return hash.finish();
}

Result<Bytes> digest(Source& content) {
  Blake2b hash(64);
  Bytes buffer(1 << 18);
  for (;;) {
    MLT_ASSIGN(size_t n, content.read(buffer));
    if (n == 0) return hash.finish();
    hash.update(ByteSpan(buffer).first(n));
  }
}

void append(Bytes& out, ByteSpan bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace

Result<VerifyKey> VerifyKey::parse(std::string_view text) {
  MLT_TRY(init_primitives());
  auto bytes = base64_decode(key_line(text), Padding::kRequired);
  if (!bytes.ok() || bytes->size() != kPublicSize || as_text(ByteSpan(*bytes).first(2)) != "Ed")
    return usage_error("malformed public key", "it starts with RW, and has 56 characters");
  return VerifyKey{part<8>(*bytes, 2), part<32>(*bytes, 10)};
}

std::string VerifyKey::text() const {
  Bytes bytes;
  append(bytes, as_bytes("Ed"));
  append(bytes, number);
  append(bytes, point);
  return base64_encode(bytes, Padding::kRequired);
}

std::string VerifyKey::file() const {
  return "untrusted comment: minisign public key " + number_text(number) + "\n" + text() + "\n";
}

SignKey SignKey::generate() {
  (void)init_primitives();
  SignKey key;
  random_bytes(key.verify_key.number.data(), key.verify_key.number.size());
  ed25519_keypair(key.secret, key.verify_key.point);
  return key;
}

Result<SignKey> SignKey::parse(std::string_view text, const std::function<Result<SecretText>()>& passphrase) {
  MLT_TRY(init_primitives());
  auto bad = [](const char* why) { return make_error(Code::kKey, std::string("malformed signing key: ") + why); };
  auto decoded = base64_decode(key_line(text), Padding::kRequired);
  if (!decoded.ok()) return bad("not base64");
  Bytes bytes = std::move(*decoded);
  struct Wiper {
    Bytes& bytes;
    ~Wiper() { wipe(bytes.data(), bytes.size()); }
  } wiper{bytes};
  if (bytes.size() == kPublicSize) return bad("this is a public key");
  if (bytes.size() != kSecretSize || as_text(ByteSpan(bytes).first(2)) != "Ed" || as_text(ByteSpan(bytes).subspan(4, 2)) != "B2")
    return bad("wrong length or kind");
  std::span<std::byte> masked = std::span(bytes).subspan(54);
  std::string_view kdf = as_text(ByteSpan(bytes).subspan(2, 2));
  if (kdf == "Sc") {
    MLT_ASSIGN(SecretText secret, passphrase());
    Secret<kMaskedSize> mask;
    MLT_TRY(scrypt_limits(secret.view(), ByteSpan(bytes).subspan(6, 32), number_at(bytes, 38), number_at(bytes, 46), kMaxMemory,
                          {mask.data(), kMaskedSize}));
    for (size_t i = 0; i < kMaskedSize; ++i) masked[i] ^= mask.data()[i];
  } else if (kdf != std::string_view("\0\0", 2)) {
    return bad("unknown protection");
  }
  SignKey key;
  key.verify_key.number = part<8>(masked, 0);
  std::memcpy(key.secret.data(), masked.data() + 8, 64);
  std::memcpy(key.verify_key.point.data(), masked.data() + 40, 32);
  if (kdf == "Sc" && !equal_constant_time(checksum(key), masked.subspan(72))) return make_error(Code::kKey, "wrong passphrase");
  // minisign 0.11 leaves the checksum of open keys at zero: what they hold is checked instead.
  if (key.verify_key.point != ed25519_point(key.secret))
    return bad("its public and secret parts do not belong together");
  return key;
}

Result<SecretText> SignKey::file(const SecretText& passphrase, uint64_t operations, uint64_t memory) const {
  Bytes bytes(kSecretSize);
  struct Wiper {
    Bytes& bytes;
    ~Wiper() { wipe(bytes.data(), bytes.size()); }
  } wiper{bytes};
  std::memcpy(bytes.data(), "Ed\0\0B2", 6);
  std::span<std::byte> masked = std::span(bytes).subspan(54);
  std::memcpy(masked.data(), verify_key.number.data(), 8);
  std::memcpy(masked.data() + 8, secret.data(), 64);
  Bytes sum = checksum(*this);
  std::memcpy(masked.data() + 72, sum.data(), 32);
  if (!passphrase.empty()) {
    std::memcpy(bytes.data() + 2, "Sc", 2);
    random_bytes(bytes.data() + 6, 32);
    std::memcpy(bytes.data() + 38, &operations, 8);
    std::memcpy(bytes.data() + 46, &memory, 8);
    Secret<kMaskedSize> mask;
    MLT_TRY(scrypt_limits(passphrase.view(), ByteSpan(bytes).subspan(6, 32), operations, memory, kMaxMemory,
                          {mask.data(), kMaskedSize}));
    for (size_t i = 0; i < kMaskedSize; ++i) masked[i] ^= mask.data()[i];
  }
  std::string comment = passphrase.empty() ? "minisign secret key" : "minisign encrypted secret key";
  return SecretText("untrusted comment: " + comment + "\n" + base64_encode(bytes, Padding::kRequired) + "\n");
}

Result<std::string> sign(Source& content, const SignKey& key, const std::string& trusted_comment) {
  MLT_TRY(init_primitives());
  if (has_controls(trusted_comment)) return usage_error("a trusted comment is one line of printable text");
  MLT_ASSIGN(Bytes hashed, digest(content));
  auto signature = ed25519_sign(key.secret, hashed);
  Bytes head;
  append(head, as_bytes("ED"));
  append(head, key.verify_key.number);
  append(head, signature);
  Bytes all(signature.begin(), signature.end());
  append(all, as_bytes(trusted_comment));
  auto global = ed25519_sign(key.secret, all);
  return "untrusted comment: signature from mltools secret key\n" + base64_encode(head, Padding::kRequired) + "\n" +
         std::string(kTrusted) + trusted_comment + "\n" + base64_encode(global, Padding::kRequired) + "\n";
}

Result<Verdict> verify(Source& content, std::string_view text, const VerifyKey& key) {
  MLT_TRY(init_primitives());
  auto bad = [] { return input_error("malformed signature", "expected a signature file of mlencrypt sign or minisign"); };
  auto all = lines(text);
  if (all.size() != 4 || !all[0].starts_with("untrusted comment:") || !all[2].starts_with(kTrusted)) return bad();
  auto head = base64_decode(all[1], Padding::kRequired), global = base64_decode(all[3], Padding::kRequired);
  if (!head.ok() || !global.ok() || head->size() != kSignatureSize || global->size() != 64) return bad();
  std::string_view kind = as_text(ByteSpan(*head).first(2));
  if (kind != "ED" && kind != "Ed") return bad();
  auto refused = [](std::string why) { return Verdict{false, std::move(why), {}}; };
  if (part<8>(*head, 2) != key.number)
    return refused("signed with another key: " + number_text(part<8>(*head, 2)) + ", not " + number_text(key.number));
  Bytes message;
  if (kind == "ED") {
    MLT_ASSIGN(message, digest(content));
  } else {
    Bytes buffer(1 << 18);
    for (;;) {
      MLT_ASSIGN(size_t n, content.read(buffer));
      if (n == 0) break;
      if (message.size() + n > kMaxLegacy) return resource_error("too large for a signature of the older kind, which is not hashed");
      append(message, ByteSpan(buffer).first(n));
    }
  }
  ByteSpan signature = ByteSpan(*head).subspan(10);
  if (!ed25519_verify(key.point, message, signature)) return refused("the file is not the one that was signed");
  std::string_view comment = all[2].substr(kTrusted.size());
  Bytes signed_too(signature.begin(), signature.end());
  append(signed_too, as_bytes(comment));
  if (!ed25519_verify(key.point, signed_too, *global)) return refused("the trusted comment was changed");
  return Verdict{true, {}, std::string(comment)};
}

}  // namespace mlt::crypt
