// Moving elements without computing: reshapes, permutations, blocks between space, depth and batch. Slices are in
// slicing.cc.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"
#include "lib/ops/slicing.h"

namespace mlt::ops {
namespace {

bool is_known(const Dims& dims) {
  return std::none_of(dims.begin(), dims.end(), [](int64_t d) { return d < 0; });
}

// Evaluation of every op that only renames extents.
template <InferFn infer>
Status eval_view(Call& call) {
  MLT_ASSIGN(Types types, infer(call));
  if (call.failed()) return {};
  return copy_to_output(call, 0, call.tensor("x"), types[0].dims);
}

// reshape: 0 keeps an extent of x and -1 takes what is left. Up to CoreML6 zeros stand where the extent stands in x;
// from CoreML7 on they count from the last axis and add axes of 1 before x's first.
Result<Types> infer_reshape(Call& call) {
  DType dtype = call.type("x").dtype;
  auto wanted = known_ints(call, "shape");
  if (!wanted) {
    const ir::Type& shape = call.type("shape");
    if (shape.ranked && shape.rank() != 1) return input_error("shape must have rank 1");
    if (!shape.is_static() || shape.dims[0] > 64) return Types{ir::Type::unranked(dtype)};
    return Types{ir::Type::tensor(dtype, Dims(static_cast<size_t>(shape.dims[0]), ir::kUnknown))};
  }
  bool ranked = is_ranked(call, "x"), from_last = call.def().since >= Opset::kCoreML7;
  Dims x = ranked ? dims_of(call, "x") : Dims{}, dims = *wanted;
  std::optional<size_t> left;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < -1) return input_error("shape " + std::to_string(dims[i]) + " is below -1");
    if (dims[i] == -1) {
      if (left) return input_error("shape has more than one -1");
      left = i;
    }
    if (dims[i] != 0) continue;
    if (!ranked) return input_error("a 0 in shape needs an x of known rank");
    if (!from_last && dims.size() != x.size())
      return input_error("a 0 in shape needs as many elements as x has axes, " + std::to_string(x.size()) + ", not " + std::to_string(dims.size()));
    size_t back = dims.size() - i;
    dims[i] = back <= x.size() ? x[x.size() - back] : 1;
  }
  if (!ranked || !is_known(x)) return Types{ir::Type::tensor(dtype, std::move(dims))};
  MLT_ASSIGN(int64_t total, element_count(x));
  if (left) {
    Dims others = dims;
    others[*left] = 1;
    MLT_ASSIGN(int64_t rest, element_count(others));
    if (rest == 0 || total % rest != 0) return input_error("cannot reshape " + dims_text(x) + " to " + dims_text(*wanted));
    dims[*left] = total / rest;
  }
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count != total) return input_error("cannot reshape " + dims_text(x) + " to " + dims_text(*wanted));
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

