// Convolutions with channels innermost. The tile kernel reads the input where it lies, through a pointer for each output
// pixel and tap; weights are packed as the right operand of a matrix product.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "lib/kernels/ahead.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/nhwc.h"
#include "lib/kernels/nhwc_direct.h"
#include "lib/kernels/nhwc_target.h"
#include "lib/kernels/winograd_target.h"

namespace mlt {
namespace {

enum class Method {
  kPointwise,  // 1x1, stride 1: a matrix product as it is
  kTaps,       // a pointer for each pixel and tap
  kLines,      // few channels: from a padded copy, where a kernel's row is one run of floats
  kWinograd,   // 3x3, stride 1
  kDepthwise,
  kDirect,     // groups of few channels, or few input channels
};

constexpr int64_t kMostPositions = 36;
constexpr int64_t kDepth = 1024;        // of one pass over k
constexpr int64_t kBlockPixels = 128;   // output pixels that share one reading of the weights
constexpr int64_t kPointers = 4096;     // of one block
constexpr int64_t kMostTaps = 512;
constexpr int64_t kMostPlanes = 8;
// Winograd: transformed inputs and products of one block; fewer beside transformed weights that stay in the second-level cache,
// more where each block reads many times as much of them from memory.
constexpr int64_t kWinogradFloats = 512 * 1024, kWinogradBesideWeights = 192 * 1024, kMostWinogradFloats = 2048 * 1024;
constexpr int64_t kWinogradWeights = 320 * 1024;
constexpr int64_t kFewestChannels = 12;

// The panel behind the one in use; behind the last there is none.
Ahead ahead_of(const Tile& t, const AlignedBuffer& weights, int64_t depth, int64_t tiles, int64_t lanes) {
  const int64_t size = t.nv * lanes * depth;
  const float* next = t.b + size;
  return {next + size > weights.data() + weights.bytes() / sizeof(float) ? nullptr : next, size, tiles};
}

// Where side^2 pixels lie, row by row.
template <typename T>
void fill_pixels(T* first, int64_t row, int64_t pixel, int64_t side, T** pixels) {
  for (int64_t y = 0; y < side; ++y, first += row)
    for (int64_t x = 0; x < side; ++x) pixels[y * side + x] = first + x * pixel;
}

}  // namespace

struct ConvNhwcPlan::Impl {
  ConvShape shape;
  ConvGeometry g;  // axes 1 and 2
  Activation f;
  Method method = Method::kTaps;
  const GemmTarget* gemm = nullptr;
  const NhwcTarget* nhwc = nullptr;
  int64_t rows = 0;                      // output channels
  int64_t segments = 1, length = 1;      // a pixel's window: this many runs of this many floats
  int64_t piece = 1;                     // segments of one pass
  int64_t padded_row = 0;                // kLines: floats in a row of the copy
  int64_t side = 4, tiles = 0, tiles_per_block = 0;  // kWinograd: outputs of a tile along each axis
  int64_t threads = 1;
  bool planar = false;                   // kDirect: the input
  std::optional<PackedWeights> dense;    // kPointwise
  std::optional<NhwcDirect> few;         // kDirect
  AlignedBuffer weights, bias, zeros;
  std::string name;

