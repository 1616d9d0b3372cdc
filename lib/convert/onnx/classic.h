// What the files of ai.onnx.ml share.
#pragma once
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {

inline constexpr const char* kMl = "ai.onnx.ml";

// Input i as fp32 rows.
V matrix(Ctx& c, size_t i);
V post_transform(Ctx& c, V scores, const std::string& how, bool binary_pair);
V arg_max(Ctx& c, V scores);
// Output 0 of a classifier: labels for class numbers.
void label_output(Ctx& c, V best, size_t classes);
// How many labels the classifier's attributes name.
size_t class_count(Ctx& c);
// Strings chosen by numbers in [0, labels.size()).
Val coded(V index, std::vector<std::string> labels);
// Passes strings through operators that only change extents; false when the node is none of these or its input no strings.
bool pass_strings(Ctx& c);

namespace classic_rows {
void tree_classifier(Ctx& c);
void tree_regressor(Ctx& c);
void tree_ensemble(Ctx& c);
void label_encoder(Ctx& c);
void category_mapper(Ctx& c);
void array_feature_extractor(Ctx& c);
void zip_map(Ctx& c);
}  // namespace classic_rows

}  // namespace mlt::foreign::onnx
