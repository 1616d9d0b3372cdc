// Convolution and pooling.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

std::vector<int64_t> kernel_of(Ctx& c, V weight) {
  const Dims dims = Lower::dims(weight);
  if (dims.size() < 3 || dims.size() > 5) unsupported("weights of rank " + std::to_string(dims.size()) + " (Core ML convolves along 1 to 3 axes)");
  std::vector<int64_t> kernel(dims.begin() + 2, dims.end());
  auto given = c.ints("kernel_shape");
  if (given && !given->empty() && *given != kernel) bad_input("kernel_shape differs from the weights");
  for (int64_t k : kernel)
    if (k < 0) unsupported("weights of unknown extents");
  return kernel;
}

V channel_bias(Lower& l, V bias, int64_t rank) { return along_axis(l, bias, 1, rank); }

V convolve(Ctx& c, V x, V w, V bias) {
  std::vector<int64_t> kernel = kernel_of(c, w);
  Spatial s = spatial_attributes(c, x, kernel);
  int64_t group = c.i64("group", 1);
  // Negative padding removes elements.
  for (size_t i = 0; i < kernel.size(); ++i) {
    int64_t &before = s.pads[2 * i], &after = s.pads[2 * i + 1], extent = Lower::dims(x)[i + 2];
    if (before >= 0 && after >= 0) continue;
    if (extent < 0) unsupported("negative padding of an axis of unknown extent");
    x = c.l.slice(x, static_cast<int64_t>(i) + 2, std::max<int64_t>(0, -before), extent - std::max<int64_t>(0, -after));
    before = std::max<int64_t>(0, before);
    after = std::max<int64_t>(0, after);
  }
  std::vector<Input> inputs = {{"x", x}, {"weight", w}, {"strides", c.l.ints(s.strides)}, {"pad_type", c.l.str("custom")},
                               {"pad", c.l.ints(s.pads)}, {"dilations", c.l.ints(s.dilations)}, {"groups", c.l.i32(group)}};
  bool inside = bias && (Lower::known(bias) || c.l.at_least(ops::Opset::kCoreML7));
  if (inside) inputs.push_back({"bias", bias});
  V y = c.l.op("conv", inputs);
  return bias && !inside ? c.l.add(y, channel_bias(c.l, bias, Lower::rank(y))) : y;
}

void conv(Ctx& c) { same(c, convolve(c, c.fin(0), c.fin(1), c.opt(2) ? c.fin(2) : nullptr)); }

void conv_integer(Ctx& c) {
  V x = c.fin(0), w = c.fin(1);
  if (V zp = c.opt(2)) x = c.l.sub(x, c.l.cast(zp, DType::kF32));
  if (V zp = c.opt(3)) w = c.l.sub(w, c.l.cast(along_axis(c.l, zp, 0, Lower::rank(w)), DType::kF32));
  c.out(0, c.l.cast(convolve(c, x, w, nullptr), DType::kI32), DType::kI32);
}

void qlinear_conv(Ctx& c) {
  V x = dequantize_op(c, c.in(0), c.fin(1), c.opt(2));
  V w_scale = c.fin(4), x_scale = c.fin(1), w = compressed_input(c, 3, 4, 5, 0);
  if (w == nullptr) {
    int64_t rank = Lower::rank(c.in(3));
    w = dequantize(c.l, c.in(3), along_axis(c.l, w_scale, 0, rank), c.opt(5) ? along_axis(c.l, c.in(5), 0, rank) : nullptr);
  }
  int64_t rank = Lower::rank(w);
  V bias = nullptr;
  if (c.has(8)) {  // int32 in units of x_scale * w_scale
    bias = c.l.mul(c.fin(8), c.l.mul(Lower::rank(x_scale) ? c.l.reshape(x_scale, {1}) : x_scale, w_scale));
  }
  V y = convolve(c, x, w, bias);
  V zp = c.opt(7);
  c.out(0, quantize_op(c, y, along_axis(c.l, c.fin(6), 1, rank), zp ? along_axis(c.l, zp, 1, rank) : nullptr, zp ? c.type(7) : DType::kU8), zp ? c.type(7) : DType::kU8);
}

