// The three functions of Highway's library that its headers call, so that the headers suffice. The library itself times
// the processor's clock whenever it is loaded (nanobenchmark.cc), which took two fifths of a tool's start.
#include "lib/kernels/hwy_config.h"

#define HWY_WANT_AVX3_DL
#include <hwy/highway.h>
#include <hwy/targets.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>

#if HWY_ARCH_X86
#include <cpuid.h>
#endif

namespace hwy {
namespace {

std::atomic<int64_t> g_given{0};

#if HWY_ARCH_X86
struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
  return r;
}

// Which registers the system saves.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool has(uint32_t value, std::initializer_list<int> bits) {
  for (int bit : bits)
    if ((value >> bit & 1) == 0) return false;
  return true;
}

// The extensions that Highway has the compiler use for each target (HWY_TARGET_STR in ops/set_macros-inl.h); their bits
// are those of Intel's manual, volume 2, CPUID, and of AMD's for leaf 0x80000001.
int64_t detected() {
  const Registers one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001);
  int64_t targets = HWY_STATIC_TARGET;
  if (!has(one.ecx, {9})) return targets;  // SSSE3
  targets |= HWY_SSSE3;
  if (!has(one.ecx, {19, 20, 1, 25})) return targets;  // SSE4.1, SSE4.2, PCLMULQDQ, AES
  targets |= HWY_SSE4;
  const uint64_t saved = has(one.ecx, {27}) ? saved_state() : 0;  // OSXSAVE
  // AVX, FMA, F16C; AVX2, BMI1, BMI2; LZCNT; 256-bit registers
  if (!has(one.ecx, {28, 12, 29}) || !has(seven.ebx, {5, 3, 8}) || !has(extended.ecx, {5}) || (saved & 0x6) != 0x6) return targets;
  targets |= HWY_AVX2;
  // AVX-512 F, DQ, CD, BW, VL; mask and 512-bit registers
  if (!has(seven.ebx, {16, 17, 28, 30, 31}) || (saved & 0xe6) != 0xe6) return targets;
  targets |= HWY_AVX3;
  // VBMI, VBMI2, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ
  if (has(seven.ecx, {1, 6, 9, 10, 11, 12, 14})) targets |= HWY_AVX3_DL;
  return targets;
}
#else
int64_t detected() { return HWY_STATIC_TARGET; }
#endif

}  // namespace

int64_t SupportedTargets() {
  static const int64_t found = detected();
  const int64_t given = g_given.load(std::memory_order_relaxed);
  return given != 0 ? given : found;
}

void SetSupportedTargetsForTest(int64_t targets) { g_given.store(targets, std::memory_order_relaxed); }

ChosenTarget& GetChosenTarget() {
  static ChosenTarget chosen;
  return chosen;
}

}  // namespace hwy
