#include "lib/compress/palettize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "lib/base/float16.h"
#include "lib/compress/kmeans.h"
#include "lib/compress/vector_kmeans.h"

namespace mlt::compress {
namespace {

constexpr size_t kHalves = 65536;

// Bits whose order as integers is that of the values; float32.
uint32_t order_of(float v) {
  auto bits = std::bit_cast<uint32_t>(v);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float value_of(uint32_t order) { return std::bit_cast<float>(order & 0x80000000u ? order & 0x7fffffffu : ~order); }

// The values of one table, and what each counts; no weights: all alike.
struct Population {
  std::vector<float> values, weights;
};

// By digits of 11 bits: several times faster than comparing.
void sort(Population& p) {
  size_t n = p.values.size();
  std::vector<uint32_t> keys(n), other(n);
  std::vector<float> moved(p.weights.size());
  for (size_t i = 0; i < n; ++i) keys[i] = order_of(p.values[i] == 0 ? 0.0f : p.values[i]);
  for (int shift : {0, 11, 22}) {
    std::vector<size_t> starts(2049);
    for (uint32_t key : keys) ++starts[(key >> shift & 2047) + 1];
    for (size_t d = 1; d < starts.size(); ++d) starts[d] += starts[d - 1];
    for (size_t i = 0; i < n; ++i) {
      size_t to = starts[keys[i] >> shift & 2047]++;
      other[to] = keys[i];
      if (!moved.empty()) moved[to] = p.weights[i];
    }
    std::swap(keys, other);
    std::swap(p.weights, moved);
  }
  for (size_t i = 0; i < n; ++i) p.values[i] = value_of(keys[i]);
}

// counts: of each float16, by its bits.
std::vector<double> centres_of(std::vector<double>& counts, int k) {
  counts[0] += std::exchange(counts[0x8000], 0);  // -0
  std::vector<double> points, weights;
  for (uint32_t i = 0; i < counts.size(); ++i) {
    // Ascending: the negative ones backwards, then the others.
    auto h = static_cast<uint16_t>(i & 0x8000u ? i & 0x7fffu : 0xffffu - i);
    if (counts[h] == 0) continue;
    points.push_back(half_to_float(h));
    weights.push_back(counts[h]);
  }
  return optimal_centres(points, weights, k);
}

std::vector<double> centres_of(Population& p, int k, bool half) {
  if (!half || p.values.size() < kHalves) {
    sort(p);
    return cluster_sorted(p.values, k, p.weights);
  }
  // Half-precision values are few: count instead of sorting.
  std::vector<double> counts(kHalves);
  for (size_t i = 0; i < p.values.size(); ++i) counts[float_to_half(p.values[i])] += p.weights.empty() ? 1 : static_cast<double>(p.weights[i]);
  return centres_of(counts, k);
}

// Ascending, at most `limit` of them; more: none.
std::vector<float> distinct(std::span<const float> values, size_t limit) {
  std::vector<float> found;
  float last = std::numeric_limits<float>::quiet_NaN();
  for (float v : values) {
    if (v == last) continue;
    last = v;
    auto at = std::lower_bound(found.begin(), found.end(), v);
    if (at != found.end() && *at == v) continue;
    if (found.size() == limit) return {};
    found.insert(at, v == 0 ? 0.0f : v);
  }
  return found;
}

std::vector<float> distinct_vectors(std::span<const float> points, size_t width, size_t limit) {
  std::map<std::vector<float>, int> found;
  for (size_t i = 0; i < points.size(); i += width) {
    found.emplace(std::vector<float>(points.begin() + static_cast<std::ptrdiff_t>(i), points.begin() + static_cast<std::ptrdiff_t>(i + width)), 0);
    if (found.size() > limit) return {};
  }
  std::vector<float> out;
  for (const auto& [vector, unused] : found) out.insert(out.end(), vector.begin(), vector.end());
  return out;
}

// The table's entry that is nearest to a number, by bisection.
class Chooser {
 public:
  explicit Chooser(std::span<const float> table) {
    std::map<float, uint8_t> sorted;
    for (size_t i = 0; i < table.size(); ++i) sorted.emplace(table[i] == 0 ? 0.0f : table[i], static_cast<uint8_t>(i));
    std::vector<double> centres;
    for (const auto& [value, index] : sorted) {
      centres.push_back(value);
      indices_.push_back(index);
    }
    nearest_.emplace(centres);
  }
  uint8_t operator()(float value) const { return indices_[(*nearest_)(static_cast<double>(value))]; }

 private:
  std::vector<uint8_t> indices_;
  std::optional<NearestCentre> nearest_;
};

class Work {
 public:
  Work(std::span<const float> values, const Dims& dims, const PaletteOptions& options, PaletteCodes& out) : values_(values), o_(options), out_(out) {
    auto axis = static_cast<size_t>(o_.axis);
    out_.extent = dims.empty() ? 1 : dims[axis];
    for (size_t i = 0; i < dims.size(); ++i) (i < axis ? outer_ : i == axis ? skip_ : out_.inner) *= dims[i];
    out_.vector = o_.vector;
    out_.group = o_.group == 0 ? out_.extent : o_.group;
    out_.groups = std::max<int64_t>(1, out_.extent / std::max<int64_t>(1, out_.group));
    out_.dims = dims;
    if (!dims.empty()) out_.dims[axis] /= o_.vector;
  }

  bool fit() {
    if (o_.mode == Palette::Mode::kCustom) out_.bits = static_cast<int>(std::bit_width(o_.table.size() / static_cast<size_t>(o_.vector)) - 1);
    else out_.bits = o_.bits;
    std::vector<std::vector<float>> tables(static_cast<size_t>(out_.groups));
    std::vector<uint8_t> failed(tables.size());
    for_each_group([&](int64_t g) {
      auto at = static_cast<size_t>(g);
      failed[at] = fit_one(g, tables[at]) ? 0 : 1;
    });
    if (std::find(failed.begin(), failed.end(), 1) != failed.end()) return false;
    if (o_.mode == Palette::Mode::kUnique) {
      size_t most = 1;
      for (const auto& table : tables) most = std::max(most, table.size() / static_cast<size_t>(o_.vector));
      auto fits = std::find_if(o_.choices.begin(), o_.choices.end(), [&](int bits) { return most <= size_t{1} << bits; });
      if (fits == o_.choices.end()) return false;
      out_.bits = *fits;
    }
    out_.entries = int64_t{1} << out_.bits;
    size_t stride = static_cast<size_t>(out_.entries * o_.vector);
    out_.tables.assign(tables.size() * stride, 0);
    for (size_t g = 0; g < tables.size(); ++g) {
      for (size_t i = 0; i < tables[g].size(); ++i) out_.tables[g * stride + i] = o_.half ? round_to_half(tables[g][i]) : tables[g][i];
      if (o_.vector == 1) {
        // Entries that rounding made equal are freed.
        auto begin = out_.tables.begin() + static_cast<std::ptrdiff_t>(g * stride);
        auto used = begin + static_cast<std::ptrdiff_t>(tables[g].size());
        if (o_.mode != Palette::Mode::kCustom) std::fill(std::unique(begin, used), used, 0.0f);
      }
    }
    return true;
  }

  void assign() {
    out_.codes.assign(values_.size() / static_cast<size_t>(o_.vector), 0);
    for_each_group([&](int64_t g) {
      std::span<const float> table = std::span(out_.tables).subspan(static_cast<size_t>(g * out_.entries * o_.vector), static_cast<size_t>(out_.entries * o_.vector));
      if (o_.vector > 1) return assign_vectors(g, table);
      Chooser choose(table);
      std::vector<uint8_t> codes;  // of every half-precision number
      if (o_.half && static_cast<int64_t>(values_.size()) / out_.groups > static_cast<int64_t>(kHalves)) {
        codes.resize(kHalves);
        for (uint32_t h = 0; h < codes.size(); ++h) {
          float v = half_to_float(static_cast<uint16_t>(h));
          codes[h] = std::isfinite(v) ? choose(v) : uint8_t{0};
        }
      }
      auto assign_range = [&](size_t begin, size_t end) {
        if (!codes.empty() && !o_.bits_of_values.empty() && o_.kept.empty()) {
          for (size_t i = begin; i < end; ++i) out_.codes[i] = codes[o_.bits_of_values[i]];
          return;
        }
        for (size_t i = begin; i < end; ++i)
          if (o_.kept.empty() || o_.kept[i] != 0) out_.codes[i] = codes.empty() ? choose(values_[i]) : codes[float_to_half(values_[i])];
      };
      stretches(g, [&](int64_t, int64_t, size_t begin, size_t end) {
        if (out_.groups > 1) return assign_range(begin, end);
        parallel_for(static_cast<int64_t>(end - begin), 4096, [&](int64_t b, int64_t e) { assign_range(begin + static_cast<size_t>(b), begin + static_cast<size_t>(e)); });
      });
    });
  }

 private:
  template <typename F>
  void for_each_group(F f) {
    if (out_.groups == 1) return f(0);  // has all threads to itself
    parallel_for(out_.groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) f(g);
    });
  }

