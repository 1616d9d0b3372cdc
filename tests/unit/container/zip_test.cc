#include "lib/container/zip.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "lib/container/crc32.h"
#include "tests/unit/container/damage.h"

namespace {

using namespace mlt;
using test::same;
using test::text_blob;

Bytes zip_of(const std::map<std::string, Blob>& files) {
  Bytes out;
  Status status = write_zip(FileTree::from_blobs(files), [&](ByteSpan bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
    return Status{};
  });
  REQUIRE(status.ok());
  return out;
}

Bytes sample() {
  return zip_of({{"Data/weights/weight.bin", Blob(Bytes(1000, std::byte{7}))},
                 {"Manifest.json", text_blob("{}")},
                 {"empty", Blob(Bytes{})}});
}

// Replaces every occurrence, so that local and central names stay equal.
Bytes renamed(Bytes bytes, std::string_view from, std::string_view to) {
  REQUIRE(from.size() == to.size());
  ByteSpan pattern = as_bytes(from), text = as_bytes(to);
  for (auto it = bytes.begin();;) {
    it = std::search(it, bytes.end(), pattern.begin(), pattern.end());
    if (it == bytes.end()) return bytes;
    std::copy(text.begin(), text.end(), it);
  }
}

// A file "a.txt" of 2,000 "x", deflated; made with another program.
Blob deflated() {
  static const unsigned char kBytes[] = {
#include "tests/unit/container/deflated_zip.inc"
  };
  ByteSpan bytes = std::as_bytes(std::span(kBytes));
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

TEST_CASE("what is written is read, in place and aligned") {
  Blob archive(sample());
  FileTree tree = *read_zip(archive, "m.zip");
  CHECK(*tree.names() == std::vector<std::string>{"Data/weights/weight.bin", "Manifest.json", "empty"});
  Blob weights = *tree.open("Data/weights/weight.bin");
  CHECK(same(weights.bytes(), Bytes(1000, std::byte{7})));
  // Not copied, and on a 64-byte boundary of the archive.
  CHECK(weights.bytes().data() >= archive.bytes().data());
  CHECK((weights.bytes().data() - archive.bytes().data()) % 64 == 0);
  CHECK(tree.open("Manifest.json")->text() == "{}");
  CHECK(tree.open("empty")->size() == 0);
  CHECK_FALSE(tree.open("other").ok());
  CHECK_FALSE(tree.open("../m.zip").ok());
  CHECK(tree.subtree("Data").has("weights/weight.bin"));
  CHECK(same(sample(), sample()));
}

TEST_CASE("compressed entries are unpacked, within limits") {
  FileTree tree = *read_zip(deflated(), "d.zip");
  CHECK(tree.open("a.txt")->text() == std::string(2000, 'x'));
  ZipLimits limits;
  limits.max_unpacked = 1999;
  CHECK(read_zip(deflated(), "d.zip", limits).error().code == Code::kResource);
  limits = {};
  limits.max_ratio = 10;
  CHECK(read_zip(deflated(), "d.zip", limits).error().code == Code::kResource);
  limits = {};
  limits.max_entries = 0;
  CHECK(read_zip(deflated(), "d.zip", limits).error().code == Code::kResource);
}

TEST_CASE("names that leave the archive are refused") {
  for (const char* bad : {"../escape.txt", "/absolute.txt", "a/../../b.txt", "a\\..\\..\\b.txt"}) {
    CAPTURE(bad);
    std::string good(std::string(bad).size(), 'n');
    auto tree = read_zip(Blob(renamed(zip_of({{good, text_blob("x")}}), good, bad)), "bad.zip");
    REQUIRE_FALSE(tree.ok());
    CHECK(tree.error().code == Code::kInput);
  }
  CHECK_FALSE(read_zip(Blob(renamed(zip_of({{"one", text_blob("1")}, {"two", text_blob("2")}}), "two", "one")), "twice.zip").ok());
  CHECK_FALSE(read_zip(Blob(renamed(zip_of({{"one", text_blob("1")}, {"two/x", text_blob("2")}}), "two/x", "one/x")), "both.zip").ok());
  CHECK_FALSE(write_zip(FileTree::from_blobs({{"../x", text_blob("1")}}), [](ByteSpan) { return Status{}; }).ok());
}

TEST_CASE("a changed byte is noticed") {
  Bytes bytes = sample();
  auto at = std::search_n(bytes.begin(), bytes.end(), 500, std::byte{7});
  *(at + 100) = std::byte{8};
  FileTree tree = *read_zip(Blob(bytes), "m.zip");
  CHECK_FALSE(tree.open("Data/weights/weight.bin").ok());
  CHECK(tree.open("Manifest.json").ok());
}

TEST_CASE("damaged archives") {
  auto visit = [](const Blob& blob) {
    auto tree = read_zip(blob, "damaged.zip");
    if (!tree.ok()) return;
    auto names = tree->names();
    if (!names.ok()) return;
    for (const std::string& name : *names) (void)tree->open(name);
  };
  test::for_each_damage(sample(), visit, 4096);
  test::for_each_damage(deflated().bytes(), visit);
}

TEST_CASE("a sink's failure ends the writing") {
  Status status = write_zip(FileTree::from_blobs({{"a", text_blob("1")}}), [](ByteSpan) { return Status(resource_error("full")); });
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kResource);
}

}  // namespace

TEST_CASE("checksums of every length and start are those of the definition") {
  auto by_bits = [](ByteSpan bytes) {
    uint32_t crc = 0xffffffff;
    for (std::byte b : bytes) {
      crc ^= static_cast<uint32_t>(b);
      for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
  };
  CHECK(crc32(as_bytes(std::string_view("123456789"))) == 0xcbf43926u);
  Bytes bytes;
  for (uint32_t i = 0, x = 1; i < 9000; ++i, x = x * 1664525 + 1013904223) bytes.push_back(static_cast<std::byte>(x >> 24));
  int wrong = 0;
  for (size_t size = 0; size < 600; ++size) wrong += crc32(ByteSpan(bytes).subspan(size % 17, size)) != by_bits(ByteSpan(bytes).subspan(size % 17, size));
  CHECK(wrong == 0);
  CHECK(crc32(bytes) == by_bits(bytes));
  Bytes zeros(1000);
  CHECK(crc32(zeros) == by_bits(zeros));
  // Longer than what is summed in one piece.
  Bytes large(size_t{5} << 20, std::byte{0xa5});
  CHECK(crc32(large) == by_bits(large));
}
