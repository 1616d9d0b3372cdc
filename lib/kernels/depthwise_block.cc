#include "lib/kernels/depthwise_block.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "lib/kernels/ahead.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/depthwise_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {

const DepthwiseTarget* depthwise_simd();

namespace {

constexpr int64_t kColumnFloats = 8 * 1024;   // one vector of channels of a band, in the first cache
constexpr int64_t kBandFloats = 224 * 1024;   // all channels of a band, and its results, in the second
constexpr int64_t kSmallImage = 400;          // pixels; such are cut by channels
constexpr int64_t kManyRows = 12;
constexpr int64_t kMostRows = 4096;
constexpr int64_t kMostReach = 40;            // rows under one window, which are kept

void band_reference(const DepthwiseBand& b) noexcept {
  for (int64_t y = 0; y < b.count_y; ++y)
    for (int64_t x = 0; x < b.count_x; ++x) {
      float* out = b.out + y * b.row_pitch + x * b.pitch;
      for (int64_t c = 0; c < b.channels; ++c) {
        float sum = b.bias[c];
        for (int ky = 0; ky < b.kernel; ++ky)
          for (int kx = 0; kx < b.kernel; ++kx)
            sum += b.weights[(ky * b.kernel + kx) * b.width + c] * b.rows[y * b.stride + ky * b.row_step][b.offset + (x * b.stride + kx) * b.step + c];
        out[c] = sum;
      }
      unary(b.f, out, out, b.channels);
    }
}

void combine_reference(const PartSums& s) noexcept {
  for (int64_t i = 0; i < s.count; ++i) {
    float* out = s.out + i * s.pitch;
    for (int64_t c = 0; c < s.channels; ++c) {
      float sum = 0;
      for (int64_t p = 0; p < s.part_count; ++p) sum += s.parts[p * s.part_step + i * s.channels + c];
      sum += s.bias[c];
      out[c] = s.residual != nullptr ? sum + s.residual[i * s.channels + c] : sum;
    }
    unary(s.f, out, out, s.channels);
  }
}

void sum_reference(const float* in, int64_t pitch, int64_t count, int64_t channels, float* out) noexcept {
  for (int64_t c = 0; c < channels; ++c) {
    out[c] = in[c];
    for (int64_t i = 1; i < count; ++i) out[c] += in[i * pitch + c];
  }
}

void scale_reference(const float* in, int64_t width, int64_t rows, const float* scale, float* out) noexcept {
  for (int64_t i = 0; i < rows * width; ++i) out[i] = in[i] * scale[i / width];
}

constexpr DepthwiseTarget kReference{band_reference, combine_reference, sum_reference, scale_reference};

// A 1x1 convolution's weights as panels, of floats or, where each is read once per run, of float16.
struct Packed {
  AlignedBuffer data;
  bool half = false;
  // The panel that begins after `at` weights; `memory` is where float16 become floats.
  const float* panel(const GemmTarget& gemm, int64_t at, int64_t count, float* memory) const noexcept {
    if (!half) return data.data() + at;
    gemm.expand(data.data<uint16_t>() + at, memory, count);
    return memory;
  }
};

}  // namespace

const DepthwiseTarget& depthwise_target() noexcept { return use_reference() || depthwise_simd() == nullptr ? kReference : *depthwise_simd(); }

struct DepthwiseBlock::Impl {
  Shape shape;
  const GemmTarget* gemm = nullptr;
  const DepthwiseTarget* target = nullptr;
  int64_t h = 0, w = 0, oh = 0, ow = 0, kernel = 0, stride = 0, dilation = 1, top = 0, left = 0, middle = 0;
  int64_t threads = 1;
  int64_t parts = 1;                     // of the channels, each a sum of its own: does not depend on threads
  int64_t strips = 1;                    // of the rows
  int64_t band = 1, ring = 1, wide = 1;  // output rows of a band, input rows that it reads, pixels of those
  bool expand = false, project = false;
  Activation expand_f, f, project_f;
  Packed expand_weights, project_weights;
  AlignedBuffer weights, expand_bias, bias, project_bias, zeros;
  std::string name;

