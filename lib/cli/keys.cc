#include "lib/cli/keys.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "lib/cli/io.h"

extern char** environ;

namespace mlt::cli {
namespace {

constexpr uint64_t kMaxIdentityFile = 1 << 20;
constexpr size_t kMaxPassphrase = 4096;
constexpr char kInterrupt = '\x03';

Error key_error(std::string message, std::string hint = {}) {
  return make_error(Code::kKey, std::move(message), std::move(hint));
}

// Whatever is wrong with a key, the exit status is that of keys; a wrong command line stays one.
Error as_key_error(Error error) {
  if (error.code == Code::kInput) error.code = Code::kKey;
  return error;
}

// Up to a line feed or the end.
Result<crypt::SecretText> read_line(int fd, const std::string& name) {
  std::string text;
  text.reserve(kMaxPassphrase);  // no reallocation leaves copies behind
  for (;;) {
    char c;
    ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return key_error("cannot read the passphrase: " + std::string(std::strerror(errno))).in_path(name);
    if (n == 0 || c == '\n') break;
    if (c == kInterrupt) return key_error("interrupted");
    if (text.size() == kMaxPassphrase) return key_error("passphrase is too long").in_path(name);
    text += c;
  }
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty()) return key_error("the passphrase is empty").in_path(name);
  return crypt::SecretText(std::move(text));
}

// The terminal without echo; restored at the end of scope. Control-C ends the line instead of the process, so
// that the terminal is never left without echo.
class QuietTerminal {
 public:
  explicit QuietTerminal(int fd) : fd_(fd) {
    if (::tcgetattr(fd, &saved_) != 0) return;
    termios quiet = saved_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    quiet.c_lflag |= ICANON;
    quiet.c_cc[VEOL] = kInterrupt;
    changed_ = ::tcsetattr(fd, TCSAFLUSH, &quiet) == 0;
  }
  ~QuietTerminal() {
    if (changed_) ::tcsetattr(fd_, TCSAFLUSH, &saved_);
  }
  QuietTerminal(const QuietTerminal&) = delete;
  bool quiet() const { return changed_; }

 private:
  int fd_;
  termios saved_{};
  bool changed_ = false;
};

Result<crypt::SecretText> ask(int terminal, const std::string& prompt) {
  MLT_TRY(write_fd(terminal, as_bytes(prompt + ": "), "terminal"));
  auto answer = [&]() -> Result<crypt::SecretText> {
    QuietTerminal quiet(terminal);
    if (!quiet.quiet()) return key_error("cannot switch off the terminal's echo");
    return read_line(terminal, "terminal");
  }();
  MLT_TRY(write_fd(terminal, as_bytes("\n"), "terminal"));
  return answer;
}

// The words of a command line: separated by blanks, "..." and '...' keep blanks, a backslash keeps the next character
// (not between '...'). No variables, no globs, no pipes: no shell.
Result<std::vector<std::string>> split_words(const std::string& text) {
  std::vector<std::string> words;
  char quote = 0;
  bool open = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
      open = false;
      continue;
    }
    if (!open) words.emplace_back();
    open = true;
    if (c == '\\' && quote != '\'') {
      if (++i == text.size()) return usage_error("--identity-command ends in a backslash");
      words.back() += text[i];
    } else if (quote != 0 ? c == quote : c == '"' || c == '\'') {
      quote = quote != 0 ? 0 : c;
    } else {
      words.back() += c;
    }
  }
  if (quote != 0) return usage_error("--identity-command has an open quote");
  if (words.empty()) return usage_error("--identity-command is empty");
  return words;
}

// Standard output of a command, run directly. Its stdin is empty: ours may carry a model.
Result<Bytes> run_command(const std::string& command) {
  MLT_ASSIGN(std::vector<std::string> words, split_words(command));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return resource_error(std::string("cannot make a pipe: ") + std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  int error = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    return key_error("cannot run '" + words[0] + "': " + std::strerror(error),
                     "--identity-command is run without a shell: a program and its arguments");
  }
  auto output = read_fd(ends[0], "identity command", kMaxIdentityFile);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (output.ok() && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    return key_error(
        "the identity command failed" +
        (WIFEXITED(status) ? " with exit status " + std::to_string(WEXITSTATUS(status)) : std::string()));
  }
  return output;
}

}  // namespace

void add_key_options(Command& command, KeyOptions& keys) {
  command.option("-i,--identity", keys.identities, "FILE", "secret key that opens sealed models")
      .file()
      .common();
  command.option("--identity-fd", keys.identity_fd, "N", "read the secret key from descriptor N")
      .range(0, 1 << 20)
      .common();
  command.option("--identity-command", keys.identity_command, "CMD", "run CMD, which prints the secret key")
      .common();
  command.option("--passphrase-fd", keys.passphrase_fd, "N", "read the passphrase from descriptor N")
      .range(0, 1 << 20)
      .common();
}