// The extents of parts of other tensors' shapes, one after the other.
Result<Types> infer_reshape_like(Call& call) {
  size_t n = call.count("ref_tensors");
  if (call.count("begins") != n || call.count("ends") != n || call.count("end_masks") != n)
    return input_error("ref_tensors, begins, ends and end_masks must have the same length");
  DType dtype = call.type("x").dtype;
  Dims dims;
  for (size_t i = 0; i < n; ++i) {
    const Tensor *begin = call.value("begins", i), *end = call.value("ends", i), *mask = call.value("end_masks", i);
    if (begin == nullptr || end == nullptr || mask == nullptr || begin->size() != 1 || end->size() != 1 || mask->size() != 1)
      return input_error("begins, ends and end_masks must be constant scalars");
    if (!is_ranked(call, "ref_tensors", i)) return Types{ir::Type::unranked(dtype)};
    const Dims& ref = dims_of(call, "ref_tensors", i);
    int64_t rank = static_cast<int64_t>(ref.size());
    auto position = [rank](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
    int64_t first = position(to_ints(*begin)[0]), last = to_ints(*mask)[0] != 0 ? rank : position(to_ints(*end)[0]);
    for (int64_t d = first; d < last; ++d) dims.push_back(ref[static_cast<size_t>(d)]);
  }
  if (is_ranked(call, "x") && is_known(dims_of(call, "x")) && is_known(dims)) {
    MLT_ASSIGN(int64_t have, element_count(dims_of(call, "x")));
    MLT_ASSIGN(int64_t want, element_count(dims));
    if (have != want) return input_error("cannot reshape " + dims_text(dims_of(call, "x")) + " to " + dims_text(dims));
  }
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

Result<Types> infer_expand_dims(Call& call) {
  DType dtype = call.type("x").dtype;
  std::vector<int64_t> axes = call.ints("axes");
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  Dims dims = dims_of(call, "x");
  MLT_ASSIGN(axes, normalize_axes(axes, static_cast<int64_t>(dims.size() + axes.size())));
  std::sort(axes.begin(), axes.end());
  for (int64_t axis : axes) dims.insert(dims.begin() + axis, 1);
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

// Axes that are not of extent 1 stay, as in PyTorch; one of unknown extent is taken not to be 1. A plan for concrete
// extents must then keep such an axis even where it happens to be 1: the program around it counts on the declared rank.
Dims squeezed(const Dims& dims, const Dims& declared, const std::vector<bool>& chosen) {
  Dims out;
  for (size_t i = 0; i < dims.size(); ++i)
    if (!chosen[i] || declared[i] != 1) out.push_back(dims[i]);
  return out;
}
Result<Types> infer_squeeze(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  const Dims& dims = dims_of(call, "x");
  std::vector<bool> chosen(dims.size(), !call.has("axes"));
  if (call.has("axes")) {
    MLT_ASSIGN(std::vector<int64_t> axes, normalize_axes(call.ints("axes"), static_cast<int64_t>(dims.size())));
    for (int64_t axis : axes) chosen[static_cast<size_t>(axis)] = true;
  }
  Dims out = squeezed(dims, dims, chosen);
  const ir::Value* x = call.op() == nullptr ? nullptr : call.op()->input("x");
  if (x != nullptr && !call.op()->outputs.empty() && x->type.ranked && x->type.dims.size() == dims.size()) {
    const ir::Type& result = call.op()->output()->type;
    Dims by_declaration = squeezed(dims, x->type.dims, chosen);
    if (result.ranked && result.dims.size() == by_declaration.size()) out = std::move(by_declaration);
  }
  return Types{ir::Type::tensor(dtype, std::move(out))};
}

Result<std::vector<int64_t>> permutation(Call& call, size_t rank) {
  std::vector<int64_t> perm = call.ints("perm");
  if (perm.size() != rank) return input_error("perm has " + std::to_string(perm.size()) + " elements for x of rank " + std::to_string(rank));
  return normalize_axes(perm, static_cast<int64_t>(rank));
}

Result<Types> infer_transpose(Call& call) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::unranked(dtype)};
  const Dims& x = dims_of(call, "x");
  MLT_ASSIGN(std::vector<int64_t> perm, permutation(call, x.size()));
  Dims dims;
  for (int64_t axis : perm) dims.push_back(x[static_cast<size_t>(axis)]);
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

Status eval_transpose(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(std::vector<int64_t> perm, permutation(call, x.dims().size()));
  Dims own = row_major_strides(x.dims()), dims, strides;
  for (int64_t axis : perm) {
    dims.push_back(x.dims()[static_cast<size_t>(axis)]);
    strides.push_back(own[static_cast<size_t>(axis)]);
  }
  Tensor& y = output(call, 0, dims);
  if (call.failed() || y.size() == 0) return {};
  copy_strided(x.bytes().data(), y.mutable_bytes(), dims, strides, element_bytes(x));
  return {};
}

// reverse, reverse_sequence

Result<std::vector<int64_t>> reversed_axes(Call& call, int64_t rank) {
  if (call.has("axes")) return normalize_axes(call.ints("axes"), rank);
  std::vector<int64_t> all;
  for (int64_t i = 0; i < rank; ++i) all.push_back(i);
  return all;
}
Result<Types> infer_reverse(Call& call) {
  if (is_ranked(call, "x")) MLT_TRY(reversed_axes(call, static_cast<int64_t>(dims_of(call, "x").size())));
  return infer_same_as_x(call);
}
Status eval_reverse(Call& call) {
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(std::vector<int64_t> axes, reversed_axes(call, x.rank()));
  Tensor& y = output(call, 0, x.dims());
  if (call.failed() || y.size() == 0) return {};
  Dims strides = row_major_strides(x.dims());
  int64_t start = 0, bytes = element_bytes(x);
  for (int64_t axis : axes) {
    size_t at = static_cast<size_t>(axis);
    start += (x.dims()[at] - 1) * strides[at];
    strides[at] = -strides[at];
  }
  copy_strided(x.bytes().data() + start * bytes, y.mutable_bytes(), x.dims(), strides, bytes);
  return {};
}

Result<Types> infer_reverse_sequence(Call& call) {
  int64_t seq = call.i64("seq_axis"), batch = call.i64("batch_axis");
  if (!is_ranked(call, "x") || !is_ranked(call, "lengths")) return infer_same_as_x(call);
  const Dims &x = dims_of(call, "x"), &lengths = dims_of(call, "lengths");
  MLT_TRY(normalize_axis(seq, static_cast<int64_t>(x.size())));
  MLT_ASSIGN(batch, normalize_axis(batch, static_cast<int64_t>(x.size())));
  int64_t extent = x[static_cast<size_t>(batch)];
  if (lengths.size() != 1 || (lengths[0] >= 0 && extent >= 0 && lengths[0] != extent))
    return input_error("lengths must have one element for each of the " + std::to_string(extent) + " entries of the batch axis");
  return infer_same_as_x(call);
}
Status eval_reverse_sequence(Call& call) {
  MLT_TRY(infer_reverse_sequence(call));
  const Tensor& x = call.tensor("x");
  MLT_ASSIGN(int64_t seq, normalize_axis(call.i64("seq_axis"), x.rank()));
  MLT_ASSIGN(int64_t batch, normalize_axis(call.i64("batch_axis"), x.rank()));
  std::vector<int64_t> lengths = call.ints("lengths");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed() || y.size() == 0) return {};
  Dims strides = row_major_strides(x.dims());
  int64_t n = x.dims()[static_cast<size_t>(seq)], step = strides[static_cast<size_t>(seq)], bytes = element_bytes(x);
  int64_t batch_extent = x.dims()[static_cast<size_t>(batch)], batch_step = strides[static_cast<size_t>(batch)];
  for (int64_t length : lengths)
    if (length < 0 || length > n) return input_error("length " + std::to_string(length) + " is out of range for an axis of " + std::to_string(n));
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t at = i / step % n, length = lengths[static_cast<size_t>(i / batch_step % batch_extent)];
    int64_t from = at < length ? i + (length - 1 - 2 * at) * step : i;
    // With seq_axis == batch_axis every entry has its own length, and a mirrored position may leave the axis.
    if (from < 0 || from >= x.size()) return input_error("lengths reverse beyond the axis");
    std::memcpy(y.mutable_bytes() + i * bytes, x.bytes().data() + from * bytes, static_cast<size_t>(bytes));
  }
  return {};
}

