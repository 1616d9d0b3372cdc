#include "lib/kernels/lowbit.h"

#include <algorithm>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/kernels/convert.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/lowbit_target.h"
#include "lib/kernels/row_target.h"

namespace mlt {

const LowBitTarget* lowbit_simd();

namespace {

// Up to here weights are expanded once for every kLowBitRows rows; beyond, once for a whole block of rows.
constexpr int64_t kFewRows = 8;
constexpr int64_t kRowBlock = 256;
constexpr int64_t kPart = 128;  // activations that share a power of two, at most

unsigned code_at(const LowBitMatrix& w, int64_t index) {
  if (w.bits == 8) return w.codes[index];
  const int64_t bit = index * w.bits;
  const unsigned low = w.codes[bit / 8] >> (bit % 8);
  const unsigned high = bit % 8 + w.bits > 8 ? unsigned{w.codes[bit / 8 + 1]} << (8 - bit % 8) : 0;
  return (low | high) & ((1u << w.bits) - 1);
}
float number(const LowBitMatrix& w, unsigned code) {
  if (!w.is_signed) return static_cast<float>(code);
  const int span = 1 << w.bits;
  return static_cast<float>(static_cast<int>(code) >= span / 2 ? static_cast<int>(code) - span : static_cast<int>(code));
}

// The panel formats, one column after another.
float value_ref(const LowBitPanel& p, const uint8_t* codes, int64_t k, int64_t column) {
  const int64_t width = p.nv * 4;
  if (p.mode == LowBitMode::kByte) return static_cast<float>(static_cast<int8_t>(codes[k * width + column]));
  uint32_t word;
  std::memcpy(&word, codes + (k / 8 * width + column) * 4, 4);
  return p.tables[column / 4 * p.table_step + (word >> (4 * (k % 8)) & 15)];
}
float scale_ref(const LowBitPanel& p, const uint8_t* scales, int64_t column) {
  if (p.half) return half_to_float(reinterpret_cast<const uint16_t*>(scales)[column]);
  return reinterpret_cast<const float*>(scales)[column];
}
void expand_ref(const LowBitPanel& p, const uint8_t* scales, const uint8_t* codes, int64_t count, float* out) noexcept {
  const int64_t width = p.nv * 4;
  for (int64_t k = 0; k < count; ++k)
    for (int64_t j = 0; j < width; ++j) {
      const float o = p.shifted ? scale_ref(p, scales + width * (p.half ? 2 : 4), j) : 0;
      out[k * width + j] = (p.scaled ? scale_ref(p, scales, j) : 1) * (value_ref(p, codes, k, j) - o);
    }
}
void product_ref(const LowBitPanel& p) noexcept {
  const int64_t width = p.nv * 4;
  const int64_t scale_bytes = (p.scaled ? width * (p.half ? 2 : 4) : 0) * (p.shifted ? 2 : 1);
  const int64_t code_bytes = p.block * width / (p.mode == LowBitMode::kByte ? 1 : 2);
  for (int r = 0; r < p.rows; ++r)
    for (int64_t j = 0; j < width; ++j) {
      float total = 0;
      for (int64_t b = 0; b < p.blocks; ++b) {
        const uint8_t *scales = p.data + b * (scale_bytes + code_bytes), *codes = scales + scale_bytes;
        float sum = 0;
        for (int64_t k = 0; k < p.block; ++k) sum += p.x[r * p.ldx + b * p.block + k] * value_ref(p, codes, k, j);
        if (p.shifted) sum -= p.sums[r * p.lds + b] * scale_ref(p, scales + width * (p.half ? 2 : 4), j);
        total += (p.scaled ? scale_ref(p, scales, j) : 1) * sum;
      }
      p.out[r * width + j] = total;
    }
}
constexpr LowBitTarget kReference{false, nullptr, product_ref, expand_ref};

}  // namespace

void lowbit_row(const LowBitMatrix& w, int64_t row, float* out) noexcept {
  const int64_t first = w.table != nullptr ? 0 : row / w.row_block * (w.k / w.col_block);
  lowbit_row(w, row, w.scale != nullptr ? w.scale + first : nullptr, w.offset != nullptr ? w.offset + first : nullptr, out);
}

void lowbit_row(const LowBitMatrix& w, int64_t row, const float* scale, const float* offset, float* out) noexcept {
  const float* table = w.table != nullptr ? w.table + row / w.table_rows * (int64_t{1} << w.bits) : nullptr;
  for (int64_t k = 0; k < w.k; ++k) {
    const unsigned code = code_at(w, row * w.k + k);
    if (table != nullptr) {
      out[k] = table[code];
      continue;
    }
    const int64_t entry = k / w.col_block;
    out[k] = scale[entry] * (number(w, code) - (offset != nullptr ? offset[entry] : 0));
  }
}

int64_t PackedLowBit::block_bytes(int64_t width) const {
  const int64_t scales = scaled_ ? width * (half_ ? 2 : 4) * (shifted_ ? 2 : 1) : 0;
  return scales + block_ * width * bits_ / 8;
}

namespace {

// Eight codes of four bits as a panel of dot products has them: the first four in low nibbles.
uint32_t spread(uint32_t word) {
  auto bytes = [](uint32_t x) {
    x = (x | x << 8) & 0x00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f;
  };
  return bytes(word & 0xffff) | bytes(word >> 16) << 4;
}
// `count` codes as they are stored, in a word of `bits` each.
uint32_t word_at(const LowBitMatrix& w, int64_t index, int bits, int64_t count) {
  uint32_t word = 0;
  if (w.bits == bits && count * bits == 32 && index * bits % 8 == 0) {
    for (int64_t i = 0; i < 4; ++i) word |= uint32_t{w.codes[index * bits / 8 + i]} << (8 * i);
  } else {
    for (int64_t i = 0; i < count; ++i) word |= uint32_t{code_at(w, index + i)} << (i * bits);
  }
  return word;
}

}  // namespace

// Whether offsets are needed, and float16 holds both.
void PackedLowBit::set_scales(const LowBitMatrix& w) {
  const int64_t entries = w.n / w.row_block * (w.k / w.col_block);
  const float shift = stored_shift(w);
  half_ = true;
  shifted_ = false;
  constexpr int64_t kPiece = 512;
  float exact[kPiece], rounded[kPiece];
  for (int64_t from = 0; from < entries; from += kPiece) {
    const int64_t count = std::min(kPiece, entries - from);
    round_to_half(w.scale + from, rounded, count);
    for (int64_t i = 0; i < count; ++i) half_ = half_ && rounded[i] == w.scale[from + i];
    if (w.offset == nullptr && shift == 0) continue;
    for (int64_t i = 0; i < count; ++i) exact[i] = (w.offset != nullptr ? w.offset[from + i] : 0) - shift;
    round_to_half(exact, rounded, count);
    for (int64_t i = 0; i < count; ++i) {
      shifted_ = shifted_ || exact[i] != 0;
      half_ = half_ && rounded[i] == exact[i];
    }
  }
}

void PackedLowBit::fill(const LowBitMatrix& w) {
  const Panels panels(w.n, *gemm_);
  const int64_t lanes = panels.lanes, per_column = block_bytes(lanes) / lanes * blocks_;
  const float shift = stored_shift(w);
  const uint32_t flip = bias_ == 128 ? 0x80808080 : bias_ == 8 ? 0x88888888 : 0;
  parallel_for(panels.count, grain_for(w.k * lanes * 2), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t n0 = panels.first_column(panel), width = panels.width_in_vectors(panel) * lanes, cols = std::min(width, w.n - n0);
      const int64_t size = block_bytes(width), scale_bytes = scaled_ ? width * (half_ ? 2 : 4) : 0;
      const int64_t heads = scale_bytes * (shifted_ ? 2 : 1);
      uint8_t* to = data_.data<uint8_t>() + n0 * per_column;
      std::memset(to, 0, static_cast<size_t>(size * blocks_));
      for (int64_t b = 0; b < blocks_; ++b) {
        uint8_t* block = to + b * size;
        for (int64_t j = 0; scaled_ && j < cols; ++j) {
          const int64_t entry = (n0 + j) / w.row_block * (w.k / w.col_block) + b;
          const float s = w.scale[entry], o = (w.offset != nullptr ? w.offset[entry] : 0) - shift;
          if (half_) {
            reinterpret_cast<uint16_t*>(block)[j] = float_to_half(s);
            if (shifted_) reinterpret_cast<uint16_t*>(block + scale_bytes)[j] = float_to_half(o);
          } else {
            reinterpret_cast<float*>(block)[j] = s;
            if (shifted_) reinterpret_cast<float*>(block + scale_bytes)[j] = o;
          }
        }
        const int64_t k0 = b * block_, count = std::min(block_, w.k - k0);
        uint8_t* codes = block + heads;
        if (bits_ == 8 && !dot_) {
          for (int64_t j = 0; j < cols; ++j)
            for (int64_t k = 0; k < count; ++k) codes[k * width + j] = static_cast<uint8_t>(code_at(w, (n0 + j) * w.k + k0 + k) - (w.is_signed ? 0u : 128u));
          continue;
        }
        const int64_t step = 32 / bits_;
        for (int64_t k = 0; k < count; k += step)
          for (int64_t j = 0; j < cols; ++j) {
            uint32_t word = word_at(w, (n0 + j) * w.k + k0 + k, bits_, std::min(step, count - k));
            if (dot_) word = (bits_ == 4 ? spread(word) : word) ^ flip;
            std::memcpy(codes + (k / step * width + j) * 4, &word, 4);
          }
      }
    }
  });
}

