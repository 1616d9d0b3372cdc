// Attention found in a graph: scores, scale, mask, softmax and the product with the values as one node, its operands
// read where they lie behind transposes, splits and slices. Internal to lib/runtime.
#pragma once
#include <memory>
#include <vector>

#include "lib/kernels/attention.h"
#include "lib/runtime/plan.h"

namespace mlt {

struct AttentionPlan {
  Attention shape;  // slots are set when the node is lowered
  struct Source {
    int id = -1;
    int64_t offset = 0;  // elements
  };
  Source q, k, v, mask, bias;
  Source k_tail, v_tail;  // where the shape has a tail
  Dims query_dims, key_dims;  // for profiles: [batch..., queries, depth], [batch..., keys, depth]
};

// A value as a strided view of another one that is stored densely.
struct StridedView {
  int id = -1;
  Dims dims, strides;
  int64_t offset = 0;
};
// The same elements in the same order under other extents, when strides can say it.
bool reshape_view(StridedView& view, const Dims& dims);
// Looks through the ops that make `id` as long as they only move elements, or, with `factor`, multiply by a number, which that
// then takes in. `producer` gives the node of a value, or null.
StridedView view_of(const Plan& plan, const std::vector<Node*>& producer, int id, float* factor = nullptr);

void fuse_attention(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

}  // namespace mlt
