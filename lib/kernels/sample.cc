#include "lib/kernels/sample.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/sample_target.h"

namespace mlt {

float blend_point(const float* plane, const SampleTaps& taps, int64_t i) noexcept {
  float sum = 0;
  for (int k = 0; k < 4; ++k)
    if (taps.weight[k][i] != 0) sum += plane[taps.at[k][i]] * taps.weight[k][i];
  return sum + taps.rest[i];
}

namespace {

void blend_ref(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = blend_point(plane, taps, i);
}
void pick_ref(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = taps.weight[0][i] != 0 ? plane[taps.at[0][i]] : taps.rest[i];
}
constexpr SampleTarget kReference{blend_ref, pick_ref};

void place_nearest(const SampleShape& s, double row, double column, SampleTaps& taps, int64_t i) {
  row = std::nearbyint(row), column = std::nearbyint(column);
  const bool inside = row >= 0 && column >= 0 && row < static_cast<double>(s.height) && column < static_cast<double>(s.width);
  taps.at[0][i] = inside ? static_cast<int32_t>(static_cast<int64_t>(row) * s.width + static_cast<int64_t>(column)) : 0;
  taps.weight[0][i] = inside;
  taps.rest[i] = s.value;
}

void place_bilinear(const SampleShape& s, double row, double column, SampleTaps& taps, int64_t i) {
  const bool seen = row > -1 && column > -1 && row < static_cast<double>(s.height) && column < static_cast<double>(s.width);
  taps.rest[i] = seen ? 0 : s.value;
  if (!seen) row = column = 0;
  // Not below -1: truncated toward zero, and one less where that rounded up.
  const int64_t r = static_cast<int64_t>(row) - (row < 0), c = static_cast<int64_t>(column) - (column < 0);
  const auto wr = static_cast<float>(row - static_cast<double>(r)), wc = static_cast<float>(column - static_cast<double>(c));
  const float weights[4] = {(1 - wr) * (1 - wc), (1 - wr) * wc, wr * (1 - wc), wr * wc};
  for (int k = 0; k < 4; ++k) {
    const int64_t y = r + k / 2, x = c + k % 2;
    const bool there = seen && y >= 0 && x >= 0 && y < s.height && x < s.width;
    taps.at[k][i] = there ? static_cast<int32_t>(y * s.width + x) : 0;
    taps.weight[k][i] = there ? weights[k] : 0;
    if (seen && !there && weights[k] != 0) taps.rest[i] += s.value * weights[k];
  }
}

}  // namespace

void sample_planes(const SampleShape& s, const float* in, PlacePoints place, float* out) noexcept {
  const SampleTarget& target = use_reference() ? kReference : *sample_simd();
  constexpr int64_t kPoints = SampleTaps::kPoints, kItems = 8;
  const int64_t blocks = (s.points + kPoints - 1) / kPoints, plane = s.height * s.width;
  if (s.batch * blocks <= 0 || s.channels <= 0) return;
  // Few points in many channels are split by channels as well.
  const int64_t groups = std::min(s.channels, (kItems + s.batch * blocks - 1) / (s.batch * blocks)), each = (s.channels + groups - 1) / groups;
  parallel_for(s.batch * blocks * groups, grain_for(std::min(kPoints, s.points) * (each * 8 + 32)), [&](int64_t begin, int64_t end) {
    SampleTaps taps;
    double rows[kPoints], columns[kPoints];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t group = item % groups, block = item / groups % blocks, image = item / groups / blocks;
      const int64_t first = block * kPoints, n = std::min(kPoints, s.points - first);
      if (item == begin || group == 0) {
        place(image, first, n, rows, columns);
        for (int64_t i = 0; i < n; ++i) (s.nearest ? place_nearest : place_bilinear)(s, rows[i], columns[i], taps, i);
      }
      for (int64_t c = group * each; c < std::min(s.channels, (group + 1) * each); ++c) {
        const int64_t index = image * s.channels + c;
        (s.nearest ? target.pick : target.blend)(in + index * plane, taps, out + index * s.points + first, n);
      }
    }
  });
}

}  // namespace mlt