Result<PackedLowBit> PackedLowBit::prepare(const LowBitMatrix& w, const PackedName& name, FunctionRef<const LowBitMatrix&()> scales) {
  if (w.n < 1 || w.k < 1 || w.n > (int64_t{1} << 40) / w.k) return usage_error("matrix product: weights of impossible size");
  PackedLowBit p;
  p.n_ = w.n;
  p.k_ = w.k;
  p.gemm_ = &gemm_target();
  p.target_ = use_reference() ? &kReference : lowbit_simd();
  p.bits_ = w.bits <= 4 ? 4 : 8;
  if (w.bits != 8 && w.bits > 4) return unsupported_error("codes of " + std::to_string(w.bits) + " bits");
  if (w.table != nullptr && p.bits_ != 4) return unsupported_error("a table of more than 16 entries");
  p.scaled_ = w.table == nullptr;
  p.mode_ = static_cast<int>(p.bits_ == 8 ? LowBitMode::kByte : w.table != nullptr ? LowBitMode::kTable : w.is_signed && w.bits == 4 ? LowBitMode::kSigned : LowBitMode::kUnsigned);
  if (w.is_signed && w.bits < 4) return unsupported_error("signed codes of " + std::to_string(w.bits) + " bits");
  const int64_t lanes = p.gemm_->lanes;
  const bool many_tables = w.table != nullptr && w.table_rows < w.n;
  if (many_tables && w.table_rows % lanes != 0) return unsupported_error("tables of " + std::to_string(w.table_rows) + " rows");

  p.block_ = w.table != nullptr ? w.k : w.col_block;
  p.blocks_ = w.k / p.block_;
  if (p.bits_ == 4 && p.block_ % 8 != 0) {
    if (p.blocks_ != 1) return unsupported_error("blocks of " + std::to_string(p.block_));
    p.block_ = (p.block_ + 7) / 8 * 8;  // padded with zeros, which meet zeros
  }
  p.dot_ = p.target_->dot && p.scaled_ && (p.block_ % 8 == 0 || p.blocks_ == 1);
  if (p.dot_) {
    p.block_ = (p.block_ + 7) / 8 * 8;
    p.bias_ = !w.is_signed ? 0 : p.bits_ == 8 ? 128 : 8;
  }
  // Tables: one for each vector of columns, or one for all.
  const Panels panels(w.n, *p.gemm_);
  p.one_table_ = !many_tables;
  if (!p.tables_.reset(static_cast<size_t>(many_tables ? panels.vectors : 1) * 16 * sizeof(float))) return resource_error("out of memory for packed weights");
  for (int64_t v = 0; v < (many_tables ? panels.vectors : 1); ++v)
    for (unsigned i = 0; i < 16; ++i) {
      float value = p.mode_ == static_cast<int>(LowBitMode::kSigned) ? static_cast<float>(static_cast<int>(i) - (i >= 8 ? 16 : 0)) : static_cast<float>(i);
      const int64_t entries = int64_t{1} << w.bits;
      if (w.table != nullptr) value = i < entries ? w.table[v * lanes / w.table_rows * entries + i] : 0;
      p.tables_.data()[v * 16 + i] = value;
    }

  // The name of a kept form says what its scales need.
  auto form = [&] {
    return form_name(p.dot_ ? "low bit dot" : "low bit", {lanes, p.bits_, p.mode_, p.bias_, p.block_, p.blocks_, p.scaled_, p.shifted_, p.half_});
  };
  auto bytes = [&] { return static_cast<size_t>(panels.padded_columns() * (p.block_bytes(lanes) / lanes * p.blocks_)); };
  for (int flags = 0; name.forms != nullptr && flags < (p.scaled_ ? 4 : 1); ++flags) {
    p.shifted_ = flags % 2 != 0;
    p.half_ = flags / 2 != 0;
    std::shared_ptr<const void> owner;
    std::string full = name.name;
    full += '\n';
    full += form();
    if (const std::byte* kept = name.forms->find(full, bytes(), &owner)) {
      p.data_.adopt(kept, bytes(), std::move(owner));
      return p;
    }
  }
  p.shifted_ = p.half_ = false;
  const LowBitMatrix& whole = scales();
  if (p.scaled_) p.set_scales(whole);
  MLT_TRY(prepare_form(p.data_, bytes(), name, form(), [&] {
    p.fill(whole);
    return Status();
  }));
  return p;
}

