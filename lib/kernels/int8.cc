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
#include "lib/kernels/int8_target.h"

namespace mlt {

const Int8Target* int8_simd();

namespace {

// The scalar reference: vectors of four lanes.
constexpr int kRefLanes = 4;

float finished(const Int8Finish& f, float v, const uint8_t* residual) {
  if (f.between) v = std::nearbyint(std::min(f.between_hi, std::max(v * f.between_inverse, f.between_lo))) * f.between_scale;
  if (residual != nullptr) v += f.residual_scale * static_cast<float>(*residual) + f.residual_shift;
  if (f.f.op != Unary::kIdentity) unary(f.f, &v, &v, 1);
  return v;
}

uint8_t code_of(const Int8Finish& f, float v) {
  v *= f.inverse;
  v = v > f.lo ? v : f.lo;  // no number is the lowest code
  return static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(std::min(f.hi, v))) + f.zero, 0, 255));
}

uint8_t looked_up(const uint8_t* table, uint8_t code) { return table != nullptr ? table[code] : code; }

void reference_tile(const Int8Tile& t) noexcept {
  for (int i = 0; i < t.rows; ++i)
    for (int64_t j = 0; j < t.cols; ++j) {
      auto sum = static_cast<uint32_t>(t.start[j]);
      const int8_t* b = t.b + j / kRefLanes * 4 * kRefLanes + j % kRefLanes * 4;
      for (int64_t s = 0; s < t.segments; ++s)
        for (int64_t q = 0; q < t.quads; ++q, b += t.nv * 4 * kRefLanes)
          for (int e = 0; e < 4; ++e) sum += static_cast<uint32_t>(static_cast<int32_t>(t.taps[s * t.rows + i][4 * q + e]) * b[e]);
      const float v = finished(*t.finish, static_cast<float>(static_cast<int32_t>(sum)) * t.scale[j] + t.bias[j],
                               t.residual != nullptr ? t.residual + i * t.pitch + j : nullptr);
      if (t.finish->narrow) t.out[i * t.pitch + j] = looked_up(t.table, code_of(*t.finish, v));
      else t.out_float[i * t.pitch + j] = v;
    }
}

void reference_interleave(const uint8_t* const rows[4], const int64_t steps[4], int64_t count, int64_t blocks, uint8_t* out) noexcept {
  const int64_t width = blocks * 4 * kRefLanes;
  for (int64_t i = 0; i < count; ++i, out += 4 * width)
    for (int64_t c = 0; c < width; ++c)
      for (int e = 0; e < 4; ++e) out[(c / 16 * 16 + interleaved_place(c % 16, kRefLanes)) * 4 + e] = rows[e][i * steps[e] + c];
}

void reference_interleave3(const uint8_t* planes, int64_t count, uint8_t* out) noexcept {
  for (int64_t i = 0; i < 3 * count; ++i) out[i] = planes[i % 3 * count + i / 3];
}

void reference_depthwise(const Int8DepthwiseRow& r) noexcept {
  const int64_t column = r.blocks * 16 * kRefLanes;
  for (int64_t x = 0; x < r.count; ++x)
    for (int64_t c = 0; c < r.channels; ++c) {
      const int64_t block = c / 16, place = interleaved_place(c % 16, kRefLanes), at = block * 16 + place;
      auto sum = static_cast<uint32_t>(r.start[at]);
      for (int64_t g = 0; g < r.groups; ++g)
        for (int64_t kx = 0; kx < r.kernel_w; ++kx)
          for (int e = 0; e < 4; ++e)
            sum += static_cast<uint32_t>(static_cast<int32_t>(r.quads[(g * r.columns + x * r.stride + kx * r.dilation) * column + at * 4 + e]) *
                                         r.weights[((block * r.groups + g) * r.kernel_w + kx) * 16 * kRefLanes + place * 4 + e]);
      const int64_t to = x * r.channels + c;
      const float v = finished(*r.finish, static_cast<float>(static_cast<int32_t>(sum)) * r.scale[at] + r.bias[at], r.residual != nullptr ? r.residual + to : nullptr);
      if (r.finish->narrow) r.out[to] = looked_up(r.table, code_of(*r.finish, v));
      else r.out_float[to] = v;
    }
}