// Blocks. All four have x of shape [n, c, h, w] and a factor b; channel groups are (row in block, column in block,
// channel) for depth, as in TensorFlow, and (channel, row, column) for pixel, as in PyTorch.

Result<int64_t> block_factor(Call& call, std::string_view param, const Dims& x) {
  int64_t b = call.i64(param);
  if (x.size() != 4) return input_error("x must have rank 4, not " + std::to_string(x.size()));
  if (b < 1 || b > 32768) return input_error("parameter \"" + std::string(param) + "\" must be positive");
  return b;
}
int64_t scaled(int64_t extent, int64_t factor) { return extent < 0 ? extent : extent * factor; }

Result<Types> infer_to_space(Call& call, std::string_view param) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::tensor(dtype, Dims(4, ir::kUnknown))};
  const Dims& x = dims_of(call, "x");
  MLT_ASSIGN(int64_t b, block_factor(call, param, x));
  if (x[1] >= 0 && x[1] % (b * b) != 0) return input_error(std::to_string(x[1]) + " channels cannot be split into blocks of " + std::to_string(b * b));
  return Types{ir::Type::tensor(dtype, {x[0], x[1] < 0 ? x[1] : x[1] / (b * b), scaled(x[2], b), scaled(x[3], b)})};
}
Result<Types> infer_to_depth(Call& call, std::string_view param) {
  DType dtype = call.type("x").dtype;
  if (!is_ranked(call, "x")) return Types{ir::Type::tensor(dtype, Dims(4, ir::kUnknown))};
  const Dims& x = dims_of(call, "x");
  MLT_ASSIGN(int64_t b, block_factor(call, param, x));
  for (size_t i : {size_t{2}, size_t{3}})
    if (x[i] >= 0 && x[i] % b != 0) return input_error("an extent of " + std::to_string(x[i]) + " cannot be split into blocks of " + std::to_string(b));
  return Types{ir::Type::tensor(dtype, {x[0], scaled(x[1], b * b), x[2] < 0 ? x[2] : x[2] / b, x[3] < 0 ? x[3] : x[3] / b})};
}
Result<Types> infer_depth_to_space(Call& call) { return infer_to_space(call, "block_size"); }
Result<Types> infer_pixel_shuffle(Call& call) { return infer_to_space(call, "upscale_factor"); }
Result<Types> infer_space_to_depth(Call& call) { return infer_to_depth(call, "block_size"); }
Result<Types> infer_pixel_unshuffle(Call& call) { return infer_to_depth(call, "downscale_factor"); }

