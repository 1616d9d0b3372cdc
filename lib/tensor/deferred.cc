#include "lib/tensor/deferred.h"

#include <algorithm>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/base/mapped.h"
#include "lib/tensor/spill.h"

namespace mlt {
namespace {

constexpr int64_t kLarge = int64_t{64} << 10;  // bytes

uint64_t mix(uint64_t hash, ByteSpan data) {
  size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, data.data() + i, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  for (; i < data.size(); i++) hash = (hash ^ std::to_integer<uint64_t>(data[i])) * 0x100000001b3u;
  return hash ^ (hash >> 29);
}

// read(begin, end, out) gives units of `width` bytes.
template <typename F>
uint64_t sampled(uint64_t hash, int64_t units, size_t width, const F& read) {
  constexpr int64_t kWhole = 1 << 14, kSamples = 16, kSample = 64;
  std::byte buffer[kSample * 8];
  auto add = [&](int64_t begin, int64_t end) {
    read(begin, end, buffer);
    hash = mix(hash, ByteSpan(buffer, static_cast<size_t>(end - begin) * width));
  };
  if (units <= kWhole) {
    for (int64_t at = 0; at < units; at += kSample) add(at, std::min(units, at + kSample));
    return hash;
  }
  for (int64_t k = 0; k < kSamples; ++k) {
    int64_t begin = (units - kSample) / (kSamples - 1) * k;
    add(begin, begin + kSample);
  }
  return hash;
}

class Unaligned : public Deferred {
 public:
  Unaligned(Blob blob, size_t width) : blob_(std::move(blob)), width_(width) {}
  void produce(int64_t begin, int64_t end, std::byte* out) const override {
    std::memcpy(out, stored() + static_cast<size_t>(begin) * width_, static_cast<size_t>(end - begin) * width_);
  }
  const std::byte* stored() const override { return blob_.bytes().data(); }
  void release() const override { forget_mapped(blob_.bytes()); }

 private:
  Blob blob_;
  size_t width_;
};

// Rows `from` to `to` of the transposed matrix; `in` need not be aligned.
template <typename T>
void transpose_rows(const std::byte* in, int64_t rows, int64_t cols, int64_t from, int64_t to, std::byte* out) {
  constexpr int64_t kTile = 32;
  for (int64_t c0 = from; c0 < to; c0 += kTile)
    for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
      int64_t c1 = std::min(to, c0 + kTile), r1 = std::min(rows, r0 + kTile);
      T tile[kTile][kTile];
      for (int64_t r = r0; r < r1; ++r) std::memcpy(tile[r - r0], in + (r * cols + c0) * static_cast<int64_t>(sizeof(T)), static_cast<size_t>(c1 - c0) * sizeof(T));
      for (int64_t c = c0; c < c1; ++c) {
        T column[kTile];
        for (int64_t r = r0; r < r1; ++r) column[r - r0] = tile[r - r0][c - c0];
        std::memcpy(out + ((c - from) * rows + r0) * static_cast<int64_t>(sizeof(T)), column, static_cast<size_t>(r1 - r0) * sizeof(T));
      }
    }
}

void transpose_rows(const std::byte* in, const Dims& dims, size_t width, int64_t from, int64_t to, std::byte* out) {
  if (width == 4) transpose_rows<uint32_t>(in, dims[0], dims[1], from, to, out);
  else transpose_rows<uint16_t>(in, dims[0], dims[1], from, to, out);
}

size_t width_of(DType dtype) { return static_cast<size_t>(dtype_bits(dtype)) / 8; }

class TransposedMatrix : public Deferred {
 public:
  explicit TransposedMatrix(Tensor source) : source_(std::move(source)), width_(width_of(source_.dtype())) {}
  int64_t piece() const override { return std::clamp<int64_t>((1 << 20) / std::max<int64_t>(source_.dims()[0], 1), 1, 32) * std::max<int64_t>(source_.dims()[0], 1); }
  void produce(int64_t begin, int64_t end, std::byte* out) const override {
    int64_t rows = source_.dims()[0], first = begin / rows, last = (end + rows - 1) / rows;
    const std::byte* in = stored_elements(source_);
    if (in == nullptr) in = source_.bytes().data();
    if (begin % rows == 0 && end % rows == 0) return transpose_rows(in, source_.dims(), width_, first, last, out);
    for (int64_t row = first; row < last; ++row) {  // parts of rows
      Bytes whole(static_cast<size_t>(rows) * width_);
      transpose_rows(in, source_.dims(), width_, row, row + 1, whole.data());
      int64_t from = std::max(begin, row * rows), to = std::min(end, (row + 1) * rows);
      std::memcpy(out + static_cast<size_t>(from - begin) * width_, whole.data() + static_cast<size_t>(from - row * rows) * width_, static_cast<size_t>(to - from) * width_);
    }
  }
  std::optional<Tensor> shuffled() const override { return source_; }
  void release() const override { release_pages(source_); }

