// The options by which every tool is given keys for sealed models, and how they become identities. Nothing is
// read and nobody is asked before a sealed file turns up.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/random_access.h"
#include "lib/base/result.h"
#include "lib/cli/app.h"
#include "lib/crypt/age.h"

namespace mlt::cli {

struct KeyOptions {
  std::vector<std::string> identities;  // -i, --identity FILE ("-" is stdin)
  std::optional<int> identity_fd;       // --identity-fd N
  std::optional<std::string>
      identity_command;              // --identity-command CMD, run without a shell, prints an identity file
  std::optional<int> passphrase_fd;  // --passphrase-fd N, its first line
};

// Adds the four options to the table, among the common ones.
void add_key_options(Command& command, KeyOptions& keys);

// Loads what the options name, once. An identity file may itself be sealed with a passphrase.
class Keyring {
 public:
  explicit Keyring(KeyOptions options) : options_(std::move(options)) {}
  // What may open a file: the passphrase when the file wants one, otherwise all identities. kKey with a hint
  // when the options name none.
  Result<std::vector<crypt::Identity>> identities(bool wants_passphrase);
  // From --passphrase-fd, else asked on the terminal (twice when `confirm`), without echo. kKey when there is
  // neither.
  Result<crypt::SecretText> passphrase(const std::string& prompt, bool confirm);

 private:
  Status load();
  Status add(const Blob& content, const std::string& name);
  KeyOptions options_;
  bool loaded_ = false;
  std::vector<crypt::Identity> identities_;
  std::optional<crypt::SecretText> passphrase_;
};

// A file that holds a secret key; kKey when others can read it.
Result<Blob> read_secret(const std::string& path);

// For OpenOptions::unseal of lib/container/open.h: opens a sealed file in memory, what is read of it when it is read.
using Unsealer = std::function<Result<std::shared_ptr<const RandomAccess>>(const Blob& sealed)>;
Unsealer unsealer(const KeyOptions& keys);

}  // namespace mlt::cli
