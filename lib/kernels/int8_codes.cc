// Tensors of codes: to and from floats, functions, sums, windows.
#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/int8.h"
#include "lib/kernels/int8_target.h"

namespace mlt {

void quantize_codes(const float* in, uint8_t* out, int64_t count, const Codes& q, uint8_t nan) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.quantize(in + begin, out + begin, end - begin, q.scale, q.zero, nan); });
}

void dequantize_codes(const uint8_t* in, float* out, int64_t count, const Codes& q) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.dequantize(in + begin, out + begin, end - begin, q.scale, q.zero); });
}

void quantize_pixels(const float* in, uint8_t* out, int64_t count, const Codes& q, uint8_t nan) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(count, grain_for(3), [&](int64_t begin, int64_t end) {
    constexpr int64_t kPart = 512;
    uint8_t planes[3 * kPart];
    for (int64_t i = begin; i < end; i += kPart) {
      const int64_t n = std::min(kPart, end - i);
      for (int64_t c = 0; c < 3; ++c) target.quantize(in + c * count + i, planes + c * kPart, n, q.scale, q.zero, nan);
      target.interleave3(planes, kPart, n, out + 3 * i);
    }
  });
}

void add_codes(const uint8_t* a, const Codes& qa, const uint8_t* b, const Codes& qb, const Activation& f, uint8_t* out, const Codes& qo,
               int64_t count) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  const Int8Finish finish = int8_finish({.residual = qb, .f = f, .out = qo});
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) {
    target.add(a + begin, qa.scale, qa.scale * lowest(qa), b + begin, finish, out + begin, end - begin);
  });
}

void map_codes(const uint8_t* in, uint8_t* out, int64_t count, const CodeTable& table) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.map(in + begin, 0, out + begin, 0, 1, end - begin, table.data()); });
}

void map_code_rows(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const CodeTable* table) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    const uint8_t* from = in + begin * in_pitch;
    uint8_t* to = out + begin * out_pitch;
    if (table != nullptr) return target.map(from, in_pitch, to, out_pitch, end - begin, columns, table->data());
    for (int64_t r = begin; r < end; ++r, from += in_pitch, to += out_pitch) std::memcpy(to, from, static_cast<size_t>(columns));
  });
}

void pool_codes_nhwc(Pool op, const PoolShape& s, const uint8_t* in, const Codes& qi, uint8_t* out, const Codes& qo) noexcept {
  const int64_t h = s.in[0], w = s.in[1], oh = s.out[0], ow = s.out[1], c = s.channels;
  const int64_t pad_h = s.count_padding ? s.pad_after[0] : 0, pad_w = s.count_padding ? s.pad_after[1] : 0;
  const int64_t low_h = s.count_padding ? -s.pad_before[0] : 0, low_w = s.count_padding ? -s.pad_before[1] : 0;
  const Int8Finish finish = int8_finish({.out = qo});
  constexpr int64_t kPart = 256;  // channels whose sums are kept at a time
  const auto inside = [](int64_t start, int64_t taps, int64_t dilation, int64_t from, int64_t to) {
    int64_t n = 0;
    for (int64_t k = 0; k < taps; ++k) n += start + k * dilation >= from && start + k * dilation < to;
    return n;
  };
  if (op == Pool::kMax) {
    const Int8CodesTarget& target = int8_codes_target();
    // The first and the last tap that are inside, of windows that begin at `start`.
    const auto taps = [](int64_t start, int64_t kernel, int64_t dilation, int64_t size) {
      const int64_t first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
      return std::pair(first, std::min(kernel, (size - start + dilation - 1) / dilation));
    };
    parallel_for(s.batch * oh, grain_for(ow * c * s.kernel[0] * s.kernel[1] / 32), [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        const int64_t image = line / oh, top = line % oh * s.stride[0] - s.pad_before[0];
        const auto [ky0, ky1] = taps(top, s.kernel[0], s.dilation[0], h);
        Int8Windows t;
        t.rows = ky1 - ky0, t.row_step = s.dilation[0] * w * c, t.column_step = s.dilation[1] * c, t.step = s.stride[1] * c, t.channels = c;
        const uint8_t* row = in + (image * h + top + ky0 * s.dilation[0]) * w * c;
        for (int64_t x = 0; x < ow; x += t.count) {
          const int64_t left = x * s.stride[1] - s.pad_before[1], reach = (s.kernel[1] - 1) * s.dilation[1];
          const auto [kx0, kx1] = taps(left, s.kernel[1], s.dilation[1], w);
          t.columns = kx1 - kx0;
          // All that follow with every column inside.
          t.count = t.columns == s.kernel[1] ? std::min(ow - x, (w - 1 - left - reach) / s.stride[1] + 1) : 1;
          t.in = row + (left + kx0 * s.dilation[1]) * c;
          t.out = out + (line * ow + x) * c;
          target.most(t);
        }
      }
    });
    return;
  }
  const int64_t parts = (c + kPart - 1) / kPart;
  parallel_for(s.batch * oh * parts, grain_for(ow * std::min(c, kPart) * s.kernel[0] * s.kernel[1] / 8), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t line = item / parts, c0 = item % parts * kPart, n = std::min(kPart, c - c0);
      const int64_t image = line / oh, y = line % oh, top = y * s.stride[0] - s.pad_before[0];
      for (int64_t x = 0; x < ow; ++x) {
        const int64_t left = x * s.stride[1] - s.pad_before[1];
        uint8_t* to = out + (line * ow + x) * c + c0;
        int32_t sums[kPart];
        std::fill_n(sums, n, 0);
        int64_t taps = 0;
        for (int64_t ky = 0; ky < s.kernel[0]; ++ky) {
          const int64_t iy = top + ky * s.dilation[0];
          if (iy < 0 || iy >= h) continue;
          for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
            const int64_t ix = left + kx * s.dilation[1];
            if (ix < 0 || ix >= w) continue;
            const uint8_t* from = in + ((image * h + iy) * w + ix) * c + c0;
            ++taps;
            for (int64_t i = 0; i < n; ++i) sums[i] += from[i];
          }
        }
        const int64_t divisor = std::max<int64_t>(1, inside(top, s.kernel[0], s.dilation[0], low_h, h + pad_h) * inside(left, s.kernel[1], s.dilation[1], low_w, w + pad_w));
        const float scale = qi.scale / static_cast<float>(divisor);
        const auto zero = static_cast<int32_t>(taps) * qi.zero;
        for (int64_t i = 0; i < n; ++i) to[i] = int8_code(finish, static_cast<float>(sums[i] - zero) * scale);
      }
    }
  });
}

}  // namespace mlt
