#include "lib/kernels/int8.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "lib/kernels/aligned.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/int8_depthwise.h"
#include "lib/kernels/int8_target.h"

namespace mlt {

namespace {

enum class Method {
  kTaps,   // a pointer for each pixel and tap; a matrix product is one tap
  kLines,  // few channels: from a padded copy, where a kernel's row is one run of codes
  kWindows,  // the fewest: from copies of whole windows
  kDepthwise
};

// Up to so many channels lines are copied with what is outside of them, for a row of a kernel to be one run: a tap alone is
// too short, and the copy is little beside the products.
constexpr int64_t kFewChannels = 128;
// Up to so many codes a row of a kernel is copied at once.
constexpr int64_t kRun = 32;
constexpr int64_t kMostWindow = 256;  // codes
constexpr int64_t kBlockPixels = 128, kPointers = 4096, kMostTaps = 512, kMostRows = 16, kManyRows = 192;

}  // namespace

struct Int8Conv::Impl {
  ConvShape shape;
  ConvGeometry g;
  Codes in;
  Int8Finish finish;
  std::optional<CodeTable> table;
  std::optional<Int8Curve> curve;
  Method method = Method::kTaps;
  const Int8Target* target = nullptr;
  int64_t rows = 0;                               // output channels
  int64_t parts = 1, per_part = 0, padded = 0;    // groups, but for kDepthwise: their output channels, and those in whole vectors
  int64_t segments = 1, length = 1, quads = 1;    // a pixel's window: runs of `length` codes, padded to quads
  int64_t padded_row = 0, lines = 0;              // kLines
  Int8Depthwise depthwise;                        // kDepthwise
  AlignedBuffer weights, start, scale, bias, zeros;
  std::string name;

  int64_t pixels() const { return shape.batch * g.out_pixels(); }
  // Panels of four vectors where that divides all and the few rows of their tiles do not matter.
  int widest() const { return (per_part + target->lanes - 1) / target->lanes % 4 == 0 && pixels() >= kManyRows ? target->nv : std::min(target->nv, 3); }
  Panels panels() const {
    GemmTarget shapes{};
    shapes.nv = widest(), shapes.lanes = target->lanes;
    return Panels(per_part, shapes);
  }
  Status prepare(const int8_t* w, const float* weight_scale, const float* bias_in, bool residual);
  void pack_panels(const int8_t* w);
  void copy_windows(const uint8_t* in_codes, int64_t first, int64_t last, uint8_t* to) const noexcept;
  void run_product(const uint8_t* in_codes, int64_t image, void* out, int64_t pitch, const uint8_t* residual) const noexcept;
  void run_lines(const uint8_t* in_codes, void* out, int64_t pitch, const uint8_t* residual, uint8_t* scratch) const noexcept;
  void run(const uint8_t* in_codes, void* out, int64_t pitch, const uint8_t* residual, void* scratch) const noexcept;
};

// Weights as panels: [panel][segment][quad][vector], like the product of a matrix of segments * quads * 4 rows.
void Int8Conv::Impl::pack_panels(const int8_t* w) {
  const Panels p = panels();
  const int64_t c = g.channels, taps = g.taps(), bytes = target->vector_bytes(), lanes = target->lanes;
  std::memset(weights.data<void>(), 0, weights.bytes());
  parallel_for(parts * p.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t part = item / p.count, n0 = p.first_column(item % p.count), nv = p.width_in_vectors(item % p.count);
      int8_t* to = weights.data<int8_t>() + (part * padded + n0) / lanes * segments * quads * bytes;
      for (int64_t col = n0; col < std::min(per_part, n0 + nv * lanes); ++col) {
        const int8_t* from = w + (part * per_part + col) * c * taps;
        const int64_t vector = (col - n0) / lanes, lane = (col - n0) % lanes;
        for (int64_t t = 0; t < taps; ++t)
          for (int64_t i = 0; i < c; ++i) {
            // A segment is a tap, a row of taps, or all.
            const int64_t s = method == Method::kWindows ? 0 : method == Method::kLines ? t / g.kernel[2] : t;
            const int64_t at = (method == Method::kWindows ? t : method == Method::kLines ? t % g.kernel[2] : 0) * c + i;
            target->put(to + ((s * quads + at / 4) * nv + vector) * bytes, lane, at % 4, from[i * taps + t]);
          }
      }
    }
  });
}

