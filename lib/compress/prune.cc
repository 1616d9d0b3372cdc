#include "lib/compress/prune.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lib/base/float16.h"

namespace mlt::compress {
namespace {

// Extents around the pruned axis: index = (outer * extent + channel) * inner + rest.
struct Layout {
  int64_t outer = 1, extent = 1, inner = 1;
  Layout(const Dims& dims, int axis) {
    for (size_t i = 0; i < dims.size(); ++i) (i < static_cast<size_t>(axis) ? outer : i == static_cast<size_t>(axis) ? extent : inner) *= dims[i];
  }
  size_t at(int64_t o, int64_t channel, int64_t rest) const { return static_cast<size_t>((o * extent + channel) * inner + rest); }
};

// The value below which a share of the magnitudes lies, as numpy.percentile interpolates it: in their own precision.
double percentile(std::vector<float> magnitudes, double share, bool half) {
  double place = share * 100 / 100 * static_cast<double>(magnitudes.size() - 1);
  auto below = static_cast<size_t>(std::floor(place));
  double part = place - static_cast<double>(below);
  auto at = magnitudes.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(magnitudes.begin(), at, magnitudes.end());
  double low = *at;
  if (part == 0 || below + 1 == magnitudes.size()) return low;
  double high = *std::min_element(at + 1, magnitudes.end());
  auto rounded = [half](double v) { return half ? static_cast<double>(round_to_half(static_cast<float>(v))) : v; };
  double step = rounded(high - low);
  return part < 0.5 ? rounded(low + rounded(step * part)) : rounded(high - rounded(step * (1 - part)));
}

}  // namespace

Pruned prune(std::span<const float> values, const Dims& dims, const Prune& how, bool half) {
  auto rounded = [half](float v) { return half ? round_to_half(v) : v; };
  Pruned out;
  auto refuse = [&](std::string why) {
    out.kept.clear();
    out.refused = std::move(why);
    return out;
  };
  bool structured = how.kind == Prune::Kind::kPattern || how.block > 1;
  if (structured && dims.size() < 2) return refuse("a vector has no structure to prune by");
  Layout layout(dims, structured ? how.dim : 0);
  out.kept.assign(values.size(), 1);
  std::vector<uint8_t>& kept = out.kept;

  if (how.kind == Prune::Kind::kThreshold) {
    for (size_t i = 0; i < values.size(); ++i) kept[i] = static_cast<double>(std::abs(values[i])) > how.threshold ? 1 : 0;
  } else if (how.kind == Prune::Kind::kSparsity) {
    std::vector<float> magnitudes(values.size());
    for (size_t i = 0; i < values.size(); ++i) magnitudes[i] = std::abs(values[i]);
    if (how.block > 1) {
      if (2 * how.block > layout.extent) return refuse(fmt::format("blocks of {} are more than half of {} channels", how.block, layout.extent));
      for (int64_t o = 0; o < layout.outer; ++o)
        for (int64_t rest = 0; rest < layout.inner; ++rest)
          for (int64_t first = 0; first < layout.extent; first += how.block) {
            int64_t last = std::min(layout.extent, first + how.block);
            float squares = 0;
            for (int64_t c = first; c < last; ++c) {
              float v = values[layout.at(o, c, rest)];
              squares = rounded(squares + rounded(v * v));
            }
            for (int64_t c = first; c < last; ++c) magnitudes[layout.at(o, c, rest)] = rounded(std::sqrt(squares));
          }
    }
    if (how.sparsity >= 1) {
      std::fill(kept.begin(), kept.end(), 0);
    } else if (how.sparsity > 0) {
      double limit = percentile(magnitudes, how.sparsity, half);
      for (size_t i = 0; i < values.size(); ++i) kept[i] = static_cast<double>(magnitudes[i]) > limit ? 1 : 0;
    }
  } else {
    if (2 * int64_t{how.m} > layout.extent) return refuse(fmt::format("{} are more than half of {} channels", how.m, layout.extent));
    std::vector<int64_t> order(static_cast<size_t>(how.m));
    auto magnitude = [&](int64_t o, int64_t c, int64_t rest) { return c < layout.extent ? std::abs(values[layout.at(o, c, rest)]) : 0.0f; };
    for (int64_t o = 0; o < layout.outer; ++o)
      for (int64_t rest = 0; rest < layout.inner; ++rest)
        for (int64_t first = 0; first < layout.extent; first += how.m) {
          std::iota(order.begin(), order.end(), first);
          std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return magnitude(o, a, rest) < magnitude(o, b, rest); });
          for (int i = 0; i < how.n; ++i)
            if (order[static_cast<size_t>(i)] < layout.extent) kept[layout.at(o, order[static_cast<size_t>(i)], rest)] = 0;
        }
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == 0) kept[i] = 0;
    out.count += kept[i];
  }
  double sparsity = 1 - static_cast<double>(out.count) / static_cast<double>(std::max<size_t>(1, values.size()));
  if (how.kind == Prune::Kind::kThreshold && sparsity < how.minimum_sparsity)
    return refuse(fmt::format("only {:.3g} of it would be zero", sparsity));
  if (out.count == 0) return refuse("nothing of it would be left");
  return out;
}

}  // namespace mlt::compress
