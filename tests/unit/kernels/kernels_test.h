// Runs a check on every instruction set of this machine, with one thread and with two.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/threads.h"
#include "lib/kernels/target.h"

namespace mlt {

template <typename F>
void on_every_target(const F& check) {
  for (const std::string& target : kernel_targets()) {
    REQUIRE(select_kernel_target(target));
    for (int threads = 1; threads <= 2; ++threads) {
      set_thread_count(threads);
      CAPTURE(target);
      CAPTURE(threads);
      check();
    }
  }
  select_kernel_target("");
  set_thread_count(0);
}

// The same numbers every time, in [lo, hi).
inline std::vector<float> numbers(size_t count, uint32_t seed, float lo = -1, float hi = 1) {
  std::vector<float> v(count);
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& x : v) {
    state = state * 1664525u + 1013904223u;
    x = lo + (hi - lo) * static_cast<float>(state >> 8) * 0x1p-24f;
  }
  return v;
}

// Largest |a - b| / (1 + |b|); infinity where exactly one is NaN.
inline double distance(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return INFINITY;
    if (!std::isnan(b[i]) && a[i] != b[i]) worst = std::max(worst, std::fabs(a[i] - b[i]) / (1 + std::fabs(b[i])));
  }
  return worst;
}

}  // namespace mlt
