#include <algorithm>
#include <cmath>

#include "lib/kernels/conv_impl.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/winograd_target.h"

namespace mlt {

const WinogradTarget* winograd_simd();

const WinogradTarget* winograd_target() noexcept { return use_reference() ? nullptr : winograd_simd(); }

namespace {
// Transformed inputs and products of one block: what the second and third level caches hold together; more where each block
// reads many times as much of weights.
constexpr int64_t kBlockFloats = 640 * 1024, kMostBlockFloats = 2048 * 1024;
constexpr int64_t kPositions = 36;
}  // namespace

bool ConvPlan::Impl::choose_winograd() {
  winograd = winograd_target();
  if (winograd == nullptr) return false;
  for (size_t axis : {size_t{1}, size_t{2}})
    if (g.kernel[axis] != 3 || g.stride[axis] != 1 || g.dilation[axis] != 1) return false;
  if (g.channels < 16 || rows < 16 || g.pad[1] > 2 || g.pad[2] > 2) return false;
  const int64_t across = (g.out[2] + 3) / 4, down = (g.out[1] + 3) / 4 * g.out[0], pixels = g.out_pixels();
  // Small images do not repay reading four times the weights; half-empty tiles repay nothing.
  if (pixels < 100 || across * down * 16 * 2 > pixels * 3) return false;
  method = ConvMethod::kWinograd;
  kernel_name = std::string("winograd 4x4 ") + gemm->name;
  // Rows of tiles in a block: as many as fit, preferring those that leave few lanes empty, and then those that make
  // blocks enough for the threads to work apart.
  const int64_t per_row = kPositions * (g.channels * g.kernel[0] + rows) * across;
  const int64_t transformed = kPositions * g.channels * g.kernel[0] * rows;
  const int64_t most = std::clamp<int64_t>(std::clamp(transformed / 4, kBlockFloats, kMostBlockFloats) / per_row, 1, down);
  double best = 0;
  for (int64_t r = 1; r <= most; ++r) {
    double padded = 0;
    for (int64_t y = 0; y < down; y += r) {
      const Panels panels(std::min(r, down - y) * across, *gemm);
      padded += static_cast<double>(panels.padded_columns()) + 4;
    }
    // Every block reads all the weights once: small blocks pay for that.
    double score = static_cast<double>(across * down) / padded;
    if (threads > 1 && transformed < kBlockFloats && (down + r - 1) / r >= 2 * threads) score *= 1.2;
    if (score >= best) best = score, tile_rows_per_block = r;
  }
  return true;
}

void winograd_kernel(int64_t side, const float* kernel, float* out) noexcept {
  // Rows (1, p, p^2) / M'(p) for the points p, with M(x) = x (x^2 - 1/2) (x^2 - 2).
  constexpr double kHalf = 0.70710678118654752440, kTwo = 1.41421356237309504880;
  static constexpr double kG[6][3] = {{1, 0, 0},
                                      {-1 / 1.5, -kHalf / 1.5, -0.5 / 1.5},
                                      {-1 / 1.5, kHalf / 1.5, -0.5 / 1.5},
                                      {1 / 6.0, kTwo / 6, 2 / 6.0},
                                      {1 / 6.0, -kTwo / 6, 2 / 6.0},
                                      {0, 0, 1}};
  static constexpr double kSmall[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  const double(*const m)[3] = side == 4 ? kG : kSmall;
  const int64_t n = side + 2;
  double half[6][3];
  for (int64_t i = 0; i < n; ++i)
    for (int x = 0; x < 3; ++x) half[i][x] = m[i][0] * kernel[x] + m[i][1] * kernel[3 + x] + m[i][2] * kernel[6 + x];
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) out[i * n + j] = static_cast<float>(m[j][0] * half[i][0] + m[j][1] * half[i][1] + m[j][2] * half[i][2]);
}

// Each tap along the depth is a channel of its own.
void ConvPlan::Impl::pack_winograd(const float* w) {
  const int64_t channels = g.channels * g.kernel[0];
  for (int64_t group = 0; group < shape.groups; ++group) {
    float* out = weights.data() + group * kPositions * rows * channels;
    parallel_for((rows + row_step - 1) / row_step, 1, [&](int64_t begin, int64_t end) {
      float transformed[kPositions];
      for (int64_t m0 = begin * row_step; m0 < std::min(rows, end * row_step); m0 += row_step) {
        const int64_t height = std::min(row_step, rows - m0);
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t m = 0; m < height; ++m) {
            winograd_kernel(4, w + ((group * rows + m0 + m) * channels + c) * 9, transformed);
            for (int64_t i = 0; i < kPositions; ++i) out[i * rows * channels + m0 * channels + c * height + m] = transformed[i];
          }
      }
    });
  }
}

