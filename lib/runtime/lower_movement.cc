// Ops that only move or rename elements: views, permutations, slices, concatenation, padding, repetition.
#include <algorithm>
#include <cstring>
#include <memory>

#include "lib/base/threads.h"
#include "lib/kernels/pad.h"
#include "lib/kernels/transpose.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

using ops::product;

bool movable(Lowering& l, int id) {
  return l.type(id).is_tensor() && l.type(id).dtype != DType::kString && l.dims(id).size() <= static_cast<size_t>(kMaxRank);
}

std::array<int64_t, kMaxRank> as_array(const Dims& dims) {
  std::array<int64_t, kMaxRank> out{};
  std::copy(dims.begin(), dims.end(), out.begin());
  return out;
}

// The same bytes under other extents.
std::optional<Lowered> lower_view(Lowering& l) {
  int x = l.in("x");
  if (l.is_constant(x)) return l.refuse("constant");
  if (!l.type(x).is_tensor() || l.type(x).dtype == DType::kString) return l.refuse("element type");
  Lowered lowered;
  lowered.kernel = "view";
  lowered.in_place = {x};
  lowered.is_view = true;
  return lowered;
}

std::optional<Lowered> lower_transpose(Lowering& l) {
  if (l.node().shuffle != nullptr) return lower_shuffle(l);
  int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  Dims dims = l.dims(x);
  auto perm = ops::normalize_axes(l.call.ints("perm"), static_cast<int64_t>(dims.size()));
  if (!perm || perm->size() != dims.size()) return l.refuse("perm");
  // When only axes of extent 1 change places, the bytes stay where they are.
  std::vector<int64_t> moving;
  for (int64_t p : *perm)
    if (dims[static_cast<size_t>(p)] != 1) moving.push_back(p);
  if (std::is_sorted(moving.begin(), moving.end())) return lower_view(l);
  int element = l.element_bytes(x);
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=, perm = *perm](RunContext& c) {
    transpose(c.tensor(x).bytes().data(), c.out(out).mutable_bytes(), dims, perm, element);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_concat(Lowering& l) {
  int out = l.out();
  if (!movable(l, out) || l.call.flag("interleave")) return l.refuse("interleave, element type or rank");
  const Dims& od = l.dims(out);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(od.size()));
  if (!axis) return l.refuse("axis");
  struct Part {
    int id;
    StridedCopy copy;
    int64_t offset;
  };
  std::vector<Part> parts;
  // Nothing but single extents before the axis: the operands lie whole behind one another, and can be made there.
  const bool whole = product(od, 0, static_cast<size_t>(*axis)) == 1;
  std::vector<int> inside;
  int element = l.element_bytes(out);
  int64_t at = 0;
  auto out_strides = as_array(row_major_strides(od));
  constexpr int64_t kLarge = 1 << 22;  // bytes; less may wait in a cache for whoever asked for it
  const bool stream = l.only_handed_out(out) >= kLarge;
  for (size_t i = 0; i < l.call.count("values"); ++i) {
    int id = l.in("values", i);
    if (id < 0 || l.dims(id).size() != od.size()) return l.refuse("operands");
    const Dims& d = l.dims(id);
    StridedCopy copy;
    copy.rank = static_cast<int>(d.size());
    copy.shape = as_array(d);
    copy.in_stride = as_array(row_major_strides(d));
    copy.out_stride = out_strides;
    copy.stream = stream;
    const int64_t offset = at * out_strides[static_cast<size_t>(*axis)] * element;
    if (whole && std::find(inside.begin(), inside.end(), id) == inside.end() && l.make_inside_output(id, offset)) {
      inside.push_back(id);
    } else {
      l.keep_constant(id);
      parts.push_back({id, copy, offset});
    }
    at += d[static_cast<size_t>(*axis)];
  }
  Lowered lowered;
  lowered.reads_anywhere = lowered.writes_anywhere = true;
  lowered.kernel = parts.empty() ? "in place" : "copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts) strided_copy(part.copy, c.tensor(part.id).bytes().data(), c.out(out).mutable_bytes() + part.offset, element);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_split(Lowering& l) {
  int x = l.in("x");
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  const Dims& xd = l.dims(x);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(xd.size()));
  if (!axis) return l.refuse("axis");
  auto a = static_cast<size_t>(*axis);
  int element = l.element_bytes(x);
  struct Part {
    int id;
    StridedCopy copy;
    int64_t offset;
  };
  std::vector<Part> parts;
  auto in_strides = as_array(row_major_strides(xd));
  int64_t at = 0;
  for (int id : l.node().outs) {
    const Dims& d = l.dims(id);
    StridedCopy copy;
    copy.rank = static_cast<int>(d.size());
    copy.shape = as_array(d);
    copy.in_stride = in_strides;
    copy.out_stride = as_array(row_major_strides(d));
    parts.push_back({id, copy, at * in_strides[a] * element});
    at += d[a];
  }
  if (at != xd[a]) return l.refuse("sizes");
  Lowered lowered;
  if (product(xd, 0, a) == 1) {
    lowered.kernel = "view";
    lowered.in_place = {x};
    lowered.is_view = true;
    for (const Part& part : parts) lowered.offsets.push_back(part.offset);
    return lowered;
  }
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts) strided_copy(part.copy, c.tensor(x).bytes().data() + part.offset, c.out(part.id).mutable_bytes(), element);
    return Status();
  };
  return lowered;
}