// Where things lie in the scratch of a few rows, in bytes.
struct PackedLowBit::Scratch {
  Scratch(const PackedLowBit& w, int64_t m) {
    auto take = [&](int64_t bytes) {
      const size_t at = size;
      size += align_up(static_cast<size_t>(bytes)) * static_cast<size_t>(m);
      return at;
    };
    const int64_t k = w.block_ * w.blocks_;
    row = static_cast<int64_t>(align_up(static_cast<size_t>(k) * sizeof(float)) / sizeof(float));
    sums_row = static_cast<int64_t>(align_up(static_cast<size_t>(w.blocks_) * sizeof(float)) / sizeof(float));
    x = take(row * 4);
    sums = take(sums_row * 4);
    if (!w.dot_) return;
    part = std::min(w.block_, kPart);
    parts = (w.block_ + part - 1) / part * w.blocks_;
    plane = static_cast<int64_t>(align_up(static_cast<size_t>(k)));
    digits = take(plane * kLowBitDigits);
    scales = take(parts * 4);
    scales_row = static_cast<int64_t>(align_up(static_cast<size_t>(parts) * 4) / 4);
    starts = take(scales_row * 4 * kLowBitDigits);
  }
  size_t x = 0, sums = 0, digits = 0, scales = 0, starts = 0, size = 0;
  int64_t row = 0, sums_row = 0, plane = 0, part = 0, parts = 0, scales_row = 0;
};

