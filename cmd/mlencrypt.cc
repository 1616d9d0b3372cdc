// mlencrypt: seal a model for recipients or a passphrase, open it again, say for whom it is sealed, change that, and
// sign and verify models.
#include <fmt/core.h>
#include <sys/stat.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/keys.h"
#include "lib/cli/seal.h"
#include "lib/crypt/age.h"
#include "lib/crypt/signature.h"

using namespace mlt;

namespace {

struct Options {
  cli::SealOptions to;
  bool passphrase = false, armor = false, open = false, compress = false;
  std::optional<std::string> input, output;
  cli::KeyOptions keys;

  crypt::Form form() const { return armor ? crypt::Form::kArmored : crypt::Form::kBinary; }
  // Whom the options name; keys: for a new passphrase.
  Result<std::vector<crypt::Recipient>> recipients(cli::Keyring& keyring) const {
    MLT_ASSIGN(auto out, cli::read_recipients(to.recipients, to.files));
    if (passphrase) {
      if (!out.empty()) return usage_error("a passphrase cannot be combined with recipients");
      MLT_ASSIGN(auto text, keyring.passphrase("new passphrase", true));
      out.push_back(crypt::Recipient::passphrase(std::move(text)));
    }
    if (out.empty()) return usage_error("nobody to seal for: give -r, -R or -p");
    return out;
  }
};

Status seal(const Options& o) {
  if (!o.keys.identities.empty() || o.keys.identity_fd || o.keys.identity_command)
    return usage_error("identities open files; sealing takes recipients", "use -r or -R, or -d to open");
  if (!o.passphrase && o.keys.passphrase_fd) return usage_error("--passphrase-fd needs -p or -d");
  std::string input = o.input.value_or("-");
  MLT_ASSIGN(cli::Output output, cli::Output::plan(o.output, o.armor ? cli::Content::kText : cli::Content::kBinary, {input}));
  cli::Keyring keyring(o.keys);
  MLT_ASSIGN(auto recipients, o.recipients(keyring));
  return cli::seal_input(input, recipients, o.form(), o.compress, std::move(output));
}

Status open(const Options& o) {
  if (o.to.given()) return usage_error("-r and -R seal; -d opens");
  if (o.compress) return usage_error("--compress seals; what was compressed is opened as .zst");
  if (o.passphrase) return usage_error("-p seals; -d asks for a passphrase when the file has one");
  if (o.armor) return usage_error("-a seals; -d recognises armor by itself");
  cli::Keyring keys(o.keys);
  return cli::open_input(o.input.value_or("-"), keys, o.output);
}

// A new secret key. To a file: readable by its owner alone, never over an existing one (that would lose a key), and the
// public part goes to stdout.
Status write_key(const std::optional<std::string>& path, const crypt::SecretText& secret, const std::string& public_part) {
  if (!path || cli::is_standard(*path)) return write_fd(1, as_bytes(secret.view()), "stdout");
  if (path_kind(*path) != PathKind::kMissing)
    return resource_error("exists already; a key is never overwritten").in_path(*path);
  ::umask(077);
  MLT_TRY(write_file(*path, as_bytes(secret.view())));
  fmt::print("{}", public_part);
  return {};
}

struct KeygenOptions {
  std::optional<std::string> output;
  bool signing = false, passphrase = false;
  cli::KeyOptions keys;
};

Status keygen(const KeygenOptions& o) {
  MLT_TRY(crypt::init_primitives());
  crypt::protect_process();
  if (o.passphrase && !o.signing) return usage_error("-p protects signing keys", "seal an identity file with mlencrypt -p");
  if (o.signing) {
    crypt::SecretText passphrase;
    if (o.passphrase) {
      MLT_ASSIGN(passphrase, cli::Keyring(o.keys).passphrase("new passphrase", true));
    }
    crypt::SignKey key = crypt::SignKey::generate();
    MLT_ASSIGN(crypt::SecretText text, key.file(passphrase));
    return write_key(o.output, text, key.verify_key.file());
  }
  crypt::Identity identity = crypt::Identity::generate();
  std::string recipient = identity.recipient();
  crypt::SecretText text(fmt::format("# public key: {}\n{}\n", recipient, identity.secret_text().view()));
  return write_key(o.output, text, recipient + "\n");
}

// A new header for the same payload. Not an option of sealing: nothing is opened.
Status rewrap(const Options& o) {
  std::string input = o.input.value_or("-"), name = cli::input_name(input);
  MLT_ASSIGN(cli::Output output, cli::Output::plan(o.output, o.armor ? cli::Content::kText : cli::Content::kBinary, {input}));
  MLT_ASSIGN(auto source, cli::input_source(input));
  MLT_ASSIGN(auto opener, crypt::Opener::start(std::move(source)).in(name));
  // A passphrase from a descriptor is the file's own when it has one, and the new one otherwise.
  cli::Keyring keyring(o.keys), fresh(opener.needs_passphrase() ? cli::KeyOptions{} : o.keys);
  MLT_ASSIGN(auto identities, keyring.identities(opener.needs_passphrase()).in(name));
  MLT_ASSIGN(auto recipients, o.recipients(fresh));
  MLT_TRY(opener.rewrap(identities, recipients, o.form(), [&](ByteSpan bytes) { return output.write(bytes); }).in(name));
  return output.finish();
}

struct SignOptions {
  std::string key, input;
  std::optional<std::string> signature;
  std::string comment;
  cli::KeyOptions keys;
  // Beside the input, as minisign names it.
  std::string signature_path() const {
    if (signature) return *signature;
    std::string path = input;
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path + ".minisig";
  }
};

Status sign(const SignOptions& o) {
  if (!o.signature && cli::is_standard(o.input)) return usage_error("the signature of stdin needs a name", "give it with -o");
  crypt::protect_process();
  MLT_ASSIGN(Blob text, cli::read_secret(o.key));
  cli::Keyring keyring(o.keys);
  MLT_ASSIGN(crypt::SignKey key, crypt::SignKey::parse(text.text(), [&] { return keyring.passphrase("passphrase of " + o.key, false); }).in(o.key));
  MLT_ASSIGN(cli::Output output, cli::Output::plan(o.signature_path(), cli::Content::kText, {o.input, o.key}));
  MLT_ASSIGN(auto source, cli::input_or_package(o.input));
  MLT_ASSIGN(std::string signature, crypt::sign(*source, key, o.comment).in(cli::input_name(o.input)));
  MLT_TRY(output.write(signature));
  return output.finish();
}

Result<int> verify(const SignOptions& o) {
  if (!o.signature && cli::is_standard(o.input)) return usage_error("the signature of stdin needs a name", "give it with -s");
  bool is_file = path_kind(o.key) == PathKind::kFile;
  std::string key_text = o.key;
  if (is_file) {
    MLT_ASSIGN(Blob content, cli::read_input(o.key));
    key_text = content.text();
  }
  MLT_ASSIGN(crypt::VerifyKey key, crypt::VerifyKey::parse(key_text).in(is_file ? o.key : "-k"));
  MLT_ASSIGN(Blob signature, cli::read_input(o.signature_path()));
  MLT_ASSIGN(auto source, cli::input_or_package(o.input));
  MLT_ASSIGN(crypt::Verdict verdict, crypt::verify(*source, signature.text(), key).in(o.signature_path()));
  if (!verdict.authentic) {
    cli::print_error(make_error(Code::kNegative, verdict.reason).in_path(cli::input_name(o.input)));
    return 1;
  }
  fmt::print("{}: authentic{}{}\n", cli::printable(cli::input_name(o.input)), verdict.trusted_comment.empty() ? "" : ", ",
             cli::printable(verdict.trusted_comment));
  return 0;
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
      "-r RECIPIENT|-R FILE|-p [-a] [--compress] [-o OUT] [IN]\n"
      "-d [-i FILE] [-o OUT] [IN]\n"
      "keygen [--signing [-p]] [-o FILE]\n"
      "inspect [--json] [FILE]\n"
      "rewrap -i FILE -r RECIPIENT|-R FILE|-p [-a] [-o OUT] [IN]\n"
      "sign -k SECRET_KEY [-c COMMENT] [-o SIGNATURE] IN\n"
      "verify -k PUBLIC_KEY [-s SIGNATURE] IN");
  app.positional(o.input, "IN", "file or model directory (default: stdin)").file();
  cli::add_seal_options(app, o.to, false);
  app.flag("-p,--passphrase", o.passphrase, "seal with a passphrase");
  app.flag("-a,--armor", o.armor, "write text (PEM) instead of binary");
  app.flag("--compress", o.compress, "compress (zstd) before sealing");
  app.flag("-d,--decrypt", o.open, "open a sealed file");
  app.option("-o,--output", o.output, "OUT", "write to OUT (default: stdout)").file();
  cli::add_key_options(app, o.keys);
  app.threads_option();
  app.examples(
      "mlencrypt keygen -o key.txt\n"
      "mlencrypt -r age1... -o m.mlpackage.age m.mlpackage\n"
      "mlencrypt -d -i key.txt -o m.mlpackage m.mlpackage.age\n"
      "mlpredict -i key.txt m.mlpackage.age x=1");

