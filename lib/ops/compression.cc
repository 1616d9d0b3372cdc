// The constexpr ops: weights stored quantized, palettized or sparse, expanded when the model is loaded. Up to CoreML7
// the parameters are attributes with packed bytes; from CoreML8 on they are inputs with sub-byte element types, and
// the op may be fed by another constexpr op.
//
// Inputs are seen as stored, so that a 4-bit weight is never held at 32 bits an element; a value that comes from
// another constexpr op arrives in the compute type, and both are understood.
#include <algorithm>
#include <bit>
#include <cmath>

#include "lib/base/float16.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Integers below 256, one byte each (int4 and int8 as two's complement).
std::vector<uint8_t> codes(const Tensor& tensor) {
  if (is_sub_byte(tensor.dtype())) return unpack_bits(tensor.dtype(), tensor.bytes(), tensor.size());
  if (dtype_bits(tensor.dtype()) == 8) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(tensor.bytes().data());
    return {bytes, bytes + tensor.size()};
  }
  std::vector<int64_t> values = to_ints(tensor);
  std::vector<uint8_t> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), [](int64_t v) { return static_cast<uint8_t>(v); });
  return out;
}

// Packed bits (up to CoreML7) of `bits` each; the caller has checked that there are enough bytes.
std::vector<uint8_t> unpacked(const Tensor& tensor, int bits, int64_t count) {
  std::vector<uint8_t> bytes = codes(tensor), out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) {
    size_t bit = i * static_cast<size_t>(bits), byte = bit / 8;
    unsigned pair = bytes[byte] | (byte + 1 < bytes.size() ? unsigned{bytes[byte + 1]} << 8 : 0u);
    out[i] = static_cast<uint8_t>((pair >> (bit % 8)) & ((1u << bits) - 1));
  }
  return out;
}

// Runs f with the element type of an output in compute type.
template <typename F>
void with_elements(Tensor& out, F&& f) {
  if (out.dtype() == DType::kF32) {
    f(out.mutable_data<float>());
  } else {
    f(out.mutable_data<int32_t>());
  }
}

// All elements of a tensor in compute type.
template <typename T>
std::vector<T> elements(const Tensor& tensor) {
  if constexpr (std::is_same_v<T, float>) return to_floats(tensor);
  std::vector<int64_t> values = to_ints(tensor);
  return {values.begin(), values.end()};
}

// Half-precision results are rounded as the device stores them.
void round_if_half(Call& call, size_t i, Tensor& out) {
  if (call.out_type(i).dtype != DType::kF16) return;
  float* values = out.mutable_data<float>();
  for (int64_t j = 0; j < out.size(); ++j) values[j] = round_to_half(values[j]);
}

Result<Dims> shape_parameter(Call& call) {
  Dims shape = call.ints("shape");
  if (call.failed()) return *call.error();
  MLT_TRY(element_count(shape));
  return shape;
}

// --- CoreML6 ---

Result<std::vector<ir::Type>> infer_affine_dequantize(Call& call) {
  const ir::Type& data = call.type("quantized_data");
  int64_t wanted = call.i64("axis");
  if (call.failed()) return *call.error();
  MLT_ASSIGN(int64_t axis, normalize_axis(wanted, data.rank()));
  for (std::string_view name : {"scale", "zero_point"}) {
    const ir::Type& type = call.type(name);
    if (type.rank() > 1) return input_error(std::string(name) + " must be a scalar or a vector");
    if (type.rank() == 1 && !extents_agree(type.dims[0], data.dims[static_cast<size_t>(axis)]))
      return input_error(std::string(name) + " must have one value for each of the " +
                         std::to_string(data.dims[static_cast<size_t>(axis)]) + " slices along axis");
  }
  return std::vector<ir::Type>{ir::Type::tensor(call.type("scale").dtype, data.dims)};
}