enum class Order { kBlockFirst, kChannelFirst };

template <InferFn infer, Order order>
Status eval_to_space(Call& call) {
  MLT_ASSIGN(Types types, infer(call));
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t h = x.dims()[2], w = x.dims()[3], plane = h * w, c = y.dims()[1], b = y.dims()[2] / h;
  int64_t channel = order == Order::kBlockFirst ? plane : b * b * plane, column = order == Order::kBlockFirst ? c * plane : plane;
  copy_strided(x.bytes().data(), y.mutable_bytes(), {x.dims()[0], c, h, b, w, b}, {x.dims()[1] * plane, channel, w, b * column, 1, column}, 4);
  return {};
}
template <InferFn infer, Order order>
Status eval_to_depth(Call& call) {
  MLT_ASSIGN(Types types, infer(call));
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t n = x.dims()[0], c = x.dims()[1], w = x.dims()[3], plane = x.dims()[2] * w, h_out = y.dims()[2], w_out = y.dims()[3];
  int64_t b = w / w_out;
  if (order == Order::kBlockFirst)
    copy_strided(x.bytes().data(), y.mutable_bytes(), {n, b, b, c, h_out, w_out}, {c * plane, w, 1, plane, b * w, b}, 4);
  else
    copy_strided(x.bytes().data(), y.mutable_bytes(), {n, c, b, b, h_out, w_out}, {c * plane, plane, w, 1, b * w, b}, 4);
  return {};
}

