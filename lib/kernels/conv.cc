#include "lib/kernels/conv.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lib/kernels/conv_impl.h"
#include "lib/kernels/dispatch.h"

namespace mlt {

const ConvTarget* conv_simd();

namespace {

void pack_reference(const ConvGeometry& g, const float* in, int64_t c0, int64_t c1, int64_t p0, int64_t cols,
                    int64_t width, float* out) noexcept {
  const int64_t plane = g.in_pixels(), taps = g.taps();
  std::fill_n(out, (c1 - c0) * taps * width, 0.0f);
  walk_im2col(
      g, p0, cols, [](int64_t, int64_t, int64_t) {},
      [&](int64_t tap, int64_t at, int64_t length, int64_t source) {
        for (int64_t c = c0; c < c1; ++c)
          for (int64_t i = 0; i < length; ++i)
            out[((c - c0) * taps + tap) * width + at + i] = in[c * plane + source + i * g.stride[2]];
      });
}

void depthwise_reference(const DepthwisePlane& p) noexcept {
  const ConvGeometry& g = *p.g;
  for (int64_t y = 0; y < g.out[1]; ++y)
    for (int64_t x = 0; x < g.out[2]; ++x) {
      float sum = 0;
      for (int64_t ky = 0; ky < g.kernel[1]; ++ky)
        for (int64_t kx = 0; kx < g.kernel[2]; ++kx) {
          const int64_t iy = y * g.stride[1] + ky * g.dilation[1] - g.pad[1];
          const int64_t ix = x * g.stride[2] + kx * g.dilation[2] - g.pad[2];
          if (iy >= 0 && iy < g.in[1] && ix >= 0 && ix < g.in[2])
            sum += p.weights[ky * g.kernel[2] + kx] * p.in[iy * g.in[2] + ix];
        }
      const int64_t at = y * g.out[2] + x;
      sum += p.bias;
      if (p.residual != nullptr) sum += p.residual[at];
      p.out[at] = sum;
    }
  unary(p.f, p.out, p.out, g.out_pixels());
}

constexpr ConvTarget kReference{pack_reference, depthwise_reference, 4};

// Depth of one pass over k: a packed tile of weights then stays in the first-level cache.
constexpr int64_t kDepth = 576;
// Packed pixels of one pass stay in the second-level cache.
constexpr int64_t kPixelFloats = 112 * 1024;
constexpr int64_t kMaxPixels = 384;

constexpr int64_t kMaxExtent = int64_t{1} << 40;

// Product of sizes that must stay far from overflow; -1 when it does not.
int64_t checked_product(std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (int64_t size : sizes) {
    if (size < 0 || (size > 0 && product > kMaxExtent / size)) return -1;
    product *= size;
  }
  return product;
}

}  // namespace

const ConvTarget& conv_target() noexcept { return use_reference() ? kReference : *conv_simd(); }

std::array<int64_t, 3> ConvShape::out() const {
  std::array<int64_t, 3> size{1, 1, 1};
  for (size_t i = 0; i < static_cast<size_t>(rank); ++i) {
    const int64_t room = in[i] + pad_before[i] + pad_after[i] - dilation[i] * (kernel[i] - 1) - 1;
    size[i] = room < 0 ? 0 : room / stride[i] + 1;
  }
  return size;
}

void ConvPlan::Impl::choose(int64_t pool, bool allow_winograd) {
  threads = pool;
  const int64_t pixels = g.out_pixels(), images = shape.batch * shape.groups;
  const Panels panels(pixels, *gemm);
  // A padded copy of a plane must fit in memory, however large the padding and the stride.
  const PaddedPlane padded(g, conv->lanes);
  const bool small = static_cast<double>(padded.rows) * static_cast<double>(padded.row) < 0x1p28;
  if (g.channels == 1 && g.kernel[0] == 1 && g.in[0] == 1 && g.out[0] == 1 && shape.groups > 1 && small) {
    method = ConvMethod::kDepthwise;
    kernel_name = "depthwise";
    return;
  }
  if (allow_winograd && choose_winograd()) return;
  if (choose_direct()) return;
  // A lane in five or more idle, and output channels to fill them with.
  const Panels channel_panels(rows, *gemm);
  if (5 * pixels < 4 * panels.padded_columns() && pixels <= kMaxSwappedPixels &&
      rows * panels.padded_columns() > channel_panels.padded_columns() * pixels && rows >= panels.lanes) {
    method = ConvMethod::kSwapped;
    kernel_name = std::string("conv swapped ") + gemm->name;
    return;
  }
  kernel_name = std::string("conv ") + gemm->name;
  const int64_t width = panels.widest * panels.lanes;
  int64_t most = std::clamp(kPixelFloats / depth, int64_t{2} * width, kMaxPixels) / width;
  method = ConvMethod::kPrivate;
  if (pool > 1) {
    // Enough independent blocks for every thread, if need be smaller ones; otherwise threads share each block.
    const int64_t wanted = 3 * pool;
    if (images * ((panels.count + most - 1) / most) < wanted)
      most = std::max<int64_t>(std::min<int64_t>(most, 4), panels.count / std::max<int64_t>(1, (wanted + images - 1) / std::max<int64_t>(1, images)));
    const int64_t items = images * ((panels.count + most - 1) / most);
    if (items < wanted && (items == 0 || items % pool != 0)) {
      method = ConvMethod::kShared;
      most = std::max<int64_t>(1, kMaxPixels / width);
    }
  }
  blocks = (panels.count + most - 1) / most;
  panels_per_block = (panels.count + blocks - 1) / blocks;
  blocks = (panels.count + panels_per_block - 1) / panels_per_block;
}

size_t ConvPlan::Impl::weight_floats() const {
  if (method == ConvMethod::kWinograd) return static_cast<size_t>(36 * rows * g.channels * g.kernel[0] * shape.groups);
  const int64_t columns = method == ConvMethod::kSwapped ? Panels(rows, *gemm).padded_columns() : rows;
  return static_cast<size_t>(columns * k * shape.groups);
}

// kPrivate, kShared, kDirect: for each part of k, tiles of rows, each [k][row]. kSwapped: panels of columns.
void ConvPlan::Impl::pack_weights(const float* w) {
  if (method == ConvMethod::kDepthwise) {
    std::memcpy(weights.data(), w, weight_floats() * sizeof(float));
    return;
  }
  if (method == ConvMethod::kWinograd) return pack_winograd(w);
  for (int64_t group = 0; group < shape.groups; ++group) {
    const float* source = w + group * rows * k;
    if (method == ConvMethod::kSwapped) {
      float* out = weights.data() + group * Panels(rows, *gemm).padded_columns() * k;
      pack_columns(*gemm, source, rows, k, k, 1, depth, out);
      continue;
    }
    float* out = weights.data() + group * rows * k;
    parallel_for((rows + row_step - 1) / row_step, grain_for(k * row_step), [&](int64_t begin, int64_t end) {
      for (int64_t m0 = begin * row_step; m0 < std::min(rows, end * row_step); m0 += row_step)
        for (int64_t k0 = 0; k0 < k; k0 += depth) {
          const int64_t kc = std::min(depth, k - k0), m1 = std::min(rows, m0 + row_step);
          float* o = out + rows * k0 + m0 * kc;
          for (int64_t q = k0; q < k0 + kc; ++q)
            for (int64_t m = m0; m < m1; ++m) *o++ = source[m * k + q];
        }
    });
  }
}

size_t ConvPlan::Impl::slot_floats() const {
  size_t floats = 0;
  const auto rounded = [](int64_t n) { return align_up(static_cast<size_t>(n) * sizeof(float)) / sizeof(float); };
  switch (method) {
    case ConvMethod::kPrivate:
    case ConvMethod::kShared: {
      const Panels panels(g.out_pixels(), *gemm);
      floats = rounded(depth * panels_per_block * panels.widest * panels.lanes) * (method == ConvMethod::kShared ? 2 : 1);
      break;
    }
    case ConvMethod::kSwapped:
      floats = 2 * rounded(depth * g.out_pixels()) + rounded(rows * g.out_pixels());
      break;
    case ConvMethod::kWinograd: floats = winograd_slot_floats(); break;
    case ConvMethod::kDirect:
      floats = rounded(g.channels * strip_input_rows() * PaddedPlane(g, conv->lanes).row);
      break;
    case ConvMethod::kDepthwise: floats = PaddedPlane(g, conv->lanes).floats(); break;
  }
  return rounded(static_cast<int64_t>(floats + 2 * kSlack));
}

size_t ConvPlan::Impl::scratch_floats() const {
  const bool one = method == ConvMethod::kShared || (method == ConvMethod::kSwapped && shape.batch * shape.groups < threads);
  return slot_floats() * (one ? 1 : static_cast<size_t>(threads));
}

Result<ConvGeometry> convolution_geometry(const ConvShape& s) {
  if (s.rank < 1 || s.rank > 3) return usage_error("convolution: rank must be 1, 2 or 3");
  if (s.groups < 1 || s.in_channels < 1 || s.out_channels < 1 || s.batch < 0 || s.in_channels % s.groups != 0 ||
      s.out_channels % s.groups != 0)
    return usage_error("convolution: channels are not divisible by groups");
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    constexpr int64_t kMost = int64_t{1} << 30;
    for (int64_t v : {s.in[i], s.kernel[i], s.stride[i], s.dilation[i]})
      if (v < 1 || v > kMost) return usage_error("convolution: sizes, strides and dilations must be positive");
    if (s.pad_before[i] < 0 || s.pad_after[i] < 0 || s.pad_before[i] > kMost || s.pad_after[i] > kMost)
      return usage_error("convolution: padding must not be negative");
    if (s.kernel[i] > 1 && s.dilation[i] > kMost / s.kernel[i]) return usage_error("convolution: dilation too large");
  }
  const auto out = s.out();
  ConvGeometry g;
  g.channels = s.in_channels / s.groups;
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    const size_t axis = 3 - static_cast<size_t>(s.rank) + i;
    if (out[i] < 1) return usage_error("convolution: the kernel is larger than the padded input");
    g.in[axis] = s.in[i];
    g.out[axis] = out[i];
    g.kernel[axis] = s.kernel[i];
    g.stride[axis] = s.stride[i];
    g.dilation[axis] = s.dilation[i];
    g.pad[axis] = s.pad_before[i];
  }
  const int64_t weight_count = checked_product({s.out_channels, g.channels, g.kernel[0], g.kernel[1], g.kernel[2]});
  if (weight_count < 0 || checked_product({s.batch, s.in_channels, g.in[0], g.in[1], g.in[2]}) < 0 ||
      checked_product({s.batch, s.out_channels, g.out[0], g.out[1], g.out[2]}) < 0)
    return usage_error("convolution: too large");
  return g;
}

