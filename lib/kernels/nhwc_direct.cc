#include "lib/kernels/nhwc_direct.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/nhwc_target.h"

namespace mlt {

const DirectTarget* nhwc_direct_simd();

namespace {

constexpr int64_t kCopyFloats = 16 * 1024;  // of one thread's copy, about: what the caches near a core hold beside the weights
constexpr int64_t kBandFloats = 128 * 1024; // of the input rows of one band, which all units read
constexpr int64_t kMostVectors = 2;         // of output channels at a time
constexpr int64_t kQuad = 4;                // channels of a group, DirectInput::kQuads
constexpr int64_t kFlatPixels = 112;        // at a time where no window reaches beyond its pixel
constexpr int64_t kManyWeights = 128 * 1024;  // of a unit: more than the second-level cache holds beside the rest
constexpr int64_t kWideGroup = 64;          // channels
constexpr int64_t kMostDepth = 384;         // of windows in channels and taps, for which weights stay in the first-level cache
constexpr int64_t kRingFloats = 48 * 1024;  // of rows that maxima are taken over, about, and at most
constexpr int64_t kMostRingFloats = 128 * 1024;
constexpr int64_t kMostRing = 8;            // rows of a kernel
constexpr int64_t kMostPoolRows = 8;        // under one window

void row_reference(const DirectRow& r) noexcept {
  constexpr int64_t kReferenceLanes = 4;
  for (int64_t x = 0; x < r.count; ++x)
    for (int64_t v = 0; v < r.vectors; ++v) {
      float* out = r.out + x * r.pitch + v * r.out_step;
      for (int64_t l = 0; l < r.valid[v]; ++l) {
        float sum = 0;
        for (int64_t s = 0; s < r.segments; ++s)
          for (int64_t k = 0; k < r.length; ++k) {
            const float* in = r.in + x * r.step + r.offsets[s];
            const float value = r.input == DirectInput::kShared     ? in[k]
                                : r.input == DirectInput::kSeparate ? in[v * kReferenceLanes + k]
                                                                    : in[v * kReferenceLanes + r.indices[k * kReferenceLanes + l]];
            sum += value * r.weights[((s * r.length + k) * r.vectors + v) * kReferenceLanes + l];
          }
        sum += r.bias[v * kReferenceLanes + l];
        if (r.residual != nullptr) sum += r.residual[x * r.residual_pitch + v * r.out_step + l];
        out[l] = sum;
      }
      unary(r.f, out, out, r.valid[v]);
    }
}

void gather_reference(const DirectGather& g, const float* in, float* out) noexcept {
  for (int64_t i = 0; i < g.pixels; ++i)
    for (int64_t s = 0; s < g.slots; ++s) std::copy_n(in + i * g.pitch + s * g.length, s + 1 < g.slots ? g.length : g.last, out + i * g.pixel + s * g.slot);
}

// How many outputs of a row to work on at a time.
int64_t block_for(std::span<const int> blocks, int64_t row, int64_t vectors) {
  int64_t least = 0, best = 1;
  for (int64_t b : blocks) {
    // Multiplications of a row, with what a block takes besides; few of them wait for each other.
    const int64_t cost = (row + b - 1) / b * (std::max<int64_t>(b * vectors, 9) + 3);
    if (least == 0 || cost < least) least = cost, best = b;
  }
  return best;
}

// Whether the copy of some rows is a piece of memory like others: strides and dilations have no bounds.
bool copy_fits(const ConvShape& s) {
  const auto span = [&](size_t axis, int64_t outputs) {
    return static_cast<double>(outputs) * static_cast<double>(s.stride[axis]) + static_cast<double>(s.kernel[axis]) * static_cast<double>(s.dilation[axis]);
  };
  if (s.stride[0] < 1 || s.stride[1] < 1) return false;
  const double channels = static_cast<double>(std::max<int64_t>(s.in_channels / s.groups, 32));
  return span(0, 4) * span(1, s.out()[1] + 16) * channels < 0x1p24;
}

constexpr DirectTarget kReference{row_reference, gather_reference, 4, {4, 4, 4, 4, 4, 4}, {0, 0, 0, 0}, {0, 0, 0}};

}  // namespace

const DirectTarget& direct_target() noexcept { return use_reference() || nhwc_direct_simd() == nullptr ? kReference : *nhwc_direct_simd(); }

bool NhwcDirect::takes_groups(const ConvShape& s) noexcept {
  if (s.groups < 2 || s.in_channels < 1 || s.out_channels < 1 || s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) return false;
  if (!copy_fits(s)) return false;
  // Wide groups are faster by Winograd's method, which conv.h has for them.
  constexpr std::array<int64_t, 3> kOnes{1, 1, 1};
  if (s.in_channels / s.groups >= kWideGroup && s.out_channels / s.groups >= kWideGroup && s.kernel[0] == 3 && s.kernel[1] == 3 && s.stride == kOnes && s.dilation == kOnes)
    return false;
  const int64_t lanes = direct_target().lanes, in = s.in_channels / s.groups, out = s.out_channels / s.groups;
  if (out > lanes) return true;
  return 2 * out > lanes ? in <= lanes : lanes % out == 0 && in <= out;
}

bool NhwcDirect::pays(const ConvShape& s, const ConvGeometry& g) noexcept {
  if (s.groups != 1 || g.taps() < 2 || g.channels * g.taps() > kMostDepth || !copy_fits(s)) return false;
  const int64_t row = g.out[2], block = block_for(direct_target().blocks, row, kMostVectors);
  return 4 * row >= 3 * ((row + block - 1) / block * block);
}

bool NhwcDirect::pays_pooled(const ConvShape& s, const ConvGeometry& g, const PoolShape& pool) noexcept {
  if (!pays(s, g) || pool.rank != 2 || pool.batch != s.batch || pool.channels != s.out_channels || pool.in[0] != g.out[1] || pool.in[1] != g.out[2]) return false;
  for (size_t i = 0; i < 2; ++i)
    if (pool.dilation[i] != 1 || pool.kernel[i] > kMostPoolRows || pool.stride[i] > pool.kernel[i] || pool.stride[i] < 1 || pool.out[i] < 1) return false;
  return pool.kernel[0] * g.out[2] * s.out_channels <= kMostRingFloats;
}

NhwcDirect::NhwcDirect(const ConvShape& shape, const ConvGeometry& g, bool planar, const PoolShape* pool, int64_t threads)
    : shape_(shape), g_(g), target_(&direct_target()), planar_(planar), group_in_(g.channels), group_out_(shape.out_channels / shape.groups), threads_(threads) {
  const int64_t lanes = target_->lanes, kh = g.kernel[1], kw = g.kernel[2];
  const bool adjacent = g.dilation[2] == 1, triple = adjacent && kw == 3 && g.stride[2] <= 2 && target_->across[0] > 0;
  if (shape.groups > 1 && group_out_ <= lanes) {
    slot_ = lanes;
    if (2 * group_out_ == lanes && group_in_ % 2 == 0 && triple) {
      input_ = DirectInput::kPairs;
      slot_ = group_out_;
    } else if (group_in_ == kQuad && group_out_ == kQuad && lanes > kQuad && target_->quads[0] > 0) {
      input_ = DirectInput::kQuads;
      slot_groups_ = lanes / kQuad;
      width_ = slot_vectors_ = kQuad;
    } else if (2 * group_out_ <= lanes) {
      input_ = DirectInput::kPermuted;
      slot_groups_ = lanes / group_out_;
      for (int64_t k = 0; k < group_in_; ++k)
        for (int64_t l = 0; l < lanes; ++l) indices_.push_back(static_cast<int32_t>(l / group_out_ * group_in_ + k));
    } else {
      input_ = DirectInput::kSeparate;
    }
    const int64_t slots = (shape.groups + slot_groups_ - 1) / slot_groups_;
    units_ = (slots + kMostVectors - 1) / kMostVectors;
    pixel_ = kMostVectors * slot_;
    if (triple && (input_ == DirectInput::kPairs || input_ == DirectInput::kSeparate)) across_ = g.stride[2];
  } else {
    units_ = shape.groups;
    slot_ = pixel_ = group_in_;
  }
  if (planar_) {
    segments_ = adjacent ? group_in_ * kh : group_in_ * kh * kw;
    length_ = adjacent ? kw : 1;
    pixel_ = 1;
  } else if (across_ != 0) {
    segments_ = kh;
    length_ = input_ == DirectInput::kPairs ? group_in_ / 2 : group_in_;
  } else if (adjacent && input_ == DirectInput::kShared) {
    segments_ = kh;
    length_ = kw * group_in_;
  } else {
    segments_ = kh * kw;
    length_ = input_ == DirectInput::kQuads ? 1 : group_in_;
  }
  step_ = pixel_ * g.stride[2];

  flat_ = kh * kw == 1 && input_ == DirectInput::kShared && !planar_ && g.stride[1] == 1 && g.stride[2] == 1 && g.in == g.out && g.pad[1] == 0 && g.pad[2] == 0;
  const int64_t width = std::min(width_, unit_vectors(0)), ow = g.out[2], oh = g.out[1];
  block_ = across_ != 0 ? block_for(target_->across, ow, width)
           : input_ == DirectInput::kQuads ? block_for(target_->quads, ow, width) : block_for(target_->blocks, flat_ ? ow * oh : ow, width);
  row_pixels_ = ((ow + block_ - 1) / block_ * block_ - 1) * g.stride[2] + (kw - 1) * g.dilation[2] + 1;
  row_ = row_pixels_ * pixel_;
  if (pool != nullptr) {
    pool_ = *pool;
    const int64_t rows = kRingFloats / (ow * shape.out_channels) - pool->kernel[0];
    pool_band_ = balanced_tile(pool->out[0], std::clamp<int64_t>(rows / pool->stride[0] + 1, 1, pool->out[0]));
    ring_ = (pool_band_ - 1) * pool->stride[0] + pool->kernel[0];
  }
  // Rows are copied just before they are needed, where all vectors of a row's outputs are made one after the other.
  const bool ring = pool == nullptr && g.dilation[1] == 1 && kh <= kMostRing && kh >= g.stride[1] && unit_vectors(0) * vector_weights() <= kManyWeights;
  const int64_t line = row_ * (planar_ ? group_in_ : 1), span = copy_lines(1);
  band_ = ring ? kBandFloats / (g.in[2] * shape.in_channels * g.stride[1]) : (kCopyFloats / line - span) / g.stride[1] + 1;
  band_ = std::clamp(band_, std::min<int64_t>(4, oh), oh);
  // As many bands as give every thread some.
  if (threads > 1) band_ = std::min(band_, std::max<int64_t>(1, oh * units_ * shape.batch / (4 * threads)));
  band_ = balanced_tile(oh, band_);
  if (flat_) band_ = std::clamp<int64_t>((kFlatPixels + ow - 1) / ow, 1, oh), row_ = block_ * pixel_;
  lines_ = ring ? std::min(kh, copy_lines(band_)) : copy_lines(band_);
  plane_ = row_ * lines_;
  for (int64_t first = 0; first < (is_ring() ? lines_ : 1); ++first)
    for (int64_t s = 0; s < segments_; ++s) {
      const Taken t = taken(s, 0);
      offsets_.push_back((first + t.y * g.dilation[1]) % lines_ * row_ + t.x * g.dilation[2] * pixel_ + (planar_ ? t.c * plane_ : 0));
    }
}

NhwcDirect::Taken NhwcDirect::taken(int64_t s, int64_t k) const {
  const int64_t kh = g_.kernel[1], kw = g_.kernel[2];
  if (planar_) {
    const int64_t at = s * length_ + k;
    return {at / kw % kh, at % kw, at / kw / kh};
  }
  if (across_ != 0) return {s, k % kw, k / kw};
  if (input_ == DirectInput::kQuads) return {s / kw, s % kw, 0};
  const int64_t tap = s * length_ / group_in_ + k / group_in_;
  return {tap / kw, tap % kw, k % group_in_};
}

int64_t NhwcDirect::unit_vectors(int64_t unit) const {
  if (input_ == DirectInput::kShared) return (group_out_ + target_->lanes - 1) / target_->lanes;
  const int64_t slots = (shape_.groups + slot_groups_ - 1) / slot_groups_;
  return std::min(kMostVectors, slots - unit * kMostVectors) * slot_vectors_;
}

int64_t NhwcDirect::first_channel(int64_t unit, int64_t v) const {
  if (input_ == DirectInput::kShared) return unit * group_out_ + v * target_->lanes;
  return (unit * kMostVectors + v / slot_vectors_) * slot_groups_ * group_out_;
}

int64_t NhwcDirect::channel_count(int64_t unit, int64_t v) const {
  if (input_ == DirectInput::kShared) return std::min<int64_t>(target_->lanes, group_out_ - v * target_->lanes);
  return std::min(slot_groups_ * group_out_, shape_.out_channels - first_channel(unit, v));
}

const char* NhwcDirect::name() const {
  switch (input_) {
    case DirectInput::kShared: return planar_ ? pool_ ? "nhwc direct planar + max" : "nhwc direct planar" : pool_ ? "nhwc direct + max" : "nhwc direct";
    case DirectInput::kSeparate: return "nhwc direct groups";
    case DirectInput::kPermuted:
    case DirectInput::kPairs:
    case DirectInput::kQuads: return "nhwc direct narrow groups";
  }
  return "";
}

int64_t NhwcDirect::form() const { return (target_->lanes * 8 + static_cast<int64_t>(input_)) * 4 + (planar_ ? 1 : 0) + (across_ != 0 ? 2 : 0); }

size_t NhwcDirect::weight_floats() const {
  int64_t vectors = 0;
  for (int64_t u = 0; u < units_; ++u) vectors += unit_vectors(u);
  return static_cast<size_t>(vectors * vector_weights());
}

// A vector more than the copy: inputs of the last pixel are read as whole vectors.
size_t NhwcDirect::copy_floats() const { return static_cast<size_t>((plane_ * (planar_ ? group_in_ : 1) + 2 * target_->lanes + 15) / 16 * 16); }

size_t NhwcDirect::scratch_floats() const {
  const int64_t ring = pool_ ? (ring_ * g_.out[2] * shape_.out_channels + 15) / 16 * 16 : 0;
  return (copy_floats() + static_cast<size_t>(ring)) * static_cast<size_t>(threads_);
}

void NhwcDirect::pack(const float* weights, float* packed) const noexcept {
  const int64_t lanes = target_->lanes, taps = g_.kernel[1] * g_.kernel[2], pair = input_ == DirectInput::kPairs ? 2 : 1;
  const bool quads = input_ == DirectInput::kQuads;
  for (int64_t u = 0; u < units_; ++u) {
    const int64_t all = unit_vectors(u);
    for (int64_t v0 = 0; v0 < all; v0 += width_) {
      const int64_t vectors = std::min(width_, all - v0);
      for (int64_t s = 0; s < segments_; ++s)
        for (int64_t k = 0; k < (across_ != 0 ? 3 : 1) * length_; ++k) {
          const Taken t = taken(s, k);
          for (int64_t v = v0; v < v0 + vectors; ++v) {
            const int64_t first = first_channel(u, v), n = channel_count(u, v);
            for (int64_t l = 0; l < lanes; ++l) {
              const int64_t o = quads ? l / kQuad * kQuad + v % kQuad : l / pair, c = quads ? l % kQuad : t.c * pair + l % pair;
              *packed++ = o < n ? weights[((first + o) * group_in_ + c) * taps + t.y * g_.kernel[2] + t.x] : 0.0f;
            }
          }
        }
    }
  }
}

// Input rows [first, first + lines) of a unit's channels, zeros where they lie outside.
void NhwcDirect::copy_rows(int64_t image, int64_t unit, int64_t first, int64_t lines, const float* in, int64_t pitch, float* copy) const noexcept {
  const int64_t h = g_.in[1], w = g_.in[2], channels = shape_.in_channels;
  const int64_t before = std::min(g_.pad[2], row_pixels_), count = std::min(w, row_pixels_ - before), after = row_pixels_ - before - count;
  const auto rows = [&](const float* from, int64_t row_step, float* to, const auto& one) {
    for (int64_t y = first; y < first + lines; ++y, to += row_) {
      if (y < 0 || y >= h) {
        std::fill_n(to, row_, 0.0f);
        continue;
      }
      std::fill_n(to, before * pixel_, 0.0f);
      one(from + y * row_step, to + before * pixel_);
      std::fill_n(to + (before + count) * pixel_, after * pixel_, 0.0f);
    }
  };
  if (planar_) {
    for (int64_t c = 0; c < group_in_; ++c)
      rows(in + (image * channels + unit * group_in_ + c) * h * w, w, copy + c * plane_,
           [&](const float* from, float* to) { std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float)); });
    return;
  }
  const float* from = in + image * h * w * pitch;
  if (input_ == DirectInput::kShared) {
    rows(from + unit * group_in_, w * pitch, copy, [&](const float* row, float* to) {
      if (pitch == group_in_) {
        std::memcpy(to, row, static_cast<size_t>(count * pitch) * sizeof(float));
      } else if (group_in_ % target_->lanes == 0) {
        target_->gather({count, 1, group_in_, group_in_, pitch, group_in_, pixel_}, row, to);
      } else {
        for (int64_t x = 0; x < count; ++x) std::memcpy(to + x * pixel_, row + x * pitch, static_cast<size_t>(group_in_) * sizeof(float));
      }
    });
    return;
  }
  const int64_t slots = unit_vectors(unit) / slot_vectors_, length = slot_groups_ * group_in_, begin = unit * kMostVectors * length;
  const int64_t last = std::min(length, channels - begin - (slots - 1) * length);
  rows(from + begin, w * pitch, copy, [&](const float* row, float* to) { target_->gather({count, slots, length, last, pitch, slot_, pixel_}, row, to); });
}