// A part of x that starts at element `offset`, as `copy` says but for the strides of the output.
Lowered part_of(Lowering& l, int x, StridedCopy copy, int64_t offset) {
  const int out = l.out(), element = l.element_bytes(x);
  const Dims& od = l.dims(out);
  copy.out_stride = as_array(row_major_strides(od));
  Lowered lowered;
  bool dense = product(od, 0, od.size()) > 0;
  for (size_t i = 0; i < od.size(); ++i) dense = dense && (copy.shape[i] == 1 || copy.in_stride[i] == copy.out_stride[i]);
  if (dense) {
    lowered.kernel = "view";
    lowered.in_place = {x};
    lowered.is_view = true;
    lowered.offsets = {offset * element};
    return lowered;
  }
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) {
    strided_copy(copy, c.tensor(x).bytes().data() + offset * element, c.out(out).mutable_bytes(), element);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_slice_by_size(Lowering& l) {
  int x = l.in("x");
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  if (!l.call.known("begin")) return l.refuse("bounds are not constant");
  const Dims &xd = l.dims(x), &od = l.dims(l.out());
  const std::vector<int64_t> begin = l.call.ints("begin");
  if (begin.size() != xd.size() || od.size() != xd.size()) return l.refuse("bounds");
  const auto strides = row_major_strides(xd);
  StridedCopy copy;
  int64_t offset = 0;
  copy.rank = static_cast<int>(xd.size());
  for (size_t i = 0; i < xd.size(); ++i) {
    const int64_t start = begin[i] < 0 ? begin[i] + xd[i] : begin[i];
    if (start < 0 || start > xd[i] - od[i]) return l.refuse("index out of range");
    offset += start * strides[i];
    copy.shape[i] = od[i];
    copy.in_stride[i] = strides[i];
  }
  return part_of(l, x, copy, offset);
}

// Windows along an axis: an axis more, with the same step as the elements.
std::optional<Lowered> lower_sliding_windows(Lowering& l) {
  int x = l.in("x");
  const Dims &xd = l.dims(x), &od = l.dims(l.out());
  if (!movable(l, x) || l.is_constant(x) || od.size() > static_cast<size_t>(kMaxRank) || od.size() != xd.size() + 1) return l.refuse("element type or rank");
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(xd.size()));
  if (!axis) return l.refuse("axis");
  Dims strides = row_major_strides(xd);
  const int64_t own = strides[static_cast<size_t>(*axis)];
  if (od[static_cast<size_t>(*axis)] > 1) strides[static_cast<size_t>(*axis)] = own * l.call.i64("stride");
  strides.insert(strides.begin() + *axis + 1, own);
  StridedCopy copy;
  copy.rank = static_cast<int>(od.size());
  copy.shape = as_array(od);
  copy.in_stride = as_array(strides);
  return part_of(l, x, copy, 0);
}