  Panels panels() const { return {middle, *gemm}; }
  int64_t width(const Panels& p, int64_t i) const { return p.width_in_vectors(i) * p.lanes; }
  int64_t part_begin(const Panels& p, int64_t part) const { return p.count * part / parts; }
  int64_t end_channel(const Panels& p, int64_t panel) const { return panel == p.count ? p.padded_columns() : p.first_column(panel); }
  int64_t widest_part(const Panels& p) const {
    int64_t most = 0;
    for (int64_t i = 0; i < parts; ++i) most = std::max(most, end_channel(p, part_begin(p, i + 1)) - end_channel(p, part_begin(p, i)));
    return most;
  }
  int64_t reach() const { return (kernel - 1) * dilation + 1; }
  bool one_band() const { return strips == 1 && band >= oh; }
  int64_t pixels() const { return oh * ow; }

  void choose();
  Status pack(const Layer* e, const Layer& d, const Layer* p);
  // Floats of one slot: padded input rows, results of the depthwise convolution, a panel of weights.
  int64_t ring_floats() const;
  int64_t result_floats() const;
  int64_t panel_floats() const;
  int64_t slot_floats() const { return static_cast<int64_t>(align_up(static_cast<size_t>(ring_floats() + result_floats() + panel_floats()) * sizeof(float)) / sizeof(float)) + 64; }
  // Shared by all: sums of parts of the channels, or of rows.
  int64_t sum_floats() const {
    return shape.mean ? shape.depthwise.batch * oh * middle : project && parts > 1 ? shape.depthwise.batch * parts * pixels() * shape.out_channels : 0;
  }

  struct Work {
    const float* in;
    float* out;
    int64_t pitch;
    const float* residual;
    float* sums;
    float* mean;
  };
  void take_mean(const Work& work, int64_t image, int64_t c0, int64_t c1) const noexcept;
  void run_item(const Work& work, float* memory, int64_t image, int64_t strip, int64_t part) const noexcept;
  void fill_row(const float* in, const Panels& middle_panels, int64_t panel, const float* panel_weights, const Ahead& ahead, int64_t index, float* row) const noexcept;
  void run_project(const Work& work, const float* results, int64_t lda, float* panel_memory, int64_t image, int64_t pixel, int64_t count, int64_t part) const noexcept;
};

void DepthwiseBlock::Impl::choose() {
  const Panels p = panels();
  const int64_t rows = std::max<int64_t>(1, oh);
  wide = std::max(left + w, (ow - 1) * stride + reach());
  const auto rows_read = [&](int64_t y) { return (y - 1) * stride + reach(); };
  const bool small = pixels() <= kSmallImage;
  if (project) {
    // The order of sums is part of the result.
    parts = std::max<int64_t>((middle + kProductDepth - 1) / kProductDepth, small && p.count >= 4 ? 2 : 1);
    // Where halves would be uneven the rows are cut instead, if they are not so few that those at the cut would count.
    if (parts == 2 && middle <= kProductDepth && rows >= kManyRows && 7 * widest_part(p) > 4 * p.padded_columns()) parts = 1;
  } else if (small || p.count >= 4 * threads) {
    parts = std::min(threads, p.count);
  }
  parts = std::min(parts, p.count);
  if (shape.depthwise.batch * parts < threads) strips = std::clamp<int64_t>((threads + parts * shape.depthwise.batch - 1) / (parts * shape.depthwise.batch), 1, std::max<int64_t>(1, rows / 4));
  const int64_t strip_rows = (rows + strips - 1) / strips, channels = widest_part(p);
  band = strip_rows;
  const auto fits = [&](int64_t y) {
    return rows_read(y) * wide * p.lanes <= kColumnFloats && (rows_read(y) * wide + (project ? y * ow : 0)) * channels <= kBandFloats;
  };
  const bool whole = rows_read(band) * wide * p.lanes <= kColumnFloats;  // then no row outlives its panel
  while (!whole && band > 2 && !fits(band)) --band;
  band = balanced_tile(strip_rows, band);
  ring = rows_read(band);
  name = std::string(expand ? "nhwc expand + depthwise" : "nhwc depthwise");
  name += project ? " + project " : shape.mean ? " + mean " : " ";
  name += gemm->name;
}