void NhwcDirect::begin(Unit& unit, int64_t index, const float* packed, const float* bias, const Activation& f, int64_t pitch, int64_t residual_pitch) const noexcept {
  unit.index = index, unit.vectors = unit_vectors(index);
  unit.weights = packed + index * (input_ == DirectInput::kShared ? unit.vectors : kMostVectors * slot_vectors_) * vector_weights();
  unit.bias = bias;
  DirectRow& r = unit.r;
  r.input = input_;
  r.block = static_cast<int>(block_);
  r.offsets = offsets_.data();
  r.segments = segments_, r.length = length_, r.across = across_;
  r.indices = indices_.data();
  r.bias = unit.biases;
  r.pitch = pitch, r.residual_pitch = residual_pitch;
  r.out_step = first_channel(index, 1) - first_channel(index, 0);
  r.f = f;
}

void NhwcDirect::tile(Unit& unit, const float* from, int64_t step, int64_t count, int64_t v, float* out, const float* residual) const noexcept {
  const int64_t lanes = target_->lanes, channel = first_channel(unit.index, v);
  DirectRow& r = unit.r;
  r.vectors = static_cast<int>(std::min(width_, unit.vectors - v));
  const bool sums = input_ == DirectInput::kPairs || input_ == DirectInput::kQuads;  // one vector of outputs
  for (int64_t j = 0; j < (sums ? 1 : r.vectors); ++j) {
    r.valid[j] = input_ == DirectInput::kPairs ? r.vectors * group_out_ : channel_count(unit.index, v + j);
    for (int64_t l = 0; l < lanes; ++l) unit.biases[j * lanes + l] = l < r.valid[j] ? unit.bias[channel + j * r.out_step + l] : 0.0f;
  }
  r.in = from + (slot_vectors_ > 1 ? v / slot_vectors_ * slot_ : 0), r.step = step, r.count = count;
  r.weights = unit.weights + v * vector_weights();
  r.out = out + channel;
  r.residual = residual != nullptr ? residual + channel : nullptr;
  target_->row(r);
  r.ahead += (count + block_ - 1) / block_ * segments_ * r.ahead_lines * 16;
}

