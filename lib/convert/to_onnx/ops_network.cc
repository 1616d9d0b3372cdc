// Convolutions, pooling, normalization, matrix products, attention, quantization.
#include <algorithm>
#include <cmath>

#include "lib/convert/to_onnx/emit.h"
#include "lib/ops/infer_util.h"

namespace mlt::foreign::to_onnx {
namespace {

std::string lower_case(std::string s) {
  for (char& c : s) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return s;
}
std::vector<int64_t> ints_or(Ctx& c, std::string_view param, size_t count, int64_t value) {
  return c.has(param) ? c.call.ints(param) : std::vector<int64_t>(count, value);
}
Dims spatial(const Dims& dims) { return dims.size() < 2 ? Dims{} : Dims(dims.begin() + 2, dims.end()); }
bool known(const Dims& dims) {
  return std::none_of(dims.begin(), dims.end(), [](int64_t d) { return d < 0; });
}

// [before..., after...] of ONNX.
std::vector<int64_t> onnx_pads(const std::vector<ops::Window>& windows) {
  std::vector<int64_t> pads;
  for (const auto& w : windows) pads.push_back(w.pad_before);
  for (const auto& w : windows) pads.push_back(w.pad_after);
  return pads;
}

// pads or, where "same" meets extents that are not known, auto_pad.
void add_padding(Ctx& c, std::vector<Attr>& attributes, const Dims& in, const std::vector<int64_t>& kernel, const std::vector<int64_t>& strides,
                 const std::vector<int64_t>& dilations) {
  std::string name = lower_case(c.call.str("pad_type"));
  ops::PadType type = take(ops::pad_type_from_name(name));
  bool same = type == ops::PadType::kSame || type == ops::PadType::kSameLower;
  if (same && !known(in)) {
    attributes.emplace_back("auto_pad", type == ops::PadType::kSame ? "SAME_UPPER" : "SAME_LOWER");
    return;
  }
  auto pad = type == ops::PadType::kCustom ? ints_or(c, "pad", 2 * kernel.size(), 0) : std::vector<int64_t>(2 * kernel.size(), 0);
  attributes.emplace_back("pads", onnx_pads(take(ops::make_windows(type, in, kernel, strides, dilations, pad))));
}

// The bias as ONNX wants it: one value for each output channel, in x's element type.
S bias_of(Ctx& c, int64_t channels) {
  if (!c.has("bias")) return "";
  const Tensor* t = c.known("bias");
  if (t == nullptr) return c.in("bias");
  Tensor values = convert(*t, c.dtype());
  if (values.size() == channels) return c.g.constant(values.reshaped({channels}));
  std::vector<float> all(static_cast<size_t>(channels), to_floats(*t).at(0));
  return c.g.constant(convert(Tensor::from<float>({channels}, all), c.dtype()));
}
// A weight in x's element type.
S weight_of(Ctx& c, std::string_view param = "weight", std::string_view like = "x") {
  S w = c.in(param);
  return c.dtype(param) == c.dtype(like) ? w : c.known(param) ? c.g.constant(convert(*c.known(param), c.dtype(like))) : c.g.cast(w, c.dtype(like));
}

void conv(Ctx& c) {
  Dims weight = c.dims("weight"), in = spatial(c.dims("x")), kernel = spatial(weight);
  size_t n = kernel.size();
  if (!known(kernel) || weight[0] < 0) unsupported("a convolution whose weight has extents that are not known");
  auto strides = ints_or(c, "strides", n, 1), dilations = ints_or(c, "dilations", n, 1);
  std::vector<Attr> attributes = {{"kernel_shape", kernel}, {"strides", strides}, {"dilations", dilations}, {"group", c.call.i64("groups")}};
  add_padding(c, attributes, in, kernel, strides, dilations);
  S x = c.in("x");
  c.out(c.g.node("Conv", {x, weight_of(c), bias_of(c, weight[0])}, attributes));
}

void conv_transpose(Ctx& c) {
  Dims weight = c.dims("weight"), in = spatial(c.dims("x")), kernel = spatial(weight), out = spatial(c.out_type().dims);
  size_t n = kernel.size();
  if (!known(kernel)) unsupported("a convolution whose weight has extents that are not known");
  int64_t groups = c.call.i64("groups");
  auto strides = ints_or(c, "strides", n, 1), dilations = ints_or(c, "dilations", n, 1);
  std::vector<Attr> attributes = {{"kernel_shape", kernel}, {"strides", strides}, {"dilations", dilations}, {"group", groups}};
  std::string type = lower_case(c.call.str("pad_type"));
  auto pad = type == "custom" ? ints_or(c, "pad", 2 * n, 0) : std::vector<int64_t>(2 * n, 0);
  std::vector<int64_t> before, after, extra;
  for (size_t i = 0; i < n; ++i) {
    int64_t b = pad[2 * i], a = pad[2 * i + 1], more = 0, span = (kernel[i] - 1) * dilations[i] + 1;
    if (in[i] >= 0 && out[i] >= 0) {
      int64_t full = (in[i] - 1) * strides[i] + span;
      if (type == "same") {
        int64_t total = std::max<int64_t>(0, full - out[i]);
        b = total / 2;
        a = total - b;
      }
      // Elements beyond what the inputs reach are zeros (plus bias); fewer are cut off at the end.
      int64_t rest = out[i] - (full - b - a);
      if (rest >= 0) more = rest;
      else a -= rest;
    } else if (type == "same" || c.has("output_shape")) {
      if (type == "same" && span >= strides[i]) {
        b = (span - strides[i]) / 2;
        a = span - strides[i] - b;
      } else {
        unsupported("a transposed convolution with padding \"" + type + "\" of extents that are not known");
      }
    }
    before.push_back(b);
    after.push_back(a);
    extra.push_back(more);
  }
  before.insert(before.end(), after.begin(), after.end());
  attributes.emplace_back("pads", before);
  bool any = std::any_of(extra.begin(), extra.end(), [](int64_t e) { return e > 0; });
  for (size_t i = 0; i < n; ++i)
    if (extra[i] >= std::max(strides[i], dilations[i])) unsupported("a transposed convolution whose output_shape goes beyond its last window");
  if (any) attributes.emplace_back("output_padding", extra);
  c.out(c.g.node("ConvTranspose", {c.in("x"), weight_of(c), bias_of(c, weight[1] * groups)}, attributes));
}

// --- pooling ---

void pool(Ctx& c, std::string_view op) {
  Dims in = spatial(c.dims("x")), out = spatial(c.out_type().dims);
  std::vector<int64_t> kernel = c.call.ints("kernel_sizes");
  size_t n = kernel.size();
  auto strides = ints_or(c, "strides", n, 1);
  bool average = op == "AveragePool", ceil_mode = c.call.flag("ceil_mode");
  bool exclude = average && c.call.flag("exclude_padding_from_average");
  std::vector<Attr> attributes = {{"kernel_shape", kernel}, {"strides", strides}};
  S x = c.in("x");
  std::string type = lower_case(c.call.str("pad_type"));
  if (ceil_mode && known(in) && known(out)) {
    // Rounding up is spelled as padding at the end: ONNX's own rule differs from Core ML's.
    auto pad = type == "custom" ? ints_or(c, "pad", 2 * n, 0) : std::vector<int64_t>(2 * n, 0);
    std::vector<int64_t> before, after, missing;
    bool more = false;
    for (size_t i = 0; i < n; ++i) {
      before.push_back(pad[2 * i]);
      after.push_back(pad[2 * i + 1]);
      missing.push_back(std::max<int64_t>(0, (out[i] - 1) * strides[i] + kernel[i] - (in[i] + pad[2 * i] + pad[2 * i + 1])));
      more = more || missing.back() > 0;
    }
    if (average && !exclude && more && std::any_of(pad.begin(), pad.end(), [](int64_t p) { return p != 0; })) {
      // Padding counts, what rounding up adds does not.
      std::vector<int64_t> pads(2, 0);
      pads.insert(pads.end(), before.begin(), before.end());
      pads.insert(pads.end(), 2, 0);
      pads.insert(pads.end(), after.begin(), after.end());
      x = c.g.node("Pad", {x, c.g.ints(pads)});
      std::fill(before.begin(), before.end(), 0);
      after = missing;
      exclude = true;
    } else {
      for (size_t i = 0; i < n; ++i) after[i] += missing[i];
      if (more) exclude = true;
    }
    before.insert(before.end(), after.begin(), after.end());
    attributes.emplace_back("pads", before);
  } else {
    if (ceil_mode) attributes.emplace_back("ceil_mode", 1);
    add_padding(c, attributes, in, kernel, strides, std::vector<int64_t>(n, 1));
  }
  if (average) attributes.emplace_back("count_include_pad", !exclude);
  if (op == "LpPool") attributes.emplace_back("p", 2);
  c.out(c.g.node(op, {x}, attributes));
}
void max_pool(Ctx& c) { pool(c, "MaxPool"); }
void avg_pool(Ctx& c) { pool(c, "AveragePool"); }
void l2_pool(Ctx& c) { pool(c, "LpPool"); }

// --- normalization ---

S channel_parameter(Ctx& c, std::string_view param, int64_t channels, double absent) {
  if (!c.has(param)) return c.g.constant(convert(Tensor::from<float>({channels}, std::vector<float>(static_cast<size_t>(channels), static_cast<float>(absent))), c.dtype()));
  return weight_of(c, param);
}
void batch_norm(Ctx& c) {
  int64_t channels = c.dims("mean")[0];
  S x = c.in("x");
  c.out(c.g.node("BatchNormalization",
                 {x, channel_parameter(c, "gamma", channels, 1), channel_parameter(c, "beta", channels, 0), weight_of(c, "mean"), weight_of(c, "variance")},
                 {{"epsilon", c.call.f64("epsilon")}}));
}
void instance_norm(Ctx& c) {
  int64_t channels = c.dims("x")[1];
  if (c.has("gamma")) channels = c.dims("gamma")[0];
  if (channels < 0) unsupported("instance_norm without parameters over channels of unknown number");
  S x = c.in("x");
  bool flat = c.rank("x") == 2;
  S y = c.g.node("InstanceNormalization", {flat ? c.g.unsqueeze(x, {2}) : x, channel_parameter(c, "gamma", channels, 1), channel_parameter(c, "beta", channels, 0)},
                 {{"epsilon", c.call.f64("epsilon")}});
  c.out(flat ? c.g.squeeze(y, {2}) : y);
}
void l2_norm(Ctx& c) {
  S x = c.in("x");
  int64_t rank = c.rank("x");
  std::vector<int64_t> axes;
  for (int64_t i = std::max<int64_t>(0, rank - 3); i < rank; ++i) axes.push_back(i);
  S sum = c.g.node("Add", {c.g.reduce("ReduceSumSquare", x, axes, true), c.scalar("epsilon")});
  c.out(c.g.node("Div", {x, c.g.node("Sqrt", {sum})}));
}
void layer_norm(Ctx& c) {
  S x = c.in("x");
  int64_t rank = c.rank("x");
  std::vector<int64_t> axes = c.axes("axes", rank);
  std::sort(axes.begin(), axes.end());
  bool trailing = true;
  for (size_t i = 0; i < axes.size(); ++i) trailing = trailing && axes[i] == rank - static_cast<int64_t>(axes.size() - i);
  Dims tail;
  for (int64_t a : axes) tail.push_back(c.dims("x")[static_cast<size_t>(a)]);
  if (c.has("gamma")) tail = c.dims("gamma");
  else if (c.has("beta")) tail = c.dims("beta");
  if (trailing && c.g.at_least(17) && known(tail)) {
    S scale = c.has("gamma") ? weight_of(c, "gamma")
                             : c.g.constant(convert(Tensor::from<float>(tail, std::vector<float>(static_cast<size_t>(take(element_count(tail))), 1.0f)), c.dtype()));
    return c.out(c.g.node("LayerNormalization", {x, scale, c.has("beta") ? weight_of(c, "beta") : ""},
                          {{"axis", axes.empty() ? rank : axes[0]}, {"epsilon", c.call.f64("epsilon")}}));
  }
  S centered = c.g.node("Sub", {x, c.g.reduce("ReduceMean", x, axes, true)});
  S variance = c.g.reduce("ReduceMean", c.g.node("Mul", {centered, centered}), axes, true);
  S y = c.g.node("Div", {centered, c.g.node("Sqrt", {c.g.node("Add", {variance, c.scalar("epsilon")})})});
  // gamma and beta have the extents of the normalized axes, in order.
  auto parameter = [&](std::string_view param) {
    const Tensor& t = c.tensor(param);
    Dims dims(static_cast<size_t>(rank), 1);
    for (size_t i = 0; i < axes.size() && i < t.dims().size(); ++i) dims[static_cast<size_t>(axes[i])] = t.dims()[i];
    return c.g.constant(convert(t, c.dtype()).reshaped(dims));
  };
  if (c.has("gamma")) y = c.g.node("Mul", {y, parameter("gamma")});
  if (c.has("beta")) y = c.g.node("Add", {y, parameter("beta")});
  c.out(y);
}
void local_response_norm(Ctx& c) {
  c.out(c.g.node("LRN", {c.in("x")}, {{"size", c.call.i64("size")}, {"alpha", c.call.f64("alpha")}, {"beta", c.call.f64("beta")}, {"bias", c.call.f64("k")}}));
}

// --- products ---

Tensor transposed2(const Tensor& t) {
  int64_t rows = t.dims()[0], cols = t.dims()[1];
  Tensor out = Tensor::uninitialized(t.dtype(), {cols, rows});
  size_t width = static_cast<size_t>(dtype_bits(t.dtype())) / 8;
  const std::byte* from = t.bytes().data();
  std::byte* to = out.mutable_bytes();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < cols; ++k) std::copy_n(from + static_cast<size_t>(r * cols + k) * width, width, to + static_cast<size_t>(k * rows + r) * width);
  return out;
}

void linear(Ctx& c) {
  S x = c.in("x");
  int64_t outputs = c.dims("weight")[0];
  S bias = c.has("bias") ? bias_of(c, outputs) : "";
  if (c.rank("x") == 2 && c.is_float()) return c.out(c.g.node("Gemm", {x, weight_of(c), bias}, {{"transB", 1}}));
  S w = c.known("weight") && !is_sub_byte(c.known("weight")->dtype()) ? c.g.constant(transposed2(convert(*c.known("weight"), c.dtype())))
                                                                     : c.g.transpose(weight_of(c), {1, 0});
  S y = c.g.node("MatMul", {x, w});
  c.out(bias.empty() ? y : c.g.node("Add", {y, bias}));
}
void matmul(Ctx& c) {
  auto side = [&](std::string_view param, std::string_view flag) {
    S v = c.in(param);
    int64_t rank = c.rank(param);
    if (!c.call.flag(flag) || rank < 2) return v;
    std::vector<int64_t> perm;
    for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
    std::swap(perm[static_cast<size_t>(rank - 1)], perm[static_cast<size_t>(rank - 2)]);
    return c.g.transpose(v, perm);
  };
  S x = side("x", "transpose_x"), y = side("y", "transpose_y");
  if (c.dtype("y") != c.dtype("x")) y = c.g.cast(y, c.dtype("x"));
  c.out(c.g.node("MatMul", {x, y}));
}
void einsum(Ctx& c) {
  std::vector<S> values;
  for (size_t i = 0; i < c.count("values"); ++i) values.push_back(c.in("values", i));
  c.out(c.g.node("Einsum", values, {{"equation", c.call.str("equation")}}));
}
void attention(Ctx& c) {
  S q = c.in("query"), k = c.in("key"), v = c.in("value");
  int64_t rank = c.rank("query"), width = c.dims("query").back();
  if (width <= 0) unsupported("attention over a width that is not known");
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < c.rank("key"); ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  DType t = c.dtype("query");
  S scores = c.g.node("MatMul", {c.g.node("Mul", {q, c.g.scalar(t, 1 / std::sqrt(static_cast<double>(width)))}), c.g.transpose(k, perm)});
  if (c.has("attn_mask")) {
    S mask = c.in("attn_mask");
    if (c.dtype("attn_mask") == DType::kBool) {
      // A row without any true element has weights of zero.
      S weights = c.g.node("Softmax", {c.g.node("Where", {mask, scores, c.g.scalar(t, -30000)})}, {{"axis", rank - 1}});
      return c.out(c.g.node("MatMul", {c.g.node("Where", {mask, weights, c.g.scalar(t, 0)}), v}));
    }
    if (c.dtype("attn_mask") != t) mask = c.g.cast(mask, t);
    scores = c.g.node("Add", {scores, mask});
  }
  c.out(c.g.node("MatMul", {c.g.node("Softmax", {scores}, {{"axis", rank - 1}}), v}));
}

// --- quantization ---

// Scales of float16 are known to ONNX from opset 19 on.
S scale_of(Ctx& c, bool* half) {
  *half = c.dtype("scale") == DType::kF16 && !c.g.at_least(19);
  if (!*half) return c.in("scale");
  return c.known("scale") ? c.g.constant(convert(*c.known("scale"), DType::kF32)) : c.g.cast(c.in("scale"), DType::kF32);
}
void quantize(Ctx& c) {
  bool half = false;
  S scale = scale_of(c, &half), x = c.in("input");
  if (half) x = c.g.cast(x, DType::kF32);
  DType type = c.out_dtype();
  S zero = c.has("zero_point") ? c.in("zero_point") : c.dims("scale").empty() ? c.g.constant(convert(Tensor::scalar(int32_t{0}), type)) : c.g.constant(Tensor::zeros(type, c.dims("scale")));
  std::vector<Attr> attributes;
  if (c.has("axis")) attributes.emplace_back("axis", c.axis("axis", c.rank("input")));
  c.out(c.g.node("QuantizeLinear", {x, scale, zero}, attributes));
}
void dequantize(Ctx& c) {
  bool half = false;
  S scale = scale_of(c, &half), x = c.in("input");
  std::vector<Attr> attributes;
  if (c.has("axis")) attributes.emplace_back("axis", c.axis("axis", c.rank("input")));
  S y = c.g.node("DequantizeLinear", {x, scale, c.has("zero_point") ? c.in("zero_point") : ""}, attributes);
  c.out(half ? c.g.cast(y, c.out_dtype()) : y);
}

constexpr Row kRows[] = {
    {"conv", conv}, {"conv_transpose", conv_transpose}, {"max_pool", max_pool}, {"avg_pool", avg_pool}, {"l2_pool", l2_pool},
    {"batch_norm", batch_norm}, {"instance_norm", instance_norm}, {"l2_norm", l2_norm}, {"layer_norm", layer_norm},
    {"local_response_norm", local_response_norm}, {"linear", linear}, {"matmul", matmul}, {"einsum", einsum},
    {"scaled_dot_product_attention", attention}, {"quantize", quantize}, {"dequantize", dequantize},
};

}  // namespace

std::span<const Row> families::network() { return kRows; }

}  // namespace mlt::foreign::to_onnx