std::optional<Lowered> lower_slice_by_index(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  if (!l.call.known("begin") || !l.call.known("end")) return l.refuse("bounds are not constant");
  const Dims &xd = l.dims(x), &od = l.dims(out);
  size_t rank = xd.size();
  std::vector<int64_t> begin = l.call.ints("begin");
  auto flags = [&](std::string_view param) {
    std::vector<int64_t> values = l.call.has(param) ? l.call.ints(param) : std::vector<int64_t>();
    values.resize(rank, 0);
    return values;
  };
  std::vector<int64_t> stride = l.call.has("stride") ? l.call.ints("stride") : std::vector<int64_t>(rank, 1);
  std::vector<int64_t> begin_mask = flags("begin_mask"), squeeze = flags("squeeze_mask");
  if (begin.size() != rank || stride.size() != rank) return l.refuse("bounds");
  auto in_strides = row_major_strides(xd);
  StridedCopy copy;
  int64_t offset = 0;
  size_t o = 0;
  Dims kept;
  for (size_t i = 0; i < rank; ++i) {
    int64_t start = begin[i] < 0 ? begin[i] + xd[i] : begin[i];
    if (squeeze[i]) {
      if (begin_mask[i]) start = 0;
      if (start < 0 || start >= xd[i]) return l.refuse("index out of range");
      offset += start * in_strides[i];
      continue;
    }
    if (o >= od.size()) return l.refuse("rank");
    int64_t count = od[o++];
    if (begin_mask[i]) start = stride[i] > 0 ? 0 : xd[i] - 1;
    start = stride[i] > 0 ? std::clamp<int64_t>(start, 0, xd[i]) : std::clamp<int64_t>(start, -1, xd[i] - 1);
    if (count > 0 && (start < 0 || start >= xd[i] || start + (count - 1) * stride[i] < 0 || start + (count - 1) * stride[i] >= xd[i]))
      return l.refuse("index out of range");
    offset += count > 0 ? start * in_strides[i] : 0;
    copy.shape[static_cast<size_t>(copy.rank)] = count;
    copy.in_stride[static_cast<size_t>(copy.rank)] = in_strides[i] * stride[i];
    ++copy.rank;
    kept.push_back(count);
  }
  if (o != od.size() || kept != od) return l.refuse("rank");
  return part_of(l, x, copy, offset);
}