void conv_transpose(Ctx& c) {
  V x = c.fin(0), w = c.fin(1), bias = c.opt(2) ? c.fin(2) : nullptr;
  std::vector<int64_t> kernel = kernel_of(c, w);
  size_t n = kernel.size();
  auto list = [&](std::string_view name, int64_t value, size_t count) {
    auto v = c.ints(name).value_or(std::vector<int64_t>{});
    if (v.empty()) v.assign(count, value);
    if (v.size() != count) bad_input(std::string(name) + " does not fit the kernel");
    return v;
  };
  std::vector<int64_t> strides = list("strides", 1, n), dilations = list("dilations", 1, n), extra = list("output_padding", 0, n), pads = list("pads", 0, 2 * n);
  int64_t group = c.i64("group", 1);
  std::string mode = c.str("auto_pad", "NOTSET");
  std::vector<int64_t> wanted = c.ints("output_shape").value_or(std::vector<int64_t>{});
  if (wanted.size() == n + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (!wanted.empty() && wanted.size() != n) bad_input("output_shape does not fit the kernel");
  std::vector<int64_t> pad(2 * n), tail(n, 0);
  bool grow = false;
  for (size_t i = 0; i < n; ++i) {
    int64_t before = pads[i], after = pads[i + n], extent = Lower::dims(x)[i + 2], reach = (kernel[i] - 1) * dilations[i] + 1;
    if (mode == "VALID") before = after = 0;
    if (!wanted.empty() || mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      if (extent < 0) unsupported("output_shape or auto_pad needs known extents", "give fixed input shapes with --input NAME,shape=...");
      int64_t want = wanted.empty() ? extent * strides[i] : wanted[i];
      int64_t total = strides[i] * (extent - 1) + extra[i] + reach - want;
      if (total < 0) {
        extra[i] -= total;  // zeros after the end
        total = 0;
      }
      before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      if (mode == "NOTSET") before = total / 2;
      after = total - before;
    }
    // Output padding takes back what the end padding removed; beyond that, only bias is there.
    after -= extra[i];
    if (before < 0) unsupported("negative padding");
    if (after < 0) {
      tail[i] = -after;
      after = 0;
      grow = true;
    }
    pad[2 * i] = before;
    pad[2 * i + 1] = after;
  }
  std::vector<Input> inputs = {{"x", x}, {"weight", w}, {"strides", c.l.ints(strides)}, {"pad_type", c.l.str("custom")},
                               {"pad", c.l.ints(pad)}, {"dilations", c.l.ints(dilations)}, {"groups", c.l.i32(group)}};
  bool inside = bias && !grow && (Lower::known(bias) || c.l.at_least(ops::Opset::kCoreML7));
  if (inside) inputs.push_back({"bias", bias});
  V y = c.l.op("conv_transpose", inputs);
  if (grow) {
    std::vector<int64_t> amounts = {0, 0, 0, 0};
    for (size_t i = 0; i < n; ++i) amounts.insert(amounts.end(), {0, tail[i]});
    y = c.l.op("pad", {{"x", y}, {"pad", c.l.ints(amounts)}, {"mode", c.l.str("constant")}, {"constant_val", c.l.f32(0)}});
  }
  if (bias && !inside) y = c.l.add(y, channel_bias(c.l, bias, Lower::rank(y)));
  same(c, y);
}

// Padding such that a window sees what ONNX's does, ceil_mode included: rounding up is padding at the end.
struct PoolPads {
  std::vector<int64_t> pads;   // before, after pairs
  std::vector<int64_t> extra;  // of the "after" values, what ceil_mode added
  bool ceil_flag = false;      // extents unknown: left to the op
};
PoolPads pool_pads(Ctx& c, V x, const Spatial& s) {
  PoolPads p;
  p.pads = s.pads;
  p.extra.assign(s.kernel.size(), 0);
  if (c.i64("ceil_mode", 0) == 0) return p;
  for (size_t i = 0; i < s.kernel.size(); ++i) {
    int64_t extent = Lower::dims(x)[i + 2];
    if (extent < 0) {
      p.ceil_flag = true;
      return p;
    }
    int64_t reach = (s.kernel[i] - 1) * s.dilations[i] + 1, span = extent + s.pads[2 * i] + s.pads[2 * i + 1] - reach;
    int64_t out = (span + s.strides[i] - 1) / s.strides[i] + 1;
    // A window that would start beyond the input and its front padding is dropped.
    if ((out - 1) * s.strides[i] >= extent + s.pads[2 * i]) --out;
    int64_t need = (out - 1) * s.strides[i] + reach - (extent + s.pads[2 * i] + s.pads[2 * i + 1]);
    p.extra[i] = std::max<int64_t>(0, need);
    p.pads[2 * i + 1] += p.extra[i];
  }
  return p;
}

std::vector<int64_t> pool_kernel(Ctx& c) {
  auto kernel = c.ints("kernel_shape");
  if (!kernel || kernel->empty()) bad_input("kernel_shape is missing");
  if (kernel->size() > 3) unsupported("pooling along " + std::to_string(kernel->size()) + " axes");
  return *kernel;
}

bool dilated(const Spatial& s) {
  return std::any_of(s.dilations.begin(), s.dilations.end(), [](int64_t d) { return d != 1; });
}

V pool_op(Ctx& c, std::string_view op, V x, const Spatial& s, const PoolPads& p, std::vector<Input> more = {}) {
  std::vector<Input> inputs = {{"x", x}, {"kernel_sizes", c.l.ints(s.kernel)}, {"strides", c.l.ints(s.strides)}, {"pad_type", c.l.str("custom")},
                               {"pad", c.l.ints(p.pads)}, {"ceil_mode", c.l.boolean(p.ceil_flag)}};
  inputs.insert(inputs.end(), more.begin(), more.end());
  return c.l.op(op, inputs);
}

// All windows' elements at one kernel position, for every position: what MIL's pools cannot do (dilation).
std::vector<V> window_views(Ctx& c, V x, const Spatial& s, const PoolPads& p, double fill) {
  size_t n = s.kernel.size();
  c.known_dims(x, "dilated pooling");
  int64_t count = 1;
  for (int64_t k : s.kernel) count *= k;
  if (count > 343) unsupported("dilated pooling with more than 343 elements in a window (indices of maxima likewise)");
  std::vector<int64_t> amounts = {0, 0, 0, 0};
  amounts.insert(amounts.end(), p.pads.begin(), p.pads.end());
  x = c.l.op("pad", {{"x", x}, {"pad", c.l.ints(amounts)}, {"mode", c.l.str("constant")}, {"constant_val", c.l.f32(fill)}});
  std::vector<int64_t> at(n, 0);
  std::vector<V> views;
  for (int64_t i = 0; i < count; ++i) {
    V v = x;
    for (size_t d = 0; d < n; ++d) {
      int64_t extent = Lower::dims(x)[d + 2], reach = (s.kernel[d] - 1) * s.dilations[d] + 1, out = (extent - reach) / s.strides[d] + 1;
      int64_t from = at[d] * s.dilations[d];
      v = c.l.slice(v, static_cast<int64_t>(d) + 2, from, from + (out - 1) * s.strides[d] + 1, s.strides[d]);
    }
    views.push_back(v);
    for (size_t d = n; d-- > 0;) {
      if (++at[d] < s.kernel[d]) break;
      at[d] = 0;
    }
  }
  return views;
}

// A dilated pool, axis after axis: `op` of a window is `op` along one axis of what it is along the others.
V dilated_pool(Ctx& c, V x, const Spatial& s, const PoolPads& p, double fill, std::string_view op) {
  size_t n = s.kernel.size();
  for (size_t d = 0; d < n; ++d) {
    Spatial one{std::vector<int64_t>(n, 1), std::vector<int64_t>(n, 1), std::vector<int64_t>(n, 1), std::vector<int64_t>(2 * n, 0)};
    PoolPads pads = p;
    pads.pads.assign(2 * n, 0);
    one.kernel[d] = s.kernel[d], one.strides[d] = s.strides[d], one.dilations[d] = s.dilations[d];
    pads.pads[2 * d] = p.pads[2 * d], pads.pads[2 * d + 1] = p.pads[2 * d + 1];
    auto views = window_views(c, x, one, pads, fill);
    x = views[0];
    for (size_t i = 1; i < views.size(); ++i) x = c.l.binary(op, x, views[i]);
  }
  return x;
}

// Where the maxima lie in the flattened input: each element of the window in turn is compared with the largest so far.
V max_indices(Ctx& c, V x, const Spatial& s, const PoolPads& p, bool columns_first) {
  Lower& l = c.l;
  size_t n = s.kernel.size();
  const Dims dims = c.known_dims(x, "the indices of the maxima");
  auto views = window_views(c, x, s, p, -std::numeric_limits<float>::infinity());
  Dims out(Lower::dims(views[0]).begin() + 2, Lower::dims(views[0]).end()), shape(n + 2, 1), strides(n);
  for (size_t d = 0; d < n; ++d) shape[d + 2] = out[d];
  int64_t plane = 1;
  for (size_t k = 0; k < n; ++k) {
    size_t d = columns_first ? k : n - 1 - k;
    strides[d] = plane;
    plane *= dims[d + 2];
  }
  Lower::check_constant(dims);
  V best = nullptr, index = nullptr;
  std::vector<int64_t> at(n, 0);
  for (V view : views) {
    std::vector<int64_t> places;
    std::vector<int64_t> o(n, 0);
    for (int64_t i = 0; i < product(out, 0, n); ++i) {
      int64_t place = 0;
      for (size_t d = 0; d < n; ++d) place += (o[d] * s.strides[d] - p.pads[2 * d] + at[d] * s.dilations[d]) * strides[d];
      places.push_back(place);
      for (size_t d = n; d-- > 0;) {
        if (++o[d] < out[d]) break;
        o[d] = 0;
      }
    }
    V here = l.constant(Tensor::ints(places).reshaped(shape));
    if (best == nullptr) {
      best = view;
      index = l.broadcast_to(here, Lower::dims(view));
    } else {
      index = select_broadcast(l, l.binary("greater", view, best), here, index);
      best = l.binary("maximum", best, view);
    }
    for (size_t d = n; d-- > 0;) {
      if (++at[d] < s.kernel[d]) break;
      at[d] = 0;
    }
  }
  std::vector<int64_t> planes;
  for (int64_t i = 0; i < dims[0] * dims[1]; ++i) planes.push_back(i * plane);
  Dims each(n + 2, 1);
  each[0] = dims[0], each[1] = dims[1];
  return l.add(index, l.constant(Tensor::ints(planes).reshaped(each)));
}

void max_pool(Ctx& c) {
  bool columns_first = c.i64("storage_order", 0) != 0;
  V x = c.in(0);
  bool ints = Lower::dtype(x) == DType::kI32;
  if (ints) x = c.l.cast(x, DType::kF32);
  Spatial s = spatial_attributes(c, x, pool_kernel(c));
  PoolPads p = pool_pads(c, x, s);
  if (c.wants(1)) c.out(1, max_indices(c, x, s, p, columns_first), DType::kI64);
  V y;
  if (dilated(s)) {
    y = dilated_pool(c, x, s, p, -std::numeric_limits<float>::infinity(), "maximum");
  } else {
    y = pool_op(c, "max_pool", x, s, p);
  }
  same(c, ints ? c.l.cast(y, DType::kI32) : y);
}

void average_pool(Ctx& c) {
  V x = c.fin(0);
  Spatial s = spatial_attributes(c, x, pool_kernel(c));
  bool include = c.i64("count_include_pad", 0) != 0;
  PoolPads p = pool_pads(c, x, s);
  bool extra = std::any_of(p.extra.begin(), p.extra.end(), [](int64_t e) { return e > 0; });
  if (dilated(s)) {
    auto sum = [&](V v, const Spatial& spatial, const PoolPads& pads) {
      return dilated_pool(c, v, spatial, pads, 0, "add");
    };
    Dims ones_dims = c.known_dims(x, "dilated pooling");
    PoolPads inner = p;
    if (include) {  // declared padding counts, what ceil_mode adds does not
      for (size_t i = 0; i < s.kernel.size(); ++i) {
        ones_dims[i + 2] += s.pads[2 * i] + s.pads[2 * i + 1];
        inner.pads[2 * i] = 0;
        inner.pads[2 * i + 1] = p.extra[i];
      }
    }
    ones_dims[0] = ones_dims[1] = 1;
    return same(c, c.l.div(sum(x, s, p), sum(c.l.filled(ones_dims, DType::kF32, 1), s, inner)));
  }
  if (include && extra) {
    std::vector<int64_t> amounts = {0, 0, 0, 0};
    amounts.insert(amounts.end(), s.pads.begin(), s.pads.end());
    x = c.l.op("pad", {{"x", x}, {"pad", c.l.ints(amounts)}, {"mode", c.l.str("constant")}, {"constant_val", c.l.f32(0)}});
    for (size_t i = 0; i < s.kernel.size(); ++i) {
      p.pads[2 * i] = 0;
      p.pads[2 * i + 1] = p.extra[i];
    }
    include = false;
  }
  same(c, pool_op(c, "avg_pool", x, s, p, {{"exclude_padding_from_average", c.l.boolean(!include)}}));
}

void lp_pool(Ctx& c) {
  V x = c.fin(0);
  Spatial s = spatial_attributes(c, x, pool_kernel(c));
  PoolPads p = pool_pads(c, x, s);
  double power = c.version() < 2 ? c.f32("p", 2) : static_cast<double>(c.i64("p", 2));
  if (power <= 0) bad_input("p must be positive");
  V raised = power == 1 ? c.l.unary("abs", x) : power == 2 ? c.l.unary("square", x) : c.l.binary("pow", c.l.unary("abs", x), c.l.f32(power));
  V sum;
  if (dilated(s)) {
    sum = dilated_pool(c, raised, s, p, 0, "add");
  } else {
    double count = 1;
    for (int64_t k : s.kernel) count *= static_cast<double>(k);
    sum = c.l.mul(pool_op(c, "avg_pool", raised, s, p, {{"exclude_padding_from_average", c.l.boolean(false)}}), count);
  }
  same(c, power == 1 ? sum : power == 2 ? c.l.unary("sqrt", sum) : c.l.binary("pow", sum, c.l.f32(1 / power)));
}

std::vector<int64_t> spatial_axes(V x) {
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < Lower::rank(x); ++i) axes.push_back(i);
  return axes;
}
void global_average(Ctx& c) { same(c, c.l.reduce("reduce_mean", c.fin(0), spatial_axes(c.in(0)), true)); }
void global_max(Ctx& c) { same(c, c.l.reduce("reduce_max", c.fin(0), spatial_axes(c.in(0)), true)); }
void global_lp(Ctx& c) {
  double power = c.version() < 2 ? c.f32("p", 2) : static_cast<double>(c.i64("p", 2));
  V x = c.fin(0);
  std::vector<int64_t> axes = spatial_axes(x);
  if (power == 1) return same(c, c.l.reduce("reduce_l1_norm", x, axes, true));
  if (power == 2) return same(c, c.l.reduce("reduce_l2_norm", x, axes, true));
  V sum = c.l.reduce("reduce_sum", c.l.binary("pow", c.l.unary("abs", x), c.l.f32(power)), axes, true);
  same(c, c.l.binary("pow", sum, c.l.f32(1 / power)));
}