  cli::Command& make_key = app.command("keygen", "make a key pair");
  KeygenOptions generated;
  make_key.option("-o,--output", generated.output, "FILE", "write the secret key to FILE, and the public part to stdout").file();
  make_key.flag("--signing", generated.signing, "a key for sign, in minisign's format");
  make_key.flag("-p,--passphrase", generated.passphrase, "protect the signing key with a passphrase");
  make_key.option("--passphrase-fd", generated.keys.passphrase_fd, "N", "read the passphrase from descriptor N").range(0, 1 << 20);
  make_key.examples("mlencrypt keygen -o key.txt\nmlencrypt keygen --signing -o sign.key >sign.pub");

  cli::Command& show = app.command("inspect", "say for whom a file is sealed, without opening it");
  std::string sealed = "-";
  bool json = false;
  show.positional(sealed, "FILE", "sealed file (default: stdin)").file().optional();
  show.flag("--json", json, "machine-readable output");
  show.examples("mlencrypt inspect m.mlpackage.age\nmlencrypt inspect --json < m.mlmodel.age");

  cli::Command& again = app.command("rewrap", "seal for other recipients, without touching the content");
  Options rewrapped;
  again.positional(rewrapped.input, "IN", "sealed file (default: stdin)").file();
  cli::add_seal_options(again, rewrapped.to, false);
  again.flag("-p,--passphrase", rewrapped.passphrase, "seal with a passphrase");
  again.flag("-a,--armor", rewrapped.armor, "write text (PEM) instead of binary");
  again.option("-o,--output", rewrapped.output, "OUT", "write to OUT (default: stdout)").file();
  cli::add_key_options(again, rewrapped.keys);
  again.examples("mlencrypt rewrap -i old.txt -r age1... -o m2.age m.age");