void NhwcDirect::run(const float* packed, const float* bias, const Activation& f, const Images& at, float* scratch) const noexcept {
  if (pool_) return run_pooled(packed, bias, f, at, scratch);
  const int64_t oh = g_.out[1], ow = g_.out[2], weights = vector_weights();
  const int64_t bands = (oh + band_ - 1) / band_, slots = std::min<int64_t>(threads_, thread_count());
  for_slots(slots, shape_.batch * bands * units_, [&](int64_t slot, int64_t item) {
    const int64_t band = item / units_ % bands, image = item / units_ / bands;
    const int64_t y0 = band * band_, y1 = std::min(oh, y0 + band_);
    float* copy = scratch + static_cast<size_t>(slot) * copy_floats();
    Unit unit;
    begin(unit, item % units_, packed, bias, f, at.pitch, at.residual_pitch);
    const int64_t all = unit.vectors;
    const auto pixels_at = [&](const float* from, int64_t step, int64_t pixel, int64_t count, int64_t v) {
      tile(unit, from, step, count, v, at.out + pixel * at.pitch, at.residual != nullptr ? at.residual + pixel * at.residual_pitch : nullptr);
    };
    // The next unit's weights are fetched meanwhile.
    const int64_t pixels = (y1 - y0) * ow, first = image * oh * ow + y0 * ow;
    const int64_t work = (flat_ ? (pixels + block_ - 1) / block_ : (y1 - y0) * ((ow + block_ - 1) / block_)) * ((all + width_ - 1) / width_) * segments_;
    unit.r.ahead = unit.weights + all * weights;
    unit.r.ahead_lines = unit.index + 1 < units_ ? (all * weights / 16 + work - 1) / work : 0;
    if (flat_) {
      // Whole blocks where they lie, the rest from a copy: blocks are read whole.
      const float* from = at.in + first * at.in_pitch + unit.index * group_in_;
      const int64_t whole = pixels / block_ * block_;
      for (int64_t v = 0; v < all && whole > 0; v += width_) pixels_at(from, at.in_pitch, first, whole, v);
      if (whole == pixels) return;
      for (int64_t x = whole; x < pixels; ++x) std::memcpy(copy + (x - whole) * pixel_, from + x * at.in_pitch, static_cast<size_t>(group_in_) * sizeof(float));
      std::fill_n(copy + (pixels - whole) * pixel_, (block_ - pixels + whole) * pixel_, 0.0f);
      for (int64_t v = 0; v < all; v += width_) pixels_at(copy, pixel_, first + whole, pixels - whole, v);
      return;
    }
    if (is_ring()) {
      // Line l of the band is line l % lines_ of the copy.
      for (int64_t y = y0, copied = 0; y < y1; ++y) {
        const int64_t line = (y - y0) * g_.stride[1];
        for (; copied < line + lines_; ++copied) copy_rows(image, unit.index, y0 * g_.stride[1] - g_.pad[1] + copied, 1, at.in, at.in_pitch, copy + copied % lines_ * row_);
        unit.r.offsets = offsets_.data() + line % lines_ * segments_;
        for (int64_t v = 0; v < all; v += width_) pixels_at(copy, step_, first + (y - y0) * ow, ow, v);
      }
      return;
    }
    copy_rows(image, unit.index, y0 * g_.stride[1] - g_.pad[1], copy_lines(y1 - y0), at.in, at.in_pitch, copy);
    const auto row = [&](int64_t y, int64_t v) { pixels_at(copy + (y - y0) * g_.stride[1] * row_, step_, first + (y - y0) * ow, ow, v); };
    if (all * weights > kManyWeights) {
      for (int64_t v = 0; v < all; v += width_)
        for (int64_t y = y0; y < y1; ++y) row(y, v);
    } else {
      for (int64_t y = y0; y < y1; ++y)
        for (int64_t v = 0; v < all; v += width_) row(y, v);
    }
  });
}

