#include <doctest/doctest.h>

#include <cstring>

#include "lib/coreml/nn_weights.h"

using namespace mlt;
using namespace mlt::coreml;

namespace {

std::vector<float> values(const spec::WeightParams& w, const Dims& dims, int axis = 0) {
  auto t = weight_tensor(w, dims, axis);
  REQUIRE_MESSAGE(t.ok(), (t.ok() ? "" : t.error().to_string()));
  CHECK(t->dims() == dims);
  return to_floats(*t);
}

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (int b : list) out.push_back(static_cast<char>(b));
  return out;
}

}  // namespace

TEST_CASE("weights: float32 and float16") {
  spec::WeightParams w;
  for (float v : {1.0f, -2.5f, 3.0f, 0.0f}) w.add_floatvalue(v);
  CHECK(values(w, {2, 2}) == std::vector<float>{1, -2.5f, 3, 0});
  CHECK_FALSE(weight_tensor(w, {3}).ok());
  spec::WeightParams half;
  half.set_float16value(bytes({0x00, 0x3c, 0x00, 0xc1}));  // 1, -2.5
  CHECK(values(half, {2}) == std::vector<float>{1, -2.5f});
  half.set_float16value(bytes({0x00, 0x3c, 0x00}));
  CHECK_FALSE(weight_tensor(half, {2}).ok());
  half.add_floatvalue(1);
  CHECK_FALSE(weight_tensor(half, {2}).ok());
}

TEST_CASE("weights: narrow values are packed from the high bit down") {
  spec::WeightParams w;
  auto& q = *w.mutable_quantization();
  q.mutable_linearquantization()->add_scale(1);
  struct Case {
    uint64_t bits;
    std::string raw;
    std::vector<float> expected;
  };
  for (const Case& c : {Case{1, bytes({0b10110000}), {1, 0, 1, 1}}, Case{2, bytes({0b11100100}), {3, 2, 1, 0}}, Case{3, bytes({0b10101000, 0b11110000}), {5, 2, 1, 7}},
                        Case{4, bytes({0xa3, 0x0f}), {10, 3, 0, 15}}, Case{5, bytes({0b11111000, 0b00100000, 0b00010000}), {31, 0, 16, 1}},
                        Case{6, bytes({0b10000011, 0b11110000, 0b01000010}), {32, 63, 1, 2}}, Case{8, bytes({255, 0, 128, 1}), {255, 0, 128, 1}}}) {
    INFO("bits " << c.bits);
    q.set_numberofbits(c.bits);
    w.set_rawvalue(c.raw);
    CHECK(values(w, {4}) == c.expected);
  }
  q.set_numberofbits(9);
  CHECK_FALSE(weight_tensor(w, {4}).ok());
  q.set_numberofbits(4);
  CHECK_FALSE(weight_tensor(w, {4}).ok());  // four bytes are too many
}

TEST_CASE("weights: scales and biases per channel, tables, int8") {
  spec::WeightParams w;
  auto& q = *w.mutable_quantization();
  q.set_numberofbits(8);
  w.set_rawvalue(bytes({0, 1, 2, 3, 4, 5}));
  for (float s : {1.0f, 10.0f}) q.mutable_linearquantization()->add_scale(s);
  for (float b : {0.5f, -1.0f}) q.mutable_linearquantization()->add_bias(b);
  CHECK(values(w, {2, 3}) == std::vector<float>{0.5f, 1.5f, 2.5f, 29, 39, 49});
  CHECK(values(w, {3, 2}, 1) == std::vector<float>{0.5f, 9, 2.5f, 29, 4.5f, 49});
  CHECK_FALSE(weight_tensor(w, {3, 2}, 0).ok());

  spec::WeightParams lut;
  lut.mutable_quantization()->set_numberofbits(2);
  for (float v : {-1.0f, 0.0f, 0.25f, 7.0f}) lut.mutable_quantization()->mutable_lookuptablequantization()->add_floatvalue(v);
  lut.set_rawvalue(bytes({0b11000110}));
  CHECK(values(lut, {4}) == std::vector<float>{7, -1, 0, 0.25f});
  lut.mutable_quantization()->mutable_lookuptablequantization()->add_floatvalue(1);
  CHECK_FALSE(weight_tensor(lut, {4}).ok());

  spec::WeightParams int8;
  int8.mutable_quantization()->set_numberofbits(8);
  int8.mutable_quantization()->mutable_linearquantization()->add_scale(0.5f);
  int8.set_int8rawvalue(bytes({0xff, 0x80, 0x7f}));
  CHECK(values(int8, {3}) == std::vector<float>{-0.5f, -64, 63.5f});
}
