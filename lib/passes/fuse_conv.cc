// Channel-wise arithmetic after a convolution moves into its weights and bias:
//   conv -> batch_norm            fuse_conv_batchnorm
//   conv -> mul | real_div const  fuse_conv_scale
//   conv -> add | sub const       fuse_conv_bias
// for conv and conv_transpose whose weights are constant and whose result nothing else uses.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/passes/pattern.h"
#include "lib/tensor/deferred.h"
#include "lib/tensor/spill.h"

namespace mlt::passes {
namespace {

struct Conv {
  ir::Op* op = nullptr;
  const Tensor *weight = nullptr, *bias = nullptr;
  bool transposed = false;
  int64_t groups = 1, channels = 0;  // output channels
};

std::optional<Conv> match_conv(const Rewriter& r, V value) {
  Conv c;
  c.op = producer(value, "conv");
  if (c.op == nullptr) {
    c.op = producer(value, "conv_transpose");
    c.transposed = true;
  }
  if (c.op == nullptr || !r.only_user(value)) return std::nullopt;
  c.weight = constant(*c.op, "weight");
  c.bias = constant(*c.op, "bias");
  if (c.weight == nullptr || (c.op->find("bias") && c.bias == nullptr) || !is_float(c.weight->dtype()) || c.weight->rank() < 3) return std::nullopt;
  if (auto groups = constant_ints(*c.op, "groups")) c.groups = (*groups)[0];
  c.channels = c.transposed ? c.weight->dims()[1] * c.groups : c.weight->dims()[0];
  if (c.groups <= 0 || (c.transposed && c.weight->dims()[0] % c.groups != 0)) return std::nullopt;
  return c;
}

// A convolution's weights [d0, d1, *K], each output channel times a factor.
class Scaled : public Deferred {
 public:
  Scaled(Tensor source, std::vector<float> scale, const Conv& c) : source_(std::move(source)), scale_(std::move(scale)) {
    d1_ = source_.dims()[1];
    each_ = 1;
    for (size_t i = 2; i < source_.dims().size(); ++i) each_ *= source_.dims()[i];
    rows_of_group_ = c.transposed ? source_.dims()[0] / c.groups : 0;
  }
  int64_t piece() const override { return source_.deferred() ? source_.deferred()->piece() : Deferred::piece(); }
  void produce(int64_t begin, int64_t end, std::byte* out) const override {
    constexpr int64_t kBlock = 2048;
    float values[kBlock];
    int64_t row = d1_ * each_;
    for (int64_t at = begin; at < end; at += kBlock) {
      int64_t n = std::min(kBlock, end - at);
      read_elements(source_, at, at + n, reinterpret_cast<std::byte*>(values));
      for (int64_t i = 0; i < n;) {  // up to where the channel changes
        int64_t k = at + i, d0 = k / row, channel = rows_of_group_ ? d0 / rows_of_group_ * d1_ + k % row / each_ : d0;
        int64_t next = rows_of_group_ ? k / each_ * each_ + each_ : (d0 + 1) * row, stop = std::min(n, i + next - k);
        float factor = scale_[static_cast<size_t>(channel)];
        for (; i < stop; ++i) values[i] *= factor;
      }
      std::memcpy(out + static_cast<size_t>(at - begin) * sizeof(float), values, static_cast<size_t>(n) * sizeof(float));
    }
  }
  void release() const override { release_pages(source_); }

