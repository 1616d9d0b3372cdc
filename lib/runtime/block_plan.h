// A depthwise convolution and the 1x1 convolutions around it as one node, or a convolution and the pooling behind it. Internal to
// lib/runtime.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "lib/kernels/depthwise_block.h"
#include "lib/kernels/pool.h"
#include "lib/runtime/plan.h"

namespace mlt {

struct BlockPlan {
  struct Layer {
    const ir::Op* op = nullptr;
    int weight = -1, bias = -1;
    Activation f{};
    ir::Type in, out;
    size_t fused = 0;  // further ops of its epilogue
  };
  DepthwiseBlock::Shape shape;
  std::optional<Layer> expand, project;
  Layer depthwise;
};

// Its convolutions as steps of their own.
std::vector<StepInfo> block_parts(const BlockPlan& block);

// A convolution and the maxima over windows of its output, which has no other reader.
struct MaximaPlan {
  ConvShape conv;
  PoolShape pool;
  BlockPlan::Layer layer;
  const ir::Op* op = nullptr;  // the pooling
  ir::Type out;
};
std::vector<StepInfo> maxima_parts(const MaximaPlan& maxima);

// A 1x1 convolution whose source "gate" is a factor for each channel of its image.
std::optional<Lowered> lower_gated(Lowering& l, const ConvShape& shape);

// Joins convolutions whose images have channels innermost, a gate and the convolution behind it, or a convolution and the
// pooling behind it: after choose_layouts.
void fuse_blocks(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

}  // namespace mlt
