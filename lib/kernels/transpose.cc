#include "lib/kernels/transpose.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/transpose_target.h"

namespace mlt {

namespace {

template <typename T>
void tile_reference(const T* in, int64_t in_row, T* out, int64_t out_row, int64_t rows, int64_t columns) noexcept {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) out[c * out_row + r] = in[r * in_row + c];
}

template <typename T>
TransposeTile<T> transpose_tile() {
  if constexpr (sizeof(T) == 4) {
    if (!use_reference()) return transpose_tiles_simd().words;
  } else if constexpr (sizeof(T) == 1) {
    if (!use_reference()) return transpose_tiles_simd().bytes;
  }
  return tile_reference<T>;
}

// Axes of size 1 dropped, neighbours merged; the outermost first.
StridedCopy merged(const StridedCopy& p) {
  StridedCopy m;
  m.stream = p.stream;
  for (int i = 0; i < p.rank; ++i) {
    const size_t a = static_cast<size_t>(i);
    if (p.shape[a] == 1) continue;
    const size_t back = static_cast<size_t>(m.rank - 1);
    if (m.rank > 0 && m.in_stride[back] == p.in_stride[a] * p.shape[a] && m.out_stride[back] == p.out_stride[a] * p.shape[a]) {
      m.shape[back] *= p.shape[a];
      m.in_stride[back] = p.in_stride[a];
      m.out_stride[back] = p.out_stride[a];
    } else {
      const size_t at = static_cast<size_t>(m.rank++);
      m.shape[at] = p.shape[a];
      m.in_stride[at] = p.in_stride[a];
      m.out_stride[at] = p.out_stride[a];
    }
  }
  return m;
}

// Takes axis `index` out of p.
struct Axis {
  int64_t size = 1, in = 0, out = 0;
};
Axis take(StridedCopy& p, int index) {
  const size_t a = static_cast<size_t>(index);
  const Axis axis{p.shape[a], p.in_stride[a], p.out_stride[a]};
  for (size_t i = a; i + 1 < static_cast<size_t>(p.rank); ++i) {
    p.shape[i] = p.shape[i + 1];
    p.in_stride[i] = p.in_stride[i + 1];
    p.out_stride[i] = p.out_stride[i + 1];
  }
  --p.rank;
  return axis;
}

struct Offsets {
  int64_t in = 0, out = 0;
};
Offsets offsets(const StridedCopy& p, int64_t index) {
  Offsets o;
  for (int i = p.rank - 1; i >= 0; --i) {
    const size_t a = static_cast<size_t>(i);
    const int64_t at = index % p.shape[a];
    index /= p.shape[a];
    o.in += at * p.in_stride[a];
    o.out += at * p.out_stride[a];
  }
  return o;
}

template <typename T>
void copy_line(const T* in, int64_t in_step, T* out, int64_t out_step, int64_t n) {
  if (out_step == 1 && in_step == 1) {
    std::memcpy(out, in, static_cast<size_t>(n) * sizeof(T));
  } else if (out_step == 1 && in_step == 0) {
    std::fill_n(out, n, *in);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i * out_step] = in[i * in_step];
  }
}

template <typename T>
void copy_as(const StridedCopy& original, const T* in, T* out) noexcept {
  StridedCopy p = merged(original);
  for (int i = 0; i < p.rank; ++i)
    if (p.shape[static_cast<size_t>(i)] <= 0) return;
  if (p.rank == 0) {
    *out = *in;
    return;
  }
  int64_t total = 1;
  for (int i = 0; i < p.rank; ++i) total *= p.shape[static_cast<size_t>(i)];
  // The axes along which the output and the input run.
  int write = p.rank - 1, read = p.rank - 1;
  for (int i = 0; i < p.rank; ++i) {
    if (std::abs(p.out_stride[static_cast<size_t>(i)]) < std::abs(p.out_stride[static_cast<size_t>(write)])) write = i;
    if (p.in_stride[static_cast<size_t>(i)] == 1) read = i;
  }
  const bool tiles = read != write && p.in_stride[static_cast<size_t>(read)] == 1 &&
                     p.out_stride[static_cast<size_t>(write)] == 1 && p.in_stride[static_cast<size_t>(write)] != 0 &&
                     p.shape[static_cast<size_t>(read)] > 1;
  if (!tiles) {
    const Axis line = take(p, write);
    // Long lines are cut so that one alone still occupies every thread.
    const int64_t part = std::min<int64_t>(line.size, kMinWork), parts = (line.size + part - 1) / part;
    constexpr int64_t kLong = 1024;  // bytes
    const StreamBytes stream =
        p.stream && line.in == 1 && line.out == 1 && part * static_cast<int64_t>(sizeof(T)) >= kLong && !use_reference() ? stream_bytes_simd() : nullptr;
    parallel_for(total / line.size * parts, grain_for(part), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Offsets o = offsets(p, i / parts);
        const int64_t from = i % parts * part;
        if (stream != nullptr) {
          stream(reinterpret_cast<const std::byte*>(in + o.in + from), reinterpret_cast<std::byte*>(out + o.out + from),
                 static_cast<size_t>(std::min(part, line.size - from)) * sizeof(T));
          continue;
        }
        copy_line(in + o.in + from * line.in, line.in, out + o.out + from * line.out, line.out,
                  std::min(part, line.size - from));
      }
      if (stream != nullptr) stream(nullptr, nullptr, 0);
    });
    return;
  }
  // A transposition of the two: squares, so that both sides stay in the cache.
  const Axis columns = take(p, read);
  const Axis rows = take(p, read < write ? write - 1 : write);
  // A few long lines that interleave make wide tiles: finding a tile's place costs as much as a small tile itself.
  constexpr int64_t kSide = sizeof(T) == 1 ? 64 : 32, kLong = 1024, kFew = 8;
  const int64_t row_side = columns.size <= kFew ? kLong : kSide, column_side = rows.size <= kFew ? kLong : kSide;
  const int64_t row_parts = (rows.size + row_side - 1) / row_side, column_parts = (columns.size + column_side - 1) / column_side;
  const TransposeTile<T> tile = transpose_tile<T>();
  const int64_t outer = total / rows.size / columns.size;
  parallel_for(outer * row_parts * column_parts, grain_for(std::min(rows.size, row_side) * std::min(columns.size, column_side)),
               [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Offsets o = offsets(p, i / (row_parts * column_parts));
      const int64_t r = i % row_parts * row_side, c = i / row_parts % column_parts * column_side;
      const T* source = in + o.in + r * rows.in + c;
      T* to = out + o.out + c * columns.out + r;
      const int64_t nr = std::min(row_side, rows.size - r), nc = std::min(column_side, columns.size - c);
      tile(source, rows.in, to, columns.out, nr, nc);
    }
  });
}

