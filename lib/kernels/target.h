// Which instruction set the kernels use. Every family is compiled once per target of Highway (x86-64: sse4, avx2, avx3;
// aarch64: neon) beside a scalar reference, and the choice is made at run time. The environment variable MLT_CPU names
// the best target to use; "scalar" selects the reference.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace mlt {

// Targets usable on this machine, best first; the last is always "scalar".
std::vector<std::string> kernel_targets();
// Makes kernels use `name`, or the best usable target below it when this machine lacks it; "" is the default again.
// Returns false for an unknown name and changes nothing. Objects that hold packed weights keep the target they were
// packed for. Not for use while kernels run.
bool select_kernel_target(std::string_view name);
std::string kernel_target();

}  // namespace mlt