void reference_most(const uint8_t* const* taps, int64_t count, int64_t channels, uint8_t* out) noexcept {
  for (int64_t c = 0; c < channels; ++c) {
    out[c] = 0;
    for (int64_t i = 0; i < count; ++i) out[c] = std::max(out[c], taps[i][c]);
  }
}

void reference_quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero, uint8_t nan) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    const float v = std::nearbyint(in[i] / scale) + static_cast<float>(zero);
    out[i] = std::isnan(v) ? nan : static_cast<uint8_t>(std::clamp(v, 0.0f, 255.0f));
  }
}

void reference_dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i] - zero) * scale;
}

void reference_map(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const uint8_t* table) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; ++i) out[r * out_pitch + i] = table[in[r * in_pitch + i]];
}

void reference_add(const uint8_t* a, float scale, float shift, const uint8_t* b, const Int8Finish& f, uint8_t* out, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = code_of(f, finished(f, scale * static_cast<float>(a[i]) + shift, b + i));
}

constexpr Int8Target kReference{"int8 scalar", {4, 4, 4}, 3, kRefLanes, false, reference_tile, reference_interleave, reference_interleave3, reference_depthwise,
                                reference_most, reference_quantize, reference_dequantize, reference_map, reference_add};

float low(const Codes& q) { return -static_cast<float>(q.zero); }
float high(const Codes& q) { return 255.0f - static_cast<float>(q.zero); }

Int8Finish finish_of(const Int8Epilogue& e) {
  Int8Finish f;
  if (e.between) {
    f.between = true;
    f.between_inverse = 1 / e.between->scale, f.between_scale = e.between->scale;
    f.between_lo = low(*e.between), f.between_hi = high(*e.between);
  }
  if (e.residual) f.residual_scale = e.residual->scale, f.residual_shift = e.residual->scale * low(*e.residual);
  f.f = e.f;
  if (e.out) {
    f.narrow = true;
    f.inverse = 1 / e.out->scale, f.lo = low(*e.out), f.hi = high(*e.out);
    f.zero = e.out->zero;
  }
  return f;
}

enum class Method {
  kTaps,   // a pointer for each pixel and tap; a matrix product is one tap
  kLines,  // few channels: from a padded copy, where a kernel's row is one run of codes
  kDepthwise
};

// Up to so many channels the rows of a kernel are copied together: a tap alone is too short a run.
constexpr int64_t kFewChannels = 32;
constexpr int64_t kBlockPixels = 128, kPointers = 4096, kMostTaps = 512;

}  // namespace

const Int8Target& int8_target() noexcept { return use_reference() || int8_simd() == nullptr ? kReference : *int8_simd(); }

struct Int8Conv::Impl {
  ConvShape shape;
  ConvGeometry g;  // axes 1 and 2
  Codes in;
  Int8Finish finish;
  std::optional<CodeTable> table;
  Method method = Method::kTaps;
  const Int8Target* target = nullptr;
  int64_t rows = 0;                               // output channels
  int64_t segments = 1, length = 1, quads = 1;    // a pixel's window: runs of `length` codes, padded to quads
  int64_t padded_row = 0, lines = 0;              // kLines
  int64_t columns = 0, blocks = 0, groups = 1;    // kDepthwise
  int64_t slots = 1;
  AlignedBuffer weights, start, scale, bias, zeros;
  std::string name;