Status Int8Conv::Impl::prepare(const int8_t* w, const float* weight_scale, const float* bias_in, bool residual) {
  const int64_t lanes = target->lanes, per_row = g.taps() * g.channels;
  if (per_row > kMaxDepth) return usage_error("convolution: sums of " + std::to_string(per_row) + " products do not fit 32 bits");
  size_t weight_size = 0;
  per_part = rows;
  const bool flat = g.in[0] == 1 && g.out[0] == 1 && g.kernel[0] == 1 && g.pad[0] == 0;
  if (shape.groups > 1 && shape.groups == shape.in_channels && shape.groups == shape.out_channels && flat) {
    method = Method::kDepthwise;
    padded = rows;
  } else {
    segments = g.taps(), length = g.channels;
    parts = shape.groups, per_part = rows / parts;
    if (parts == 1 && flat && g.channels <= kFewChannels && g.kernel[2] > 1 && g.dilation[2] == 1) {
      padded_row = ((g.out[2] - 1) * g.stride[2] + g.kernel[2]) * g.channels;
      lines = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
      if (static_cast<double>(padded_row) * static_cast<double>(lines) < 0x1p28) {
        method = Method::kLines;
        segments = g.kernel[1], length = g.kernel[2] * g.channels;
      }
      if (g.kernel[2] * g.channels <= kRun && g.taps() * g.channels <= kMostWindow) {
        method = Method::kWindows;
        segments = 1, length = g.taps() * g.channels;
      }
    }
    quads = (length + 3) / 4;
    padded = panels().padded_columns();
    weight_size = static_cast<size_t>(parts * padded / lanes * segments * quads * target->vector_bytes());
  }
  name = std::string(method == Method::kDepthwise ? "depthwise " : method == Method::kLines ? "lines " : method == Method::kWindows ? "windows " : segments == 1 ? "product " : "taps ") + target->name;
  const auto vectors = static_cast<size_t>(parts * padded) * sizeof(float);
  // Whole quads are read; of windows a whole line.
  const auto outside = static_cast<size_t>(method == Method::kWindows ? g.in[2] * g.channels + kRun : shape.in_channels + 4);
  if (!weights.reset(weight_size) || !start.reset(vectors) || !scale.reset(vectors) || !bias.reset(vectors) || !zeros.reset(outside))
    return resource_error("out of memory for a convolution's weights");
  std::memset(zeros.data<void>(), in.zero, outside);
  float factor = 1;
  // Epilogues that end in codes scale by the codes' scale at once, and an activation is part of their bounds.
  if (finish.narrow && (finish.f.op == Unary::kIdentity || finish.f.op == Unary::kRelu || finish.f.op == Unary::kClip)) {
    const float inverse = finish.inverse;
    if (finish.f.op == Unary::kRelu) finish.lo = std::max(finish.lo, 0.0f);
    if (finish.f.op == Unary::kClip) {
      const float a = finish.f.a * inverse, b = finish.f.b * inverse;
      finish.lo = std::min(finish.hi, std::max(finish.lo, std::min(a, b)));
      finish.hi = std::max(finish.lo, std::min(finish.hi, b));
    }
    finish.f = {};
    finish.inverse = 1;
    finish.residual_scale *= inverse, finish.residual_shift *= inverse, finish.between_scale *= inverse;
    if (!finish.between) factor = inverse;
  }
  if (finish.between) factor = finish.between_inverse, finish.between_inverse = 1;
  double most = 0;  // of what is rounded to codes
  for (int64_t i = 0; i < parts * padded; ++i) start.data<int32_t>()[i] = 0, scale.data()[i] = bias.data()[i] = 0;
  for (int64_t o = 0; o < rows; ++o) {
    int64_t sum = 0;
    for (int64_t i = 0; i < per_row; ++i) sum += w[o * per_row + i];
    const int64_t at = method == Method::kDepthwise ? o : o / per_part * padded + o % per_part;
    start.data<int32_t>()[at] = static_cast<int32_t>(-in.zero * sum);
    scale.data()[at] = in.scale * weight_scale[o] * factor;
    bias.data()[at] = bias_in != nullptr ? bias_in[o] * factor : 0;
    most = std::max(most, std::fabs(static_cast<double>(scale.data()[at])) * static_cast<double>(per_row) * 255 * 128 + std::fabs(static_cast<double>(bias.data()[at])));
  }
  if (finish.between) most = 256.0 * (std::fabs(static_cast<double>(finish.between_scale)) + std::fabs(static_cast<double>(finish.residual_scale))) + std::fabs(static_cast<double>(finish.residual_shift));
  if (target->curves && finish.narrow && !finish.between && !residual && method != Method::kDepthwise && most * static_cast<double>(finish.inverse) < 0x1p29) {
    curve = int8_curve(finish.f, finish.inverse);
    finish.curve = curve ? &*curve : nullptr;
  }
  finish.fits = finish.narrow && most < 0x1p29 && (finish.between || !residual);
  finish.code_lo = static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(finish.lo)) + finish.zero, 0, 255));
  finish.code_hi = static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(finish.hi)) + finish.zero, 0, 255));
  if (method == Method::kDepthwise) return depthwise.prepare(g, rows, *target, finish, residual, w, start.data<int32_t>(), scale.data(), bias.data());
  pack_panels(w);
  return {};
}

