// Tensors of codes: to and from floats, functions, sums, windows.
#include <algorithm>
#include <cmath>
#include <cstring>

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

CodeTable recoding(const Codes& from, const Codes& to) {
  CodeTable codes{}, table{};
  std::array<float, 256> values{};
  for (size_t i = 0; i < 256; ++i) codes[i] = static_cast<uint8_t>(i);
  dequantize_codes(codes.data(), values.data(), 256, from);
  quantize_codes(values.data(), table.data(), 256, to, 0);
  return table;
}

void map_codes(const uint8_t* in, uint8_t* out, int64_t count, const CodeTable& table) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(count, kMinWork, [&](int64_t begin, int64_t end) { target.map(in + begin, 0, out + begin, 0, 1, end - begin, table.data()); });
}

void map_code_rows(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const CodeTable* table) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    target.map(in + begin * in_pitch, in_pitch, out + begin * out_pitch, out_pitch, end - begin, columns, table != nullptr ? table->data() : nullptr);
  });
}

namespace {

// Channels are repeated until there are so many, lest rows are short.
constexpr int64_t kScaleColumns = 256;
int64_t repeated(int64_t channels) { return std::max<int64_t>(1, kScaleColumns / std::max<int64_t>(1, channels)); }
size_t scale_floats(int64_t channels) { return static_cast<size_t>(repeated(channels) * channels) + kSlack / sizeof(float); }

}  // namespace

size_t scale_codes_scratch(int64_t channels) noexcept { return 2 * scale_floats(channels) * sizeof(float); }

void scale_codes(const uint8_t* in, const Codes& q, const float* factor, const float* shift, uint8_t* out, const Codes& to, int64_t pixels, int64_t channels,
                 void* scratch) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  auto* by = static_cast<float*>(scratch);
  float* plus = by + scale_floats(channels);
  const int64_t times = repeated(channels), columns = times * channels;
  for (int64_t i = 0; i < columns; ++i) {
    const int64_t c = i % channels;
    by[i] = q.scale * (factor != nullptr ? factor[c] : 1.0f) / to.scale;
    plus[i] = by[i] * lowest(q) + (shift != nullptr ? shift[c] / to.scale : 0.0f);
  }
  Int8Finish finish = int8_finish({.out = to});
  finish.inverse = 1;
  const int64_t rows = pixels / times;
  parallel_for(rows, grain_for(columns), [&](int64_t begin, int64_t end) {
    target.scale(in + begin * columns, out + begin * columns, end - begin, columns, by, plus, finish);
  });
  target.scale(in + rows * columns, out + rows * columns, 1, pixels % times * channels, by, plus, finish);
}

void norm_codes(const uint8_t* in, const Codes& q, uint8_t* out, const Codes& to, uint8_t nan, int64_t batch, int64_t channels, int64_t inner, const float* gamma,
                const float* beta, float epsilon) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  parallel_for(batch * channels, grain_for(inner), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const uint8_t* from = in + plane * inner;
      int64_t sums[2] = {0, 0};
      target.moments(from, inner, sums);
      const auto count = static_cast<double>(inner), scale = static_cast<double>(q.scale);
      const double mean = static_cast<double>(sums[0]) / count, variance = std::max(0.0, static_cast<double>(sums[1]) / count - mean * mean);
      const double spread = 1 / std::sqrt(variance * scale * scale + static_cast<double>(epsilon));
      const int64_t c = plane % channels;
      const double by = scale * spread * (gamma != nullptr ? static_cast<double>(gamma[c]) : 1.0), plus = beta != nullptr ? static_cast<double>(beta[c]) : 0.0;
      // Of a plane everything is a function of the code.
      float values[256];
      CodeTable table{};
      for (int code = 0; code < 256; ++code) values[code] = static_cast<float>((code - mean) * by + plus);
      target.quantize(values, table.data(), 256, to.scale, to.zero, nan);
      target.map(from, 0, out + plane * inner, 0, 1, inner, table.data());
    }
  });
}