 private:
  Tensor source_;
  std::vector<float> scale_;
  int64_t d1_, each_, rows_of_group_;
};

// One value per output channel of a constant that broadcasts against [N, C, *D]; nothing when it varies elsewhere.
std::optional<std::vector<float>> per_channel(const Tensor& t, int64_t channels, int64_t rank) {
  if (!is_float(t.dtype())) return std::nullopt;
  std::vector<float> values;
  if (t.size() == 1 && t.rank() <= rank) {
    values.assign(static_cast<size_t>(channels), to_floats(t)[0]);
    return values;
  }
  int64_t axis = t.rank() - (rank - 1);  // where channels stand when aligned right
  if (t.size() != channels || (axis != 0 && axis != 1) || t.dims()[static_cast<size_t>(axis)] != channels) return std::nullopt;
  return to_floats(t);
}

// weight * scale and bias * scale + shift, in place of the conv.
Status rewrite(Rewriter& r, ir::Op& last, const Conv& c, const std::vector<float>& scale, const std::vector<float>& shift) {
  bool scales = false;
  for (float s : scale) scales = scales || s != 1;
  Tensor weight = *c.weight;
  DType dtype = weight.dtype();
  if (scales) {
    Tensor source = dtype == DType::kF16 || dtype == DType::kBF16 ? widened(weight) : convert(weight, DType::kF32);
    Scaled scaled(source, scale, c);
    if (waits_in_file(source)) {
      weight = Tensor::deferred(DType::kF32, source.dims(), std::make_shared<Scaled>(std::move(scaled)));
    } else {
      weight = Tensor::uninitialized(DType::kF32, source.dims());
      scaled.produce(0, weight.size(), weight.mutable_bytes());
    }
    weight = convert(weight, dtype);
  }
  std::vector<float> bias = c.bias ? to_floats(*c.bias) : std::vector<float>(static_cast<size_t>(c.channels), 0);
  if (static_cast<int64_t>(bias.size()) != c.channels) return {};
  for (size_t i = 0; i < bias.size(); ++i) bias[i] = bias[i] * scale[i] + shift[i];
  ops::OpBuilder b = r.before(*c.op);
  std::vector<ops::Input> inputs;
  for (const ir::Arg& arg : c.op->args) {
    if (arg.name == "weight" || arg.name == "bias") continue;
    if (arg.operands.size() != 1 || arg.operands[0].value == nullptr) return {};
    inputs.push_back({arg.name, arg.operands[0].value});
  }
  V given = c.op->input("weight");
  std::string base = given ? given->name : "weight";
  inputs.push_back({"weight", scales || given == nullptr ? b.constant(weight, base) : given});
  inputs.push_back({"bias", b.constant(convert(Tensor::from<float>({c.channels}, bias), dtype), std::string(last.output()->name) + "_bias")});
  V fresh = b.op(c.op->kind, inputs);
  MLT_TRY(b.status());
  r.replace(last.output(), fresh, {&last, c.op});
  return {};
}

}  // namespace

Result<size_t> fuse_conv_batchnorm(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "batch_norm") return {};
    auto conv = match_conv(r, op.input("x"));
    const Tensor *mean = constant(op, "mean"), *variance = constant(op, "variance"), *gamma = constant(op, "gamma"), *beta = constant(op, "beta");
    if (!conv || !r.free({&op, conv->op}) || mean == nullptr || variance == nullptr || mean->size() != conv->channels || variance->size() != conv->channels) return {};
    if ((op.find("gamma") && (!gamma || gamma->size() != conv->channels)) || (op.find("beta") && (!beta || beta->size() != conv->channels))) return {};
    double epsilon = uniform(op, "epsilon").value_or(1e-5f);
    std::vector<float> m = to_floats(*mean), v = to_floats(*variance), scale, shift;
    std::vector<float> g = gamma ? to_floats(*gamma) : std::vector<float>(m.size(), 1), b = beta ? to_floats(*beta) : std::vector<float>(m.size(), 0);
    for (size_t i = 0; i < m.size(); ++i) {
      double s = g[i] / std::sqrt(static_cast<double>(v[i]) + epsilon);
      scale.push_back(static_cast<float>(s));
      shift.push_back(static_cast<float>(b[i] - m[i] * s));
      if (!std::isfinite(scale.back()) || !std::isfinite(shift.back())) return {};
    }
    return rewrite(r, op, *conv, scale, shift);
  });
}

namespace {

Result<size_t> fuse_arithmetic(ir::Function& function, Context& context, bool scaling) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    bool direct = op.kind == (scaling ? "mul" : "add"), inverse = op.kind == (scaling ? "real_div" : "sub");
    if (!direct && !inverse) return {};
    V x = nullptr;
    const Tensor* value = nullptr;
    if (!split_constant(op, &x, &value) || (inverse && op.input("x") != x)) return {};
    auto conv = match_conv(r, x);
    if (!conv || !r.free({&op, conv->op}) || op.output()->type != x->type) return {};
    auto channels = per_channel(*value, conv->channels, x->type.rank());
    if (!channels) return {};
    std::vector<float> scale(channels->size(), 1), shift(channels->size(), 0);
    for (size_t i = 0; i < channels->size(); ++i) {
      float v = (*channels)[i];
      if (scaling) scale[i] = inverse ? 1 / v : v;
      else shift[i] = inverse ? -v : v;
      if (!std::isfinite(scale[i]) || !std::isfinite(shift[i])) return {};
    }
    return rewrite(r, op, *conv, scale, shift);
  });
}

}  // namespace

Result<size_t> fuse_conv_scale(ir::Function& function, Context& context) { return fuse_arithmetic(function, context, true); }
Result<size_t> fuse_conv_bias(ir::Function& function, Context& context) { return fuse_arithmetic(function, context, false); }

}  // namespace mlt::passes
