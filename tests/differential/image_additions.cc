#include <algorithm>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

int64_t window(int64_t kernel, int64_t dilation) { return (kernel - 1) * dilation + 1; }

struct Window {
  Dims kernel, strides, dilations, pads;
  std::string pad_type;
};

Window random_window(Random& r, const Live& x, bool dilated) {
  Window w;
  const int64_t kernel = r.of<int64_t>({1, 1, 2, 3, 3, 3, 3, 4, 5, 7}), stride = r.of<int64_t>({1, 1, 1, 2, 2, 3});
  const int64_t dilation = dilated && r.chance(0.15) ? 2 : 1;
  w.pad_type = r.of<std::string>({"custom", "custom", "custom", "same", "valid", "same_lower"});
  const bool uneven = r.chance(0.1);
  for (size_t axis = 2; axis < x.rank(); ++axis) {
    int64_t k = uneven ? r.of<int64_t>({1, 2, 3}) : kernel;
    while (window(k, dilation) > x.dims()[axis] && k > 1) --k;
    w.kernel.push_back(k);
    w.strides.push_back(uneven ? r.range(1, 2) : stride);
    w.dilations.push_back(dilation);
    const int64_t pad = r.chance(0.7) ? window(k, dilation) / 2 : r.range(0, k - 1);
    w.pads.push_back(pad);
    w.pads.push_back(r.chance(0.9) ? pad : r.range(0, k - 1));
  }
  return w;
}

Live image(ProgramMaker& m) {
  Live x = m.pick(m.random.chance(0.85) ? 4 : static_cast<size_t>(m.random.range(3, 5)));
  return x.value != nullptr && elements(x.dims(), 2) <= 1 << 12 ? x : Live{nullptr, false};
}

Value* convolve(ProgramMaker& m, Value* x, int64_t out, int64_t groups, const Window& w, bool bias = true) {
  const Dims& dims = x->type.dims;
  Dims shape{out, dims[1] / groups};
  shape.insert(shape.end(), w.kernel.begin(), w.kernel.end());
  const int64_t fan = elements(shape, 1);
  auto b = m.b();
  std::vector<ops::Input> args{{"x", x}, {"weight", m.weights(shape, fan)}, {"strides", b.ints(w.strides)}, {"pad_type", b.string(w.pad_type)},
                               {"pad", b.ints(w.pads)}, {"dilations", b.ints(w.dilations)}, {"groups", b.i32(groups)}};
  if (bias) args.push_back({"bias", m.noise({out}, -0.5f, 0.5f)});
  return m.op("conv", std::move(args), static_cast<double>(dims[0] * out * elements(dims, 2) * fan));
}

Value* convolve_square(ProgramMaker& m, Value* x, int64_t out, int64_t kernel, int64_t stride, int64_t groups = 1) {
  const size_t axes = x->type.dims.size() - 2;
  return convolve(m, x, out, groups, {Dims(axes, kernel), Dims(axes, stride), Dims(axes, 1), Dims(2 * axes, kernel / 2), "custom"});
}

int64_t some_channels(Random& r) { return r.of<int64_t>({1, 2, 3, 5, 8, 8, 16, 16, 17, 24, 31, 32, 32, 40, 48, 64, 64, 80, 96}); }

bool conv(ProgramMaker& m) {
  const Live x = image(m);
  if (x.value == nullptr) return false;
  const int64_t channels = x.dims()[1];
  int64_t groups = 1, out = some_channels(m.random);
  if (m.random.chance(0.3)) {
    groups = channels;
    out = channels * (m.random.chance(0.85) ? 1 : 2);
  } else if (m.random.chance(0.2)) {
    for (int64_t g : {2, 3, 4, 8})
      if (channels % g == 0 && m.random.chance(0.5)) groups = g;
    out = groups * m.random.of<int64_t>({1, 2, 4, 8, 16});
  }
  Value* y = convolve(m, x.value, out, groups, random_window(m.random, x, true), m.random.chance(0.7));
  if (y != nullptr && m.random.chance(0.2)) y = normalized(m, y);
  if (y != nullptr && m.random.chance(0.6)) y = activated(m, y);
  return m.keep(y);
}

