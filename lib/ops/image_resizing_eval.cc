#include "lib/ops/image_resizing_eval.h"

#include <algorithm>
#include <cmath>

#include "lib/base/threads.h"

namespace mlt::ops {

Result<Sampling> sampling_from_name(const std::string& name) {
  if (name == "DEFAULT") return Sampling::kDefault;
  if (name == "STRICT_ALIGN_CORNERS") return Sampling::kStrictAlignCorners;
  if (name == "ALIGN_CORNERS") return Sampling::kAlignCorners;
  if (name == "OFFSET_CORNERS") return Sampling::kOffsetCorners;
  if (name == "UNALIGN_CORNERS") return Sampling::kUnalignCorners;
  return input_error("unknown sampling_mode \"" + name + "\"");
}

std::vector<double> sample_grid(Sampling sampling, double length, int64_t n) {
  double start = 0, spacing = 0, count = static_cast<double>(n);
  switch (sampling) {
    case Sampling::kDefault: spacing = (length + 1) / count; break;
    case Sampling::kStrictAlignCorners: spacing = n > 1 ? length / (count - 1) : 0; break;
    case Sampling::kAlignCorners:
      spacing = n > 1 ? length / (count - 1) : 0;
      start = n > 1 ? 0 : length / 2;
      break;
    case Sampling::kOffsetCorners:
      spacing = std::max(1.0, length) / count;
      start = spacing / 2;
      break;
    case Sampling::kUnalignCorners:
      spacing = (length + 1) / count;
      start = spacing / 2 - 0.5;
      break;
  }
  std::vector<double> grid(static_cast<size_t>(n));
  for (size_t i = 0; i < grid.size(); ++i) grid[i] = std::clamp(start + static_cast<double>(i) * spacing, 0.0, length);
  // The last point of an aligned grid is the end itself, not what rounding makes of it.
  if (n > 1 && (sampling == Sampling::kStrictAlignCorners || sampling == Sampling::kAlignCorners)) grid.back() = length;
  return grid;
}

namespace {

__extension__ using Wide = __int128;  // products of two extents

// Axis `axis` of x as [outer, extent, inner], rewritten to n entries by f(source, target) per outer index.
template <typename F>
Tensor rewrite_axis(const Tensor& x, size_t axis, int64_t n, F f) {
  Dims dims = x.dims();
  int64_t extent = dims[axis], outer = 1, inner = 1;
  for (size_t d = 0; d < axis; ++d) outer *= dims[d];
  for (size_t d = axis + 1; d < dims.size(); ++d) inner *= dims[d];
  dims[axis] = n;
  Tensor out = Tensor::uninitialized(x.dtype(), dims);
  parallel_for(outer, 1 + 4096 / (n * inner + 1), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) f(o * extent * inner, o * n * inner, inner, out);
  });
  return out;
}

}  // namespace

Tensor interpolate_linear(const Tensor& x, const std::vector<std::vector<double>>& grids) {
  Tensor current = x;
  for (size_t axis = grids.size(); axis-- > 0;) {
    const std::vector<double>& grid = grids[axis];
    int64_t extent = current.dims()[axis], n = static_cast<int64_t>(grid.size());
    bool same = n == extent;
    for (int64_t i = 0; same && i < n; ++i) same = grid[static_cast<size_t>(i)] == static_cast<double>(i);
    if (grid.empty() || same) continue;
    const float* from = current.data<float>();
    current = rewrite_axis(current, axis, n, [&](int64_t source, int64_t target, int64_t inner, Tensor& out) {
      float* to = out.mutable_data<float>() + target;
      for (double position : grid) {
        int64_t low = static_cast<int64_t>(position), high = std::min(low + 1, extent - 1);
        float weight = static_cast<float>(position - static_cast<double>(low));
        const float *a = from + source + low * inner, *b = from + source + high * inner;
        for (int64_t j = 0; j < inner; ++j) to[j] = weight == 0.0f ? a[j] : a[j] + (b[j] - a[j]) * weight;
        to += inner;
      }
    });
  }
  return current;
}

