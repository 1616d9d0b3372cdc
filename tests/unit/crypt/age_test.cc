#include "lib/crypt/age.h"

#include <doctest/doctest.h>

#include <random>

#include "lib/crypt/stream.h"

using namespace mlt;
using namespace mlt::crypt;

namespace {

constexpr int kQuick = 4;  // a scrypt work factor for tests

// Key pair and file of the specification's examples (https://age-encryption.org/v1).
constexpr const char* kSecret = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
constexpr const char* kPublic = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

Blob noise(size_t size) {
  std::mt19937 generator(static_cast<unsigned>(size));
  Bytes bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(generator());
  return Blob(std::move(bytes));
}

Bytes sealed(const Blob& content, const std::vector<Recipient>& recipients, Form form = Form::kBinary) {
  Bytes out;
  Status status = seal(*blob_source(content), recipients, form, [&](ByteSpan bytes) -> Status {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  });
  REQUIRE(status.ok());
  return out;
}

Result<Bytes> streamed(const Bytes& file, const std::vector<Identity>& identities) {
  Bytes out;
  MLT_ASSIGN(Opener opener, Opener::start(blob_source(Blob(file))));
  MLT_TRY(opener.open(identities, [&](ByteSpan bytes) -> Status {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return {};
  }));
  return out;
}

bool equal(ByteSpan a, ByteSpan b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

Recipient to_key() { return *Recipient::parse(kPublic); }
std::vector<Identity> with_key() { return {*Identity::parse(kSecret)}; }

}  // namespace

TEST_CASE("keys of the specification") {
  auto identity = Identity::parse(kSecret);
  REQUIRE(identity.ok());
  CHECK(identity->recipient() == kPublic);
  CHECK(identity->secret_text().view() == kSecret);
  Identity fresh = Identity::generate();
  auto back = Identity::parse(fresh.secret_text().view());
  REQUIRE(back.ok());
  CHECK(back->recipient() == fresh.recipient());
}

TEST_CASE("keys that are not keys") {
  auto code = [](std::string_view text) { return Identity::parse(text).error().code; };
  CHECK(code("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEY") == Code::kKey);
  CHECK(code("age-secret-key-1gfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpq4egaex") == Code::kKey);
  CHECK(code(kPublic) == Code::kKey);
  CHECK(code("AGE-PLUGIN-YUBIKEY-1QQ") == Code::kUnsupported);
  CHECK(code("AGE-SECRET-KEY-PQ-1XX") == Code::kUnsupported);
  CHECK(Recipient::parse(kSecret).error().code == Code::kUsage);
  CHECK(Recipient::parse("age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwx").error().code ==
        Code::kUsage);
  CHECK(Recipient::parse("ssh-ed25519 AAAA").error().code == Code::kUsage);
  CHECK(Recipient::parse("ssh-rsa AAAA").error().code == Code::kUnsupported);
}

TEST_CASE("sealed content of every interesting size opens again") {
  for (size_t size : {size_t{0}, size_t{1}, kChunkSize - 1, kChunkSize, kChunkSize + 1, 2 * kChunkSize,
                      32 * kChunkSize - 1, 32 * kChunkSize, 32 * kChunkSize + 1, 70 * kChunkSize + 17}) {
    CAPTURE(size);
    Blob content = noise(size);
    for (Form form : {Form::kBinary, Form::kArmored}) {
      Bytes file = sealed(content, {to_key()}, form);
      CHECK(looks_sealed(file));
      auto whole = open_bytes(Blob(file), with_key());
      REQUIRE(whole.ok());
      CHECK(equal(whole->bytes(), content.bytes()));
      auto stream = streamed(file, with_key());
      REQUIRE(stream.ok());
      CHECK(equal(*stream, content.bytes()));
    }
    Bytes file = sealed(content, {to_key()});
    auto opener = Opener::start(blob_source(Blob(file)));
    CHECK(*content_size(*opener->payload_size()) == size);
  }
}

TEST_CASE("each recipient opens, others do not") {
  Identity first = Identity::generate(), second = Identity::generate(), third = Identity::generate();
  Blob content = noise(1000);
  Bytes file = sealed(content, {*Recipient::parse(first.recipient()), *Recipient::parse(second.recipient())});
  CHECK(open_bytes(Blob(file), {first}).ok());
  CHECK(open_bytes(Blob(file), {third, second}).ok());
  CHECK(open_bytes(Blob(file), {third}).error().code == Code::kKey);
  CHECK(open_bytes(Blob(file), {}).error().code == Code::kKey);
  CHECK(open_bytes(Blob(file), {Identity::passphrase(SecretText("x"))}).error().code == Code::kKey);
}

TEST_CASE("passphrases") {
  Blob content = noise(100);
  Bytes file = sealed(content, {Recipient::passphrase(SecretText("correct horse"), kQuick)});
  CHECK(*needs_passphrase(Blob(file)));
  auto right = open_bytes(Blob(file), {Identity::passphrase(SecretText("correct horse"))});
  REQUIRE(right.ok());
  CHECK(equal(right->bytes(), content.bytes()));
  CHECK(open_bytes(Blob(file), {Identity::passphrase(SecretText("wrong"))}).error().code == Code::kKey);
  CHECK(open_bytes(Blob(file), with_key()).error().code == Code::kKey);
  Status both = seal(*blob_source(content), {to_key(), Recipient::passphrase(SecretText("x"), kQuick)},
                     Form::kBinary, [](ByteSpan) -> Status { return {}; });
  CHECK(both.error().code == Code::kUsage);
}

TEST_CASE("two files of the same content share nothing after the version line") {
  Blob content = noise(5000);
  Bytes a = sealed(content, {to_key()}), b = sealed(content, {to_key()});
  REQUIRE(a.size() == b.size());
  size_t equal_bytes = 0;
  for (size_t i = 250; i < a.size(); ++i) equal_bytes += a[i] == b[i];
  CHECK(equal_bytes < 100);
}

TEST_CASE("every flipped bit and every truncation is noticed") {
  Blob content = noise(300);
  for (Form form : {Form::kBinary, Form::kArmored}) {
    Bytes file = sealed(content, {to_key()}, form);
    for (size_t at = 0; at < file.size(); ++at) {
      Bytes changed = file;
      changed[at] ^= std::byte{1};
      auto whole = open_bytes(Blob(changed), with_key());
      auto stream = streamed(changed, with_key());
      CHECK_MESSAGE((!whole.ok() && !stream.ok()), at);
      Bytes cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(at));
      // The last line feed of armor is white space after the block.
      bool harmless = form == Form::kArmored && at + 1 == file.size();
      CHECK_MESSAGE(open_bytes(Blob(cut), with_key()).ok() == harmless, at);
      CHECK_MESSAGE(streamed(cut, with_key()).ok() == harmless, at);
    }
  }
}

