#include "lib/cli/model_input.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "lib/cli/seal.h"

using namespace mlt;
namespace fs = std::filesystem;

namespace {

// Specification 1, no inputs, the identity model.
constexpr std::string_view kModel("\x08\x01\x12\x00\xa2\x38\x00", 7);

struct Scratch {
  std::string path;
  cli::KeyOptions keys;
  crypt::Identity identity = crypt::Identity::generate();

  Scratch() {
    std::string name = (fs::temp_directory_path() / "mlt-input-XXXXXX").string();
    path = ::mkdtemp(name.data());
    REQUIRE(write_file(*this / "key", as_bytes(identity.secret_text().view())).ok());
    fs::permissions(path + "/key", fs::perms::owner_read | fs::perms::owner_write);
    keys.identities = {*this / "key"};
  }
  ~Scratch() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }

  Bytes sealed(ByteSpan content, crypt::Form form) const {
    Bytes out;
    auto source = crypt::blob_source(Blob(Bytes(content.begin(), content.end())));
    REQUIRE(crypt::seal(*source, {*crypt::Recipient::parse(identity.recipient())}, form,
                        [&](ByteSpan bytes) -> Status {
                          out.insert(out.end(), bytes.begin(), bytes.end());
                          return {};
                        })
                .ok());
    return out;
  }
};

}  // namespace

TEST_CASE("a sealed model is the model") {
  Scratch dir;
  for (auto form : {crypt::Form::kBinary, crypt::Form::kArmored}) {
    REQUIRE(write_file(dir / "m.age", dir.sealed(as_bytes(kModel), form)).ok());
    auto model = cli::read_model(dir / "m.age", dir.keys);
    REQUIRE(model.ok());
    CHECK(model->kind == FileKind::kModel);
    CHECK(model->sealed);
    CHECK(model->name == "m");
    CHECK(cli::read_model(dir / "m.age", {}).error().code == Code::kKey);
  }
}

TEST_CASE("plain bytes come out of several layers") {
  Scratch dir;
  Bytes once = dir.sealed(as_bytes(kModel), crypt::Form::kBinary);
  Bytes twice = dir.sealed(once, crypt::Form::kArmored);
  REQUIRE(write_file(dir / "plain", as_bytes(kModel)).ok());
  REQUIRE(write_file(dir / "once", once).ok());
  REQUIRE(write_file(dir / "twice", twice).ok());
  for (const char* name : {"plain", "once", "twice"}) {
    auto bytes = cli::read_plain(dir / name, dir.keys);
    REQUIRE_MESSAGE(bytes.ok(), name);
    CHECK(bytes->text() == kModel);
  }
  Bytes deep = twice;
  for (int i = 0; i < 3; ++i) deep = dir.sealed(deep, crypt::Form::kBinary);
  REQUIRE(write_file(dir / "deep", deep).ok());
  CHECK(cli::read_plain(dir / "deep", dir.keys).error().code == Code::kInput);
}

TEST_CASE("keys are read when they are needed, not before") {
  Scratch dir;
  dir.keys.identities = {dir / "absent"};
  REQUIRE(write_file(dir / "plain", as_bytes(kModel)).ok());
  CHECK(cli::read_plain(dir / "plain", dir.keys).ok());
  REQUIRE(write_file(dir / "sealed", dir.sealed(as_bytes(kModel), crypt::Form::kBinary)).ok());
  auto refused = cli::read_plain(dir / "sealed", dir.keys);
  CHECK(refused.error().code == Code::kKey);
  CHECK(refused.error().to_string().find("absent") != std::string::npos);
}
