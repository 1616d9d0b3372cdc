// Convolution as matrix products over blocks of output pixels: the input values under a block's windows are gathered
// into a [c_in * taps, pixels] matrix (im2col) that stays in the cache. Depthwise layers, which have no product to
// speak of, walk their taps directly. The transposed convolution multiplies first and scatters afterwards, one task
// per block of output channels, so that no two threads write to the same place.
#include "lib/ops/conv_eval.h"

#include <algorithm>

#include "lib/base/threads.h"
#include "lib/ops/reference_gemm.h"

namespace mlt::ops {
namespace {

// Spatial axes padded in front to three.
struct Geometry {
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  Window w[3];
  int64_t in_size = 1, out_size = 1, taps = 1;

  explicit Geometry(const ConvShape& shape) {
    size_t rank = shape.in.size();
    for (size_t i = 0; i < rank; ++i) {
      in[3 - rank + i] = shape.in[i];
      out[3 - rank + i] = shape.out[i];
      w[3 - rank + i] = shape.windows[i];
    }
    for (int i = 0; i < 3; ++i) {
      in_size *= in[i];
      out_size *= out[i];
      taps *= w[i].kernel;
    }
  }
};

// Where along one axis the window positions [begin, end) of tap `k` fall inside [0, extent): narrows begin and end.
void clip_range(const Window& w, int64_t k, int64_t extent, int64_t* begin, int64_t* end) {
  int64_t offset = k * w.dilation - w.pad_before;
  int64_t low = offset >= 0 ? 0 : (-offset + w.stride - 1) / w.stride;
  int64_t high = extent - offset <= 0 ? 0 : (extent - offset + w.stride - 1) / w.stride;
  *begin = std::max(*begin, low);
  *end = std::min(*end, high);
}

// Fills row [0, pixel_end - pixel_begin) with the input values one tap sees at output pixels [pixel_begin, pixel_end).
void gather_tap(const Geometry& g, const float* x, int64_t kd, int64_t kh, int64_t kw, int64_t pixel_begin, int64_t pixel_end,
                float* row) {
  for (int64_t p = pixel_begin; p < pixel_end;) {
    int64_t ow = p % g.out[2], oh = p / g.out[2] % g.out[1], od = p / g.out[2] / g.out[1];
    int64_t run = std::min(g.out[2] - ow, pixel_end - p);
    int64_t id = od * g.w[0].stride - g.w[0].pad_before + kd * g.w[0].dilation;
    int64_t ih = oh * g.w[1].stride - g.w[1].pad_before + kh * g.w[1].dilation;
    float* to = row + (p - pixel_begin);
    int64_t begin = ow, end = ow + run;
    if (id < 0 || id >= g.in[0] || ih < 0 || ih >= g.in[1]) {
      end = begin;
    } else {
      clip_range(g.w[2], kw, g.in[2], &begin, &end);
    }
    if (begin >= end) {
      std::fill_n(to, run, 0.0f);
    } else {
      std::fill_n(to, begin - ow, 0.0f);
      const float* from = x + (id * g.in[1] + ih) * g.in[2] + kw * g.w[2].dilation - g.w[2].pad_before;
      int64_t stride = g.w[2].stride;
      for (int64_t o = begin; o < end; ++o) to[o - ow] = from[o * stride];
      std::fill_n(to + (end - ow), ow + run - end, 0.0f);
    }
    p += run;
  }
}

// One output channel that sees one input channel.
void conv_plane(const Geometry& g, const float* x, const float* weight, float bias, float* y) {
  std::fill_n(y, g.out_size, bias);
  for (int64_t kd = 0; kd < g.w[0].kernel; ++kd)
    for (int64_t kh = 0; kh < g.w[1].kernel; ++kh)
      for (int64_t kw = 0; kw < g.w[2].kernel; ++kw) {
        float value = *weight++;
        int64_t d0 = 0, d1 = g.out[0], h0 = 0, h1 = g.out[1], w0 = 0, w1 = g.out[2];
        clip_range(g.w[0], kd, g.in[0], &d0, &d1);
        clip_range(g.w[1], kh, g.in[1], &h0, &h1);
        clip_range(g.w[2], kw, g.in[2], &w0, &w1);
        for (int64_t od = d0; od < d1; ++od)
          for (int64_t oh = h0; oh < h1; ++oh) {
            int64_t id = od * g.w[0].stride - g.w[0].pad_before + kd * g.w[0].dilation;
            int64_t ih = oh * g.w[1].stride - g.w[1].pad_before + kh * g.w[1].dilation;
            const float* from = x + (id * g.in[1] + ih) * g.in[2] + kw * g.w[2].dilation - g.w[2].pad_before;
            float* to = y + (od * g.out[1] + oh) * g.out[2];
            int64_t stride = g.w[2].stride;
            if (stride == 1) {
              for (int64_t ow = w0; ow < w1; ++ow) to[ow] += value * from[ow];
            } else {
              for (int64_t ow = w0; ow < w1; ++ow) to[ow] += value * from[ow * stride];
            }
          }
      }
}

// Adds the products of one tap, given per input pixel [pixel_begin, pixel_end), to an output plane.
void scatter_tap(const Geometry& g, const float* row, int64_t kd, int64_t kh, int64_t kw, int64_t pixel_begin, int64_t pixel_end,
                 float* y) {
  for (int64_t p = pixel_begin; p < pixel_end;) {
    int64_t iw = p % g.in[2], ih = p / g.in[2] % g.in[1], id = p / g.in[2] / g.in[1];
    int64_t run = std::min(g.in[2] - iw, pixel_end - p);
    int64_t od = id * g.w[0].stride - g.w[0].pad_before + kd * g.w[0].dilation;
    int64_t oh = ih * g.w[1].stride - g.w[1].pad_before + kh * g.w[1].dilation;
    if (od >= 0 && od < g.out[0] && oh >= 0 && oh < g.out[1]) {
      int64_t begin = iw, end = iw + run;
      clip_range(g.w[2], kw, g.out[2], &begin, &end);
      float* to = y + (od * g.out[1] + oh) * g.out[2] + kw * g.w[2].dilation - g.w[2].pad_before;
      const float* from = row + (p - pixel_begin) - iw;
      int64_t stride = g.w[2].stride;
      for (int64_t i = begin; i < end; ++i) to[i * stride] += from[i];
    }
    p += run;
  }
}

}  // namespace

Dims ConvShape::out_dims() const {
  Dims dims{n, c_out};
  dims.insert(dims.end(), out.begin(), out.end());
  return dims;
}

void conv_reference(const ConvShape& shape, const float* x, const float* weight, const float* bias, float* y) {
  Geometry g(shape);
  if (shape.n == 0 || shape.c_out == 0 || g.out_size == 0) return;
  int64_t in_per_group = shape.c_in / shape.groups, out_per_group = shape.c_out / shape.groups;
  if (in_per_group == 1) {
    parallel_for(shape.n * shape.c_out, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t n = i / shape.c_out, c = i % shape.c_out;
        conv_plane(g, x + (n * shape.c_in + c / out_per_group) * g.in_size, weight + c * g.taps, bias ? bias[c] : 0.0f,
                   y + i * g.out_size);
      }
    });
    return;
  }
  int64_t k = in_per_group * g.taps;
  int64_t block = std::clamp<int64_t>((int64_t{1} << 18) / std::max<int64_t>(k, 1) / 8 * 8, 8, 64);
  int64_t blocks = (g.out_size + block - 1) / block;
  parallel_for(shape.n * shape.groups * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> columns(static_cast<size_t>(k * block));
    for (int64_t task = begin; task < end; ++task) {
      int64_t p0 = task % blocks * block, p1 = std::min(g.out_size, p0 + block);
      int64_t group = task / blocks % shape.groups, n = task / blocks / shape.groups;
      const float* from = x + (n * shape.c_in + group * in_per_group) * g.in_size;
      float* row = columns.data();
      for (int64_t c = 0; c < in_per_group; ++c)
        for (int64_t kd = 0; kd < g.w[0].kernel; ++kd)
          for (int64_t kh = 0; kh < g.w[1].kernel; ++kh)
            for (int64_t kw = 0; kw < g.w[2].kernel; ++kw, row += block)
              gather_tap(g, from + c * g.in_size, kd, kh, kw, p0, p1, row);
      int64_t first = group * out_per_group;
      float* to = y + (n * shape.c_out + first) * g.out_size + p0;
      for (int64_t c = 0; c < out_per_group; ++c) std::fill_n(to + c * g.out_size, p1 - p0, bias ? bias[first + c] : 0.0f);
      reference_gemm(out_per_group, p1 - p0, k, {weight + first * k, k, 1}, {columns.data(), block, 1}, to, g.out_size, true);
    }
  });
}