void max_unpool(Ctx& c) {
  V x = c.fin(0), indices = c.in(1);
  const Dims dims = c.known_dims(x);
  auto kernel = pool_kernel(c);
  size_t n = kernel.size();
  auto strides = c.ints("strides").value_or(std::vector<int64_t>(n, 1)), pads = c.ints("pads").value_or(std::vector<int64_t>(2 * n, 0));
  if (dims.size() != n + 2 || strides.size() != n || pads.size() != 2 * n) bad_input("kernel_shape does not fit the input");
  Dims natural = {dims[0], dims[1]};
  for (size_t i = 0; i < n; ++i) natural.push_back((dims[i + 2] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + n]);
  Dims target = natural;
  if (c.opt(2)) target = c.known(2, "output_shape");
  int64_t total = take(element_count(natural)), count = take(element_count(dims));
  V flat = c.l.op("scatter", {{"data", c.l.zeros({total}, DType::kF32)}, {"indices", c.l.reshape(indices, {count})},
                              {"updates", c.l.reshape(x, {count})}, {"axis", c.l.i32(0)}, {"mode", c.l.str("update")}});
  V y = c.l.reshape(flat, natural);
  std::vector<int64_t> amounts;
  bool grow = false;
  if (target.size() != natural.size()) bad_input("output_shape does not fit the input");
  for (size_t i = 0; i < natural.size(); ++i) {
    if (target[i] < natural[i]) unsupported("an output_shape smaller than the natural one");
    amounts.insert(amounts.end(), {0, target[i] - natural[i]});
    grow = grow || target[i] != natural[i];
  }
  if (grow) y = c.l.op("pad", {{"x", y}, {"pad", c.l.ints(amounts)}, {"mode", c.l.str("constant")}, {"constant_val", c.l.f32(0)}});
  same(c, y);
}