  int64_t pixels() const { return shape.batch * g.out[1] * g.out[2]; }
  int64_t positions() const { return (side + 2) * (side + 2); }
  int64_t across() const { return (g.out[2] + side - 1) / side; }
  int64_t down() const { return (g.out[1] + side - 1) / side; }
  void choose(bool allow_winograd);
  void choose_direct(const PoolShape* pool);
  bool choose_winograd();
  Status pack(FunctionRef<const float*()> make_weights, const uint16_t* half, const PackedName& name);
  size_t scratch_floats() const;
  size_t winograd_slot() const {
    return align_up(static_cast<size_t>(positions() * (g.channels + rows) * tiles_per_block) * sizeof(float)) / sizeof(float) + kSlack;
  }
  void run_taps(const Images& at, float* scratch) const noexcept;
  void run_product(const Images& at, int64_t image) const noexcept;
  void run_winograd(const Images& at, float* scratch) const noexcept;
  void run_depthwise(const float* in, float* out, int64_t pitch, const float* residual) const noexcept;
};

// Tiles of 4x4 outputs take the fewest multiplications, for four times the weights; tiles of 2x2 less than twice.
bool ConvNhwcPlan::Impl::choose_winograd() {
  const int64_t c = g.channels;
  if (c < kFewestChannels || rows < kFewestChannels || c > kDepth) return false;
  // Cycles: products at two vectors a cycle, while weights come from memory once a block; and transforms.
  const auto lanes = static_cast<double>(gemm->lanes);
  const double cn = static_cast<double>(c) * static_cast<double>(rows), per_cycle = 2 * lanes, bytes_per_cycle = 4;
  double best = 0.9 * std::max(static_cast<double>(pixels()) * 9 * cn / per_cycle, 9 * 4 * cn / bytes_per_cycle);
  int64_t best_side = 0, per_block = 0;
  for (int64_t wanted : {4, 2}) {
    side = wanted;
    const auto p = static_cast<double>(positions()), t = static_cast<double>(shape.batch * across() * down());
    const int64_t transformed = positions() * c * rows;
    const bool stay = transformed <= kWinogradWeights;
    const int64_t floats = stay ? kWinogradBesideWeights : std::clamp(transformed / 4, kWinogradFloats, kMostWinogradFloats);
    const double most = std::max<double>(static_cast<double>(gemm->mr), static_cast<double>(floats) / (p * static_cast<double>(c + rows)));
    const double again = stay ? 0 : std::max(0.0, t / most - 1) / 4;
    const double cycles = std::max(t * p * cn / per_cycle * (1 + 8 / static_cast<double>(c)), (1 + again) * p * 4 * cn / bytes_per_cycle) +
                          t * 2.2 * p / lanes * static_cast<double>(c + rows);
    if (cycles >= best) continue;
    best = cycles;
    best_side = side;
    per_block = std::max<int64_t>(gemm->mr, static_cast<int64_t>(most));
  }
  if (best_side == 0) return false;
  method = Method::kWinograd;
  side = best_side;
  name = std::string(side == 4 ? "nhwc winograd 4x4 " : "nhwc winograd 2x2 ") + gemm->name;
  tiles = shape.batch * across() * down();
  // Weights that stay in each core's cache: every thread has tiles of its own, two blocks of them to even the ends out.
  if (threads > 1 && positions() * c * rows <= kWinogradWeights && tiles >= 2 * gemm->mr * threads)
    per_block = std::min(per_block, (tiles + threads - 1) / threads / (tiles >= 6 * gemm->mr * threads ? 2 : 1) + 1);
  tiles_per_block = balanced_tile(std::max<int64_t>(tiles, 1), per_block);
  return true;
}

void ConvNhwcPlan::Impl::choose(bool allow_winograd) {
  const int64_t c = g.channels;
  if (shape.groups > 1 && (shape.groups != shape.in_channels || shape.groups != shape.out_channels)) return choose_direct(nullptr);
  if (shape.groups > 1) {
    method = Method::kDepthwise;
    name = "nhwc depthwise";
    return;
  }
  const bool unit = g.stride[1] == 1 && g.stride[2] == 1 && g.dilation[1] == 1 && g.dilation[2] == 1;
  const bool unpadded = g.in[1] == g.out[1] && g.in[2] == g.out[2];
  if (g.taps() == 1 && unit && unpadded && g.pad[1] == 0 && g.pad[2] == 0) {
    method = Method::kPointwise;
    name = std::string("nhwc pointwise ") + gemm->name;
    return;
  }
  if (allow_winograd && nhwc->tile_in != nullptr && unit && g.kernel[1] == 3 && g.kernel[2] == 3 && choose_winograd()) return;
  if (NhwcDirect::pays(shape, g)) return choose_direct(nullptr);
  if (c < 16 && g.kernel[2] > 1 && g.dilation[2] == 1) {
    // The copy, rows as the last output's window needs them.
    const int64_t row = ((g.out[2] - 1) * g.stride[2] + g.kernel[2]) * c;
    const int64_t lines = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
    if (static_cast<double>(row) * static_cast<double>(lines) < 0x1p28) {
      method = Method::kLines;
      name = std::string("nhwc lines ") + gemm->name;
      padded_row = row;
      segments = g.kernel[1];
      length = g.kernel[2] * c;
      piece = std::clamp<int64_t>(kDepth / length, 1, segments);
      return;
    }
  }
  method = Method::kTaps;
  name = std::string("nhwc taps ") + gemm->name;
  segments = g.taps();
  length = c;
  piece = std::clamp<int64_t>(kDepth / length, 1, segments);
}

void ConvNhwcPlan::Impl::choose_direct(const PoolShape* pool) {
  method = Method::kDirect;
  few.emplace(shape, g, planar, pool, threads);
  name = few->name();
}

Status ConvNhwcPlan::Impl::pack(FunctionRef<const float*()> make_weights, const uint16_t* half, const PackedName& where) {
  const int64_t c = g.channels, taps = g.taps();
  if (method == Method::kPointwise) {
    if (half != nullptr) {
      MLT_ASSIGN(dense, PackedWeights::prepare_half(rows, c, [half] { return half; }, c, 1, where));
      name += " float16";
    } else {
      MLT_ASSIGN(dense, PackedWeights::prepare(rows, c, make_weights, c, 1, where));
    }
    return {};
  }
  if (method == Method::kDirect)
    return prepare_form(weights, few->weight_floats() * sizeof(float), where,
                        form_name(name, {shape.out_channels, shape.groups, c, g.kernel[1], g.kernel[2], g.dilation[2], few->form()}), [&]() -> Status {
                          few->pack(make_weights(), weights.data());
                          return {};
                        });
  const int64_t columns = Panels(rows, *gemm).padded_columns(), k = segments * length;
  const int64_t floats = method == Method::kDepthwise ? taps * shape.out_channels : method == Method::kWinograd ? positions() * columns * c : columns * k;
  const std::string form = form_name(name, {shape.out_channels, shape.groups, c, g.kernel[1], g.kernel[2], piece * length});
  return prepare_form(weights, static_cast<size_t>(floats) * sizeof(float), where, form, [&]() -> Status {
    const float* w = make_weights();
    AlignedBuffer plain;
    switch (method) {
      case Method::kPointwise:
      case Method::kDirect: break;
      case Method::kDepthwise:
        for (int64_t o = 0; o < shape.out_channels; ++o)
          for (int64_t t = 0; t < taps; ++t) weights.data()[t * shape.out_channels + o] = w[o * taps + t];
        break;
      case Method::kWinograd:  // [position][row][channel]
        if (!plain.reset(static_cast<size_t>(positions() * rows * c) * sizeof(float))) return resource_error("out of memory for a convolution's weights");
        parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
          float transformed[kMostPositions];
          for (int64_t i = begin * c; i < end * c; ++i) {
            winograd_kernel(side, w + i * 9, transformed);
            for (int64_t p = 0; p < positions(); ++p) plain.data()[p * rows * c + i] = transformed[p];
          }
        });
        for (int64_t p = 0; p < positions(); ++p)
          pack_columns(*gemm, plain.data() + p * rows * c, rows, c, c, 1, c, weights.data() + p * columns * c);
        break;
      case Method::kTaps:
      case Method::kLines:  // [row][tap][channel]
        if (!plain.reset(static_cast<size_t>(rows * k) * sizeof(float))) return resource_error("out of memory for a convolution's weights");
        parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
          for (int64_t o = begin; o < end; ++o)
            for (int64_t i = 0; i < c; ++i)
              for (int64_t t = 0; t < taps; ++t) plain.data()[(o * taps + t) * c + i] = w[(o * c + i) * taps + t];
        });
        pack_columns(*gemm, plain.data(), rows, k, k, 1, piece * length, weights.data());
        break;
    }
    return {};
  });
}

