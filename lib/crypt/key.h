// Who may open a file: recipients (public, they wrap the file key) and identities (secret, they unwrap it).
// Three kinds: X25519 keys and passphrases through scrypt, which are the age format's own, and SSH keys (Ed25519), as
// the age program takes them.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/crypt/header.h"
#include "lib/crypt/primitives.h"
#include "lib/crypt/ssh.h"

namespace mlt::crypt {

// log2 of the scrypt cost for new files (about a second, 256 MiB), and the most that is accepted from a file
// (4 GiB), both as the age program has them.
constexpr int kScryptLogN = 18;
constexpr int kMaxScryptLogN = 22;

class Recipient {
 public:
  // "age1..." or "ssh-ed25519 AAAA..."; kUsage when malformed, kUnsupported for other kinds of recipients (other SSH
  // keys, plugins, post-quantum), each named.
  static Result<Recipient> parse(std::string_view text);
  // Must be the only recipient of its file.
  static Recipient passphrase(SecretText text, int log_n = kScryptLogN);
  bool is_passphrase() const { return std::holds_alternative<Passphrase>(kind_); }
  Result<Stanza> wrap(const FileKey& file_key) const;

 private:
  struct Passphrase {
    SecretText text;
    int log_n;
  };
  using Point = std::array<std::byte, 32>;
  explicit Recipient(std::variant<Point, Passphrase, SshPublicKey> kind) : kind_(std::move(kind)) {}
  std::variant<Point, Passphrase, SshPublicKey> kind_;
};

class Identity {
 public:
  static Identity generate();  // X25519, from the system's random source
  // "AGE-SECRET-KEY-1..."; kKey when malformed, kUnsupported for other kinds.
  static Result<Identity> parse(std::string_view text);
  static Identity ssh(SshSecretKey key) { return Identity(std::move(key)); }
  static Identity passphrase(SecretText text);
  bool is_passphrase() const { return std::holds_alternative<SecretText>(kind_); }

  SecretText secret_text() const;  // "AGE-SECRET-KEY-1..."; X25519 only
  std::string recipient() const;   // "age1..."; X25519 only

  // The file key when one of the stanzas is for this identity; nullopt when none is; an error when a stanza
  // of this kind is malformed, or (kKey) the passphrase is wrong.
  Result<std::optional<FileKey>> unwrap(const std::vector<Stanza>& stanzas) const;

 private:
  explicit Identity(std::variant<Key, SecretText, SshSecretKey> kind) : kind_(std::move(kind)) {}
  std::variant<Key, SecretText, SshSecretKey> kind_;
};

// The lines of an identity or recipients file: one key a line, "#" comments and empty lines skipped, LF or
// CRLF. At least one key must be there. An identity file can be an OpenSSH private key instead. Errors name the line, never its content.
Result<std::vector<Identity>> parse_identities(std::string_view text);
Result<std::vector<Recipient>> parse_recipients(std::string_view text);

}  // namespace mlt::crypt
