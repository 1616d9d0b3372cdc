// Moving elements: reshapes, permutations, slices, joins, blocks between space, depth and batch.
#include <algorithm>
#include <limits>

#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max(), kBeforeStart = std::numeric_limits<int64_t>::min();

void reshape(Ctx& c) {
  S x = c.in("x");
  const Tensor* shape = c.known("shape");
  const Dims& own = c.dims("x");
  if (shape == nullptr) return c.out(c.g.node("Reshape", {x, c.i64("shape")}));
  std::vector<int64_t> wanted = to_ints(*shape);
  // A zero keeps an extent; from CoreML7 on positions count from the last axis.
  bool zero = std::find(wanted.begin(), wanted.end(), 0) != wanted.end();
  if (zero && wanted.size() != own.size()) {
    const Dims& out = c.out_type().dims;
    bool open = std::find(wanted.begin(), wanted.end(), -1) != wanted.end();
    for (size_t i = 0; i < wanted.size() && i < out.size(); ++i) {
      if (wanted[i] != 0) continue;
      if (out[i] >= 0) wanted[i] = out[i];
      else if (!open) wanted[i] = -1, open = true;
      else unsupported("a reshape that keeps extents that are not known");
    }
  }
  c.out(c.g.reshape(x, wanted));
}
void reshape_like(Ctx& c) {
  // The extents of parts of other tensors.
  std::vector<S> parts;
  for (size_t i = 0; i < c.count("ref_tensors"); ++i) {
    int64_t rank = c.type("ref_tensors", i).rank();
    auto position = [rank](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
    int64_t begin = position(to_ints(c.tensor("begins", i))[0]);
    int64_t end = to_ints(c.tensor("end_masks", i))[0] != 0 ? rank : position(to_ints(c.tensor("ends", i))[0]);
    parts.push_back(c.g.slice(c.g.node("Shape", {c.in("ref_tensors", i)}), 0, begin, end));
  }
  c.out(c.g.node("Reshape", {c.in("x"), c.g.concat(parts, 0)}));
}
void expand_dims(Ctx& c) {
  std::vector<int64_t> axes = c.call.ints("axes");
  c.out(c.g.unsqueeze(c.in("x"), axes));
}
void squeeze(Ctx& c) {
  const Dims& dims = c.dims("x");
  std::vector<int64_t> axes, ones;
  if (c.has("axes")) axes = c.axes("axes", c.rank("x"));
  else for (size_t i = 0; i < dims.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  for (int64_t a : axes)
    if (dims[static_cast<size_t>(a)] == 1) ones.push_back(a);
  c.out(ones.empty() ? c.g.node("Identity", {c.in("x")}) : c.g.squeeze(c.in("x"), ones));
}
void transpose(Ctx& c) {
  std::vector<int64_t> perm = c.axes("perm", c.rank("x"));
  c.out(c.g.transpose(c.in("x"), perm));
}
void reverse(Ctx& c) {
  std::vector<int64_t> axes = c.axes("axes", c.rank("x"));
  size_t n = axes.size();
  if (n == 0) return c.out(c.g.node("Identity", {c.in("x")}));
  c.out(c.g.node("Slice", {c.in("x"), c.g.ints(std::vector<int64_t>(n, -1)), c.g.ints(std::vector<int64_t>(n, kBeforeStart)), c.g.ints(axes), c.g.ints(std::vector<int64_t>(n, -1))}));
}
void reverse_sequence(Ctx& c) {
  int64_t time = c.axis("seq_axis", c.rank("x")), batch = c.axis("batch_axis", c.rank("x"));
  if (time > 1 || batch > 1 || time == batch) unsupported("reverse_sequence along axes other than the first two");
  c.out(c.g.node("ReverseSequence", {c.in("x"), c.i64("lengths")}, {{"time_axis", time}, {"batch_axis", batch}}));
}
void concat(Ctx& c) {
  std::vector<S> values;
  for (size_t i = 0; i < c.count("values"); ++i) values.push_back(c.in("values", i));
  int64_t rank = c.type("values").rank(), axis = c.axis("axis", rank);
  if (!c.call.flag("interleave") || values.size() == 1) return c.out(values.size() == 1 ? c.g.node("Identity", values) : c.g.concat(values, axis));
  for (S& v : values) v = c.g.unsqueeze(v, {axis + 1});
  std::vector<int64_t> shape(static_cast<size_t>(rank), 0);
  for (size_t i = static_cast<size_t>(axis); i < shape.size(); ++i) shape[i] = c.out_type().dims[i];
  if (std::count_if(shape.begin(), shape.end(), [](int64_t d) { return d < 0; }) > 1) unsupported("interleaved concat with several extents that are not known");
  for (int64_t& d : shape) d = std::max<int64_t>(d, -1);
  c.out(c.g.reshape(c.g.concat(values, axis + 1), shape));
}
void stack(Ctx& c) {
  int64_t axis = c.axis("axis", c.type("values").rank() + 1);
  std::vector<S> values;
  for (size_t i = 0; i < c.count("values"); ++i) values.push_back(c.g.unsqueeze(c.in("values", i), {axis}));
  c.out(values.size() == 1 ? values[0] : c.g.concat(values, axis));
}
void split(Ctx& c) {
  int64_t axis = c.axis("axis", c.rank("x"));
  size_t n = c.op.outputs.size();
  if (n == 1) return c.out(c.g.node("Identity", {c.in("x")}));
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < n; ++i) sizes.push_back(c.out_type(i).dims[static_cast<size_t>(axis)]);
  if (c.has("split_sizes")) sizes = c.call.ints("split_sizes");
  bool known = std::none_of(sizes.begin(), sizes.end(), [](int64_t d) { return d < 0; });
  std::vector<Attr> attributes = {{"axis", axis}};
  if (!known && c.g.at_least(18)) attributes.emplace_back("num_outputs", static_cast<int64_t>(n));
  std::vector<S> parts = c.g.nodes("Split", {c.in("x"), known ? c.g.ints(sizes) : ""}, n, attributes);
  for (size_t i = 0; i < n; ++i) c.out(i, parts[i]);
}
void tile(Ctx& c) { c.out(c.g.node("Tile", {c.in("x"), c.i64("reps")})); }

// Starts and ends of a slice along every axis.
struct Bounds {
  S starts, ends, steps, axes;
  std::vector<int64_t> squeezed;
};
Bounds slice_bounds(Ctx& c) {
  int64_t rank = c.rank("x");
  size_t n = static_cast<size_t>(rank);
  auto flags = [&](std::string_view param) {
    std::vector<int64_t> v = c.has(param) ? to_ints(c.tensor(param)) : std::vector<int64_t>(n, 0);
    if (v.size() != n) bad_input(std::string(param) + " must have one element for each axis");
    return v;
  };
  std::vector<int64_t> begin_mask = flags("begin_mask"), end_mask = flags("end_mask"), squeeze = flags("squeeze_mask");
  std::vector<int64_t> stride = c.has("stride") ? c.call.ints("stride") : std::vector<int64_t>(n, 1);
  if (stride.size() != n) bad_input("stride must have one element for each axis");
  Bounds b;
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  for (size_t i = 0; i < n; ++i)
    if (squeeze[i]) {
      b.squeezed.push_back(static_cast<int64_t>(i));
      stride[i] = 1;
    }
  const Tensor *begin = c.known("begin"), *end = c.known("end");
  if (begin && end) {
    std::vector<int64_t> s = to_ints(*begin), e = to_ints(*end), ks, ke, kt, ka;
    if (s.size() != n || e.size() != n) bad_input("begin and end must have one element for each axis");
    for (size_t i = 0; i < n; ++i) {
      if (begin_mask[i]) s[i] = squeeze[i] || stride[i] > 0 ? 0 : kEnd;
      if (end_mask[i]) e[i] = stride[i] > 0 ? kEnd : kBeforeStart;
      if (squeeze[i]) e[i] = s[i] == -1 ? kEnd : s[i] + 1;
      if (s[i] == 0 && e[i] == kEnd && stride[i] == 1) continue;
      // -1 at the end of a backward slice is the last element in ONNX too.
      ks.push_back(s[i]), ke.push_back(e[i]), kt.push_back(stride[i]), ka.push_back(static_cast<int64_t>(i));
    }
    b.starts = c.g.ints(ks), b.ends = c.g.ints(ke), b.steps = c.g.ints(kt), b.axes = ka.empty() ? "" : c.g.ints(ka);
    return b;
  }
  // Computed bounds: masks choose between them and the constants.
  auto pick = [&](const S& computed, const std::vector<int64_t>& mask, const std::vector<int64_t>& other) {
    if (std::none_of(mask.begin(), mask.end(), [](int64_t m) { return m != 0; })) return computed;
    Tensor chosen = Tensor::uninitialized(DType::kBool, {rank});
    for (size_t i = 0; i < n; ++i) chosen.mutable_data<bool>()[i] = mask[i] != 0;
    return c.g.node("Where", {c.g.constant(chosen), c.g.ints(other), computed});
  };
  std::vector<int64_t> first, last;
  for (size_t i = 0; i < n; ++i) {
    first.push_back(squeeze[i] || stride[i] > 0 ? 0 : kEnd);
    last.push_back(stride[i] > 0 ? kEnd : kBeforeStart);
  }
  b.starts = pick(c.i64("begin"), begin_mask, first);
  b.ends = pick(c.i64("end"), end_mask, last);
  if (!b.squeezed.empty()) {
    S after = c.g.node("Add", {b.starts, c.g.int64(1)});
    after = c.g.node("Where", {c.g.node("Equal", {b.starts, c.g.int64(-1)}), c.g.int64(kEnd), after});
    Tensor chosen = Tensor::uninitialized(DType::kBool, {rank});
    for (size_t i = 0; i < n; ++i) chosen.mutable_data<bool>()[i] = squeeze[i] != 0;
    b.ends = c.g.node("Where", {c.g.constant(chosen), after, b.ends});
  }
  b.steps = c.g.ints(stride);
  b.axes = c.g.ints(axes);
  return b;
}
S sliced(Ctx& c, const S& x, const Bounds& b) { return b.axes.empty() ? x : c.g.node("Slice", {x, b.starts, b.ends, b.axes, b.steps}); }
void slice_by_index(Ctx& c) {
  Bounds b = slice_bounds(c);
  S x = c.in("x"), y = sliced(c, x, b);
  if (!b.squeezed.empty()) y = c.g.squeeze(y, b.squeezed);
  c.out(y == x ? c.g.node("Identity", {x}) : y);
}
void slice_by_size(Ctx& c) {
  S x = c.in("x"), begin = c.i64("begin");
  const Tensor* size = c.known("size");
  S ends;
  if (size && c.known("begin")) {
    std::vector<int64_t> b = to_ints(*c.known("begin")), s = to_ints(*size);
    for (size_t i = 0; i < s.size(); ++i) s[i] = s[i] == -1 || (b[i] < 0 && b[i] + s[i] >= 0) ? kEnd : b[i] + s[i];
    ends = c.g.ints(s);
  } else {
    S s = c.i64("size"), sum = c.g.node("Add", {begin, s});
    S open = c.g.node("Or", {c.g.node("Equal", {s, c.g.int64(-1)}),
                             c.g.node("And", {c.g.node("Less", {begin, c.g.int64(0)}), c.g.node("GreaterOrEqual", {sum, c.g.int64(0)})})});
    ends = c.g.node("Where", {open, c.g.int64(kEnd), sum});
  }
  c.out(c.g.node("Slice", {x, begin, ends}));
}
// The positions that the slice would read are the ones to write.
void slice_update(Ctx& c) {
  S x = c.in("x"), update = c.in("update");
  Bounds b = slice_bounds(c);
  S shape = c.g.node("Shape", {x});
  S count = c.g.node("ReduceProd", {shape}, {{"keepdims", 0}});
  S positions = c.g.node("Reshape", {c.g.node("Range", {c.g.int64(0), count, c.g.int64(1)}), shape});
  S flat = c.g.reshape(sliced(c, positions, b), {-1});
  S y = c.g.node("ScatterElements", {c.g.reshape(x, {-1}), flat, c.g.reshape(update, {-1})}, {{"axis", 0}});
  c.out(c.g.node("Reshape", {y, shape}));
}
void sliding_windows(Ctx& c) {
  int64_t axis = c.axis("axis", c.rank("x")), size = c.call.i64("size"), stride = c.call.i64("stride");
  int64_t extent = c.dims("x")[static_cast<size_t>(axis)];
  if (extent < 0) unsupported("sliding_windows over an axis whose extent is not known");
  int64_t n = (extent - size) / stride + 1;
  Tensor index = Tensor::uninitialized(DType::kI64, {n, size});
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < size; ++k) index.mutable_data<int64_t>()[i * size + k] = i * stride + k;
  c.out(c.g.node("Gather", {c.in("x"), c.g.constant(index)}, {{"axis", axis}}));
}