template <typename F>
void by_size(int element, const F& f) {
  switch (element) {
    case 1: return f(uint8_t{});
    case 2: return f(uint16_t{});
    case 4: return f(uint32_t{});
    default: return f(uint64_t{});
  }
}

}  // namespace

std::array<int64_t, kMaxRank> contiguous_strides(std::span<const int64_t> shape) noexcept {
  std::array<int64_t, kMaxRank> strides{};
  int64_t stride = 1;
  for (size_t i = std::min<size_t>(shape.size(), kMaxRank); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

void strided_copy(const StridedCopy& p, const void* in, void* out, int element) noexcept {
  by_size(element, [&](auto type) {
    using T = decltype(type);
    copy_as(p, static_cast<const T*>(in), static_cast<T*>(out));
  });
}

void strided_fill(const StridedCopy& p, const void* value, void* out, int element) noexcept {
  StridedCopy fill = p;
  fill.in_stride = {};
  strided_copy(fill, value, out, element);
}

void transpose(const void* in, void* out, std::span<const int64_t> shape, std::span<const int64_t> perm,
               int element) noexcept {
  const auto strides = contiguous_strides(shape);
  StridedCopy p;
  p.rank = static_cast<int>(std::min<size_t>(shape.size(), kMaxRank));
  int64_t stride = 1;
  for (size_t i = static_cast<size_t>(p.rank); i-- > 0;) {
    const size_t from = static_cast<size_t>(perm[i]);
    p.shape[i] = shape[from];
    p.in_stride[i] = strides[from];
    p.out_stride[i] = stride;
    stride *= p.shape[i];
  }
  strided_copy(p, in, out, element);
}

void gather_rows(const void* in, const int32_t* index, void* out, int64_t outer, int64_t axis, int64_t inner,
                 int64_t count, int element) noexcept {
  const auto bytes = static_cast<size_t>(inner) * static_cast<size_t>(element);
  const char* source = static_cast<const char*>(in);
  char* to = static_cast<char*>(out);
  parallel_for(outer * count, grain_for(inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin, o = begin / count, r = begin % count; i < end; ++i, ++r) {
      if (r == count) ++o, r = 0;
      int64_t at = index[r];
      if (at < 0) at += axis;
      char* place = to + static_cast<size_t>(i) * bytes;
      if (at < 0 || at >= axis) {
        std::memset(place, 0, bytes);
      } else if (bytes == 4) {
        std::memcpy(place, source + static_cast<size_t>(o * axis + at) * 4, 4);
      } else {
        std::memcpy(place, source + static_cast<size_t>(o * axis + at) * bytes, bytes);
      }
    }
  });
}

namespace {

template <typename T>
void gather_elements(const T* in, const int32_t* index, T* out, int64_t outer, int64_t axis, int64_t inner, int64_t count) {
  const auto element = [axis, inner](const T* from, int64_t at) {
    if (at < 0) at += axis;
    return at < 0 || at >= axis ? T() : from[at * inner];
  };
  parallel_for(outer * count, grain_for(4 * inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end;) {
      const T* from = in + row / count * axis * inner;
      const int64_t stop = std::min(end, (row / count + 1) * count);
      if (inner == 1) {
        for (; row < stop; ++row) out[row] = element(from, index[row]);
        continue;
      }
      for (; row < stop; ++row)
        for (int64_t i = row * inner; i < (row + 1) * inner; ++i) out[i] = element(from + (i - row * inner), index[i]);
    }
  });
}

}  // namespace

void gather_along(const void* in, const int32_t* index, void* out, int64_t outer, int64_t axis, int64_t inner,
                  int64_t count, int element) noexcept {
  const auto go = [&]<typename T>(T) { gather_elements(static_cast<const T*>(in), index, static_cast<T*>(out), outer, axis, inner, count); };
  switch (element) {
    case 1: return go(uint8_t());
    case 2: return go(uint16_t());
    case 4: return go(uint32_t());
    default: return go(uint64_t());
  }
}

}  // namespace mlt