// Each item is a strip of pooled rows, from above to below: rows under two windows are kept.
void NhwcDirect::run_pooled(const float* packed, const float* bias, const Activation& f, const Images& at, float* scratch) const noexcept {
  const PoolShape& pool = *pool_;
  const int64_t oh = g_.out[1], ow = g_.out[2], channels = shape_.out_channels, line = ow * channels;
  const int64_t slots = std::min<int64_t>(threads_, thread_count());
  const int64_t strips = slots > 1 ? std::clamp<int64_t>(2 * slots / shape_.batch, 1, pool.out[0]) : 1;
  const NhwcTarget& loops = nhwc_target();
  const size_t slot_floats = scratch_floats() / static_cast<size_t>(threads_);
  for_slots(slots, shape_.batch * strips, [&](int64_t slot, int64_t item) {
    const int64_t image = item / strips, strip = item % strips, end = pool.out[0] * (strip + 1) / strips;
    float *copy = scratch + static_cast<size_t>(slot) * slot_floats, *ring = copy + copy_floats();
    Unit unit;
    begin(unit, 0, packed, bias, f, channels, 0);
    const auto window = [&](int64_t p) { return p * pool.stride[0] - pool.pad_before[0]; };
    int64_t done = 0;  // rows before it are there, or not wanted
    for (int64_t p0 = pool.out[0] * strip / strips; p0 < end; p0 += pool_band_) {
      const int64_t p1 = std::min(end, p0 + pool_band_), last = std::min(oh, window(p1 - 1) + pool.kernel[0]);
      for (int64_t y0 = std::max({done, window(p0), int64_t{0}}); y0 < last; y0 += band_) {
        const int64_t y1 = std::min(last, y0 + band_);
        copy_rows(image, 0, y0 * g_.stride[1] - g_.pad[1], copy_lines(y1 - y0), at.in, at.in_pitch, copy);
        for (int64_t y = y0; y < y1; ++y)
          for (int64_t v = 0; v < unit.vectors; v += width_) tile(unit, copy + (y - y0) * g_.stride[1] * row_, step_, ow, v, ring + y % ring_ * line, nullptr);
      }
      done = std::max(done, last);
      const float* rows[kMostPoolRows];
      PoolRow r;
      r.rows = rows;
      r.w = ow, r.channels = channels, r.count = pool.out[1];
      r.kernel = pool.kernel[1], r.stride = pool.stride[1], r.left = -pool.pad_before[1];
      for (int64_t p = p0; p < p1; ++p) {
        r.row_count = 0;
        for (int64_t y = std::max<int64_t>(0, window(p)); y < std::min(oh, window(p) + pool.kernel[0]); ++y) rows[r.row_count++] = ring + y % ring_ * line;
        r.out = at.out + (image * pool.out[0] + p) * pool.out[1] * channels;
        loops.pool(r);
      }
    }
  });
}

}  // namespace mlt
