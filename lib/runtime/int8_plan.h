// Eight-bit arithmetic found in a graph: operations between dequantize and quantize, whose tensors stay codes of one byte.
// Internal to lib/runtime.
//
// Values that only such nodes read or make have PlanValue::codes: uint8 in the arena (lib/kernels/int8.h), images with
// channels innermost. Quantize and dequantize themselves remain where codes meet floats.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/kernels/int8.h"
#include "lib/runtime/plan.h"

namespace mlt {

struct Int8Plan {
  enum class Kind { kQuantize, kDequantize, kProduct, kAdd, kPool, kConcat, kSplit, kReshape, kTranspose, kMap, kScale, kNorm, kPick };
  Kind kind = Kind::kProduct;
  // Sources of the node: "x", and "residual" or "y", or "values".
  Codes x{}, y{}, out{};
  std::vector<Codes> values{};  // kConcat: of the sources; kSplit: of the results
  int64_t axis = 0;             // of these, in the order of the type
  std::vector<int64_t> perm{};  // kTranspose, in the order of the type
  Activation f{};               // kAdd
  CodeTable table{};            // kMap
  // By channel: kScale multiplies by the one, or by the codes "y", or adds the other; kNorm does both.
  std::vector<float> factor{}, shift{};
  float epsilon = 0;                         // kNorm
  std::vector<int32_t> pick_y{}, pick_x{};  // kPick: the row and the column that each of the result's is
  uint8_t nan = 0;              // kQuantize, kNorm: what MIL's quantize gives for what is no number

  ConvShape shape{};  // kProduct; of linear and matmul an image [rows, 1]
  std::vector<int8_t> weights{};
  std::vector<float> weight_scale{}, bias{};
  Int8Epilogue epilogue{};
  // Convolutions of one and of three axes: their codes have the channels innermost already, and still.
  bool innermost_in = false, innermost_out = false;

  Pool pool{};
  PoolShape window{};
  bool floats = false;  // kPool: a mean that is not quantized
};

// Weights of eight bits or fewer around zero, one scale for each entry of `axis`. Says in `reason` why there are none.
struct Int8Weights {
  std::vector<int8_t> codes;  // in the order of the tensor
  std::vector<float> scale;
  Dims dims;
};
std::optional<Int8Weights> int8_weights(ops::Call& constexpr_op, size_t axis, std::string& reason);

// Rewrites nodes; those that could have been and are not get Node::int8_refusal.
void fuse_int8(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes);

}  // namespace mlt
