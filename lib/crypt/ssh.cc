#include "lib/crypt/ssh.h"

#include <algorithm>
#include <cstring>

#include "lib/crypt/encoding.h"

namespace mlt::crypt {
namespace {

constexpr std::string_view kInfo = "age-encryption.org/v1/ssh-ed25519";
constexpr std::string_view kOpensshEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
constexpr size_t kWrappedSize = 16 + kTagSize;

// Strings of SSH's wire format: a big-endian length, then the bytes.
class Wire {
 public:
  explicit Wire(ByteSpan bytes) : bytes_(bytes) {}
  std::optional<uint32_t> number() {
    if (bytes_.size() < 4) return std::nullopt;
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(bytes_[static_cast<size_t>(i)]);
    bytes_ = bytes_.subspan(4);
    return value;
  }
  std::optional<ByteSpan> string() {
    auto size = number();
    if (!size || *size > bytes_.size()) return std::nullopt;
    ByteSpan out = bytes_.first(*size);
    bytes_ = bytes_.subspan(*size);
    return out;
  }
  ByteSpan rest() const { return bytes_; }

 private:
  ByteSpan bytes_;
};

Result<SshPublicKey> public_key(ByteSpan wire_bytes) {
  Wire wire(wire_bytes);
  auto type = wire.string();
  if (!type) return input_error("damaged SSH key");
  if (as_text(*type) != kSshType)
    return unsupported_error("SSH keys of the kind '" + std::string(as_text(*type).substr(0, 64)) + "' are not supported");
  auto point = wire.string();
  if (!point || point->size() != 32 || !wire.rest().empty()) return input_error("damaged SSH key");
  SshPublicKey key;
  MLT_ASSIGN(key.point, ed25519_point_to_x25519(*point));
  key.wire.assign(wire_bytes.begin(), wire_bytes.end());
  return key;
}

std::string fingerprint(const SshPublicKey& key) {
  auto digest = sha256(key.wire);
  return base64_encode(ByteSpan(digest).first(4), Padding::kNone);
}

// What both sides come to: the X25519 secret multiplied by a scalar that depends on the SSH key, so that the same
// Ed25519 key used elsewhere shares nothing with it.
Result<Key> wrap_key(const SshPublicKey& key, const Key& shared, ByteSpan share) {
  Key tweak = hkdf_sha256({}, key.wire, kInfo);
  MLT_ASSIGN(Key tweaked, x25519(tweak, shared));
  Bytes salt(share.begin(), share.end());
  salt.insert(salt.end(), key.point.begin(), key.point.end());
  return hkdf_sha256(tweaked, salt, kInfo);
}

}  // namespace

Result<SshPublicKey> parse_ssh_public(std::string_view line) {
  MLT_TRY(init_primitives());
  size_t space = line.find(' ');
  std::string_view type = line.substr(0, space);
  if (type != kSshType)
    return unsupported_error("SSH keys of the kind '" + std::string(type.substr(0, 64)) + "' are not supported",
                             "ssh-ed25519 keys are");
  std::string_view body = space == line.npos ? std::string_view() : line.substr(space + 1);
  body = body.substr(0, body.find(' '));
  auto wire = base64_decode(body, Padding::kRequired);
  if (!wire.ok()) return usage_error("malformed SSH recipient: " + wire.error().message);
  auto key = public_key(*wire);
  if (!key.ok() && key.error().code == Code::kInput) return usage_error("malformed SSH recipient: " + key.error().message);
  return key;
}

Result<SshSecretKey> parse_ssh_secret(std::string_view text) {
  MLT_TRY(init_primitives());
  auto bad = [](const char* why) { return make_error(Code::kKey, std::string("damaged SSH key file: ") + why); };
  size_t end = text.find(kOpensshEnd);
  if (!text.starts_with(kOpensshBegin) || end == text.npos) return bad("no end line");
  std::string encoded;
  encoded.reserve(end);
  for (char c : text.substr(kOpensshBegin.size(), end - kOpensshBegin.size()))
    if (c != '\n' && c != '\r') encoded += c;
  auto decoded = base64_decode(encoded, Padding::kRequired);
  wipe(encoded.data(), encoded.size());
  if (!decoded.ok()) return bad("not base64");
  struct Wiper {
    Bytes& bytes;
    ~Wiper() { wipe(bytes.data(), bytes.size()); }
  } wiper{*decoded};
  if (!as_text(*decoded).starts_with(kMagic)) return bad("unknown version");
  Wire wire(ByteSpan(*decoded).subspan(kMagic.size()));
  auto cipher = wire.string(), kdf = wire.string(), kdf_options = wire.string();
  auto count = wire.number();
  auto public_part = wire.string(), secret_part = wire.string();
  if (!cipher || !kdf || !kdf_options || !count || !public_part || !secret_part) return bad("it ends early");
  if (*count != 1) return bad("more than one key");
  if (as_text(*cipher) != "none")
    return unsupported_error("SSH keys protected by a passphrase are not supported",
                             "make a copy without one with ssh-keygen -p, or use an age identity");
  auto key = public_key(*public_part);
  if (!key.ok()) {
    if (key.error().code == Code::kInput) return bad("its public key is damaged");
    return std::move(key).error();
  }
  Wire secret(*secret_part);
  auto check = secret.number(), again = secret.number();
  auto type = secret.string(), point = secret.string(), seed_and_point = secret.string();
  if (!check || !again || *check != *again || !type || !point || !seed_and_point || as_text(*type) != kSshType ||
      seed_and_point->size() != 64)
    return bad("its secret part is damaged");
  SshSecretKey out{std::move(*key), ed25519_seed_to_x25519(seed_and_point->first(32))};
  if (x25519_base(out.secret) != out.public_key.point) return bad("its public and secret parts do not belong together");
  return out;
}

Result<Stanza> wrap_ssh(const SshPublicKey& key, const FileKey& file_key) {
  Key ephemeral = random_secret<32>();
  auto share = x25519_base(ephemeral);
  auto shared = x25519(ephemeral, key.point);
  if (!shared.ok()) return usage_error("recipient is not a usable Ed25519 key");
  MLT_ASSIGN(Key wrapping, wrap_key(key, *shared, share));
  Stanza stanza{{std::string(kSshType), fingerprint(key), base64_encode(share, Padding::kNone)}, Bytes(kWrappedSize)};
  aead_seal(wrapping, Nonce{}, file_key, stanza.body.data());
  return stanza;
}

Result<std::optional<FileKey>> unwrap_ssh(const SshSecretKey& key, const Stanza& stanza) {
  if (stanza.arguments.size() != 3) return input_error("ssh-ed25519 recipient with a wrong number of arguments");
  MLT_ASSIGN(Bytes share, base64_decode(stanza.arguments[2], Padding::kNone));
  if (share.size() != 32) return input_error("ssh-ed25519 share of wrong length");
  if (stanza.body.size() != kWrappedSize) return input_error("ssh-ed25519 recipient with a body of wrong length");
  if (stanza.arguments[1] != fingerprint(key.public_key)) return std::optional<FileKey>();
  MLT_ASSIGN(Key shared, x25519(key.secret, share));
  MLT_ASSIGN(Key wrapping, wrap_key(key.public_key, shared, share));
  FileKey file_key;
  // Four bytes of fingerprint can agree by chance: another key's stanza is not an error.
  if (!aead_open(wrapping, Nonce{}, stanza.body, file_key.data())) return std::optional<FileKey>();
  return std::optional<FileKey>(std::move(file_key));
}

}  // namespace mlt::crypt