// The windows of these pixels, one behind the other in whole quads. Each copy of a row may write kRun codes, which those that
// follow overwrite.
void Int8Conv::Impl::copy_windows(const uint8_t* codes, int64_t first, int64_t last, uint8_t* to) const noexcept {
  const int64_t c = g.channels, ow = g.out[2], oh = g.out[1], h = g.in[1], w = g.in[2], kh = g.kernel[1], run = g.kernel[2] * c, stride = g.stride[2], left = g.pad[2];
  const uint8_t* lines_in[kMostWindow];
  const auto copy = [&]<size_t kSize>(std::integral_constant<size_t, kSize>) {
    for (int64_t m = first; m < last;) {
      const int64_t line = m / ow, x0 = m - line * ow, x1 = std::min(ow, x0 + last - m);
      for (int64_t ky = 0; ky < kh; ++ky) {
        const int64_t y = line % oh * g.stride[1] - g.pad[1] + ky * g.dilation[1];
        lines_in[ky] = y >= 0 && y < h ? codes + (line / oh * h + y) * w * c : zeros.data<uint8_t>();
      }
      const auto at_edge = [&](int64_t x) {
        const int64_t at = x * stride - left, before = std::clamp<int64_t>(-at, 0, g.kernel[2]) * c, after = std::clamp<int64_t>(w - at, 0, g.kernel[2]) * c;
        for (int64_t ky = 0; ky < kh; ++ky) {
          std::memset(to + ky * run, in.zero, static_cast<size_t>(run));
          if (after > before) std::memcpy(to + ky * run + before, lines_in[ky] + at * c + before, static_cast<size_t>(after - before));
        }
        to += 4 * quads;
      };
      // From `inside` to `beyond` windows have all their columns.
      const int64_t inside = std::clamp((left + stride - 1) / stride, x0, x1);
      const int64_t beyond = std::clamp(w + left < g.kernel[2] ? 0 : (w + left - g.kernel[2]) / stride + 1, inside, x1);
      int64_t x = x0;
      for (; x < inside; ++x) at_edge(x);
      for (; x < beyond; ++x, to += 4 * quads) {
        const int64_t at = (x * stride - left) * c;
        for (int64_t ky = 0; ky < kh; ++ky) std::memcpy(to + ky * run, lines_in[ky] + at, kSize);
      }
      for (; x < x1; ++x) at_edge(x);
      m += x1 - x0;
    }
  };
  if (run <= 16) copy(std::integral_constant<size_t, 16>());
  else copy(std::integral_constant<size_t, kRun>());
}