  // f(outer, first channel, begin, end): stretches of the group's elements.
  template <typename F>
  void stretches(int64_t g, F f) const {
    for (int64_t o = 0; o < outer_; ++o) {
      int64_t begin = (o * out_.extent + g * out_.group) * out_.inner;
      f(o, g * out_.group, static_cast<size_t>(begin), static_cast<size_t>(begin + out_.group * out_.inner));
    }
  }

  Population gather(int64_t g) const {
    Population p;
    p.values.reserve(values_.size() / static_cast<size_t>(out_.groups));
    stretches(g, [&](int64_t, int64_t channel, size_t begin, size_t end) {
      if (o_.kept.empty() && o_.channel_scale.empty()) {
        p.values.insert(p.values.end(), values_.begin() + static_cast<std::ptrdiff_t>(begin), values_.begin() + static_cast<std::ptrdiff_t>(end));
        return;
      }
      for (size_t i = begin; i < end; ++i) {
        if (!o_.kept.empty() && o_.kept[i] == 0) continue;
        p.values.push_back(values_[i]);
        if (o_.channel_scale.empty()) continue;
        float scale = o_.channel_scale[static_cast<size_t>(channel + static_cast<int64_t>(i - begin) / out_.inner)];
        p.weights.push_back(scale * scale);
      }
    });
    return p;
  }