size_t PackedLowBit::scratch_bytes(int64_t m) const noexcept { return m > kFewRows ? 0 : Scratch(*this, m).size; }

void PackedLowBit::run_few(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f,
                           const float* residual, int64_t ldr, float* scratch) const noexcept {
  const RowTarget& row = row_target();
  const ElementwiseTarget& ew = elementwise_target();
  const Scratch at(*this, m);
  auto* memory = reinterpret_cast<std::byte*>(scratch);
  auto *xs = reinterpret_cast<float*>(memory + at.x), *sums = reinterpret_cast<float*>(memory + at.sums);
  auto* digits = reinterpret_cast<int8_t*>(memory + at.digits);
  auto* scales = reinterpret_cast<float*>(memory + at.scales);
  auto* starts = reinterpret_cast<int32_t*>(memory + at.starts);
  for (int64_t i = 0; i < m; ++i) {
    float* x = xs + i * at.row;
    std::copy_n(a + i * lda, k_, x);
    std::fill(x + k_, x + at.row, 0.0f);
    for (int64_t b = 0; shifted_ && b < blocks_; ++b) sums[i * at.sums_row + b] = static_cast<float>(row.sum(x + b * block_, block_));
    for (int64_t b = 0, part = 0; dot_ && b < blocks_; ++b)
      for (int64_t from = 0; from < block_; from += at.part, ++part) {
        const int64_t k = b * block_ + from, p = i * at.scales_row + part;
        scales[p] = target_->digits(x + k, std::min(at.part, block_ - from), bias_, digits + i * at.plane * kLowBitDigits + k, at.plane,
                                    starts + p * kLowBitDigits);
        // Infinities and the like: in float.
        if (scales[p] < 0) return run_many(m, a, lda, c, ldc, bias, f, residual, ldr);
      }
  }
  const int most = dot_ ? kLowBitDotRows : kLowBitRows;
  const Panels panels(n_, *gemm_);
  const int64_t per_column = block_bytes(panels.lanes) / panels.lanes * blocks_;
  parallel_for(panels.count, grain_for(m * k_ * panels.widest * panels.lanes / 8), [&](int64_t begin, int64_t end) {
    alignas(64) float out[kLowBitRows * 48];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n0 = panels.first_column(i);
      LowBitPanel p;
      p.mode = static_cast<LowBitMode>(mode_);
      p.nv = static_cast<int>(panels.width_in_vectors(i));
      p.block = block_;
      p.blocks = blocks_;
      p.data = data_.data<uint8_t>() + n0 * per_column;
      p.scaled = scaled_;
      p.shifted = shifted_;
      p.half = half_;
      p.tables = tables_.data() + (one_table_ ? 0 : n0 / panels.lanes * 16);
      p.table_step = one_table_ ? 0 : 16;
      p.ldx = at.row;
      p.lds = at.sums_row;
      p.dot = dot_;
      p.digit_plane = at.plane;
      p.digit_row = at.plane * kLowBitDigits;
      p.x_block = at.part;
      p.part_row = at.scales_row;
      p.out = out;
      const int64_t width = p.nv * panels.lanes, cols = std::min(width, n_ - n0);
      for (int64_t r = 0; r < m; r += most) {
        p.rows = static_cast<int>(std::min<int64_t>(most, m - r));
        p.x = xs + r * at.row;
        p.sums = sums + r * at.sums_row;
        p.digits = digits + r * p.digit_row;
        p.x_scale = scales + r * at.scales_row;
        p.starts = starts + r * at.scales_row * kLowBitDigits;
        target_->product(p);
        for (int q = 0; q < p.rows; ++q) {
          float* y = out + q * width;
          if (bias != nullptr) row.accumulate(Reduce::kSum, bias + n0, y, cols);
          if (residual != nullptr) row.accumulate(Reduce::kSum, residual + (r + q) * ldr + n0, y, cols);
          float* to = c + (r + q) * ldc + n0;
          if (f.op != Unary::kIdentity) {
            ew.unary(f.op, y, to, cols, f.a, f.b);
          } else {
            std::copy_n(y, cols, to);
          }
        }
      }
    }
  });
}

