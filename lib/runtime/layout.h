// Where images are kept with channels innermost. Convolutions and pooling are faster so, but turning an image costs a pass
// over it: whole regions of a graph are chosen, when what their convolutions save is more than turning their borders.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "lib/kernels/conv.h"
#include "lib/kernels/pool.h"
#include "lib/runtime/plan.h"

namespace mlt {

// [N, C, H, W], or less with ones before it, as the bytes of an image with channels innermost lie: [N, H, W, C].
Dims channels_last_dims(const Dims& dims);
// One channel or one pixel: both orders are the same bytes.
bool is_orderless(const Dims& dims);
// A float value of rank 4, no constant, for which the order matters.
bool is_image(const Plan& plan, int id);

// The shape of a conv node; says in l.refusal why there is none.
std::optional<ConvShape> conv_shape(Lowering& l);

// The windows of a pooling node; says in l.refusal why there are none.
std::optional<PoolShape> pool_shape(Lowering& l, Pool op);

// Whether a node with channels innermost reads its image x as it is declared: a convolution of few channels that nothing turned.
bool reads_planar(Plan& plan, Node& node);

// Marks nodes, and lets convolutions write into the concatenations that read them.
void choose_layouts(Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes);

}  // namespace mlt
