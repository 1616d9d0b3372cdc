// The test vectors that age implementations share (C2SP CCTV, folder age/testdata). They are not part of this
// tree: MLT_CCTV_AGE names the folder; without it the test passes with a message. A vector is a few "key:
// value" lines, an empty line, and the file.
#include <doctest/doctest.h>
#include <sodium.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "lib/crypt/age.h"

using namespace mlt;
using namespace mlt::crypt;

namespace {

struct Vector {
  std::multimap<std::string, std::string> fields;
  Bytes file;
  std::string get(const std::string& key) const {
    auto it = fields.find(key);
    return it == fields.end() ? "" : it->second;
  }
};

Vector parse(std::string_view text) {
  Vector out;
  for (;;) {
    size_t end = text.find('\n');
    std::string line(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (line.empty()) break;
    size_t colon = line.find(": ");
    out.fields.emplace(line.substr(0, colon), line.substr(colon + 2));
  }
  ByteSpan rest = as_bytes(text);
  out.file.assign(rest.begin(), rest.end());
  return out;
}

std::string sha256_hex(ByteSpan bytes) {
  unsigned char digest[32];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  char hex[65];
  sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
  return hex;
}

// Our outcome in the vectors' words, and the content as far as it was authentic.
std::string outcome(const Vector& v, Bytes& content, std::string& message) {
  std::vector<Identity> identities;
  for (auto [it, end] = v.fields.equal_range("identity"); it != end; ++it) {
    auto identity = Identity::parse(it->second);
    if (!identity.ok()) return message = identity.error().message, "identity not supported";
    identities.push_back(std::move(*identity));
  }
  for (auto [it, end] = v.fields.equal_range("passphrase"); it != end; ++it)
    identities.push_back(Identity::passphrase(SecretText(it->second)));
  auto opener = Opener::start(blob_source(Blob(v.file)));
  auto classify = [&](const Error& error, const char* otherwise) -> std::string {
    message = error.to_string();
    if (error.to_string().starts_with("armor: ")) return "armor failure";
    if (error.message.find("its MAC") != std::string::npos) return "HMAC failure";
    bool payload_failed = false;  // exit status 6, too
    for (const char* words : {"authentication failed", "file ends early", "the last chunk is empty"}) payload_failed |= error.message.find(words) != std::string::npos;
    if (error.code == Code::kKey && !payload_failed) return "no match";
    return otherwise;
  };
  // What does not begin like armor is no armor to us, and then no age file at all.
  bool unrecognised = v.get("armored") == "yes" && !looks_sealed(v.file);
  if (!opener.ok()) return classify(opener.error(), unrecognised ? "armor failure" : "header failure");
  // A nonce cut short counts as part of the header there.
  auto counted = Opener::start(blob_source(Blob(v.file)))->payload_size();
  uint64_t payload_size = counted.ok() ? *counted : 0;
  bool payload = false;
  Status status = opener->open(identities, [&](ByteSpan bytes) -> Status {
    payload = true;
    content.insert(content.end(), bytes.begin(), bytes.end());
    return {};
  });
  if (status.ok()) return "success";
  bool from_payload = payload || status.error().message.find("authentication") == 0 ||
                      status.error().message.find("the last chunk") == 0 ||
                      (status.error().message.find("file ends") == 0 && payload_size >= 16);
  return classify(status.error(), from_payload ? "payload failure" : "header failure");
}

}  // namespace

TEST_CASE("shared test vectors of the age format") {
  const char* folder = std::getenv("MLT_CCTV_AGE");
  if (folder == nullptr) {
    std::puts("skipped: MLT_CCTV_AGE does not name the folder of the shared test vectors");
    return;
  }
  int passed = 0, unsupported = 0, failed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    auto bytes = map_file(entry.path());
    REQUIRE(bytes.ok());
    Vector v = parse(bytes->text());
    if (v.get("compressed") != "") {
      ++unsupported;
      std::printf("compressed vector: %s\n", entry.path().filename().c_str());
      continue;
    }
    Bytes content;
    std::string message;
    std::string got = outcome(v, content, message);
    if (got == "identity not supported") {
      ++unsupported;
      continue;
    }
    bool right = got == v.get("expect");
    // Of a damaged file we may hand out less than others do: a full chunk that more data follows is never
    // tried as last.
    if (right && got == "success") right = sha256_hex(content) == v.get("payload");
    (right ? passed : failed)++;
    CHECK_MESSAGE(right, entry.path().filename().string(), ": expected ", v.get("expect"), ", got ", got,
                  ": ", message);
  }
  std::printf("age vectors: %d passed, %d failed, %d of kinds that are not supported\n", passed, failed,
              unsupported);
  CHECK(passed > 80);
}
