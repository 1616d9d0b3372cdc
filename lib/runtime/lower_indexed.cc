// Elements and slices at indices that are tensors: read, or combined into others.
#include <algorithm>
#include <cstring>
#include <span>

#include "lib/base/threads.h"
#include "lib/kernels/convert.h"
#include "lib/kernels/scatter.h"
#include "lib/kernels/transpose.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

using ops::product;

// The rule for indices is the reference's (scatter_gather.cc): checked in opsets before CoreML7, afterwards when the op
// asks for it, and then negative ones are out of range; otherwise a gather reads zeros at an index out of range, and a
// scatter leaves it out. Index i belongs to the axis of extents[i % depth].
struct IndexRule {
  bool validate = false, negative = false;
  int depth = 1;
  std::array<int64_t, kMaxRank> extents{};

  IndexRule(Lowering& l, std::span<const int64_t> axes) : depth(static_cast<int>(axes.size())) {
    const bool asks = l.call.info().param("validate_indices") != nullptr;
    validate = !asks || l.call.flag("validate_indices");
    negative = !asks;
    std::copy(axes.begin(), axes.end(), extents.begin());
  }
  Status check(const int32_t* at, int64_t count) const {
    constexpr int64_t kTogether = 64;
    for (int d = 0; validate && d < depth; ++d) {
      const int64_t extent = extents[static_cast<size_t>(d)], lowest = negative ? -extent : 0;
      for (int64_t from = d; from < count; from += kTogether * depth) {
        const int64_t end = std::min(count, from + kTogether * depth);
        int wrong = 0;
        for (int64_t i = from; i < end; i += depth) wrong |= at[i] < lowest || at[i] >= extent;
        for (int64_t i = from; wrong != 0 && i < end; i += depth)
          if (at[i] < lowest || at[i] >= extent)
            return input_error("index " + std::to_string(at[i]) + " is out of range for an axis of " + std::to_string(extent));
      }
    }
    return {};
  }
  IndexTuples tuples(const int32_t* at) const { return {at, depth, extents}; }
};

// Slices behind `batch` axes, each addressed by indices along the `depth` axes behind them.
std::optional<Lowered> lower_tuples(Lowering& l, size_t batch, size_t depth, int64_t count) {
  const int x = l.in("x"), indices = l.in("indices"), out = l.out();
  const Dims& xd = l.dims(x);
  if (depth == 0 || depth > static_cast<size_t>(kMaxRank)) return l.refuse("indices");
  const IndexRule rule(l, std::span(xd).subspan(batch, depth));
  const int64_t batches = product(xd, 0, batch), slices = product(xd, batch, batch + depth), inner = product(xd, batch + depth, xd.size());
  l.keep_constant(x);
  l.keep_constant(indices);
  const int element = l.element_bytes(x);
  Lowered lowered;
  lowered.kernel = inner == 1 ? "elements" : "rows";
  lowered.run = [=](RunContext& c) -> Status {
    const auto* at = c.tensor(indices).data<int32_t>();
    MLT_TRY(rule.check(at, batches * count * rule.depth));
    gather_tuples(c.tensor(x).bytes().data(), rule.tuples(at), c.out(out).mutable_bytes(), batches, slices, inner, count, element);
    return {};
  };
  return lowered;
}

std::optional<Lowered> lower_batched_gather(Lowering& l, size_t axis) {
  const auto batch = static_cast<size_t>(l.call.i64("batch_dims"));
  const Dims& id = l.dims(l.in("indices"));
  if (batch != axis || batch > id.size()) return l.refuse("axes between those of the batch and the indexed one");
  return lower_tuples(l, batch, 1, product(id, batch, id.size()));
}

std::optional<Lowered> lower_gather_nd(Lowering& l) {
  const int x = l.in("x"), indices = l.in("indices");
  if (!l.type(x).is_tensor() || l.type(x).dtype == DType::kString) return l.refuse("element type");
  const Dims &xd = l.dims(x), &id = l.dims(indices);
  const int64_t batch = l.call.info().param("batch_dims") != nullptr ? l.call.i64("batch_dims") : 0;
  if (id.empty() || batch < 0 || batch >= static_cast<int64_t>(id.size()) || batch + id.back() > static_cast<int64_t>(xd.size())) return l.refuse("indices");
  const auto b = static_cast<size_t>(batch);
  return lower_tuples(l, b, static_cast<size_t>(id.back()), product(id, b, id.size() - 1));
}

