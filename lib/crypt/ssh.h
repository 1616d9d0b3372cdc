// SSH keys of the kind Ed25519 as recipients and identities: the stanza "ssh-ed25519" that the age program writes for
// them (facts: agessh of https://github.com/FiloSottile/age; key files: OpenSSH's PROTOCOL.key, RFC 4253, RFC 8709).
#pragma once
#include <array>
#include <optional>
#include <string_view>

#include "lib/base/result.h"
#include "lib/crypt/header.h"
#include "lib/crypt/primitives.h"

namespace mlt::crypt {

constexpr std::string_view kSshType = "ssh-ed25519";
constexpr std::string_view kOpensshBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";

struct SshPublicKey {
  Bytes wire;                       // as in an authorized_keys line, decoded
  std::array<std::byte, 32> point;  // its X25519 form
};

struct SshSecretKey {
  SshPublicKey public_key;
  Key secret;  // X25519 form
};

// "ssh-ed25519 AAAA... comment". kUsage when malformed, kUnsupported for other kinds of keys.
Result<SshPublicKey> parse_ssh_public(std::string_view line);
// The content of a file such as ~/.ssh/id_ed25519. kKey when malformed, kUnsupported for keys of other kinds and for
// those protected by a passphrase.
Result<SshSecretKey> parse_ssh_secret(std::string_view text);

Result<Stanza> wrap_ssh(const SshPublicKey& key, const FileKey& file_key);
// nullopt when the stanza is for another key; kInput when it is malformed.
Result<std::optional<FileKey>> unwrap_ssh(const SshSecretKey& key, const Stanza& stanza);

}  // namespace mlt::crypt