Status eval_affine_dequantize(Call& call) {
  const Tensor& data = call.tensor("quantized_data");
  std::vector<float> scale = call.floats("scale"), zero_point = call.floats("zero_point");
  int64_t wanted = call.i64("axis");
  if (call.failed()) return {};
  MLT_ASSIGN(int64_t axis, normalize_axis(wanted, data.rank()));
  size_t at = static_cast<size_t>(axis);
  int64_t count = data.dims()[at], inner = product(data.dims(), at + 1, data.dims().size());
  auto fits = [&](const std::vector<float>& v) { return v.size() == 1 || static_cast<int64_t>(v.size()) == count; };
  if (!fits(scale) || !fits(zero_point)) return input_error("scale and zero_point must have one value, or one for each slice along axis");
  bool is_signed = call.type("quantized_data").dtype == DType::kI8;
  std::vector<uint8_t> stored = codes(data);
  Tensor& out = output(call, 0, data.dims());
  float* to = out.mutable_data<float>();
  parallel_for(inner == 0 ? 0 : data.size() / inner, 1 + 32768 / (inner + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      size_t slice = static_cast<size_t>(row % count);
      float offset = zero_point[zero_point.size() == 1 ? 0 : slice], factor = scale[scale.size() == 1 ? 0 : slice];
      for (int64_t i = row * inner; i < (row + 1) * inner; ++i) {
        uint8_t code = stored[static_cast<size_t>(i)];
        to[i] = ((is_signed ? static_cast<float>(static_cast<int8_t>(code)) : static_cast<float>(code)) - offset) * factor;
      }
    }
  });
  round_if_half(call, 0, out);
  return {};
}

Result<std::vector<ir::Type>> infer_constexpr_cast(Call& call) {
  std::string dtype = call.str("output_dtype");
  if (call.failed()) return *call.error();
  if (dtype != "fp32") return input_error("output_dtype must be \"fp32\", not \"" + dtype + "\"");
  return std::vector<ir::Type>{ir::Type::tensor(DType::kF32, call.type("source_val").dims)};
}

Status eval_constexpr_cast(Call& call) {
  const Tensor& source = call.tensor("source_val");
  if (call.failed()) return {};
  call.set_out(0, convert(source, DType::kF32));
  return {};
}

Result<std::vector<ir::Type>> infer_lut_to_dense_packed(Call& call) {
  const ir::Type &indices = call.type("indices"), &lut = call.type("lut");
  if (indices.rank() != 1 || lut.rank() != 1) return input_error("indices and lut must be vectors");
  int64_t size = lut.dims[0];
  if (size != 2 && size != 4 && size != 16 && size != 64 && size != 256)
    return input_error("lut must have 2, 4, 16, 64 or 256 entries, not " + std::to_string(size));
  MLT_ASSIGN(Dims shape, shape_parameter(call));
  MLT_ASSIGN(int64_t count, element_count(shape));
  int64_t bits = std::bit_width(static_cast<uint64_t>(size)) - 1, bytes = (bits * count + 7) / 8;
  if (!extents_agree(indices.dims[0], bytes))
    return input_error("indices must have " + std::to_string(bytes) + " bytes, not " + std::to_string(indices.dims[0]));
  return std::vector<ir::Type>{ir::Type::tensor(lut.dtype, shape)};
}

Status eval_lut_to_dense_packed(Call& call) {
  const Tensor &indices = call.tensor("indices"), &lut = call.tensor("lut");
  MLT_ASSIGN(Dims shape, shape_parameter(call));
  MLT_ASSIGN(int64_t count, element_count(shape));
  int bits = std::bit_width(static_cast<uint64_t>(lut.size())) - 1;
  if (call.failed()) return {};
  if (bits < 1 || bits > 8 || lut.size() != int64_t{1} << bits || indices.size() != (bits * count + 7) / 8)
    return input_error("indices and lut do not fit shape");
  std::vector<uint8_t> index = unpacked(indices, bits, count);
  Tensor& out = output(call, 0, shape);
  with_elements(out, [&]<typename T>(T* to) {
    std::vector<T> table = elements<T>(lut);
    for (size_t i = 0; i < index.size(); ++i) to[i] = table[index[i]];
  });
  return {};
}

