// Blocks of convolutions, found by fuse_blocks.
#include <memory>

#include "lib/runtime/block_plan.h"

namespace mlt {
namespace {

// What one layer's constants are read from, alive while the block is prepared.
class Source {
 public:
  Source(Lowering& l, const BlockPlan::Layer& layer)
      : l_(l), layer_(layer), bias_(layer.bias >= 0 ? l.constant(layer.bias) : Tensor()),
        half_(l.stored_dtype(layer.weight) == DType::kF16 ? l.stored_constant(layer.weight) : Tensor()) {}
  const float* operator()() { return (weights_ = l_.constant(layer_.weight)).data<float>(); }
  DepthwiseBlock::Layer layer() {
    return {*this, half_.valid() ? reinterpret_cast<const uint16_t*>(half_.bytes().data()) : nullptr, bias_.valid() ? bias_.data<float>() : nullptr, layer_.f,
            l_.packed_name(layer_.weight)};
  }

 private:
  Lowering& l_;
  const BlockPlan::Layer& layer_;
  Tensor weights_, bias_, half_;
};

std::optional<Lowered> lower_block(Lowering& l) {
  const BlockPlan& block = *l.node().block;
  std::optional<Source> expand, project;
  std::optional<DepthwiseBlock::Layer> before, behind;
  if (block.expand) before = expand.emplace(l, *block.expand).layer();
  if (block.project) behind = project.emplace(l, *block.project).layer();
  Source depthwise(l, block.depthwise);
  auto plan = DepthwiseBlock::prepare(block.shape, before ? &*before : nullptr, depthwise.layer(), behind ? &*behind : nullptr);
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<DepthwiseBlock>(std::move(*plan));
  const int x = l.in("x"), out = l.out(), residual = l.node().residual;
  const int64_t pitch = l.pitch(out);
  Lowered lowered;
  lowered.kernel = shared->kernel();
  lowered.scratch = shared->scratch_bytes();
  lowered.packed = shared->weight_bytes();
  if (residual >= 0 && pitch == block.shape.out_channels) lowered.in_place = {residual};
  lowered.run = [shared, x, out, residual, pitch](RunContext& c) {
    shared->run(c.f32(x), c.f32_out(out), pitch, residual >= 0 ? c.f32(residual) : nullptr, c.scratch);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {{"conv", "nhwc block", lower_block}};

}  // namespace

std::span<const LowerRow> block_lowerings() { return kRows; }

}  // namespace mlt
