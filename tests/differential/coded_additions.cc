// Weights in forms of few bits, and activations in codes of eight.
#include <algorithm>
#include <cmath>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

Tensor random_codes(Random& r, DType dtype, Dims dims, int64_t lo, int64_t hi) {
  Tensor t = Tensor::uninitialized(DType::kI32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<int32_t>()[i] = static_cast<int32_t>(r.range(lo, hi));
  return convert(t, dtype);
}

Tensor random_scales(Random& r, Dims dims, float size) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = r.uniform(0.5f * size, size);
  return t;
}

// Of codes along the first axis, or by blocks of the second.
Value* scaled_codes(ProgramMaker& m, const Dims& dims, float size) {
  const bool four = m.random.chance(0.5);
  Dims scales(dims.size(), 1);
  scales[0] = dims[0];
  for (int64_t block : {8, 16, 32})
    if (dims.size() > 1 && dims[1] % block == 0 && m.random.chance(0.3)) scales[1] = dims[1] / block;
  auto b = m.b();
  const bool shifted = m.random.chance(0.3);
  const DType dtype = shifted ? (four ? DType::kU4 : DType::kU8) : (four ? DType::kI4 : DType::kI8);
  const int64_t half = four ? 7 : 127;
  Value* codes = b.constant(random_codes(m.random, dtype, dims, shifted ? 0 : -half, shifted ? 2 * half : half));
  Value* scale = b.constant(random_scales(m.random, scales, size / static_cast<float>(half)));
  if (!shifted) return m.op("constexpr_blockwise_shift_scale", {{"data", codes}, {"scale", scale}});
  return m.op("constexpr_blockwise_shift_scale", {{"data", codes}, {"scale", scale}, {"offset", b.constant(random_codes(m.random, dtype, scales, half - 1, half + 1))}});
}

Value* looked_up(ProgramMaker& m, const Dims& dims, float size) {
  static const std::vector<std::pair<DType, int64_t>> kTypes{{DType::kU1, 2}, {DType::kU2, 4}, {DType::kU3, 8}, {DType::kU4, 16}, {DType::kU4, 16}, {DType::kU6, 64}, {DType::kU8, 256}};
  const auto& [dtype, entries] = m.random.of(kTypes);
  Dims tables(dims.size() + 2, 1);
  if (m.random.chance(0.3)) tables[0] = dims[0];
  tables[dims.size()] = entries;
  auto b = m.b();
  return m.op("constexpr_lut_to_dense", {{"indices", b.constant(random_codes(m.random, dtype, dims, 0, entries - 1))}, {"lut", m.noise(tables, -size, size)}});
}

Value* affine(ProgramMaker& m, const Dims& dims, float size) {
  auto b = m.b();
  const bool by_row = m.random.chance(0.7);
  const int64_t zero = m.random.chance(0.5) ? 0 : m.random.range(-8, 8);
  return m.op("constexpr_affine_dequantize", {{"quantized_data", b.constant(random_codes(m.random, DType::kI8, dims, -127 + zero, 119 + zero))},
                                              {"zero_point", b.scalar(DType::kI8, static_cast<double>(zero))},
                                              {"scale", b.constant(random_scales(m.random, by_row ? Dims{dims[0]} : Dims{}, size / 127))},
                                              {"axis", b.i32(0)}});
}

// dequantize(quantize(x)), with a scale that fits x's values; `scale` gets it.
Value* rounded(ProgramMaker& m, Value* x, float* scale = nullptr) {
  if (x == nullptr) return nullptr;
  float least = 0, most = 0;
  const Tensor& t = m.expected(x);
  for (int64_t i = 0; i < t.size(); ++i) least = std::min(least, t.data<float>()[i]), most = std::max(most, t.data<float>()[i]);
  const bool with_signs = m.random.chance(0.4);
  const float step = std::max(least == 0 && !with_signs ? most / 250 : std::max(-least, most) / 125, 1e-4f);
  if (scale != nullptr) *scale = step;
  auto b = m.b();
  const DType dtype = with_signs ? DType::kI8 : DType::kU8;
  Value* zero = b.scalar(dtype, with_signs ? 0 : least == 0 ? 0 : 128);
  m.coarse = true;
  Value* q = m.op("quantize", {{"input", x}, {"zero_point", zero}, {"scale", b.f32(step)}, {"output_dtype", b.string(with_signs ? "int8" : "uint8")}});
  return m.op("dequantize", {{"input", q}, {"zero_point", zero}, {"scale", b.f32(step)}});
}

Value* row_codes(ProgramMaker& m, const Dims& dims, int64_t fan) {
  auto b = m.b();
  const float size = std::sqrt(3.0f / static_cast<float>(fan)) / 127;
  return m.op("constexpr_affine_dequantize", {{"quantized_data", b.constant(random_codes(m.random, DType::kI8, dims, -127, 127))}, {"zero_point", b.scalar(DType::kI8, 0)},
                                              {"scale", b.constant(random_scales(m.random, {dims[0]}, size))}, {"axis", b.i32(0)}});
}

