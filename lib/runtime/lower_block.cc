// Blocks of convolutions, found by fuse_blocks.
#include <memory>

#include "lib/kernels/gated_product.h"
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
  const int mean = block.shape.mean ? l.out(1) : -1;
  lowered.run = [shared, x, out, residual, mean, pitch](RunContext& c) {
    shared->run(c.f32(x), c.f32_out(out), pitch, residual >= 0 ? c.f32(residual) : nullptr, c.scratch, mean >= 0 ? c.f32_out(mean) : nullptr);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {{"conv", "nhwc block", lower_block}};

}  // namespace

std::optional<Lowered> lower_gated(Lowering& l, const ConvShape& shape) {
  const int x = l.in("x"), gate = l.in("gate"), weight = l.in("weight"), bias = l.in("bias"), out = l.out(), residual = l.node().residual;
  Tensor weights, biases = bias >= 0 ? l.constant(bias) : Tensor();
  const auto floats = [&]() -> const float* { return (weights = l.constant(weight)).data<float>(); };
  auto plan = GatedProduct::prepare({shape.batch, shape.in[0] * shape.in[1], shape.in_channels, shape.out_channels}, floats,
                                    bias >= 0 ? biases.data<float>() : nullptr, l.node().act.value_or(Activation{}), l.packed_name(weight));
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<GatedProduct>(std::move(*plan));
  const int64_t pitch = l.pitch(out);
  Lowered lowered;
  lowered.kernel = shared->kernel();
  lowered.scratch = shared->scratch_bytes();
  lowered.packed = shared->weight_bytes();
  if (residual >= 0 && pitch == shape.out_channels) lowered.in_place = {residual};
  lowered.run = [shared, x, gate, out, residual, pitch](RunContext& c) {
    shared->run(c.f32(x), c.f32(gate), c.f32_out(out), pitch, residual >= 0 ? c.f32(residual) : nullptr, c.scratch);
    return Status();
  };
  return lowered;
}

std::span<const LowerRow> block_lowerings() { return kRows; }

}  // namespace mlt
