#include "lib/crypt/age.h"

#include <algorithm>
#include <optional>

#include "lib/crypt/armor.h"
#include "lib/crypt/stream.h"

namespace mlt::crypt {
namespace {

bool looks_armored(std::string_view head) {
  size_t start = head.find_first_not_of(" \t\r\n\v\f");
  return start != head.npos && start <= kArmorSlack && head.substr(start).starts_with("-----BEGIN AGE ");
}

Result<FileKey> unlock(const Header& header, const std::vector<Identity>& identities) {
  bool has_passphrase =
      std::any_of(identities.begin(), identities.end(), [](auto& i) { return i.is_passphrase(); });
  for (const Identity& identity : identities) {
    MLT_ASSIGN(std::optional<FileKey> file_key, identity.unwrap(header.stanzas));
    if (!file_key) continue;
    if (!mac_matches(header, *file_key))
      return make_error(Code::kKey, "header was changed or is damaged: its MAC is wrong");
    return *file_key;
  }
  if (header.stanzas[0].arguments[0] == "scrypt" && !has_passphrase)
    return make_error(Code::kKey, "the file is sealed with a passphrase, and none was given");
  return make_error(Code::kKey, identities.empty() ? "the file is sealed, and no identity was given"
                                                   : "no identity matches any of the file's recipients");
}

// The stanzas that hand the file key to each recipient. kUsage when there is none, or a passphrase is not alone.
Result<std::vector<Stanza>> wrap_for(const std::vector<Recipient>& recipients, const FileKey& file_key) {
  if (recipients.empty()) return usage_error("no recipient to seal for");
  if (recipients.size() > 1 &&
      std::any_of(recipients.begin(), recipients.end(), [](auto& r) { return r.is_passphrase(); }))
    return usage_error("a passphrase cannot be combined with other recipients");
  std::vector<Stanza> stanzas;
  for (const Recipient& recipient : recipients) {
    MLT_ASSIGN(Stanza stanza, recipient.wrap(file_key));
    stanzas.push_back(std::move(stanza));
  }
  return stanzas;
}

}  // namespace

bool looks_sealed(ByteSpan head) {
  return as_text(head).starts_with("age-encryption.org/") || looks_armored(as_text(head));
}

Result<Sealer> Sealer::start(const std::vector<Recipient>& recipients, Form form, Sink sink) {
  MLT_TRY(init_primitives());
  auto file_key = random_secret<16>();
  MLT_ASSIGN(std::vector<Stanza> stanzas, wrap_for(recipients, file_key));
  Sealer sealer;
  if (form == Form::kArmored) {
    sealer.armor_ = std::make_unique<ArmorWriter>(std::move(sink));
    sink = [armor = sealer.armor_.get()](ByteSpan bytes) { return armor->write(bytes); };
  }
  MLT_TRY(sink(as_bytes(write_header(stanzas, file_key))));
  sealer.payload_ = std::make_unique<PayloadSealer>(file_key, std::move(sink));
  return sealer;
}

Status Sealer::finish() {
  MLT_TRY(payload_->finish());
  return armor_ ? armor_->finish() : Status{};
}

Status seal(Source& plain, const std::vector<Recipient>& recipients, Form form, const Sink& sink) {
  MLT_ASSIGN(Sealer sealer, Sealer::start(recipients, form, sink));
  Bytes buffer(1 << 18);
  for (;;) {
    MLT_ASSIGN(size_t n, plain.read(buffer));
    if (n == 0) return sealer.finish();
    MLT_TRY(sealer.write(ByteSpan(buffer).first(n)));
  }
}

Result<Opener> Opener::start(std::unique_ptr<Source> sealed) {
  MLT_TRY(init_primitives());
  Opener opener;
  auto raw = std::make_unique<Buffered>(std::move(sealed));
  MLT_ASSIGN(ByteSpan head, raw->peek(kSniffSize));
  if (looks_armored(as_text(head))) {
    opener.form_ = Form::kArmored;
    opener.in_ = std::make_unique<Buffered>(armor_source(std::move(raw)));
  } else {
    opener.in_ = std::move(raw);
  }
  MLT_ASSIGN(opener.header_, read_header(*opener.in_));
  // A passphrase promises that whoever knows it made the file; another recipient beside it would break that.
  const auto& stanzas = opener.header_.stanzas;
  if (stanzas.size() > 1 && std::any_of(stanzas.begin(), stanzas.end(),
                                        [](auto& stanza) { return stanza.arguments[0] == "scrypt"; }))
    return input_error("a passphrase is combined with other recipients");
  return opener;
}

bool Opener::needs_passphrase() const { return header_.stanzas[0].arguments[0] == "scrypt"; }

Status Opener::open(const std::vector<Identity>& identities, const Sink& sink) {
  MLT_ASSIGN(FileKey file_key, unlock(header_, identities));
  return open_payload(file_key, *in_, sink);
}

Status Opener::rewrap(const std::vector<Identity>& identities, const std::vector<Recipient>& recipients, Form form,
                      const Sink& sink) {
  MLT_ASSIGN(FileKey file_key, unlock(header_, identities));
  MLT_ASSIGN(std::vector<Stanza> stanzas, wrap_for(recipients, file_key));
  std::optional<ArmorWriter> armor;
  if (form == Form::kArmored) armor.emplace(sink);
  auto write = [&](ByteSpan bytes) { return armor ? armor->write(bytes) : sink(bytes); };
  MLT_TRY(write(as_bytes(write_header(stanzas, file_key))));
  Bytes buffer(1 << 18);
  for (;;) {
    MLT_ASSIGN(size_t n, in_->read(buffer));
    if (n == 0) break;
    MLT_TRY(write(ByteSpan(buffer).first(n)));
  }
  return armor ? armor->finish() : Status{};
}

Result<uint64_t> Opener::payload_size() {
  Bytes buffer(1 << 16);
  uint64_t total = 0;
  for (;;) {
    MLT_ASSIGN(size_t n, in_->read(buffer));
    if (n == 0) return total;
    total += n;
  }
}

Result<bool> needs_passphrase(const Blob& sealed) {
  MLT_ASSIGN(Opener opener, Opener::start(blob_source(sealed)));
  return opener.needs_passphrase();
}

Result<Blob> open_bytes(const Blob& sealed, const std::vector<Identity>& identities) {
  MLT_ASSIGN(Opener opener, Opener::start(blob_source(sealed)));
  if (opener.form() == Form::kBinary) {
    MLT_ASSIGN(FileKey file_key, unlock(opener.header(), identities));
    return open_payload_bytes(file_key, sealed.bytes().subspan(opener.header().size));
  }
  Bytes content;
  content.reserve(sealed.size() / 4 * 3);
  MLT_TRY(opener.open(identities, [&](ByteSpan bytes) -> Status {
    content.insert(content.end(), bytes.begin(), bytes.end());
    return {};
  }));
  return Blob(std::move(content));
}

Result<std::shared_ptr<const RandomAccess>> open_random(const Blob& sealed, const std::vector<Identity>& identities) {
  MLT_ASSIGN(Opener opener, Opener::start(blob_source(sealed)));
  if (opener.form() == Form::kArmored) {
    MLT_ASSIGN(Blob content, open_bytes(sealed, identities));
    return random_access(std::move(content));
  }
  MLT_ASSIGN(FileKey file_key, unlock(opener.header(), identities));
  size_t header = opener.header().size;
  return open_payload_random(file_key, sealed.sub(header, sealed.size() - header));
}

}  // namespace mlt::crypt