  int64_t vector_bytes() const { return (target->pairs ? 8 : 4) * target->lanes; }
  int64_t pixels() const { return shape.batch * g.out[1] * g.out[2]; }
  Panels panels() const {
    GemmTarget shapes{};
    shapes.nv = target->nv, shapes.lanes = target->lanes;
    return Panels(rows, shapes);
  }
  // One weight into a vector of a panel: column `lane`, product e of its quad.
  void put(int8_t* vector, int64_t lane, int64_t e, int8_t w) const {
    if (!target->pairs) vector[lane * 4 + e] = w;
    else reinterpret_cast<int16_t*>(vector)[e % 2 * 2 * target->lanes + lane * 2 + e / 2] = w;
  }
  Status prepare(const int8_t* w, const float* weight_scale, const float* bias_in, bool residual);
  void pack_panels(const int8_t* w);
  void pack_depthwise(const int8_t* w);
  size_t slot_bytes() const { return align_up(static_cast<size_t>(groups * columns * blocks * 16 * target->lanes)) + kSlack; }
  void run_product(const uint8_t* in_codes, int64_t image, void* out, const uint8_t* residual) const noexcept;
  void run_lines(const uint8_t* in_codes, void* out, const uint8_t* residual, uint8_t* scratch) const noexcept;
  void run_depthwise(const uint8_t* in_codes, void* out, const uint8_t* residual, uint8_t* scratch) const noexcept;
};

// Weights as panels: [panel][segment][quad][vector], like the product of a matrix of segments * quads * 4 rows.
void Int8Conv::Impl::pack_panels(const int8_t* w) {
  const Panels p = panels();
  const int64_t c = g.channels, taps = g.taps(), bytes = vector_bytes(), lanes = target->lanes;
  std::memset(weights.data<void>(), 0, weights.bytes());
  parallel_for(p.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t n0 = p.first_column(panel), nv = p.width_in_vectors(panel);
      int8_t* to = weights.data<int8_t>() + n0 / lanes * segments * quads * bytes;
      for (int64_t col = n0; col < std::min(rows, n0 + nv * lanes); ++col) {
        const int8_t* from = w + col * c * taps;
        const int64_t vector = (col - n0) / lanes, lane = (col - n0) % lanes;
        for (int64_t t = 0; t < taps; ++t)
          for (int64_t i = 0; i < c; ++i) {
            // A segment is a tap, or a row of taps.
            const int64_t s = method == Method::kLines ? t / g.kernel[2] : t, at = method == Method::kLines ? t % g.kernel[2] * c + i : i;
            put(to + ((s * quads + at / 4) * nv + vector) * bytes, lane, at % 4, from[i * taps + t]);
          }
      }
    }
  });
}

void Int8Conv::Impl::pack_depthwise(const int8_t* w) {
  const int64_t kh = g.kernel[1], kw = g.kernel[2], lanes = target->lanes, bytes = vector_bytes();
  std::memset(weights.data<void>(), 0, weights.bytes());
  for (int64_t c = 0; c < rows; ++c) {
    const int64_t block = c / (4 * lanes), place = interleaved_place(c % (4 * lanes), lanes);
    for (int64_t ky = 0; ky < kh; ++ky)
      for (int64_t kx = 0; kx < kw; ++kx)
        put(weights.data<int8_t>() + (((block * groups + ky / 4) * kw + kx) * 4 + place / lanes) * bytes, place % lanes, ky % 4, w[(c * kh + ky) * kw + kx]);
  }
}

