#include "lib/container/crc32.h"

#include <zlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <vector>

#include "lib/base/threads.h"

namespace mlt {

namespace {

// `crc` is of what came before.
uLong crc32_plain(uLong crc, const std::byte* p, size_t size) { return crc32_z(crc, reinterpret_cast<const Bytef*>(p), size); }

#if defined(__x86_64__)
// Four times 16 bytes are folded onto the next 64 by carry-less multiplication until 16 are left that have the same
// remainder (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", 2009; the constants
// are x^(512+-32) and x^(128+-32) modulo the polynomial, reflected). Debian's zlib goes a byte and a table at a time.
__attribute__((target("pclmul,sse4.1"))) uLong crc32_folded(const std::byte* p, size_t size) {
  const __m128i by_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by_16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  auto load = [](const std::byte* at) __attribute__((target("pclmul,sse4.1"))) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); };
  auto fold = [](__m128i x, __m128i by, __m128i onto) __attribute__((target("pclmul,sse4.1"))) {
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, by, 0x00), _mm_clmulepi64_si128(x, by, 0x11)), onto);
  };
  __m128i x[4];
  for (int i = 0; i < 4; ++i) x[i] = load(p + 16 * i);
  x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128(-1));
  size_t at = 64;
  for (; size - at >= 64; at += 64)
    for (int i = 0; i < 4; ++i) x[i] = fold(x[i], by_64, load(p + at + 16 * static_cast<size_t>(i)));
  for (int i = 1; i < 4; ++i) x[i] = fold(x[i - 1], by_16, x[i]);
  std::byte rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), x[3]);
  return crc32_plain(crc32_plain(0xffffffff, rest, sizeof rest), p + at, size - at);
}
#endif

uLong crc32_of(const std::byte* p, size_t size) {
#if defined(__x86_64__)
  static const bool folds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  if (folds && size >= 128) return crc32_folded(p, size);
#endif
  return crc32_plain(0, p, size);
}

}  // namespace

uint32_t crc32(ByteSpan bytes) {
  constexpr size_t kPart = size_t{1} << 22;
  auto part = [&](size_t i) {
    ByteSpan some = bytes.subspan(i * kPart, std::min(kPart, bytes.size() - i * kPart));
    return crc32_of(some.data(), some.size());
  };
  if (bytes.size() <= kPart) return static_cast<uint32_t>(part(0));
  std::vector<uLong> parts((bytes.size() + kPart - 1) / kPart);
  parallel_for(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) parts[static_cast<size_t>(i)] = part(static_cast<size_t>(i));
  });
  uLong all = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) all = crc32_combine(all, parts[i], static_cast<z_off_t>(std::min(kPart, bytes.size() - i * kPart)));
  return static_cast<uint32_t>(all);
}

}  // namespace mlt
