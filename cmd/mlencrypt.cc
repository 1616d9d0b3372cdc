// mlencrypt: seal a model for recipients or a passphrase, open it again, and say for whom it is sealed.
#include <fmt/core.h>
#include <sys/stat.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "lib/cli/app.h"
#include "lib/cli/io.h"
#include "lib/cli/keys.h"
#include "lib/cli/seal.h"
#include "lib/crypt/age.h"

using namespace mlt;

namespace {

struct Options {
  std::vector<std::string> recipients, recipient_files;
  bool passphrase = false, armor = false, open = false;
  std::optional<std::string> input, output;
  cli::KeyOptions keys;
};

Status seal(const Options& o) {
  if (!o.keys.identities.empty() || o.keys.identity_fd || o.keys.identity_command)
    return usage_error("identities open files; sealing takes recipients", "use -r or -R, or -d to open");
  if (!o.passphrase && o.keys.passphrase_fd) return usage_error("--passphrase-fd needs -p or -d");
  std::string input = o.input.value_or("-");
  auto content = o.armor ? cli::Content::kText : cli::Content::kBinary;
  MLT_ASSIGN(cli::Output output, cli::Output::plan(o.output, content, {input}));
  MLT_ASSIGN(auto recipients, cli::read_recipients(o.recipients, o.recipient_files));
  if (o.passphrase) {
    if (!recipients.empty()) return usage_error("a passphrase cannot be combined with recipients");
    MLT_ASSIGN(auto text, cli::Keyring(o.keys).passphrase("new passphrase", true));
    recipients.push_back(crypt::Recipient::passphrase(std::move(text)));
  }
  if (recipients.empty()) return usage_error("nobody to seal for: give -r, -R or -p");
  auto form = o.armor ? crypt::Form::kArmored : crypt::Form::kBinary;
  return cli::seal_input(input, recipients, form, std::move(output));
}

Status open(const Options& o) {
  if (!o.recipients.empty() || !o.recipient_files.empty()) return usage_error("-r and -R seal; -d opens");
  if (o.passphrase) return usage_error("-p seals; -d asks for a passphrase when the file has one");
  if (o.armor) return usage_error("-a seals; -d recognises armor by itself");
  cli::Keyring keys(o.keys);
  return cli::open_input(o.input.value_or("-"), keys, o.output);
}

// An identity file. To a file: readable by its owner alone, never over an existing one (that would lose a
// key), and the recipient goes to stdout.
Status keygen(const std::optional<std::string>& path) {
  MLT_TRY(crypt::init_primitives());
  crypt::Identity identity = crypt::Identity::generate();
  crypt::SecretText secret = identity.secret_text();
  std::string recipient = identity.recipient();
  std::string text = fmt::format("# public key: {}\n{}\n", recipient, secret.view());
  crypt::SecretText wiped(std::move(text));
  if (!path || cli::is_standard(*path)) return write_fd(1, as_bytes(wiped.view()), "stdout");
  if (path_kind(*path) == PathKind::kFile || path_kind(*path) == PathKind::kDirectory)
    return resource_error("exists already; a key is never overwritten").in_path(*path);
  ::umask(077);
  MLT_TRY(write_file(*path, as_bytes(wiped.view())));
  fmt::print("{}\n", recipient);
  return {};
}

Status inspect(const std::string& input, bool as_json) {
  std::string name = cli::input_name(input);
  MLT_ASSIGN(auto source, cli::input_source(input));
  MLT_ASSIGN(auto opener, crypt::Opener::start(std::move(source)).in(name));
  MLT_ASSIGN(auto payload, opener.payload_size().in(name));
  MLT_ASSIGN(auto content, crypt::content_size(payload).in(name));
  bool armor = opener.form() == crypt::Form::kArmored;
  const auto& stanzas = opener.header().stanzas;

  if (as_json) {
    nlohmann::ordered_json recipients = nlohmann::ordered_json::array();
    for (const crypt::Stanza& stanza : stanzas) {
      nlohmann::ordered_json recipient = {{"type", stanza.arguments[0]}};
      if (stanza.arguments[0] == "scrypt" && stanza.arguments.size() == 3) {
        if (auto log_n = cli::parse_integer(stanza.arguments[2])) recipient["work_factor"] = *log_n;
      }
      recipients.push_back(std::move(recipient));
    }
    nlohmann::ordered_json out = {{"schema", "mlencrypt-inspect"},
                                  {"schema_version", 1},
                                  {"file", name},
                                  {"format", "age-encryption.org/v1"},
                                  {"armor", armor},
                                  {"recipients", std::move(recipients)},
                                  {"header_bytes", opener.header().size},
                                  {"payload_bytes", payload},
                                  {"content_bytes", content}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return {};
  }
  fmt::print("{}: sealed, age v1{}\n", name, armor ? ", armored" : "");
  for (const crypt::Stanza& stanza : stanzas) {
    std::string note;
    if (stanza.arguments[0] == "scrypt") note = " (a passphrase)";
    fmt::print("  recipient  {}{}\n", stanza.arguments[0], note);
  }
  fmt::print("  header     {} bytes\n  payload    {} bytes\n  content    {} bytes\n", opener.header().size,
             payload, content);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlencrypt", "seal a model for recipients or a passphrase, and open it");
  Options o;
  app.usage(
      "-r RECIPIENT|-R FILE|-p [-a] [-o OUT] [IN]\n"
      "-d [-i FILE] [-o OUT] [IN]\n"
      "keygen [-o FILE]\n"
      "inspect [--json] [FILE]");
  app.positional(o.input, "IN", "file or model directory (default: stdin)").file();
  app.option("-r,--recipient", o.recipients, "RECIPIENT", "seal for RECIPIENT (age1...); may be repeated");
  app.option("-R,--recipients-file", o.recipient_files, "FILE", "seal for the recipients listed in FILE")
      .file();
  app.flag("-p,--passphrase", o.passphrase, "seal with a passphrase");
  app.flag("-a,--armor", o.armor, "write text (PEM) instead of binary");
  app.flag("-d,--decrypt", o.open, "open a sealed file");
  app.option("-o,--output", o.output, "OUT", "write to OUT (default: stdout)").file();
  cli::add_key_options(app, o.keys);
  app.threads_option();
  app.not_yet("--compress", false);
  for (const char* word : {"rewrap", "sign", "verify"}) app.not_yet_command(word);
  app.examples(
      "mlencrypt keygen -o key.txt\n"
      "mlencrypt -r age1... -o m.mlpackage.age m.mlpackage\n"
      "mlencrypt -d -i key.txt -o m.mlpackage m.mlpackage.age\n"
      "mlpredict -i key.txt m.mlpackage.age x=1");

  cli::Command& make_key = app.command("keygen", "make a key pair");
  std::optional<std::string> key_file;
  make_key
      .option("-o,--output", key_file, "FILE", "write the secret key to FILE, and the recipient to stdout")
      .file();
  make_key.examples("mlencrypt keygen -o key.txt");

  cli::Command& show = app.command("inspect", "say for whom a file is sealed, without opening it");
  std::string sealed = "-";
  bool json = false;
  show.positional(sealed, "FILE", "sealed file (default: stdin)").file().optional();
  show.flag("--json", json, "machine-readable output");
  show.examples("mlencrypt inspect m.mlpackage.age\nmlencrypt inspect --json < m.mlmodel.age");

  return app.run(argc, argv, [&]() -> Status {
    if (make_key.chosen()) return keygen(key_file);
    if (show.chosen()) return inspect(sealed, json);
    return o.open ? open(o) : seal(o);
  });
}