// Products of the windows of one image, or of all of them (kTaps, image < 0).
void Int8Conv::Impl::run_product(const uint8_t* codes, int64_t image, void* out, int64_t pitch, const uint8_t* residual) const noexcept {
  const Panels p = panels();
  const int64_t c = shape.in_channels, ow = g.out[2], oh = g.out[1], od = g.out[0], h = g.in[1], w = g.in[2], lanes = target->lanes;
  const int64_t total = image < 0 ? pixels() : g.out_pixels();
  const bool plain = method == Method::kTaps && segments == 1 && g.in == g.out && g.pad == std::array<int64_t, 3>{};
  const int64_t mr = target->rows[p.widest - 1];
  const int64_t most = std::clamp<int64_t>(kPointers / segments / mr * mr, mr, kBlockPixels / mr * mr);
  const int64_t step = balanced_tile(std::min(total, most), mr);
  // As many blocks for one thread as for the other.
  const int64_t pool = threads_here(), wanted = (total + most - 1) / most;
  const int64_t even = pool > 1 && total >= 2 * pool * step ? (wanted + pool - 1) / pool * pool : wanted;
  const int64_t block = ((total + even - 1) / even + step - 1) / step * step;
  const int64_t row_blocks = (total + block - 1) / block;
  const auto fill = [&](int64_t first, int64_t last, const uint8_t** pointers, uint8_t* windows) {
    if (plain) {
      for (int64_t m = first; m < last; ++m) *pointers++ = codes + m * c;
      return;
    }
    if (method == Method::kWindows) {
      copy_windows(codes, first, last, windows);
      for (int64_t m = first; m < last; ++m, windows += 4 * quads) *pointers++ = windows;
      return;
    }
    int64_t line = first / ow, ox = first - line * ow, oy = line % oh, oz = line / oh % od, picture = line / oh / od;
    for (int64_t m = first; m < last; m += step) {
      const int64_t n = std::min(step, last - m);
      for (int64_t i = 0; i < n;) {
        const int64_t run = std::min(n - i, ow - ox);  // pixels of one line
        const uint8_t** to = pointers + i;
        if (method == Method::kLines) {
          const uint8_t* from = codes + oy * g.stride[1] * padded_row + ox * g.stride[2] * c;
          for (int64_t ky = 0; ky < g.kernel[1]; ++ky, to += n, from += g.dilation[1] * padded_row)
            for (int64_t x = 0; x < run; ++x) to[x] = from + x * g.stride[2] * c;
        } else {
          const int64_t front = oz * g.stride[0] - g.pad[0], top = oy * g.stride[1] - g.pad[1], left = ox * g.stride[2] - g.pad[2];
          for (int64_t kz = 0; kz < g.kernel[0]; ++kz)
            for (int64_t ky = 0; ky < g.kernel[1]; ++ky) {
              const int64_t iz = front + kz * g.dilation[0], iy = top + ky * g.dilation[1];
              const bool real = iz >= 0 && iz < g.in[0] && iy >= 0 && iy < h;
              const uint8_t* from = codes + ((picture * g.in[0] + iz) * h + iy) * w * c;
              for (int64_t kx = 0; kx < g.kernel[2]; ++kx, to += n) {
                int64_t ix = left + kx * g.dilation[2];
                if (!real) std::fill_n(to, run, zeros.data<uint8_t>());
                else if (ix >= 0 && ix + (run - 1) * g.stride[2] < w)
                  for (int64_t x = 0; x < run; ++x) to[x] = from + (ix + x * g.stride[2]) * c;
                else
                  for (int64_t x = 0; x < run; ++x, ix += g.stride[2]) to[x] = ix >= 0 && ix < w ? from + ix * c : zeros.data<uint8_t>();
              }
            }
        }
        i += run;
        if ((ox += run) < ow) continue;
        ox = 0;
        if (++oy < oh) continue;
        oy = 0;
        if (++oz == od) oz = 0, ++picture;
      }
      pointers += segments * n;
    }
  };
  const int64_t work = block * segments * length * p.widest * lanes / 32;
  const int8_t* weights_end = weights.data<int8_t>() + weights.bytes();
  const int64_t products = parts * p.count;
  parallel_for(row_blocks * products, grain_for(work), [&](int64_t begin, int64_t end) {
    const uint8_t* pointers[std::max(kPointers, kMostTaps * kMostRows)];
    alignas(64) uint8_t windows[kBlockPixels * kMostWindow + kRun];
    int64_t filled = -1;
    while (begin < end) {
      const int64_t b = begin / products, p0 = begin % products, p1 = std::min(products, p0 + (end - begin));
      const int64_t m0 = b * block, m1 = std::min(total, m0 + block), tiles = (m1 - m0 + step - 1) / step;
      if (filled != b) fill(m0, m1, pointers, windows);
      filled = b;
      Int8Tile t;
      t.quads = quads, t.segments = segments;
      t.step = plain ? c : method == Method::kWindows ? 4 * quads : 0;
      t.finish = &finish;
      t.table = table ? table->data() : nullptr;
      t.pitch = pitch;
      for (int64_t i = p0; i < p1; ++i) {
        const int64_t part = i / p.count, panel = i % p.count, n0 = p.first_column(panel), column = part * padded + n0;
        t.nv = static_cast<int>(p.width_in_vectors(panel));
        t.cols = std::min<int64_t>(t.nv * lanes, per_part - n0);
        t.shift = part * g.channels;
        t.b = weights.data<int8_t>() + column / lanes * segments * quads * target->vector_bytes();
        t.start = start.data<int32_t>() + column, t.scale = scale.data() + column, t.bias = bias.data() + column;
        // The panel behind this one comes from memory meanwhile, a share with every tile.
        const int64_t size = t.nv * segments * quads * target->vector_bytes(), shared = size / 64 / tiles;
        const int8_t* next = t.b + size;
        const bool fetches = tiles > 1 && shared > 0 && next + size <= weights_end;
        t.ahead_every = fetches ? std::max<int64_t>(1, segments * quads / shared) : quads;
        const uint8_t* const* row_table = pointers;
        for (int64_t m = m0; m < m1; m += step) {
          t.rows = static_cast<int>(std::min(step, m1 - m));
          t.ahead = fetches ? next + (m - m0) / step * shared * 64 : nullptr;
          t.taps = row_table;
          const int64_t at = m * pitch + part * per_part + n0;
          t.out = finish.narrow ? static_cast<uint8_t*>(out) + at : nullptr;
          t.out_float = finish.narrow ? nullptr : static_cast<float*>(out) + at;
          t.residual = residual != nullptr ? residual + at : nullptr;
          target->tile(t);
          row_table += segments * t.rows;
        }
      }
      begin += p1 - p0;
    }
  });
}

