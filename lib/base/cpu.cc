#include "lib/base/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace mlt {
namespace {

// cgroup v2 "cpu.max" holds "<quota|max> <period>", v1 the same in two files.
double cgroup_cpu_quota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::atof(quota.c_str()) / period;
  std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota_us = -1, period_us = 0;
  if (q >> quota_us && p >> period_us && quota_us > 0 && period_us > 0) return quota_us / period_us;
  return 0;
}

size_t status_kib(const char* key) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + std::strlen(key), nullptr, 10) * 1024;
  return 0;
}

}  // namespace

int available_cores() {
  if (const char* forced = std::getenv("MLT_NUM_THREADS")) {
    int n = std::atoi(forced);
    if (n > 0) return std::min(n, 1024);
  }
  cpu_set_t set;
  int cores = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = std::max(1, CPU_COUNT(&set));
  double quota = cgroup_cpu_quota();
  if (quota > 0) cores = std::min(cores, std::max(1, static_cast<int>(std::ceil(quota))));
  return cores;
}

std::string cpu_target_override() {
  const char* name = std::getenv("MLT_CPU");
  return name ? name : "";
}

size_t available_memory() {
  size_t bytes = static_cast<size_t>(std::max(0L, sysconf(_SC_PHYS_PAGES))) * static_cast<size_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
  // v2, then v1; "max" is no number, and v1 says "no limit" with a huge one.
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    size_t limit = 0;
    if (file >> limit && limit > 0) bytes = bytes == 0 ? limit : std::min(bytes, limit);
  }
  return bytes;
}

size_t peak_resident_bytes() { return status_kib("VmHWM:"); }
size_t current_resident_bytes() { return status_kib("VmRSS:"); }

}  // namespace mlt