Status Int8Conv::Impl::prepare(const int8_t* w, const float* weight_scale, const float* bias_in, bool residual) {
  const int64_t lanes = target->lanes, per_row = g.taps() * (shape.groups > 1 ? 1 : g.channels);
  if (per_row > kMaxDepth) return usage_error("convolution: sums of " + std::to_string(per_row) + " products do not fit 32 bits");
  int64_t padded = 0;
  size_t weight_size = 0;
  if (shape.groups > 1 && shape.groups == shape.in_channels) {
    method = Method::kDepthwise;
    groups = (g.kernel[1] + 3) / 4;
    blocks = (rows + 4 * lanes - 1) / (4 * lanes);
    columns = (g.out[2] - 1) * g.stride[2] + (g.kernel[2] - 1) * g.dilation[2] + 1;
    padded = blocks * 4 * lanes;
    weight_size = static_cast<size_t>(blocks * groups * g.kernel[2] * 4 * vector_bytes());
  } else {
    segments = g.taps(), length = g.channels;
    if (g.channels <= kFewChannels && g.kernel[2] > 1 && g.dilation[2] == 1) {
      padded_row = ((g.out[2] - 1) * g.stride[2] + g.kernel[2]) * g.channels;
      lines = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
      if (static_cast<double>(padded_row) * static_cast<double>(lines) < 0x1p28) {
        method = Method::kLines;
        segments = g.kernel[1], length = g.kernel[2] * g.channels;
      }
    }
    quads = (length + 3) / 4;
    padded = panels().padded_columns();
    weight_size = static_cast<size_t>(padded / lanes * segments * quads * vector_bytes());
  }
  name = std::string(method == Method::kDepthwise ? "depthwise " : method == Method::kLines ? "lines " : segments == 1 ? "product " : "taps ") + target->name;
  const auto vectors = static_cast<size_t>(padded) * sizeof(float);
  if (!weights.reset(weight_size) || !start.reset(vectors) || !scale.reset(vectors) || !bias.reset(vectors) || !zeros.reset(static_cast<size_t>(shape.in_channels)))
    return resource_error("out of memory for a convolution's weights");
  std::memset(zeros.data<void>(), in.zero, static_cast<size_t>(shape.in_channels));
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
  for (int64_t i = 0; i < padded; ++i) start.data<int32_t>()[i] = 0, scale.data()[i] = bias.data()[i] = 0;
  for (int64_t o = 0; o < rows; ++o) {
    int64_t sum = 0;
    for (int64_t i = 0; i < per_row; ++i) sum += w[o * per_row + i];
    const int64_t at = method == Method::kDepthwise ? o / (4 * lanes) * 4 * lanes + interleaved_place(o % (4 * lanes), lanes) : o;
    start.data<int32_t>()[at] = static_cast<int32_t>(-in.zero * sum);
    scale.data()[at] = in.scale * weight_scale[o] * factor;
    bias.data()[at] = bias_in != nullptr ? bias_in[o] * factor : 0;
    most = std::max(most, std::fabs(static_cast<double>(scale.data()[at])) * static_cast<double>(per_row) * 255 * 128 + std::fabs(static_cast<double>(bias.data()[at])));
  }
  if (finish.between) most = 256.0 * (std::fabs(static_cast<double>(finish.between_scale)) + std::fabs(static_cast<double>(finish.residual_scale))) + std::fabs(static_cast<double>(finish.residual_shift));
  finish.fits = finish.narrow && most < 0x1p29 && (finish.between || !residual);
  finish.code_lo = static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(finish.lo)) + finish.zero, 0, 255));
  finish.code_hi = static_cast<uint8_t>(std::clamp(static_cast<int32_t>(std::nearbyint(finish.hi)) + finish.zero, 0, 255));
  if (method == Method::kDepthwise) pack_depthwise(w);
  else pack_panels(w);
  return {};
}

