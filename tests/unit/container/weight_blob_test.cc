#include "lib/container/weight_blob.h"

#include <doctest/doctest.h>

#include "lib/tensor/tensor.h"
#include "tests/unit/container/damage.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using test::same;

Bytes bytes_of(std::initializer_list<int> values) {
  Bytes out;
  for (int value : values) out.push_back(static_cast<std::byte>(value));
  return out;
}

Blob sample() {
  auto writer = *BlobWriter::create_temporary();
  CHECK(*writer->add(DType::kF16, 2, bytes_of({1, 2, 3, 4})) == 64);
  CHECK(*writer->add(DType::kU3, 5, bytes_of({0xD1, 0x58})) == 192);
  CHECK(*writer->add(DType::kI8, 3, bytes_of({7, 8, 9})) == 320);
  return *writer->finish();
}

TEST_CASE("layout of version 2, byte by byte") {
  Blob file = sample();
  REQUIRE(file.size() == 384 + 3);  // nothing pads the end
  auto u32 = [&](size_t at) {
    uint32_t value;
    std::memcpy(&value, file.bytes().data() + at, 4);
    return value;
  };
  CHECK(u32(0) == 3);
  CHECK(u32(4) == 2);
  CHECK(u32(64) == 0xDEADBEEF);
  CHECK(u32(68) == 1);
  CHECK(u32(72) == 4);
  CHECK(u32(80) == 128);
  CHECK(same(file.sub(128, 4).bytes(), bytes_of({1, 2, 3, 4})));
  CHECK(u32(196) == 12);  // uint3
  CHECK(u32(200) == 2);
  CHECK(u32(208) == 256);
  CHECK(u32(216) == 1);  // padding bits
}

TEST_CASE("records are read back") {
  BlobFile file = *BlobFile::open(sample());
  CHECK(file.count() == 3);
  auto records = *file.records();
  REQUIRE(records.size() == 3);
  CHECK(records[1].record_offset == 192);
  CHECK(records[1].elements == 5);
  WeightBlob blob = *file.read(192);
  CHECK(blob.dtype == DType::kU3);
  CHECK(unpack_bits(DType::kU3, blob.data.bytes(), 5) == std::vector<uint8_t>{1, 2, 3, 4, 5});
  CHECK(file.read(320)->elements == 3);
  for (uint64_t offset : {uint64_t{0}, uint64_t{32}, uint64_t{65}, uint64_t{128}, uint64_t{384}, uint64_t{1} << 40, ~uint64_t{0} - 63}) {
    auto bad = file.read(offset);
    REQUIRE_FALSE(bad.ok());
    CHECK(bad.error().code == Code::kInput);
  }
}

TEST_CASE("equal blobs are stored once, unequal types not") {
  auto writer = *BlobWriter::create_temporary();
  Bytes data(1000, std::byte{5});
  uint64_t first = *writer->add(DType::kI8, 1000, data);
  CHECK(*writer->add(DType::kI8, 1000, data) == first);
  CHECK(*writer->add(DType::kU8, 1000, data) != first);
  data[999] = std::byte{6};
  CHECK(*writer->add(DType::kI8, 1000, data) != first);
  CHECK(writer->count() == 3);
  auto plain = *BlobWriter::create_temporary(false);
  CHECK(*plain->add(DType::kI8, 1000, data) != *plain->add(DType::kI8, 1000, data));
}

TEST_CASE("wrong sizes and types are refused") {
  auto writer = *BlobWriter::create_temporary();
  CHECK_FALSE(writer->add(DType::kF32, 2, Bytes(7)).ok());
  CHECK_FALSE(writer->add(DType::kI64, 1, Bytes(8)).ok());
  CHECK_FALSE(writer->add(DType::kF32, ~uint64_t{0}, Bytes(4)).ok());
  CHECK(writer->add(DType::kF32, 0, {}).ok());
  REQUIRE(writer->finish().ok());
  CHECK_FALSE(writer->add(DType::kF32, 1, Bytes(4)).ok());
}

TEST_CASE("old files may hold anything in the padding field of whole-byte types") {
  Blob file = sample();
  Bytes bytes(file.bytes().begin(), file.bytes().end());
  bytes[64 + 24] = std::byte{0x77};
  CHECK(BlobFile::open(Blob(bytes))->read(64)->elements == 2);
  bytes[192 + 24] = std::byte{2};  // not divisible by 3 bits
  CHECK_FALSE(BlobFile::open(Blob(bytes))->read(192).ok());
}

TEST_CASE("damaged weight files") {
  Blob file = sample();
  test::for_each_damage(file.bytes(), [](const Blob& blob) {
    auto opened = BlobFile::open(blob);
    if (!opened.ok()) return;
    (void)opened->records();
    for (uint64_t offset : {64, 192, 320}) (void)opened->read(offset);
  });
  auto pointer = BlobFile::open(test::text_blob("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"));
  REQUIRE_FALSE(pointer.ok());
  CHECK(pointer.error().message.find("LFS") != std::string::npos);
}

TEST_CASE("weight paths stay in the model's directory") {
  CHECK(*resolve_weight_path("@model_path/weights/weight.bin") == "weights/weight.bin");
  CHECK(*resolve_weight_path("weights/0-weight.bin") == "weights/0-weight.bin");
  for (const char* bad : {"@model_path/../x", "/etc/passwd", "", "@model_path/", "a/../../b", "a\\b"})
    CHECK_FALSE(resolve_weight_path(bad).ok());
}

TEST_CASE("weights of a tree") {
  TreeWeights weights(FileTree::from_blobs({{"weights/weight.bin", sample()}}));
  CHECK(weights.read("@model_path/weights/weight.bin", 64)->elements == 2);
  auto missing = weights.read("@model_path/weights/other.bin", 64);
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().code == Code::kInput);
}

TEST_CASE("espresso weights") {
  ByteWriter out;
  out.write<uint64_t>(2);
  for (uint64_t value : {0, 24, 1, 4}) out.write(value);
  out.append(Bytes(24));
  out.write<uint32_t>(0x12345678);
  EspressoWeights weights = *EspressoWeights::open(Blob(out.data()));
  CHECK(weights.count() == 2);
  CHECK(weights.read(1)->size() == 4);
  CHECK_FALSE(weights.read(2).ok());
  test::for_each_damage(out.data(), [](const Blob& blob) { (void)EspressoWeights::open(blob); });
}

TEST_CASE("weight files of the corpus") {
  for (const std::string& path : test::corpus_files("mlpackage", ".mlpackage")) {
    std::string file = path + "/Data/com.apple.CoreML/weights/weight.bin";
    if (path_kind(file) != PathKind::kFile) continue;
    CAPTURE(path);
    Blob blob = *map_file(file);
    auto records = BlobFile::open(blob)->records();
    REQUIRE(records.ok());
    CHECK(records->back().data_offset + records->back().bytes == blob.size());
    // Written again from its records, the file is the same.
    auto writer = *BlobWriter::create_temporary(false);
    for (const BlobRecord& record : *records)
      CHECK(*writer->add(record.dtype, record.elements, blob.sub(record.data_offset, record.bytes).bytes()) == record.record_offset);
    CHECK(writer->finish()->size() == blob.size());
  }
  for (const std::string& path : test::corpus_files("mlmodelc", ".mlmodelc")) {
    if (path_kind(path + "/model.espresso.weights") != PathKind::kFile) continue;
    CAPTURE(path);
    auto weights = EspressoWeights::open(*map_file(path + "/model.espresso.weights"));
    REQUIRE(weights.ok());
    CHECK(weights->count() > 0);
  }
}

}  // namespace