void causal_conv_with_state(Ctx& c) {
  V x = c.fin(0), w = c.fin(1);
  int64_t k = Lower::dims(w).back(), channels = c.known_dims(w)[0], batch = Lower::dims(x)[0];
  if (batch < 0 || k < 1) unsupported("extents that are not known");
  std::string activation = c.str("activation", "none");
  V past = c.opt(3) ? c.fin(3) : c.l.zeros({batch, channels, k - 1}, DType::kF32);
  V full = k > 1 ? c.l.concat({past, x}, 2) : x;
  V y = c.l.op("conv", {{"x", full}, {"weight", w}, {"strides", c.l.ints({1})}, {"pad_type", c.l.str("valid")},
                        {"pad", c.l.ints({0, 0})}, {"dilations", c.l.ints({1})}, {"groups", c.l.i32(channels)}});
  if (V bias = c.opt(2)) y = c.l.add(y, channel_bias(c.l, bias, 3));
  if (activation == "silu" || activation == "swish") y = c.l.unary("silu", y);
  else if (activation != "none" && !activation.empty()) unsupported("activation \"" + activation + "\"");
  same(c, y);
  if (c.wants(1)) {
    int64_t length = Lower::dims(full)[2];
    if (length < 0 || k == 1) unsupported(k == 1 ? "a state without elements" : "a state of unknown extent");
    c.out(1, c.l.slice(full, 2, length - (k - 1), length), c.type(0));
  }
}

constexpr Row kRows[] = {
    {"AveragePool", average_pool}, {"CausalConvWithState", causal_conv_with_state}, {"Conv", conv}, {"ConvInteger", conv_integer},
    {"ConvTranspose", conv_transpose, "", "weights constant below iOS17"}, {"GlobalAveragePool", global_average},
    {"GlobalLpPool", global_lp}, {"GlobalMaxPool", global_max}, {"LpPool", lp_pool},
    {"MaxPool", max_pool}, {"MaxUnpool", max_unpool}, {"QLinearConv", qlinear_conv},
};

}  // namespace

std::span<const Row> families::conv() { return kRows; }

}  // namespace mlt::foreign::onnx
