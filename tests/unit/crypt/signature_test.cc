#include "lib/crypt/signature.h"

#include <doctest/doctest.h>

using namespace mlt;
using namespace mlt::crypt;

namespace {

// A key, and signatures of "a model\n" in both of its forms, made with minisign 0.11.
constexpr const char* kPublic = R"(untrusted comment: minisign public key 69A3F1E74ADFFF7F
RWR//99K5/GjaXpW4hAz+VTk175AzeATjHEyUOU5nxMZL+q7YV5KT11W
)";
constexpr const char* kSecret = R"(untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAf//fSufxo2k06sbMduPlvAPXMLBOa+gcyv1EDAf6hfMpbOjVkG5Re3pW4hAz+VTk175AzeATjHEyUOU5nxMZL+q7YV5KT11WAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
)";
constexpr const char* kHashed = R"(untrusted comment: signature from minisign secret key
RUR//99K5/GjaW6SumwsxasBHWMzUK7/IpAl0atJSxxVQwF8hYhYmCBow3gIRVY2JtJnROBoC+6FUW64GeOvXK8B2ngI0Tn5dAg=
trusted comment: made by minisign
DxCMNpHIZUIAJ7d8hcIO9x0YLzxpWN/+hUEFn5iJDZRi4uymuNUUDdki+L/4zbZqEf6pLW9m71IwgNw8lUt0Cg==
)";
constexpr const char* kPlain = R"(untrusted comment: signature from minisign secret key
RWR//99K5/GjaV9U5IWgNEettHgxKDdde0QiZbrc6NXr0kai19IA9reeVmrzaT8IhScZCOkEjp1zrfB7ndGmbejLYVIsLrosxg8=
trusted comment: made by minisign
AQuH18pIPoGuim5gKu6JVK2DT6PthwLY2dlKKRMUieBPCiP8PMuXCkr8pfj/LInia777kk96oLm1UQEkl4WVBA==
)";

Blob text(const char* content) {
  ByteSpan bytes = as_bytes(content);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

Verdict check(const char* content, std::string_view signature, const VerifyKey& key) {
  auto verdict = verify(*blob_source(text(content)), signature, key);
  REQUIRE(verdict.ok());
  return *verdict;
}

Result<SecretText> nobody_asks() { return make_error(Code::kKey, "asked"); }

}  // namespace

TEST_CASE("signatures that minisign made") {
  auto key = VerifyKey::parse(kPublic);
  REQUIRE(key.ok());
  CHECK(key->file() == kPublic);
  REQUIRE(VerifyKey::parse(key->text()).ok());
  for (const char* signature : {kHashed, kPlain}) {
    Verdict verdict = check("a model\n", signature, *key);
    CHECK(verdict.authentic);
    CHECK(verdict.trusted_comment == "made by minisign");
    CHECK_FALSE(check("a modem\n", signature, *key).authentic);
    CHECK_FALSE(check("", signature, *key).authentic);
    std::string changed = signature;
    changed.replace(changed.find("made by"), 7, "Made by");
    CHECK(check("a model\n", changed, *key).reason == "the trusted comment was changed");
  }
  CHECK_FALSE(check("a model\n", kHashed, SignKey::generate().verify_key).authentic);
}

TEST_CASE("our signatures") {
  auto key = SignKey::parse(kSecret, nobody_asks);
  REQUIRE(key.ok());
  CHECK(key->verify_key.file() == kPublic);
  // Ed25519 is deterministic: the same file and comment give minisign's own bytes after the first line.
  auto signature = sign(*blob_source(text("a model\n")), *key, "made by minisign");
  REQUIRE(signature.ok());
  CHECK(signature->substr(signature->find('\n')) == std::string_view(kHashed).substr(std::string_view(kHashed).find('\n')));
  CHECK(sign(*blob_source(text("x")), *key, "two\nlines").error().code == Code::kUsage);
  // Every byte of a signature counts.
  for (size_t at = signature->find('\n') + 1; at < signature->size() - 1; ++at) {
    std::string changed = *signature;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    auto verdict = verify(*blob_source(text("a model\n")), changed, key->verify_key);
    CHECK((!verdict.ok() || !verdict->authentic));
  }
}

TEST_CASE("signing keys protected by a passphrase") {
  SignKey key = SignKey::generate();
  auto file = key.file(SecretText("correct horse"), 1 << 16, 1 << 21);  // cheap, for this test
  REQUIRE(file.ok());
  auto right = SignKey::parse(file->view(), []() -> Result<SecretText> { return SecretText("correct horse"); });
  REQUIRE(right.ok());
  CHECK(right->verify_key.text() == key.verify_key.text());
  CHECK(SignKey::parse(file->view(), []() -> Result<SecretText> { return SecretText("wrong"); }).error().code == Code::kKey);
  CHECK(SignKey::parse(file->view(), nobody_asks).error().message == "asked");
  auto open_file = key.file({});
  REQUIRE(open_file.ok());
  CHECK(SignKey::parse(open_file->view(), nobody_asks).ok());
  CHECK(SignKey::parse(key.verify_key.file(), nobody_asks).error().code == Code::kKey);
  CHECK(SignKey::parse("", nobody_asks).error().code == Code::kKey);
}