size_t ConvNhwcPlan::Impl::scratch_floats() const {
  switch (method) {
    case Method::kPointwise:
    case Method::kTaps:
    case Method::kDepthwise: return 0;
    case Method::kDirect: return few->scratch_floats();
    case Method::kLines: {
      const int64_t lines = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
      return static_cast<size_t>(lines * padded_row) + kSlack;
    }
    case Method::kWinograd: return winograd_slot() * static_cast<size_t>(threads);
  }
  return 0;
}

// Products of the windows of one image, or of all of them (kTaps, image < 0).
void ConvNhwcPlan::Impl::run_product(const Images& at, int64_t image) const noexcept {
  const float *in = at.in, *residual = at.residual;
  float* out = at.out;
  const int64_t in_pitch = at.in_pitch, pitch = at.pitch, residual_pitch = at.residual_pitch;
  const Panels panels(rows, *gemm);
  const int64_t c = g.channels, ow = g.out[2], oh = g.out[1], h = g.in[1], w = g.in[2];
  const int64_t total = image < 0 ? pixels() : oh * ow;
  const int64_t most = std::clamp<int64_t>(kPointers / segments / gemm->mr * gemm->mr, gemm->mr, kBlockPixels);
  const int64_t step = balanced_tile(std::min(total, most), gemm->mr);
  // As many blocks for one thread as for the other.
  const int64_t pool = threads_here(), wanted = (total + most - 1) / most;
  // Weights that weigh more than what is read and written are read by one thread each.
  const bool by_panels = wanted == 1 && panels.count >= 5 * pool && rows * segments * length > 4 * (g.in[1] * g.in[2] * shape.batch * c + total * rows);
  const int64_t even = pool > 1 && !by_panels && total >= 2 * pool * step ? (wanted + pool - 1) / pool * pool : wanted;
  const int64_t block = ((total + even - 1) / even + step - 1) / step * step;
  const int64_t blocks = (total + block - 1) / block;
  const auto fill = [&](int64_t first, int64_t last, const float** table) {
    for (int64_t m = first; m < last; m += step) {
      const int64_t n = std::min(step, last - m);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t line = (m + i) / ow, ox = (m + i) - line * ow, picture = line / oh, oy = line - picture * oh;
        const float** to = table + i;
        if (method == Method::kLines) {
          const float* from = in + oy * g.stride[1] * padded_row + ox * g.stride[2] * c;
          for (int64_t ky = 0; ky < g.kernel[1]; ++ky, to += n) *to = from + ky * g.dilation[1] * padded_row;
          continue;
        }
        const float* from = in + picture * h * w * in_pitch;
        for (int64_t ky = 0; ky < g.kernel[1]; ++ky) {
          const int64_t iy = oy * g.stride[1] + ky * g.dilation[1] - g.pad[1];
          for (int64_t kx = 0; kx < g.kernel[2]; ++kx, to += n) {
            const int64_t ix = ox * g.stride[2] + kx * g.dilation[2] - g.pad[2];
            *to = iy >= 0 && iy < h && ix >= 0 && ix < w ? from + (iy * w + ix) * in_pitch : zeros.data();
          }
        }
      }
      table += segments * n;
    }
  };
  // Taps that lie in the padding for all rows of a tile add nothing, which are most of a strongly dilated kernel's: which
  // pieces of taps a tile needs, a bit each; the first where none does, for the bias.
  const int64_t pieces = (segments + piece - 1) / piece;
  const bool skips = method == Method::kTaps && pieces > 1 && pieces <= 64;
  const auto needed = [&](const float* const* taps, int64_t n) {
    uint64_t mask = 0;
    for (int64_t i = 0; i < segments * n; ++i)
      if (taps[i] != zeros.data()) mask |= uint64_t{1} << (i / n / piece);
    return mask != 0 ? mask : 1;
  };
  const auto part_of = [&](int64_t s, int64_t p) {
    return weights.data() + (panels.padded_columns() * s + panels.first_column(p) * std::min(piece, segments - s)) * length;
  };
  // What follows piece s of panel p for who has panels [p0, p1): with the last of them, the next piece of the first.
  const auto behind = [&](int64_t s, int64_t p, int64_t p0, int64_t p1, int64_t tile_count) {
    const bool turn = p + 1 == p1 && s + piece < segments;
    const int64_t next_s = turn ? s + piece : p + 1 == p1 ? 0 : s, next_p = turn ? p0 : p + 1;
    if (next_p == panels.count) return Ahead(nullptr, 0, tile_count);
    return Ahead(part_of(next_s, next_p), panels.width_in_vectors(next_p) * panels.lanes * std::min(piece, segments - next_s) * length, tile_count);
  };
  const int64_t work = block * segments * length * panels.widest * panels.lanes / 8;
  // A block's pointers are found by each who has a part of it.
  const int64_t grain = std::max(grain_for(work), std::min(panels.count, (blocks * panels.count + 4 * pool - 1) / (4 * pool)));
  parallel_for(blocks * panels.count, grain, [&](int64_t begin, int64_t end) {
    const float* table[kPointers + kMostTaps * 8];
    uint64_t masks[kBlockPixels];
    int64_t filled = -1;
    while (begin < end) {
      const int64_t b = begin / panels.count, p0 = begin % panels.count, p1 = std::min(panels.count, p0 + (end - begin));
      const int64_t m0 = b * block, m1 = std::min(total, m0 + block);
      if (filled != b) {
        fill(m0, m1, table);
        for (int64_t m = m0; skips && m < m1; m += step) masks[(m - m0) / step] = needed(table + (m - m0) * segments, std::min(step, m1 - m));
      }
      filled = b;
      Tile t;
      t.k = length;
      t.ldc = pitch;
      t.ldr = residual_pitch;
      for (int64_t s = 0; s < segments; s += piece) {
        t.segments = std::min(piece, segments - s);
        const bool last = s + t.segments == segments;
        t.accumulate = s > 0;
        if (last) t.f = f;
        for (int64_t p = p0; p < p1; ++p) {
          const int64_t n0 = panels.first_column(p);
          t.nv = static_cast<int>(panels.width_in_vectors(p));
          t.cols = std::min<int64_t>(t.nv * panels.lanes, rows - n0);
          t.b = part_of(s, p);
          t.bias_col = last ? bias.data() + n0 : nullptr;
          const float* const* rows_table = table;
          const Ahead ahead = behind(s, p, p0, p1, (m1 - m0 + step - 1) / step);
          t.ahead_lines = ahead.lines;
          for (int64_t m = m0; m < m1; m += step) {
            t.rows = static_cast<int>(std::min(step, m1 - m));
            t.ahead = ahead.share((m - m0) / step);
            t.taps = rows_table + s * t.rows;
            rows_table += segments * t.rows;
            bool first = s == 0, final = last;
            if (skips) {
              const uint64_t mask = masks[(m - m0) / step], own = uint64_t{1} << (s / piece);
              if ((mask & own) == 0) continue;
              first = (mask & (own - 1)) == 0;
              final = mask < own << 1 || own >> 63 != 0;
              t.accumulate = !first;
              t.f = final ? f : Activation{};
              t.bias_col = final ? bias.data() + n0 : nullptr;
            }
            t.c = out + m * pitch + n0;
            t.residual = first && residual != nullptr ? residual + m * residual_pitch + n0 : nullptr;
            gemm->taps(t);
          }
        }
      }
      begin += p1 - p0;
    }
  });
}