int64_t DepthwiseBlock::Impl::ring_floats() const {
  const Panels p = panels();
  const int64_t strip_rows = (oh + strips - 1) / strips;
  return ring * wide * (band >= strip_rows ? p.widest * p.lanes : widest_part(p));
}
int64_t DepthwiseBlock::Impl::result_floats() const { return project ? band * ow * widest_part(panels()) : 0; }
int64_t DepthwiseBlock::Impl::panel_floats() const {
  int64_t deepest = 0;
  if (expand_weights.half) deepest = shape.in_channels;
  if (project_weights.half) deepest = std::max(deepest, widest_part(panels()));
  return deepest * gemm->nv * gemm->lanes + 64;
}

Status DepthwiseBlock::Impl::pack(const Layer* e, const Layer& d, const Layer* p) {
  const Panels m = panels();
  const int64_t padded = m.padded_columns(), taps = kernel * kernel;
  const auto copy_bias = [](AlignedBuffer& to, const float* from, int64_t count, int64_t floats) -> Status {
    if (!to.reset(static_cast<size_t>(floats) * sizeof(float))) return resource_error("out of memory for a convolution's weights");
    for (int64_t i = 0; i < floats; ++i) to.data()[i] = from != nullptr && i < count ? from[i] : 0;
    return {};
  };
  MLT_TRY(copy_bias(bias, d.bias, middle, padded));
  MLT_TRY(copy_bias(zeros, nullptr, 0, wide * m.widest * m.lanes));
  MLT_TRY(prepare_form(weights, static_cast<size_t>(taps * padded) * sizeof(float), d.name, form_name("depthwise panels", {middle, taps, m.lanes}), [&] {
    // [panel][tap][channel of the panel]
    const float* from = d.weights();
    for (int64_t i = 0; i < m.count; ++i) {
      const int64_t n0 = m.first_column(i), n = width(m, i);
      float* to = weights.data() + n0 * taps;
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < n; ++c) to[t * n + c] = n0 + c < middle ? from[(n0 + c) * taps + t] : 0;
    }
    return Status();
  }));
  // Cut along k as the parts are.
  const auto products = [&](Packed& packed, const Layer& layer, int64_t n, int64_t k, std::string_view method) -> Status {
    const bool cut = method == "project panels";
    const int64_t columns = Panels(n, *gemm).padded_columns();
    packed.half = layer.half != nullptr && one_band() && shape.depthwise.batch == 1;
    const auto fill = [&](const auto* from, auto* to) {
      for (int64_t part = 0; part < (cut ? parts : 1); ++part) {
        const int64_t k0 = cut ? std::min(middle, end_channel(m, part_begin(m, part))) : 0, k1 = cut ? std::min(middle, end_channel(m, part_begin(m, part + 1))) : k;
        pack_columns(*gemm, from + k0, n, k1 - k0, k, 1, k1 - k0, to + columns * k0);
      }
      return Status();
    };
    const size_t size = packed.half ? sizeof(uint16_t) : sizeof(float);
    const std::string form = form_name(method, {n, k, cut ? parts : 1, static_cast<int64_t>(size), gemm->lanes});
    return prepare_form(packed.data, static_cast<size_t>(columns * k) * size, layer.name, form,
                        [&] { return packed.half ? fill(layer.half, packed.data.data<uint16_t>()) : fill(layer.weights(), packed.data.data()); });
  };
  if (e != nullptr) {
    MLT_TRY(copy_bias(expand_bias, e->bias, middle, padded));
    MLT_TRY(products(expand_weights, *e, middle, shape.in_channels, "expand panels"));
  }
  if (p != nullptr) {
    MLT_TRY(copy_bias(project_bias, p->bias, shape.out_channels, shape.out_channels));
    MLT_TRY(products(project_weights, *p, shape.out_channels, middle, "project panels"));
  }
  if (expand_weights.half || project_weights.half) name += " float16";
  return {};
}

