// What this process may use of the machine.
#pragma once
#include <cstddef>
#include <string>

namespace mlt {

// Cores this process can really use: affinity mask and cgroup CPU quota respected; at least 1. MLT_NUM_THREADS
// overrides.
int available_cores();
// "avx3_dl", "avx3", "avx2", "ssse3", "neon", ...: the best instruction set that kernels may use here. The environment
// variable MLT_CPU names a lower one to force it.
std::string cpu_target_override();
// Physical memory, or the cgroup's limit when that is lower.
size_t available_memory();
size_t peak_resident_bytes();     // VmHWM
size_t current_resident_bytes();  // VmRSS

}  // namespace mlt
