// Included before any Highway header by every *_simd.cc: which targets the kernels are compiled for. SSSE3 adds nothing
// over SSE4 but build time; tiles need arrays of vectors, which SVE's sizeless types do not allow. Machines with none
// of the rest run the scalar reference.
#pragma once
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

// True while compiling for Highway's emulated vectors, where the reference serves instead.
#define MLT_HWY_EMULATED (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR)