void ConvNhwcPlan::Impl::run_taps(const Images& at, float* scratch) const noexcept {
  if (method == Method::kTaps) return run_product(at, -1);
  const int64_t c = g.channels, lines = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
  for (int64_t image = 0; image < shape.batch; ++image) {
    const float* x = at.in + image * g.in[1] * g.in[2] * at.in_pitch;
    parallel_for(lines, grain_for(padded_row), [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        float* row = scratch + y * padded_row;
        const int64_t iy = y - g.pad[1], before = std::min(g.pad[2] * c, padded_row);
        const bool real = iy >= 0 && iy < g.in[1];
        const int64_t count = real ? std::clamp<int64_t>(g.in[2] * c, 0, padded_row - before) : 0;
        const float* from = x + iy * g.in[2] * at.in_pitch;
        std::fill_n(row, before, 0.0f);
        if (at.in_pitch == c) {
          if (count > 0) std::memcpy(row + before, from, static_cast<size_t>(count) * sizeof(float));
        } else {
          for (int64_t i = 0; i < count; i += c) std::memcpy(row + before + i, from + i / c * at.in_pitch, static_cast<size_t>(std::min(c, count - i)) * sizeof(float));
        }
        std::fill_n(row + before + count, padded_row - before - count, 0.0f);
      }
    });
    const int64_t first = image * g.out[1] * g.out[2];
    run_product({scratch, c, at.out + first * at.pitch, at.pitch, at.residual != nullptr ? at.residual + first * at.residual_pitch : nullptr, at.residual_pitch}, image);
  }
}

