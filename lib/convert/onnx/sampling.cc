// Sampling at computed positions: grids, deformed convolutions, regions of images.
//
// Where MIL's resample means the same it is used. Otherwise each position becomes a few taps per axis (an index and a
// weight), and the result is the sum over the product of the taps of gathered elements.
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

enum class Edge { kZeros, kBorder, kReflect };

struct Tap {
  V index;   // int32 [N, P], inside the image
  V weight;  // [N, P]; null for one
};

// The coordinate folded back between low and high as often as needed.
V reflect(Lower& l, V x, double low, double high) {
  double range = high - low;
  if (range <= 0) return l.clip(x, low, low);
  V phase = l.binary("mod", l.add(x, -low), l.f32(2 * range));
  return l.add(l.mul(l.unary("abs", l.add(phase, -range)), -1), low + range);
}

Tap tap(Lower& l, V at, V weight, int64_t extent, Edge edge, bool align) {
  double last = static_cast<double>(extent - 1);
  if (edge == Edge::kZeros) {
    V inside = l.op("logical_and", {{"x", l.binary("greater_equal", at, l.f32(0))}, {"y", l.binary("less_equal", at, l.f32(last))}});
    inside = l.cast(inside, DType::kF32);
    weight = weight ? l.mul(weight, inside) : inside;
  } else if (edge == Edge::kReflect) {
    at = reflect(l, at, align ? 0 : -0.5, align ? last : last + 0.5);
  }
  return {l.cast(l.clip(at, 0, last), DType::kI32), weight};
}

// Keys' convolution kernel with a = -0.75 at distance t, where |t| <= 1 or 1 <= |t| <= 2.
V cubic(Lower& l, V t, bool near) {
  constexpr double a = -0.75;
  auto horner = [&](std::initializer_list<double> factors) {
    V y = nullptr;
    for (double f : factors) y = y ? l.add(l.mul(y, t), f) : l.f32(f);
    return y;
  };
  return near ? horner({a + 2, -(a + 3), 0, 1}) : horner({a, -5 * a, 8 * a, -4 * a});
}

std::vector<Tap> taps(Lower& l, V x, const std::string& mode, int64_t extent, Edge edge, bool align) {
  double last = static_cast<double>(extent - 1);
  if (mode == "nearest") x = l.unary("round", x);
  if (edge == Edge::kBorder) x = l.clip(x, 0, last);
  if (edge == Edge::kReflect) x = reflect(l, x, align ? 0 : -0.5, align ? last : last + 0.5);
  if (mode == "nearest") return {tap(l, x, nullptr, extent, edge, align)};
  V floor = l.unary("floor", x), t = l.sub(x, floor);
  std::vector<Tap> out;
  if (mode == "linear") {
    out.push_back(tap(l, floor, l.sub(l.f32(1), t), extent, edge, align));
    out.push_back(tap(l, l.add(floor, 1), t, extent, edge, align));
  } else {
    V back = l.sub(l.f32(1), t);
    out.push_back(tap(l, l.add(floor, -1), cubic(l, l.add(t, 1), false), extent, edge, align));
    out.push_back(tap(l, floor, cubic(l, t, true), extent, edge, align));
    out.push_back(tap(l, l.add(floor, 1), cubic(l, back, true), extent, edge, align));
    out.push_back(tap(l, l.add(floor, 2), cubic(l, l.add(back, 1), false), extent, edge, align));
  }
  return out;
}

// Elements of x [N, C, spatial...] for every choice of one tap per axis, each weighted: f sees [N, C, P] and may combine them.
template <typename F>
V over_taps(Lower& l, V x, const std::vector<std::vector<Tap>>& axes, F combine) {
  const Dims dims = Lower::dims(x);
  int64_t points = Lower::dims(axes[0][0].index)[1], total = product(dims, 2, dims.size());
  Dims shape = {dims[0], dims[1], points};
  Lower::check_constant(shape);
  V flat = l.reshape(x, {dims[0], dims[1], total}), sum = nullptr;
  std::vector<size_t> at(axes.size(), 0);
  while (true) {
    V index = nullptr, weight = nullptr;
    for (size_t d = 0; d < axes.size(); ++d) {
      const Tap& t = axes[d][at[d]];
      index = index ? l.add(l.mul(index, l.i32(dims[d + 2])), t.index) : t.index;
      if (t.weight) weight = weight ? l.mul(weight, t.weight) : t.weight;
    }
    V y = l.op("gather_along_axis", {{"x", flat}, {"indices", l.broadcast_to(l.expand_dims(index, {1}), shape)}, {"axis", l.i32(2)}});
    if (weight) y = l.mul(y, l.expand_dims(weight, {1}));
    sum = sum ? combine(sum, y) : y;
    size_t d = axes.size();
    while (d-- > 0) {
      if (++at[d] < axes[d].size()) break;
      at[d] = 0;
    }
    if (d == static_cast<size_t>(-1)) return sum;
  }
}

