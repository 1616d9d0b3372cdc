// Attention, found by fuse_attention.
#include "lib/base/threads.h"
#include "lib/runtime/attention_plan.h"

namespace mlt {
namespace {

std::optional<Lowered> lower_attention(Lowering& l) {
  if (l.node().attention == nullptr) return l.refuse("operands that strides cannot describe, or a mask of another kind");
  AttentionPlan plan = *l.node().attention;
  plan.shape.slots = thread_count();
  // Sources may have come to lie in another order of bytes since.
  plan.q.id = l.in("query"), plan.k.id = l.in("key"), plan.v.id = l.in("value"), plan.mask.id = l.in("attn_mask"), plan.bias.id = l.in("bias");
  plan.k_tail.id = l.in("key", 1), plan.v_tail.id = l.in("value", 1);
  for (int id : {plan.q.id, plan.k.id, plan.v.id, plan.mask.id, plan.bias.id, plan.k_tail.id, plan.v_tail.id})
    if (id >= 0) l.keep_constant(id);
  const int out = l.out();
  Lowered lowered;
  lowered.kernel = plan.shape.queries == 1 ? "attention one query" : "attention tiled";
  lowered.reads_anywhere = lowered.writes_anywhere = true;
  lowered.scratch = attention_scratch_bytes(plan.shape);
  lowered.run = [plan, out](RunContext& c) {
    const void* mask = nullptr;
    if (plan.mask.id >= 0) {
      const int64_t element = plan.shape.mask_kind == Attention::Mask::kFloat ? 4 : 1;
      mask = c.tensor(plan.mask.id).bytes().data() + plan.mask.offset * element;
    }
    attention(plan.shape, c.f32(plan.q.id) + plan.q.offset, c.f32(plan.k.id) + plan.k.offset, c.f32(plan.v.id) + plan.v.offset, mask,
              c.f32_out(out), c.scratch, plan.k_tail.id >= 0 ? c.f32(plan.k_tail.id) : nullptr, plan.v_tail.id >= 0 ? c.f32(plan.v_tail.id) : nullptr,
              plan.bias.id >= 0 ? c.f32(plan.bias.id) + plan.bias.offset : nullptr);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {{"scaled_dot_product_attention", "attention", lower_attention}};

}  // namespace

std::span<const LowerRow> attention_lowerings() { return kRows; }

}  // namespace mlt