// Where there are blocks enough each thread has its own; otherwise threads meet after each of the three steps.
void ConvNhwcPlan::Impl::run_winograd(const Images& to, float* scratch) const noexcept {
  const float *in = to.in, *residual = to.residual;
  float* out = to.out;
  const int64_t in_pitch = to.in_pitch, pitch = to.pitch, residual_pitch = to.residual_pitch;
  const int64_t slots = std::min<int64_t>(threads, thread_count());
  const int64_t c = g.channels, h = g.in[1], w = g.in[2], oh = g.out[1], ow = g.out[2], wide = across(), high = down();
  const Panels panels(rows, *gemm);
  const int64_t columns = panels.padded_columns(), blocks = (tiles + tiles_per_block - 1) / tiles_per_block;
  struct Place {
    int64_t image, y, x;  // of a tile's first output
  };
  const auto place = [&](int64_t tile) {
    const int64_t line = tile / wide, image = line / high;
    return Place{image, (line - image * high) * side, (tile - line * wide) * side};
  };
  const auto block = [&](int64_t slot, int64_t b) {
    const int64_t t0 = b * tiles_per_block, count = std::min(tiles, t0 + tiles_per_block) - t0;
    float* inputs = scratch + static_cast<size_t>(slot) * winograd_slot();
    float* products = inputs + positions() * c * tiles_per_block;
    const int64_t in_stride = c * count, out_stride = rows * count;
    parallel_for(count, grain_for(c * positions() * 2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Place at = place(t0 + i);
        const float* image = in + at.image * h * w * in_pitch;
        const float* pixels[kMostPositions];
        const int64_t top = at.y - g.pad[1], left = at.x - g.pad[2], reach = side + 2;
        if (top >= 0 && left >= 0 && top + reach <= h && left + reach <= w) {
          fill_pixels(image + (top * w + left) * in_pitch, w * in_pitch, in_pitch, reach, pixels);
        } else {
          for (int64_t y = 0; y < reach; ++y)
            for (int64_t x = 0; x < reach; ++x) {
              const int64_t iy = top + y, ix = left + x;
              pixels[y * reach + x] = iy >= 0 && iy < h && ix >= 0 && ix < w ? image + (iy * w + ix) * in_pitch : zeros.data();
            }
        }
        nhwc->tile_in(side, pixels, c, inputs + i * c, in_stride);
      }
    });
    const int64_t step = balanced_tile(count, gemm->mr);
    parallel_for(positions() * panels.count, grain_for(count * c * panels.widest * panels.lanes / 8), [&](int64_t begin, int64_t end) {
      Tile t;
      t.k = t.lda = c;
      t.ldc = rows;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t position = item / panels.count, p = item % panels.count, n0 = panels.first_column(p);
        t.nv = static_cast<int>(panels.width_in_vectors(p));
        t.cols = std::min<int64_t>(t.nv * panels.lanes, rows - n0);
        t.b = weights.data() + position * columns * c + n0 * c;
        const Ahead ahead = ahead_of(t, weights, c, (count + step - 1) / step, panels.lanes);
        t.ahead_lines = ahead.lines;
        for (int64_t m = 0; m < count; m += step) {
          t.rows = static_cast<int>(std::min(step, count - m));
          t.ahead = ahead.share(m / step);
          t.a = inputs + position * in_stride + m * c;
          t.c = products + position * out_stride + m * rows + n0;
          gemm->direct(t);
        }
      }
    });
    parallel_for(count, grain_for(rows * positions() * 2), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Place at = place(t0 + i);
        float* pixels[16];
        const float* others[16];
        const int64_t first = (at.image * oh + at.y) * ow + at.x;
        fill_pixels(out + first * pitch, ow * pitch, pitch, side, pixels);
        if (residual != nullptr) fill_pixels(residual + first * residual_pitch, ow * residual_pitch, residual_pitch, side, others);
        if (at.y + side > oh || at.x + side > ow)
          for (int64_t y = 0; y < side; ++y)
            for (int64_t x = 0; x < side; ++x)
              if (at.y + y >= oh || at.x + x >= ow) pixels[y * side + x] = nullptr;
        nhwc->tile_out(side, products + i * rows, out_stride, rows, bias.data(), residual != nullptr ? others : nullptr, f, pixels);
      }
    });
  };
  if (slots > 1 && (blocks >= 2 * slots || (blocks >= slots && positions() * c * rows <= kWinogradWeights))) {
    for_slots(slots, blocks, block);
  } else {
    for (int64_t b = 0; b < blocks; ++b) block(0, b);
  }
}

