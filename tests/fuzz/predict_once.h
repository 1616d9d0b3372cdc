// One prediction on made-up inputs, for fuzz targets. What inputs and activations may take is limited: a big model is
// not a finding, and slow.
#pragma once
#include "lib/container/open.h"
#include "lib/runtime/predictor.h"

inline void predict_once(const mlt::OpenedModel& model) {
  using namespace mlt;
  PredictOptions options;
  options.exec.max_bytes = size_t{1} << 20;
  options.exec.max_iterations = 100;
  auto predictor = Predictor::create(model, options);
  if (!predictor.ok()) return;
  FeatureMap inputs;
  for (const auto& feature : (*predictor)->description().inputs) {
    switch (feature.type.kind) {
      case coreml::FeatureKind::kInt64: inputs[feature.name] = int64_t{1}; break;
      case coreml::FeatureKind::kDouble: inputs[feature.name] = 0.5; break;
      case coreml::FeatureKind::kString: inputs[feature.name] = std::string("a"); break;
      case coreml::FeatureKind::kMultiArray: {
        auto count = element_count(feature.type.array.shape);
        if (!count.ok() || *count > 1 << 16) return;
        inputs[feature.name] = Tensor::zeros(DType::kF32, feature.type.array.shape);
        break;
      }
      case coreml::FeatureKind::kImage: {
        const auto& type = feature.type.image;
        if (type.width < 1 || type.height < 1 || type.width > 256 || type.height > 256) return;
        Image image;
        image.width = static_cast<int>(type.width);
        image.height = static_cast<int>(type.height);
        image.channels = 3;
        image.pixels = Tensor::zeros(DType::kU8, {image.height, image.width, 3});
        inputs[feature.name] = std::move(image);
        break;
      }
      default: break;
    }
  }
  auto state = (*predictor)->initial_state();
  if (state.ok()) (void)(*predictor)->predict(inputs, &*state);
}
