// How this thread's processor treats numbers too small for a full significand (denormals). On x86-64 each takes a hundred times as
// long as others; sums of products lose nothing that counts (less than 1.2e-38 times the other factor) when they are
// taken for zero.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mlt {

#if defined(__x86_64__)
inline uint32_t float_mode() { return _mm_getcsr(); }
inline void set_float_mode(uint32_t mode) { _mm_setcsr(mode); }
constexpr uint32_t kZeroDenormals = 0x8040;  // MXCSR: results (bit 15) and operands (bit 6) become zero; Intel SDM volume 1, 10.2.3
#else
// Others are no slower for them.
inline uint32_t float_mode() { return 0; }
inline void set_float_mode(uint32_t) {}
constexpr uint32_t kZeroDenormals = 0;
#endif

// While it lives, on this thread and on those that work for it in parallel_for().
class ZeroDenormals {
 public:
  explicit ZeroDenormals(bool on) : on_(on), mode_(on ? float_mode() : 0) {
    if (on_) set_float_mode(mode_ | kZeroDenormals);
  }
  ~ZeroDenormals() {
    if (on_) set_float_mode(mode_);
  }
  ZeroDenormals(const ZeroDenormals&) = delete;
  ZeroDenormals& operator=(const ZeroDenormals&) = delete;

 private:
  bool on_;
  uint32_t mode_;
};

}  // namespace mlt