TEST_CASE("chunks cannot be dropped, doubled, swapped or appended") {
  Blob content = noise(3 * kChunkSize + 5);
  Bytes file = sealed(content, {to_key()});
  auto opener = Opener::start(blob_source(Blob(file)));
  size_t payload = opener->header().size + kPayloadNonceSize;
  auto part = [&](size_t begin, size_t end) {
    return Bytes(file.begin() + static_cast<ptrdiff_t>(begin), file.begin() + static_cast<ptrdiff_t>(end));
  };
  auto join = [](std::vector<Bytes> parts) {
    Bytes out;
    for (const Bytes& p : parts) out.insert(out.end(), p.begin(), p.end());
    return out;
  };
  Bytes head = part(0, payload);
  Bytes c0 = part(payload, payload + kSealedChunkSize);
  Bytes c1 = part(payload + kSealedChunkSize, payload + 2 * kSealedChunkSize);
  Bytes c2 = part(payload + 2 * kSealedChunkSize, payload + 3 * kSealedChunkSize);
  Bytes c3 = part(payload + 3 * kSealedChunkSize, file.size());
  REQUIRE(open_bytes(Blob(join({head, c0, c1, c2, c3})), with_key()).ok());
  for (const Bytes& bad :
       {join({head, c0, c1, c2}), join({head, c0, c2, c1, c3}), join({head, c0, c0, c1, c2, c3}),
        join({head, c1, c2, c3}), join({head, c0, c1, c2, c3, c3}), join({head}),
        join({head, c0, c1, c2, c3, Bytes(1)}), join({head, c3})}) {
    CHECK(open_bytes(Blob(bad), with_key()).error().code == Code::kKey);
    CHECK(streamed(bad, with_key()).error().code == Code::kKey);
  }
}