  // The group's vectors, in the order of their codes, and where those are.
  std::vector<float> gather_vectors(int64_t g, std::vector<size_t>* places) const {
    std::vector<float> points;
    stretches(g, [&](int64_t outer, int64_t channel, size_t begin, size_t) {
      for (int64_t c = 0; c < out_.group; c += o_.vector)
        for (int64_t s = 0; s < out_.inner; ++s) {
          size_t first = begin + static_cast<size_t>(c * out_.inner + s);
          if (!o_.kept.empty() && o_.kept[first] == 0) continue;
          for (int64_t j = 0; j < o_.vector; ++j) points.push_back(values_[first + static_cast<size_t>(j * out_.inner)]);
          if (places != nullptr) places->push_back(static_cast<size_t>((outer * out_.extent / o_.vector + (channel + c) / o_.vector) * out_.inner + s));
        }
    });
    return points;
  }

  void assign_vectors(int64_t g, std::span<const float> table) {
    std::vector<size_t> places;
    std::vector<float> points = gather_vectors(g, &places);
    std::vector<uint8_t> codes = nearest_vectors(points, o_.vector, table);
    for (size_t i = 0; i < codes.size(); ++i) out_.codes[places[i]] = codes[i];
  }

  bool fit_one(int64_t g, std::vector<float>& table) const {
    size_t entries = size_t{1} << out_.bits;
    if (o_.mode == Palette::Mode::kCustom) {
      table.assign(o_.table.begin(), o_.table.end());
      return true;
    }
    if (o_.vector > 1) {
      std::vector<float> points = gather_vectors(g, nullptr);
      if (o_.mode == Palette::Mode::kUnique) {
        table = distinct_vectors(points, static_cast<size_t>(o_.vector), 256);
        return points.empty() || !table.empty();
      }
      table = cluster_vectors(points, o_.vector, static_cast<int>(entries));
      return true;
    }
    bool counted = o_.mode == Palette::Mode::kKMeans && !o_.bits_of_values.empty() && o_.kept.empty() && o_.channel_scale.empty();
    if (counted && values_.size() / static_cast<size_t>(out_.groups) >= kHalves) {
      // Neighbours are often alike; two tables keep their additions apart.
      std::vector<uint64_t> even(kHalves), odd(kHalves);
      stretches(g, [&](int64_t, int64_t, size_t begin, size_t end) {
        size_t i = begin;
        for (; i + 1 < end; i += 2) {
          ++even[o_.bits_of_values[i]];
          ++odd[o_.bits_of_values[i + 1]];
        }
        if (i < end) ++even[o_.bits_of_values[i]];
      });
      std::vector<double> counts(kHalves);
      for (size_t h = 0; h < kHalves; ++h) counts[h] = static_cast<double>(even[h] + odd[h]);
      for (double centre : centres_of(counts, static_cast<int>(entries))) table.push_back(static_cast<float>(centre));
      return true;
    }
    Population p = gather(g);
    if (p.values.empty()) return true;
    if (o_.mode == Palette::Mode::kUnique) {
      table = distinct(p.values, 256);
      return !table.empty();
    }
    if (o_.mode == Palette::Mode::kUniform) {
      auto [low, high] = std::minmax_element(p.values.begin(), p.values.end());
      double scale = (static_cast<double>(*high) - static_cast<double>(*low)) / static_cast<double>(entries - 1);
      for (size_t i = 0; i < entries; ++i) table.push_back(static_cast<float>(static_cast<double>(i) * scale + static_cast<double>(*low)));
      return true;
    }
    for (double centre : centres_of(p, static_cast<int>(entries), o_.half)) table.push_back(static_cast<float>(centre));
    return true;
  }