// Products of the windows of one image, or of all of them (kTaps, image < 0).
void Int8Conv::Impl::run_product(const uint8_t* codes, int64_t image, void* out, const uint8_t* residual) const noexcept {
  const Panels p = panels();
  const int64_t c = g.channels, ow = g.out[2], oh = g.out[1], h = g.in[1], w = g.in[2], lanes = target->lanes;
  const int64_t total = image < 0 ? pixels() : oh * ow;
  const bool plain = method == Method::kTaps && segments == 1 && h == oh && w == ow && g.pad[1] == 0 && g.pad[2] == 0;
  const int64_t mr = target->rows[p.widest - 1];
  const int64_t most = std::clamp<int64_t>(kPointers / segments / mr * mr, mr, kBlockPixels / mr * mr);
  const int64_t step = balanced_tile(std::min(total, most), mr);
  // As many blocks for one thread as for the other.
  const int64_t pool = threads_here(), wanted = (total + most - 1) / most;
  const int64_t even = pool > 1 && total >= 2 * pool * step ? (wanted + pool - 1) / pool * pool : wanted;
  const int64_t block = ((total + even - 1) / even + step - 1) / step * step;
  const int64_t row_blocks = (total + block - 1) / block;
  const auto fill = [&](int64_t first, int64_t last, const uint8_t** pointers) {
    int64_t line = first / ow, ox = first - line * ow, picture = line / oh, oy = line - picture * oh;
    for (int64_t m = first; m < last; m += step) {
      const int64_t n = std::min(step, last - m);
      for (int64_t i = 0; i < n; ++i) {
        const uint8_t** to = pointers + i;
        if (plain) {
          *to = codes + (m + i) * c;
        } else if (method == Method::kLines) {
          const uint8_t* from = codes + oy * g.stride[1] * padded_row + ox * g.stride[2] * c;
          for (int64_t ky = 0; ky < g.kernel[1]; ++ky, to += n) *to = from + ky * g.dilation[1] * padded_row;
        } else {
          const int64_t top = oy * g.stride[1] - g.pad[1], left = ox * g.stride[2] - g.pad[2];
          const int64_t right = left + (g.kernel[2] - 1) * g.dilation[2];
          for (int64_t ky = 0; ky < g.kernel[1]; ++ky) {
            const int64_t iy = top + ky * g.dilation[1];
            const bool real = iy >= 0 && iy < h;
            const uint8_t* from = codes + ((picture * h + iy) * w + left) * c;
            if (real && left >= 0 && right < w) {
              for (int64_t kx = 0; kx < g.kernel[2]; ++kx, to += n, from += g.dilation[2] * c) *to = from;
              continue;
            }
            for (int64_t kx = 0; kx < g.kernel[2]; ++kx, to += n, from += g.dilation[2] * c) {
              const int64_t ix = left + kx * g.dilation[2];
              *to = real && ix >= 0 && ix < w ? from : zeros.data<uint8_t>();
            }
          }
        }
        if (++ox == ow) {
          ox = 0;
          if (++oy == oh) oy = 0, ++picture;
        }
      }
      pointers += segments * n;
    }
  };
  const int64_t work = block * segments * length * p.widest * lanes / 32;
  const int8_t* weights_end = weights.data<int8_t>() + weights.bytes();
  parallel_for(row_blocks * p.count, grain_for(work), [&](int64_t begin, int64_t end) {
    const uint8_t* pointers[kPointers + kMostTaps * 8];
    int64_t filled = -1;
    while (begin < end) {
      const int64_t b = begin / p.count, p0 = begin % p.count, p1 = std::min(p.count, p0 + (end - begin));
      const int64_t m0 = b * block, m1 = std::min(total, m0 + block), tiles = (m1 - m0 + step - 1) / step;
      if (filled != b) fill(m0, m1, pointers);
      filled = b;
      Int8Tile t;
      t.quads = quads, t.segments = segments;
      t.finish = &finish;
      t.table = table ? table->data() : nullptr;
      t.pitch = rows;
      for (int64_t panel = p0; panel < p1; ++panel) {
        const int64_t n0 = p.first_column(panel);
        t.nv = static_cast<int>(p.width_in_vectors(panel));
        t.cols = std::min<int64_t>(t.nv * lanes, rows - n0);
        t.b = weights.data<int8_t>() + n0 / lanes * segments * quads * vector_bytes();
        t.start = start.data<int32_t>() + n0, t.scale = scale.data() + n0, t.bias = bias.data() + n0;
        // The panel behind this one comes from memory meanwhile, a share with every tile.
        const int64_t size = t.nv * segments * quads * vector_bytes(), shared = size / 64 / tiles;
        const int8_t* next = t.b + size;
        const bool fetches = tiles > 1 && shared > 0 && next + size <= weights_end;
        t.ahead_every = fetches ? std::max<int64_t>(1, segments * quads / shared) : quads;
        const uint8_t* const* row_table = pointers;
        for (int64_t m = m0; m < m1; m += step) {
          t.rows = static_cast<int>(std::min(step, m1 - m));
          t.ahead = fetches ? next + (m - m0) / step * shared * 64 : nullptr;
          t.taps = row_table;
          const int64_t at = m * rows + n0;
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

void Int8Conv::Impl::run_lines(const uint8_t* codes, void* out, const uint8_t* residual, uint8_t* scratch) const noexcept {
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
    const int64_t at = image * g.out[1] * g.out[2] * rows;
    void* to = finish.narrow ? static_cast<void*>(static_cast<uint8_t*>(out) + at) : static_cast<void*>(static_cast<float*>(out) + at);
    run_product(scratch, image, to, residual != nullptr ? residual + at : nullptr);
  }
}

void Int8Conv::Impl::run_depthwise(const uint8_t* codes, void* out, const uint8_t* residual, uint8_t* scratch) const noexcept {
  const int64_t c = rows, h = g.in[1], w = g.in[2], oh = g.out[1], ow = g.out[2], column = blocks * 16 * target->lanes;
  for_slots(std::min<int64_t>(slots, thread_count()), shape.batch * oh, [&](int64_t slot, int64_t line) {
    uint8_t* quads_of_row = scratch + static_cast<size_t>(slot) * slot_bytes();
    const int64_t image = line / oh, y = line % oh;
    const uint8_t* x = codes + image * h * w * c;
    const int64_t left = std::min(g.pad[2], columns), right = std::clamp<int64_t>(columns - left - w, 0, columns - left), inner = columns - left - right;
    for (int64_t group = 0; group < groups; ++group) {
      const uint8_t *lines_in[4], *outside[4];
      int64_t steps[4], none[4] = {0, 0, 0, 0};
      for (int64_t e = 0; e < 4; ++e) {
        const int64_t ky = group * 4 + e, iy = y * g.stride[1] - g.pad[1] + ky * g.dilation[1];
        const bool real = ky < g.kernel[1] && iy >= 0 && iy < h;
        outside[e] = zeros.data<uint8_t>();
        lines_in[e] = real ? x + iy * w * c : outside[e];
        steps[e] = real ? c : 0;
      }
      uint8_t* to = quads_of_row + group * columns * column;
      target->interleave(outside, none, left, blocks, to);
      target->interleave(lines_in, steps, inner, blocks, to + left * column);
      target->interleave(outside, none, right, blocks, to + (left + inner) * column);
    }
    Int8DepthwiseRow r;
    r.quads = quads_of_row;
    r.groups = groups, r.columns = columns, r.blocks = blocks, r.channels = c;
    r.weights = weights.data<int8_t>();
    r.kernel_w = g.kernel[2], r.stride = g.stride[2], r.dilation = g.dilation[2];
    r.start = start.data<int32_t>(), r.scale = scale.data(), r.bias = bias.data();
    r.finish = &finish;
    r.table = table ? table->data() : nullptr;
    const int64_t at = line * ow * c;
    r.residual = residual != nullptr ? residual + at : nullptr;
    r.out = finish.narrow ? static_cast<uint8_t*>(out) + at : nullptr;
    r.out_float = finish.narrow ? nullptr : static_cast<float*>(out) + at;
    r.count = ow;
    target->depthwise(r);
  });
}

bool Int8Conv::takes(const ConvShape& s) noexcept {
  if (s.rank > 2 || s.kernel[0] < 1 || s.kernel[1] < 1 || s.kernel[0] > kMostTaps || s.kernel[1] > kMostTaps || s.kernel[0] * s.kernel[1] > kMostTaps) return false;
  if (s.groups != 1 && (s.groups != s.in_channels || s.groups != s.out_channels)) return false;
  return s.in_channels <= kMaxDepth && s.in_channels / s.groups * s.kernel[0] * s.kernel[1] <= kMaxDepth;
}

Result<Int8Conv> Int8Conv::create(const ConvShape& s, const Codes& in, const int8_t* weights, const float* weight_scale, const float* bias,
                                  const Int8Epilogue& epilogue) {
  if (!takes(s) || s.rank != 2) return usage_error("convolution in eight bits: not of two axes, or grouped");
  if (epilogue.table && !epilogue.out) return usage_error("convolution in eight bits: a function of codes without codes");
  MLT_ASSIGN(const ConvGeometry geometry, convolution_geometry(s));
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->g = geometry;
  impl->in = in;
  impl->finish = finish_of(epilogue);
  impl->table = epilogue.table;
  impl->target = &int8_target();
  impl->rows = s.out_channels;
  impl->slots = thread_count();
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
  return p.method == Method::kDepthwise ? p.slot_bytes() * static_cast<size_t>(p.slots) : 0;
}
size_t Int8Conv::weight_bytes() const { return impl_->weights.bytes(); }
const char* Int8Conv::kernel() const { return impl_->name.c_str(); }

void Int8Conv::run(const uint8_t* in, void* out, const uint8_t* residual, void* scratch) const noexcept {
  const Impl& p = *impl_;
  switch (p.method) {
    case Method::kTaps: return p.run_product(in, -1, out, residual);
    case Method::kLines: return p.run_lines(in, out, residual, static_cast<uint8_t*>(scratch));
    case Method::kDepthwise: return p.run_depthwise(in, out, residual, static_cast<uint8_t*>(scratch));
  }
}

void quantize_codes(const float* in, uint8_t* out, int64_t count, const Codes& q, uint8_t nan) noexcept {
  const Int8Target& target = int8_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.quantize(in + begin, out + begin, end - begin, q.scale, q.zero, nan); });
}

void dequantize_codes(const uint8_t* in, float* out, int64_t count, const Codes& q) noexcept {
  const Int8Target& target = int8_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.dequantize(in + begin, out + begin, end - begin, q.scale, q.zero); });
}

void interleave_codes(const uint8_t* planes, uint8_t* out, int64_t count) noexcept { int8_target().interleave3(planes, count, out); }

void add_codes(const uint8_t* a, const Codes& qa, const uint8_t* b, const Codes& qb, const Activation& f, uint8_t* out, const Codes& qo,
               int64_t count) noexcept {
  const Int8Target& target = int8_target();
  const Int8Finish finish = finish_of({.residual = qb, .f = f, .out = qo});
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) {
    target.add(a + begin, qa.scale, qa.scale * low(qa), b + begin, finish, out + begin, end - begin);
  });
}

