// Pooling and what else runs over pixels with channels innermost; the reference of the loops over channels.
#include "lib/kernels/nhwc.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/nhwc_target.h"

namespace mlt {

const NhwcTarget* nhwc_simd();

namespace {

void depthwise_reference(const DepthwiseRow& r) noexcept {
  for (int64_t x = 0; x < r.count; ++x) {
    float* out = r.out + x * r.pitch;
    for (int64_t c = 0; c < r.channels; ++c) {
      float sum = r.bias[c];
      for (int64_t ky = 0; ky < r.kernel_h; ++ky)
        for (int64_t kx = 0; kx < r.kernel_w; ++kx) {
          const int64_t iy = r.top + ky * r.dilation_h, ix = r.left + x * r.stride + kx * r.dilation_w;
          if (iy >= 0 && iy < r.h && ix >= 0 && ix < r.w) sum += r.weights[(ky * r.kernel_w + kx) * r.step + c] * r.in[(iy * r.w + ix) * r.step + c];
        }
      if (r.residual != nullptr) sum += r.residual[x * r.step + c];
      out[c] = sum;
    }
    unary(r.f, out, out, r.channels);
  }
}

void pool_reference(const PoolRow& r) noexcept {
  for (int64_t x = 0; x < r.count; ++x)
    for (int64_t c = 0; c < r.channels; ++c) {
      float acc = r.average ? 0 : -INFINITY;
      for (int64_t i = 0; i < r.row_count; ++i)
        for (int64_t k = 0; k < r.kernel; ++k) {
          const int64_t ix = r.left + x * r.stride + k * r.dilation;
          if (ix < 0 || ix >= r.w) continue;
          const float v = r.rows[i][ix * r.channels + c];
          acc = r.average ? acc + v : v > acc || std::isnan(v) ? v : acc;
        }
      r.out[x * r.channels + c] = r.average ? acc / r.divisors[x] : acc;
    }
}

void scale_bias_reference(const float* in, float* out, int64_t channels, const float* scale, const float* bias) noexcept {
  for (int64_t c = 0; c < channels; ++c) out[c] = in[c] * scale[c] + bias[c];
}

constexpr NhwcTarget kReference{depthwise_reference, pool_reference, scale_bias_reference, nullptr, nullptr, 4};

// How many of `taps` positions from `start` on lie in [low, high).
int64_t taps_inside(int64_t start, int64_t taps, int64_t dilation, int64_t low, int64_t high) {
  int64_t n = 0;
  for (int64_t t = 0; t < taps; ++t) n += start + t * dilation >= low && start + t * dilation < high;
  return n;
}

}  // namespace

const NhwcTarget& nhwc_target() noexcept { return use_reference() || nhwc_simd() == nullptr ? kReference : *nhwc_simd(); }

void pool_nhwc(Pool op, const PoolShape& s, const float* in, float* out) noexcept {
  constexpr int64_t kRows = 16, kOutputs = 64;
  const NhwcTarget& target = nhwc_target();
  const int64_t h = s.in[0], w = s.in[1], oh = s.out[0], ow = s.out[1], c = s.channels;
  const int64_t pad_h = s.count_padding ? s.pad_after[0] : 0, pad_w = s.count_padding ? s.pad_after[1] : 0;
  const int64_t low_h = s.count_padding ? -s.pad_before[0] : 0, low_w = s.count_padding ? -s.pad_before[1] : 0;
  parallel_for(s.batch * oh, grain_for(ow * c * s.kernel[0] * s.kernel[1] / 4), [&](int64_t begin, int64_t end) {
    float divisors[kOutputs];
    const float* rows[kRows];
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / oh, y = line % oh, top = y * s.stride[0] - s.pad_before[0];
      PoolRow r;
      r.rows = rows;
      for (int64_t k = 0; k < s.kernel[0] && r.row_count < kRows; ++k) {
        const int64_t iy = top + k * s.dilation[0];
        if (iy >= 0 && iy < h) rows[r.row_count++] = in + (image * h + iy) * w * c;
      }
      r.w = w, r.channels = c, r.kernel = s.kernel[1], r.stride = s.stride[1], r.dilation = s.dilation[1];
      r.average = op == Pool::kAverage;
      r.divisors = divisors;
      const int64_t high = r.average ? taps_inside(top, s.kernel[0], s.dilation[0], low_h, h + pad_h) : 0;
      for (int64_t x = 0; x < ow; x += kOutputs) {
        r.count = std::min(kOutputs, ow - x);
        r.left = x * s.stride[1] - s.pad_before[1];
        for (int64_t i = 0; r.average && i < r.count; ++i)
          divisors[i] = static_cast<float>(std::max<int64_t>(1, high * taps_inside(r.left + i * s.stride[1], s.kernel[1], s.dilation[1], low_w, w + pad_w)));
        r.out = out + (line * ow + x) * c;
        target.pool(r);
      }
    }
  });
}

void scale_bias_nhwc(const float* in, float* out, int64_t pixels, int64_t channels, const float* scale, const float* bias) noexcept {
  const NhwcTarget& target = nhwc_target();
  parallel_for(pixels, grain_for(channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) target.scale_bias(in + i * channels, out + i * channels, channels, scale, bias);
  });
}

void binary_nhwc(Binary op, const float* a, int64_t a_pitch, const float* b, int64_t b_pitch, float* out, int64_t pitch, int64_t pixels,
                 int64_t channels) noexcept {
  const ElementwiseTarget& target = elementwise_target();
  parallel_for(pixels, grain_for(channels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) target.binary(op, a + i * a_pitch, 1, b + i * b_pitch, 1, out + i * pitch, channels);
  });
}

void pick_pixels_nhwc(const float* in, int64_t in_pitch, float* out, int64_t pitch, int64_t batch, int64_t in_h, int64_t in_w, int64_t channels, const int32_t* rows,
                      int64_t out_h, const int32_t* columns, int64_t out_w) noexcept {
  parallel_for(batch * out_h, grain_for(out_w * channels), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const float* row = in + (line / out_h * in_h + rows[line % out_h]) * in_w * in_pitch;
      float* to = out + line * out_w * pitch;
      for (int64_t x = 0; x < out_w; ++x)
        std::memcpy(to + x * pitch, row + columns[x] * in_pitch, static_cast<size_t>(channels) * sizeof(float));
    }
  });
}

}  // namespace mlt
