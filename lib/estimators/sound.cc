#include "lib/estimators/sound.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

namespace mlt {
namespace {

constexpr int64_t kFrame = 400, kHop = 160, kLength = 512, kBins = kLength / 2 + 1;
constexpr double kRate = 16000, kLow = 125, kHigh = 7500, kOffset = 0.01;

double mel(double hertz) { return 1127.0 * std::log(1.0 + hertz / 700.0); }

// Radix 2, in place; twiddles[k] = exp(-2 pi i k / kLength).
void transform(std::vector<std::complex<double>>& x, const std::vector<std::complex<double>>& twiddles) {
  auto n = static_cast<size_t>(kLength);
  for (size_t i = 1, j = 0; i < n; ++i) {
    size_t bit = n / 2;
    for (; j & bit; bit /= 2) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (size_t width = 2; width <= n; width *= 2)
    for (size_t from = 0; from < n; from += width)
      for (size_t k = 0; k < width / 2; ++k) {
        std::complex<double> a = x[from + k], b = x[from + k + width / 2] * twiddles[k * (n / width)];
        x[from + k] = a + b;
        x[from + k + width / 2] = a - b;
      }
}

class SoundPreprocessing : public Estimator {
 public:
  explicit SoundPreprocessing(Interface interface) : interface_(std::move(interface)) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    const std::string& name = interface_.inputs[0].name;
    MLT_ASSIGN(std::vector<double> samples, feature_numbers(inputs, name));
    if (static_cast<int64_t>(samples.size()) != kSoundSamples)
      return input_error("feature \"" + name + "\": expected " + std::to_string(kSoundSamples) + " samples, got " + std::to_string(samples.size()));
    Port port = interface_.outputs[0];
    auto declared = element_count(port.shape);
    if (!declared.ok() || *declared != kSoundFrames * kSoundBands) port.shape = {1, kSoundFrames, kSoundBands};
    FeatureMap out;
    MLT_ASSIGN(out[port.name], shaped_numbers(port, log_mel_spectrogram(samples)));
    return out;
  }

 private:
  Interface interface_;
};

}  // namespace

std::vector<double> log_mel_spectrogram(std::span<const double> samples) {
  constexpr double kPi = std::numbers::pi;
  std::vector<double> window(kFrame);
  for (int64_t i = 0; i < kFrame; ++i) window[static_cast<size_t>(i)] = 0.5 - 0.5 * std::cos(2 * kPi * static_cast<double>(i) / kFrame);
  std::vector<std::complex<double>> twiddles(kLength), x(kLength);
  for (int64_t k = 0; k < kLength; ++k) twiddles[static_cast<size_t>(k)] = std::polar(1.0, -2 * kPi * static_cast<double>(k) / kLength);
  // Triangles that are straight on the mel scale; the bin of 0 Hz belongs to none.
  std::vector<double> weights(static_cast<size_t>(kBins * kSoundBands), 0.0);
  auto edge = [](int64_t i) { return mel(kLow) + (mel(kHigh) - mel(kLow)) * static_cast<double>(i) / (kSoundBands + 1); };
  for (int64_t bin = 1; bin < kBins; ++bin)
    for (int64_t band = 0; band < kSoundBands; ++band) {
      double at = mel(static_cast<double>(bin) * kRate / 2 / (kBins - 1));
      double rise = (at - edge(band)) / (edge(band + 1) - edge(band)), fall = (edge(band + 2) - at) / (edge(band + 2) - edge(band + 1));
      weights[static_cast<size_t>(bin * kSoundBands + band)] = std::max(0.0, std::min(rise, fall));
    }
  std::vector<double> out(static_cast<size_t>(kSoundFrames * kSoundBands), 0.0);
  for (int64_t frame = 0; frame < kSoundFrames; ++frame) {
    std::fill(x.begin(), x.end(), 0.0);
    for (int64_t i = 0; i < kFrame; ++i) x[static_cast<size_t>(i)] = samples[static_cast<size_t>(frame * kHop + i)] * window[static_cast<size_t>(i)];
    transform(x, twiddles);
    double* row = out.data() + frame * kSoundBands;
    for (int64_t bin = 1; bin < kBins; ++bin) {
      double magnitude = std::abs(x[static_cast<size_t>(bin)]);
      for (int64_t band = 0; band < kSoundBands; ++band) row[band] += magnitude * weights[static_cast<size_t>(bin * kSoundBands + band)];
    }
    for (int64_t band = 0; band < kSoundBands; ++band) row[band] = std::log(row[band] + kOffset);
  }
  return out;
}

Result<std::unique_ptr<Estimator>> make_sound_preprocessing(Interface interface) {
  if (interface.inputs.size() != 1 || interface.outputs.size() != 1) return input_error("sound preprocessing: needs one input and one output");
  if (interface.outputs[0].type != PortType::kArray) return input_error("sound preprocessing: the output is no multi-array");
  return std::unique_ptr<Estimator>(std::make_unique<SoundPreprocessing>(std::move(interface)));
}

}  // namespace mlt
