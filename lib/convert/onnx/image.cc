// Resizing, sampling, and the blocks-to-depth family.
//
// Resize is separable: along each axis an output element is a weighted sum of input elements, and weights depend on
// constants only. Where MIL has an op of the same meaning it is used; otherwise nearest becomes a gather and anything else
// a product with the matrix of weights, which covers every coordinate mode, cubic and antialiasing.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/extents.h"
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

struct ResizeSpec {
  std::string mode = "nearest", coordinates = "half_pixel", nearest = "round_prefer_floor";
  double cubic_a = -0.75, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
};

struct AxisPlan {
  int64_t axis, in, out;
  double scale;
  double roi_start = 0, roi_end = 1;
};

double coordinate(const ResizeSpec& s, const AxisPlan& p, int64_t i) {
  double x = static_cast<double>(i), in = static_cast<double>(p.in), out = static_cast<double>(p.out);
  if (s.coordinates == "half_pixel") return (x + 0.5) / p.scale - 0.5;
  if (s.coordinates == "pytorch_half_pixel") return p.out > 1 ? (x + 0.5) / p.scale - 0.5 : 0;
  // By the extent before it is rounded down, as ONNX's reference does (ONNX Runtime takes the rounded one).
  if (s.coordinates == "align_corners") return p.out > 1 ? x * (in - 1) / (p.scale * in - 1) : 0;
  if (s.coordinates == "asymmetric") return x / p.scale;
  if (s.coordinates == "tf_half_pixel_for_nn") return (x + 0.5) / p.scale;
  if (s.coordinates == "half_pixel_symmetric") {
    double adjustment = out / (p.scale * in);
    return in / 2 * (1 - adjustment) + (x + 0.5) / p.scale - 0.5;
  }
  if (s.coordinates == "tf_crop_and_resize")
    return p.out > 1 ? p.roi_start * (in - 1) + x * (p.roi_end - p.roi_start) * (in - 1) / (out - 1) : 0.5 * (p.roi_start + p.roi_end) * (in - 1);
  bad_input("unknown coordinate_transformation_mode \"" + s.coordinates + "\"");
}

int64_t nearest_index(const ResizeSpec& s, double x, int64_t in) {
  double at;
  if (s.nearest == "round_prefer_floor") at = std::ceil(x - 0.5);
  else if (s.nearest == "round_prefer_ceil") at = std::floor(x + 0.5);
  else if (s.nearest == "floor") at = std::floor(x);
  else if (s.nearest == "ceil") at = std::ceil(x);
  else bad_input("unknown nearest_mode \"" + s.nearest + "\"");
  return std::clamp<int64_t>(static_cast<int64_t>(at), 0, in - 1);
}

double cubic_weight(double t, double a) {
  t = std::abs(t);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  if (t < 2) return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
  return 0;
}

// Row i: what output i takes from each input.
Tensor weight_matrix(const ResizeSpec& s, const AxisPlan& p) {
  Tensor m = Tensor::zeros(DType::kF32, {p.out, p.in});
  float* row = m.mutable_data<float>();
  for (int64_t i = 0; i < p.out; ++i, row += p.in) {
    double x = coordinate(s, p, i);
    if (s.mode == "nearest") {
      row[nearest_index(s, x, p.in)] = 1;
      continue;
    }
    double floor = std::floor(x), ratio = x - floor;
    double shrink = s.antialias ? std::min(p.scale, 1.0) : 1.0, support = (s.mode == "linear" ? 1.0 : 2.0) / shrink;
    int64_t first = static_cast<int64_t>(std::floor(-support)) + 1, last = 1 - first;
    std::vector<double> weights;
    double sum = 0;
    for (int64_t k = first; k <= last; ++k) {
      double t = (static_cast<double>(k) - ratio) * shrink;
      double w = s.mode == "linear" ? std::max(0.0, 1 - std::abs(t)) : cubic_weight(t, s.cubic_a);
      int64_t at = static_cast<int64_t>(floor) + k;
      if (s.exclude_outside && (at < 0 || at >= p.in)) w = 0;
      weights.push_back(w);
      sum += w;
    }
    bool normalize = s.antialias || s.exclude_outside;
    for (int64_t k = first; k <= last; ++k) {
      int64_t at = std::clamp<int64_t>(static_cast<int64_t>(floor) + k, 0, p.in - 1);
      row[at] += static_cast<float>(normalize && sum != 0 ? weights[static_cast<size_t>(k - first)] / sum : weights[static_cast<size_t>(k - first)]);
    }
  }
  return m;
}

