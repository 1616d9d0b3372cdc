#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/transpose_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "lib/kernels/transpose_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;

// Four by four in 128-bit vectors, the edges one by one.
void tile(const uint32_t* in, int64_t in_row, uint32_t* out, int64_t out_row, int64_t rows, int64_t columns) noexcept {
  const hn::Full128<uint32_t> d;
  const hn::Full128<uint64_t> d64;
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const uint32_t* p = in + r * in_row;
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4) {
      const auto a = hn::LoadU(d, p + c), b = hn::LoadU(d, p + in_row + c);
      const auto e = hn::LoadU(d, p + 2 * in_row + c), f = hn::LoadU(d, p + 3 * in_row + c);
      const auto ab0 = hn::BitCast(d64, hn::InterleaveLower(d, a, b)), ab1 = hn::BitCast(d64, hn::InterleaveUpper(d, a, b));
      const auto ef0 = hn::BitCast(d64, hn::InterleaveLower(d, e, f)), ef1 = hn::BitCast(d64, hn::InterleaveUpper(d, e, f));
      uint32_t* o = out + c * out_row + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, ab0, ef0)), d, o);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, ab0, ef0)), d, o + out_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, ab1, ef1)), d, o + 2 * out_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, ab1, ef1)), d, o + 3 * out_row);
    }
    for (; c < columns; ++c)
      for (int64_t q = 0; q < 4; ++q) out[c * out_row + r + q] = p[q * in_row + c];
  }
  int64_t done = 0;
  if (rows == 3 && out_row == 3) {  // pictures of three colours
    for (; done + 4 <= columns; done += 4)
      hn::StoreInterleaved3(hn::LoadU(d, in + done), hn::LoadU(d, in + in_row + done), hn::LoadU(d, in + 2 * in_row + done), d, out + done * 3);
  }
  for (; r < rows; ++r)
    for (int64_t c = done; c < columns; ++c) out[c * out_row + r] = in[r * in_row + c];
}

// Sixteen by sixteen bytes: each round puts the halves of the rows together like cards, and four rounds exchange the
// four bits of a row's number for those of a column's.
void tile_bytes(const uint8_t* in, int64_t in_row, uint8_t* out, int64_t out_row, int64_t rows, int64_t columns) noexcept {
  const hn::Full128<uint8_t> d;
  using V = hn::Vec<decltype(d)>;
  int64_t r = 0;
  for (; r + 16 <= rows; r += 16) {
    const uint8_t* p = in + r * in_row;
    int64_t c = 0;
    for (; c + 16 <= columns; c += 16) {
      V a[16], b[16];
      HWY_UNROLL(16) for (int i = 0; i < 16; ++i) a[i] = hn::LoadU(d, p + i * in_row + c);
      const auto round = [&](const V* from, V* to) HWY_ATTR {
        HWY_UNROLL(8) for (int i = 0; i < 8; ++i) {
          to[2 * i] = hn::InterleaveLower(d, from[i], from[i + 8]);
          to[2 * i + 1] = hn::InterleaveUpper(d, from[i], from[i + 8]);
        }
      };
      round(a, b);
      round(b, a);
      round(a, b);
      round(b, a);
      uint8_t* o = out + c * out_row + r;
      HWY_UNROLL(16) for (int i = 0; i < 16; ++i) hn::StoreU(a[i], d, o + i * out_row);
    }
    for (; c < columns; ++c)
      for (int64_t q = 0; q < 16; ++q) out[c * out_row + r + q] = p[q * in_row + c];
  }
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t q = r; q < rows; ++q) out[c * out_row + q] = in[q * in_row + c];
}

void stream(const std::byte* in, std::byte* out, size_t bytes) noexcept {
  if (bytes == 0) return hwy::FlushStream();
  const hn::ScalableTag<uint8_t> d;
  constexpr size_t kLine = 64;
  const size_t head = std::min(bytes, (kLine - reinterpret_cast<uintptr_t>(out) % kLine) % kLine);
  std::memcpy(out, in, head);
  const auto* from = reinterpret_cast<const uint8_t*>(in) + head;
  auto* to = reinterpret_cast<uint8_t*>(out) + head;
  for (bytes -= head; bytes >= kLine; bytes -= kLine, from += kLine, to += kLine) {
    __builtin_prefetch(from + 2048, 0, 3);
    for (size_t i = 0; i < kLine; i += hn::Lanes(d)) hn::Stream(hn::LoadU(d, from + i), d, to + i);
  }
  std::memcpy(to, from, bytes);
}
TransposeTiles simd_tiles() { return {tile, tile_bytes}; }
StreamBytes simd_stream() { return stream; }
#else
TransposeTiles simd_tiles() { return {}; }
StreamBytes simd_stream() { return nullptr; }
#endif
}  // namespace
TransposeTiles transpose_target() { return simd_tiles(); }
StreamBytes stream_target() { return simd_stream(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(transpose_target);
HWY_EXPORT(stream_target);
TransposeTiles transpose_tiles_simd() { return HWY_DYNAMIC_DISPATCH(transpose_target)(); }
StreamBytes stream_bytes_simd() { return HWY_DYNAMIC_DISPATCH(stream_target)(); }
}  // namespace mlt
#endif