Result<std::vector<ir::Type>> infer_sparse_to_dense_packed(Call& call) {
  const ir::Type &data = call.type("nonzero_data"), &mask = call.type("mask");
  if (data.rank() != 1 || mask.rank() != 1) return input_error("nonzero_data and mask must be vectors");
  MLT_ASSIGN(Dims shape, shape_parameter(call));
  MLT_ASSIGN(int64_t count, element_count(shape));
  if (!extents_agree(mask.dims[0], (count + 7) / 8))
    return input_error("mask must have " + std::to_string((count + 7) / 8) + " bytes, not " + std::to_string(mask.dims[0]));
  return std::vector<ir::Type>{ir::Type::tensor(data.dtype, shape)};
}

// Places values at the set positions of a mask; an error when their numbers differ.
Status place(const std::vector<uint8_t>& mask, const Tensor& values, Tensor& out) {
  int64_t set = std::count_if(mask.begin(), mask.end(), [](uint8_t m) { return m != 0; });
  if (set != values.size())
    return input_error("the mask has " + std::to_string(set) + " set bits for " + std::to_string(values.size()) + " values");
  with_elements(out, [&]<typename T>(T* to) {
    std::vector<T> list = elements<T>(values);
    size_t next = 0;
    for (size_t i = 0; i < mask.size(); ++i) to[i] = mask[i] != 0 ? list[next++] : T{0};
  });
  return {};
}

Status eval_sparse_to_dense_packed(Call& call) {
  const Tensor &data = call.tensor("nonzero_data"), &mask = call.tensor("mask");
  MLT_ASSIGN(Dims shape, shape_parameter(call));
  MLT_ASSIGN(int64_t count, element_count(shape));
  if (call.failed()) return {};
  if (mask.size() != (count + 7) / 8) return input_error("mask does not fit shape");
  if (count % 8 != 0 && codes(mask).back() >> (count % 8) != 0) return input_error("bits of mask beyond the last element must be 0");
  return place(unpacked(mask, 1, count), data, output(call, 0, shape));
}

// --- CoreML8 ---

Status check_blocks(const Dims& data, DType data_dtype, const ir::Type& scale, const ir::Type* offset) {
  if (data.empty()) return input_error("data must have rank 1 or more");
  if (scale.dims.size() != data.size())
    return input_error("scale " + dims_text(scale.dims) + " must have the rank of the data " + dims_text(data));
  for (size_t i = 0; i < data.size(); ++i)
    if (scale.dims[i] == 0 || (data[i] >= 0 && scale.dims[i] > 0 && data[i] % scale.dims[i] != 0))
      return input_error("the extents of scale " + dims_text(scale.dims) + " must divide those of the data " + dims_text(data));
  if (offset == nullptr) return {};
  if (offset->dims.size() != scale.dims.size() || !std::equal(scale.dims.begin(), scale.dims.end(), offset->dims.begin(), extents_agree))
    return input_error("offset " + dims_text(offset->dims) + " must have the shape of scale " + dims_text(scale.dims));
  if (!is_float(offset->dtype) && offset->dtype != data_dtype) return input_error("offset must be a float or have the element type of the data");
  return {};
}

Result<std::vector<ir::Type>> infer_blockwise(Call& call) {
  const ir::Type &data = call.type("data"), &scale = call.type("scale");
  MLT_TRY(check_blocks(data.dims, data.dtype, scale, call.has("offset") ? &call.type("offset") : nullptr));
  return std::vector<ir::Type>{ir::Type::tensor(scale.dtype, data.dims)};
}

// Calls f(element, entry of scale) for the elements of rows [begin, end) of `data`, in order.
template <typename F>
void for_each_block(const Dims& data, const Dims& scale, int64_t begin, int64_t end, F& f) {
  size_t rank = data.size();
  Dims index(rank, 0), strides = row_major_strides(scale);
  int64_t row = data[rank - 1], block = row / scale[rank - 1], i = begin * row, rest = begin;
  for (size_t d = rank - 1; d-- > 0;) {
    index[d] = rest % data[d];
    rest /= data[d];
  }
  for (int64_t r = begin; r < end; ++r) {
    int64_t entry = 0;
    for (size_t d = 0; d + 1 < rank; ++d) entry += index[d] / (data[d] / scale[d]) * strides[d];
    for (int64_t j = 0; j < row; j += block, ++entry)
      for (int64_t e = 0; e < block; ++e, ++i) f(static_cast<size_t>(i), static_cast<size_t>(entry));
    for (size_t d = rank - 1; d-- > 0;) {
      if (++index[d] < data[d]) break;
      index[d] = 0;
    }
  }
}

