// Non-maximum suppression of boxes, as a model of its own (source: NonMaximumSuppression.proto).
#pragma once
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct NmsParams {
  bool per_class = false;  // suppress only among boxes whose most confident class is the same
  double iou_threshold = 0, confidence_threshold = 0;
  std::string confidence_input, coordinates_input, iou_input, threshold_input;  // the last two may be empty
  std::string confidence_output, coordinates_output;
};

// Indices of the boxes kept, most confident first (the earlier of equals). scores: [n, classes]; boxes: [n, 4] as centre
// x, centre y, width, height. A box is dropped when its best score is below the threshold, or when it overlaps a kept
// one by more than iou_threshold.
std::vector<int64_t> suppress(const float* scores, const float* boxes, int64_t n, int64_t classes, double iou_threshold,
                              double confidence_threshold, bool per_class, int64_t max_boxes = -1);

// Outputs have the element type of the inputs; rows are padded with zeros and cut to the declared shape.
Result<std::unique_ptr<Estimator>> make_nms(Interface interface, NmsParams params);

}  // namespace mlt