Tensor gather_axes(const Tensor& x, const std::vector<std::vector<int64_t>>& sources) {
  Tensor current = x;
  for (size_t axis = sources.size(); axis-- > 0;) {
    const std::vector<int64_t>& source_of = sources[axis];
    if (source_of.empty()) continue;
    const std::byte* from = current.bytes().data();
    current = rewrite_axis(current, axis, static_cast<int64_t>(source_of.size()), [&](int64_t source, int64_t target, int64_t inner, Tensor& out) {
      std::byte* to = out.mutable_bytes() + target * 4;
      for (int64_t index : source_of) {
        std::copy_n(from + (source + index * inner) * 4, inner * 4, to);
        to += inner * 4;
      }
    });
  }
  return current;
}

std::vector<int64_t> nearest_by_center(int64_t extent, int64_t n) {
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = std::min(static_cast<int64_t>(Wide{2 * i + 1} * extent / (2 * n)), extent - 1);
  return out;
}

std::vector<int64_t> nearest_by_corner(int64_t extent, int64_t n) {
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = std::min(static_cast<int64_t>(Wide{i} * extent / n), extent - 1);
  return out;
}

double fold_coordinate(double v, int64_t extent, Border border) {
  double last = static_cast<double>(extent - 1);
  if (border == Border::kConstant) return v;
  if (std::isnan(v)) return 0;
  if (border == Border::kReflect || border == Border::kSymmetric) {
    // Mirrors lie at the centers of the outer pixels (reflect) or at their outer edges (symmetric).
    double low = border == Border::kReflect ? 0.0 : -0.5, period = 2 * (last - 2 * low);
    if (period <= 0) return 0;
    v = std::fmod(std::abs(v - low), period);
    if (v > period / 2) v = period - v;
    v += low;
  }
  return std::clamp(v, 0.0, last);
}

float sample_bilinear(const PixelSampler& image, double row, double column) {
  row = fold_coordinate(row, image.height, image.border);
  column = fold_coordinate(column, image.width, image.border);
  // Far outside nothing but the border is seen; NaN goes there as well.
  if (!(row > -1 && column > -1 && row < static_cast<double>(image.height) && column < static_cast<double>(image.width))) return image.value;
  double r0 = std::floor(row), c0 = std::floor(column);
  int64_t r = static_cast<int64_t>(r0), c = static_cast<int64_t>(c0);
  float wr = static_cast<float>(row - r0), wc = static_cast<float>(column - c0);
  // A neighbour of weight 0 must not be read: it may be infinite or lie outside.
  auto term = [&](int64_t y, int64_t x, float weight) { return weight == 0.0f ? 0.0f : image.at(y, x) * weight; };
  return term(r, c, (1 - wr) * (1 - wc)) + term(r, c + 1, (1 - wr) * wc) + term(r + 1, c, wr * (1 - wc)) + term(r + 1, c + 1, wr * wc);
}

float sample_nearest(const PixelSampler& image, double row, double column) {
  row = std::nearbyint(fold_coordinate(row, image.height, image.border));
  column = std::nearbyint(fold_coordinate(column, image.width, image.border));
  if (!(row >= 0 && column >= 0 && row < static_cast<double>(image.height) && column < static_cast<double>(image.width))) return image.value;
  return image.at(static_cast<int64_t>(row), static_cast<int64_t>(column));
}

Status check_target(int64_t extent) {
  if (extent < 1) return input_error("a target extent must be positive, not " + std::to_string(extent));
  return {};
}

Status check_source(const Dims& x, size_t first_axis) {
  for (size_t i = first_axis; i < x.size(); ++i)
    if (x[i] < 1) return input_error("x " + dims_text(x) + " has no pixels");
  return {};
}

}  // namespace mlt::ops
