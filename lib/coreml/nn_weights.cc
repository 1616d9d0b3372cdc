#include "lib/coreml/nn_weights.h"

#include <cstring>

#include "lib/base/float16.h"

namespace mlt::coreml {
namespace {

Error wrong_size(const char* what, uint64_t have, int64_t expected) {
  return input_error("weights: " + std::to_string(have) + " " + what + " for " + std::to_string(expected) + " elements");
}

// Value i of a stream of `bits`-wide numbers, most significant bit first.
unsigned unpack_high_first(const uint8_t* data, size_t i, unsigned bits) {
  size_t bit = i * bits;
  unsigned value = 0;
  for (unsigned b = 0; b < bits; ++b, ++bit) value = value << 1 | ((data[bit / 8] >> (7 - bit % 8)) & 1u);
  return value;
}

Result<Tensor> quantized(const spec::WeightParams& weights, const Dims& dims, int64_t count, int channel_axis) {
  const auto& q = weights.quantization();
  bool is_signed = !weights.int8rawvalue().empty();
  const std::string& raw = is_signed ? weights.int8rawvalue() : weights.rawvalue();
  uint64_t bits = is_signed ? 8 : q.numberofbits();
  if (bits < 1 || bits > 8) return input_error("weights: " + std::to_string(bits) + " bits per value; 1 to 8 are allowed");
  if (raw.size() != (static_cast<uint64_t>(count) * bits + 7) / 8) return wrong_size("bytes", raw.size(), count);
  const auto* data = reinterpret_cast<const uint8_t*>(raw.data());
  Tensor out = Tensor::uninitialized(DType::kF32, dims);
  float* values = out.mutable_data<float>();
  auto stored = [&](int64_t i) -> int {
    if (is_signed) return static_cast<int8_t>(data[i]);
    return bits == 8 ? data[i] : static_cast<int>(unpack_high_first(data, static_cast<size_t>(i), static_cast<unsigned>(bits)));
  };
  if (q.has_lookuptablequantization()) {
    const auto& table = q.lookuptablequantization().floatvalue();
    if (is_signed || table.size() != (1 << bits)) return input_error("weights: the lookup table has " + std::to_string(table.size()) + " values for " + std::to_string(bits) + " bits");
    for (int64_t i = 0; i < count; ++i) values[i] = table.Get(stored(i));
    return out;
  }
  const auto& scale = q.linearquantization().scale();
  const auto& bias = q.linearquantization().bias();
  int64_t channels = dims.empty() ? 1 : dims[static_cast<size_t>(channel_axis)], inner = 1;
  for (size_t d = static_cast<size_t>(channel_axis) + 1; d < dims.size(); ++d) inner *= dims[d];
  for (const auto* list : {&scale, &bias})
    if (list->size() > 1 && list->size() != channels)
      return input_error("weights: " + std::to_string(list->size()) + " quantization parameters for " + std::to_string(channels) + " channels");
  if (scale.empty() && count > 0) return input_error("weights: quantized values without a scale");
  for (int64_t i = 0; i < count; ++i) {
    auto c = static_cast<int>(i / inner % channels);
    float s = scale.Get(scale.size() == 1 ? 0 : c), b = bias.empty() ? 0.0f : bias.Get(bias.size() == 1 ? 0 : c);
    values[i] = static_cast<float>(stored(i)) * s + b;
  }
  return out;
}

}  // namespace

Result<int64_t> weight_count(const spec::WeightParams& weights, int64_t expected) {
  int kinds = (weights.floatvalue_size() > 0) + !weights.float16value().empty() + !weights.rawvalue().empty() + !weights.int8rawvalue().empty();
  if (kinds > 1) return input_error("weights: several kinds of values at once");
  if (weights.floatvalue_size() > 0) return static_cast<int64_t>(weights.floatvalue_size());
  if (!weights.float16value().empty()) {
    if (weights.float16value().size() % 2 != 0) return input_error("weights: an odd number of bytes of float16");
    return static_cast<int64_t>(weights.float16value().size() / 2);
  }
  return kinds == 0 ? 0 : expected;  // quantized() checks the bytes
}

Result<Tensor> weight_tensor(const spec::WeightParams& weights, const Dims& dims, int channel_axis) {
  MLT_ASSIGN(int64_t expected, element_count(dims));
  MLT_ASSIGN(int64_t count, weight_count(weights, expected));
  if (count != expected) return wrong_size("values", static_cast<uint64_t>(count), expected);
  if (!weights.rawvalue().empty() || !weights.int8rawvalue().empty()) return quantized(weights, dims, count, channel_axis);
  Tensor out = Tensor::uninitialized(DType::kF32, dims);
  float* values = out.mutable_data<float>();
  if (weights.floatvalue_size() > 0) {
    std::memcpy(values, weights.floatvalue().data(), static_cast<size_t>(count) * sizeof(float));
    return out;
  }
  const std::string& half = weights.float16value();
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, half.data() + 2 * i, 2);
    values[i] = half_to_float(bits);
  }
  return out;
}

}  // namespace mlt::coreml