// --- blocks ---

void depth_to_space(Ctx& c) { c.out(c.g.node("DepthToSpace", {c.in("x")}, {{"blocksize", c.call.i64("block_size")}, {"mode", "DCR"}})); }
void pixel_shuffle(Ctx& c) { c.out(c.g.node("DepthToSpace", {c.in("x")}, {{"blocksize", c.call.i64("upscale_factor")}, {"mode", "CRD"}})); }
void space_to_depth(Ctx& c) { c.out(c.g.node("SpaceToDepth", {c.in("x")}, {{"blocksize", c.call.i64("block_size")}})); }
void pixel_unshuffle(Ctx& c) {
  const Dims& d = c.dims("x");
  int64_t r = c.call.i64("downscale_factor");
  if (d.size() != 4 || d[1] < 0 || d[2] < 0 || d[3] < 0 || r < 1) unsupported("pixel_unshuffle of extents that are not known");
  S y = c.g.reshape(c.in("x"), {0, d[1], d[2] / r, r, d[3] / r, r});
  c.out(c.g.reshape(c.g.transpose(y, {0, 1, 3, 5, 2, 4}), {0, d[1] * r * r, d[2] / r, d[3] / r}));
}
void space_to_batch(Ctx& c) {
  const Dims& d = c.dims("x");
  std::vector<int64_t> block = c.call.ints("block_shape"), pad = c.call.ints("paddings");
  if (d.size() != 4 || block.size() != 2 || pad.size() != 4 || std::any_of(d.begin(), d.end(), [](int64_t v) { return v < 0; }))
    unsupported("space_to_batch of extents that are not known");
  S x = c.g.node("Pad", {c.in("x"), c.g.ints({0, 0, pad[0], pad[2], 0, 0, pad[1], pad[3]})});
  int64_t h = (d[2] + pad[0] + pad[1]) / block[0], w = (d[3] + pad[2] + pad[3]) / block[1];
  S y = c.g.reshape(x, {d[0], d[1], h, block[0], w, block[1]});
  c.out(c.g.reshape(c.g.transpose(y, {3, 5, 0, 1, 2, 4}), {d[0] * block[0] * block[1], d[1], h, w}));
}
void batch_to_space(Ctx& c) {
  const Dims& d = c.dims("x");
  std::vector<int64_t> block = c.call.ints("block_shape"), crops = c.call.ints("crops");
  if (d.size() != 4 || block.size() != 2 || crops.size() != 4 || std::any_of(d.begin(), d.end(), [](int64_t v) { return v < 0; }))
    unsupported("batch_to_space of extents that are not known");
  int64_t n = d[0] / (block[0] * block[1]), h = d[2] * block[0], w = d[3] * block[1];
  S y = c.g.reshape(c.in("x"), {block[0], block[1], n, d[1], d[2], d[3]});
  y = c.g.reshape(c.g.transpose(y, {2, 3, 4, 0, 5, 1}), {n, d[1], h, w});
  c.out(c.g.node("Slice", {y, c.g.ints({crops[0], crops[2]}), c.g.ints({h - crops[1], w - crops[3]}), c.g.ints({2, 3})}));
}