// One panel of one input row of the depthwise convolution, with what pads it on both sides; the panel's `index`th.
void DepthwiseBlock::Impl::fill_row(const float* in, const Panels& p, int64_t panel, const float* panel_weights, const Ahead& ahead, int64_t index, float* row) const noexcept {
  const int64_t n0 = p.first_column(panel), n = width(p, panel);
  std::fill_n(row, left * n, 0.0f);
  std::fill_n(row + (left + w) * n, (wide - left - w) * n, 0.0f);
  row += left * n;
  if (!expand) {
    const int64_t real = std::min(n, middle - n0);
    if (real == middle && real == n) {
      std::memcpy(row, in, static_cast<size_t>(w * n) * sizeof(float));
      return;
    }
    for (int64_t x = 0; x < w; ++x, row += n) {
      std::memcpy(row, in + x * middle + n0, static_cast<size_t>(real) * sizeof(float));
      if (real < n) std::fill_n(row + real, n - real, 0.0f);
    }
    return;
  }
  const int64_t step = balanced_tile(w, gemm->mr);
  Tile t;
  t.k = t.lda = shape.in_channels;
  t.ldc = n;
  t.nv = static_cast<int>(p.width_in_vectors(panel));
  t.cols = n;
  t.b = panel_weights;
  t.bias_col = expand_bias.data() + n0;
  t.f = expand_f;
  t.ahead_lines = ahead.lines;
  for (int64_t x = 0, tile = index * ((w + step - 1) / step); x < w; x += step, ++tile) {
    t.ahead = ahead.share(tile);
    t.rows = static_cast<int>(std::min(step, w - x));
    t.a = in + x * shape.in_channels;
    t.c = row + x * n;
    gemm->direct(t);
  }
}

void DepthwiseBlock::Impl::run_project(const Work& work, const float* results, int64_t lda, float* panel_memory, int64_t image, int64_t pixel,
                                       int64_t count, int64_t part) const noexcept {
  const Panels m = panels(), p(shape.out_channels, *gemm);
  const int64_t k0 = std::min(middle, end_channel(m, part_begin(m, part))), k1 = std::min(middle, end_channel(m, part_begin(m, part + 1)));
  const int64_t step = balanced_tile(count, gemm->mr);
  Tile t;
  t.k = k1 - k0;
  t.lda = lda;
  for (int64_t i = 0; i < p.count; ++i) {
    const int64_t n0 = p.first_column(i), n = width(p, i);
    t.nv = static_cast<int>(p.width_in_vectors(i));
    t.cols = std::min(n, shape.out_channels - n0);
    t.b = project_weights.panel(*gemm, p.padded_columns() * k0 + n0 * t.k, n * t.k, panel_memory);
    float* out = work.out + (image * pixels() + pixel) * work.pitch;
    t.ldc = work.pitch;
    const float* residual = work.residual;
    if (parts > 1) {
      out = work.sums + ((image * parts + part) * pixels() + pixel) * shape.out_channels;
      t.ldc = shape.out_channels;
      residual = nullptr;
    } else {
      t.bias_col = project_bias.data() + n0;
      t.f = project_f;
    }
    t.ldr = shape.out_channels;
    const bool more = i + 1 < p.count && !project_weights.half;
    const Ahead ahead(more ? t.b + n * t.k : nullptr, more ? width(p, i + 1) * t.k : 0, (count + step - 1) / step);
    t.ahead_lines = ahead.lines;
    for (int64_t x = 0; x < count; x += step) {
      t.ahead = ahead.share(x / step);
      t.rows = static_cast<int>(std::min(step, count - x));
      t.a = results + x * lda;
      t.c = out + x * t.ldc + n0;
      t.residual = residual != nullptr ? residual + (image * pixels() + pixel + x) * shape.out_channels + n0 : nullptr;
      gemm->direct(t);
    }
  }
}