void ConvNhwcPlan::Impl::run_depthwise(const float* in, float* out, int64_t pitch, const float* residual) const noexcept {
  // Where lines are few channels are cut as well: the convolution before split its work by its output channels.
  const int64_t c = shape.in_channels, lines = shape.batch * g.out[1], pool = threads_here();
  const int64_t wanted = lines < 4 * pool ? std::clamp<int64_t>(c / 64, 1, pool) : 1;
  const int64_t part = ((c + wanted - 1) / wanted + 15) / 16 * 16, parts = (c + part - 1) / part;
  parallel_for(parts * lines, grain_for(g.out[2] * c / parts * g.taps() / 2), [&](int64_t begin, int64_t end) {
    DepthwiseRow r;
    r.h = g.in[1], r.w = g.in[2], r.step = c;
    r.kernel_h = g.kernel[1], r.kernel_w = g.kernel[2], r.stride = g.stride[2];
    r.dilation_h = g.dilation[1], r.dilation_w = g.dilation[2];
    r.left = -g.pad[2], r.pitch = pitch, r.count = g.out[2], r.f = f;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t line = item % lines, image = line / g.out[1], y = line % g.out[1];
      const int64_t c0 = item / lines * part, c1 = std::min(c, c0 + part);
      r.channels = c1 - c0;
      r.weights = weights.data() + c0, r.bias = bias.data() + c0;
      r.in = in + image * r.h * r.w * c + c0;
      r.top = y * g.stride[1] - g.pad[1];
      r.out = out + line * g.out[2] * pitch + c0;
      r.residual = residual != nullptr ? residual + line * g.out[2] * c + c0 : nullptr;
      nhwc->depthwise(r);
    }
  });
}

