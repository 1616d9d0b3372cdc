// Operators that Core ML has no word for and a few tensor operations spell: bits of integers, determinants, patches to
// images and regions of images to grids.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

// The 32 bits of an int32 along a new last axis: quotients by powers of two, rounded down, are two's complement shifts.
V bits_of(Ctx& c, V x) {
  if (Lower::rank(x) >= 5) unsupported("bits of tensors of rank " + std::to_string(Lower::rank(x)));
  std::vector<int64_t> powers;
  for (int i = 0; i < 31; ++i) powers.push_back(int64_t{1} << i);
  V wide = c.l.expand_dims(x, {Lower::rank(x)});
  V low = c.l.binary("mod", c.l.binary("floor_div", wide, c.l.ints(powers)), c.l.i32(2));
  V sign = c.l.cast(c.l.binary("less", wide, c.l.i32(0)), DType::kI32);
  return c.l.concat({low, sign}, Lower::rank(x));
}
V from_bits(Ctx& c, V bits) {
  std::vector<int64_t> powers;
  for (int i = 0; i < 31; ++i) powers.push_back(int64_t{1} << i);
  powers.push_back(-(int64_t{1} << 31));
  return c.l.reduce("reduce_sum", c.l.mul(bits, c.l.ints(powers)), {Lower::rank(bits) - 1}, false);
}
void narrow(Ctx& c) {
  if (c.type(0) == DType::kI64 || c.type(0) == DType::kU64 || c.type(0) == DType::kU32) c.driver().warn("bits of 64-bit integers: only the lower 32 are there");
}
void bit_and(Ctx& c) {
  narrow(c);
  c.out(0, from_bits(c, c.l.mul(bits_of(c, c.in(0)), bits_of(c, c.in(1)))), c.type(0));
}
void bit_or(Ctx& c) {
  narrow(c);
  c.out(0, from_bits(c, c.l.binary("maximum", bits_of(c, c.in(0)), bits_of(c, c.in(1)))), c.type(0));
}
void bit_xor(Ctx& c) {
  narrow(c);
  V a = bits_of(c, c.in(0)), b = bits_of(c, c.in(1));
  c.out(0, from_bits(c, c.l.cast(c.l.binary("not_equal", a, b), DType::kI32)), c.type(0));
}

// Expansion along the first row; sizes that occur are small.
V minor_sum(Lower& l, V x, int64_t n) {
  int64_t rank = Lower::rank(x), rows = rank - 2, cols = rank - 1;
  if (n == 1) return l.squeeze(x, {rows, cols});
  V rest = l.slice(x, rows, 1, n), sum = nullptr;
  for (int64_t j = 0; j < n; ++j) {
    V pivot = l.squeeze(l.slice(l.slice(x, rows, 0, 1), cols, j, j + 1), {rows, cols});
    std::vector<V> parts;
    if (j > 0) parts.push_back(l.slice(rest, cols, 0, j));
    if (j + 1 < n) parts.push_back(l.slice(rest, cols, j + 1, n));
    V term = l.mul(pivot, minor_sum(l, parts.size() == 1 ? parts[0] : l.concat(parts, cols), n - 1));
    sum = sum == nullptr ? term : j % 2 ? l.sub(sum, term) : l.add(sum, term);
  }
  return sum;
}
void det(Ctx& c) {
  V x = c.fin(0);
  int64_t rank = Lower::rank(x), n = rank >= 2 ? Lower::dims(x).back() : 0;
  if (n < 1 || n > 5 || Lower::dims(x)[static_cast<size_t>(rank - 2)] != n) unsupported("determinants of other than square matrices of up to 5 x 5");
  c.out(0, minor_sum(c.l, x, n), c.type(0));
}