V apply_axis(Ctx& c, V x, const ResizeSpec& s, const AxisPlan& p) {
  Lower& l = c.l;
  int64_t rank = Lower::rank(x);
  if (s.mode == "nearest") {
    std::vector<int64_t> index;
    for (int64_t i = 0; i < p.out; ++i) index.push_back(nearest_index(s, coordinate(s, p, i), p.in));
    return l.gather(x, l.ints(index), p.axis);
  }
  if (p.out * p.in > (int64_t{1} << 24)) unsupported("a resize of " + std::to_string(p.in) + " to " + std::to_string(p.out) + " elements in this mode");
  V m = l.constant(weight_matrix(s, p));
  if (p.axis == rank - 1) return l.matmul(x, m, false, true);
  if (p.axis == rank - 2) return l.matmul(m, x);
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
  std::swap(perm[static_cast<size_t>(p.axis)], perm.back());
  return l.transpose(l.matmul(l.transpose(x, perm), m, false, true), perm);
}

bool crops(const ResizeSpec& s) { return s.coordinates == "tf_crop_and_resize"; }

// MIL's op for the last two axes, when one means the same; null otherwise.
V native(Ctx& c, V x, const ResizeSpec& s, const std::vector<AxisPlan>& plans) {
  Lower& l = c.l;
  int64_t rank = Lower::rank(x);
  if (rank != 4 || crops(s) || s.exclude_outside || plans.empty()) return nullptr;
  AxisPlan h{2, Lower::dims(x)[2], Lower::dims(x)[2], 1}, w{3, Lower::dims(x)[3], Lower::dims(x)[3], 1};
  for (const AxisPlan& p : plans) {
    if (p.axis < 2) return nullptr;
    (p.axis == 2 ? h : w) = p;
  }
  auto exact = [](const AxisPlan& p) { return std::abs(p.scale * static_cast<double>(p.in) - static_cast<double>(p.out)) < 1e-6 * static_cast<double>(p.out); };
  if (s.mode == "nearest") {
    for (const AxisPlan& p : {h, w}) {
      if (p.out % p.in != 0) return nullptr;
      for (int64_t i = 0; i < p.out; ++i)
        if (nearest_index(s, coordinate(s, p, i), p.in) != i / (p.out / p.in)) return nullptr;
    }
    return l.op("upsample_nearest_neighbor", {{"x", x}, {"scale_factor_height", l.f32(static_cast<double>(h.out / h.in))}, {"scale_factor_width", l.f32(static_cast<double>(w.out / w.in))}});
  }
  if (s.mode != "linear" || s.antialias) return nullptr;
  std::string sampling;
  bool single = h.out == 1 || w.out == 1;
  if (s.coordinates == "align_corners" && !single) sampling = "STRICT_ALIGN_CORNERS";
  else if (s.coordinates == "half_pixel" || (s.coordinates == "pytorch_half_pixel" && !single)) sampling = "UNALIGN_CORNERS";
  else if (s.coordinates == "asymmetric" && !single) sampling = "DEFAULT";
  if (sampling.empty() || !exact(h) || !exact(w)) return nullptr;
  return l.op("resize_bilinear", {{"x", x}, {"target_size_height", l.i32(h.out)}, {"target_size_width", l.i32(w.out)}, {"sampling_mode", l.str(sampling)}});
}

