#include "lib/kernels/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"

namespace mlt {

ResizeAxis ResizeAxis::nearest(int64_t in, std::span<const int64_t> sources) {
  ResizeAxis axis;
  axis.in = in;
  axis.low.assign(sources.begin(), sources.end());
  return axis;
}

ResizeAxis ResizeAxis::linear(int64_t in, std::span<const double> positions) {
  ResizeAxis axis;
  axis.in = in;
  for (double p : positions) {
    p = std::clamp(p, 0.0, static_cast<double>(in - 1));
    const auto low = static_cast<int64_t>(p);
    axis.low.push_back(static_cast<int32_t>(low));
    axis.high.push_back(static_cast<int32_t>(std::min(low + 1, in - 1)));
    axis.weight.push_back(static_cast<float>(p - static_cast<double>(low)));
  }
  return axis;
}

void resize_nearest(const float* in, float* out, int64_t planes, const ResizeAxis& y, const ResizeAxis& x) noexcept {
  const int64_t oh = y.out(), ow = x.out();
  if (ow == 0) return;
  parallel_for(planes * oh, grain_for(ow), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = y.low[static_cast<size_t>(i % oh)];
      float* o = out + i * ow;
      // Enlarging repeats rows.
      if (i > begin && i % oh > 0 && y.low[static_cast<size_t>(i % oh - 1)] == row) {
        std::memcpy(o, o - ow, static_cast<size_t>(ow) * sizeof(float));
        continue;
      }
      const float* source = in + (i / oh * y.in + row) * x.in;
      for (int64_t c = 0; c < ow; ++c) o[c] = source[x.low[static_cast<size_t>(c)]];
    }
  });
}

void resize_linear(const float* in, float* out, int64_t planes, const ResizeAxis& y, const ResizeAxis& x) noexcept {
  constexpr int64_t kLine = 4096;
  const int64_t oh = y.out(), ow = x.out();
  const ElementwiseTarget& ew = elementwise_target();
  parallel_for(planes * oh, grain_for(ow * 2), [&](int64_t begin, int64_t end) {
    alignas(64) float line[kLine];
    for (int64_t i = begin; i < end; ++i) {
      const auto r = static_cast<size_t>(i % oh);
      const float weight = y.weight[r];
      const float* low = in + (i / oh * y.in + y.low[r]) * x.in;
      const float* high = in + (i / oh * y.in + y.high[r]) * x.in;
      float* o = out + i * ow;
      if (weight == 0 || x.in <= kLine) {
        // Rows are blended first: contiguous.
        if (weight != 0) ew.blend(low, 1 - weight, high, weight, line, x.in);
        ew.blend_at(weight == 0 ? low : line, x.low.data(), x.high.data(), x.weight.data(), o, ow);
        continue;
      }
      for (int64_t c = 0; c < ow; ++c) {
        const auto k = static_cast<size_t>(c);
        const float a = low[x.low[k]] * (1 - weight) + high[x.low[k]] * weight;
        const float b = low[x.high[k]] * (1 - weight) + high[x.high[k]] * weight;
        o[c] = a * (1 - x.weight[k]) + b * x.weight[k];
      }
    }
  });
}

void resize_linear_nhwc(const float* in, int64_t in_pitch, float* out, int64_t pitch, int64_t batch, int64_t channels, const ResizeAxis& y,
                        const ResizeAxis& x) noexcept {
  constexpr int64_t kBlock = 2048;
  const int64_t oh = y.out(), ow = x.out();
  const ElementwiseTarget& ew = elementwise_target();
  parallel_for(batch * oh, grain_for(ow * channels), [&](int64_t begin, int64_t end) {
    alignas(64) float first[kBlock], second[kBlock];
    for (int64_t i = begin; i < end; ++i) {
      const auto r = static_cast<size_t>(i % oh);
      const float weight = y.weight[r];
      const float* low = in + (i / oh * y.in + y.low[r]) * x.in * in_pitch;
      const float* high = in + (i / oh * y.in + y.high[r]) * x.in * in_pitch;
      for (int64_t from = 0; from < channels; from += kBlock) {
        const int64_t n = std::min(kBlock, channels - from);
        float *left = first, *right = second;
        int64_t at_left = -1, at_right = -1;
        const auto column = [&](int64_t at, float* to) {
          ew.blend(low + at * in_pitch + from, 1 - weight, high + at * in_pitch + from, weight, to, n);
        };
        for (int64_t c = 0; c < ow; ++c) {
          const auto k = static_cast<size_t>(c);
          float* o = out + (i * ow + c) * pitch + from;
          // Neighbours share columns that are blended already.
          if (x.low[k] == at_right && at_right != at_left) {
            std::swap(left, right);
            std::swap(at_left, at_right);
          }
          if (x.low[k] != at_left) column(at_left = x.low[k], left);
          if (x.weight[k] == 0) {
            std::memcpy(o, left, static_cast<size_t>(n) * sizeof(float));
            continue;
          }
          if (x.high[k] != at_right) column(at_right = x.high[k], right);
          ew.blend(left, 1 - x.weight[k], right, x.weight[k], o, n);
        }
      }
    }
  });
}

}  // namespace mlt
