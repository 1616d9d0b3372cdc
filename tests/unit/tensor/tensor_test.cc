#include "lib/tensor/tensor.h"

#include <doctest/doctest.h>

#include <limits>

#include "lib/tensor/npy.h"

using namespace mlt;

TEST_CASE("names and widths of element types agree both ways") {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    auto dtype = static_cast<DType>(i);
    CHECK(dtype_from_name(dtype_name(dtype)) == dtype);
  }
  CHECK(dtype_bits(DType::kU3) == 3);
  CHECK(dtype_name(DType::kF16) == "fp16");
  CHECK_FALSE(dtype_from_name("float17"));
}

TEST_CASE("sub-byte packing follows the worked vectors of blob storage version 2") {
  auto hex = [](const Bytes& bytes) {
    std::string text;
    for (std::byte b : bytes) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02X", std::to_integer<unsigned>(b));
      text += digits;
    }
    return text;
  };
  CHECK(hex(pack_bits(DType::kU3, std::vector<uint8_t>{1, 2, 3, 4, 5})) == "D158");
  CHECK(hex(pack_bits(DType::kU4, std::vector<uint8_t>{1, 2, 3})) == "2103");
  CHECK(hex(pack_bits(DType::kI4, std::vector<uint8_t>{0xff, 7})) == "7F");
  CHECK(hex(pack_bits(DType::kU6, std::vector<uint8_t>{63, 1, 2})) == "7F2000");
  for (DType dtype : {DType::kU1, DType::kU2, DType::kU3, DType::kU4, DType::kU6}) {
    std::vector<uint8_t> values;
    for (int i = 0; i < 37; ++i) values.push_back(static_cast<uint8_t>((i * 29 + 5) & ((1 << dtype_bits(dtype)) - 1)));
    CHECK(unpack_bits(dtype, pack_bits(dtype, values), 37) == values);
  }
}

TEST_CASE("conversion rules") {
  Tensor f = Tensor::from<float>({4}, {1.9f, -1.9f, 300.0f, std::numeric_limits<float>::quiet_NaN()});
  CHECK(to_ints(convert(f, DType::kI8)) == std::vector<int64_t>{1, -1, 127, 0});
  CHECK(to_ints(convert(f, DType::kU8)) == std::vector<int64_t>{1, 0, 255, 0});
  CHECK(to_ints(convert(Tensor::from<int32_t>({2}, {257, -1}), DType::kU8)) == std::vector<int64_t>{1, 255});
  CHECK(to_ints(convert(Tensor::from<int32_t>({3}, {-8, 7, -1}), DType::kI4)) == std::vector<int64_t>{-8, 7, -1});
  CHECK(to_floats(convert(Tensor::from<float>({1}, {1.0f / 3}), DType::kF16))[0] == doctest::Approx(0.333251953125).epsilon(1e-12));
  CHECK(to_floats(convert(Tensor::from<float>({2}, {448.0f, 0.3f}), DType::kF8E4M3FN)) == std::vector<float>{448.0f, 0.3125f});
}

TEST_CASE("hostile shapes are refused") {
  CHECK_FALSE(element_count({1 << 30, 1 << 30}).ok());
  CHECK_FALSE(element_count({-1}).ok());
  CHECK(*element_count({}) == 1);
  CHECK(*element_count({0, 5}) == 0);
  CHECK_FALSE(Tensor::from_blob(DType::kF32, {3}, Blob(Bytes(11))).ok());
}

TEST_CASE("npy round trip") {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kI32, DType::kU8, DType::kBool, DType::kI64}) {
    Tensor t = convert(Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5}), dtype);
    auto file = write_npy(t);
    REQUIRE(file.ok());
    CHECK(file->size() % 64 == static_cast<size_t>(t.nbytes()) % 64);
    auto back = read_npy(Blob(*file));
    REQUIRE(back.ok());
    CHECK(same_bytes(*back, t));
    for (size_t cut = 0; cut < file->size(); cut += 7) CHECK_FALSE(read_npy(Blob(Bytes(file->begin(), file->begin() + static_cast<long>(cut)))).ok());
  }
  Tensor names = Tensor::of_strings({2}, {"caf\xc3\xa9", "x"});
  CHECK(same_bytes(*read_npy(Blob(*write_npy(names))), names));
  Tensor scalar = Tensor::scalar(2.5f);
  CHECK(same_bytes(*read_npy(Blob(*write_npy(scalar))), scalar));
}