// Spatial extents not known: MIL's ops by scale.
V by_scale(Ctx& c, V x, const ResizeSpec& s, const std::vector<double>& scales) {
  Lower& l = c.l;
  if (Lower::rank(x) != 4 || scales.size() != 4 || scales[0] != 1 || scales[1] != 1) return nullptr;
  bool whole = scales[2] == std::floor(scales[2]) && scales[3] == std::floor(scales[3]);
  auto factor = [&](double v) { return l.f32(v); };
  if (s.mode == "nearest" && whole && (s.coordinates == "asymmetric" ? s.nearest == "floor" : s.coordinates == "half_pixel"))
    return l.op("upsample_nearest_neighbor", {{"x", x}, {"scale_factor_height", factor(scales[2])}, {"scale_factor_width", factor(scales[3])}});
  if (s.mode == "linear" && whole && !s.antialias && (s.coordinates == "half_pixel" || s.coordinates == "pytorch_half_pixel" || s.coordinates == "align_corners"))
    return l.op("upsample_bilinear", {{"x", x}, {"scale_factor_height", factor(scales[2])}, {"scale_factor_width", factor(scales[3])}, {"align_corners", l.boolean(s.coordinates == "align_corners")}});
  return nullptr;
}

// A scale as a quotient of small integers; nothing when it is none.
std::optional<std::pair<int64_t, int64_t>> quotient(double scale) {
  for (int64_t q = 1; q <= 64; ++q) {
    double p = std::round(scale * static_cast<double>(q));
    if (p >= 1 && p <= 4096 && std::abs(p / static_cast<double>(q) - scale) <= 1e-6 * scale) return std::pair{static_cast<int64_t>(p), q};
  }
  return std::nullopt;
}

// Axes of unknown extents, one after the other. sizes: the vector of extents asked for, or null.
V resize_open(Ctx& c, V x, const ResizeSpec& s, const std::vector<int64_t>& axes, const std::vector<double>& scales, V sizes) {
  for (size_t i = 0; i < axes.size(); ++i) {
    OpenResize r{axes[i], nullptr, 0, 1, s.mode, s.coordinates, s.nearest};
    if (scales.empty()) {
      Extent wanted = element_of(sizes, static_cast<int64_t>(i));
      if (wanted.known && wanted == extent_of(c.in(0), axes[i])) continue;
      r.out = c.l.gather(sizes, c.l.i32(static_cast<int64_t>(i)), 0);
    } else {
      if (scales[i] == 1) continue;
      auto ratio = quotient(scales[i]);
      if (!ratio) return nullptr;
      r.numerator = ratio->first;
      r.denominator = ratio->second;
    }
    if (crops(s) || s.antialias || (x = resize_open_axis(c, x, r)) == nullptr) return nullptr;
  }
  return x;
}