bool stem(ProgramMaker& m) {  // of few channels, with the maxima behind it
  const Live x = m.pick(4);
  if (x.value == nullptr || x.dims()[1] > 4) return false;
  const int64_t kernel = m.random.of<int64_t>({3, 5, 7}), out = m.random.of<int64_t>({8, 16, 24, 32, 64});
  Value* y = activated(m, convolve_square(m, x.value, out, kernel, m.random.range(1, 2)));
  if (m.random.chance(0.6)) {
    auto b = m.b();
    const int64_t pad = m.random.range(0, 1);
    y = m.op("max_pool", {{"x", y}, {"kernel_sizes", b.ints({3, 3})}, {"strides", b.ints({2, 2})}, {"pad_type", b.string("custom")}, {"pad", b.ints({pad, pad, pad, pad})},
                          {"ceil_mode", b.boolean(m.random.chance(0.3))}});
  }
  return m.keep(y);
}

bool conv_and_add(ProgramMaker& m) {
  const Live x = image(m);
  if (x.value == nullptr) return false;
  const int64_t channels = x.dims()[1];
  Value* y = convolve_square(m, x.value, channels, m.random.chance(0.5) ? 3 : 1, 1, m.random.chance(0.2) ? channels : 1);
  const Live other = m.random.chance(0.6) ? x : m.pick_same(x);
  if (other.value == nullptr || y == nullptr) return false;
  if (m.random.chance(0.2)) y = activated(m, y);
  y = m.random.chance(0.5) ? m.op("add", {{"x", y}, {"y", other.value}}) : m.op("add", {{"x", other.value}, {"y", y}});
  if (m.random.chance(0.5)) y = activated(m, y);
  return m.keep(y);
}

bool inverted_residual(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  const int64_t channels = x.dims()[1], wide = std::min<int64_t>(channels * m.random.range(1, 4), 128), stride = m.random.chance(0.7) ? 1 : 2;
  Value* y = activated(m, convolve_square(m, x.value, wide, 1, 1));
  if (y == nullptr) return false;
  if (m.random.chance(0.2)) m.keep(y);
  y = activated(m, convolve_square(m, y, wide, m.random.chance(0.6) ? 3 : 5, stride, wide));
  if (y != nullptr && m.random.chance(0.4)) y = squeezed_and_excited(m, y);
  if (y == nullptr) return false;
  const bool same = stride == 1 && m.random.chance(0.7);
  y = convolve_square(m, y, same ? channels : some_channels(m.random), 1, 1);
  if (same && y != nullptr) y = m.op("add", {{"x", y}, {"y", x.value}});
  return m.keep(y);
}

bool branches(ProgramMaker& m) {  // several convolutions and a pool of one value, side by side
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  std::vector<Value*> parts;
  for (int64_t n = m.random.range(2, 4); n > 0; --n) {
    Value* y = convolve_square(m, x.value, some_channels(m.random), m.random.of<int64_t>({1, 3, 5}), 1);
    if (m.random.chance(0.7)) y = activated(m, y);
    if (y != nullptr) parts.push_back(y);
  }
  if (m.random.chance(0.3)) parts.push_back(x.value);
  if (parts.size() < 2) return false;
  auto b = m.b();
  Value* y = m.op("concat", {{"values", parts}, {"axis", b.i32(m.random.chance(0.5) ? 1 : -3)}, {"interleave", b.boolean(false)}});
  if (m.random.chance(0.2)) m.keep(parts[0]);
  return m.keep(y);
}

bool channel_shuffle(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  const Dims& d = x.dims();
  const int64_t groups = m.random.range(2, 4);
  if (d[1] % groups != 0) return false;
  auto b = m.b();
  Value* y = m.op("reshape", {{"x", x.value}, {"shape", b.ints({d[0], groups, d[1] / groups, d[2], d[3]})}});
  y = m.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3, 4})}});
  y = m.op("reshape", {{"x", y}, {"shape", b.ints(d)}});
  if (y == nullptr) return false;
  if (d[1] % 2 == 0 && m.random.chance(0.6)) {
    auto halves = m.ops("split", {{"x", y}, {"num_splits", b.i32(2)}, {"axis", b.i32(1)}});
    if (halves.size() != 2) return false;
    Value* z = convolve_square(m, halves[1], d[1] / 2, m.random.chance(0.5) ? 3 : 1, 1, m.random.chance(0.5) ? d[1] / 2 : 1);
    y = m.op("concat", {{"values", {halves[0], z}}, {"axis", b.i32(1)}, {"interleave", b.boolean(m.random.chance(0.3))}});
  }
  return m.keep(y, false);
}

