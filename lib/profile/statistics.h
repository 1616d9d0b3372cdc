// What can be said of times from a sample of them.
#pragma once
#include <string>
#include <vector>

namespace mlt {

struct Interval {
  double low = 0, high = 0;
};

// Nearest-rank quantile of sorted values; 0 of none.
double quantile(const std::vector<double>& sorted, double q);
// 95 % bootstrap intervals of quantiles: the sample drawn again and again from itself, always in the same
// way.
std::vector<Interval> bootstrap(const std::vector<double>& sample, const std::vector<double>& quantiles);
// Of quantile(now) / quantile(base).
Interval bootstrap_ratio(const std::vector<double>& now, const std::vector<double>& base, double q);

// What disturbs a measurement, seen in the sample and in the system's counters.
struct Noise {
  double spread = 0;   // (p90 - p50) / p50
  double drift = 0;    // median of the second half by that of the first, minus 1
  long preempted = 0;  // involuntary context switches while measuring
  double load = 0;     // 1-minute load average when measuring began; negative: not known
};
// Sentences, empty on a quiet machine.
std::vector<std::string> noise_warnings(const Noise& noise, int runs, int cores);

// Facts of the machine for reports; empty or 0 where the system does not say.
struct Machine {
  std::string system;    // "Linux 6.1.0 x86_64"
  std::string model;     // "AMD EPYC 7763 64-Core Processor"
  std::string governor;  // "performance"
  int cores = 0;         // that the process may use
  int processors = 0;    // of the machine
  size_t memory = 0;     // bytes
};
Machine machine_facts();
double load_average();        // of one minute; -1: not known
// Of the process so far.
struct Usage {
  long page_faults = 0;  // new pages mapped, from memory or from disk
  long waits = 0;        // a thread gave up its core before its time was over
  long preempted = 0;    // others took the core
};
Usage usage();

}  // namespace mlt