bool ConvNhwcPlan::takes(const ConvShape& s) noexcept {
  if (s.rank != 2 || s.kernel[0] < 1 || s.kernel[1] < 1 || s.kernel[0] > kMostTaps || s.kernel[1] > kMostTaps || s.kernel[0] * s.kernel[1] > kMostTaps) return false;
  return s.groups == 1 || (s.groups == s.in_channels && s.groups == s.out_channels) || NhwcDirect::takes_groups(s);
}

bool ConvNhwcPlan::takes_planar(const ConvShape& s) noexcept {
  if (!takes(s) || s.groups != 1 || s.in_channels > kMostPlanes) return false;
  const auto geometry = convolution_geometry(s);
  return geometry.ok() && NhwcDirect::pays(s, *geometry);
}

bool ConvNhwcPlan::takes_max(const ConvShape& s, const PoolShape& pool) noexcept {
  if (!takes(s) || s.groups != 1) return false;
  const auto geometry = convolution_geometry(s);
  if (!geometry.ok()) return false;
  // Winograd's method would do less.
  const bool square = s.kernel[0] == 3 && s.kernel[1] == 3 && s.stride[0] == 1 && s.stride[1] == 1;
  return !(square && s.in_channels >= kFewestChannels) && NhwcDirect::pays_pooled(s, *geometry, pool);
}