Result<ConvPlan> ConvPlan::create(const ConvShape& s, const float* weights, const float* bias, const Activation& f,
                                  bool allow_winograd) {
  return prepare(s, [weights] { return weights; }, bias, f, allow_winograd, {});
}

Result<ConvPlan> ConvPlan::prepare(const ConvShape& s, FunctionRef<const float*()> weights, const float* bias, const Activation& f,
                                   bool allow_winograd, const PackedName& name) {
  MLT_ASSIGN(const ConvGeometry geometry, convolution_geometry(s));
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->f = f;
  ConvGeometry& g = impl->g;
  g = geometry;
  // A pointwise convolution sees one long row of pixels.
  const bool pointwise = g.taps() == 1 && s.stride == std::array<int64_t, 3>{1, 1, 1} &&
                         s.pad_before == std::array<int64_t, 3>{} && s.pad_after == std::array<int64_t, 3>{};
  if (pointwise) {
    g.in = {1, 1, g.in_pixels()};
    g.out = g.in;
  }
  impl->gemm = &gemm_target();
  impl->conv = &conv_target();
  impl->rows = s.out_channels / s.groups;
  impl->k = g.channels * g.taps();
  impl->channel_step = balanced_depth(g.channels, std::max<int64_t>(1, kDepth / g.taps()));
  impl->depth = impl->channel_step * g.taps();
  impl->row_step = balanced_tile(impl->rows, impl->gemm->mr);
  impl->choose(thread_count(), allow_winograd);
  if (!impl->bias.reset(static_cast<size_t>(s.out_channels) * sizeof(float))) return resource_error("out of memory for a convolution's weights");
  for (int64_t i = 0; i < s.out_channels; ++i) impl->bias.data()[i] = bias != nullptr ? bias[i] : 0;
  // The method and what it packs by.
  const std::string form = form_name(impl->gemm->name, {static_cast<int64_t>(impl->method), s.out_channels, s.groups, impl->k, impl->depth, impl->row_step, impl->channel_step});
  MLT_TRY(prepare_form(impl->weights, impl->weight_floats() * sizeof(float), name, form, [&] {
    impl->pack_weights(weights());
    return Status();
  }));
  return ConvPlan(std::move(impl));
}

