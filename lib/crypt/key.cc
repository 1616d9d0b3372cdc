#include "lib/crypt/key.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/crypt/encoding.h"

namespace mlt::crypt {
namespace {

constexpr size_t kWrappedSize = 16 + kTagSize;
constexpr std::string_view kX25519Info = "age-encryption.org/v1/X25519";
constexpr std::string_view kScryptLabel = "age-encryption.org/v1/scrypt";
constexpr size_t kScryptSaltSize = 16;

Bytes wrap_with(const Key& key, const FileKey& file_key) {
  Bytes body(kWrappedSize);
  aead_seal(key, Nonce{}, file_key, body.data());
  return body;
}

bool unwrap_with(const Key& key, ByteSpan body, FileKey& file_key) {
  return aead_open(key, Nonce{}, body, file_key.data());
}

Key x25519_wrap_key(const Key& shared, ByteSpan share, ByteSpan recipient) {
  Bytes salt(share.begin(), share.end());
  salt.insert(salt.end(), recipient.begin(), recipient.end());
  return hkdf_sha256(shared, salt, kX25519Info);
}

Bytes scrypt_salt(ByteSpan salt) {
  ByteSpan label = as_bytes(kScryptLabel);
  Bytes out(label.begin(), label.end());
  out.insert(out.end(), salt.begin(), salt.end());
  return out;
}

Result<std::optional<FileKey>> unwrap_x25519(const Key& secret, const Stanza& stanza) {
  if (stanza.arguments.size() != 2) return input_error("X25519 recipient with a wrong number of arguments");
  MLT_ASSIGN(Bytes share, base64_decode(stanza.arguments[1], Padding::kNone));
  if (share.size() != 32) return input_error("X25519 share of wrong length");
  // Before any decryption: the length must not depend on what a key makes of it.
  if (stanza.body.size() != kWrappedSize) return input_error("X25519 recipient with a body of wrong length");
  MLT_ASSIGN(Key shared, x25519(secret, share));
  Key key = x25519_wrap_key(shared, share, x25519_base(secret));
  FileKey file_key;
  if (!unwrap_with(key, stanza.body, file_key)) return std::optional<FileKey>();
  return std::optional<FileKey>(file_key);
}

Result<std::optional<FileKey>> unwrap_scrypt(std::string_view passphrase, const Stanza& stanza) {
  if (stanza.arguments.size() != 3) return input_error("scrypt recipient with a wrong number of arguments");
  MLT_ASSIGN(Bytes salt, base64_decode(stanza.arguments[1], Padding::kNone));
  if (salt.size() != kScryptSaltSize) return input_error("scrypt salt of wrong length");
  const std::string& factor = stanza.arguments[2];
  int log_n = 0;
  if (factor.empty() || factor[0] == '0') return input_error("malformed scrypt work factor");
  for (char c : factor) {
    if (c < '0' || c > '9') return input_error("malformed scrypt work factor");
    log_n = std::min(log_n * 10 + (c - '0'), 1000);
  }
  if (log_n > kMaxScryptLogN) {
    return input_error("scrypt work factor is too large: 2^" + factor + ", at most 2^" +
                       std::to_string(kMaxScryptLogN) + " is accepted");
  }
  if (stanza.body.size() != kWrappedSize) return input_error("scrypt recipient with a body of wrong length");
  MLT_ASSIGN(Key key, scrypt(passphrase, scrypt_salt(salt), log_n));
  FileKey file_key;
  if (!unwrap_with(key, stanza.body, file_key)) return make_error(Code::kKey, "wrong passphrase");
  return std::optional<FileKey>(file_key);
}

// Calls one(line) for each line that holds a key.
template <typename F>
Status each_key_line(std::string_view text, Code code, const char* what, F one) {
  size_t number = 0, found = 0;
  while (!text.empty()) {
    ++number;
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t'))
      line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    MLT_TRY(one(line).in("line " + std::to_string(number)));
    ++found;
  }
  if (found == 0) return make_error(code, std::string("no ") + what + " found");
  return {};
}

}  // namespace

Result<Recipient> Recipient::parse(std::string_view text) {
  MLT_TRY(init_primitives());
  if (text.starts_with("AGE-SECRET-KEY-"))
    return usage_error("this is a secret key, not a recipient",
                       "give the public part, which starts with 'age1'");
  if (text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-")) {
    MLT_ASSIGN(SshPublicKey key, parse_ssh_public(text));
    return Recipient(std::move(key));
  }
  auto decoded = bech32_decode(text);
  if (!decoded.ok()) return usage_error("malformed recipient: " + decoded.error().message);
  if (decoded->prefix.starts_with("age1"))
    return unsupported_error("recipients of the kind '" + decoded->prefix.substr(4) + "' are not supported");
  if (decoded->prefix != "age" || decoded->upper)
    return usage_error("malformed recipient: it should start with 'age1'");
  if (decoded->bytes.size() != 32) return usage_error("malformed recipient: wrong length");
  Point point;
  std::copy(decoded->bytes.begin(), decoded->bytes.end(), point.begin());
  return Recipient(point);
}

Recipient Recipient::passphrase(SecretText text, int log_n) {
  return Recipient(Passphrase{std::move(text), log_n});
}

Result<Stanza> Recipient::wrap(const FileKey& file_key) const {
  if (const Point* point = std::get_if<Point>(&kind_)) {
    Key ephemeral = random_secret<32>();
    auto share = x25519_base(ephemeral);
    auto shared = x25519(ephemeral, *point);
    if (!shared.ok()) return usage_error("recipient is not a usable X25519 key");
    return Stanza{{"X25519", base64_encode(share, Padding::kNone)},
                  wrap_with(x25519_wrap_key(*shared, share, *point), file_key)};
  }
  if (const auto* key = std::get_if<SshPublicKey>(&kind_)) return wrap_ssh(*key, file_key);
  const auto& secret = std::get<Passphrase>(kind_);
  std::array<std::byte, kScryptSaltSize> salt;
  random_bytes(salt.data(), salt.size());
  MLT_ASSIGN(Key key, scrypt(secret.text.view(), scrypt_salt(salt), secret.log_n));
  return Stanza{{"scrypt", base64_encode(salt, Padding::kNone), std::to_string(secret.log_n)},
                wrap_with(key, file_key)};
}

Identity Identity::generate() { return Identity(random_secret<32>()); }

Result<Identity> Identity::parse(std::string_view text) {
  MLT_TRY(init_primitives());
  auto bad = [](const std::string& why) { return make_error(Code::kKey, "malformed identity: " + why); };
  if (text.starts_with("AGE-PLUGIN-")) return unsupported_error("plugin identities are not supported");
  if (text.starts_with("AGE-SECRET-KEY-PQ-"))
    return unsupported_error("post-quantum identities are not supported");
  if (text.starts_with("-----BEGIN "))
    return unsupported_error("PEM keys as identities are not supported", "OpenSSH's own format is, for Ed25519 keys");
  if (text.starts_with("age1")) return bad("this is a recipient (public), not a secret key");
  auto decoded = bech32_decode(text);
  if (!decoded.ok()) return bad(decoded.error().message);
  if (decoded->prefix != "age-secret-key-" || !decoded->upper)
    return bad("it should start with 'AGE-SECRET-KEY-1'");
  Key secret;
  bool fits = decoded->bytes.size() == secret.size();
  if (fits) std::memcpy(secret.data(), decoded->bytes.data(), secret.size());
  wipe(decoded->bytes.data(), decoded->bytes.size());
  if (!fits) return bad("wrong length");
  return Identity(secret);
}

Identity Identity::passphrase(SecretText text) { return Identity(std::move(text)); }

SecretText Identity::secret_text() const {
  return SecretText(bech32_encode("age-secret-key-", std::get<Key>(kind_), true));
}

std::string Identity::recipient() const {
  return bech32_encode("age", x25519_base(std::get<Key>(kind_)), false);
}

Result<std::optional<FileKey>> Identity::unwrap(const std::vector<Stanza>& stanzas) const {
  MLT_TRY(init_primitives());
  if (const auto* key = std::get_if<SshSecretKey>(&kind_)) {
    for (const Stanza& stanza : stanzas) {
      if (stanza.arguments[0] != kSshType) continue;
      MLT_ASSIGN(std::optional<FileKey> file_key, unwrap_ssh(*key, stanza));
      if (file_key) return file_key;
    }
    return std::optional<FileKey>();
  }
  for (const Stanza& stanza : stanzas) {
    if (stanza.arguments[0] != (is_passphrase() ? "scrypt" : "X25519")) continue;
    if (is_passphrase()) return unwrap_scrypt(std::get<SecretText>(kind_).view(), stanza);
    MLT_ASSIGN(std::optional<FileKey> file_key, unwrap_x25519(std::get<Key>(kind_), stanza));
    if (file_key) return file_key;
  }
  return std::optional<FileKey>();
}

Result<std::vector<Identity>> parse_identities(std::string_view text) {
  std::vector<Identity> out;
  if (text.starts_with(kOpensshBegin)) {
    MLT_ASSIGN(SshSecretKey key, parse_ssh_secret(text));
    out.push_back(Identity::ssh(std::move(key)));
    return out;
  }
  MLT_TRY(each_key_line(text, Code::kKey, "identity", [&](std::string_view line) -> Status {
    MLT_ASSIGN(Identity identity, Identity::parse(line));
    out.push_back(std::move(identity));
    return {};
  }));
  return out;
}

Result<std::vector<Recipient>> parse_recipients(std::string_view text) {
  std::vector<Recipient> out;
  MLT_TRY(each_key_line(text, Code::kInput, "recipient", [&](std::string_view line) -> Status {
    auto recipient = Recipient::parse(line);
    if (!recipient.ok()) {
      Error error = std::move(recipient).error();
      if (error.code == Code::kUsage)
        error.code = Code::kInput;  // a file's content, no longer a word of the user's
      return error;
    }
    out.push_back(std::move(*recipient));
    return {};
  }));
  return out;
}

}  // namespace mlt::crypt