// space_to_batch and batch_to_space: blocks of the two spatial axes, the position in the block outside of the batch.
struct BatchBlocks {
  int64_t rows = 1, columns = 1;
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // padding or cropping
};
Result<BatchBlocks> batch_blocks(Call& call, std::string_view margins) {
  std::vector<int64_t> block = call.ints("block_shape"), m = call.ints(margins);
  if (is_ranked(call, "x") && dims_of(call, "x").size() != 4) return input_error("x must have rank 4");
  if (block.size() != 2 || m.size() != 4)
    return input_error("block_shape and " + std::string(margins) + " must have shapes 2 and 2x2");
  constexpr int64_t kLimit = int64_t{1} << 31;
  for (int64_t b : block)
    if (b < 1 || b > 32768) return input_error("block_shape must be positive");
  for (int64_t v : m)
    if (v < 0 || v > kLimit) return input_error(std::string(margins) + " must not be negative");
  return BatchBlocks{block[0], block[1], m[0], m[1], m[2], m[3]};
}

Result<Types> infer_space_to_batch(Call& call) {
  DType dtype = call.type("x").dtype;
  MLT_ASSIGN(BatchBlocks b, batch_blocks(call, "paddings"));
  if (!is_ranked(call, "x")) return Types{ir::Type::tensor(dtype, Dims(4, ir::kUnknown))};
  const Dims& x = dims_of(call, "x");
  auto blocks = [](int64_t extent, int64_t margin, int64_t size) -> Result<int64_t> {
    if (extent < 0) return ir::kUnknown;
    if ((extent + margin) % size != 0) return input_error("a padded extent of " + std::to_string(extent + margin) + " cannot be split into blocks of " + std::to_string(size));
    return (extent + margin) / size;
  };
  MLT_ASSIGN(int64_t h, blocks(x[2], b.top + b.bottom, b.rows));
  MLT_ASSIGN(int64_t w, blocks(x[3], b.left + b.right, b.columns));
  return Types{ir::Type::tensor(dtype, {scaled(x[0], b.rows * b.columns), x[1], h, w})};
}

Status eval_space_to_batch(Call& call) {
  MLT_ASSIGN(Types types, infer_space_to_batch(call));
  MLT_ASSIGN(BatchBlocks b, batch_blocks(call, "paddings"));
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t n = x.dims()[0], c = x.dims()[1], h = x.dims()[2], w = x.dims()[3];
  const float* in = x.data<float>();
  float* out = y.mutable_data<float>();
  Dims index(4, 0);
  do {
    int64_t batch = index[0] % n, position = index[0] / n;
    int64_t row = index[2] * b.rows + position / b.columns - b.top, column = index[3] * b.columns + position % b.columns - b.left;
    bool inside = row >= 0 && row < h && column >= 0 && column < w;
    *out++ = inside ? in[((batch * c + index[1]) * h + row) * w + column] : 0;
  } while (next_index(index, y.dims()));
  return {};
}

Result<Types> infer_batch_to_space(Call& call) {
  DType dtype = call.type("x").dtype;
  MLT_ASSIGN(BatchBlocks b, batch_blocks(call, "crops"));
  if (!is_ranked(call, "x")) return Types{ir::Type::tensor(dtype, Dims(4, ir::kUnknown))};
  const Dims& x = dims_of(call, "x");
  int64_t each = b.rows * b.columns;
  if (x[0] >= 0 && x[0] % each != 0) return input_error("a batch of " + std::to_string(x[0]) + " cannot be split into blocks of " + std::to_string(each));
  int64_t h = x[2] < 0 ? ir::kUnknown : x[2] * b.rows - b.top - b.bottom, w = x[3] < 0 ? ir::kUnknown : x[3] * b.columns - b.left - b.right;
  if ((x[2] >= 0 && h < 0) || (x[3] >= 0 && w < 0)) return input_error("crops are larger than the image");
  return Types{ir::Type::tensor(dtype, {x[0] < 0 ? x[0] : x[0] / each, x[1], h, w})};
}

Status eval_batch_to_space(Call& call) {
  MLT_ASSIGN(Types types, infer_batch_to_space(call));
  MLT_ASSIGN(BatchBlocks b, batch_blocks(call, "crops"));
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  int64_t n = y.dims()[0], c = x.dims()[1], h = x.dims()[2], w = x.dims()[3];
  const float* in = x.data<float>();
  float* out = y.mutable_data<float>();
  Dims index(4, 0);
  do {
    int64_t row = index[2] + b.top, column = index[3] + b.left;
    int64_t batch = (row % b.rows * b.columns + column % b.columns) * n + index[0];
    *out++ = in[((batch * c + index[1]) * h + row / b.rows) * w + column / b.columns];
  } while (next_index(index, y.dims()));
  return {};
}

