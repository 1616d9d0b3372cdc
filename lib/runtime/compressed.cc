#include "lib/runtime/compressed.h"

#include <algorithm>
#include <bit>

#include "lib/kernels/convert.h"
#include "lib/ops/infer_util.h"

namespace mlt {
namespace {

// How a tensor stores its integers: a stream of codes of 1, 2, 3, 4 or 8 bits.
bool set_codes(CompressedWeight& w, const Tensor& tensor, DType declared) {
  const int bits = dtype_bits(tensor.dtype());
  if (tensor.dtype() != declared || is_float(declared) || declared == DType::kBool || (bits > 4 && bits != 8) || tensor.dims().size() != 2) return false;
  w.codes = tensor;
  w.matrix.bits = bits;
  w.matrix.is_signed = declared == DType::kI8 || declared == DType::kI4;
  w.matrix.n = tensor.dims()[0];
  w.matrix.k = tensor.dims()[1];
  return true;
}

bool affine(ops::Call& call, CompressedWeight& w) {
  const Tensor& data = call.tensor("quantized_data");
  w.scale = call.floats("scale");
  w.offset = call.floats("zero_point");
  const int64_t axis = call.i64("axis");
  if (call.failed() || !set_codes(w, data, call.type("quantized_data").dtype)) return false;
  const auto n = static_cast<size_t>(w.matrix.n);
  const bool by_row = axis == 0 || axis == -2;
  for (auto* list : {&w.scale, &w.offset}) {
    if (list->size() != 1 && (!by_row || list->size() != n)) return false;
    if (list->size() == 1) list->assign(n, list->front());
  }
  w.matrix.row_block = 1;
  w.matrix.col_block = w.matrix.k;
  return true;
}

bool blockwise(ops::Call& call, CompressedWeight& w) {
  const Tensor &data = call.tensor("data"), &scale = call.tensor("scale");
  if (call.failed() || !set_codes(w, data, call.type("data").dtype) || scale.dims().size() != 2) return false;
  const int64_t rows = scale.dims()[0], cols = scale.dims()[1];
  if (rows < 1 || cols < 1 || w.matrix.n % rows != 0 || w.matrix.k % cols != 0) return false;
  w.matrix.row_block = w.matrix.n / rows;
  w.matrix.col_block = w.matrix.k / cols;
  w.block_scales = scale;
  if (call.has("offset")) {
    w.block_offsets = call.tensor("offset");
    if (w.block_offsets.size() != scale.size() || w.block_offsets.dtype() == DType::kString) return false;
  }
  return !call.failed() && scale.dtype() != DType::kString;
}

bool palette(ops::Call& call, CompressedWeight& w) {
  const Tensor &indices = call.tensor("indices"), &lut = call.tensor("lut");
  if (call.failed() || !is_float(call.type("lut").dtype)) return false;
  if (call.info().param("shape") != nullptr) {  // packed bytes and one table
    std::vector<int64_t> shape = call.ints("shape");
    if (call.failed() || shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || lut.size() < 2 || !std::has_single_bit(static_cast<uint64_t>(lut.size()))) return false;
    const int bits = std::bit_width(static_cast<uint64_t>(lut.size())) - 1;
    auto count = element_count(shape);
    if (!count || bits > 4 || indices.dtype() != DType::kU8 || indices.size() != (bits * *count + 7) / 8) return false;
    w.codes = indices;
    w.matrix.bits = bits;
    w.matrix.n = shape[0];
    w.matrix.k = shape[1];
    w.matrix.table_rows = w.matrix.n;
  } else {
    if (!set_codes(w, indices, call.type("indices").dtype) || w.matrix.bits > 4) return false;
    const Dims& dims = lut.dims();
    if (dims.size() != 4 || dims[1] != 1 || dims[3] != 1 || dims[2] != int64_t{1} << w.matrix.bits || dims[0] < 1 || w.matrix.n % dims[0] != 0) return false;
    w.matrix.table_rows = w.matrix.n / dims[0];
  }
  w.table = to_floats(lut);
  return true;
}

}  // namespace

bool is_deferrable(std::string_view kind) {
  return kind == "constexpr_affine_dequantize" || kind == "constexpr_blockwise_shift_scale" || kind == "constexpr_lut_to_dense";
}

const LowBitMatrix& CompressedWeight::whole() {
  if (block_scales.valid() && matrix.scale == nullptr) {
    scale = to_floats(block_scales);
    matrix.scale = scale.data();
    if (block_offsets.valid()) {
      offset = to_floats(block_offsets);
      matrix.offset = offset.data();
    }
  }
  return matrix;
}

void CompressedWeight::row(int64_t row, float* room, float* out) const {
  if (!block_scales.valid() || matrix.scale != nullptr) return lowbit_row(matrix, row, out);
  const int64_t blocks = matrix.k / matrix.col_block, first = row / matrix.row_block * blocks;
  auto part = [&](const Tensor& of, float* to) -> const float* {
    if (!of.valid()) return nullptr;
    if (of.dtype() == DType::kF32) return of.data<float>() + first;
    half_to_float(of.data<uint16_t>() + first, to, blocks);
    return to;
  };
  lowbit_row(matrix, row, part(block_scales, room), part(block_offsets, room + blocks), out);
}

std::shared_ptr<CompressedWeight> compressed_weight(ops::Call& call) {
  auto w = std::make_shared<CompressedWeight>();
  const std::string& kind = call.op()->kind;
  const bool fits = kind == "constexpr_affine_dequantize" ? affine(call, *w) : kind == "constexpr_blockwise_shift_scale" ? blockwise(call, *w) : palette(call, *w);
  if (!fits || w->matrix.n < 1 || w->matrix.k < 1) return nullptr;
  w->matrix.codes = reinterpret_cast<const uint8_t*>(w->codes.bytes().data());
  if (!w->table.empty()) {
    w->matrix.table = w->table.data();
  } else if (!w->block_scales.valid()) {
    w->matrix.scale = w->scale.data();
    w->matrix.offset = w->offset.empty() ? nullptr : w->offset.data();
  } else {
    // Rows are taken from what is stored as floats; integers become floats at once.
    auto floats = [](const Tensor& t) { return !t.valid() || t.dtype() == DType::kF32 || t.dtype() == DType::kF16; };
    if (!floats(w->block_scales) || !floats(w->block_offsets)) w->whole();
  }
  return w;
}

}  // namespace mlt