// The same for all rows: in order, or on all threads.
template <typename F>
void in_order(const Dims& data, const Dims& scale, F f) {
  int64_t rows = product(data, 0, data.size() - 1);
  if (rows > 0 && data.back() > 0) for_each_block(data, scale, 0, rows, f);
}
template <typename F>
void on_all_threads(const Dims& data, const Dims& scale, F f) {
  int64_t rows = product(data, 0, data.size() - 1);
  if (rows == 0 || data.back() == 0) return;
  parallel_for(rows, 1 + 32768 / data.back(), [&](int64_t begin, int64_t end) { for_each_block(data, scale, begin, end, f); });
}

// The stored data as a function from position to value.
struct Stored {
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
  bool is_signed = false;
  Stored(const Tensor& tensor, DType declared) {
    if (is_float(declared)) {
      floats = to_floats(tensor);
    } else {
      bytes = codes(tensor);
      is_signed = is_signed_integer(declared);
    }
  }
  float operator[](size_t i) const {
    if (bytes.empty()) return floats[i];
    return is_signed ? static_cast<float>(static_cast<int8_t>(bytes[i])) : static_cast<float>(bytes[i]);
  }
};

Status check_blocks_of_values(Call& call, const Dims& data, std::string_view data_name) {
  const Tensor& scale = call.tensor("scale");
  if (call.failed()) return {};
  ir::Type scale_type = ir::Type::of(scale);
  if (!call.has("offset")) return check_blocks(data, call.type(data_name).dtype, scale_type, nullptr);
  ir::Type offset_type = ir::Type::tensor(call.type("offset").dtype, call.tensor("offset").dims());
  return check_blocks(data, call.type(data_name).dtype, scale_type, &offset_type);
}

std::vector<float> offsets(Call& call, size_t count) {
  return call.has("offset") ? call.floats("offset") : std::vector<float>(count, 0.0f);
}

Status eval_blockwise(Call& call) {
  const Tensor &data = call.tensor("data"), &scale = call.tensor("scale");
  if (call.failed()) return {};
  MLT_TRY(check_blocks_of_values(call, data.dims(), "data"));
  std::vector<float> scales = to_floats(scale), offset = offsets(call, scales.size());
  if (call.failed()) return {};
  Stored stored(data, call.type("data").dtype);
  Tensor& out = output(call, 0, data.dims());
  float* to = out.mutable_data<float>();
  on_all_threads(data.dims(), scale.dims(), [&](size_t i, size_t e) { to[i] = scales[e] * (stored[i] - offset[e]); });
  round_if_half(call, 0, out);
  return {};
}

Result<std::vector<ir::Type>> infer_sparse_blockwise(Call& call) {
  const ir::Type &mask = call.type("data_mask"), &data = call.type("nonzero_data"), &scale = call.type("scale");
  if (data.rank() != 1) return input_error("nonzero_data must be a vector");
  MLT_TRY(check_blocks(mask.dims, data.dtype, scale, call.has("offset") ? &call.type("offset") : nullptr));
  return std::vector<ir::Type>{mask, ir::Type::tensor(scale.dtype, data.dims)};
}

// Hands a mask on: stored bits stay as they are, in the compute type.
void set_mask(Call& call, const std::vector<uint8_t>& mask, const Dims& dims) {
  Tensor& out = output(call, 0, dims);
  std::copy(mask.begin(), mask.end(), out.mutable_data<int32_t>());
}