// --- tensors from shapes ---

void shape(Ctx& c) { c.out(c.g.cast(c.g.node("Shape", {c.in("x")}), c.out_dtype())); }
void flatten2d(Ctx& c) { c.out(c.g.node("Flatten", {c.in("x")}, {{"axis", c.call.i64("axis")}})); }
void identity(Ctx& c) { c.out(c.g.node("Identity", {c.in("x")})); }
S fill_value(Ctx& c) {
  const Tensor* v = c.known("value");
  return v ? c.g.constant(convert(v->reshaped({}), c.out_dtype())) : c.g.scalar(c.out_dtype(), c.call.f64("value"));
}
void fill(Ctx& c) { c.out(c.g.node("Expand", {fill_value(c), c.i64("shape")})); }
void fill_like(Ctx& c) { c.out(c.g.node("Expand", {fill_value(c), c.g.node("Shape", {c.in("ref_tensor")})})); }
void range_1d(Ctx& c) { c.out(c.g.node("Range", {c.in("start"), c.in("end"), c.in("step")})); }
void pad(Ctx& c) {
  int64_t rank = c.rank("x");
  std::string mode = c.call.str("mode");
  std::string name = mode == "constant" ? "constant" : mode == "reflect" || mode == "reflection" ? "reflect" : mode == "replicate" ? "edge" : "";
  if (name.empty()) unsupported("padding mode \"" + mode + "\"");
  S pads;
  if (const Tensor* t = c.known("pad")) {
    std::vector<int64_t> p = to_ints(*t), all(static_cast<size_t>(2 * rank), 0);
    if (p.size() % 2 || static_cast<int64_t>(p.size()) > 2 * rank) bad_input("pad has " + std::to_string(p.size()) + " elements");
    size_t skip = static_cast<size_t>(rank) - p.size() / 2;
    for (size_t i = 0; i < p.size() / 2; ++i) {
      all[skip + i] = p[2 * i];
      all[static_cast<size_t>(rank) + skip + i] = p[2 * i + 1];
    }
    pads = c.g.ints(all);
  } else {
    const Dims& d = c.dims("pad");
    if (d.size() != 1 || d[0] < 0 || d[0] % 2) unsupported("padding of an unknown number of axes");
    int64_t n = d[0] / 2;
    S pairs = c.g.reshape(c.i64("pad"), {n, 2});
    S before = c.g.reshape(c.g.slice(pairs, 1, 0, 1), {n}), after = c.g.reshape(c.g.slice(pairs, 1, 1, 2), {n});
    if (n == rank) pads = c.g.concat({before, after}, 0);
    else pads = c.g.concat({c.g.ints(std::vector<int64_t>(static_cast<size_t>(rank - n), 0)), before, c.g.ints(std::vector<int64_t>(static_cast<size_t>(rank - n), 0)), after}, 0);
  }
  std::vector<S> inputs = {c.in("x"), pads};
  if (name == "constant") inputs.push_back(c.number(c.call.f64("constant_val")));
  c.out(c.g.node("Pad", inputs, {{"mode", name}}));
}
void cumsum(Ctx& c) {
  c.out(c.g.node("CumSum", {c.in("x"), c.g.int64(c.axis("axis", c.rank("x")))}, {{"exclusive", c.call.flag("exclusive")}, {"reverse", c.call.flag("reverse")}}));
}
// Elements outside lower diagonals below and upper ones above the main diagonal are 0; negative numbers keep all.
void band_part(Ctx& c) {
  int64_t lower = c.call.i64("lower"), upper = c.call.i64("upper");
  DType t = c.dtype();
  bool direct = t == DType::kF32 || t == DType::kF16;
  S y = direct ? c.in("x") : c.g.cast(c.in("x"), DType::kF32);
  if (upper >= 0) y = c.g.node("Trilu", {y, c.g.int64(upper)}, {{"upper", 0}});
  if (lower >= 0) y = c.g.node("Trilu", {y, c.g.int64(-lower)}, {{"upper", 1}});
  if (lower < 0 && upper < 0) y = c.g.node("Identity", {y});
  c.out(direct ? y : c.g.cast(y, t));
}

constexpr Row kRows[] = {
    {"reshape", reshape}, {"reshape_like", reshape_like}, {"expand_dims", expand_dims}, {"squeeze", squeeze}, {"transpose", transpose},
    {"reverse", reverse}, {"reverse_sequence", reverse_sequence}, {"concat", concat}, {"stack", stack}, {"split", split}, {"tile", tile},
    {"slice_by_index", slice_by_index}, {"slice_by_size", slice_by_size}, {"slice_update", slice_update}, {"sliding_windows", sliding_windows},
    {"depth_to_space", depth_to_space}, {"pixel_shuffle", pixel_shuffle}, {"space_to_depth", space_to_depth}, {"pixel_unshuffle", pixel_unshuffle},
    {"space_to_batch", space_to_batch}, {"batch_to_space", batch_to_space}, {"shape", shape}, {"flatten2d", flatten2d}, {"identity", identity},
    {"fill", fill}, {"fill_like", fill_like}, {"range_1d", range_1d}, {"pad", pad}, {"cumsum", cumsum}, {"band_part", band_part},
};

}  // namespace

std::span<const Row> families::shape() { return kRows; }

}  // namespace mlt::foreign::to_onnx
