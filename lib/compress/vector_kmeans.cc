#include "lib/compress/vector_kmeans.h"

#include <algorithm>
#include <limits>

#include "lib/base/threads.h"

namespace mlt::compress {
namespace {

constexpr size_t kChunk = 8192;      // points whose sums are taken together, whoever takes them
constexpr size_t kSample = 1 << 15;  // points on which starts are compared
constexpr int kStarts = 4, kRounds = 200;
constexpr double kEnough = 1e-5;     // a round that gains less than this share is the last

// Centres side by side, so that distances to all of them are computed at once.
class Nearest {
 public:
  Nearest(std::span<const float> centres, size_t width) : width_(width), count_(centres.size() / width), columns_(centres.size()), norms_(count_), scores_(count_) {
    for (size_t c = 0; c < count_; ++c)
      for (size_t j = 0; j < width; ++j) {
        columns_[j * count_ + c] = centres[c * width + j];
        norms_[c] += centres[c * width + j] * centres[c * width + j] / 2;
      }
  }
  // Half the squared distance, less half the square of the point itself.
  size_t operator()(const float* point, float* score = nullptr) {
    std::copy(norms_.begin(), norms_.end(), scores_.begin());
    for (size_t j = 0; j < width_; ++j) {
      const float* column = columns_.data() + j * count_;
      float x = point[j];
      for (size_t c = 0; c < count_; ++c) scores_[c] -= x * column[c];
    }
    auto best = static_cast<size_t>(std::min_element(scores_.begin(), scores_.end()) - scores_.begin());
    if (score != nullptr) *score = scores_[best];
    return best;
  }

 private:
  size_t width_, count_;
  std::vector<float> columns_, norms_, scores_;
};

struct Sums {
  std::vector<double> totals;
  std::vector<int64_t> counts;
  double error = 0;
  float worst = -1;
  size_t farthest = 0;  // the point that its centre suits least
};

// One round: centres become means of the points nearest to them. Returns the squared error before.
double round_of(std::span<const float> points, size_t width, std::vector<float>& centres) {
  size_t count = points.size() / width, k = centres.size() / width, chunks = (count + kChunk - 1) / kChunk;
  std::vector<Sums> parts(chunks);
  parallel_for(static_cast<int64_t>(chunks), 1, [&](int64_t begin, int64_t end) {
    Nearest nearest(centres, width);
    for (auto chunk = static_cast<size_t>(begin); chunk < static_cast<size_t>(end); ++chunk) {
      Sums& part = parts[chunk];
      part.totals.assign(centres.size(), 0);
      part.counts.assign(k, 0);
      for (size_t i = chunk * kChunk; i < std::min(count, (chunk + 1) * kChunk); ++i) {
        const float* point = points.data() + i * width;
        float score = 0, square = 0;
        size_t c = nearest(point, &score);
        for (size_t j = 0; j < width; ++j) {
          part.totals[c * width + j] += static_cast<double>(point[j]);
          square += point[j] * point[j];
        }
        ++part.counts[c];
        float distance = 2 * score + square;
        part.error += static_cast<double>(distance);
        if (distance > part.worst) {
          part.worst = distance;
          part.farthest = i;
        }
      }
    }
  });
  Sums all{std::vector<double>(centres.size()), std::vector<int64_t>(k)};
  for (const Sums& part : parts) {
    for (size_t i = 0; i < all.totals.size(); ++i) all.totals[i] += part.totals[i];
    for (size_t c = 0; c < k; ++c) all.counts[c] += part.counts[c];
    all.error += part.error;
    if (part.worst > all.worst) {
      all.worst = part.worst;
      all.farthest = part.farthest;
    }
  }
  for (size_t c = 0; c < k; ++c)
    for (size_t j = 0; j < width; ++j)
      if (all.counts[c] > 0) centres[c * width + j] = static_cast<float>(all.totals[c * width + j] / static_cast<double>(all.counts[c]));
  // A centre that nobody chose moves to where it helps; one a round is enough.
  auto idle = std::find(all.counts.begin(), all.counts.end(), 0);
  if (idle != all.counts.end() && all.worst > 0)
    std::copy_n(points.begin() + static_cast<std::ptrdiff_t>(all.farthest * width), width, centres.begin() + (idle - all.counts.begin()) * static_cast<std::ptrdiff_t>(width));
  return all.error;
}

double settle(std::span<const float> points, size_t width, std::vector<float>& centres) {
  double before = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRounds; ++i) {
    double error = round_of(points, width, centres);
    if (before - error <= kEnough * error) return error;
    before = error;
  }
  return before;
}

// SplitMix64 (Steele, Lea and Flood 2014).
struct Sequence {
  uint64_t state;
  double next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }
};

std::vector<float> seeds(std::span<const float> points, size_t width, size_t k, uint64_t seed) {
  size_t count = points.size() / width;
  Sequence sequence{seed};
  std::vector<double> distance(count, std::numeric_limits<double>::infinity());
  std::vector<float> centres;
  auto at = static_cast<size_t>(sequence.next() * static_cast<double>(count));
  while (centres.size() < k * width) {
    std::span<const float> chosen = points.subspan(at * width, width);
    centres.insert(centres.end(), chosen.begin(), chosen.end());
    double total = 0;
    for (size_t i = 0; i < count; ++i) {
      double d = 0;
      for (size_t j = 0; j < width; ++j) {
        double step = static_cast<double>(points[i * width + j]) - static_cast<double>(chosen[j]);
        d += step * step;
      }
      distance[i] = std::min(distance[i], d);
      total += distance[i];
    }
    double goal = sequence.next() * total;
    at = 0;
    for (double sum = distance[0]; sum < goal && at + 1 < count; sum += distance[at]) ++at;
  }
  return centres;
}

}  // namespace

std::vector<float> cluster_vectors(std::span<const float> points, int width, int k) {
  auto w = static_cast<size_t>(width);
  size_t count = points.size() / w, clusters = std::min(static_cast<size_t>(k), count);
  if (clusters == 0) return {};
  std::vector<float> part;
  std::span<const float> sample = points;
  if (count > kSample) {
    for (size_t i = 0; i < kSample; ++i) {
      size_t at = i * (count / kSample) + i * (count % kSample) / kSample;
      part.insert(part.end(), points.begin() + static_cast<std::ptrdiff_t>(at * w), points.begin() + static_cast<std::ptrdiff_t>((at + 1) * w));
    }
    sample = part;
  }
  std::vector<float> best;
  double least = std::numeric_limits<double>::infinity();
  for (uint64_t start = 0; start < kStarts; ++start) {
    std::vector<float> centres = seeds(sample, w, clusters, start);
    double error = settle(sample, w, centres);
    if (error < least) {
      least = error;
      best = std::move(centres);
    }
  }
  if (best.empty()) best = seeds(sample, w, clusters, 0);
  if (sample.data() != points.data()) settle(points, w, best);
  return best;
}

std::vector<uint8_t> nearest_vectors(std::span<const float> points, int width, std::span<const float> centres) {
  auto w = static_cast<size_t>(width);
  std::vector<uint8_t> codes(points.size() / w);
  parallel_for(static_cast<int64_t>(codes.size()), 4096, [&](int64_t begin, int64_t end) {
    Nearest nearest(centres, w);
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) codes[i] = static_cast<uint8_t>(nearest(points.data() + i * w));
  });
  return codes;
}

}  // namespace mlt::compress
