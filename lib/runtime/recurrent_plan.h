// Recurrent layers that do not wait for each other, as the two directions of one do: run side by side, as one step.
#pragma once
#include <memory>
#include <vector>

#include "lib/runtime/plan.h"

namespace mlt {

// Whether the kernels take an lstm, gru or rnn; says in l.refusal why not. Their lowering then refuses for want of memory alone.
bool takes_recurrent(Lowering& l);

// Has the later of two layers of the same kind, as many steps and the same batch take the other in, as Node::twin.
void fuse_recurrent(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

// Of a node that has a twin: both.
std::vector<StepInfo> recurrent_parts(const Plan& plan, const Node& node);

}  // namespace mlt