ConvPlan::ConvPlan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConvPlan::ConvPlan(ConvPlan&&) noexcept = default;
ConvPlan& ConvPlan::operator=(ConvPlan&&) noexcept = default;
ConvPlan::~ConvPlan() = default;

const ConvShape& ConvPlan::shape() const { return impl_->shape; }
size_t ConvPlan::weight_bytes() const { return impl_->weights.bytes(); }
const char* ConvPlan::kernel() const { return impl_->kernel_name.c_str(); }

size_t ConvPlan::scratch_bytes() const { return impl_->scratch_floats() * sizeof(float); }

void ConvPlan::run(const float* in, float* out, const float* residual, void* scratch) const noexcept {
  float* memory = static_cast<float*>(scratch);
  switch (impl_->method) {
    case ConvMethod::kPrivate: return impl_->run_private(in, out, residual, memory);
    case ConvMethod::kShared: return impl_->run_shared(in, out, residual, memory);
    case ConvMethod::kSwapped: return impl_->run_swapped(in, out, residual, memory);
    case ConvMethod::kWinograd: return impl_->run_winograd(in, out, residual, memory);
    case ConvMethod::kDirect: return impl_->run_direct(in, out, residual, memory);
    case ConvMethod::kDepthwise: return impl_->run_depthwise(in, out, residual, memory);
  }
}

}  // namespace mlt