std::optional<Lowered> lower_gather(Lowering& l) {
  int x = l.in("x"), indices = l.in("indices"), out = l.out();
  if (!l.type(x).is_tensor() || l.type(x).dtype == DType::kString || l.dims(x).empty()) return l.refuse("element type");
  const Dims& xd = l.dims(x);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(xd.size()));
  if (!axis) return l.refuse("axis");
  if (l.call.info().param("batch_dims") != nullptr && l.call.i64("batch_dims") != 0) return lower_batched_gather(l, static_cast<size_t>(*axis));
  int64_t outer = 1, inner = 1, extent = xd[static_cast<size_t>(*axis)], count = *element_count(l.dims(indices));
  for (size_t i = 0; i < xd.size(); ++i) {
    if (i < static_cast<size_t>(*axis)) outer *= xd[i];
    if (i > static_cast<size_t>(*axis)) inner *= xd[i];
  }
  // One slice, behind nothing but single extents, is there already.
  if (count == 1 && outer == 1 && l.is_constant(indices) && !l.is_constant(x)) {
    const int64_t index = to_ints(l.constant(indices))[0];
    if (index >= 0 && index < extent) {
      Lowered view;
      view.kernel = "view";
      view.in_place = {x};
      view.is_view = true;
      view.offsets = {index * inner * l.element_bytes(x)};
      return view;
    }
  }
  // Tables of weights are looked up as they are stored.
  std::shared_ptr<const CompressedWeight> few_bits = *axis == 0 ? l.compressed(x) : nullptr;
  Tensor stored = few_bits == nullptr && *axis == 0 && l.type(x).dtype == DType::kF16 ? l.stored_constant(x) : Tensor();
  const bool half = stored.valid() && stored.dtype() == DType::kF16;
  if (few_bits == nullptr && !half) l.keep_constant(x);
  l.keep_constant(indices);
  int element = l.element_bytes(x);
  Lowered lowered;
  if (few_bits != nullptr) lowered.scratch = static_cast<size_t>(few_bits->row_room()) * sizeof(float);
  lowered.kernel = half ? "rows float16" : few_bits != nullptr ? "rows low-bit" : "rows";
  const IndexRule rule(l, std::span(&extent, 1));
  lowered.run = [=](RunContext& c) -> Status {
    const auto* at = c.tensor(indices).data<int32_t>();
    MLT_TRY(rule.check(at, count));
    if (half || few_bits != nullptr) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = at[i] < 0 ? at[i] + extent : at[i];
        float* to = c.f32_out(out) + i * inner;
        if (row < 0 || row >= extent) {
          std::fill_n(to, inner, 0.0f);
        } else if (half) {
          half_to_float(stored.data<uint16_t>() + row * inner, to, inner);
        } else {
          few_bits->row(row, reinterpret_cast<float*>(c.scratch), to);
        }
      }
      return {};
    }
    gather_rows(c.tensor(x).bytes().data(), at, c.out(out).mutable_bytes(), outer, extent, inner, count, element);
    return {};
  };
  return lowered;
}

std::optional<Lowered> lower_gather_along_axis(Lowering& l) {
  const int x = l.in("x"), indices = l.in("indices"), out = l.out();
  if (!l.type(x).is_tensor() || l.type(x).dtype == DType::kString || l.dims(x).empty()) return l.refuse("element type");
  const Dims &xd = l.dims(x), &od = l.dims(out);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(xd.size()));
  if (!axis || od.size() != xd.size()) return l.refuse("axis");
  const size_t on = static_cast<size_t>(*axis);
  const int64_t outer = product(xd, 0, on), inner = product(xd, on + 1, xd.size()), count = od[on];
  const int64_t extent = xd[on];
  const IndexRule rule(l, std::span(&extent, 1));
  l.keep_constant(x);
  l.keep_constant(indices);
  const int element = l.element_bytes(x);
  Lowered lowered;
  lowered.kernel = "elements";
  lowered.run = [=](RunContext& c) -> Status {
    const auto* at = c.tensor(indices).data<int32_t>();
    MLT_TRY(rule.check(at, outer * count * inner));
    gather_along(c.tensor(x).bytes().data(), at, c.out(out).mutable_bytes(), outer, extent, inner, count, element);
    return {};
  };
  return lowered;
}

struct ScatterKind {
  std::string_view mode;
  Scatter op;
};
constexpr ScatterKind kScatter[] = {{"update", Scatter::kUpdate}, {"add", Scatter::kAdd}, {"sub", Scatter::kSub}, {"mul", Scatter::kMul},
                                    {"div", Scatter::kDiv},       {"max", Scatter::kMax}, {"min", Scatter::kMin}};

