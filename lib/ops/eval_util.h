// What reference evaluations share: output tensors of the right extents, and loops over elements with NumPy
// broadcasting. Extents come from the values themselves, so that a wrong declared type can never lead out of bounds.
#pragma once
#include <array>
#include <optional>
#include <vector>

#include "lib/base/threads.h"
#include "lib/ops/call.h"

namespace mlt::ops {

using Types = std::vector<ir::Type>;

// Extents of an operand: those of its value when there is one, otherwise of its type.
const Dims& dims_of(Call& call, std::string_view param, size_t i = 0);
// False when even the number of extents is open ("..." among them counts as open too).
bool is_ranked(Call& call, std::string_view param, size_t i = 0);
// The values of an integer parameter when they are known.
std::optional<std::vector<int64_t>> known_ints(Call& call, std::string_view param);
// A parameter that must hold a single number (default applies); fails the call otherwise. With `like`, a default is
// rounded to that parameter's element type first: MIL's defaults are "in the type of x".
float scalar_f32(Call& call, std::string_view param, std::string_view like = {});

// The type of a tensor whose extents are the elements of an integer vector parameter: open where they are not known.
Result<ir::Type> shaped_by(Call& call, std::string_view shape_param, DType dtype);

// out(i) with these extents: the one allocated from the inferred type, or a new one where that type was open.
// The dtype is the compute type of out_type(i). Fails the call (and returns an empty tensor) when dims are too large.
Tensor& output(Call& call, size_t i, const Dims& dims);
// Output i as a copy of `source`'s elements under other extents of equal product.
Status copy_to_output(Call& call, size_t i, const Tensor& source, const Dims& dims);

// Bytes of an element of a tensor in compute type: 4, or 1 for bool.
inline int64_t element_bytes(const Tensor& tensor) { return dtype_bits(tensor.dtype()) / 8; }

// Product of extents of a checked shape.
inline int64_t product(const Dims& dims, size_t begin, size_t end) {
  int64_t result = 1;
  for (size_t i = begin; i < end; ++i) result *= dims[i];
  return result;
}

// Broadcast operands walked in rows: axes that all operands walk evenly are merged, the last one is the row.
struct BroadcastPlan {
  Dims dims;                  // merged axes without the row
  std::vector<Dims> strides;  // of each operand along them
  int64_t row = 1, rows = 1;
  std::vector<int64_t> row_strides;  // of each operand along the row
};
BroadcastPlan plan_broadcast(const Dims& result, const std::vector<const Dims*>& operands);

// Calls f(first output element, offsets of the operands) for each row, on all threads.
template <size_t N, typename F>
void for_each_row(const BroadcastPlan& plan, F&& f) {
  constexpr int64_t kGrain = 1 << 14;  // elements worth handing to another thread
  parallel_for(plan.rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, plan.row)), [&](int64_t begin, int64_t end) {
    std::array<int64_t, N> offsets{};
    Dims index(plan.dims.size(), 0);
    int64_t rest = begin;
    for (size_t d = plan.dims.size(); d-- > 0;) {
      index[d] = rest % plan.dims[d];
      rest /= plan.dims[d];
      for (size_t k = 0; k < N; ++k) offsets[k] += index[d] * plan.strides[k][d];
    }
    for (int64_t r = begin; r < end; ++r) {
      f(r * plan.row, offsets);
      for (size_t d = plan.dims.size(); d-- > 0;) {
        for (size_t k = 0; k < N; ++k) offsets[k] += plan.strides[k][d];
        if (++index[d] < plan.dims[d]) break;
        for (size_t k = 0; k < N; ++k) offsets[k] -= plan.strides[k][d] * plan.dims[d];
        index[d] = 0;
      }
    }
  });
}

// out[i] = f(x[i])
template <typename In, typename Out, typename F>
void map_unary(const Tensor& x, Tensor& out, F f) {
  const In* in = x.data<In>();
  Out* to = out.mutable_data<Out>();
  parallel_for(out.size(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = f(in[i]);
  });
}

// out[i] = f(x[i], y[i]) with broadcasting; out's extents are the broadcast of x's and y's.
template <typename In, typename Out, typename F>
void map_binary(const Tensor& x, const Tensor& y, Tensor& out, F f) {
  if (out.size() == 0) return;
  BroadcastPlan plan = plan_broadcast(out.dims(), {&x.dims(), &y.dims()});
  const In *a = x.data<In>(), *b = y.data<In>();
  Out* to = out.mutable_data<Out>();
  int64_t step_a = plan.row_strides[0], step_b = plan.row_strides[1];
  for_each_row<2>(plan, [&](int64_t first, const std::array<int64_t, 2>& offsets) {
    const In *p = a + offsets[0], *q = b + offsets[1];
    Out* o = to + first;
    if (step_a == 1 && step_b == 1) {
      for (int64_t i = 0; i < plan.row; ++i) o[i] = f(p[i], q[i]);
    } else if (step_a == 1 && step_b == 0) {
      for (int64_t i = 0; i < plan.row; ++i) o[i] = f(p[i], *q);
    } else if (step_a == 0 && step_b == 1) {
      for (int64_t i = 0; i < plan.row; ++i) o[i] = f(*p, q[i]);
    } else {
      for (int64_t i = 0; i < plan.row; ++i) o[i] = f(p[i * step_a], q[i * step_b]);
    }
  });
}

// A view of a tensor by strides, copied row-major into `to`: out[i0, i1, ...] = from[sum of i * strides].
// Elements are `bytes` wide (1 or 4). All offsets must lie inside `from`.
void copy_strided(const std::byte* from, std::byte* to, const Dims& dims, const Dims& strides, int64_t bytes);

}  // namespace mlt::ops
