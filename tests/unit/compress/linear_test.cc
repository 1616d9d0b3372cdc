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

float largest_error(const LinearCodes& codes, const Grid& grid, const std::vector<float>& values) {
  std::vector<float> decoded(values.size());
  codes.decode(grid, 0, values.size(), decoded.data());
  float worst = 0;
  for (size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(decoded[i] - values[i]));
  return worst;
}

// Expected values: coremltools' optimize._utils.quantize_weight_by_dtype.
TEST_CASE("per tensor, four ways") {
  std::vector<float> values = {-1, -0.5f, 0, 0.25f, 3, 2};
  Dims dims = {2, 3};
  auto i8 = quantize_linear(values, Grid(dims, {}), {});
  CHECK(signed_codes(i8.codes) == std::vector<int>{-42, -21, 0, 11, 127, 85});
  CHECK(i8.scale == std::vector<float>{6.0f / 254});
  CHECK_FALSE(i8.has_zero_point);
  CHECK(i8.zero_point == std::vector<uint8_t>{0});

  auto u8 = quantize_linear(values, Grid(dims, {}), {.is_signed = false});
  CHECK(u8.codes == std::vector<uint8_t>{85, 106, 127, 138, 254, 212});
  CHECK(u8.zero_point == std::vector<uint8_t>{127});
  CHECK(u8.has_zero_point);

  auto affine = quantize_linear(values, Grid(dims, {}), {.symmetric = false});
  CHECK(affine.scale == std::vector<float>{4.0f / 255});
  CHECK(signed_codes(affine.zero_point) == std::vector<int>{-64});
  CHECK(signed_codes(affine.codes) == std::vector<int>{-128, -96, -64, -48, 127, 63});

  auto unsigned_affine = quantize_linear(values, Grid(dims, {}), {.is_signed = false, .symmetric = false});
  CHECK(unsigned_affine.zero_point == std::vector<uint8_t>{64});
  CHECK(unsigned_affine.codes == std::vector<uint8_t>{0, 32, 64, 80, 255, 191});
}

TEST_CASE("a scale for each slice, along any axis") {
  std::vector<float> values = {1, 20, 2, -40, -4, 10};
  auto rows = quantize_linear(values, Grid({3, 2}, {1, 0}), {});
  CHECK(rows.scale == std::vector<float>{40.0f / 254, 80.0f / 254, 20.0f / 254});
  auto columns = quantize_linear(values, Grid({3, 2}, {0, 1}), {});
  CHECK(columns.scale == std::vector<float>{8.0f / 254, 80.0f / 254});
  CHECK(signed_codes(columns.codes) == std::vector<int>{32, 64, 64, -127, -127, 32});
}

TEST_CASE("four bits, in blocks of two axes") {
  std::vector<float> values = {7, -3, 0, 2, /**/ 14, 0, -7, 3};
  Grid grid({2, 4}, {1, 2});
  auto q = quantize_linear(values, grid, {.bits = 4});
  CHECK(q.scale == std::vector<float>{1, 2.0f / 7, 2, 1});
  CHECK(signed_codes(q.codes) == std::vector<int>{7, -3, 0, 7, 7, 0, -7, 3});
  auto u = quantize_linear(values, grid, {.bits = 4, .is_signed = false});
  CHECK(u.zero_point == std::vector<uint8_t>{7, 7, 7, 7});
  CHECK(u.codes[0] == 14);
  auto affine = quantize_linear(values, Grid({2, 4}, {}), {.bits = 4, .is_signed = false, .symmetric = false});
  CHECK(affine.zero_point == std::vector<uint8_t>{5});
  CHECK(affine.codes[4] == 15);
}

TEST_CASE("grids: every element is in one block, found both ways") {
  struct Shape {
    Dims dims, blocks;
  };
  for (const Shape& shape : {Shape{{4, 6}, {1, 3}}, Shape{{4, 6}, {2, 0}}, Shape{{4, 6, 2}, {0, 2, 1}}, Shape{{4, 6, 2}, {0, 0, 0}}, Shape{{3, 4, 5}, {3, 2, 0}}, Shape{{1, 4}, {1, 1}}}) {
    Grid grid(shape.dims, shape.blocks);
    size_t total = 1;
    for (int64_t d : shape.dims) total *= static_cast<size_t>(d);
    std::vector<int64_t> owner(total, -1);
    for (int64_t b = 0; b < grid.count(); ++b) {
      int64_t count = 0;
      grid.runs(b, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
          CHECK(owner[i] == -1);
          owner[i] = b;
          ++count;
        }
      });
      CHECK(count == grid.block_size());
    }
    for (size_t first : {size_t{0}, size_t{1}, total / 2}) {
      size_t next = first;
      grid.stretches(first, total, [&](int64_t block, size_t begin, size_t end) {
        CHECK(begin == next);
        for (size_t i = begin; i < end; ++i) CHECK(owner[i] == block);
        next = end;
      });
      CHECK(next == total);
    }
  }
}