size_t ConvPlan::Impl::winograd_slot_floats() const {
  const WinogradBlock b{&g, (g.out[2] + 3) / 4, (g.out[1] + 3) / 4, 0, tile_rows_per_block};
  const Panels panels(b.tiles(), *gemm);
  // Inputs, products, and each thread's rows.
  return static_cast<size_t>(kPositions * (g.channels * g.kernel[0] + rows) * panels.padded_columns() +
                             threads * winograd->work_floats(b)) + kSlack;
}

// Where there are blocks enough each thread has its own; otherwise threads meet after each of the three steps.
void ConvPlan::Impl::run_winograd(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const int64_t slots = std::min<int64_t>(threads, thread_count());
  const int64_t across = (g.out[2] + 3) / 4, tiles_down = (g.out[1] + 3) / 4, down = tiles_down * g.out[0];
  const int64_t per_image = (down + tile_rows_per_block - 1) / tile_rows_per_block;
  const int64_t items = shape.batch * shape.groups * per_image;
  const size_t slot_size = slot_floats();
  const auto block = [&](int64_t slot, int64_t item) {
    const int64_t image = item / per_image, group = image % shape.groups, y0 = item % per_image * tile_rows_per_block;
    const WinogradBlock b{&g, across, tiles_down, y0, std::min(down, y0 + tile_rows_per_block)};
    const Panels panels(b.tiles(), *gemm);
    const int64_t columns = panels.padded_columns(), taps = g.kernel[0], channels = g.channels * taps;
    float* inputs = scratch + static_cast<size_t>(slot) * slot_size;
    float* products = inputs + kPositions * channels * columns;
    float* work = products + kPositions * rows * columns;
    const int64_t work_floats = winograd->work_floats(b);
    const float* x = in + image * g.channels * g.in_pixels();
    for_slots(slots, channels, [&](int64_t s, int64_t c) {
      winograd->input(b, x + c / taps * g.in_pixels(), c % taps, panels, c, channels, channels * columns, inputs, work + s * work_floats);
    });
    const float* w = weights.data() + group * kPositions * rows * channels;
    // Half the rows of one position at a time: 72 pieces.
    const int64_t half = (rows / 2 + row_step - 1) / row_step * row_step;
    for_slots(slots, 2 * kPositions, [&](int64_t, int64_t piece) {
      const int64_t position = piece / 2, m0 = piece % 2 == 0 ? 0 : half, m1 = piece % 2 == 0 ? half : rows;
      Tile t;
      t.k = channels;
      t.ldc = columns;
      for (int64_t m = m0; m < m1; m += row_step) {
        t.rows = static_cast<int>(std::min(row_step, m1 - m));
        t.a = w + position * rows * channels + m * channels;
        for (int64_t p = 0; p < panels.count; ++p) {
          const int64_t first = panels.first_column(p);
          t.nv = static_cast<int>(panels.width_in_vectors(p));
          t.cols = t.nv * panels.lanes;
          t.b = inputs + position * channels * columns + first * channels;
          t.c = products + (position * rows + m) * columns + first;
          gemm->packed(t);
        }
      }
    });
    const int64_t pixels = g.out_pixels();
    for_slots(slots, rows, [&](int64_t s, int64_t m) {
      const int64_t at = (image * rows + m) * pixels;
      winograd->output(b, products + m * columns, rows * columns, bias.data()[group * rows + m],
                       residual != nullptr ? residual + at : nullptr, f, out + at, work + s * work_floats);
    });
  };
  if (items >= 2 * slots && slots > 1) {
    for_slots(slots, items, block);
  } else {
    for (int64_t i = 0; i < items; ++i) block(0, i);
  }
}

}  // namespace mlt
