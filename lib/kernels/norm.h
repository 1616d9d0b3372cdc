// Softmax and normalisations, float32. In place (out == in) is allowed everywhere.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

// Along the middle axis of [outer, axis, inner]; inner = 1 is the last axis. The largest element is subtracted first.
// A slice that is all -infinity gives NaN.
void softmax(const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept;
void log_softmax(const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept;

// (x - mean) / sqrt(var + eps) * gamma + beta over the last axis of [outer, inner]; gamma, beta: [inner] or null.
void layer_norm(const float* in, float* out, int64_t outer, int64_t inner, const float* gamma, const float* beta,
                float eps) noexcept;
// As layer_norm, without subtracting the mean: x / sqrt(mean(x^2) + eps) * gamma.
void rms_norm(const float* in, float* out, int64_t outer, int64_t inner, const float* gamma, float eps) noexcept;
// Statistics over each group of channels and everything inside them, of [batch, channels, inner]; gamma, beta by
// channel or null. groups = channels is instance norm, groups = 1 is layer norm with per-channel gamma.
void group_norm(const float* in, float* out, int64_t batch, int64_t channels, int64_t inner, int64_t groups,
                const float* gamma, const float* beta, float eps) noexcept;
// x / sqrt(sum(x^2) + eps) over the last axis of [outer, inner].
void l2_normalize(const float* in, float* out, int64_t outer, int64_t inner, float eps) noexcept;
// x / (k + alpha / size * sum of squares over `size` neighbouring channels)^beta, of [batch, channels, inner]; the
// window reaches (size - 1) / 2 channels back and size / 2 ahead. Not in place.
void local_response_norm(const float* in, float* out, int64_t batch, int64_t channels, int64_t inner, int64_t size,
                         float alpha, float beta, float k) noexcept;

}  // namespace mlt