bool conv_transpose(ProgramMaker& m) {
  const Live x = image(m);
  if (x.value == nullptr || x.rank() > 4) return false;
  const size_t axes = x.rank() - 2;
  const int64_t kernel = m.random.range(1, 4), stride = m.random.range(1, 3), pad = m.random.range(0, kernel / 2), channels = x.dims()[1];
  const int64_t groups = m.random.chance(0.2) ? channels : m.random.chance(0.2) && channels % 2 == 0 ? 2 : 1;
  const int64_t out = groups == 1 ? some_channels(m.random) : groups;
  Dims shape{channels, out / groups};
  shape.insert(shape.end(), axes, kernel);
  auto b = m.b();
  Value* y = m.op("conv_transpose",
                  {{"x", x.value}, {"weight", m.weights(shape, channels / groups * 2)}, {"bias", m.noise({out})}, {"strides", b.ints(Dims(axes, stride))},
                   {"pad_type", b.string("custom")}, {"pad", b.ints(Dims(2 * axes, pad))}, {"dilations", b.ints(Dims(axes, 1))}, {"groups", b.i32(groups)}},
                  static_cast<double>(elements(x.dims()) * out / groups * (axes == 1 ? kernel : kernel * kernel)));
  if (y != nullptr && m.random.chance(0.5)) y = activated(m, y);
  return m.keep(y);
}

bool pool(ProgramMaker& m) {
  const Live x = image(m);
  if (x.value == nullptr) return false;
  Window w = random_window(m.random, x, false);
  for (size_t i = 0; i < w.pads.size(); ++i) w.pads[i] = std::min(w.pads[i], w.kernel[i / 2] / 2);
  auto b = m.b();
  const bool ceil = w.pad_type == "custom" && m.random.chance(0.2);
  const bool max = m.random.chance(0.5);
  std::vector<ops::Input> args{{"x", x.value}, {"kernel_sizes", b.ints(w.kernel)}, {"strides", b.ints(w.strides)},
                               {"pad_type", b.string(w.pad_type)}, {"pad", b.ints(w.pads)}, {"ceil_mode", b.boolean(ceil)}};
  if (max) return m.keep(m.op("max_pool", std::move(args)), x.exact);
  args.push_back({"exclude_padding_from_average", b.boolean(m.random.chance(0.5))});
  return m.keep(m.op("avg_pool", std::move(args)));
}

bool resample(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  auto b = m.b();
  const int64_t up = m.random.range(1, 3), across = m.random.chance(0.8) ? up : m.random.range(1, 3);
  Value* y = nullptr;
  bool exact = false;
  switch (m.random.range(0, 3)) {
    case 0:
      y = m.op("upsample_nearest_neighbor", {{"x", x.value}, {"scale_factor_height", b.f32(static_cast<double>(up))}, {"scale_factor_width", b.f32(static_cast<double>(across))}});
      exact = x.exact;
      break;
    case 1:
      y = m.op("upsample_bilinear", {{"x", x.value}, {"scale_factor_height", b.f32(static_cast<double>(up))}, {"scale_factor_width", b.f32(static_cast<double>(across))},
                                     {"align_corners", b.boolean(m.random.chance(0.5))}});
      break;
    case 2:
      y = m.op("resize_bilinear", {{"x", x.value}, {"target_size_height", b.i32(m.random.range(1, 20))}, {"target_size_width", b.i32(m.random.range(1, 20))},
                                   {"sampling_mode", b.string(m.random.of<std::string>({"DEFAULT", "STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS", "ALIGN_CORNERS"}))}});
      break;
    default:
      y = m.op("resize_nearest_neighbor", {{"x", x.value}, {"target_size_height", b.i32(m.random.range(1, 20))}, {"target_size_width", b.i32(m.random.range(1, 20))}});
      exact = x.exact;
  }
  if (y == nullptr) return false;
  m.keep(y, exact);
  const Live other = m.pick_same({y, exact});
  if (other.value == nullptr || m.random.chance(0.3)) return true;
  return m.keep(m.random.chance(0.5) ? m.op("add", {{"x", y}, {"y", other.value}})
                                     : m.op("concat", {{"values", {other.value, y}}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}}));
}