void map_codes(const uint8_t* in, uint8_t* out, int64_t count, const CodeTable& table) noexcept {
  const Int8Target& target = int8_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.map(in + begin, 0, out + begin, 0, 1, end - begin, table.data()); });
}

void map_code_rows(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const CodeTable* table) noexcept {
  const Int8Target& target = int8_target();
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    const uint8_t* from = in + begin * in_pitch;
    uint8_t* to = out + begin * out_pitch;
    if (table != nullptr) return target.map(from, in_pitch, to, out_pitch, end - begin, columns, table->data());
    for (int64_t r = begin; r < end; ++r, from += in_pitch, to += out_pitch) std::memcpy(to, from, static_cast<size_t>(columns));
  });
}

void pool_codes_nhwc(Pool op, const PoolShape& s, const uint8_t* in, const Codes& qi, uint8_t* out, const Codes& qo) noexcept {
  const int64_t h = s.in[0], w = s.in[1], oh = s.out[0], ow = s.out[1], c = s.channels;
  const int64_t pad_h = s.count_padding ? s.pad_after[0] : 0, pad_w = s.count_padding ? s.pad_after[1] : 0;
  const int64_t low_h = s.count_padding ? -s.pad_before[0] : 0, low_w = s.count_padding ? -s.pad_before[1] : 0;
  const Int8Finish finish = finish_of({.out = qo});
  constexpr int64_t kPart = 256;  // channels whose sums are kept at a time
  const auto inside = [](int64_t start, int64_t taps, int64_t dilation, int64_t from, int64_t to) {
    int64_t n = 0;
    for (int64_t k = 0; k < taps; ++k) n += start + k * dilation >= from && start + k * dilation < to;
    return n;
  };
  if (op == Pool::kMax) {
    const Int8Target& target = int8_target();
    parallel_for(s.batch * oh, grain_for(ow * c * s.kernel[0] * s.kernel[1] / 32), [&](int64_t begin, int64_t end) {
      constexpr int64_t kTaps = 64;
      const uint8_t* taps[kTaps + 1];
      for (int64_t line = begin; line < end; ++line) {
        const int64_t image = line / oh, top = line % oh * s.stride[0] - s.pad_before[0];
        for (int64_t x = 0; x < ow; ++x) {
          const int64_t left = x * s.stride[1] - s.pad_before[1];
          uint8_t* to = out + (line * ow + x) * c;
          int64_t n = 0;
          bool begun = false;
          for (int64_t ky = 0; ky < s.kernel[0]; ++ky) {
            const int64_t iy = top + ky * s.dilation[0];
            if (iy < 0 || iy >= h) continue;
            for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
              const int64_t ix = left + kx * s.dilation[1];
              if (ix < 0 || ix >= w) continue;
              taps[n++] = in + ((image * h + iy) * w + ix) * c;
              if (n < kTaps) continue;
              target.most(taps, n, c, to);
              // What there is so far is one of the next.
              taps[0] = to, n = 1, begun = true;
            }
          }
          if (n > (begun ? 1 : 0)) target.most(taps, n, c, to);
        }
      }
    });
    return;
  }
  const int64_t parts = (c + kPart - 1) / kPart;
  parallel_for(s.batch * oh * parts, grain_for(ow * std::min(c, kPart) * s.kernel[0] * s.kernel[1] / 8), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t line = item / parts, c0 = item % parts * kPart, n = std::min(kPart, c - c0);
      const int64_t image = line / oh, y = line % oh, top = y * s.stride[0] - s.pad_before[0];
      for (int64_t x = 0; x < ow; ++x) {
        const int64_t left = x * s.stride[1] - s.pad_before[1];
        uint8_t* to = out + (line * ow + x) * c + c0;
        int32_t sums[kPart];
        std::fill_n(sums, n, 0);
        int64_t taps = 0;
        for (int64_t ky = 0; ky < s.kernel[0]; ++ky) {
          const int64_t iy = top + ky * s.dilation[0];
          if (iy < 0 || iy >= h) continue;
          for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
            const int64_t ix = left + kx * s.dilation[1];
            if (ix < 0 || ix >= w) continue;
            const uint8_t* from = in + ((image * h + iy) * w + ix) * c + c0;
            ++taps;
            for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
          }
        }
        const int64_t divisor = std::max<int64_t>(1, inside(top, s.kernel[0], s.dilation[0], low_h, h + pad_h) * inside(left, s.kernel[1], s.dilation[1], low_w, w + pad_w));
        const float scale = qi.scale / static_cast<float>(divisor);
        const auto zero = static_cast<int32_t>(taps) * qi.zero;
        for (int64_t i = 0; i < n; ++i) to[i] = code_of(finish, static_cast<float>(sums[i] - zero) * scale);
      }
    }
  });
}

}  // namespace mlt
