#include "lib/kernels/hwy_config.h"

// A target that only some families are compiled for (int8_simd.cc); the others take the next below it.
#define HWY_WANT_AVX3_DL
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cctype>

#include "lib/base/cpu.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/target.h"

namespace mlt {
namespace {

bool g_reference = false;

std::string lower_name(int64_t target) {
  std::string name = hwy::TargetName(target);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

// Compiled in and real vectors; a smaller bit is a better target.
int64_t vector_targets() { return HWY_TARGETS & ~(HWY_EMU128 | HWY_SCALAR); }

int64_t usable_targets() {
  static const int64_t usable = (hwy::SetSupportedTargetsForTest(0), hwy::SupportedTargets() & vector_targets());
  return usable;
}

// Every name Highway might give a target of this architecture, so that MLT_CPU=avx3 is understood on an AVX2 machine.
int64_t target_named(std::string_view name) {
  if (name == "avx512") return HWY_AVX3;
  for (int bit = 0; bit < 62; ++bit) {
    int64_t target = int64_t{1} << bit;
    if (lower_name(target) == name) return target;
  }
  return 0;
}

bool select(std::string_view name) {
  int64_t allowed = usable_targets();
  if (name == "scalar" || name == "reference") {
    allowed = 0;
  } else if (!name.empty()) {
    int64_t target = target_named(name);
    if (target == 0) return false;
    allowed &= ~(target - 1);
  }
  g_reference = allowed == 0;
  hwy::SetSupportedTargetsForTest(allowed != 0 ? allowed : HWY_STATIC_TARGET);
  hwy::GetChosenTarget().Update(allowed != 0 ? allowed : HWY_STATIC_TARGET);
  return true;
}

void initialise() {
  static const bool done = [] {
    if (!select(cpu_target_override())) select("");
    return true;
  }();
  (void)done;
}

}  // namespace

bool use_reference() noexcept {
  initialise();
  return g_reference;
}

std::vector<std::string> kernel_targets() {
  initialise();
  std::vector<std::string> names;
  for (int bit = 0; bit < 62; ++bit)
    if (usable_targets() & (int64_t{1} << bit)) names.push_back(lower_name(int64_t{1} << bit));
  names.push_back("scalar");
  return names;
}

bool select_kernel_target(std::string_view name) {
  initialise();
  if (!name.empty()) return select(name);
  return select(cpu_target_override()) || select("");
}

std::string kernel_target() {
  if (use_reference()) return "scalar";
  int64_t best = hwy::SupportedTargets() & vector_targets();
  return lower_name(best & -best);
}

}  // namespace mlt