void resize_with(Ctx& c, ResizeSpec s, std::vector<double> scales, std::vector<int64_t> sizes, std::vector<int64_t> axes, std::vector<double> roi, const std::string& policy, V asked = nullptr) {
  V x = c.in(0);
  bool ints = Lower::dtype(x) != DType::kF32;
  if (ints) x = c.l.cast(x, DType::kF32);
  int64_t rank = Lower::rank(x);
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  for (int64_t& a : axes) a = Lower::axis_of(a, rank);
  size_t n = axes.size();
  if ((scales.empty() && sizes.empty()) || (!scales.empty() && scales.size() != n) || (!sizes.empty() && sizes.size() != n)) bad_input("scales or sizes do not fit the axes");
  const Dims dims = Lower::dims(x);
  if (s.mode == "cubic" && s.coordinates.empty()) s.coordinates = "half_pixel";
  if (s.mode != "nearest" && s.mode != "linear" && s.mode != "cubic") unsupported("mode \"" + s.mode + "\"");
  if (!sizes.empty() && policy != "stretch") {
    double best = 0;
    for (size_t i = 0; i < n; ++i) {
      double ratio = static_cast<double>(sizes[i]) / static_cast<double>(c.known_dims(x)[static_cast<size_t>(axes[i])]);
      best = i == 0 ? ratio : policy == "not_larger" ? std::min(best, ratio) : std::max(best, ratio);
    }
    for (size_t i = 0; i < n; ++i) sizes[i] = static_cast<int64_t>(std::floor(best * static_cast<double>(dims[static_cast<size_t>(axes[i])]) + 0.5));
    scales.assign(n, best);
  }
  std::vector<AxisPlan> plans;
  bool open = false;
  for (size_t i = 0; i < n; ++i) {
    AxisPlan p;
    p.axis = axes[i];
    p.in = dims[static_cast<size_t>(axes[i])];
    if (p.in < 0 && scales.empty()) {
      Extent wanted = asked ? element_of(asked, static_cast<int64_t>(i)) : Extent{};
      open = open || !wanted.known || !(wanted == extent_of(c.in(0), axes[i]));
      continue;
    }
    if (p.in < 0) {
      open = open || scales[i] != 1;
      continue;
    }
    if (!sizes.empty() && sizes[i] < 0) {
      open = true;
      continue;
    }
    p.out = sizes.empty() ? static_cast<int64_t>(std::floor(static_cast<double>(p.in) * scales[i] + (crops(s) ? 0 : 1e-9))) : sizes[i];
    if (crops(s) && sizes.empty()) p.out = static_cast<int64_t>(std::floor(static_cast<double>(p.in) * (roi.size() == 2 * n ? roi[i + n] - roi[i] : 1) * scales[i] + 1e-9));
    if (p.out <= 0 || p.in == 0 || p.out > (1 << 24)) bad_input("an output extent of " + std::to_string(p.out));
    p.scale = scales.empty() ? static_cast<double>(p.out) / static_cast<double>(p.in) : scales[i];
    if (roi.size() == 2 * n) {
      p.roi_start = roi[i];
      p.roi_end = roi[i + n];
    }
    if (p.out == p.in && p.scale == 1 && !crops(s)) continue;
    if (crops(s) && p.out == p.in && p.roi_start == 0 && p.roi_end == 1) continue;
    plans.push_back(p);
  }
  if (open) {
    std::vector<double> all(static_cast<size_t>(rank), 1);
    for (size_t i = 0; i < n && !scales.empty(); ++i) all[static_cast<size_t>(axes[i])] = scales[i];
    V y = scales.empty() ? nullptr : by_scale(c, x, s, all);
    if (y == nullptr && policy == "stretch") y = resize_open(c, x, s, axes, scales, asked);
    if (y == nullptr) unsupported("a resize of unknown extents in this mode", "give fixed input shapes with --input NAME,shape=...");
    return same(c, ints ? c.l.cast(y, DType::kI32) : y);
  }
  if (plans.empty()) return same(c, c.l.unary("identity", c.in(0)));
  V y = native(c, x, s, plans);
  if (y == nullptr) {
    y = x;
    for (const AxisPlan& p : plans) y = apply_axis(c, y, s, p);
    if (crops(s)) {  // what lies outside the input takes a fixed value
      for (const AxisPlan& p : plans) {
        Tensor inside = Tensor::uninitialized(DType::kBool, {p.out});
        bool all = true;
        for (int64_t i = 0; i < p.out; ++i) {
          double at = coordinate(s, p, i);
          inside.mutable_data<bool>()[i] = at >= 0 && at <= static_cast<double>(p.in - 1);
          all = all && inside.data<bool>()[i];
        }
        if (!all) y = select_broadcast(c.l, along_axis(c.l, c.l.constant(std::move(inside)), p.axis, rank), y, c.l.f32(s.extrapolation));
      }
    }
  }
  same(c, ints ? c.l.cast(y, DType::kI32) : y);
}