 private:
  Tensor source_;
  size_t width_;
};

class Widened : public Deferred {
 public:
  explicit Widened(Tensor source) : source_(std::move(source)) {}
  int64_t piece() const override { return source_.deferred() ? source_.deferred()->piece() : Deferred::piece(); }
  void produce(int64_t begin, int64_t end, std::byte* out) const override {
    constexpr int64_t kBlock = 2048;
    uint16_t in[kBlock];
    float wide[kBlock];
    bool half = source_.dtype() == DType::kF16;
    for (int64_t at = begin; at < end; at += kBlock) {
      int64_t n = std::min(kBlock, end - at);
      read_elements(source_, at, at + n, reinterpret_cast<std::byte*>(in));
      for (int64_t i = 0; i < n; ++i) wide[i] = half ? half_to_float(in[i]) : bfloat16_to_float(in[i]);
      std::memcpy(out + static_cast<size_t>(at - begin) * sizeof(float), wide, static_cast<size_t>(n) * sizeof(float));
    }
  }
  std::optional<Tensor> exact_source() const override { return source_; }
  void release() const override { release_pages(source_); }

 private:
  Tensor source_;
};

}  // namespace

const std::byte* stored_elements(const Tensor& t) { return t.deferred() ? t.deferred()->stored() : t.bytes().data(); }

void read_elements(const Tensor& t, int64_t begin, int64_t end, std::byte* out) {
  if (end <= begin) return;
  if (t.deferred()) return t.deferred()->produce(begin, end, out);
  size_t width = width_of(t.dtype());
  std::memcpy(out, t.bytes().data() + static_cast<size_t>(begin) * width, static_cast<size_t>(end - begin) * width);
}

uint64_t fingerprint(DType dtype, ByteSpan bytes) {
  size_t width = std::max<size_t>(1, width_of(dtype));
  return sampled(0x9e3779b97f4a7c15u ^ bytes.size() ^ (static_cast<uint64_t>(dtype) << 56), static_cast<int64_t>(bytes.size() / width), width,
                 [&](int64_t begin, int64_t end, std::byte* out) { std::memcpy(out, bytes.data() + static_cast<size_t>(begin) * width, static_cast<size_t>(end - begin) * width); });
}

uint64_t fingerprint(const Tensor& t) {
  if (!t.deferred()) return fingerprint(t.dtype(), t.bytes());
  return sampled(0x9e3779b97f4a7c15u ^ static_cast<uint64_t>(t.nbytes()) ^ (static_cast<uint64_t>(t.dtype()) << 56), t.size(), width_of(t.dtype()),
                 [&](int64_t begin, int64_t end, std::byte* out) { read_elements(t, begin, end, out); });
}

bool waits_in_file(const Tensor& t) {
  return t.valid() && t.dtype() != DType::kString && t.nbytes() >= kLarge && (t.deferred() != nullptr || is_mapped(t.bytes()));
}

Result<Tensor> tensor_of_file(DType dtype, Dims dims, const Blob& blob) {
  size_t width = width_of(dtype);
  bool aligned = width <= 1 || reinterpret_cast<uintptr_t>(blob.bytes().data()) % width == 0;
  if (dtype == DType::kString || aligned || static_cast<int64_t>(blob.size()) < kLarge || !is_mapped(blob.bytes())) return Tensor::from_blob(dtype, std::move(dims), blob);
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (static_cast<uint64_t>(storage_bytes(dtype, count)) != blob.size()) return Tensor::from_blob(dtype, std::move(dims), blob);  // the error's words are there
  return Tensor::deferred(dtype, std::move(dims), std::make_shared<Unaligned>(blob, width));
}

Tensor transposed_matrix(const Tensor& t) {
  Dims dims = {t.dims()[1], t.dims()[0]};
  if (waits_in_file(t)) return Tensor::deferred(t.dtype(), std::move(dims), std::make_shared<TransposedMatrix>(t));
  Tensor out = Tensor::uninitialized(t.dtype(), dims);
  transpose_rows(t.bytes().data(), t.dims(), width_of(t.dtype()), 0, dims[0], out.mutable_bytes());
  return out;
}

Tensor widened(const Tensor& t) {
  if (!waits_in_file(t)) return convert(t, DType::kF32);
  return Tensor::deferred(DType::kF32, t.dims(), std::make_shared<Widened>(t));
}

}  // namespace mlt