void grid_sample(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), grid = c.fin(1);
  std::string mode = c.str("mode", "linear"), padding = c.str("padding_mode", "zeros");
  bool align = c.i64("align_corners", 0) != 0;
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  if (mode != "linear" && mode != "nearest" && mode != "cubic") unsupported("mode \"" + mode + "\"");
  if (Lower::rank(x) == 4 && mode != "cubic") {
    std::string pad = padding == "zeros" ? "constant" : padding == "border" ? "border" : align ? "reflection" : "symmetric";
    V y = l.op("resample", {{"x", x}, {"coordinates", grid}, {"sampling_mode", l.str(mode == "linear" ? "bilinear" : "nearest")}, {"padding_mode", l.str(pad)},
                            {"padding_value", l.f32(0)}, {"coordinates_mode", l.str("normalized_minus_one_to_one")}, {"align_corners", l.boolean(align)}});
    return c.out(0, y, c.type(0));
  }
  const Dims dims = c.known_dims(x), where = c.known_dims(grid);
  size_t n = dims.size() - 2;
  if (dims.size() < 3 || dims.size() > 5 || where.size() != n + 2 || where.back() != static_cast<int64_t>(n)) bad_input("the grid does not fit the input");
  int64_t points = product(where, 1, where.size() - 1);
  V flat = l.reshape(grid, {where[0], points, static_cast<int64_t>(n)});
  Edge edge = padding == "zeros" ? Edge::kZeros : padding == "border" ? Edge::kBorder : Edge::kReflect;
  std::vector<std::vector<Tap>> axes;
  for (size_t d = 0; d < n; ++d) {  // the grid's coordinates run last axis first
    int64_t k = static_cast<int64_t>(n - 1 - d);
    double extent = static_cast<double>(dims[d + 2]);
    V p = l.squeeze(l.slice(flat, 2, k, k + 1), {2});
    p = align ? l.mul(l.add(p, 1), (extent - 1) / 2) : l.add(l.mul(l.add(p, 1), extent / 2), -0.5);
    axes.push_back(taps(l, p, mode, dims[d + 2], edge, align));
  }
  V y = over_taps(l, x, axes, [&](V a, V b) { return l.add(a, b); });
  Dims shape = {dims[0], dims[1]};
  shape.insert(shape.end(), where.begin() + 1, where.end() - 1);
  c.out(0, l.reshape(y, shape), c.type(0));
}