bool pyramid_of_pools(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  auto b = m.b();
  std::vector<Value*> parts{x.value};
  for (int i = 0; i < 3; ++i)
    parts.push_back(m.op("max_pool", {{"x", parts.back()}, {"kernel_sizes", b.ints({5, 5})}, {"strides", b.ints({1, 1})}, {"pad_type", b.string("custom")},
                                      {"pad", b.ints({2, 2, 2, 2})}, {"ceil_mode", b.boolean(false)}}));
  return m.keep(m.op("concat", {{"values", parts}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}}), x.exact);
}

bool pixel_moves(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  auto b = m.b();
  Value* factor = b.i32(m.random.range(2, 3));
  switch (m.random.range(0, 3)) {
    case 0: return m.keep(m.op("pixel_shuffle", {{"x", x.value}, {"upscale_factor", factor}}), x.exact);
    case 1: return m.keep(m.op("pixel_unshuffle", {{"x", x.value}, {"downscale_factor", b.scalar(DType::kU32, 2)}}), x.exact);
    case 2: return m.keep(m.op("space_to_depth", {{"x", x.value}, {"block_size", factor}}), x.exact);
    default: return m.keep(m.op("depth_to_space", {{"x", x.value}, {"block_size", factor}}), x.exact);
  }
}

bool to_tokens(ProgramMaker& m) {  // [N, C, H, W] to [N, H W, C], by one of the ways that exporters take
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  auto b = m.b();
  Value* y = nullptr;
  if (m.random.chance(0.5)) {
    y = m.op("reshape", {{"x", x.value}, {"shape", b.ints({d[0], d[1], d[2] * d[3]})}});
    y = m.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1})}});
  } else {
    y = m.op("transpose", {{"x", x.value}, {"perm", b.ints({0, 2, 3, 1})}});
    y = m.op("reshape", {{"x", y}, {"shape", b.ints({d[0], d[2] * d[3], d[1]})}});
  }
  return m.keep(y, x.exact);
}

bool to_image(ProgramMaker& m) {
  const Live x = m.pick(3);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  int64_t high = 1;
  for (int64_t h = 1; h * h <= d[1]; ++h)
    if (d[1] % h == 0) high = h;
  auto b = m.b();
  Value* y = nullptr;
  if (m.random.chance(0.5)) {
    y = m.op("transpose", {{"x", x.value}, {"perm", b.ints({0, 2, 1})}});
    y = m.op("reshape", {{"x", y}, {"shape", b.ints({d[0], d[2], high, d[1] / high})}});
  } else {
    y = m.op("reshape", {{"x", x.value}, {"shape", b.ints({d[0], high, d[1] / high, d[2]})}});
    y = m.op("transpose", {{"x", y}, {"perm", b.ints({0, 3, 1, 2})}});
  }
  return m.keep(y, x.exact);
}

bool excite(ProgramMaker& m) {
  const Live x = m.pick(4);
  return x.value != nullptr && m.keep(squeezed_and_excited(m, x.value));
}

bool image_norm(ProgramMaker& m) {
  const Live x = m.pick(m.random.chance(0.8) ? 4 : 3);
  if (x.value == nullptr) return false;
  auto b = m.b();
  switch (m.random.range(0, 3)) {
    case 0: return m.keep(normalized(m, x.value));
    case 1: return m.keep(m.op("instance_norm", {{"x", x.value}, {"gamma", m.noise({x.dims()[1]}, 0.5f, 1.5f)}, {"beta", m.noise({x.dims()[1]})}, {"epsilon", b.f32(1e-2)}}));
    case 2: return m.keep(m.op("local_response_norm", {{"x", x.value}, {"size", b.i32(m.random.range(1, 5))}, {"alpha", b.f32(1e-2)}, {"beta", b.f32(0.75)}, {"k", b.f32(1)}}));
    default: return m.keep(m.op("l2_norm", {{"x", x.value}, {"epsilon", b.f32(1e-2)}}));
  }
}