TEST_CASE("headers without end are refused in bounded memory") {
  std::string endless(kVersionLine);
  endless += "-> X25519 " + std::string(kMaxHeaderSize + 100, 'A');
  Bytes file(as_bytes(endless).begin(), as_bytes(endless).end());
  CHECK(open_bytes(Blob(file), with_key()).error().code == Code::kInput);
  std::string lines(kVersionLine);
  lines += "-> X25519 A\n";
  while (lines.size() < kMaxHeaderSize + 1000) lines += std::string(64, 'A') + "\n";
  Bytes many(as_bytes(lines).begin(), as_bytes(lines).end());
  CHECK(open_bytes(Blob(many), with_key()).error().code == Code::kInput);
}

TEST_CASE("identity files") {
  std::string text = "# created by hand\r\n\n" + std::string(kSecret) + "\r\n# public key\n" + kSecret;
  auto identities = parse_identities(text);
  REQUIRE(identities.ok());
  CHECK(identities->size() == 2);
  CHECK(parse_identities("# nothing\n").error().code == Code::kKey);
  auto bad = parse_identities("\nAGE-SECRET-KEY-1SECRETTEXT");
  CHECK(bad.error().code == Code::kKey);
  CHECK(bad.error().to_string().find("SECRETTEXT") == std::string::npos);
  CHECK(bad.error().to_string().find("line 2") != std::string::npos);
}

TEST_CASE("sniffing") {
  CHECK(looks_sealed(as_bytes("age-encryption.org/v1\n")));
  CHECK(looks_sealed(as_bytes("age-encryption.org/v2\n")));
  CHECK(looks_sealed(as_bytes(" \n\r\n-----BEGIN AGE ENCRYPTED FILE-----\n")));
  CHECK_FALSE(looks_sealed(as_bytes("")));
  CHECK_FALSE(looks_sealed(as_bytes("PK\x03\x04")));
  CHECK_FALSE(looks_sealed(as_bytes("-----BEGIN CERTIFICATE-----\n")));
}

