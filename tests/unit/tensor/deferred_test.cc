#include "lib/tensor/deferred.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "lib/base/mapped.h"

using namespace mlt;

namespace {

// `count` floats k % 251 - 125 in a file, one byte off their alignment.
Tensor from_file(Dims dims, size_t shift = 1) {
  int64_t count = *element_count(dims);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) - 125;
  std::string path = std::filesystem::temp_directory_path() / ("mlt_deferred_test." + std::to_string(::getpid()));
  Bytes bytes(values.size() * 4 + shift);
  std::memcpy(bytes.data() + shift, values.data(), values.size() * 4);
  REQUIRE(write_file(path, bytes).ok());
  Blob file = *map_file(path);
  std::filesystem::remove(path);
  return *tensor_of_file(DType::kF32, dims, file.sub(shift, values.size() * 4));
}

}  // namespace

TEST_CASE("deferred: a mapped file's unaligned elements are used where they lie, and whole when asked for") {
  Tensor t = from_file({300, 200});
  REQUIRE(t.deferred() != nullptr);
  CHECK(t.valid());
  CHECK(waits_in_file(t));
  float two[2];
  read_elements(t, 251, 253, reinterpret_cast<std::byte*>(two));
  CHECK(two[0] == -125);
  CHECK(two[1] == -124);
  t.deferred()->release();
  CHECK(t.data<float>()[252] == -124);  // pages come back
  CHECK(t.reshaped({60000}).data<float>()[251] == -125);
  CHECK(t.clone().data<float>()[1] == -124);
  // Small ones are copied, aligned ones mapped.
  CHECK(from_file({10, 10}).deferred() == nullptr);
  Tensor aligned = from_file({300, 200}, 4);
  CHECK(aligned.deferred() == nullptr);
  CHECK(waits_in_file(aligned));
  CHECK(same_bytes(aligned, t));
}

TEST_CASE("deferred: a blob of another size is refused as by from_blob") {
  Tensor t = from_file({300, 200});
  CHECK_FALSE(tensor_of_file(DType::kF32, {300, 201}, Blob(std::make_shared<Tensor>(t), {t.deferred()->stored(), 240000})).ok());
}

TEST_CASE("deferred: a transposed matrix, whole rows and parts of them, from both kinds of source") {
  for (size_t shift : {size_t{1}, size_t{4}}) {
    Tensor t = from_file({301, 203}, shift), turned = transposed_matrix(t);
    REQUIRE(turned.deferred() != nullptr);
    CHECK(turned.dims() == Dims{203, 301});
    std::vector<float> part(700);
    read_elements(turned, 150, 850, reinterpret_cast<std::byte*>(part.data()));
    const float *in = t.data<float>(), *out = turned.data<float>();
    bool equal = true;
    for (int64_t r = 0; r < 301; ++r)
      for (int64_t c = 0; c < 203; ++c) equal = equal && in[r * 203 + c] == out[c * 301 + r];
    CHECK(equal);
    CHECK(std::memcmp(part.data(), out + 150, 2800) == 0);
    CHECK(same_bytes(transposed_matrix(turned), t));
  }
  Tensor small = transposed_matrix(Tensor::from<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  CHECK(small.deferred() == nullptr);
  CHECK(to_floats(small) == std::vector<float>{1, 4, 2, 5, 3, 6});
}

TEST_CASE("deferred: half-precision elements widen when they are used") {
  Tensor t = from_file({100, 700});
  // The same bytes taken for float16, where they lie.
  Tensor half = *tensor_of_file(DType::kF16, {100, 1400}, t.deferred() ? Blob(std::make_shared<Tensor>(t), {t.deferred()->stored(), 280000}) : Blob());
  REQUIRE(half.deferred() != nullptr);
  Tensor wide = widened(half);
  REQUIRE(wide.deferred() != nullptr);
  CHECK(same_bytes(wide, convert(half.clone(), DType::kF32)));
  REQUIRE(wide.deferred()->exact_source());
  CHECK(same_bytes(*wide.deferred()->exact_source(), half));
}

TEST_CASE("deferred: equal elements have equal fingerprints, and different ones are told apart by their bytes") {
  Tensor t = from_file({300, 200}), aligned = from_file({300, 200}, 4), copy = t.clone();
  CHECK(fingerprint(t) == fingerprint(aligned));
  CHECK(fingerprint(t) == fingerprint(copy));
  CHECK(fingerprint(t) == fingerprint(DType::kF32, copy.bytes()));
  CHECK(same_bytes(t, copy));
  copy.mutable_data<float>()[31111] = 7;
  CHECK_FALSE(same_bytes(t, copy));
  copy.mutable_data<float>()[0] = 7;
  CHECK(fingerprint(t) != fingerprint(copy));
  Tensor small = Tensor::from<float>({3}, std::vector<float>{1, 2, 3}), other = Tensor::from<float>({3}, std::vector<float>{1, 2, 4});
  CHECK(fingerprint(small) != fingerprint(other));
}