constexpr std::string_view kAny4 = "T: fp16 fp32 int32 bool";
constexpr std::string_view kAny8 = "T: fp16 fp32 int8 int16 int32 uint8 uint16 bool";
constexpr std::string_view kAny8U = "T: fp16 fp32 int8 int16 int32 uint8 uint16 bool; U: int8 int16 int32";
constexpr std::string_view kFloats = "T: fp16 fp32";

constexpr OpDef row(std::string_view name, Opset since, std::string_view signature, std::string_view domains, InferFn infer, EvalFn eval,
                    std::string_view doc) {
  return {.name = name, .since = since, .signature = signature, .domains = domains, .infer = infer, .eval = eval,
          .exactness = Exactness::kExact, .doc = doc};
}
constexpr Opset k5 = Opset::kCoreML5, k6 = Opset::kCoreML6, k7 = Opset::kCoreML7, k8 = Opset::kCoreML8;

#define MLT_SLICE_PARAMS(U) \
  "begin: " U ", end: " U ", stride?: const " U ", begin_mask?: const bool, end_mask?: const bool, squeeze_mask?: const bool -> output"

constexpr OpDef kOps[] = {
    row("batch_to_space", k5, "x: T, block_shape: const int32, crops: const int32 -> output", kFloats, infer_batch_to_space, eval_batch_to_space,
        "Blocks of the batch axis laid out in space, then cropped."),
    row("depth_to_space", k5, "x: T, block_size: const int32 -> output", kFloats, infer_depth_to_space,
        eval_to_space<infer_depth_to_space, Order::kBlockFirst>, "Channels laid out as blocks in space; the channel runs fastest within a group."),
    row("expand_dims", k5, "x: T, axes: const int32 -> output", kAny4, infer_expand_dims, eval_view<infer_expand_dims>, "x with axes of extent 1 added."),
    row("expand_dims", k7, "x: T, axes: const int32 -> output", kAny8, infer_expand_dims, eval_view<infer_expand_dims>, "x with axes of extent 1 added."),
    row("pixel_shuffle", k5, "x: T, upscale_factor: const int32 -> output", kFloats, infer_pixel_shuffle,
        eval_to_space<infer_pixel_shuffle, Order::kChannelFirst>, "Channels laid out as blocks in space; the channel runs slowest."),
    row("pixel_unshuffle", k6, "x: T, downscale_factor: const uint32 -> output", kFloats, infer_pixel_unshuffle,
        eval_to_depth<infer_pixel_unshuffle, Order::kChannelFirst>, "Blocks in space laid out as channels; the inverse of pixel_shuffle."),
    row("reshape", k5, "x: T, shape: int32 -> output", kAny4, infer_reshape, eval_view<infer_reshape>,
        "x under other extents; 0 keeps the extent at the same place, -1 takes what is left."),
    row("reshape", k7, "x: T, shape: U -> output", kAny8U, infer_reshape, eval_view<infer_reshape>,
        "x under other extents; 0 keeps the extent at the same place counted from the last, -1 takes what is left."),
    row("reshape_like", k6, "x: T, ref_tensors*: fp16|fp32|int32|bool, begins*: const int32, ends*: const int32, end_masks*: const bool -> output", kAny4,
        infer_reshape_like, eval_view<infer_reshape_like>, "x under the extents of parts of other tensors' shapes."),
    row("reshape_like", k7,
        "x: T, ref_tensors*: fp16|fp32|int8|int16|int32|uint8|uint16|bool, begins*: const int32, ends*: const int32, end_masks*: const bool -> output",
        kAny8, infer_reshape_like, eval_view<infer_reshape_like>, "x under the extents of parts of other tensors' shapes."),
    row("reverse", k5, "x: T, axes?: const int32 -> output", kAny4, infer_reverse, eval_reverse, "x backwards along the axes, all by default."),
    row("reverse", k7, "x: T, axes?: const int32 -> output", kAny8, infer_reverse, eval_reverse, "x backwards along the axes, all by default."),
    row("reverse_sequence", k5, "x: T, lengths: int32, seq_axis: const int32 = 0, batch_axis: const int32 = 0 -> output", kAny4, infer_reverse_sequence,
        eval_reverse_sequence, "The first elements along one axis backwards, as many as the entry of the batch axis has."),
    row("reverse_sequence", k7, "x: T, lengths: U, seq_axis: const int32 = 0, batch_axis: const int32 = 0 -> output", kAny8U, infer_reverse_sequence,
        eval_reverse_sequence, "The first elements along one axis backwards, as many as the entry of the batch axis has."),
    row("slice_by_index", k5, "x: T, " MLT_SLICE_PARAMS("int32"), kAny4, infer_slice_by_index, eval_slice_by_index,
        "x[begin:end:stride] along every axis, as in Python; masks leave a bound open or drop the axis."),
    row("slice_by_index", k7, "x: T, " MLT_SLICE_PARAMS("U"), kAny8U, infer_slice_by_index, eval_slice_by_index,
        "x[begin:end:stride] along every axis, as in Python; masks leave a bound open or drop the axis."),
    row("slice_by_size", k5, "x: T, begin: int32, size: int32 -> output", kAny4, infer_slice_by_size, eval_slice_by_size,
        "size elements from begin along every axis; -1 takes the rest."),
    row("slice_by_size", k7, "x: T, begin: U, size: U -> output", kAny8U, infer_slice_by_size, eval_slice_by_size,
        "size elements from begin along every axis; -1 takes the rest."),
    row("slice_update", k8, "x: T, update: T, " MLT_SLICE_PARAMS("U"), kAny8U, infer_slice_update, eval_slice_update,
        "x with the slice that slice_by_index would read replaced by update."),
    row("sliding_windows", k5, "x: T, axis: const int32, size: const int32, stride: const int32 = 1 -> output", "T: fp16 fp32 int32",
        infer_sliding_windows, eval_sliding_windows, "All windows of a size along an axis; the window becomes the axis after it."),
    row("sliding_windows", k7, "x: T, axis: const int32, size: const int32, stride: const int32 = 1 -> output", kAny8, infer_sliding_windows,
        eval_sliding_windows, "All windows of a size along an axis; the window becomes the axis after it."),
    row("space_to_batch", k5, "x: T, block_shape: const int32, paddings: const int32 -> output", kFloats, infer_space_to_batch, eval_space_to_batch,
        "Space padded with zeros, its blocks laid out along the batch axis."),
    row("space_to_depth", k5, "x: T, block_size: const int32 -> output", kFloats, infer_space_to_depth,
        eval_to_depth<infer_space_to_depth, Order::kBlockFirst>, "Blocks in space laid out as channels; the channel runs fastest within a group."),
    row("squeeze", k5, "x: T, axes?: const int32 -> output", kAny4, infer_squeeze, eval_view<infer_squeeze>, "x without axes of extent 1."),
    row("squeeze", k7, "x: T, axes?: const int32 -> output", kAny8, infer_squeeze, eval_view<infer_squeeze>, "x without axes of extent 1."),
    row("transpose", k5, "x: T, perm: const int32 -> output", kAny4, infer_transpose, eval_transpose, "x with its axes in another order."),
    row("transpose", k7, "x: T, perm: const int32 -> output", kAny8, infer_transpose, eval_transpose, "x with its axes in another order."),
};

#undef MLT_SLICE_PARAMS

}  // namespace

std::span<const OpDef> tensor_transformation_ops() { return kOps; }

}  // namespace mlt::ops
