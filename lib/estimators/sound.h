// The sound preprocessing of VGGish: 975 ms of samples at 16 kHz to a log mel spectrogram (sources:
// SoundAnalysisPreprocessing.proto; Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017; the
// HTK mel scale).
#pragma once
#include <span>
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

inline constexpr int64_t kSoundSamples = 15600, kSoundFrames = 96, kSoundBands = 64;

// 15600 samples -> [96, 64]: frames of 400 samples every 160, a periodic Hann window, magnitudes of a transform of length
// 512, 64 triangles from 125 to 7500 Hz, log(x + 0.01).
std::vector<double> log_mel_spectrogram(std::span<const double> samples);

Result<std::unique_ptr<Estimator>> make_sound_preprocessing(Interface interface);

}  // namespace mlt
