// The next token from the scores of all. The same seed gives the same tokens everywhere: the generator is SplitMix64 and
// sums run in one order.
#pragma once
#include <cstdint>
#include <span>

namespace mlt {

struct SamplingOptions {
  double temperature = 0;  // 0: the largest score always, the first of equals
  int64_t top_k = 0;       // 0: all; only the k largest scores may be chosen
  double top_p = 1;        // only the fewest largest scores whose probabilities reach p
  uint64_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {}
  // Index of the chosen score; scores that are not a number are never chosen. -1 when there is none to choose.
  int64_t choose(std::span<const float> scores);

 private:
  SamplingOptions options_;
  uint64_t state_;
};

}  // namespace mlt
