#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/decimals_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>
#include <bit>

#include "lib/kernels/decimals_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if HWY_ARCH_X86 && !MLT_HWY_EMULATED

// Where the digits of a number lie: behind a sign or not, the point (or the end) at `point`, the end at `length`. Lane i of
// the shuffled text is the i-th of 16 digits, zeros first.
constexpr uint32_t kWhole = 8, kPoints = kWhole + 2, kLengths = 17;
constexpr uint32_t shuffle_of(uint32_t sign, uint32_t point, uint32_t length) { return (sign * kPoints + point) * kLengths + length; }
constexpr std::array<std::array<int8_t, 16>, 2 * kPoints * kLengths> make_shuffles() {
  std::array<std::array<int8_t, 16>, 2 * kPoints * kLengths> all{};
  for (int sign = 0; sign < 2; ++sign)
    for (int point = sign; point < static_cast<int>(kPoints); ++point)
      for (int length = point; length < static_cast<int>(kLengths); ++length) {
        const int digits = length - sign - (length > point);
        for (int lane = 0; lane < 16; ++lane) {
          const int digit = lane - (16 - digits), at = sign + digit;
          all[shuffle_of(static_cast<uint32_t>(sign), static_cast<uint32_t>(point), static_cast<uint32_t>(length))][static_cast<size_t>(lane)] =
              static_cast<int8_t>(digit < 0 ? -1 : at < point ? at : at + 1);
        }
      }
  return all;
}
alignas(16) constexpr auto kShuffles = make_shuffles();
constexpr double kPowers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16};

int64_t read(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept {
  const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
  const __m128i tens = _mm_set1_epi16(0x010a), hundreds = _mm_set1_epi32(0x00010064), ten_thousands = _mm_set1_epi32(0x00012710);
  int64_t done = 0, divided = 0;
  // Divisions wait for one another least when they come together.
  constexpr int64_t kTogether = 64;
  double scale[kTogether];
  auto divide = [&] {
    for (int64_t i = divided; i < done; ++i) values[i] /= scale[i - divided];
    divided = done;
  };
  while (done < count && end - p >= 32) {
    // How soon the next number can be looked at is what counts here; everything else waits beside it.
    const uint32_t negative = *p == '-';
    const __m128i digit = _mm_sub_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), zero);
    // What is no digit, but for the sign; a bit beyond the text ends it in any case.
    const uint32_t other = ~(static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(digit, nine), digit))) | negative);
    const auto point = static_cast<uint32_t>(std::countr_zero(other));
    uint32_t length = point, places = 0;
    if (p[point] == '.') {
      length = static_cast<uint32_t>(std::countr_zero(other & (other - 1)));
      places = length - point - 1;
      if (places == 0) break;
    }
    if (point == negative || point > kWhole + negative || length >= 16) break;
    const char after = p[length];
    if (after != ',' && (done + 1 < count || (after != '\n' && after != '\r'))) break;
    const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles[shuffle_of(negative, point, length)].data()));
    const __m128i pairs = _mm_maddubs_epi16(_mm_shuffle_epi8(digit, shuffle), tens);
    const __m128i fours = _mm_madd_epi16(pairs, hundreds);
    const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), ten_thousands);
    const auto both = static_cast<uint64_t>(_mm_cvtsi128_si64(eights));
    // At most 15 digits: exact in a double, as is the power, so that one division rounds once (Clinger 1990).
    const uint64_t mantissa = (both & 0xffffffffu) * 100000000 + (both >> 32);
    scale[done - divided] = std::bit_cast<double>(std::bit_cast<uint64_t>(kPowers[places]) | uint64_t{negative} << 63);
    values[done++] = static_cast<double>(static_cast<int64_t>(mantissa));
    if (done - divided == kTogether) divide();
    p += length;
    *stop = p++;
  }
  divide();
  return done;
}
DecimalsTarget simd_target() { return read; }
#else
DecimalsTarget simd_target() { return nullptr; }
#endif
}  // namespace
DecimalsTarget decimals_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(decimals_simd_target);
DecimalsTarget decimals_simd() { return HWY_DYNAMIC_DISPATCH(decimals_simd_target)(); }
}  // namespace mlt
#endif