TEST_CASE("ranges that do not contain zero are widened to it") {
  std::vector<float> values = {1, 4};
  auto affine = quantize_linear(values, Grid({2}, {}), {.is_signed = false, .symmetric = false});
  CHECK(affine.zero_point == std::vector<uint8_t>{0});
  CHECK(affine.codes == std::vector<uint8_t>{64, 255});
}

TEST_CASE("an all-zero slice stays zero, with a scale that is not") {
  std::vector<float> values = {0, 0, 1, -1};
  for (bool is_signed : {false, true})
    for (bool symmetric : {false, true}) {
      auto q = quantize_linear(values, Grid({2, 2}, {1, 0}), {.is_signed = is_signed, .symmetric = symmetric});
      CHECK(q.scale[0] == 1);
      CHECK(q.codes[0] == q.zero_point[0]);
      CHECK(q.codes[1] == q.zero_point[0]);
      CHECK(largest_error(q, Grid({2, 2}, {1, 0}), values) < 0.01f);
    }
}

TEST_CASE("half precision: each step is rounded, and a scale never vanishes") {
  std::vector<float> values = {round_to_half(0.1f), round_to_half(-0.77f), round_to_half(0.3f)};
  auto q = quantize_linear(values, Grid({3}, {}), {.half = true});
  CHECK(q.scale[0] == round_to_half(round_to_half(2 * values[1] * -1) / 254));
  std::vector<float> tiny = {0x1p-24f, -0x1p-23f, 0};
  for (bool symmetric : {false, true}) {
    auto t = quantize_linear(tiny, Grid({3}, {}), {.symmetric = symmetric, .half = true});
    CHECK(t.scale[0] > 0);
    CHECK(largest_error(t, Grid({3}, {}), tiny) == 0);
  }
  std::vector<float> huge = {65504, -65504, 1000};
  for (bool symmetric : {false, true}) {
    auto h = quantize_linear(huge, Grid({3}, {}), {.symmetric = symmetric, .half = true});
    CHECK(std::isfinite(h.scale[0]));
    CHECK(largest_error(h, Grid({3}, {}), huge) < 1100);
  }
}

// Expected values: coremltools' quantization_utils._quantize_channelwise_linear.
TEST_CASE("the form of neural networks") {
  std::vector<float> values = {-1, -0.5f, 0, 0.25f, 3, 2};
  auto symmetric = quantize_affine(values, Grid({2, 3}, {1, 0}), 8, true);
  CHECK(symmetric.scale == std::vector<float>{1.0f / 127, 3.0f / 127});
  CHECK(symmetric.bias[0] == -128 * symmetric.scale[0]);
  CHECK(symmetric.codes[0] == 1);
  CHECK(symmetric.codes[2] == 128);
  CHECK(symmetric.codes[4] == 255);
  auto affine = quantize_affine(values, Grid({2, 3}, {}), 8, false);
  CHECK(affine.scale == std::vector<float>{4.0f / 255});
  CHECK(affine.bias == std::vector<float>{-1});
  CHECK(affine.codes == std::vector<uint8_t>{0, 32, 64, 80, 255, 191});
  std::vector<float> flat = {2, 2, 0, 0};
  for (bool s : {false, true}) {
    auto q = quantize_affine(flat, Grid({2, 2}, {1, 0}), 8, s);
    for (size_t i = 0; i < 4; ++i) CHECK(static_cast<float>(q.codes[i]) * q.scale[i / 2] + q.bias[i / 2] == doctest::Approx(flat[i]));
  }
  auto narrow = quantize_affine(values, Grid({2, 3}, {}), 2, false);
  CHECK(narrow.codes == std::vector<uint8_t>{0, 0, 1, 1, 3, 2});
}

}  // namespace