// A convolution whose kernel elements are taken at moved positions: gathered first, then one matrix product per group.
void deform_conv(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), w = c.fin(1), offset = c.fin(2);
  const Dims dims = c.known_dims(x), kernel = c.known_dims(w), out = c.known_dims(offset);
  if (dims.size() != 4 || kernel.size() != 4 || out.size() != 4) unsupported("other than images");
  int64_t groups = c.i64("group", 1), moved = c.i64("offset_group", 1), kh = kernel[2], kw = kernel[3], count = kh * kw;
  auto strides = c.ints("strides").value_or(std::vector<int64_t>{1, 1}), dilations = c.ints("dilations").value_or(std::vector<int64_t>{1, 1});
  auto pads = c.ints("pads").value_or(std::vector<int64_t>{0, 0, 0, 0});
  c.ignore({"kernel_shape"});
  int64_t oh = out[2], ow = out[3], area = oh * ow;
  if (groups < 1 || moved < 1 || strides.size() != 2 || dilations.size() != 2 || pads.size() != 4 || dims[1] % moved || dims[1] != kernel[1] * groups || kernel[0] % groups ||
      out[1] != moved * count * 2 || out[0] != dims[0])
    bad_input("offsets, weights and input do not fit");
  int64_t n = dims[0] * moved;
  Lower::check_constant({count, area});
  V parts = l.reshape(offset, {n, count, 2, area});
  std::vector<std::vector<Tap>> axes;
  for (int64_t d = 0; d < 2; ++d) {
    std::vector<float> base;
    for (int64_t k = 0; k < count; ++k)
      for (int64_t p = 0; p < area; ++p) {
        int64_t step = d == 0 ? k / kw : k % kw, place = d == 0 ? p / ow : p % ow;
        size_t at = static_cast<size_t>(d);
        base.push_back(static_cast<float>(place * strides[at] - pads[at] + step * dilations[at]));
      }
    V moves = l.reshape(l.slice(parts, 2, d, d + 1), {n, count * area});
    V at = l.add(moves, l.constant(Tensor::from<float>({1, count * area}, base)));
    axes.push_back(taps(l, at, "linear", dims[static_cast<size_t>(d) + 2], Edge::kZeros, true));
  }
  V columns = over_taps(l, l.reshape(x, {n, dims[1] / moved, dims[2], dims[3]}), axes, [&](V a, V b) { return l.add(a, b); });
  if (c.opt(4)) columns = l.mul(columns, l.reshape(c.fin(4), {n, 1, count * area}));
  columns = l.reshape(columns, {dims[0], groups, kernel[1] * count, area});
  V y = l.matmul(l.reshape(w, {1, groups, kernel[0] / groups, kernel[1] * count}), columns);
  y = l.reshape(y, {dims[0], kernel[0], oh, ow});
  if (V bias = c.opt(3)) y = l.add(y, along_axis(l, l.cast(bias, DType::kF32), 1, 4));
  c.out(0, y, c.type(0));
}

// Averages of samples_per_bin^2 bilinear samples in each bin of a region.
void roi_align(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), rois = c.fin(1), batch = c.in(2);
  int64_t oh = c.i64("output_height", 1), ow = c.i64("output_width", 1), s = c.i64("sampling_ratio", 0);
  double scale = c.f32("spatial_scale", 1);
  bool half = c.str("coordinate_transformation_mode", c.version() >= 16 ? "half_pixel" : "output_half_pixel") == "half_pixel";
  bool largest = c.str("mode", "avg") == "max";
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
  if (largest) {  // of the weighted neighbours of all samples, as the standard has it
    int64_t count = oh * s * ow * s;
    Dims samples = {regions, oh * s, ow * s};
    auto sides = [&](V p, int64_t extent, int64_t axis) {
      V ok = inside(p, extent);
      p = l.clip(p, 0, static_cast<double>(extent - 1));
      V low = l.unary("floor", p), t = l.sub(p, low), high = l.clip(l.add(low, 1), 0, static_cast<double>(extent - 1));
      auto spread = [&](V v) { return l.reshape(l.broadcast_to(l.expand_dims(v, {axis}), samples), {regions, count}); };
      return std::vector<Tap>{{spread(l.cast(low, DType::kI32)), spread(l.mul(l.sub(l.f32(1), t), ok))}, {spread(l.cast(high, DType::kI32)), spread(l.mul(t, ok))}};
    };
    V y = over_taps(l, l.gather(x, batch, 0), {sides(py, image[2], 2), sides(px, image[3], 1)}, [&](V a, V b) { return l.binary("maximum", a, b); });
    y = l.reshape(y, {regions, image[1], oh * s, ow * s});
    if (s > 1) y = l.op("max_pool", {{"x", y}, {"kernel_sizes", l.ints({s, s})}, {"strides", l.ints({s, s})}, {"pad_type", l.str("valid")}});
    return c.out(0, y, c.type(0));
  }
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

constexpr Row kRows[] = {
    {"DeformConv", deform_conv, "", "images of known extents"},
    {"GridSample", grid_sample, "", "cubic and volumes: known extents"},
    {"RoiAlign", roi_align, "", "a fixed number of samples"},
};

}  // namespace

std::span<const Row> families::sampling() { return kRows; }

}  // namespace mlt::foreign::onnx
