#include "lib/compress/linear.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/float16.h"

namespace {

using namespace mlt;
using namespace mlt::compress;

std::vector<int> signed_codes(const std::vector<uint8_t>& codes) {
  std::vector<int> out;
  for (uint8_t c : codes) out.push_back(static_cast<int8_t>(c));
  return out;
}

// Expected values: coremltools' optimize._utils.quantize_weight_by_dtype.
TEST_CASE("per tensor, four ways") {
  std::vector<float> values = {-1, -0.5f, 0, 0.25f, 3, 2};
  Dims dims = {2, 3};
  auto i8 = quantize_linear(values, dims, {});
  CHECK(signed_codes(i8.codes) == std::vector<int>{-42, -21, 0, 11, 127, 85});
  CHECK(i8.scale == std::vector<float>{6.0f / 254});
  CHECK_FALSE(i8.has_zero_point);
  CHECK(i8.zero_point == std::vector<uint8_t>{0});

  auto u8 = quantize_linear(values, dims, {.is_signed = false});
  CHECK(u8.codes == std::vector<uint8_t>{85, 106, 127, 138, 254, 212});
  CHECK(u8.zero_point == std::vector<uint8_t>{127});
  CHECK(u8.has_zero_point);

  auto affine = quantize_linear(values, dims, {.symmetric = false});
  CHECK(affine.scale == std::vector<float>{4.0f / 255});
  CHECK(signed_codes(affine.zero_point) == std::vector<int>{-64});
  CHECK(signed_codes(affine.codes) == std::vector<int>{-128, -96, -64, -48, 127, 63});

  auto unsigned_affine = quantize_linear(values, dims, {.is_signed = false, .symmetric = false});
  CHECK(unsigned_affine.zero_point == std::vector<uint8_t>{64});
  CHECK(unsigned_affine.codes == std::vector<uint8_t>{0, 32, 64, 80, 255, 191});
}

TEST_CASE("a scale for each slice, along any axis") {
  std::vector<float> values = {1, 20, 2, -40, -4, 10};
  auto rows = quantize_linear(values, {3, 2}, {.axis = 0});
  CHECK(rows.scale == std::vector<float>{40.0f / 254, 80.0f / 254, 20.0f / 254});
  auto columns = quantize_linear(values, {3, 2}, {.axis = 1});
  CHECK(columns.scale == std::vector<float>{8.0f / 254, 80.0f / 254});
  CHECK(signed_codes(columns.codes) == std::vector<int>{32, 64, 64, -127, -127, 32});
}

TEST_CASE("ranges that do not contain zero are widened to it") {
  std::vector<float> values = {1, 4};
  auto affine = quantize_linear(values, {2}, {.is_signed = false, .symmetric = false});
  CHECK(affine.zero_point == std::vector<uint8_t>{0});
  CHECK(affine.codes == std::vector<uint8_t>{64, 255});
}

TEST_CASE("an all-zero slice stays zero, with a scale that is not") {
  std::vector<float> values = {0, 0, 1, -1};
  for (bool is_signed : {false, true})
    for (bool symmetric : {false, true}) {
      auto q = quantize_linear(values, {2, 2}, {.is_signed = is_signed, .symmetric = symmetric, .axis = 0});
      CHECK(q.scale[0] == 1);
      CHECK(q.codes[0] == q.zero_point[0]);
      CHECK(q.codes[1] == q.zero_point[0]);
      CHECK(q.distance.max < 0.01);
    }
}

TEST_CASE("half precision: each step is rounded, and a scale never vanishes") {
  std::vector<float> values = {round_to_half(0.1f), round_to_half(-0.77f), round_to_half(0.3f)};
  auto q = quantize_linear(values, {3}, {.half = true});
  CHECK(q.scale[0] == round_to_half(round_to_half(2 * values[1] * -1) / 254));
  std::vector<float> tiny = {0x1p-24f, -0x1p-23f, 0};
  for (bool symmetric : {false, true}) {
    auto t = quantize_linear(tiny, {3}, {.symmetric = symmetric, .half = true});
    CHECK(t.scale[0] > 0);
    CHECK(t.distance.max == 0);
  }
  std::vector<float> huge = {65504, -65504, 1000};
  for (bool symmetric : {false, true}) {
    auto h = quantize_linear(huge, {3}, {.symmetric = symmetric, .half = true});
    CHECK(std::isfinite(h.scale[0]));
    CHECK(h.distance.max < 1100);
  }
}

// Expected values: coremltools' quantization_utils._quantize_channelwise_linear.
TEST_CASE("the form of neural networks") {
  std::vector<float> values = {-1, -0.5f, 0, 0.25f, 3, 2};
  auto symmetric = quantize_affine(values, {2, 3}, 0, true);
  CHECK(symmetric.scale == std::vector<float>{1.0f / 127, 3.0f / 127});
  CHECK(symmetric.bias[0] == -128 * symmetric.scale[0]);
  CHECK(symmetric.codes[0] == 1);
  CHECK(symmetric.codes[2] == 128);
  CHECK(symmetric.codes[4] == 255);
  auto affine = quantize_affine(values, {2, 3}, -1, false);
  CHECK(affine.scale == std::vector<float>{4.0f / 255});
  CHECK(affine.bias == std::vector<float>{-1});
  CHECK(affine.codes == std::vector<uint8_t>{0, 32, 64, 80, 255, 191});
  std::vector<float> flat = {2, 2, 0, 0};
  for (bool s : {false, true}) CHECK(quantize_affine(flat, {2, 2}, 0, s).distance.max < 1e-6);
}

}  // namespace