Result<ConvNhwcPlan> ConvNhwcPlan::create(const ConvShape& s, const float* weights, const float* bias, const Activation& f, bool allow_winograd,
                                          const uint16_t* half_weights) {
  return prepare(s, [weights] { return weights; }, bias, f, allow_winograd, half_weights, {});
}

Result<ConvNhwcPlan> ConvNhwcPlan::prepare(const ConvShape& s, FunctionRef<const float*()> weights, const float* bias, const Activation& f,
                                           bool allow_winograd, const uint16_t* half_weights, const PackedName& name, bool planar,
                                           const PoolShape* pool) {
  if (!takes(s) || (planar && !takes_planar(s)) || (pool != nullptr && !takes_max(s, *pool))) return usage_error("convolution: not of two axes, or grouped");
  MLT_ASSIGN(const ConvGeometry geometry, convolution_geometry(s));
  auto impl = std::make_unique<Impl>();
  impl->shape = s;
  impl->g = geometry;
  impl->f = f;
  impl->gemm = &gemm_target();
  impl->nhwc = &nhwc_target();
  impl->rows = s.out_channels / s.groups;
  impl->threads = thread_count();
  impl->planar = planar;
  if (planar || pool != nullptr) {
    impl->choose_direct(pool);
  } else {
    impl->choose(allow_winograd);
  }
  if (!impl->bias.reset(static_cast<size_t>(s.out_channels) * sizeof(float)) || !impl->zeros.reset(static_cast<size_t>(s.in_channels) * sizeof(float)))
    return resource_error("out of memory for a convolution's weights");
  for (int64_t i = 0; i < s.out_channels; ++i) impl->bias.data()[i] = bias != nullptr ? bias[i] : 0;
  std::fill_n(impl->zeros.data(), s.in_channels, 0.0f);
  MLT_TRY(impl->pack(weights, half_weights, name));
  return ConvNhwcPlan(std::move(impl));
}

ConvNhwcPlan::ConvNhwcPlan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConvNhwcPlan::ConvNhwcPlan(ConvNhwcPlan&&) noexcept = default;
ConvNhwcPlan& ConvNhwcPlan::operator=(ConvNhwcPlan&&) noexcept = default;
ConvNhwcPlan::~ConvNhwcPlan() = default;

size_t ConvNhwcPlan::scratch_bytes() const { return impl_->scratch_floats() * sizeof(float); }
size_t ConvNhwcPlan::weight_bytes() const { return impl_->dense ? impl_->dense->bytes() : impl_->weights.bytes(); }
const char* ConvNhwcPlan::kernel() const { return impl_->name.c_str(); }

void ConvNhwcPlan::run(const float* in, float* out, int64_t pitch, const float* residual, void* scratch) const noexcept {
  run(in, impl_->shape.in_channels, out, pitch, residual, impl_->shape.out_channels, scratch);
}

void ConvNhwcPlan::run(const float* in, int64_t in_pitch, float* out, int64_t pitch, const float* residual, int64_t residual_pitch, void* scratch) const noexcept {
  const Impl& p = *impl_;
  const Images at{in, in_pitch, out, pitch, residual, residual_pitch};
  float* floats = static_cast<float*>(scratch);
  switch (p.method) {
    case Method::kPointwise: return p.dense->run(p.pixels(), in, in_pitch, out, pitch, p.bias.data(), p.f, residual, residual_pitch);
    case Method::kTaps:
    case Method::kLines: return p.run_taps(at, floats);
    case Method::kWinograd: return p.run_winograd(at, floats);
    case Method::kDepthwise: return p.run_depthwise(in, out, pitch, residual);
    case Method::kDirect: return p.few->run(p.weights.data(), p.bias.data(), p.f, at, floats);
  }
}

}  // namespace mlt