// data, copied unless it is there already, and what `combine` (called with the elements' type) does to it.
template <typename Combine>
std::optional<Lowered> lower_into_copy(Lowering& l, const IndexRule& rule, const Combine& combine) {
  const int data = l.in("data"), indices = l.in("indices"), updates = l.in("updates"), out = l.out();
  const DType type = compute_dtype(l.type(data).dtype);
  if (type != compute_dtype(l.type(updates).dtype) || (type != DType::kF32 && type != DType::kI32)) return l.refuse("element type");
  const std::string mode = l.call.str("mode");
  const auto* row = std::find_if(std::begin(kScatter), std::end(kScatter), [&](const ScatterKind& kind) { return kind.mode == mode; });
  if (row == std::end(kScatter)) return l.refuse("mode");
  for (int id : {data, indices, updates}) l.keep_constant(id);
  const int64_t count = *element_count(l.dims(indices));
  Lowered lowered;
  lowered.kernel = "scatter";
  if (data != updates && data != indices) lowered.in_place = {data};
  lowered.run = [=, f = row->op](RunContext& c) -> Status {
    const auto* at = c.tensor(indices).data<int32_t>();
    MLT_TRY(rule.check(at, count));
    const ByteSpan from = c.tensor(data).bytes();
    std::byte* to = c.out(out).mutable_bytes();
    if (from.data() != to) {
      parallel_for(static_cast<int64_t>(from.size()), 1 << 17, [&](int64_t begin, int64_t end) { std::memcpy(to + begin, from.data() + begin, static_cast<size_t>(end - begin)); });
    }
    if (type == DType::kF32) combine(f, at, c.f32(updates), c.f32_out(out));
    else combine(f, at, c.tensor(updates).data<int32_t>(), c.out(out).mutable_data<int32_t>());
    return {};
  };
  return lowered;
}

std::optional<Lowered> lower_scatter(Lowering& l) {
  const Dims& dd = l.dims(l.in("data"));
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(dd.size()));
  if (!axis) return l.refuse("axis");
  const auto on = static_cast<size_t>(*axis);
  const int64_t outer = product(dd, 0, on), extent = dd[on], inner = product(dd, on + 1, dd.size()), count = *element_count(l.dims(l.in("indices")));
  const IndexRule rule(l, std::span(&extent, 1));
  return lower_into_copy(l, rule, [=](Scatter f, const int32_t* at, const auto* updates, auto* data) { scatter_slices(f, rule.tuples(at), updates, data, outer, extent, inner, count); });
}

std::optional<Lowered> lower_scatter_nd(Lowering& l) {
  const Dims &dd = l.dims(l.in("data")), &id = l.dims(l.in("indices"));
  if (id.empty() || id.back() < 1 || id.back() > static_cast<int64_t>(std::min<size_t>(dd.size(), kMaxRank))) return l.refuse("indices");
  const auto depth = static_cast<size_t>(id.back());
  const int64_t slices = product(dd, 0, depth), inner = product(dd, depth, dd.size()), count = product(id, 0, id.size() - 1);
  const IndexRule rule(l, std::span(dd).subspan(0, depth));
  return lower_into_copy(l, rule, [=](Scatter f, const int32_t* at, const auto* updates, auto* data) { scatter_slices(f, rule.tuples(at), updates, data, 1, slices, inner, count); });
}

std::optional<Lowered> lower_scatter_along_axis(Lowering& l) {
  const Dims &dd = l.dims(l.in("data")), &id = l.dims(l.in("indices"));
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(dd.size()));
  if (!axis || id.size() != dd.size()) return l.refuse("axis");
  const auto on = static_cast<size_t>(*axis);
  const int64_t outer = product(dd, 0, on), extent = dd[on], inner = product(dd, on + 1, dd.size()), count = id[on];
  const IndexRule rule(l, std::span(&extent, 1));
  return lower_into_copy(l, rule, [=](Scatter f, const int32_t* at, const auto* updates, auto* data) { scatter_along(f, at, updates, data, outer, extent, inner, count); });
}

constexpr LowerRow kRows[] = {
    {"gather", "rows", lower_gather},
    {"gather_along_axis", "elements", lower_gather_along_axis},
    {"gather_nd", "rows", lower_gather_nd},
    {"scatter", "scatter", lower_scatter},
    {"scatter_nd", "scatter", lower_scatter_nd},
    {"scatter_along_axis", "scatter", lower_scatter_along_axis},
};

}  // namespace

std::span<const LowerRow> indexed_lowerings() { return kRows; }

}  // namespace mlt
