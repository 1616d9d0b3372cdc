#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/decimals_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <bit>

#include "lib/kernels/decimals_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if HWY_ARCH_X86 && !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;

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

constexpr int64_t kTogether = 256;  // numbers of a turn

// One number of `length` < 16 characters, the point at `point`; digit is its text less '0'.
HWY_INLINE int64_t digits_of(__m128i digit, uint32_t negative, uint32_t point, uint32_t length) {
  const __m128i tens = _mm_set1_epi16(0x010a), hundreds = _mm_set1_epi32(0x00010064), ten_thousands = _mm_set1_epi32(0x00012710);
  const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles[shuffle_of(negative, point, length)].data()));
  const __m128i pairs = _mm_maddubs_epi16(_mm_shuffle_epi8(digit, shuffle), tens);
  const __m128i fours = _mm_madd_epi16(pairs, hundreds);
  const __m128i eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), ten_thousands);
  const auto both = static_cast<uint64_t>(_mm_cvtsi128_si64(eights));
  return static_cast<int64_t>((both & 0xffffffffu) * 100000000 + (both >> 32));
}
// At most 15 digits are exact in a double, as is the power, so that one division rounds once (Clinger 1990).
HWY_INLINE double scale_of(uint32_t places, uint32_t negative) {
  return std::bit_cast<double>(std::bit_cast<uint64_t>(kPowers[places]) | uint64_t{negative} << 63);
}

// Where the commas are after p, less p, up to `most` of them (some more may be written) and up to the end of a line, which is
// counted too. Looks at whole blocks of 64 characters only, `edge` characters before `end` at the latest.
int64_t find_commas(const char* p, const char* end, int64_t most, int64_t edge, uint32_t* places) noexcept {
  constexpr int64_t kBlock = 64, kLanes8 = HWY_MAX_BYTES;
  const hn::ScalableTag<uint8_t> d;
  const auto comma = hn::Set(d, static_cast<uint8_t>(',')), space = hn::Set(d, static_cast<uint8_t>(' '));
  int64_t count = 0;
  for (int64_t at = 0; count < most && end - p - at >= kBlock + edge; at += kBlock) {
    uint64_t commas = 0, ends = 0;
    for (int64_t i = 0; i < kBlock; i += kLanes8) {
      const auto text = hn::LoadU(d, reinterpret_cast<const uint8_t*>(p + at + i));
      uint64_t bits = 0;
      hn::StoreMaskBits(d, hn::Eq(text, comma), reinterpret_cast<uint8_t*>(&bits));
      commas |= bits << i;
      bits = 0;
      hn::StoreMaskBits(d, hn::Lt(text, space), reinterpret_cast<uint8_t*>(&bits));
      ends |= bits << i;
    }
    if (ends != 0) {
      const uint64_t first = ends & (~ends + 1);
      commas = (commas & (first - 1)) | first;
    }
    // Eight at a time whether or not there are as many: a loop that ends at the last would be mispredicted in every block.
    const int found = std::popcount(commas);
    for (int from = 0; from < found; from += 8)
      for (int i = 0; i < 8; ++i) {
        places[count + from + i] = static_cast<uint32_t>(at) + static_cast<uint32_t>(std::countr_zero(commas));
        commas &= commas - 1;
      }
    count += found;
    if (ends != 0) break;
  }
  return std::min(count, most);
}

// One number after the other: what the rest of a text needs.
int64_t read_one_by_one(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept {
  const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
  int64_t done = 0;
  while (done < count && end - p >= 32) {
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
    values[done++] = static_cast<double>(digits_of(digit, negative, point, length)) / scale_of(places, negative);
    p += length;
    *stop = p++;
  }
  return done;
}

// The commas first: then no number waits for the length of the one before it.
int64_t read(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept {
  const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
  uint32_t commas[kTogether + 72];
  double scale[kTogether];
  int64_t all = 0;
  while (all < count) {
    const int64_t most = std::min(count - all, kTogether);
    const int64_t found = find_commas(p, end, most, 32, commas);
    int64_t done = 0;
    uint32_t start = 0;
    for (; done < found; ++done) {
      const char* text = p + start;
      const uint32_t length = commas[done] - start;
      const uint32_t negative = *text == '-';
      const __m128i digit = _mm_sub_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(text)), zero);
      if (length >= 16) break;
      const uint32_t beyond = 1u << length;
      const auto digits = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(digit, nine), digit)));
      const uint32_t other = ~(digits | negative) & (beyond - 1);  // the point, or nothing
      const auto point = static_cast<uint32_t>(std::countr_zero(other | beyond));
      const uint32_t places = other != 0 ? length - point - 1 : 0;
      const bool good = (other & (other - 1)) == 0 && (other == 0 || (text[point] == '.' && places != 0)) && point != negative && point <= kWhole + negative;
      if (!good) break;
      scale[done] = scale_of(places, negative);
      values[done] = static_cast<double>(digits_of(digit, negative, point, length));
      start = commas[done] + 1;
    }
    // Only the last number of all may be the last of its line.
    if (done > 0 && p[commas[done - 1]] != ',') {
      const char after = p[commas[done - 1]];
      if (all + done < count || (after != '\n' && after != '\r')) --done;
    }
    for (int64_t i = 0; i < done; ++i) values[i] /= scale[i];
    if (done > 0) *stop = p + commas[done - 1];
    all += done;
    if (done < most) {
      if (done < found) return all;
      if (done > 0) p = *stop + 1;
      return all + read_one_by_one(p, end, count - all, values + done, stop);
    }
    values += done;
    p = *stop + 1;
  }
  return all;
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