void Int8Conv::Impl::run_lines(const uint8_t* codes, void* out, int64_t pitch, const uint8_t* residual, uint8_t* scratch) const noexcept {
  const int64_t c = g.channels;
  for (int64_t image = 0; image < shape.batch; ++image) {
    const uint8_t* x = codes + image * g.in[1] * g.in[2] * c;
    parallel_for(lines, grain_for(padded_row), [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        uint8_t* row = scratch + y * padded_row;
        const int64_t iy = y - g.pad[1], before = std::min(g.pad[2] * c, padded_row);
        const bool real = iy >= 0 && iy < g.in[1];
        const int64_t count = real ? std::clamp<int64_t>(g.in[2] * c, 0, padded_row - before) : 0;
        std::memset(row, in.zero, static_cast<size_t>(before));
        if (count > 0) std::memcpy(row + before, x + iy * g.in[2] * c, static_cast<size_t>(count));
        std::memset(row + before + count, in.zero, static_cast<size_t>(padded_row - before - count));
      }
    });
    const int64_t at = image * g.out[1] * g.out[2] * pitch;
    void* to = finish.narrow ? static_cast<void*>(static_cast<uint8_t*>(out) + at) : static_cast<void*>(static_cast<float*>(out) + at);
    run_product(scratch, image, to, pitch, residual != nullptr ? residual + at : nullptr);
  }
}

