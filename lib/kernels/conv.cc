#include "lib/kernels/conv.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lib/kernels/conv_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {

const ConvTarget* conv_simd();

namespace {

void pack_reference(const ConvGeometry& g, const float* in, int64_t k0, int64_t k1, int64_t p0, int64_t cols,
                    int64_t width, float* out) noexcept {
  const int64_t plane = g.in_pixels();
  std::fill_n(out, (k1 - k0) * width, 0.0f);
  walk_im2col(
      g, in, k0, k1, p0, cols, [](int64_t, int64_t, int64_t, int64_t, int64_t) {},
      [&](int64_t at, int64_t length, int64_t c0, int64_t c1, int64_t k, const float* from) {
        for (int64_t c = c0; c < c1; ++c)
          for (int64_t i = 0; i < length; ++i)
            out[(k - k0 + c - c0) * width + at + i] = from[c * plane + i * g.stride[2]];
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

enum class Method { kPrivate, kShared, kDepthwise };

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

struct ConvPlan::Impl {
  ConvShape shape;
  ConvGeometry g;
  Activation f;
  Method method = Method::kPrivate;
  const GemmTarget* gemm = nullptr;
  const ConvTarget* conv = nullptr;
  int64_t rows = 0, k = 0, depth = 0;  // of one group's product
  int64_t row_step = 0;                // rows of a tile
  int64_t panels_per_block = 0, blocks = 0, threads = 1;
  AlignedBuffer weights, bias;
  std::string kernel_name;

  // Weights of one group: for each depth block, tiles of rows, each [k][row].
  void pack_weights(const float* w) {
    const int64_t taps = g.taps(), channels = g.channels;
    for (int64_t group = 0; group < shape.groups; ++group) {
      const float* source = w + group * rows * k;
      float* out = weights.data() + group * rows * k;
      parallel_for((rows + row_step - 1) / row_step, 1, [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile)
          for (int64_t k0 = 0; k0 < k; k0 += depth) {
            const int64_t kc = std::min(depth, k - k0), m0 = tile * row_step, m1 = std::min(rows, m0 + row_step);
            float* o = out + rows * k0 + m0 * kc;
            for (int64_t q = k0; q < k0 + kc; ++q)
              for (int64_t m = m0; m < m1; ++m) *o++ = source[m * k + q % channels * taps + q / channels];
          }
      });
    }
  }

  void choose(int64_t pool) {
    const Panels panels(g.out_pixels(), *gemm);
    const int64_t width = panels.widest * panels.lanes;
    int64_t most = std::clamp(kPixelFloats / std::min(k, depth), int64_t{2} * width, kMaxPixels) / width;
    threads = pool;
    const int64_t images = shape.batch * shape.groups;
    method = Method::kPrivate;
    if (pool > 1) {
      // Enough independent blocks for every thread, if need be smaller ones; otherwise threads share each block.
      const int64_t wanted = 3 * pool;
      if (images * ((panels.count + most - 1) / most) < wanted)
        most = std::max<int64_t>(std::min<int64_t>(most, 4), panels.count / std::max<int64_t>(1, wanted / images));
      if (images * ((panels.count + most - 1) / most) < wanted) {
        method = Method::kShared;
        most = std::max<int64_t>(1, std::min(kMaxPixels / width, most * 2));
      }
    }
    blocks = (panels.count + most - 1) / most;
    panels_per_block = (panels.count + blocks - 1) / blocks;
    blocks = (panels.count + panels_per_block - 1) / panels_per_block;
  }

  int64_t block_width() const {
    const Panels panels(g.out_pixels(), *gemm);
    return panels_per_block * panels.widest * panels.lanes;
  }

  size_t scratch_floats_per_slot() const {
    size_t floats = 0;
    switch (method) {
      case Method::kPrivate: floats = static_cast<size_t>(std::min(depth, k) * block_width()); break;
      case Method::kShared: floats = static_cast<size_t>(k * block_width()); break;
      case Method::kDepthwise: floats = PaddedPlane(g, conv->lanes).floats(); break;
    }
    return align_up(floats * sizeof(float) + kSlack) / sizeof(float);
  }

  // Rows [m0, m1) by panels [b0, b1) for k in [k0, k0 + kc). `packed` holds these panels from b0 on.
  void multiply(const Panels& panels, int64_t group, int64_t m0, int64_t m1, int64_t b0, int64_t b1, int64_t k0,
                const float* packed, const float* residual, float* out) const noexcept {
    const int64_t pixels = g.out_pixels(), kc = std::min(depth, k - k0), first = panels.first_column(b0);
    const float* w = weights.data() + group * rows * k + rows * k0;
    const float* b = bias.data() + group * rows;
    Tile t;
    t.k = kc;
    t.ldc = t.ldr = pixels;
    t.accumulate = k0 > 0;
    const bool last = k0 + kc == k;
    if (last) t.f = f;
    for (int64_t m = m0; m < m1; m += row_step) {
      t.rows = static_cast<int>(std::min(row_step, m1 - m));
      t.a = w + m * kc;
      t.bias_row = last ? b + m : nullptr;
      for (int64_t p = b0; p < b1; ++p) {
        const int64_t column = panels.first_column(p);
        t.nv = static_cast<int>(panels.width_in_vectors(p));
        t.cols = std::min<int64_t>(t.nv * panels.lanes, pixels - column);
        t.b = packed + (column - first) * kc;
        t.c = out + m * pixels + column;
        t.residual = k0 == 0 && residual != nullptr ? residual + m * pixels + column : nullptr;
        gemm->packed(t);
      }
    }
  }

  void pack_panels(const Panels& panels, const float* in, int64_t k0, int64_t k1, int64_t part_k0, int64_t part_kc,
                   int64_t b0, int64_t first_panel, int64_t end_panel, float* packed) const noexcept {
    for (int64_t p = first_panel; p < end_panel; ++p) {
      const int64_t column = panels.first_column(p), width = panels.width_in_vectors(p) * panels.lanes;
      conv->pack(g, in, k0, k1, column, std::min(width, g.out_pixels() - column), width,
                 packed + (column - panels.first_column(b0)) * part_kc + (k0 - part_k0) * width);
    }
  }

  void run_private(const float* in, float* out, const float* residual, float* scratch) const noexcept {
    const Panels panels(g.out_pixels(), *gemm);
    const int64_t images = shape.batch * shape.groups;
    const size_t slot_size = scratch_floats_per_slot();
    for_slots(std::min<int64_t>(threads, thread_count()), images * blocks, [&](int64_t slot, int64_t item) {
      const int64_t image = item / blocks, b0 = item % blocks * panels_per_block;
      const int64_t b1 = std::min(panels.count, b0 + panels_per_block);
      float* packed = scratch + static_cast<size_t>(slot) * slot_size;
      const float* x = in + image * g.channels * g.in_pixels();
      float* y = out + image * rows * g.out_pixels();
      const float* r = residual != nullptr ? residual + image * rows * g.out_pixels() : nullptr;
      for (int64_t k0 = 0; k0 < k; k0 += depth) {
        const int64_t kc = std::min(depth, k - k0);
        pack_panels(panels, x, k0, k0 + kc, k0, kc, b0, b0, b1, packed);
        multiply(panels, image % shape.groups, 0, rows, b0, b1, k0, packed, r, y);
      }
    });
  }

  void run_shared(const float* in, float* out, const float* residual, float* packed) const noexcept {
    const Panels panels(g.out_pixels(), *gemm);
    const int64_t slots = std::min<int64_t>(threads, thread_count());
    const int64_t tiles = (rows + row_step - 1) / row_step, parts = (k + depth - 1) / depth;
    // Packing is cut along k within each depth block.
    const int64_t cuts = std::max<int64_t>(1, (2 * slots + parts - 1) / parts);
    for (int64_t image = 0; image < shape.batch * shape.groups; ++image) {
      const float* x = in + image * g.channels * g.in_pixels();
      float* y = out + image * rows * g.out_pixels();
      const float* r = residual != nullptr ? residual + image * rows * g.out_pixels() : nullptr;
      for (int64_t b0 = 0; b0 < panels.count; b0 += panels_per_block) {
        const int64_t b1 = std::min(panels.count, b0 + panels_per_block);
        const int64_t end_column = std::min(panels.first_column(b1 - 1) + panels.width_in_vectors(b1 - 1) * panels.lanes,
                                            panels.padded_columns());
        const int64_t block_columns = end_column - panels.first_column(b0);
        for_slots(slots, parts * cuts, [&](int64_t, int64_t item) {
          const int64_t k0 = item / cuts * depth, kc = std::min(depth, k - k0), cut = item % cuts;
          const int64_t from = k0 + kc * cut / cuts, to = k0 + kc * (cut + 1) / cuts;
          if (from < to)
            pack_panels(panels, x, from, to, k0, kc, b0, b0, b1, packed + block_columns * k0);
        });
        // A few groups of tiles per thread; small ones let the threads finish together.
        const int64_t group_tiles = std::max<int64_t>(1, std::min<int64_t>(8, tiles / (4 * slots)));
        for_slots(slots, (tiles + group_tiles - 1) / group_tiles, [&](int64_t, int64_t item) {
          const int64_t m0 = item * group_tiles * row_step, m1 = std::min(rows, m0 + group_tiles * row_step);
          for (int64_t k0 = 0; k0 < k; k0 += depth)
            multiply(panels, image % shape.groups, m0, m1, b0, b1, k0, packed + block_columns * k0, r, y);
        });
      }
    }
  }

  void run_depthwise(const float* in, float* out, const float* residual, float* scratch) const noexcept {
    const int64_t multiplier = shape.out_channels / shape.groups;
    const size_t slot_size = scratch_floats_per_slot();
    const int64_t planes = shape.batch * shape.out_channels;
    // Several planes at a time where they are small.
    const int64_t bunch = std::clamp<int64_t>(kMinWork / std::max<int64_t>(1, g.out_pixels() * g.taps() / 4), 1,
                                              std::max<int64_t>(1, planes / (2 * threads)));
    for_slots(std::min<int64_t>(threads, thread_count()), (planes + bunch - 1) / bunch, [&](int64_t slot, int64_t item) {
      DepthwisePlane p;
      p.g = &g;
      p.scratch = scratch + static_cast<size_t>(slot) * slot_size;
      p.f = f;
      for (int64_t i = item * bunch; i < std::min(planes, (item + 1) * bunch); ++i) {
        const int64_t channel = i % shape.out_channels;
        const int64_t source = i / shape.out_channels * shape.in_channels + channel / multiplier;
        p.in = in + source * g.in_pixels();
        p.weights = weights.data() + channel * g.taps();
        p.bias = bias.data()[channel];
        p.out = out + i * g.out_pixels();
        p.residual = residual != nullptr ? residual + i * g.out_pixels() : nullptr;
        conv->depthwise(p);
      }
    });
  }
};

Result<ConvPlan> ConvPlan::create(const ConvShape& s, const float* weights, const float* bias, const Activation& f) {
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
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->f = f;
  ConvGeometry& g = impl->g;
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
  impl->depth = balanced_depth(impl->k, kDepth);
  impl->row_step = balanced_tile(impl->rows, impl->gemm->mr);
  if (!impl->weights.reset(static_cast<size_t>(weight_count) * sizeof(float)) ||
      !impl->bias.reset(static_cast<size_t>(s.out_channels) * sizeof(float)))
    return resource_error("out of memory for a convolution's weights");
  for (int64_t i = 0; i < s.out_channels; ++i) impl->bias.data()[i] = bias != nullptr ? bias[i] : 0;
  const int64_t pool = thread_count();
  if (g.channels == 1 && g.kernel[0] == 1 && g.in[0] == 1 && g.out[0] == 1 && s.groups > 1) {
    impl->method = Method::kDepthwise;
    impl->threads = pool;
    std::memcpy(impl->weights.data(), weights, static_cast<size_t>(weight_count) * sizeof(float));
    impl->kernel_name = "depthwise";
  } else {
    impl->pack_weights(weights);
    impl->choose(pool);
    impl->kernel_name = std::string("conv ") + impl->gemm->name;
  }
  return ConvPlan(std::move(impl));
}

ConvPlan::ConvPlan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConvPlan::ConvPlan(ConvPlan&&) noexcept = default;
ConvPlan& ConvPlan::operator=(ConvPlan&&) noexcept = default;
ConvPlan::~ConvPlan() = default;

const ConvShape& ConvPlan::shape() const { return impl_->shape; }
size_t ConvPlan::weight_bytes() const { return impl_->weights.bytes(); }
const char* ConvPlan::kernel() const { return impl_->kernel_name.c_str(); }

size_t ConvPlan::scratch_bytes() const {
  const size_t slots = impl_->method == Method::kShared ? 1 : static_cast<size_t>(impl_->threads);
  return impl_->scratch_floats_per_slot() * slots * sizeof(float);
}

void ConvPlan::run(const float* in, float* out, const float* residual, void* scratch) const noexcept {
  float* memory = static_cast<float*>(scratch);
  switch (impl_->method) {
    case Method::kPrivate: return impl_->run_private(in, out, residual, memory);
    case Method::kShared: return impl_->run_shared(in, out, residual, memory);
    case Method::kDepthwise: return impl_->run_depthwise(in, out, residual, memory);
  }
}

}  // namespace mlt