void DepthwiseBlock::Impl::run_item(const Work& work, float* memory, int64_t image, int64_t strip, int64_t part) const noexcept {
  const Panels p = panels();
  const int64_t channels = expand ? shape.in_channels : middle;
  const int64_t y_begin = oh * strip / strips, y_end = oh * (strip + 1) / strips;
  const int64_t p0 = part_begin(p, part), p1 = part_begin(p, part + 1), c0 = end_channel(p, p0), lda = end_channel(p, p1) - c0;
  const bool keeps = y_end - y_begin > band;  // rows that two bands read
  float *results = memory + ring_floats(), *panel_memory = results + result_floats();
  const float* picture = work.in + image * h * w * channels;
  const float* rows[kMostRows];
  int64_t done = 0;
  DepthwiseBand b;
  b.kernel = static_cast<int>(kernel), b.stride = static_cast<int>(stride);
  b.rows = rows, b.row_step = dilation;
  b.f = f;
  for (int64_t y = y_begin; y < y_end; y += band) {
    b.count_y = std::min(band, y_end - y);
    const int64_t first = y * stride - top, last = first + (b.count_y - 1) * stride + reach();
    const int64_t begin = std::max(keeps && y > y_begin ? std::max(first, done) : first, int64_t{0}), end = std::min(last, h);
    for (int64_t i = p0; i < p1; ++i) {
      const int64_t n0 = p.first_column(i), n = width(p, i);
      float* panel_rows = memory + (keeps ? ring * wide * (n0 - c0) : 0);
      const auto row = [&](int64_t iy) { return panel_rows + iy % ring * wide * n; };
      const float* panel_weights = expand ? expand_weights.panel(*gemm, n0 * channels, n * channels, panel_memory) : nullptr;
      const float* next = nullptr;
      int64_t size = 0;
      if (expand && i + 1 < p1 && !expand_weights.half) {
        next = panel_weights + n * channels, size = width(p, i + 1) * channels;
      } else if (expand && project && i + 1 == p1 && !project_weights.half) {
        const Panels out(shape.out_channels, *gemm);
        next = project_weights.data.data() + out.padded_columns() * std::min(middle, c0), size = width(out, 0) * (std::min(middle, c0 + lda) - c0);
      }
      const Ahead ahead(next, size, (end - begin) * ((w + gemm->mr - 1) / gemm->mr));
      for (int64_t iy = begin; iy < end; ++iy) fill_row(picture + iy * w * channels, p, i, panel_weights, ahead, iy - begin, row(iy));
      for (int64_t iy = first; iy < last; ++iy) rows[iy - first] = iy >= 0 && iy < h ? row(iy) : zeros.data();
      b.step = n * dilation, b.width = n;
      b.weights = weights.data() + n0 * kernel * kernel;
      b.bias = bias.data() + n0;
      const int64_t pitch = project ? lda : work.pitch;
      float* out = project ? results + (n0 - c0) : work.out + (image * pixels() + y * ow) * work.pitch + n0;
      b.channels = project ? n : std::min(n, middle - n0);
      b.pitch = pitch * dilation, b.row_pitch = ow * pitch;
      // Outputs `dilation` apart share their inputs with each other alone.
      for (int64_t x = 0; x < std::min(dilation, ow); ++x) {
        b.offset = x * n;
        b.out = out + x * pitch;
        b.count_x = (ow - x + dilation - 1) / dilation;
        target->band(b);
      }
      for (int64_t r = 0; shape.mean && r < b.count_y; ++r)
        target->sum(out + r * b.row_pitch, pitch, ow, b.channels, work.sums + (image * oh + y + r) * middle + n0);
    }
    done = last;
    if (project) run_project(work, results, lda, panel_memory, image, y * ow, b.count_y * ow, part);
  }
  if (shape.mean && strips == 1) take_mean(work, image, c0, std::min(middle, c0 + lda));
}

// Of channels [c0, c1), whose rows are summed.
void DepthwiseBlock::Impl::take_mean(const Work& work, int64_t image, int64_t c0, int64_t c1) const noexcept {
  float* to = work.mean + image * middle;
  target->sum(work.sums + image * oh * middle + c0, middle, oh, c1 - c0, to + c0);
  for (int64_t c = c0; c < c1; ++c) to[c] /= static_cast<float>(pixels());
}

bool DepthwiseBlock::takes(const Shape& shape) noexcept {
  const ConvShape& s = shape.depthwise;
  if ((shape.in_channels <= 0 && shape.out_channels <= 0 && !shape.mean) || (shape.mean && shape.out_channels > 0)) return false;
  if (s.rank != 2 || s.groups != s.in_channels || s.groups != s.out_channels || s.groups < 1 || s.batch < 1) return false;
  for (int i = 0; i < 2; ++i) {
    const auto a = static_cast<size_t>(i);
    if (s.dilation[a] != s.dilation[0] || s.kernel[a] != s.kernel[0] || s.stride[a] != s.stride[0] || s.pad_before[a] < 0 || s.in[a] < 1 || s.out()[a] < 1) return false;
    if (s.in[a] + s.pad_before[a] + std::max<int64_t>(s.pad_after[a], 0) > kMostRows) return false;
  }
  return (s.kernel[0] == 3 || s.kernel[0] == 5) && (s.stride[0] == 1 || (s.stride[0] == 2 && s.dilation[0] == 1)) && s.dilation[0] >= 1 &&
         (s.kernel[0] - 1) * s.dilation[0] < kMostReach && shape.in_channels <= kProductDepth;
}