Result<crypt::SecretText> Keyring::passphrase(const std::string& prompt, bool confirm) {
  crypt::protect_process();
  if (passphrase_) return *passphrase_;
  if (options_.passphrase_fd) {
    if (*options_.passphrase_fd == STDIN_FILENO) MLT_TRY(claim_stdin());
    MLT_ASSIGN(crypt::SecretText text,
               read_line(*options_.passphrase_fd, "descriptor " + std::to_string(*options_.passphrase_fd)));
    passphrase_.emplace(text);
    return text;
  }
  int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0)
    return key_error("a passphrase is needed, and there is no terminal to ask on", "use --passphrase-fd N");
  auto answer = [&]() -> Result<crypt::SecretText> {
    MLT_ASSIGN(crypt::SecretText text, ask(terminal, prompt));
    if (confirm) {
      MLT_ASSIGN(crypt::SecretText again, ask(terminal, "the same again"));
      if (again.view() != text.view()) return key_error("the passphrases differ");
    }
    return text;
  }();
  ::close(terminal);
  if (answer.ok()) passphrase_.emplace(*answer);
  return answer;
}

Status Keyring::add(const Blob& content, const std::string& name) {
  if (content.size() > kMaxIdentityFile) return key_error("too large for an identity file").in_path(name);
  Blob plain = content;
  if (crypt::looks_sealed(content.bytes().first(std::min(content.size(), crypt::kSniffSize)))) {
    MLT_ASSIGN(bool wants_passphrase, crypt::needs_passphrase(content).in(name));
    if (!wants_passphrase)
      return key_error("an identity file can be sealed with a passphrase only").in_path(name);
    MLT_ASSIGN(crypt::SecretText text, passphrase("passphrase of " + name, false));
    std::vector<crypt::Identity> key{crypt::Identity::passphrase(std::move(text))};
    MLT_ASSIGN(plain, crypt::open_bytes(content, key).in(name));
  }
  MLT_ASSIGN(std::vector<crypt::Identity> parsed, crypt::parse_identities(plain.text()).in(name));
  for (crypt::Identity& identity : parsed) identities_.push_back(std::move(identity));
  return {};
}

// A secret key that others on the machine can read is none. Keys protected by a passphrase may lie open.
Result<Blob> read_secret(const std::string& path) {
  auto content = read_input(path);
  if (!content.ok()) return as_key_error(std::move(content).error());
  struct stat info;
  if (is_standard(path) || ::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || (info.st_mode & 077) == 0) return *content;
  if (crypt::looks_sealed(content->bytes().first(std::min(content->size(), crypt::kSniffSize)))) return *content;
  return key_error("others can read this secret key", "chmod 600 " + path).in_path(path);
}

Status Keyring::load() {
  if (loaded_) return {};
  loaded_ = true;
  crypt::protect_process();
  for (const std::string& path : options_.identities) {
    MLT_ASSIGN(Blob content, read_secret(path));
    MLT_TRY(add(content, input_name(path)));
  }
  if (options_.identity_fd) {
    std::string name = "descriptor " + std::to_string(*options_.identity_fd);
    if (*options_.identity_fd == STDIN_FILENO) MLT_TRY(claim_stdin());
    auto content = read_fd(*options_.identity_fd, name, kMaxIdentityFile);
    if (!content.ok()) return as_key_error(std::move(content).error());
    MLT_TRY(add(Blob(std::move(*content)), name));
  }
  if (options_.identity_command) {
    MLT_ASSIGN(Bytes content, run_command(*options_.identity_command));
    MLT_TRY(add(Blob(std::move(content)), "identity command"));
  }
  return {};
}

Result<std::vector<crypt::Identity>> Keyring::identities(bool wants_passphrase) {
  if (wants_passphrase) {
    MLT_ASSIGN(crypt::SecretText text, passphrase("passphrase", false));
    return std::vector<crypt::Identity>{crypt::Identity::passphrase(std::move(text))};
  }
  MLT_TRY(load());
  if (identities_.empty()) return key_error("the file is sealed, and no identity was given", "use -i FILE");
  return identities_;
}

Unsealer unsealer(const KeyOptions& keys) {
  auto ring = std::make_shared<Keyring>(keys);
  return [ring](const Blob& sealed) -> Result<std::shared_ptr<const RandomAccess>> {
    MLT_ASSIGN(bool wants_passphrase, crypt::needs_passphrase(sealed));
    MLT_ASSIGN(std::vector<crypt::Identity> identities, ring->identities(wants_passphrase));
    return crypt::open_random(sealed, identities);
  };
}

}  // namespace mlt::cli