  cli::Command& make_signature = app.command("sign", "sign a file or a model package");
  SignOptions signing;
  make_signature.positional(signing.input, "IN", "file or model directory; '-' is stdin").file();
  make_signature.option("-k,--key", signing.key, "SECRET_KEY", "signing key, made by keygen --signing or minisign").file().required();
  make_signature.option("-c,--comment", signing.comment, "COMMENT", "a line of text that is signed too");
  make_signature.option("-o,--output", signing.signature, "SIGNATURE", "write to SIGNATURE (default: IN.minisig)").file();
  make_signature.option("--passphrase-fd", signing.keys.passphrase_fd, "N", "read the passphrase from descriptor N").range(0, 1 << 20);
  make_signature.examples("mlencrypt sign -k sign.key m.mlpackage");

  cli::Command& check = app.command("verify", "check the signature of a file or a model package");
  SignOptions checking;
  check.positional(checking.input, "IN", "file or model directory; '-' is stdin").file();
  check.option("-k,--key", checking.key, "PUBLIC_KEY", "public key, or a file of it").file().required();
  check.option("-s,--signature", checking.signature, "SIGNATURE", "signature file (default: IN.minisig)").file();
  check.examples("mlencrypt verify -k sign.pub m.mlpackage");

  return app.run(argc, argv, [&]() -> Result<int> {
    if (check.chosen()) return verify(checking);
    if (make_key.chosen()) MLT_TRY(keygen(generated));
    else if (show.chosen()) MLT_TRY(inspect(sealed, json));
    else if (again.chosen()) MLT_TRY(rewrap(rewrapped));
    else if (make_signature.chosen()) MLT_TRY(sign(signing));
    else MLT_TRY(o.open ? open(o) : seal(o));
    return 0;
  });
}
