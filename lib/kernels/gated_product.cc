#include "lib/kernels/gated_product.h"

#include <algorithm>

#include "lib/kernels/depthwise_target.h"
#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {
namespace {

constexpr int64_t kSmallImage = 400;    // pixels; such are cut by channels, as a DepthwiseBlock before them is
constexpr int64_t kManyChannels = 192;

}  // namespace

Result<GatedProduct> GatedProduct::prepare(const Shape& shape, FunctionRef<const float*()> weights, const float* bias, const Activation& f, const PackedName& name) {
  const int64_t k = shape.in_channels, n = shape.out_channels;
  if (shape.batch < 1 || shape.pixels < 1 || k < 1 || n < 1 || n > (int64_t{1} << 40) / k || shape.pixels > (int64_t{1} << 40) / k)
    return usage_error("product: impossible size");
  GatedProduct p;
  p.shape_ = shape;
  p.f_ = f;
  p.target_ = &gemm_target();
  p.parts_ = shape.pixels <= kSmallImage && k >= kManyChannels && k <= 2 * kProductDepth ? 2 : 1;
  p.depth_ = p.parts_ == 1 ? balanced_depth(k, kProductDepth) : (k / 2 + p.target_->lanes - 1) / p.target_->lanes * p.target_->lanes;
  const size_t bytes = static_cast<size_t>(Panels(n, *p.target_).padded_columns() * k) * sizeof(float);
  MLT_TRY(prepare_form(p.weights_, bytes, name, form_name("gated panels", {n, k, p.depth_, p.target_->lanes}), [&] {
    pack_columns(*p.target_, weights(), n, k, k, 1, p.depth_, p.weights_.data());
    return Status();
  }));
  if (!p.bias_.reset(static_cast<size_t>(n) * sizeof(float))) return resource_error("out of memory for a convolution's weights");
  for (int64_t i = 0; i < n; ++i) p.bias_.data()[i] = bias != nullptr ? bias[i] : 0;
  p.name_ = std::string("nhwc gated pointwise ") + p.target_->name;
  return p;
}

size_t GatedProduct::scratch_bytes() const {
  const int64_t sums = parts_ > 1 ? parts_ * shape_.pixels * shape_.out_channels : 0;
  return align_up(scales_weights() ? weights_.bytes() : static_cast<size_t>(shape_.pixels * shape_.in_channels) * sizeof(float)) + static_cast<size_t>(sums) * sizeof(float) + kSlack;
}

// Each thread has the channels that it made in the step before.
void GatedProduct::run_parts(const float* in, const float* gate, float* out, int64_t pitch, const float* residual, float* scratch) const noexcept {
  const int64_t k = shape_.in_channels, n = shape_.out_channels, m = shape_.pixels;
  const Panels panels(n, *target_);
  const DepthwiseTarget& loops = depthwise_target();
  const ElementwiseTarget& ew = elementwise_target();
  float* sums = scratch + align_up(scales_weights() ? weights_.bytes() : static_cast<size_t>(m * k) * sizeof(float)) / sizeof(float);
  parallel_for(parts_, grain_for(m * n * k / 8), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t k0 = part * depth_, kc = std::min(depth_, k - k0);
      Product product{*target_, m, n, kc, kc, in + k0, k, weights_.data() + panels.padded_columns() * k0, nullptr, sums + part * m * n, n, 1.0f, nullptr, {}, nullptr, 0};
      if (scales_weights()) {
        float* scaled = scratch + panels.padded_columns() * k0;
        for (int64_t i = 0; i < panels.count; ++i) {
          const int64_t at = panels.first_column(i) * kc;
          loops.scale(product.packed + at, panels.width_in_vectors(i) * panels.lanes, kc, gate + k0, scaled + at);
        }
        product.packed = scaled;
      } else {
        float* scaled = scratch + m * k0;
        for (int64_t i = 0; i < m; ++i) ew.binary(Binary::kMul, in + i * k + k0, 1, gate + k0, 1, scaled + i * kc, kc);
        product.a = scaled;
        product.lda = kc;
      }
      run_product(product);
    }
  });
  parallel_for(m, grain_for(n * parts_ * 4), [&](int64_t begin, int64_t end) {
    loops.combine({sums + begin * n, parts_, m * n, bias_.data(), residual != nullptr ? residual + begin * n : nullptr, out + begin * pitch, pitch, n, end - begin, f_});
  });
}

void GatedProduct::run(const float* in, const float* gate, float* out, int64_t pitch, const float* residual, void* scratch) const noexcept {
  const int64_t k = shape_.in_channels, n = shape_.out_channels, m = shape_.pixels;
  const Panels panels(n, *target_);
  const DepthwiseTarget& loops = depthwise_target();
  const ElementwiseTarget& ew = elementwise_target();
  float* scaled = static_cast<float*>(scratch);
  for (int64_t image = 0; image < shape_.batch; ++image, in += m * k, gate += k, out += m * pitch) {
    if (parts_ > 1) {
      run_parts(in, gate, out, pitch, residual, scaled);
      if (residual != nullptr) residual += m * n;
      continue;
    }
    Product product{*target_, m, n, k, depth_, in, k, weights_.data(), nullptr, out, pitch, 1.0f, bias_.data(), f_, residual, n};
    if (scales_weights()) {
      parallel_for(panels.count, grain_for(k * panels.widest * panels.lanes / 4), [&](int64_t begin, int64_t end) {
        for (int64_t k0 = 0; k0 < k; k0 += depth_) {
          const int64_t kc = std::min(depth_, k - k0);
          for (int64_t i = begin; i < end; ++i) {
            const int64_t at = panels.padded_columns() * k0 + panels.first_column(i) * kc;
            loops.scale(weights_.data() + at, panels.width_in_vectors(i) * panels.lanes, kc, gate + k0, scaled + at);
          }
        }
      });
      product.packed = scaled;
    } else {
      parallel_for(m, grain_for(k / 4), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ew.binary(Binary::kMul, in + i * k, 1, gate, 1, scaled + i * k, k);
      });
      product.a = scaled;
    }
    run_product(product);
    if (residual != nullptr) residual += m * n;
  }
}

}  // namespace mlt