bool group_norm(ProgramMaker& m) {  // as exporters write it: a reshape around a layer norm
  const Live x = m.pick(4);
  if (x.value == nullptr || x.dims()[1] % 4 != 0) return false;
  const Dims d = x.dims();
  const int64_t groups = m.random.of<int64_t>({2, 4});
  auto b = m.b();
  Value* y = m.op("reshape", {{"x", x.value}, {"shape", b.ints({d[0], groups, d[1] / groups, d[2], d[3]})}});
  Value* mean = m.op("reduce_mean", {{"x", y}, {"axes", b.ints({2, 3, 4})}, {"keep_dims", b.boolean(true)}});
  y = m.op("sub", {{"x", y}, {"y", mean}});
  Value* squares = m.op("square", {{"x", y}});
  Value* variance = m.op("reduce_mean", {{"x", squares}, {"axes", b.ints({2, 3, 4})}, {"keep_dims", b.boolean(true)}});
  Value* scale = m.op("rsqrt", {{"x", variance}, {"epsilon", b.f32(1e-2)}});
  y = m.op("mul", {{"x", y}, {"y", scale}});
  y = m.op("reshape", {{"x", y}, {"shape", b.ints(d)}});
  y = m.op("mul", {{"x", y}, {"y", m.noise({1, d[1], 1, 1}, 0.5f, 1.5f)}});
  y = m.op("add", {{"x", y}, {"y", m.noise({1, d[1], 1, 1})}});
  if (m.random.chance(0.5)) y = activated(m, y);
  return m.keep(y);
}

}  // namespace

Value* normalized(ProgramMaker& m, Value* x) {
  if (x == nullptr) return nullptr;
  const int64_t channels = x->type.dims[1];
  auto b = m.b();
  return m.op("batch_norm", {{"x", x}, {"mean", m.noise({channels}, -0.3f, 0.3f)}, {"variance", m.noise({channels}, 0.5f, 1.5f)},
                             {"gamma", m.noise({channels}, 0.5f, 1.5f)}, {"beta", m.noise({channels})}, {"epsilon", b.f32(1e-4)}});
}

Value* squeezed_and_excited(ProgramMaker& m, Value* x) {
  if (x == nullptr) return nullptr;
  const int64_t channels = x->type.dims[1], few = std::max<int64_t>(1, channels / 4);
  auto b = m.b();
  Value* s = m.op("reduce_mean", {{"x", x}, {"axes", b.ints(m.random.chance(0.5) ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{-2, -1})}, {"keep_dims", b.boolean(true)}});
  if (s == nullptr) return nullptr;
  s = activated(m, convolve_square(m, s, few, 1, 1));
  if (s == nullptr) return nullptr;
  s = convolve_square(m, s, channels, 1, 1);
  s = m.random.chance(0.5) ? m.op("sigmoid", {{"x", s}}) : m.op("sigmoid_hard", {{"x", s}, {"alpha", b.f32(1.0 / 6)}, {"beta", b.f32(0.5)}});
  return m.random.chance(0.5) ? m.op("mul", {{"x", x}, {"y", s}}) : m.op("mul", {{"x", s}, {"y", x}});
}

std::vector<Addition> image_additions() {
  return {{"conv", 10, conv},
          {"stem", 3, stem},
          {"conv_and_add", 5, conv_and_add},
          {"inverted_residual", 3, inverted_residual},
          {"branches", 4, branches},
          {"channel_shuffle", 2, channel_shuffle},
          {"conv_transpose", 2, conv_transpose},
          {"pool", 4, pool},
          {"resample", 3, resample},
          {"pyramid_of_pools", 1, pyramid_of_pools},
          {"pixel_moves", 2, pixel_moves},
          {"to_tokens", 3, to_tokens},
          {"to_image", 3, to_image},
          {"excite", 2, excite},
          {"image_norm", 3, image_norm},
          {"group_norm", 1, group_norm}};
}

}  // namespace mlt::differential
