// Fusion at plan level: an activation and a residual addition become the epilogue of the convolution or linear layer
// before them.
#pragma once
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lib/runtime/plan.h"

namespace mlt {

// The kernel library's name for an elementwise op with constant parameters, or nothing.
std::optional<Activation> activation_of(Node& node);

// The kernel library's names for broadcasting operations on two operands; of one of them, or nothing.
struct BinaryKind {
  std::string_view kind;
  Binary op;
};
std::span<const BinaryKind> binary_kinds();
std::optional<Binary> binary_of(std::string_view kind);

// A batch_norm node as x * scale + bias for each channel; says in l.refusal why not.
struct ScaleBias {
  std::vector<float> scale, bias;
};
std::optional<ScaleBias> folded_batch_norm(Lowering& l, int64_t channels);

// A channel shuffle: `groups` groups of channels, and for each output the first shuffled channel it has.
struct ShufflePlan {
  int64_t groups = 1;
  std::vector<int64_t> first;
};
void fuse_shuffles(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);
std::optional<Lowered> lower_shuffle(Lowering& l);  // of a node that is one

// Tokens that become images and images that become tokens.
void fuse_turns(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

void fuse_epilogues(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

}  // namespace mlt
