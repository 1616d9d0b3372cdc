#include "lib/kernels/bf16.h"

#include <bit>
#include <cmath>
#include <vector>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {

const Bf16Target* bf16_simd();

namespace {

#if defined(__x86_64__)
bool has_instruction() {
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
}
bool is_quick() {
  static const bool quick = __builtin_cpu_is("amd");
  return quick;
}
#else
bool has_instruction() { return false; }
bool is_quick() { return false; }
#endif

uint16_t bits_of(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace

float round_to_bf16(float x) noexcept { return std::bit_cast<float>(uint32_t{bits_of(x)} << 16); }

bool bf16_native() noexcept { return !use_reference() && bf16_simd() != nullptr && has_instruction(); }
bool bf16_fast() noexcept { return bf16_native() && is_quick(); }

Result<PackedBf16> PackedBf16::prepare(int64_t n, int64_t k, PackedWeights::Floats w, int64_t row_stride, int64_t col_stride, const PackedName& name) {
  if (n < 1 || k < 1 || n > (int64_t{1} << 40) / k) return usage_error("matrix product: weights of impossible size");
  PackedBf16 p;
  p.n_ = n;
  p.k_ = k;
  p.pairs_ = (k + 1) / 2;
  p.row_ = p.pairs_ % 512 == 0 ? p.pairs_ + 16 : p.pairs_;  // rows of a power of two would share cache sets
  if (!bf16_native()) {
    p.row_ = k;
    std::vector<float> rounded(static_cast<size_t>(n * k));
    const float* from = w();
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) rounded[static_cast<size_t>(i * k + j)] = round_to_bf16(from[i * row_stride + j * col_stride]);
    MLT_ASSIGN(p.rounded_, PackedWeights::pack(n, k, rounded.data()));
    return p;
  }
  p.target_ = bf16_simd();
  const GemmTarget& gemm = *p.target_->gemm;
  const int64_t depth = balanced_depth(p.pairs_, kProductDepth);
  const size_t bytes = static_cast<size_t>(Panels(n, gemm).padded_columns() * p.pairs_) * sizeof(uint32_t);
  MLT_TRY(prepare_form(p.data_, bytes, name, form_name(gemm.name, {n, k, depth, row_stride}), [&]() -> Status {
    AlignedBuffer pairs;
    if (!pairs.reset(static_cast<size_t>(n * p.pairs_) * sizeof(uint32_t))) return resource_error("out of memory for packed weights");
    const float* from = w();
    auto* to = pairs.data<uint32_t>();
    parallel_for(n, grain_for(k), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < k; j += 2) {
          const float* at = from + i * row_stride + j * col_stride;
          to[i * p.pairs_ + j / 2] = bits_of(at[0]) | (j + 1 < k ? uint32_t{bits_of(at[col_stride])} << 16 : 0);
        }
    });
    pack_columns(gemm, pairs.data<uint32_t>(), n, p.pairs_, p.pairs_, 1, depth, p.data_.data<uint32_t>());
    return {};
  }));
  return p;
}

size_t PackedBf16::scratch_bytes(int64_t m) const noexcept { return static_cast<size_t>(m * row_) * sizeof(float) + kSlack; }

void PackedBf16::run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f, const float* residual,
                     int64_t ldr, void* scratch) const noexcept {
  if (m <= 0) return;
  auto* rows = static_cast<float*>(scratch);
  parallel_for(m, grain_for(k_), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (target_ == nullptr) {
        for (int64_t j = 0; j < k_; ++j) rows[i * row_ + j] = round_to_bf16(a[i * lda + j]);
        continue;
      }
      auto* pairs = reinterpret_cast<uint16_t*>(rows + i * row_);
      target_->narrow(a + i * lda, pairs, k_);
      if (k_ % 2 != 0) pairs[k_] = 0;
    }
  });
  if (target_ == nullptr) return rounded_.run(m, rows, row_, c, ldc, bias, f, residual, ldr);
  run_product({*target_->gemm, m, n_, pairs_, balanced_depth(pairs_, kProductDepth), rows, row_, data_.data<float>(), nullptr, c, ldc, 1, bias, f,
               residual, ldr});
}

}  // namespace mlt