// Overlapping blocks summed: a transposed convolution whose weights put each element in its place.
void col2im(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0);
  std::vector<int64_t> image = c.known(1, "image_shape"), block = c.known(2, "block_shape");
  size_t n = image.size();
  if (n < 1 || n > 3 || block.size() != n || Lower::rank(x) != 3) unsupported("blocks of " + std::to_string(n) + " axes");
  auto ones = std::vector<int64_t>(n, 1);
  std::vector<int64_t> dilations = c.ints("dilations").value_or(ones), strides = c.ints("strides").value_or(ones), pads = c.ints("pads").value_or(std::vector<int64_t>(2 * n, 0));
  if (dilations.size() != n || strides.size() != n || pads.size() != 2 * n) bad_input("attributes do not fit the image");
  int64_t size = 1;
  Dims steps, full;
  for (size_t i = 0; i < n; ++i) {
    if (block[i] < 1 || strides[i] < 1 || dilations[i] < 1) bad_input("extents must be positive");
    size *= block[i];
    int64_t span = dilations[i] * (block[i] - 1) + 1;
    steps.push_back((image[i] + pads[i] + pads[n + i] - span) / strides[i] + 1);
    full.push_back((steps.back() - 1) * strides[i] + span);
  }
  const Dims dims = c.known_dims(x);
  if (size > (1 << 12) || dims[1] % size) bad_input("blocks do not fit the input");
  int64_t channels = dims[1] / size;
  Lower::check_constant({dims[1], size});
  Dims grid = {dims[0], dims[1]}, weight = {dims[1], 1};
  grid.insert(grid.end(), steps.begin(), steps.end());
  weight.insert(weight.end(), block.begin(), block.end());
  Tensor w = Tensor::zeros(DType::kF32, weight);
  for (int64_t i = 0; i < dims[1]; ++i) w.mutable_data<float>()[i * size + i % size] = 1;
  V y = l.op("conv_transpose", {{"x", l.reshape(x, grid)}, {"weight", l.constant(std::move(w))}, {"strides", l.ints(strides)}, {"dilations", l.ints(dilations)},
                                {"pad_type", l.str("valid")}, {"groups", l.i32(channels)}});
  // What lies in the padding is cut off; what no block reaches is zero.
  std::vector<int64_t> more;
  bool any = false;
  for (size_t i = 0; i < n; ++i) {
    int64_t missing = image[i] + pads[i] + pads[n + i] - full[i];
    more.push_back(0);
    more.push_back(missing);
    any = any || missing > 0;
  }
  if (any) y = l.op("pad", {{"x", y}, {"pad", l.ints(more)}, {"mode", l.str("constant")}, {"constant_val", l.f32(0)}});
  for (size_t i = 0; i < n; ++i) y = l.slice(y, static_cast<int64_t>(i) + 2, pads[i], pads[i] + image[i]);
  c.out(0, y, c.type(0));
}

// Averages of samples_per_bin^2 bilinear samples in each bin of a region.
void roi_align(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), rois = c.fin(1), batch = c.in(2);
  int64_t oh = c.i64("output_height", 1), ow = c.i64("output_width", 1), s = c.i64("sampling_ratio", 0);
  double scale = c.f32("spatial_scale", 1);
  bool half = c.str("coordinate_transformation_mode", c.version() >= 16 ? "half_pixel" : "output_half_pixel") == "half_pixel";
  if (c.str("mode", "avg") != "avg") unsupported("mode max");
  if (s <= 0) unsupported("a number of samples that depends on the region (sampling_ratio 0)");
  const Dims image = c.known_dims(x);
  int64_t regions = Lower::dims(rois)[0];
  if (image.size() != 4 || regions < 0) unsupported("an unknown number of regions", "give fixed input shapes with --input NAME,shape=...");
  Lower::check_constant({oh * s, ow * s});
  V scaled = l.mul(rois, scale);
  if (half) scaled = l.add(scaled, -0.5);
  auto side = [&](int64_t i) { return l.slice(scaled, 1, i, i + 1); };  // [R, 1]
  // Positions [R, n] of samples along one axis.
  auto line = [&](int64_t low, int64_t high, int64_t bins) {
    V start = side(low), length = l.sub(side(high), start);
    if (!half) length = l.binary("maximum", length, l.f32(1));
    std::vector<float> at;
    for (int64_t i = 0; i < bins * s; ++i) at.push_back((static_cast<float>(i) + 0.5f) / static_cast<float>(bins * s));
    return l.add(start, l.mul(length, l.constant(Tensor::from<float>({1, bins * s}, at))));
  };
  V px = line(0, 2, ow), py = line(1, 3, oh);
  auto inside = [&](V p, int64_t extent) {
    V ok = l.op("logical_and", {{"x", l.binary("greater_equal", p, l.f32(-1))}, {"y", l.binary("less_equal", p, l.f32(static_cast<double>(extent)))}});
    return l.cast(ok, DType::kF32);
  };
  V weight = l.mul(l.expand_dims(inside(py, image[2]), {2}), l.expand_dims(inside(px, image[3]), {1}));  // [R, H, W]
  Dims grid = {regions, oh * s, ow * s, 1};
  V points = l.concat({l.broadcast_to(l.expand_dims(px, {1, 3}), grid), l.broadcast_to(l.expand_dims(py, {2, 3}), grid)}, 3);
  V y = l.op("resample", {{"x", l.gather(x, batch, 0)}, {"coordinates", points}, {"sampling_mode", l.str("bilinear")}, {"padding_mode", l.str("border")},
                          {"padding_value", l.f32(0)}, {"coordinates_mode", l.str("unnormalized")}, {"align_corners", l.boolean(true)}});
  y = l.mul(y, l.expand_dims(weight, {1}));
  if (s > 1)
    y = l.op("avg_pool", {{"x", y}, {"kernel_sizes", l.ints({s, s})}, {"strides", l.ints({s, s})}, {"pad_type", l.str("valid")}});
  c.out(0, y, c.type(0));
}