void resize(Ctx& c) {
  ResizeSpec s;
  s.mode = c.str("mode", "nearest");
  if (c.version() < 11) {
    s.coordinates = "asymmetric";
    s.nearest = "floor";
    std::vector<float> scales = c.known_floats(1, "scales");
    return resize_with(c, s, {scales.begin(), scales.end()}, {}, {}, {}, "stretch");
  }
  s.coordinates = c.str("coordinate_transformation_mode", "half_pixel");
  s.nearest = c.str("nearest_mode", "round_prefer_floor");
  s.cubic_a = c.f32("cubic_coeff_a", -0.75f);
  s.extrapolation = c.f32("extrapolation_value", 0);
  s.exclude_outside = c.i64("exclude_outside", 0) != 0;
  s.antialias = c.i64("antialias", 0) != 0;
  std::string policy = c.str("keep_aspect_ratio_policy", "stretch");
  std::vector<int64_t> axes = c.ints("axes").value_or(std::vector<int64_t>{});
  std::vector<double> scales, roi;
  std::vector<int64_t> sizes;
  auto floats = [&](size_t i, std::string_view what) {
    std::vector<float> v = c.known_floats(i, what);
    return std::vector<double>(v.begin(), v.end());
  };
  if (crops(s) && c.opt(1)) roi = floats(1, "roi");
  // An empty tensor stands for an input that is not given.
  auto given = [&](size_t i) { return c.opt(i) && !(Lower::is_static(c.in(i)) && product(c.dims(i), 0, c.dims(i).size()) == 0); };
  if (given(3)) {
    auto known = c.l.partial_ints(c.in(3));
    if (!known && policy != "stretch") unsupported("sizes that are not constant", "give fixed input shapes with --input NAME,shape=...");
    if (!known && (!Lower::is_static(c.in(3)) || Lower::rank(c.in(3)) != 1)) unsupported("a number of sizes that is not known");
    sizes = known ? *known : std::vector<int64_t>(static_cast<size_t>(Lower::dims(c.in(3))[0]), ir::kUnknown);
  } else if (given(2)) {
    scales = floats(2, "scales");
  }
  resize_with(c, s, scales, sizes, axes, roi, policy, given(3) ? c.in(3) : nullptr);
}

void upsample(Ctx& c) {
  ResizeSpec s;
  s.mode = c.str("mode", "nearest");
  if (s.mode == "bilinear") s.mode = "linear";
  s.coordinates = "asymmetric";
  s.nearest = "floor";
  std::vector<double> scales;
  if (c.version() >= 9) {
    std::vector<float> v = c.known_floats(1, "scales");
    scales.assign(v.begin(), v.end());
  } else if (auto v = c.floats("scales")) {
    scales.assign(v->begin(), v->end());
  } else {
    scales = {1, 1, c.f32("height_scale", 1), c.f32("width_scale", 1)};
  }
  resize_with(c, s, scales, {}, {}, {}, "stretch");
}

void depth_to_space(Ctx& c) {
  V x = c.in(0);
  int64_t block = c.i64("blocksize", 0);
  std::string mode = c.str("mode", "DCR");
  if (Lower::rank(x) != 4) unsupported("rank " + std::to_string(Lower::rank(x)));
  if (Lower::dtype(x) != DType::kF32) x = c.l.cast(x, DType::kF32);
  V y = mode == "CRD" ? c.l.op("pixel_shuffle", {{"x", x}, {"upscale_factor", c.l.i32(block)}}) : c.l.op("depth_to_space", {{"x", x}, {"block_size", c.l.i32(block)}});
  same(c, c.l.cast(y, Lower::dtype(c.in(0))));
}

void space_to_depth(Ctx& c) {
  V x = c.in(0);
  std::string mode = c.str("mode", "DCR");
  int64_t block = c.i64("blocksize", 0), channels = Lower::rank(x) == 4 ? Lower::dims(x)[1] : 0;
  if (Lower::rank(x) != 4) unsupported("rank " + std::to_string(Lower::rank(x)));
  V y = c.l.op("space_to_depth", {{"x", c.l.cast(x, DType::kF32)}, {"block_size", c.l.i32(block)}});
  if (mode == "CRD") {  // channels first, then rows and columns of the block
    if (channels < 0) unsupported("an unknown number of channels");
    std::vector<int64_t> order;
    Lower::check_constant({channels, block, block});
    for (int64_t k = 0; k < channels * block * block; ++k) order.push_back(k % (block * block) * channels + k / (block * block));
    y = c.l.gather(y, c.l.ints(order), 1);
  }
  same(c, c.l.cast(y, Lower::dtype(x)));
}