Status eval_sparse_blockwise(Call& call) {
  const Tensor &mask = call.tensor("data_mask"), &data = call.tensor("nonzero_data"), &scale = call.tensor("scale");
  if (call.failed()) return {};
  MLT_TRY(check_blocks_of_values(call, mask.dims(), "nonzero_data"));
  std::vector<float> scales = to_floats(scale), offset = offsets(call, scales.size());
  if (call.failed()) return {};
  std::vector<uint8_t> bits = codes(mask);
  if (std::count_if(bits.begin(), bits.end(), [](uint8_t b) { return b != 0; }) != data.size())
    return input_error("the number of set bits of data_mask is not that of nonzero_data");
  set_mask(call, bits, mask.dims());
  Stored stored(data, call.type("nonzero_data").dtype);
  Tensor& out = output(call, 1, {data.size()});
  float* to = out.mutable_data<float>();
  size_t next = 0;
  in_order(mask.dims(), scale.dims(), [&](size_t i, size_t e) {
    if (bits[i] == 0) return;
    to[next] = scales[e] * (stored[next] - offset[e]);
    ++next;
  });
  round_if_half(call, 1, out);
  return {};
}

Result<std::vector<ir::Type>> infer_sparse_to_dense(Call& call) {
  const ir::Type& data = call.type("nonzero_data");
  if (data.rank() != 1) return input_error("nonzero_data must be a vector");
  return std::vector<ir::Type>{ir::Type::tensor(data.dtype, call.type("mask").dims)};
}

Status eval_sparse_to_dense(Call& call) {
  const Tensor &data = call.tensor("nonzero_data"), &mask = call.tensor("mask");
  if (call.failed()) return {};
  return place(codes(mask), data, output(call, 0, mask.dims()));
}

// A look-up table [groups..., entries, vector] over indices of one rank less two.
struct Palette {
  int64_t entries = 0, vector = 1;
  size_t axis = 0;  // along which vectors are laid out
  Dims out;         // indices' extents, that of `axis` times `vector`
};

Result<Palette> palette(Call& call, const Dims& indices, DType index_dtype, const Dims& lut) {
  size_t rank = indices.size();
  if (rank < 1) return input_error("indices must have rank 1 or more");
  if (lut.size() != rank + 2) return input_error("lut " + dims_text(lut) + " must have two axes more than the indices " + dims_text(indices));
  for (size_t i = 0; i < rank; ++i)
    if (lut[i] == 0 || (indices[i] >= 0 && lut[i] > 0 && indices[i] % lut[i] != 0))
      return input_error("the extents of lut " + dims_text(lut) + " must divide those of the indices " + dims_text(indices));
  Palette p;
  p.entries = lut[rank];
  p.vector = lut[rank + 1];
  p.out = indices;
  if (p.vector < 1 || p.entries != int64_t{1} << dtype_bits(index_dtype))
    return input_error("lut " + dims_text(lut) + " must have " + std::to_string(int64_t{1} << dtype_bits(index_dtype)) + " entries");
  if (call.has("vector_axis")) {
    if (call.type("vector_axis").rank() > 0) return input_error("vector_axis must be a scalar");
    int64_t wanted = call.i64("vector_axis");
    if (call.failed()) return *call.error();
    MLT_ASSIGN(int64_t axis, normalize_axis(wanted, static_cast<int64_t>(rank)));
    p.axis = static_cast<size_t>(axis);
  } else if (p.vector > 1) {
    return input_error("vector_axis must be given when lut holds vectors");
  }
  if (p.out[p.axis] >= 0 && __builtin_mul_overflow(p.out[p.axis], p.vector, &p.out[p.axis])) return input_error("lut is too large");
  return p;
}

Result<std::vector<ir::Type>> infer_lut_to_dense(Call& call) {
  const ir::Type &indices = call.type("indices"), &lut = call.type("lut");
  MLT_ASSIGN(Palette p, palette(call, indices.dims, indices.dtype, lut.dims));
  return std::vector<ir::Type>{ir::Type::tensor(lut.dtype, p.out)};
}

// Writes the expanded indices into `to` (extents p.out), row-major.
template <typename T>
void expand(const Palette& p, const std::vector<uint8_t>& index, const Dims& dims, const std::vector<T>& table, const Dims& lut, T* to) {
  Dims groups(lut.begin(), lut.end() - 2);
  int64_t inner = product(dims, p.axis + 1, dims.size()), step = p.entries * p.vector;
  on_all_threads(dims, groups, [&](size_t i, size_t group) {
    const T* entry = table.data() + static_cast<int64_t>(group) * step + index[i] * p.vector;
    int64_t at = static_cast<int64_t>(i), below = at % inner, above = at / inner;
    for (int64_t v = 0; v < p.vector; ++v) to[(above * p.vector + v) * inner + below] = entry[v];
  });
}