// Rows compared pair by pair: a row is kept when no equal one comes before it.
void unique(Ctx& c) {
  Lower& l = c.l;
  bool sorted = c.i64("sorted", 1) != 0, flat = !c.has_attr("axis");
  V x = c.in(0), rows = x;
  DType own = c.type(0);
  if (Lower::dtype(x) == DType::kBool) rows = x = l.cast(x, DType::kI32);
  const Dims dims = c.known_dims(x);
  int64_t rank = Lower::rank(x), axis = flat ? 0 : c.axis("axis", 0, rank);
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
  if (flat) {
    rows = l.reshape(x, {-1, 1});
  } else {
    perm.erase(perm.begin() + axis);
    perm.insert(perm.begin(), axis);
    rows = l.reshape(l.transpose(x, perm), {dims[static_cast<size_t>(axis)], -1});
  }
  int64_t n = Lower::dims(rows)[0], m = Lower::dims(rows)[1];
  Lower::check_constant({n, n, m});
  if (n * n * m > (int64_t{1} << 26)) unsupported("too many elements to compare");
  V a = l.expand_dims(rows, {1}), b = l.expand_dims(rows, {0});
  V differ = l.cast(l.binary("not_equal", a, b), DType::kI32);
  V equal = l.sub(l.i32(1), l.reduce("reduce_max", differ, {2}, false));  // [n, n]
  V at = l.op("reduce_argmax", {{"x", l.cast(differ, DType::kF32)}, {"axis", l.i32(2)}, {"keep_dims", l.boolean(true)}});
  V less = l.op("gather_along_axis", {{"x", l.cast(l.binary("less", a, b), DType::kI32)}, {"indices", at}, {"axis", l.i32(2)}});
  V first = l.op("reduce_argmax", {{"x", l.cast(equal, DType::kF32)}, {"axis", l.i32(1)}, {"keep_dims", l.boolean(false)}});
  V index = l.index_vector(n), kept = l.cast(l.binary("equal", first, index), DType::kI32);
  // How many kept rows come before each row's value, by value or by place.
  V before = sorted ? l.transpose(l.squeeze(less, {2}), {1, 0}) : l.cast(l.binary("less", l.expand_dims(index, {0}), l.expand_dims(first, {1})), DType::kI32);
  V inverse = l.reduce("reduce_sum", l.mul(before, l.expand_dims(kept, {0})), {1}, false);
  V places = l.squeeze(l.op("non_zero", {{"x", kept}}), {1});
  if (sorted) {
    V order = l.op("argsort", {{"x", l.gather(inverse, places, 0)}, {"axis", l.i32(0)}, {"ascending", l.boolean(true)}});
    places = l.gather(places, order, 0);
  }
  c.out(0, flat ? l.gather(l.reshape(x, {-1}), places, 0) : l.gather(x, places, axis), own);
  if (c.wants(1)) c.out(1, places, DType::kI64);
  if (c.wants(2)) c.out(2, inverse, DType::kI64);
  if (c.wants(3)) c.out(3, l.gather(l.reduce("reduce_sum", equal, {1}, false), places, 0), DType::kI64);
}

constexpr Row kRows[] = {
    {"BitwiseAnd", bit_and}, {"BitwiseOr", bit_or}, {"BitwiseXor", bit_xor}, {"Col2Im", col2im}, {"Det", det, "", "up to 5 x 5"},
    {"Unique", unique, "", "of known extents"}, {"RoiAlign", roi_align, "", "averages with a fixed number of samples"},
};

}  // namespace

std::span<const Row> families::bits() { return kRows; }

}  // namespace mlt::foreign::onnx
