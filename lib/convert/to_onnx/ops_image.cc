// Resizing and sampling. Grids that ONNX's Resize cannot lay are spelled as two interpolating matrix products.
#include <algorithm>
#include <cmath>

#include "lib/convert/to_onnx/emit.h"
#include "lib/ops/image_resizing_eval.h"

namespace mlt::foreign::to_onnx {
namespace {

// Extents of the last axes before and after; both must be known.
struct Grid {
  int64_t in, out;
};
Grid grid(Ctx& c, size_t from_end) {
  const Dims &x = c.dims("x"), &y = c.out_type().dims;
  int64_t in = x[x.size() - from_end], out = y[y.size() - from_end];
  if (in < 0 || out < 0) unsupported("resizing of extents that are not known");
  return {in, out};
}

// Rows of weights: y[i] = sum of w[i, k] x[k] for linear interpolation at the positions of a sampling grid.
Tensor weights(ops::Sampling sampling, Grid g) {
  std::vector<double> points = ops::sample_grid(sampling, static_cast<double>(g.in - 1), g.out);
  Tensor w = Tensor::zeros(DType::kF32, {g.out, g.in});
  for (int64_t i = 0; i < g.out; ++i) {
    double p = points[static_cast<size_t>(i)];
    int64_t low = std::min(static_cast<int64_t>(p), g.in - 1), high = std::min(low + 1, g.in - 1);
    float t = static_cast<float>(p - static_cast<double>(low));
    w.mutable_data<float>()[i * g.in + low] += 1 - t;
    w.mutable_data<float>()[i * g.in + high] += t;
  }
  return w;
}
Tensor flipped(const Tensor& w) {
  int64_t rows = w.dims()[0], cols = w.dims()[1];
  Tensor out = Tensor::uninitialized(DType::kF32, {cols, rows});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < cols; ++k) out.mutable_data<float>()[k * rows + r] = w.data<float>()[r * cols + k];
  return out;
}

S resize(Ctx& c, const S& x, std::vector<Attr> attributes, size_t axes) {
  const Dims& y = c.out_type().dims;
  std::vector<float> factors;
  for (size_t i = 0; i < y.size(); ++i) {
    if (i + axes < y.size()) {
      factors.push_back(1);
      continue;
    }
    Grid g = grid(c, y.size() - i);
    factors.push_back(static_cast<float>(static_cast<double>(g.out) / static_cast<double>(g.in)));
  }
  // Leading extents that are open are kept by scales, which must then give the extents exactly.
  bool known = std::none_of(y.begin(), y.end(), [](int64_t d) { return d < 0; });
  if (known) return c.g.node("Resize", {x, "", "", c.g.ints(y)}, std::move(attributes));
  S shape = c.g.slice(c.g.node("Shape", {x}), 0, 0, static_cast<int64_t>(y.size() - axes));
  S tail = c.g.ints(Dims(y.end() - static_cast<std::ptrdiff_t>(axes), y.end()));
  return c.g.node("Resize", {x, "", "", c.g.concat({shape, tail}, 0)}, std::move(attributes));
}

void linear(Ctx& c, ops::Sampling sampling, size_t axes = 2) {
  S x = c.in("x");
  std::string mode = sampling == ops::Sampling::kStrictAlignCorners ? "align_corners" : sampling == ops::Sampling::kUnalignCorners ? "half_pixel" : sampling == ops::Sampling::kDefault ? "asymmetric" : "";
  bool one = false;  // grids of a single point differ
  for (size_t i = 1; i <= axes; ++i) one = one || grid(c, i).out == 1;
  if (!mode.empty() && !one && c.dims("x").size() == 4 && axes == 2)
    return c.out(resize(c, x, {{"mode", "linear"}, {"coordinate_transformation_mode", mode}}, axes));
  if (axes != 2) unsupported("linear resizing of " + std::to_string(axes) + " axes");
  DType t = c.dtype();
  S columns = c.g.constant(convert(flipped(weights(sampling, grid(c, 1))), t)), rows = c.g.constant(convert(weights(sampling, grid(c, 2)), t));
  c.out(c.g.node("MatMul", {rows, c.g.node("MatMul", {x, columns})}));
}
// Nearest neighbours by index.
void nearest(Ctx& c, std::vector<int64_t> (*sources)(int64_t, int64_t), size_t axes = 2) {
  S x = c.in("x");
  const Dims& y = c.out_type().dims;
  for (size_t i = axes; i >= 1; --i) {
    Grid g = grid(c, i);
    if (g.in == g.out) continue;
    x = c.g.node("Gather", {x, c.g.ints(sources(g.in, g.out))}, {{"axis", static_cast<int64_t>(y.size() - i)}});
  }
  c.out(x == c.in("x") ? c.g.node("Identity", {x}) : x);
}
void upsample_nearest(Ctx& c) {
  Grid h = grid(c, 2), w = grid(c, 1);
  if (c.dims("x").size() == 4 && h.out % h.in == 0 && w.out % w.in == 0)
    return c.out(resize(c, c.in("x"), {{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}}, 2));
  nearest(c, ops::nearest_by_corner);
}
void upsample_bilinear(Ctx& c) {
  bool align = c.call.flag("align_corners");
  bool half = c.call.info().param("half_pixel_centers") != nullptr && c.has("half_pixel_centers") ? c.call.flag("half_pixel_centers") : !align;
  linear(c, align ? ops::Sampling::kStrictAlignCorners : half ? ops::Sampling::kUnalignCorners : ops::Sampling::kDefault);
}
void resize_bilinear(Ctx& c) { linear(c, take(ops::sampling_from_name(c.call.str("sampling_mode")))); }
void resize_nearest(Ctx& c) { nearest(c, ops::nearest_by_center); }
void resize_op(Ctx& c) {
  ops::Sampling sampling = take(ops::sampling_from_name(c.call.str("sampling_mode")));
  size_t axes = static_cast<size_t>(c.call.i64("resized_dims"));
  if (c.call.str("interpolation_mode") == "LINEAR") return linear(c, sampling, axes);
  if (sampling != ops::Sampling::kDefault && sampling != ops::Sampling::kUnalignCorners) unsupported("nearest neighbours on this grid");
  nearest(c, ops::nearest_by_center, axes);
}
void crop(Ctx& c) {
  std::vector<int64_t> h = c.call.ints("crop_height"), w = c.call.ints("crop_width");
  int64_t rank = c.rank("x");
  if (h.size() != 2 || w.size() != 2) bad_input("crop amounts come in pairs");
  S y = c.g.slice(c.in("x"), rank - 2, h[0], h[1] ? -h[1] : std::numeric_limits<int64_t>::max());
  c.out(c.g.slice(y, rank - 1, w[0], w[1] ? -w[1] : std::numeric_limits<int64_t>::max()));
}

std::string lower_case(std::string s) {
  for (char& ch : s) ch = static_cast<char>(std::tolower(static_cast<unsigned char>(ch)));
  return s;
}
// Coordinates of points to [-1, 1] of GridSample.
void resample(Ctx& c) {
  if (!c.g.at_least(16)) unsupported("sampling at points needs --opset 16");
  bool align = c.call.flag("align_corners");
  std::string padding = lower_case(c.call.str("padding_mode")), mode = lower_case(c.call.str("sampling_mode")), coordinates = lower_case(c.call.str("coordinates_mode"));
  std::string border = padding == "constant" ? "zeros" : padding == "border" ? "border" : padding == "reflection" && align ? "reflection" : padding == "symmetric" && !align ? "reflection" : "";
  if (border.empty()) unsupported("padding mode \"" + padding + "\" with align_corners " + (align ? "true" : "false"));
  if (padding == "constant" && c.call.f64("padding_value") != 0) unsupported("a padding value other than 0");
  S x = c.in("x"), points = c.in("coordinates");
  DType t = c.dtype();
  if (c.dtype("coordinates") != t) points = c.g.cast(points, t);
  if (coordinates != "normalized_minus_one_to_one") {
    const Dims& d = c.dims("x");
    if (d[2] < 0 || d[3] < 0) unsupported("sampling at points of an image whose extents are not known");
    std::vector<float> scale, shift;
    for (int64_t n : {d[3], d[2]}) {
      double extent = static_cast<double>(n);
      if (coordinates == "unnormalized") {
        scale.push_back(static_cast<float>(align ? 2 / std::max(extent - 1, 1.0) : 2 / extent));
        shift.push_back(static_cast<float>(align ? -1 : 1 / extent - 1));
      } else if (coordinates == "normalized_zero_to_one") {
        scale.push_back(2);
        shift.push_back(-1);
      } else {
        unsupported("coordinates \"" + coordinates + "\"");
      }
    }
    auto pair = [&](const std::vector<float>& v) { return c.g.constant(convert(Tensor::from<float>({2}, v), t)); };
    points = c.g.node("Add", {c.g.node("Mul", {points, pair(scale)}), pair(shift)});
  }
  c.out(c.g.node("GridSample", {x, points}, {{"mode", mode == "nearest" ? "nearest" : c.g.at_least(20) ? "linear" : "bilinear"}, {"padding_mode", border}, {"align_corners", align}}));
}
void affine(Ctx& c) {
  if (!c.g.at_least(20)) unsupported("affine maps of images need --opset 20");
  bool align = c.call.flag("align_corners");
  const Dims& y = c.out_type().dims;
  if (std::any_of(y.begin(), y.end(), [](int64_t d) { return d < 0; })) unsupported("affine maps of extents that are not known");
  S matrix = c.g.reshape(c.in("transform_matrix"), {-1, 2, 3});
  if (c.dims("transform_matrix")[0] == 1 && y[0] != 1) matrix = c.g.node("Expand", {matrix, c.g.ints({y[0], 2, 3})});
  S points = c.g.node("AffineGrid", {matrix, c.g.ints(y)}, {{"align_corners", align}});
  c.out(c.g.node("GridSample", {c.in("x"), points}, {{"mode", "linear"}, {"padding_mode", "zeros"}, {"align_corners", align}}));
}

constexpr Row kRows[] = {
    {"upsample_nearest_neighbor", upsample_nearest}, {"upsample_bilinear", upsample_bilinear}, {"resize_bilinear", resize_bilinear},
    {"resize_nearest_neighbor", resize_nearest}, {"resize", resize_op}, {"crop", crop}, {"resample", resample}, {"affine", affine},
};

}  // namespace

std::span<const Row> families::image() { return kRows; }

}  // namespace mlt::foreign::to_onnx