Status eval_lut_to_dense(Call& call) {
  const Tensor &indices = call.tensor("indices"), &lut = call.tensor("lut");
  if (call.failed()) return {};
  MLT_ASSIGN(Palette p, palette(call, indices.dims(), call.type("indices").dtype, lut.dims()));
  MLT_TRY(element_count(p.out));
  std::vector<uint8_t> index = codes(indices);
  for (uint8_t i : index)
    if (i >= p.entries) return input_error("an index is beyond the look-up table");
  with_elements(output(call, 0, p.out), [&]<typename T>(T* to) { expand<T>(p, index, indices.dims(), elements<T>(lut), lut.dims(), to); });
  return {};
}

Result<std::vector<ir::Type>> infer_lut_to_sparse(Call& call) {
  const ir::Type &mask = call.type("indices_mask"), &data = call.type("indices_nonzero_data"), &lut = call.type("lut");
  if (data.rank() != 1) return input_error("indices_nonzero_data must be a vector");
  MLT_ASSIGN(Palette p, palette(call, mask.dims, data.dtype, lut.dims));
  int64_t values = data.dims[0];
  if (values >= 0 && __builtin_mul_overflow(values, p.vector, &values)) return input_error("lut is too large");
  return std::vector<ir::Type>{ir::Type::tensor(mask.dtype, p.out), ir::Type::tensor(lut.dtype, {values})};
}

Status eval_lut_to_sparse(Call& call) {
  const Tensor &mask = call.tensor("indices_mask"), &data = call.tensor("indices_nonzero_data"), &lut = call.tensor("lut");
  if (call.failed()) return {};
  MLT_ASSIGN(Palette p, palette(call, mask.dims(), call.type("indices_nonzero_data").dtype, lut.dims()));
  MLT_ASSIGN(int64_t count, element_count(p.out));
  std::vector<uint8_t> bits = codes(mask), stored = codes(data), index(bits.size(), 0);
  size_t next = 0;
  for (size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == 0) continue;
    if (next == stored.size() || stored[next] >= p.entries) return input_error("indices_nonzero_data does not fit indices_mask and lut");
    index[i] = stored[next++];
  }
  if (next != stored.size()) return input_error("indices_nonzero_data has more values than indices_mask has set bits");
  std::vector<uint8_t> wide(static_cast<size_t>(count));
  int64_t inner = product(mask.dims(), p.axis + 1, mask.dims().size());
  for (int64_t i = 0; i < count; ++i)
    wide[static_cast<size_t>(i)] = bits[static_cast<size_t>(i / inner / p.vector * inner + i % inner)];
  set_mask(call, wide, p.out);
  with_elements(output(call, 1, {data.size() * p.vector}), [&]<typename T>(T* to) {
    std::vector<T> dense(static_cast<size_t>(count));
    expand<T>(p, index, mask.dims(), elements<T>(lut), lut.dims(), dense.data());
    for (size_t i = 0; i < dense.size(); ++i)
      if (wide[i] != 0) *to++ = dense[i];
  });
  return {};
}

