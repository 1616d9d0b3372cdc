// Windows, Fourier transforms and mel filters: products with constant matrices.
#include <cmath>
#include <numbers>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

constexpr double kTau = 2 * std::numbers::pi;
constexpr int64_t kMaxTransform = 1 << 13;

int64_t number(Ctx& c, size_t i, std::string_view what) { return c.known(i, what).at(0); }

// Sum of cosines, as all three windows are.
void window(Ctx& c, double a0, double a1, double a2) {
  int64_t n = number(c, 0, "size");
  bool periodic = c.i64("periodic", 1) != 0;
  DType type = dtype_from_onnx(c.i64("output_datatype", 1)).value_or(DType::kF32);
  if (n < 0 || n > (1 << 24)) bad_input("a size of " + std::to_string(n));
  double denominator = static_cast<double>(periodic ? n : n - 1);
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    double t = n == 1 && !periodic ? 0 : kTau * static_cast<double>(i) / denominator;
    values.push_back(static_cast<float>(a0 - a1 * std::cos(t) + a2 * std::cos(2 * t)));
  }
  c.out(0, c.l.floats(values), type);
}
void hann(Ctx& c) { window(c, 0.5, 0.5, 0); }
void hamming(Ctx& c) { window(c, 25.0 / 46, 1 - 25.0 / 46, 0); }
void blackman(Ctx& c) { window(c, 0.42, 0.5, 0.08); }

// cos or sin of -2 pi j k / period for j < rows, k < cols.
Tensor rotation(int64_t rows, int64_t cols, int64_t period, bool sine, double factor) {
  Tensor m = Tensor::uninitialized(DType::kF32, {rows, cols});
  for (int64_t j = 0; j < rows; ++j)
    for (int64_t k = 0; k < cols; ++k) {
      double t = -kTau * static_cast<double>((j * k) % period) / static_cast<double>(period);
      m.mutable_data<float>()[j * cols + k] = static_cast<float>(factor * (sine ? std::sin(t) : std::cos(t)));
    }
  return m;
}

void dft(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0);
  int64_t rank = Lower::rank(x);
  bool inverse = c.i64("inverse", 0) != 0, onesided = c.i64("onesided", 0) != 0;
  int64_t axis = c.version() >= 20 ? (c.opt(2) ? number(c, 2, "axis") : -2) : c.i64("axis", 1);
  axis = Lower::axis_of(axis, rank);
  if (axis == rank - 1) bad_input("the axis of the complex parts cannot be transformed");
  int64_t have = Lower::dims(x)[static_cast<size_t>(axis)], n = c.opt(1) ? number(c, 1, "dft_length") : inverse && onesided ? 2 * (have - 1) : have;
  if (have < 0 || n <= 0 || n > kMaxTransform) unsupported("a transform of " + (have < 0 ? std::string("unknown length") : std::to_string(n) + " elements"));
  int64_t parts = Lower::dims(x)[static_cast<size_t>(rank - 1)];
  V re = l.squeeze(l.slice(x, rank - 1, 0, 1), {rank - 1}), im = parts == 2 ? l.squeeze(l.slice(x, rank - 1, 1, 2), {rank - 1}) : nullptr;
  int64_t used = std::min(have, n);
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank - 1; ++i) perm.push_back(i);
  std::swap(perm[static_cast<size_t>(axis)], perm.back());
  auto prepare = [&](V v) {
    if (used < have) v = l.slice(v, axis, 0, used);
    return l.transpose(v, perm);
  };
  re = prepare(re);
  if (im) im = prepare(im);
  auto finish = [&](V a, V b) { c.out(0, b ? l.stack({l.transpose(a, perm), l.transpose(b, perm)}, rank - 1) : l.expand_dims(l.transpose(a, perm), {rank - 1}), c.type(0)); };
  if (inverse && onesided) {  // the other half of the spectrum is the conjugate: a real signal comes out
    if (im == nullptr) bad_input("an inverse one-sided transform needs complex input");
    int64_t half = n / 2 + 1;
    if (used > half) {
      re = l.slice(re, rank - 2, 0, half);
      im = l.slice(im, rank - 2, 0, half);
      used = half;
    }
    Tensor cosines = rotation(used, n, n, false, 1.0 / static_cast<double>(n)), sines = rotation(used, n, n, true, 1.0 / static_cast<double>(n));
    for (int64_t j = 1; j < used; ++j)
      if (2 * j != n)
        for (int64_t k = 0; k < n; ++k) {
          cosines.mutable_data<float>()[j * n + k] *= 2;
          sines.mutable_data<float>()[j * n + k] *= 2;
        }
    return finish(l.add(l.matmul(re, l.constant(cosines)), l.matmul(im, l.constant(sines))), nullptr);
  }
  int64_t bins = onesided ? n / 2 + 1 : n;
  double factor = inverse ? 1.0 / static_cast<double>(n) : 1;
  V cosines = l.constant(rotation(used, bins, n, false, factor)), sines = l.constant(rotation(used, bins, n, true, inverse ? -factor : factor));
  V out_re = l.matmul(re, cosines), out_im = l.matmul(re, sines);
  if (im) {
    out_re = l.sub(out_re, l.matmul(im, sines));
    out_im = l.add(out_im, l.matmul(im, cosines));
  }
  finish(out_re, out_im);
}

