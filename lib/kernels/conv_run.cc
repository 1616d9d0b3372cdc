#include <algorithm>

#include "lib/kernels/conv_impl.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/transpose_target.h"

namespace mlt {

namespace {

// Depth of the weights that kSwapped keeps in the first-level cache: 48 columns of 4 bytes each.
constexpr int64_t kSwappedDepth = 112;

void transpose_reference(const float* in, int64_t pixels, int64_t channels, int64_t count, float* out) {
  for (int64_t c = 0; c < count; ++c)
    for (int64_t p = 0; p < pixels; ++p) out[c * pixels + p] = in[p * channels + c];
}

// Channels [c0, c1) of an intermediate [pixels, channels] become rows of out, [channels, pixels].
void transpose_out(const float* in, int64_t pixels, int64_t channels, int64_t c0, int64_t c1, const float* residual,
                   const Activation& f, float* out) noexcept {
  constexpr int64_t kStep = 16;
  const ElementwiseTarget& ew = elementwise_target();
  alignas(64) float rows[kStep * kMaxSwappedPixels];
  for (int64_t c = c0; c < c1; c += kStep) {
    const int64_t n = std::min(kStep, c1 - c);
    float* o = out + c * pixels;
    // The residual may be what out holds now.
    float* to = residual != nullptr ? rows : o;
    if (use_reference()) {
      transpose_reference(in + c, pixels, channels, n, to);
    } else {
      transpose_tiles_simd().words(reinterpret_cast<const uint32_t*>(in + c), channels, reinterpret_cast<uint32_t*>(to), pixels,
                            pixels, n);
    }
    if (residual != nullptr) ew.binary(Binary::kAdd, rows, 1, residual + c * pixels, 1, o, n * pixels);
    if (f.op != Unary::kIdentity) ew.unary(f.op, o, o, n * pixels, f.a, f.b);
  }
}

}  // namespace

// Output channels [m0, m1) by panels [b0, b1) for the part of k from k0 on. `packed` holds these panels.
void ConvPlan::Impl::multiply(const Panels& panels, int64_t group, int64_t m0, int64_t m1, int64_t b0, int64_t b1,
                              int64_t k0, const float* packed, const float* residual, float* out) const noexcept {
  const int64_t pixels = g.out_pixels(), kc = std::min(depth, k - k0), first = panels.first_column(b0);
  const float* w = weights.data() + group * rows * k + rows * k0;
  const float* b = bias.data() + group * rows;
  const bool last = k0 + kc == k;
  Tile t;
  t.k = kc;
  t.ldc = t.ldr = pixels;
  t.accumulate = k0 > 0;
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

// Channels [c0, c1) of the part of k that starts at channel part_c0 and is part_kc deep, for panels [b0, b1).
void ConvPlan::Impl::pack_block(const Panels& panels, const float* in, int64_t c0, int64_t c1, int64_t part_c0,
                                int64_t part_kc, int64_t b0, int64_t b1, float* packed) const noexcept {
  for (int64_t p = b0; p < b1; ++p) {
    const int64_t column = panels.first_column(p), width = panels.width_in_vectors(p) * panels.lanes;
    conv->pack(g, in, c0, c1, column, std::min(width, g.out_pixels() - column), width,
               packed + (column - panels.first_column(b0)) * part_kc + (c0 - part_c0) * g.taps() * width);
  }
}

void ConvPlan::Impl::run_private(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const Panels panels(g.out_pixels(), *gemm);
  const size_t slot_size = slot_floats();
  for_slots(std::min<int64_t>(threads, thread_count()), shape.batch * shape.groups * blocks,
            [&](int64_t slot, int64_t item) {
    const int64_t image = item / blocks, b0 = item % blocks * panels_per_block;
    const int64_t b1 = std::min(panels.count, b0 + panels_per_block);
    float* packed = scratch + static_cast<size_t>(slot) * slot_size;
    const float* x = in + image * g.channels * g.in_pixels();
    float* y = out + image * rows * g.out_pixels();
    const float* r = residual != nullptr ? residual + image * rows * g.out_pixels() : nullptr;
    for (int64_t c = 0; c < g.channels; c += channel_step) {
      const int64_t end = std::min(g.channels, c + channel_step);
      pack_block(panels, x, c, end, c, (end - c) * g.taps(), b0, b1, packed);
      multiply(panels, image % shape.groups, 0, rows, b0, b1, c * g.taps(), packed, r, y);
    }
  });
}

// Each step multiplies one part of k while the next is packed into the other half of the scratch: one barrier a part.
void ConvPlan::Impl::run_shared(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const Panels panels(g.out_pixels(), *gemm);
  const int64_t slots = std::min<int64_t>(threads, thread_count());
  const int64_t tiles = (rows + row_step - 1) / row_step, parts = (g.channels + channel_step - 1) / channel_step;
  const int64_t cuts = std::min<int64_t>(2 * slots, channel_step);
  // Groups of tiles small enough for the threads to finish together.
  const int64_t group_tiles = std::clamp<int64_t>(tiles / (4 * slots), 1, 8);
  const int64_t groups = (tiles + group_tiles - 1) / group_tiles;
  const size_t half = slot_floats() / 2;
  for (int64_t image = 0; image < shape.batch * shape.groups; ++image) {
    const float* x = in + image * g.channels * g.in_pixels();
    float* y = out + image * rows * g.out_pixels();
    const float* r = residual != nullptr ? residual + image * rows * g.out_pixels() : nullptr;
    for (int64_t b0 = 0; b0 < panels.count; b0 += panels_per_block) {
      const int64_t b1 = std::min(panels.count, b0 + panels_per_block);
      for (int64_t part = 0; part <= parts; ++part) {
        const int64_t to_pack = part < parts ? cuts : 0, to_multiply = part > 0 ? groups : 0;
        for_slots(slots, to_pack + to_multiply, [&](int64_t, int64_t item) {
          if (item < to_pack) {
            const int64_t c0 = part * channel_step, n = std::min(channel_step, g.channels - c0);
            const int64_t from = c0 + n * item / cuts, to = c0 + n * (item + 1) / cuts;
            if (from < to)
              pack_block(panels, x, from, to, c0, n * g.taps(), b0, b1, scratch + static_cast<size_t>(part % 2) * half);
            return;
          }
          const int64_t m0 = (item - to_pack) * group_tiles * row_step, m1 = std::min(rows, m0 + group_tiles * row_step);
          multiply(panels, image % shape.groups, m0, m1, b0, b1, (part - 1) * depth,
                   scratch + static_cast<size_t>((part - 1) % 2) * half, r, y);
        });
      }
    }
  }
}

void ConvPlan::Impl::run_swapped(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const Panels panels(rows, *gemm);
  const int64_t pixels = g.out_pixels(), slots = std::min<int64_t>(threads, thread_count());
  const int64_t parts = (g.channels + channel_step - 1) / channel_step;
  const int64_t pixel_step = balanced_tile(pixels, gemm->mr), tiles = (pixels + pixel_step - 1) / pixel_step;
  const int64_t cuts = std::min<int64_t>(2 * slots, channel_step);
  const size_t half = align_up(static_cast<size_t>(pixels * depth) * sizeof(float)) / sizeof(float);
  const int64_t images = shape.batch * shape.groups;
  // Threads share an image's group, or have groups of their own.
  const auto one = [&](int64_t own, int64_t image) {
    float* memory = scratch + static_cast<size_t>(own) * slot_floats();
    float* sums = memory + 2 * half;  // [pixels, rows]
    const int64_t group = image % shape.groups;
    const float* x = in + image * g.channels * g.in_pixels();
    const float* w = weights.data() + group * panels.padded_columns() * k;
    for (int64_t part = 0; part <= parts; ++part) {
      const int64_t to_pack = part < parts ? cuts : 0, to_multiply = part > 0 ? panels.count : 0;
      for_slots(slots, to_pack + to_multiply, [&](int64_t, int64_t item) {
        if (item < to_pack) {
          const int64_t c0 = part * channel_step, n = std::min(channel_step, g.channels - c0);
          const int64_t from = c0 + n * item / cuts, to = c0 + n * (item + 1) / cuts;
          float* packed = memory + static_cast<size_t>(part % 2) * half;
          for (int64_t p = 0; p < pixels && from < to; p += pixel_step) {
            const int64_t width = std::min(pixel_step, pixels - p);
            conv->pack(g, x, from, to, p, width, width, packed + (p * n + (from - c0) * width) * g.taps());
          }
          return;
        }
        const int64_t panel = item - to_pack, k0 = (part - 1) * depth, kc = std::min(depth, k - k0);
        const int64_t column = panels.first_column(panel);
        const float* packed = memory + static_cast<size_t>((part - 1) % 2) * half;
        Tile t;
        t.ldc = rows;
        t.nv = static_cast<int>(panels.width_in_vectors(panel));
        t.cols = std::min<int64_t>(t.nv * panels.lanes, rows - column);
        // Weights come from memory once: the piece that all tiles use stays in the first-level cache, and each tile
        // fetches its share of the next one.
        const int64_t line_width = t.nv * panels.lanes;
        const float* panel_weights = w + panels.padded_columns() * k0 + column * kc;
        const int64_t pieces = (kc + kSwappedDepth - 1) / kSwappedDepth, piece_depth = (kc + pieces - 1) / pieces;
        for (int64_t q = 0; q < kc; q += piece_depth) {
          t.k = std::min(piece_depth, kc - q);
          t.b = panel_weights + q * line_width;
          t.accumulate = k0 + q > 0;
          t.bias_col = part == parts && q + t.k == kc ? bias.data() + group * rows + column : nullptr;
          const float* ahead = t.b + t.k * line_width;
          const int64_t lines = t.k * line_width / 16;
          for (int64_t tile = 0; tile < tiles; ++tile) {
            t.ahead = tile * t.k < lines ? ahead + tile * t.k * 16 : nullptr;
            const int64_t p = tile * pixel_step;
            t.rows = static_cast<int>(std::min(pixel_step, pixels - p));
            t.a = packed + p * kc + q * t.rows;
            t.c = sums + p * rows + column;
            gemm->packed(t);
          }
        }
      });
    }
    float* y = out + image * rows * pixels;
    const float* r = residual != nullptr ? residual + image * rows * pixels : nullptr;
    parallel_for(rows, grain_for(pixels * 4), [&](int64_t begin, int64_t end) {
      transpose_out(sums, pixels, rows, begin, end, r, f, y);
    });
  };
  if (slots > 1 && images >= threads) {
    for_slots(slots, images, one);
  } else {
    for (int64_t image = 0; image < images; ++image) one(0, image);
  }
}

void ConvPlan::Impl::run_depthwise(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const int64_t multiplier = shape.out_channels / shape.groups;
  const size_t slot_size = slot_floats();
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

}  // namespace mlt