constexpr OpDef kOps[] = {
    {.name = "constexpr_affine_dequantize",
     .since = Opset::kCoreML6,
     .signature = "quantized_data: const T, zero_point: const Z, scale: const U, axis: const int32 -> y",
     .domains = "T: uint8 int8; Z: uint8 int8 fp32; U: fp16 fp32",
     .infer = infer_affine_dequantize,
     .eval = eval_affine_dequantize,
     .raw_inputs = true,
     .doc = "scale * (quantized_data - zero_point); scale and zero_point scalars or vectors along axis."},
    {.name = "constexpr_blockwise_shift_scale",
     .since = Opset::kCoreML8,
     .signature = "data: const T, scale: const U, offset?: const O -> y",
     .domains = "T: int4 uint4 int8 uint8 fp16 fp32; U: fp16 fp32; O: int4 uint4 int8 uint8 fp16 fp32",
     .infer = infer_blockwise,
     .eval = eval_blockwise,
     .raw_inputs = true,
     .doc = "scale * (data - offset), scale and offset of data's rank; each entry covers a block of data.shape / scale.shape."},
    {.name = "constexpr_cast",
     .since = Opset::kCoreML6,
     .signature = "source_val: const fp16, output_dtype: const string -> y",
     .infer = infer_constexpr_cast,
     .eval = eval_constexpr_cast,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "Half-precision weights widened to fp32."},
    // Like the one before, but with inputs where that has attributes.
    {.name = "constexpr_cast",
     .since = Opset::kCoreML8,
     .signature = "source_val: const fp16, output_dtype: const string -> y",
     .infer = infer_constexpr_cast,
     .eval = eval_constexpr_cast,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "Half-precision weights widened to fp32."},
    {.name = "constexpr_lut_to_dense",
     .since = Opset::kCoreML6,
     .signature = "indices: const uint8, lut: const T, shape: const uint32 -> y",
     .domains = "T: int8 uint8 fp16 fp32",
     .infer = infer_lut_to_dense_packed,
     .eval = eval_lut_to_dense_packed,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "lut[index] for indices of 1, 2, 4, 6 or 8 bits packed into bytes, lowest bits first."},
    {.name = "constexpr_lut_to_dense",
     .since = Opset::kCoreML8,
     .signature = "indices: const I, lut: const T, vector_axis?: const int32 -> y",
     .domains = "I: uint1 uint2 uint3 uint4 uint6 uint8; T: int8 uint8 fp16 fp32",
     .infer = infer_lut_to_dense,
     .eval = eval_lut_to_dense,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "Entries of look-up tables [groups..., entries, vector]; each group of indices has its table, and a vector's "
            "elements are laid out along vector_axis."},
    {.name = "constexpr_lut_to_sparse",
     .since = Opset::kCoreML8,
     .signature = "indices_mask: const uint1, indices_nonzero_data: const I, lut: const T, vector_axis?: const int32 -> mask, nonzero_data",
     .domains = "I: uint1 uint2 uint3 uint4 uint6 uint8; T: int8 uint8 fp16 fp32",
     .infer = infer_lut_to_sparse,
     .eval = eval_lut_to_sparse,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "constexpr_lut_to_dense on the set positions of a mask; outputs the mask (widened along vector_axis) and the values."},
    {.name = "constexpr_sparse_blockwise_shift_scale",
     .since = Opset::kCoreML8,
     .signature = "data_mask: const uint1, nonzero_data: const T, scale: const U, offset?: const O -> mask, nonzero_data",
     .domains = "T: int4 uint4 int8 uint8 fp16 fp32; U: fp16 fp32; O: int4 uint4 int8 uint8 fp16 fp32",
     .infer = infer_sparse_blockwise,
     .eval = eval_sparse_blockwise,
     .raw_inputs = true,
     .doc = "constexpr_blockwise_shift_scale on the set positions of a mask; outputs the mask and the values."},
    {.name = "constexpr_sparse_to_dense",
     .since = Opset::kCoreML6,
     .signature = "nonzero_data: const T, mask: const uint8, shape: const uint32 -> y",
     .domains = "T: int8 uint8 fp16 fp32",
     .infer = infer_sparse_to_dense_packed,
     .eval = eval_sparse_to_dense_packed,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "Values at the set bits of a mask packed into bytes, lowest bit first; zero elsewhere."},
    {.name = "constexpr_sparse_to_dense",
     .since = Opset::kCoreML8,
     .signature = "nonzero_data: const T, mask: const uint1 -> y",
     .domains = "T: int4 uint4 int8 uint8 fp16 fp32",
     .infer = infer_sparse_to_dense,
     .eval = eval_sparse_to_dense,
     .exactness = Exactness::kExact,
     .raw_inputs = true,
     .doc = "Values at the set positions of a mask; zero elsewhere."},
};

}  // namespace

std::span<const OpDef> compression_ops() { return kOps; }

}  // namespace mlt::ops