void conv_transpose_reference(const ConvShape& shape, const float* x, const float* weight, const float* bias, float* y) {
  Geometry g(shape);
  if (shape.n == 0 || shape.c_out == 0 || g.out_size == 0) return;
  int64_t in_per_group = shape.c_in / shape.groups, out_per_group = shape.c_out / shape.groups;
  int64_t channels = std::clamp<int64_t>(16 / std::max<int64_t>(g.taps, 1), 1, out_per_group);
  int64_t blocks = (out_per_group + channels - 1) / channels;
  constexpr int64_t kPixels = 512;
  parallel_for(shape.n * shape.groups * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> products(static_cast<size_t>(channels * g.taps * std::min(kPixels, g.in_size)));
    for (int64_t task = begin; task < end; ++task) {
      int64_t c0 = task % blocks * channels, c1 = std::min(out_per_group, c0 + channels);
      int64_t group = task / blocks % shape.groups, n = task / blocks / shape.groups;
      int64_t first = group * out_per_group + c0;
      float* to = y + (n * shape.c_out + first) * g.out_size;
      for (int64_t c = 0; c < c1 - c0; ++c) std::fill_n(to + c * g.out_size, g.out_size, bias ? bias[first + c] : 0.0f);
      const float* from = x + (n * shape.c_in + group * in_per_group) * g.in_size;
      const float* w = weight + (group * in_per_group * out_per_group + c0) * g.taps;
      for (int64_t p0 = 0; p0 < g.in_size; p0 += kPixels) {
        int64_t pixels = std::min(kPixels, g.in_size - p0);
        reference_gemm((c1 - c0) * g.taps, pixels, in_per_group, {w, 1, out_per_group * g.taps}, {from + p0, g.in_size, 1},
                       products.data(), pixels);
        const float* row = products.data();
        for (int64_t c = 0; c < c1 - c0; ++c)
          for (int64_t kd = 0; kd < g.w[0].kernel; ++kd)
            for (int64_t kh = 0; kh < g.w[1].kernel; ++kh)
              for (int64_t kw = 0; kw < g.w[2].kernel; ++kw, row += pixels)
                scatter_tap(g, row, kd, kh, kw, p0, p0 + pixels, to + c * g.out_size);
      }
    }
  });
}

}  // namespace mlt::ops