  std::span<const float> values_;
  const PaletteOptions& o_;
  PaletteCodes& out_;
  int64_t outer_ = 1, skip_ = 1;
};

}  // namespace

void PaletteCodes::decode(size_t begin, size_t end, float* out) const {
  if (vector == 1 && groups == 1) {
    for (size_t i = begin; i < end; ++i) out[i - begin] = tables[codes[i]];
    return;
  }
  // Elements of one channel follow each other.
  auto at = static_cast<int64_t>(begin), stop = static_cast<int64_t>(end);
  while (at < stop) {
    int64_t row = at / inner, channel = row % extent, outer = row / extent, row_end = std::min(stop, (row + 1) * inner);
    const float* table = tables.data() + channel / group * entries * vector + channel % vector;
    const uint8_t* code = codes.data() + (outer * (extent / vector) + channel / vector) * inner - row * inner;
    for (; at < row_end; ++at) *out++ = table[code[at] * vector];
  }
}

std::optional<PaletteCodes> palettize(std::span<const float> values, const Dims& dims, const PaletteOptions& options, const std::function<void(PaletteCodes&)>& adjust) {
  PaletteCodes out;
  Work work(values, dims, options, out);
  if (!work.fit()) return std::nullopt;
  if (adjust) adjust(out);
  work.assign();
  return out;
}

}  // namespace mlt::compress