void PackedLowBit::run_many(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f,
                            const float* residual, int64_t ldr) const noexcept {
  const Panels panels(n_, *gemm_);
  const int64_t per_column = block_bytes(panels.lanes) / panels.lanes * blocks_;
  const int64_t row_blocks = (m + kRowBlock - 1) / kRowBlock, rows = (m + row_blocks - 1) / row_blocks;
  parallel_for(panels.count * row_blocks, 1, [&](int64_t begin, int64_t end) {
    constexpr int64_t kBuffer = 16 * 1024;
    alignas(64) float buffer[kBuffer];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t i = task % panels.count, m0 = task / panels.count * rows, m1 = std::min(m, m0 + rows), n0 = panels.first_column(i);
      LowBitPanel p;
      p.mode = static_cast<LowBitMode>(mode_);
      p.nv = static_cast<int>(panels.width_in_vectors(i));
      p.scaled = scaled_;
      p.shifted = shifted_;
      p.half = half_;
      p.dot = dot_;
      p.bias = static_cast<float>(bias_);
      p.tables = tables_.data() + (one_table_ ? 0 : n0 / panels.lanes * 16);
      p.table_step = one_table_ ? 0 : 16;
      const int64_t width = p.nv * panels.lanes, size = block_bytes(width), heads = size - block_ * width * bits_ / 8;
      const uint8_t* data = data_.data<uint8_t>() + n0 * per_column;
      const int64_t most = kBuffer / width / 8 * 8;  // of k, at once
      for (int64_t k0 = 0; k0 < k_;) {
        // Whole small blocks, or a piece of a large one.
        int64_t filled = 0;
        while (filled < most && k0 + filled < k_) {
          const int64_t k = k0 + filled, b = k / block_, within = k % block_, count = std::min(block_ - within, most - filled);
          if (within == 0 && count < block_ && filled > 0) break;
          const uint8_t* block = data + b * size;
          target_->expand(p, block, block + heads + within * width * bits_ / 8, count, buffer + filled * width);
          filled += count;
        }
        const int64_t kc = std::min(filled, k_ - k0);
        const bool last = k0 + kc == k_;
        Tile t;
        t.k = kc;
        t.lda = lda;
        t.ldc = ldc;
        t.ldr = ldr;
        t.accumulate = k0 > 0;
        if (last) t.f = f;
        t.nv = p.nv;
        t.cols = std::min(width, n_ - n0);
        t.b = buffer;
        t.bias_col = last && bias != nullptr ? bias + n0 : nullptr;
        const int64_t step = balanced_tile(m1 - m0, gemm_->mr);
        for (int64_t r = m0; r < m1; r += step) {
          t.rows = static_cast<int>(std::min(step, m1 - r));
          t.a = a + r * lda + k0;
          t.c = c + r * ldc + n0;
          t.residual = k0 == 0 && residual != nullptr ? residual + r * ldr + n0 : nullptr;
          gemm_->direct(t);
        }
        k0 += kc;
      }
    }
  });
}

void PackedLowBit::run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f,
                       const float* residual, int64_t ldr, void* scratch) const noexcept {
  if (m <= 0) return;
  if (m <= kFewRows) return run_few(m, a, lda, c, ldc, bias, f, residual, ldr, static_cast<float*>(scratch));
  run_many(m, a, lda, c, ldc, bias, f, residual, ldr);
}

}  // namespace mlt