std::optional<Lowered> lower_pad(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x) || !l.is_float(x)) return l.refuse("element type or rank");
  if (!l.call.known("pad") || !l.call.known("constant_val")) return l.refuse("not constant");
  const Dims &xd = l.type(x).dims, &od = l.type(out).dims;
  std::vector<int64_t> pad = l.call.ints("pad");
  const size_t rank = xd.size();
  if (pad.size() % 2 != 0 || pad.size() > 2 * rank || od.size() != rank || rank == 0) return l.refuse("pad");
  pad.insert(pad.begin(), 2 * rank - pad.size(), 0);
  const std::string mode = l.call.str("mode");
  PadShape shape;
  shape.mode = mode == "reflect" ? PadMode::kReflect : mode == "replicate" ? PadMode::kReplicate : PadMode::kConstant;
  shape.rank = static_cast<int>(rank);
  for (size_t i = 0; i < rank; ++i) {
    const size_t from = l.node().channels_last ? (i == 0 ? 0 : i == 3 ? 1 : i + 1) : i;
    shape.in[i] = xd[from], shape.before[i] = pad[2 * from], shape.after[i] = pad[2 * from + 1];
    if (shape.before[i] < 0 || shape.after[i] < 0) return l.refuse("negative padding");
    if (xd[from] == 0 && shape.mode != PadMode::kConstant) return l.refuse("nothing to repeat");
  }
  auto value = shape.mode == PadMode::kConstant ? static_cast<float>(l.call.f64("constant_val")) : 0.0f;
  Lowered lowered;
  lowered.kernel = l.node().channels_last ? "nhwc copy" : "copy";
  lowered.reads_anywhere = lowered.writes_anywhere = true;
  lowered.run = [=](RunContext& c) {
    mlt::pad(shape, c.f32(x), value, c.f32_out(out));
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_reverse_sequence(Lowering& l) {
  const int x = l.in("x"), lengths = l.in("lengths"), out = l.out();
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  const Dims& xd = l.dims(x);
  auto seq = ops::normalize_axis(l.call.i64("seq_axis"), static_cast<int64_t>(xd.size())), batch = ops::normalize_axis(l.call.i64("batch_axis"), static_cast<int64_t>(xd.size()));
  if (!seq || !batch || *seq == *batch) return l.refuse("axes");
  const size_t s = static_cast<size_t>(*seq), b = static_cast<size_t>(*batch), last = std::max(s, b);
  const auto strides = row_major_strides(xd);
  const int64_t unit = strides[last], units = product(xd, 0, last + 1), extent = xd[s], entries = xd[b], step = strides[s] / unit, entry = strides[b] / unit;
  const auto bytes = static_cast<size_t>(unit * l.element_bytes(x));
  l.keep_constant(lengths);
  Lowered lowered;
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) -> Status {
    const int32_t* length = c.tensor(lengths).data<int32_t>();
    for (int64_t i = 0; i < entries; ++i)
      if (length[i] < 0 || length[i] > extent) return input_error("length " + std::to_string(length[i]) + " is out of range for an axis of " + std::to_string(extent));
    const std::byte* from = c.tensor(x).bytes().data();
    std::byte* to = c.out(out).mutable_bytes();
    parallel_for(units, std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, unit)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i / step % extent, n = length[i / entry % entries];
        std::memcpy(to + static_cast<size_t>(i) * bytes, from + static_cast<size_t>(at < n ? i + (n - 1 - 2 * at) * step : i) * bytes, bytes);
      }
    });
    return {};
  };
  return lowered;
}

std::optional<Lowered> lower_band_part(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x) || l.dims(x).size() < 2) return l.refuse("element type or rank");
  const Dims& xd = l.dims(x);
  const int64_t n = xd.back(), m = xd[xd.size() - 2], rows = product(xd, 0, xd.size() - 1), lower = l.call.i64("lower"), upper = l.call.i64("upper");
  const auto element = static_cast<size_t>(l.element_bytes(x));
  Lowered lowered;
  lowered.kernel = "copy";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    const std::byte* from = c.tensor(x).bytes().data();
    std::byte* to = c.out(out).mutable_bytes();
    parallel_for(rows, std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(1, n)), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int64_t first = lower < 0 ? 0 : std::clamp<int64_t>(r % m - lower, 0, n), last = upper < 0 ? n : std::clamp<int64_t>(r % m + upper + 1, first, n);
        const size_t row = static_cast<size_t>(r * n) * element, begins = static_cast<size_t>(first) * element, ends = static_cast<size_t>(last) * element;
        std::memset(to + row, 0, begins);
        if (from != to) std::memcpy(to + row + begins, from + row + begins, ends - begins);
        std::memset(to + row + ends, 0, static_cast<size_t>(n) * element - ends);
      }
    });
    return Status();
  };
  return lowered;
}

// Each operand is a slice of the new axis.
std::optional<Lowered> lower_stack(Lowering& l) {
  const int out = l.out();
  if (!movable(l, out)) return l.refuse("element type or rank");
  const Dims& od = l.dims(out);
  auto axis = ops::normalize_axis(l.call.i64("axis"), static_cast<int64_t>(od.size()));
  if (!axis) return l.refuse("axis");
  const int64_t count = od[static_cast<size_t>(*axis)], inner = product(od, static_cast<size_t>(*axis) + 1, od.size());
  StridedCopy copy;
  copy.rank = 2;
  copy.shape = {product(od, 0, static_cast<size_t>(*axis)), inner};
  copy.in_stride = {inner, 1};
  copy.out_stride = {count * inner, 1};
  std::vector<int> parts;
  for (size_t i = 0; i < l.call.count("values"); ++i) {
    const int id = l.in("values", i);
    if (id < 0) return l.refuse("operands");
    l.keep_constant(id);
    parts.push_back(id);
  }
  if (static_cast<int64_t>(parts.size()) != count) return l.refuse("operands");
  const int element = l.element_bytes(out);
  Lowered lowered;
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) {
    std::byte* to = c.out(out).mutable_bytes();
    for (size_t i = 0; i < parts.size(); ++i) strided_copy(copy, c.tensor(parts[i]).bytes().data(), to + static_cast<int64_t>(i) * inner * element, element);
    return Status();
  };
  return lowered;
}

