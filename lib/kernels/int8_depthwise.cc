#include "lib/kernels/int8_depthwise.h"

#include <cstring>

#include "lib/kernels/dispatch.h"

namespace mlt {

namespace {

// Codes next to one another stay in the nearest cache until they have been multiplied.
constexpr int64_t kSegmentBytes = 20 << 10;
constexpr int64_t kLeastSegment = 8;

}  // namespace

int64_t Int8Depthwise::places_of(int64_t block) const {
  const int64_t n = channels_of(block);
  int64_t places = 1;
  while (places_ && 2 * places * n <= width() && 8 * places <= target_->lanes) places *= 2;
  return places;
}

Status Int8Depthwise::prepare(const ConvGeometry& geometry, int64_t channels, const Int8Target& target, const Int8Finish& finish, bool residual, const int8_t* w,
                              const int32_t* start, const float* scale, const float* bias) {
  g_ = geometry;
  target_ = &target;
  channels_ = channels;
  slots_ = thread_count();
  const int64_t kh = g_.kernel[1], kw = g_.kernel[2], lanes = target.lanes;
  blocks_ = (channels_ + width() - 1) / width();
  // Two lines of the result share what is gathered where their rows are as many quads as those of one.
  groups_ = (kh + 3) / 4;
  lines_ = g_.stride[1] == 1 && g_.dilation[1] == 1 && kh % 4 != 0 && g_.out[1] > 1 ? 2 : 1;
  places_ = int8_is_plain(finish) && !residual;
  const int64_t column = groups_ * 4 * width();
  segment_ = std::clamp<int64_t>((kSegmentBytes / column - columns_of(1)) / g_.stride[2] + 1, kLeastSegment, std::max(kLeastSegment, g_.out[2]));
  slot_bytes_ = align_up(static_cast<size_t>(columns_of(segment_) * column)) + kSlack;
  const int64_t bytes = target.vector_bytes();
  const auto vectors = static_cast<size_t>(blocks_ * width()) * sizeof(float);
  if (!weights_.reset(static_cast<size_t>(blocks_ * lines_ * kernel_vectors() * bytes)) || !start_.reset(vectors) || !scale_.reset(vectors) || !bias_.reset(vectors))
    return resource_error("out of memory for a convolution's weights");
  for (AlignedBuffer* buffer : {&weights_, &start_, &scale_, &bias_}) std::memset(buffer->data<void>(), 0, buffer->bytes());
  for (int64_t block = 0; block < blocks_; ++block) {
    const int64_t places = places_of(block), c0 = block * width();
    for (int64_t i = 0; i < places; ++i)
      for (int64_t c = 0; c < channels_of(block); ++c) {
        const int64_t place = interleaved_place(i * width() / places + c, lanes);
        start_.data<int32_t>()[c0 + place] = start[c0 + c], scale_.data()[c0 + place] = scale[c0 + c], bias_.data()[c0 + place] = bias[c0 + c];
        for (int64_t line = 0; line < lines_; ++line)
          for (int64_t ky = 0; ky < kh; ++ky)
            for (int64_t kx = 0; kx < kw; ++kx) {
              const int64_t row = line + ky, vector = (block * lines_ + line) * kernel_vectors() + (row / 4 * kw + kx) * 4 + place / lanes;
              target.put(weights_.data<int8_t>() + vector * bytes, place % lanes, row % 4, w[((c0 + c) * kh + ky) * kw + kx]);
            }
      }
  }
  return {};
}

// `count` columns of four lines (null: outside), which begin at these columns of the image for each place.
void Int8Depthwise::gather(const uint8_t* const lines[4], const int64_t* columns, int places, int64_t count, const uint8_t* outside, uint8_t* to) const noexcept {
  const int64_t w = g_.in[2];
  Int8Columns c;
  c.places = places;
  // From `first` to `last` all places are inside.
  const int64_t first = std::clamp<int64_t>(-columns[0], 0, count), last = std::clamp(w - columns[places - 1], first, count);
  for (int64_t k = 0; k < count;) {
    const bool inside = k >= first && k < last;
    for (int e = 0; e < 4; ++e) {
      c.step[e] = lines[e] != nullptr ? channels_ : 0;
      for (int i = 0; i < places; ++i) {
        const int64_t at = columns[i] + k;
        c.from[e][i] = lines[e] != nullptr && at >= 0 && at < w ? lines[e] + at * channels_ : outside;
      }
    }
    c.count = inside ? last - k : 1;
    c.out = to + k * 4 * width();
    target_->interleave(c);
    k += c.count;
  }
}

void Int8Depthwise::run(int64_t batch, const uint8_t* in, const uint8_t* outside, const Int8Finish& finish, const uint8_t* table, const uint8_t* residual, void* out,
                        int64_t pitch, uint8_t* scratch) const noexcept {
  const int64_t h = g_.in[1], w = g_.in[2], oh = g_.out[1], ow = g_.out[2], bands = (oh + lines_ - 1) / lines_;
  const Int8CodesTarget& codes = int8_codes_target();
  for_slots(std::min<int64_t>(slots_, thread_count()), batch * bands * blocks_, [&](int64_t slot, int64_t item) {
    uint8_t* quads = scratch + static_cast<size_t>(slot) * slot_bytes_;
    const int64_t block = item % blocks_, image = item / blocks_ / bands, y0 = item / blocks_ % bands * lines_, lines = std::min(lines_, oh - y0), c0 = block * width();
    const int64_t places = places_of(block), pixels = (ow + places - 1) / places;
    Int8DepthwiseRun r;
    r.quads = quads;
    r.groups = groups_;
    r.kernel_w = g_.kernel[2], r.stride = g_.stride[2], r.dilation = g_.dilation[2];
    r.start = start_.data<int32_t>() + c0, r.scale = scale_.data() + c0, r.bias = bias_.data() + c0;
    r.finish = &finish;
    r.channels = channels_of(block), r.pitch = pitch;
    r.places = static_cast<int>(places);
    for (int64_t x = 0; x < pixels; x += segment_) {
      r.count = std::min(segment_, pixels - x), r.columns = columns_of(r.count);
      int64_t first[kInt8Places], columns[kInt8Places];
      for (int64_t i = 0; i < places; ++i) {
        first[i] = std::min(i * pixels, ow - pixels) + x;
        columns[i] = first[i] * g_.stride[2] - g_.pad[2];
      }
      for (int64_t group = 0; group < groups_; ++group) {
        const uint8_t* rows[4];
        for (int64_t e = 0; e < 4; ++e) {
          const int64_t ky = group * 4 + e, iy = y0 * g_.stride[1] - g_.pad[1] + ky * g_.dilation[1];
          rows[e] = iy >= 0 && iy < h && ky < g_.kernel[1] + lines - 1 ? in + (image * h + iy) * w * channels_ + c0 : nullptr;
        }
        gather(rows, columns, r.places, r.columns, outside, quads + group * r.columns * 4 * width());
      }
      for (int64_t line = 0; line < lines; ++line) {
        r.weights = weights_.data<int8_t>() + (block * lines_ + line) * kernel_vectors() * target_->vector_bytes();
        const int64_t at = (image * oh + y0 + line) * ow * pitch + c0;
        for (int64_t i = 0; i < places; ++i) r.at[i] = at + first[i] * pitch;
        r.residual = residual;
        r.out = finish.narrow ? static_cast<uint8_t*>(out) : nullptr;
        r.out_float = finish.narrow ? nullptr : static_cast<float*>(out);
        target_->depthwise(r);
      }
    }
    if (table == nullptr) return;
    uint8_t* made = static_cast<uint8_t*>(out) + (image * oh + y0) * ow * pitch + c0;
    codes.map(made, pitch, made, pitch, lines * ow, r.channels, table);
  });
}

}  // namespace mlt