void pick_code_pixels(const uint8_t* in, uint8_t* out, int64_t batch, int64_t h, int64_t w, int64_t channels, std::span<const int32_t> ys, std::span<const int32_t> xs) noexcept {
  const auto oh = static_cast<int64_t>(ys.size()), ow = static_cast<int64_t>(xs.size());
  parallel_for(batch * oh, grain_for(ow * channels / 8), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const uint8_t* from = in + (line / oh * h + ys[static_cast<size_t>(line % oh)]) * w * channels;
      uint8_t* to = out + line * ow * channels;
      // The line before may be the same one.
      if (line > begin && line % oh > 0 && ys[static_cast<size_t>(line % oh)] == ys[static_cast<size_t>(line % oh - 1)]) {
        std::memcpy(to, to - ow * channels, static_cast<size_t>(ow * channels));
        continue;
      }
      for (int64_t x = 0; x < ow; ++x) std::memcpy(to + x * channels, from + xs[static_cast<size_t>(x)] * channels, static_cast<size_t>(channels));
    }
  });
}

void mean_of_codes(const uint8_t* in, const Codes& q, float* out, int64_t batch, int64_t pixels, int64_t channels) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  constexpr int64_t kPart = 256;
  const int64_t parts = (channels + kPart - 1) / kPart;
  parallel_for(batch * parts, grain_for(pixels * kPart / 32), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c0 = item % parts * kPart, image = item / parts;
      Int8Windows t;
      t.in = in + image * pixels * channels + c0;
      t.columns = pixels, t.column_step = channels, t.count = 1, t.channels = std::min(kPart, channels - c0);
      t.out_float = out + image * channels + c0;
      target.mean(t, static_cast<int32_t>(pixels) * q.zero, q.scale / static_cast<float>(pixels), {});
    }
  });
}

namespace {

// The taps of a window along one axis that are inside.
struct Taps {
  int64_t first, count;
};
Taps taps_inside(int64_t start, int64_t kernel, int64_t dilation, int64_t from, int64_t to) {
  const int64_t first = start >= from ? 0 : (from - start + dilation - 1) / dilation;
  return {first, std::max<int64_t>(0, std::min(kernel, (to - start + dilation - 1) / dilation) - first)};
}

}  // namespace

void pool_codes_nhwc(Pool op, const PoolShape& s, const uint8_t* in, const Codes& qi, uint8_t* out, const Codes& qo) noexcept {
  const Int8CodesTarget& target = int8_codes_target();
  const int64_t h = s.in[0], w = s.in[1], oh = s.out[0], ow = s.out[1], c = s.channels, lines = s.batch * oh, reach = (s.kernel[1] - 1) * s.dilation[1];
  // A mean's divisor.
  const auto counted = [&](size_t a, int64_t start) {
    const int64_t from = s.count_padding ? -s.pad_before[a] : 0, to = s.in[a] + (s.count_padding ? s.pad_after[a] : 0);
    return taps_inside(start, s.kernel[a], s.dilation[a], from, to).count;
  };
  const Int8Finish finish = int8_finish({.out = qo});
  // Few lines are shared by their channels.
  constexpr int64_t kPart = 256;
  const int64_t part = lines < 8 ? kPart : c, parts = (c + part - 1) / part;
  parallel_for(lines * parts, grain_for(ow * part * s.kernel[0] * s.kernel[1] / 32), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t line = item / parts, c0 = item % parts * part, image = line / oh, top = line % oh * s.stride[0] - s.pad_before[0];
      const Taps rows = taps_inside(top, s.kernel[0], s.dilation[0], 0, h);
      const uint8_t* row = in + (image * h + top + rows.first * s.dilation[0]) * w * c + c0;
      Int8Windows t;
      t.rows = rows.count, t.row_step = s.dilation[0] * w * c, t.column_step = s.dilation[1] * c, t.step = s.stride[1] * c;
      t.channels = std::min(part, c - c0), t.pitch = c;
      for (int64_t x = 0; x < ow; x += t.count) {
        const int64_t left = x * s.stride[1] - s.pad_before[1];
        const Taps columns = taps_inside(left, s.kernel[1], s.dilation[1], 0, w);
        t.columns = columns.count;
        // With all that follow whose columns are all inside.
        t.count = t.columns == s.kernel[1] ? std::min(ow - x, (w - 1 - left - reach) / s.stride[1] + 1) : 1;
        t.in = row + (left + columns.first * s.dilation[1]) * c;
        t.out = out + (line * ow + x) * c + c0;
        if (op == Pool::kMax) {
          target.most(t);
        } else {
          const int64_t divisor = std::max<int64_t>(1, counted(0, top) * counted(1, left));
          target.mean(t, static_cast<int32_t>(t.rows * t.columns) * qi.zero, qi.scale / static_cast<float>(divisor), finish);
        }
      }
    }
  });
}

}  // namespace mlt
