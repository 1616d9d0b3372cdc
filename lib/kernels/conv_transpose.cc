// A transposed convolution is a product over the input's channels, giving every output channel's every tap at every
// input pixel, whose columns are then added into the output. Output channels are taken in chunks, so that the
// intermediate stays small.
#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/kernels/conv.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/row_target.h"

namespace mlt {
namespace {
constexpr int64_t kColumnFloats = 1 << 20;
constexpr int64_t kMost = int64_t{1} << 30;
}  // namespace

std::array<int64_t, 3> ConvTransposeShape::out() const {
  std::array<int64_t, 3> size{1, 1, 1};
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i)
    size[i] = (in[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 - pad_before[i] - pad_after[i] + output_padding[i];
  return size;
}

struct ConvTransposePlan::Impl {
  ConvTransposeShape shape;
  ConvGeometry g;  // of the convolution this is the transpose of: g.in is our output, g.out our input
  Activation f;
  AlignedBuffer bias;
  struct Chunk {
    ConvPlan product;
    int64_t first_input, first_output, outputs;  // channels
  };
  std::vector<Chunk> chunks;
  size_t columns = 0, product_scratch = 0;  // floats, bytes

  // Adds one output channel's columns, [taps, input pixels], into its plane.
  void add_columns(const float* columns_of_channel, float* out) const noexcept {
    const RowTarget& row = row_target();
    const float* line = columns_of_channel;
    for (int64_t kz = 0; kz < g.kernel[0]; ++kz)
      for (int64_t ky = 0; ky < g.kernel[1]; ++ky)
        for (int64_t kx = 0; kx < g.kernel[2]; ++kx) {
          const int64_t shift = kx * g.dilation[2] - g.pad[2], stride = g.stride[2];
          const int64_t first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
          const int64_t last = g.in[2] - 1 - shift < 0 ? 0 : std::min(g.out[2], (g.in[2] - 1 - shift) / stride + 1);
          for (int64_t z = 0; z < g.out[0]; ++z)
            for (int64_t y = 0; y < g.out[1]; ++y, line += g.out[2]) {
              const int64_t oz = z * g.stride[0] + kz * g.dilation[0] - g.pad[0];
              const int64_t oy = y * g.stride[1] + ky * g.dilation[1] - g.pad[1];
              if (oz < 0 || oz >= g.in[0] || oy < 0 || oy >= g.in[1] || first >= last) continue;
              float* o = out + (oz * g.in[1] + oy) * g.in[2] + shift;
              if (stride == 1) {
                row.accumulate(Reduce::kSum, line + first, o + first, last - first);
              } else {
                for (int64_t x = first; x < last; ++x) o[x * stride] += line[x];
              }
            }
        }
  }
};

Result<ConvTransposePlan> ConvTransposePlan::create(const ConvTransposeShape& s, const float* weights,
                                                    const float* bias, const Activation& f) {
  if (s.rank < 1 || s.rank > 3) return usage_error("transposed convolution: rank must be 1, 2 or 3");
  if (s.groups < 1 || s.in_channels < 1 || s.out_channels < 1 || s.batch < 0 || s.in_channels % s.groups != 0 ||
      s.out_channels % s.groups != 0)
    return usage_error("transposed convolution: channels are not divisible by groups");
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->f = f;
  ConvGeometry& g = impl->g;
  double output = static_cast<double>(s.out_channels), taps_size = 1, input = static_cast<double>(s.in_channels);
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    for (int64_t v : {s.in[i], s.kernel[i], s.stride[i], s.dilation[i]})
      if (v < 1 || v > kMost) return usage_error("transposed convolution: sizes, strides and dilations must be positive");
    for (int64_t v : {s.pad_before[i], s.pad_after[i], s.output_padding[i]})
      if (v < 0 || v > kMost) return usage_error("transposed convolution: padding must not be negative");
    const int64_t size = s.out()[i];
    if (size < 1) return usage_error("transposed convolution: the padding leaves no output");
    output *= static_cast<double>(size);
    taps_size *= static_cast<double>(s.kernel[i]);
    input *= static_cast<double>(s.in[i]);
    const size_t a = 3 - static_cast<size_t>(s.rank) + i;
    g.in[a] = size, g.out[a] = s.in[i], g.kernel[a] = s.kernel[i], g.stride[a] = s.stride[i];
    g.dilation[a] = s.dilation[i], g.pad[a] = s.pad_before[i];
  }
  if (output > 1e12 || input > 1e12 || taps_size * static_cast<double>(s.in_channels) * static_cast<double>(s.out_channels) > 1e12)
    return usage_error("transposed convolution: too large");
  const int64_t taps = g.taps(), pixels = g.out_pixels();
  const int64_t ci = s.in_channels / s.groups, co = s.out_channels / s.groups;
  if (!impl->bias.reset(static_cast<size_t>(s.out_channels) * sizeof(float)))
    return resource_error("out of memory for a transposed convolution's weights");
  for (int64_t i = 0; i < s.out_channels; ++i) impl->bias.data()[i] = bias != nullptr ? bias[i] : 0;

  // With one group a chunk is some output channels, with more it is some whole groups.
  const int64_t units = s.groups == 1 ? co : s.groups, unit_outputs = s.groups == 1 ? 1 : co;
  const int64_t per_chunk =
      std::clamp<int64_t>(kColumnFloats / std::max<int64_t>(1, unit_outputs * taps * pixels), 1, units);
  for (int64_t first = 0; first < units; first += per_chunk) {
    const int64_t n = std::min(per_chunk, units - first), outputs = n * unit_outputs;
    const int64_t groups = s.groups == 1 ? 1 : n, group0 = s.groups == 1 ? 0 : first, out0 = s.groups == 1 ? first : 0;
    // [group, output in group, tap] rows of ci weights.
    AlignedBuffer w;
    if (!w.reset(static_cast<size_t>(outputs * taps * ci) * sizeof(float)))
      return resource_error("out of memory for a transposed convolution's weights");
    float* o = w.data();
    const int64_t outputs_per_group = outputs / groups;
    for (int64_t group = group0; group < group0 + groups; ++group)
      for (int64_t c = out0; c < out0 + outputs_per_group; ++c)
        for (int64_t t = 0; t < taps; ++t)
          for (int64_t i = 0; i < ci; ++i) *o++ = weights[((group * ci + i) * co + c) * taps + t];
    ConvShape p;
    p.rank = 1;
    p.in_channels = ci * groups;
    p.out_channels = outputs * taps;
    p.groups = groups;
    p.in = {pixels, 1, 1};
    MLT_ASSIGN(ConvPlan plan, ConvPlan::create(p, w.data(), nullptr));
    impl->product_scratch = std::max(impl->product_scratch, align_up(plan.scratch_bytes()));
    impl->columns = std::max(impl->columns, align_up(static_cast<size_t>(outputs * taps * pixels) * sizeof(float)) / sizeof(float));
    impl->chunks.push_back({std::move(plan), group0 * ci, group0 * co + out0, outputs});
  }
  return ConvTransposePlan(std::move(impl));
}

ConvTransposePlan::ConvTransposePlan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConvTransposePlan::ConvTransposePlan(ConvTransposePlan&&) noexcept = default;
ConvTransposePlan& ConvTransposePlan::operator=(ConvTransposePlan&&) noexcept = default;
ConvTransposePlan::~ConvTransposePlan() = default;
const ConvTransposeShape& ConvTransposePlan::shape() const { return impl_->shape; }
size_t ConvTransposePlan::scratch_bytes() const {
  return impl_->product_scratch + impl_->columns * sizeof(float) + kSlack;
}

void ConvTransposePlan::run(const float* in, float* out, void* scratch) const noexcept {
  const Impl& p = *impl_;
  const int64_t plane = p.g.in_pixels(), pixels = p.g.out_pixels(), taps = p.g.taps();
  float* columns = static_cast<float*>(scratch);
  float* product_scratch = columns + p.columns;
  for (int64_t n = 0; n < p.shape.batch; ++n)
    for (const Impl::Chunk& chunk : p.chunks) {
      chunk.product.run(in + (n * p.shape.in_channels + chunk.first_input) * pixels, columns, nullptr, product_scratch);
      parallel_for(chunk.outputs, grain_for(taps * pixels), [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
          float* o = out + (n * p.shape.out_channels + chunk.first_output + c) * plane;
          std::fill_n(o, plane, p.bias.data()[chunk.first_output + c]);
          p.add_columns(columns + c * taps * pixels, o);
          unary(p.f, o, o, plane);
        }
      });
    }
}

}  // namespace mlt
