#include "lib/profile/statistics.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>

#include "lib/base/cpu.h"

namespace mlt {
namespace {

// splitmix64: the same draws everywhere.
struct Random {
  uint64_t state = 0x6d6c70726f66696cull;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return static_cast<size_t>(next() % n); }
};

size_t rounds_for(size_t n) { return std::clamp<size_t>(20'000'000 / std::max<size_t>(n, 1), 100, 1000); }

std::vector<double> drawn(const std::vector<double>& sample, Random& random) {
  std::vector<double> out(sample.size());
  for (double& v : out) v = sample[random.below(sample.size())];
  std::sort(out.begin(), out.end());
  return out;
}

Interval middle(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.025), quantile(values, 0.975)};
}

std::string first_line(const char* path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line.substr(0, 200);
}

}  // namespace

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

std::vector<Interval> bootstrap(const std::vector<double>& sample, const std::vector<double>& quantiles) {
  std::vector<Interval> out(quantiles.size());
  if (sample.empty()) return out;
  std::vector<std::vector<double>> found(quantiles.size());
  Random random;
  for (size_t round = rounds_for(sample.size()); round-- > 0;) {
    std::vector<double> again = drawn(sample, random);
    for (size_t k = 0; k < quantiles.size(); ++k) found[k].push_back(quantile(again, quantiles[k]));
  }
  for (size_t k = 0; k < quantiles.size(); ++k) out[k] = middle(found[k]);
  return out;
}

Interval bootstrap_ratio(const std::vector<double>& now, const std::vector<double>& base, double q) {
  if (now.empty() || base.empty()) return {};
  std::vector<double> ratios;
  Random random;
  for (size_t round = rounds_for(now.size() + base.size()); round-- > 0;) {
    double denominator = quantile(drawn(base, random), q), numerator = quantile(drawn(now, random), q);
    ratios.push_back(denominator > 0 ? numerator / denominator : 0);
  }
  return middle(ratios);
}

std::vector<std::string> noise_warnings(const Noise& noise, int runs, int cores) {
  std::vector<std::string> out;
  if (runs < 10) out.push_back(fmt::format("{} runs say little about percentiles; use --runs", runs));
  if (noise.spread > 0.15)
    out.push_back(fmt::format("times spread: p90 is {:.0f} % above the median", noise.spread * 100));
  if (std::fabs(noise.drift) > 0.1 && runs >= 10)
    out.push_back(fmt::format("times drift: the second half of the runs took {:+.0f} %", noise.drift * 100));
  if (noise.load > static_cast<double>(cores) * 0.5 + 0.5)
    out.push_back(fmt::format("the machine is busy: load average {:.1f} on {} cores", noise.load, cores));
  if (noise.preempted > 2L * std::max(runs, 1))
    out.push_back(fmt::format("other processes took the cores {} times while measuring", noise.preempted));
  return out;
}

Machine machine_facts() {
  Machine m;
  utsname name{};
  if (uname(&name) == 0) m.system = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name") || line.starts_with("Model")) {
      size_t colon = line.find(": ");
      if (colon != std::string::npos) m.model = line.substr(colon + 2, 200);
      break;
    }
  m.governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  m.cores = available_cores();
  m.processors = static_cast<int>(std::max(0L, sysconf(_SC_NPROCESSORS_ONLN)));
  m.memory = available_memory();
  return m;
}

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : -1;
}

Usage usage() {
  rusage now{};
  if (getrusage(RUSAGE_SELF, &now) != 0) return {};
  return {now.ru_minflt + now.ru_majflt, now.ru_nvcsw, now.ru_nivcsw};
}

}  // namespace mlt