bool Int8Conv::takes(const ConvShape& s) noexcept {
  int64_t taps = 1;
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    if (s.kernel[i] < 1 || s.kernel[i] > kMostTaps) return false;
    taps *= s.kernel[i];
  }
  return taps <= kMostTaps && s.groups >= 1 && s.in_channels <= kMaxDepth && s.in_channels / s.groups * taps <= kMaxDepth;
}

Result<Int8Conv> Int8Conv::create(const ConvShape& s, const Codes& in, const int8_t* weights, const float* weight_scale, const float* bias,
                                  const Int8Epilogue& epilogue) {
  if (!takes(s)) return usage_error("convolution in eight bits: sums too long for 32 bits");
  if (epilogue.table && !epilogue.out) return usage_error("convolution in eight bits: a function of codes without codes");
  MLT_ASSIGN(const ConvGeometry geometry, convolution_geometry(s));
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->g = geometry;
  impl->in = in;
  impl->finish = int8_finish(epilogue);
  impl->table = epilogue.table;
  impl->target = &int8_target();
  impl->rows = s.out_channels;
  MLT_TRY(impl->prepare(weights, weight_scale, bias, epilogue.residual.has_value()));
  return Int8Conv(std::move(impl));
}

Int8Conv::Int8Conv(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Int8Conv::Int8Conv(Int8Conv&&) noexcept = default;
Int8Conv& Int8Conv::operator=(Int8Conv&&) noexcept = default;
Int8Conv::~Int8Conv() = default;

size_t Int8Conv::scratch_bytes() const {
  const Impl& p = *impl_;
  if (p.method == Method::kLines) return static_cast<size_t>(p.lines * p.padded_row) + kSlack;
  return p.method == Method::kDepthwise ? p.depthwise.scratch_bytes() : 0;
}
size_t Int8Conv::weight_bytes() const { return impl_->method == Method::kDepthwise ? impl_->depthwise.weight_bytes() : impl_->weights.bytes(); }
const char* Int8Conv::kernel() const { return impl_->name.c_str(); }

void Int8Conv::Impl::run(const uint8_t* codes, void* out, int64_t pitch, const uint8_t* residual, void* scratch) const noexcept {
  switch (method) {
    case Method::kTaps:
    case Method::kWindows: return run_product(codes, -1, out, pitch, residual);
    case Method::kLines: return run_lines(codes, out, pitch, residual, static_cast<uint8_t*>(scratch));
    case Method::kDepthwise:
      return depthwise.run(shape.batch, codes, zeros.data<uint8_t>(), finish, table ? table->data() : nullptr, residual, out, pitch, static_cast<uint8_t*>(scratch));
  }
}

void Int8Conv::run(const uint8_t* in, void* out, const uint8_t* residual, void* scratch) const noexcept { impl_->run(in, out, impl_->rows, residual, scratch); }
void Int8Conv::run_apart(const uint8_t* in, void* out, int64_t pitch, void* scratch) const noexcept { impl_->run(in, out, pitch, nullptr, scratch); }

}  // namespace mlt