void affine_grid(Ctx& c) {
  Lower& l = c.l;
  V theta = c.fin(0);
  std::vector<int64_t> size = c.known(1, "size");
  bool align = c.i64("align_corners", 0) != 0;
  if (size.size() < 4) bad_input("size must have 4 or 5 numbers");
  size_t n = size.size() - 2;
  Dims spatial(size.begin() + 2, size.end());
  int64_t points = product(spatial, 0, n);
  if (points <= 0 || points > (1 << 26)) bad_input("size is out of range");
  int64_t width = static_cast<int64_t>(n) + 1;
  Tensor base = Tensor::uninitialized(DType::kF32, {points, width});
  Dims at(n, 0);
  for (int64_t i = 0; i < points; ++i) {
    for (size_t d = 0; d < n; ++d) {  // coordinates run x, y, z: last axis first
      double extent = static_cast<double>(spatial[d]), k = static_cast<double>(at[d]);
      double v = align ? (spatial[d] > 1 ? -1 + 2 * k / (extent - 1) : 0) : (2 * k + 1) / extent - 1;
      base.mutable_data<float>()[i * width + static_cast<int64_t>(n - 1 - d)] = static_cast<float>(v);
    }
    base.mutable_data<float>()[i * width + width - 1] = 1;
    for (size_t d = n; d-- > 0;) {
      if (++at[d] < spatial[d]) break;
      at[d] = 0;
    }
  }
  V y = l.matmul(l.expand_dims(l.constant(std::move(base)), {0}), theta, false, true);
  Dims shape = {size[0]};
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  shape.push_back(static_cast<int64_t>(n));
  same(c, l.reshape(y, shape));
}

// Operators that were never standardized; early exporters for Windows write them.
void crop(Ctx& c) {
  V x = c.in(0);
  auto border = c.ints("border"), scale = c.ints("scale");
  if (!border || border->size() != 4 || Lower::rank(x) != 4) bad_input("border must have 4 numbers");
  const Dims dims = c.known_dims(x);
  int64_t left = (*border)[0], top = (*border)[1], right = dims[3] - (*border)[2], bottom = dims[2] - (*border)[3];
  if (scale && scale->size() == 2) {
    bottom = top + (*scale)[0];
    right = left + (*scale)[1];
  }
  if (left < 0 || top < 0 || right > dims[3] || bottom > dims[2] || left >= right || top >= bottom) bad_input("the border lies outside the input");
  x = c.l.slice(x, 2, top, bottom);
  same(c, c.l.slice(x, 3, left, right));
}
void image_scaler(Ctx& c) {
  V x = c.fin(0);
  float scale = c.f32("scale", 1);
  auto bias = c.floats("bias");
  if (scale != 1) x = c.l.mul(x, scale);
  if (bias) x = c.l.add(x, c.l.constant(Tensor::from<float>({1, static_cast<int64_t>(bias->size()), 1, 1}, *bias)));
  same(c, x);
}
void affine(Ctx& c) { same(c, c.l.add(c.l.mul(c.fin(0), c.f32("alpha", 1)), c.f32("beta", 0))); }
void scaled_tanh(Ctx& c) { same(c, c.l.mul(c.l.unary("tanh", c.l.mul(c.fin(0), c.f32("beta", 1))), c.f32("alpha", 1))); }

constexpr Row kRows[] = {
    {"Affine", affine}, {"AffineGrid", affine_grid}, {"Crop", crop}, {"DepthToSpace", depth_to_space},
    {"ImageScaler", image_scaler}, {"Resize", resize},
    {"ScaledTanh", scaled_tanh}, {"SpaceToDepth", space_to_depth}, {"Upsample", upsample},
};

}  // namespace

std::span<const Row> families::image() { return kRows; }

}  // namespace mlt::foreign::onnx