// Frames and transform at once: a strided convolution whose kernels are the windowed cosines and sines.
void stft_of(Ctx& c, V signal, int64_t step, V window_value, std::optional<int64_t> frame, bool onesided) {
  Lower& l = c.l;
  const Tensor* window = window_value ? Lower::known(window_value) : nullptr;
  if (window_value && window == nullptr) unsupported("a window that is not constant");
  int64_t n = window ? window->size() : frame.value_or(0);
  if (step <= 0 || n <= 0 || n > kMaxTransform) bad_input("frame_step or frame_length is out of range");
  V im = nullptr;
  if (Lower::rank(signal) == 3) {
    int64_t parts = Lower::dims(signal)[2];
    if (parts == 2) im = l.squeeze(l.slice(signal, 2, 1, 2), {2});
    signal = l.squeeze(parts == 2 ? l.slice(signal, 2, 0, 1) : signal, {2});
  }
  int64_t bins = onesided ? n / 2 + 1 : n;
  Tensor cosines = rotation(bins, n, n, false, 1), sines = rotation(bins, n, n, true, 1);
  if (window) {
    std::vector<float> w = to_floats(*window);
    for (int64_t k = 0; k < bins; ++k)
      for (int64_t j = 0; j < n; ++j) {
        cosines.mutable_data<float>()[k * n + j] *= w[static_cast<size_t>(j)];
        sines.mutable_data<float>()[k * n + j] *= w[static_cast<size_t>(j)];
      }
  }
  V cos_kernel = l.constant(cosines.reshaped({bins, 1, n})), sin_kernel = l.constant(sines.reshaped({bins, 1, n}));
  auto frames = [&](V x, V kernel) {
    V y = l.op("conv", {{"x", l.expand_dims(x, {1})}, {"weight", kernel}, {"strides", l.ints({step})}, {"pad_type", l.str("valid")}, {"pad", l.ints({0, 0})}, {"dilations", l.ints({1})}, {"groups", l.i32(1)}});
    return l.transpose(y, {0, 2, 1});
  };
  V re = frames(signal, cos_kernel), out_im = frames(signal, sin_kernel);
  if (im) {
    re = l.sub(re, frames(im, sin_kernel));
    out_im = l.add(out_im, frames(im, cos_kernel));
  }
  c.out(0, l.stack({re, out_im}, 3), c.type(0));
}

void stft(Ctx& c) {
  bool onesided = c.i64("onesided", 1) != 0;
  std::optional<int64_t> frame;
  if (c.opt(3)) frame = number(c, 3, "frame_length");
  stft_of(c, c.fin(0), number(c, 1, "frame_step"), c.opt(2), frame, onesided);
}

// com.microsoft.experimental: inputs signal, window, length, step.
void stft_experimental(Ctx& c) {
  bool onesided = c.i64("onesided", 1) != 0;
  V signal = c.fin(0);
  stft_of(c, signal, number(c, 3, "frame_step"), c.opt(1), c.opt(2) ? std::optional(number(c, 2, "frame_length")) : std::nullopt, onesided);
}

void mel_weights(Ctx& c) {
  int64_t bands = number(c, 0, "num_mel_bins"), length = number(c, 1, "dft_length"), rate = number(c, 2, "sample_rate");
  double low = c.known_floats(3, "lower_edge_hertz").at(0), high = c.known_floats(4, "upper_edge_hertz").at(0);
  DType type = dtype_from_onnx(c.i64("output_datatype", 1)).value_or(DType::kF32);
  if (bands <= 0 || bands > 4096 || length <= 0 || length > kMaxTransform * 4 || rate <= 0) bad_input("parameters out of range");
  int64_t bins = length / 2 + 1;
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  std::vector<int64_t> edges;
  double low_mel = mel(low), step = (mel(high) - low_mel) / static_cast<double>(bands + 2);
  for (int64_t i = 0; i < bands + 2; ++i) {
    double hertz = 700 * (std::pow(10, (static_cast<double>(i) * step + low_mel) / 2595) - 1);
    edges.push_back(static_cast<int64_t>(std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate))));
  }
  Tensor out = Tensor::zeros(DType::kF32, {bins, bands});
  float* m = out.mutable_data<float>();
  auto put = [&](int64_t bin, int64_t band, double value) {
    if (bin >= 0 && bin < bins) m[bin * bands + band] = static_cast<float>(value);
  };
  for (int64_t i = 0; i < bands; ++i) {
    int64_t from = edges[static_cast<size_t>(i)], peak = edges[static_cast<size_t>(i) + 1], to = edges[static_cast<size_t>(i) + 2];
    if (peak == from) put(peak, i, 1);
    else for (int64_t j = from; j <= peak; ++j) put(j, i, static_cast<double>(j - from) / static_cast<double>(peak - from));
    if (to > peak)
      for (int64_t j = peak; j < to; ++j) put(j, i, static_cast<double>(to - j) / static_cast<double>(to - peak));
  }
  c.out(0, c.l.constant(std::move(out)), type);
}

constexpr const char* kExperimental = "com.microsoft.experimental";
constexpr Row kRows[] = {
    {"BlackmanWindow", blackman}, {"DFT", dft, "", "length known"}, {"HammingWindow", hamming}, {"HannWindow", hann},
    {"MelWeightMatrix", mel_weights}, {"STFT", stft, "", "window constant"}, {"BlackmanWindow", blackman, kExperimental},
    {"HammingWindow", hamming, kExperimental}, {"HannWindow", hann, kExperimental}, {"MelWeightMatrix", mel_weights, kExperimental},
    {"STFT", stft_experimental, kExperimental},
};

}  // namespace

std::span<const Row> families::signal() { return kRows; }

}  // namespace mlt::foreign::onnx