// Each repeated axis becomes two: the repetitions, which read the same elements, and the axis.
std::optional<Lowered> lower_tile(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  const Dims &xd = l.dims(x), &od = l.dims(out);
  if (xd.size() != od.size() || product(xd, 0, xd.size()) == 0) return l.refuse("extents");
  const auto in_strides = row_major_strides(xd), out_strides = row_major_strides(od);
  StridedCopy copy;
  const auto add = [&](int64_t extent, int64_t in_stride, int64_t out_stride) {
    const auto at = static_cast<size_t>(copy.rank++);
    copy.shape[at] = extent, copy.in_stride[at] = in_stride, copy.out_stride[at] = out_stride;
  };
  for (size_t i = 0; i < xd.size(); ++i) {
    if (copy.rank + 2 > kMaxRank) return l.refuse("rank");
    if (od[i] != xd[i]) add(od[i] / xd[i], 0, xd[i] * out_strides[i]);
    add(xd[i], in_strides[i], out_strides[i]);
  }
  const int element = l.element_bytes(x);
  Lowered lowered;
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) {
    strided_copy(copy, c.tensor(x).bytes().data(), c.out(out).mutable_bytes(), element);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_reverse(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  if (!movable(l, x) || l.is_constant(x)) return l.refuse("element type or rank");
  const Dims& xd = l.dims(x);
  std::vector<bool> backwards(xd.size(), !l.call.has("axes"));
  if (l.call.has("axes")) {
    auto axes = ops::normalize_axes(l.call.ints("axes"), static_cast<int64_t>(xd.size()));
    if (!axes) return l.refuse("axes");
    for (int64_t a : *axes) backwards[static_cast<size_t>(a)] = true;
  }
  StridedCopy copy;
  copy.rank = static_cast<int>(xd.size());
  copy.shape = as_array(xd);
  copy.in_stride = copy.out_stride = as_array(row_major_strides(xd));
  int64_t offset = 0;
  for (size_t i = 0; i < xd.size(); ++i) {
    if (xd[i] == 0) return l.refuse("nothing to do");
    if (!backwards[i]) continue;
    offset += (xd[i] - 1) * copy.in_stride[i];
    copy.in_stride[i] = -copy.in_stride[i];
  }
  const int element = l.element_bytes(x);
  Lowered lowered;
  lowered.kernel = "copy";
  lowered.run = [=](RunContext& c) {
    strided_copy(copy, c.tensor(x).bytes().data() + offset * element, c.out(out).mutable_bytes(), element);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"reshape", "view", lower_view},
    {"expand_dims", "view", lower_view},
    {"squeeze", "view", lower_view},
    {"identity", "view", lower_view},
    {"flatten2d", "view", lower_view},
    {"transpose", "simd", lower_transpose},
    {"concat", "copy", lower_concat},
    {"split", "copy", lower_split},
    {"slice_by_index", "copy", lower_slice_by_index},
    {"slice_by_size", "copy", lower_slice_by_size},
    {"sliding_windows", "copy", lower_sliding_windows},
    {"pad", "copy", lower_pad},
    {"reverse_sequence", "copy", lower_reverse_sequence},
    {"band_part", "copy", lower_band_part},
    {"stack", "copy", lower_stack},
    {"tile", "copy", lower_tile},
    {"reverse", "copy", lower_reverse},
};

}  // namespace

std::span<const LowerRow> movement_lowerings() { return kRows; }
std::span<const LowerRow> channels_last_movement_lowerings() {
  static constexpr LowerRow kChannelsLast[] = {{"pad", "nhwc copy", lower_pad}};
  return kChannelsLast;
}

}  // namespace mlt