Result<DepthwiseBlock> DepthwiseBlock::prepare(const Shape& shape, const Layer* expand, const Layer& depthwise, const Layer* project) {
  if (!takes(shape) || (expand != nullptr) != (shape.in_channels > 0) || (project != nullptr) != (shape.out_channels > 0))
    return usage_error("convolutions: not a depthwise one with others of 1x1 around it");
  const ConvShape& s = shape.depthwise;
  MLT_ASSIGN(const ConvGeometry geometry, convolution_geometry(s));
  auto impl = std::make_unique<Impl>();
  Impl& p = *impl;
  p.shape = shape;
  p.gemm = &gemm_target();
  p.target = &depthwise_target();
  p.h = geometry.in[1], p.w = geometry.in[2], p.oh = geometry.out[1], p.ow = geometry.out[2];
  p.kernel = s.kernel[0], p.stride = s.stride[0], p.dilation = s.dilation[0], p.top = s.pad_before[0], p.left = s.pad_before[1];
  p.middle = s.in_channels;
  p.threads = thread_count();
  p.expand = expand != nullptr;
  p.project = project != nullptr;
  if (p.expand) p.expand_f = expand->f;
  p.f = depthwise.f;
  if (p.project) p.project_f = project->f;
  p.choose();
  MLT_TRY(p.pack(expand, depthwise, project));
  return DepthwiseBlock(std::move(impl));
}

DepthwiseBlock::DepthwiseBlock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DepthwiseBlock::DepthwiseBlock(DepthwiseBlock&&) noexcept = default;
DepthwiseBlock& DepthwiseBlock::operator=(DepthwiseBlock&&) noexcept = default;
DepthwiseBlock::~DepthwiseBlock() = default;

size_t DepthwiseBlock::scratch_bytes() const {
  return (static_cast<size_t>(impl_->slot_floats() * impl_->threads + impl_->sum_floats()) + 64) * sizeof(float);
}
size_t DepthwiseBlock::weight_bytes() const { return impl_->weights.bytes() + impl_->expand_weights.data.bytes() + impl_->project_weights.data.bytes(); }
const char* DepthwiseBlock::kernel() const { return impl_->name.c_str(); }

void DepthwiseBlock::run(const float* in, float* out, int64_t pitch, const float* residual, void* scratch, float* mean) const noexcept {
  const Impl& p = *impl_;
  float* memory = static_cast<float*>(scratch);
  const Impl::Work work{in, out, pitch, residual, memory + p.slot_floats() * p.threads, mean};
  const int64_t batch = p.shape.depthwise.batch, each = p.strips * p.parts;
  for_slots(std::min<int64_t>(p.threads, thread_count()), batch * each, [&](int64_t slot, int64_t item) {
    p.run_item(work, memory + slot * p.slot_floats(), item / each, item % each / p.parts, item % p.parts);
  });
  for (int64_t image = 0; p.shape.mean && p.strips > 1 && image < batch; ++image) p.take_mean(work, image, 0, p.middle);
  if (!p.project || p.parts == 1) return;
  const int64_t channels = p.shape.out_channels, pixels = p.pixels();
  // Sums are in the caches of those who made them.
  parallel_for(batch * pixels, grain_for(channels * p.parts * 4), [&](int64_t begin, int64_t end) {
    PartSums s;
    s.part_count = p.parts, s.part_step = pixels * channels;
    s.bias = p.project_bias.data();
    s.pitch = pitch, s.channels = channels;
    s.f = p.project_f;
    while (begin < end) {
      const int64_t image = begin / pixels, pixel = begin % pixels;
      s.count = std::min(end - begin, pixels - pixel);
      s.parts = work.sums + (image * p.parts * pixels + pixel) * channels;
      s.residual = residual != nullptr ? residual + begin * channels : nullptr;
      s.out = out + begin * pitch;
      p.target->combine(s);
      begin += s.count;
    }
  });
}

}  // namespace mlt
