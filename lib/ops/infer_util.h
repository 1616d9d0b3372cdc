// Shape arithmetic shared by the families: broadcasting, windows, axes. Extents may be ir::kUnknown throughout.
#pragma once
#include <vector>

#include "lib/ops/call.h"

namespace mlt::ops {

// NumPy broadcasting. kUnknown against 1 is unknown, against n > 1 is n.
Result<Dims> broadcast(const Dims& a, const Dims& b);
// The extents after broadcasting as strides into a row-major operand: 0 along broadcast axes, aligned right to `rank`.
Dims broadcast_strides(const Dims& operand, const Dims& result);

// axis in [-rank, rank) to [0, rank); an error otherwise.
Result<int64_t> normalize_axis(int64_t axis, int64_t rank);
Result<std::vector<int64_t>> normalize_axes(const std::vector<int64_t>& axes, int64_t rank);  // also refuses duplicates

// Padding of one spatial window op. kSameLower puts the odd element before, kSame (upper) after.
enum class PadType { kValid, kSame, kSameLower, kCustom };
Result<PadType> pad_type_from_name(const std::string& name);  // "valid", "same", "same_lower", "custom"
struct Window {
  int64_t kernel = 1, stride = 1, dilation = 1, pad_before = 0, pad_after = 0;
  // Output extent for `input`, rounded down; kUnknown stays unknown. Negative results are an error of the caller's
  // shape. Pooling's rule for rounding up is in pool.cc.
  int64_t output(int64_t input) const;
};
// Window along each spatial axis: fills paddings from pad_type; `pad` holds before/after pairs for kCustom.
Result<std::vector<Window>> make_windows(PadType type, const Dims& input, const std::vector<int64_t>& kernel,
                                         const std::vector<int64_t>& strides, const std::vector<int64_t>& dilations,
                                         const std::vector<int64_t>& pad);

// Inference shared by many rows: the output has x's type.
Result<std::vector<ir::Type>> infer_same_as_x(Call& call);
// The same, where every constant number is a single one.
Result<std::vector<ir::Type>> infer_with_scalars(Call& call);

// Calls f(linear index) style iteration helper: advances a multi-index; false when it wraps to zero.
bool next_index(Dims& index, const Dims& dims);

}  // namespace mlt::ops