bool coded_conv(ProgramMaker& m) {
  const Live x = m.pick(m.random.chance(0.9) ? 4 : 3);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  const size_t axes = d.size() - 2;
  const int64_t channels = d[1], groups = m.random.chance(0.3) ? channels : 1, kernel = m.random.of<int64_t>({1, 1, 3, 3, 5});
  const int64_t out = groups > 1 || m.random.chance(0.3) ? channels : m.random.of<int64_t>({3, 8, 16, 24, 32, 48}), stride = m.random.range(1, 2);
  Value* input = rounded(m, x.value);
  Dims shape{out, channels / groups};
  shape.insert(shape.end(), axes, kernel);
  int64_t fan = 1, work = d[0] * out;
  for (size_t i = 1; i < shape.size(); ++i) fan *= shape[i];
  for (size_t i = 2; i < d.size(); ++i) work *= d[i];
  auto b = m.b();
  Value* y = m.op("conv", {{"x", input}, {"weight", row_codes(m, shape, fan)}, {"bias", m.noise({out}, -0.5f, 0.5f)}, {"strides", b.ints(Dims(axes, stride))},
                           {"pad_type", b.string("custom")}, {"pad", b.ints(Dims(2 * axes, kernel / 2))}, {"dilations", b.ints(Dims(axes, 1))}, {"groups", b.i32(groups)}},
                  static_cast<double>(work * fan));
  if (m.random.chance(0.6)) y = activated(m, y);
  y = rounded(m, y);
  if (y != nullptr && y->type.dims == d && m.random.chance(0.5)) {
    y = m.op("add", {{"x", y}, {"y", input}});
    if (m.random.chance(0.5)) y = m.op("relu", {{"x", y}});
    y = rounded(m, y);
  }
  return m.keep(y);
}

bool coded_linear(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() < 2) return false;
  const int64_t in = x.dims().back(), out = m.random.of<int64_t>({3, 8, 16, 24, 32, 48});
  auto b = m.b();
  Value* y = rounded(m, x.value);
  y = m.random.chance(0.6) ? m.op("linear", {{"x", y}, {"weight", row_codes(m, {out, in}, in)}, {"bias", m.noise({out}, -0.5f, 0.5f)}})
                           : m.op("matmul", {{"x", y}, {"y", row_codes(m, {out, in}, in)}, {"transpose_y", b.boolean(true)}});
  if (m.random.chance(0.4)) y = activated(m, y);
  if (m.random.chance(0.7)) y = rounded(m, y);
  return m.keep(y);
}

bool coded_pool(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  auto b = m.b();
  Value* y = rounded(m, x.value);
  if (m.random.chance(0.3)) {
    y = m.op("reduce_mean", {{"x", y}, {"axes", b.ints({2, 3})}, {"keep_dims", b.boolean(true)}});
  } else {
    std::vector<ops::Input> args{{"x", y}, {"kernel_sizes", b.ints({3, 3})}, {"strides", b.ints({2, 2})}, {"pad_type", b.string("custom")},
                                 {"pad", b.ints({1, 1, 1, 1})}, {"ceil_mode", b.boolean(false)}};
    const bool max = m.random.chance(0.6);
    if (!max) args.push_back({"exclude_padding_from_average", b.boolean(m.random.chance(0.5))});
    y = m.op(max ? "max_pool" : "avg_pool", std::move(args));
  }
  return m.keep(rounded(m, y));
}

bool coded_concat(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  const Live y = m.pick_same(x);
  auto b = m.b();
  Value* z = m.op("concat", {{"values", {rounded(m, x.value), rounded(m, y.value != nullptr ? y.value : x.value)}}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}});
  return m.keep(rounded(m, z));
}

bool round_trip(ProgramMaker& m) {
  const Live x = m.pick();
  return x.value != nullptr && m.keep(rounded(m, x.value));
}

}  // namespace

Value* compressed_weights(ProgramMaker& m, const Dims& dims, float size) {
  switch (m.random.range(0, 4)) {
    case 0: {
      Tensor t = Tensor::uninitialized(DType::kF32, dims);
      for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = m.random.uniform(-size, size);
      auto b = m.b();
      return m.op("constexpr_cast", {{"source_val", b.constant(convert(t, DType::kF16))}, {"output_dtype", b.string("fp32")}});
    }
    case 1: return looked_up(m, dims, size);
    case 2: return affine(m, dims, size);
    default: return scaled_codes(m, dims, size);
  }
}

std::vector<Addition> coded_additions() {
  return {{"coded_conv", 6, coded_conv}, {"coded_linear", 3, coded_linear}, {"coded_pool", 2, coded_pool}, {"coded_concat", 1, coded_concat}, {"round_trip", 1, round_trip}};
}

}  // namespace mlt::differential