TEST_CASE("a new header leaves the payload alone") {
  Blob content = noise(200'000);
  Identity other = Identity::generate();
  Bytes before = sealed(content, {to_key()});
  auto opener = Opener::start(blob_source(Blob(before)));
  REQUIRE(opener.ok());
  Bytes after;
  auto recipient = Recipient::parse(other.recipient());
  REQUIRE(recipient.ok());
  REQUIRE(opener->rewrap(with_key(), {*recipient}, Form::kBinary, [&](ByteSpan bytes) -> Status {
    after.insert(after.end(), bytes.begin(), bytes.end());
    return {};
  }).ok());
  constexpr size_t kPayload = 16 + 200'000 + 4 * kTagSize;
  CHECK(equal(ByteSpan(before).last(kPayload), ByteSpan(after).last(kPayload)));
  auto opened = streamed(after, {other});
  REQUIRE(opened.ok());
  CHECK(equal(*opened, content.bytes()));
  CHECK(streamed(after, with_key()).error().code == Code::kKey);
  auto again = Opener::start(blob_source(Blob(before)));
  REQUIRE(again.ok());
  CHECK(again->rewrap({other}, {*recipient}, Form::kBinary, [](ByteSpan) -> Status { return {}; }).error().code == Code::kKey);
}

TEST_CASE("parts of a sealed file") {
  for (size_t size : {size_t{0}, size_t{1}, kChunkSize - 1, kChunkSize, kChunkSize + 1, 3 * kChunkSize, 3 * kChunkSize + 17}) {
    CAPTURE(size);
    Blob content = noise(size);
    Bytes file = sealed(content, {to_key()});
    auto random = open_random(Blob(file), with_key());
    REQUIRE(random.ok());
    REQUIRE((*random)->size() == size);
    for (size_t offset : {size_t{0}, size_t{1}, kChunkSize - 1, kChunkSize, 2 * kChunkSize + 5, size}) {
      for (size_t length : {size_t{0}, size_t{1}, size_t{100}, kChunkSize, kChunkSize + 2}) {
        auto part = (*random)->read(offset, length);
        REQUIRE(part.ok() == (offset <= size && length <= size - offset));
        if (part.ok()) CHECK(equal(part->bytes(), content.bytes().subspan(offset, length)));
      }
    }
    // Cut at a chunk's end or beside it: noticed before anything is read.
    for (size_t cut = size == 0 ? 1 : kSealedChunkSize; cut < file.size() - 200; cut += kSealedChunkSize) {
      for (size_t beside : {cut - 1, cut, cut + 1}) {
        Bytes shorter(file.begin(), file.end() - static_cast<std::ptrdiff_t>(beside));
        auto refused = open_random(Blob(shorter), with_key());
        REQUIRE_FALSE(refused.ok());
        CHECK(refused.error().code == Code::kKey);
      }
    }
  }
  // A changed chunk is refused when it is read, and only then.
  Blob content = noise(4 * kChunkSize);
  Bytes file = sealed(content, {to_key()});
  file[file.size() - 3 * kSealedChunkSize - 5] ^= std::byte{1};
  auto random = open_random(Blob(file), with_key());
  REQUIRE(random.ok());
  CHECK((*random)->read(2 * kChunkSize, kChunkSize).ok());
  CHECK((*random)->read(10, 10).error().code == Code::kKey);
}

TEST_CASE("SSH keys") {
  // Made with ssh-keygen -t ed25519 for this test.
  constexpr const char* kSshPublic = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICWqaGVZSAHhEMK/Mdo4s2cqRfrYJDz5HFSvQIowdfyQ";
  constexpr const char* kSshSecret = R"(-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACAlqmhlWUgB4RDCvzHaOLNnKkX62CQ8+RxUr0CKMHX8kAAAAIhN23wCTdt8
AgAAAAtzc2gtZWQyNTUxOQAAACAlqmhlWUgB4RDCvzHaOLNnKkX62CQ8+RxUr0CKMHX8kA
AAAED8fqQw1Aa7HqG9QrKv6Pas0txNKaV6iNvBNhLiq5NM3CWqaGVZSAHhEMK/Mdo4s2cq
RfrYJDz5HFSvQIowdfyQAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
)";
  auto recipient = Recipient::parse(kSshPublic);
  REQUIRE(recipient.ok());
  auto identities = parse_identities(kSshSecret);
  REQUIRE(identities.ok());
  Blob content = noise(1000);
  Bytes file = sealed(content, {to_key(), *recipient});
  auto opened = streamed(file, *identities);
  REQUIRE(opened.ok());
  CHECK(equal(*opened, content.bytes()));
  CHECK(streamed(sealed(content, {to_key()}), *identities).error().code == Code::kKey);
  std::string damaged = kSshSecret;
  for (size_t at = 40; at + 40 < damaged.size(); at += 7) {
    std::string changed = damaged;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    auto parsed = parse_identities(changed);
    if (!parsed.ok()) CHECK((parsed.error().code == Code::kKey || parsed.error().code == Code::kUnsupported));
  }
  CHECK(parse_identities(damaged.substr(0, 100)).error().code == Code::kKey);
}
