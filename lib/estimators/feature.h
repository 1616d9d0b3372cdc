// Feature values: what goes into a model and comes out of it, whatever its kind. A model's prediction maps a
// FeatureMap to a FeatureMap (source: FeatureTypes.proto).
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt {

enum class PixelOrder : uint8_t { kGray, kRgb, kBgr };

// Pixels as [height, width, channels], row 0 on top: uint8, or fp16/fp32 for GRAYSCALE_FLOAT16. channels is 1 for
// kGray, else 3; alpha is dropped by whoever reads the file.
struct Image {
  int width = 0, height = 0, channels = 0;
  PixelOrder order = PixelOrder::kRgb;
  Tensor pixels;
};

// A dictionary maps class labels or words to numbers; ordered by key, so that output is the same everywhere.
using StringDict = std::map<std::string, double>;
using IntDict = std::map<int64_t, double>;
using IntList = std::vector<int64_t>;
using StringList = std::vector<std::string>;

// A multi-array is a Tensor of any numeric element type.
using FeatureValue = std::variant<std::monostate, int64_t, double, std::string, Tensor, Image, StringDict, IntDict, IntList, StringList>;
using FeatureMap = std::map<std::string, FeatureValue, std::less<>>;

// "int64", "double", "string", "multi-array fp32 1x3", "image 4x4", "dictionary", "sequence", "nothing"; for messages.
std::string feature_text(const FeatureValue& value);

// The value of a feature that must be there; kInput naming it otherwise.
Result<const FeatureValue*> require_feature(const FeatureMap& features, std::string_view name);
// Numbers as estimators read them: int64, double, and multi-arrays of one element count as a scalar.
Result<double> feature_number(const FeatureMap& features, std::string_view name);
// All numbers of an int64, a double or a multi-array, in row-major order. kInput for anything else.
Result<std::vector<double>> feature_numbers(const FeatureMap& features, std::string_view name);

}  // namespace mlt
