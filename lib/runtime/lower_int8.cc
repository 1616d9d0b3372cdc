// Nodes that work on codes of eight bits, found by fuse_int8.
#include <array>
#include <cstring>
#include <memory>

#include "lib/kernels/aligned.h"
#include "lib/kernels/transpose.h"
#include "lib/runtime/int8_plan.h"
#include "lib/runtime/layout.h"

namespace mlt {
namespace {

using Kind = Int8Plan::Kind;

int64_t elements(Lowering& l, int id) {
  int64_t n = 1;
  for (int64_t d : l.type(id).dims) n *= d;
  return n;
}

// Made in its place in a concatenation.
bool is_apart(Lowering& l, int id) { return l.plan().values[static_cast<size_t>(id)].pitch > 0; }

// The bytes of an image with channels first, while codes have them last.
struct Turned {
  std::array<int64_t, 3> first, last;  // extents in both orders
  bool needed = false;
};
Turned turned(Lowering& l, int id) {
  const Dims& d = l.type(id).dims;
  Turned t{};
  t.needed = d.size() == 4 && !is_orderless(d) && !l.node().channels_last;
  if (t.needed) t.first = {d[0], d[1], d[2] * d[3]}, t.last = {d[0], d[2] * d[3], d[1]};
  return t;
}
constexpr std::array<int64_t, 3> kExchange{0, 2, 1};

Lowered lower_quantize(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const int64_t count = elements(l, x);
  const Turned t = turned(l, x);
  const bool pixels = t.needed && t.first[1] == 3;
  Lowered lowered;
  lowered.kernel = "int8 quantize";
  if (t.needed && !pixels) lowered.scratch = static_cast<size_t>(count) + kSlack;
  lowered.run = [=, q = p.x, nan = p.nan](RunContext& c) {
    if (pixels) {
      for (int64_t i = 0, image = 3 * t.first[2]; i < t.first[0]; ++i) quantize_pixels(c.f32(x) + i * image, c.codes_out(out) + i * image, t.first[2], q, nan);
      return Status();
    }
    auto* to = t.needed ? reinterpret_cast<uint8_t*>(c.scratch) : c.codes_out(out);
    quantize_codes(c.f32(x), to, count, q, nan);
    if (t.needed) transpose(to, c.codes_out(out), t.first, kExchange, 1);
    return Status();
  };
  return lowered;
}

Lowered lower_dequantize(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const int64_t count = elements(l, x);
  const Turned t = turned(l, x);
  Lowered lowered;
  lowered.kernel = "int8 dequantize";
  if (t.needed) lowered.scratch = static_cast<size_t>(count) + kSlack;
  lowered.run = [=, q = p.x](RunContext& c) {
    const uint8_t* from = c.codes(x);
    if (t.needed) {
      transpose(from, c.scratch, t.last, kExchange, 1);
      from = reinterpret_cast<const uint8_t*>(c.scratch);
    }
    dequantize_codes(from, c.f32_out(out), count, q);
    return Status();
  };
  return lowered;
}

// Convolutions of one and of three axes have their channels innermost for themselves and among one another.
struct Inside {
  std::array<int64_t, 3> first{}, last{};  // extents in both orders
  int64_t count = 0;
  bool needed = false;
};
Inside inside(Lowering& l, const Dims& d, bool already) {
  Inside t;
  if (l.node().op->kind != "conv" || d.size() == 4 || already) return t;
  int64_t pixels = 1;
  for (size_t i = 2; i < d.size(); ++i) pixels *= d[i];
  t.first = {d[0], d[1], pixels}, t.last = {d[0], pixels, d[1]};
  t.count = d[0] * d[1] * pixels;
  t.needed = d[1] > 1 && pixels > 1;
  return t;
}

std::optional<Lowered> lower_product(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), residual = l.in("residual"), out = l.out();
  auto made = Int8Conv::create(p.shape, p.x, p.weights.data(), p.weight_scale.data(), p.bias.data(), p.epilogue);
  if (!made) return l.refuse(made.error().message);
  auto conv = std::make_shared<Int8Conv>(std::move(*made));
  const bool codes = p.epilogue.out.has_value();
  const Inside before = inside(l, l.type(x).dims, p.innermost_in), after = inside(l, l.type(out).dims, p.innermost_out);
  const int element = codes ? 1 : 4;
  const size_t in_bytes = before.needed ? align_up(static_cast<size_t>(before.count) + kSlack) : 0;
  const size_t out_bytes = after.needed ? align_up(static_cast<size_t>(after.count * element) + kSlack) : 0;
  Lowered lowered;
  lowered.kernel = conv->kernel();
  lowered.scratch = in_bytes + out_bytes + conv->scratch_bytes();
  lowered.packed = conv->weight_bytes();
  if (residual >= 0) lowered.in_place = {residual};
  if (is_apart(l, out)) {  // fuse_int8 has made sure that nothing is turned
    lowered.run = [=, pitch = l.pitch(out)](RunContext& c) {
      conv->run_apart(c.codes(x), c.codes_out(out), pitch, c.scratch);
      return Status();
    };
    return lowered;
  }
  lowered.run = [=](RunContext& c) {
    const uint8_t* from = c.codes(x);
    auto* room = reinterpret_cast<uint8_t*>(c.scratch);
    void* result = codes ? static_cast<void*>(c.codes_out(out)) : static_cast<void*>(c.f32_out(out));
    void* to = after.needed ? room + in_bytes : result;
    if (before.needed) {
      transpose(from, room, before.first, kExchange, 1);
      from = room;
    }
    conv->run(from, to, residual >= 0 ? c.codes(residual) : nullptr, room + in_bytes + out_bytes);
    if (after.needed) transpose(to, result, after.last, kExchange, element);
    return Status();
  };
  return lowered;
}

// Extents as they lie in memory, and where an axis of the type is among them.
Dims order_in_memory(const Dims& d) { return d.size() == 4 ? Dims{d[0], d[2], d[3], d[1]} : d; }
size_t axis_in_memory(size_t rank, int64_t axis) {
  static constexpr size_t kImage[] = {0, 3, 1, 2};
  return rank == 4 ? kImage[axis] : static_cast<size_t>(axis);
}

// A tensor's part of a larger one, along one axis: runs of `columns` codes.
struct Part {
  int id = -1;
  int64_t at = 0, rows = 0, columns = 0;
  std::optional<CodeTable> table{};  // where codes change
};

// Codes from an index of the axis to the next of the axes before it.
int64_t run_length(const Dims& type_dims, int64_t axis) {
  const Dims d = order_in_memory(type_dims);
  int64_t n = 1;
  for (size_t i = axis_in_memory(d.size(), axis); i < d.size(); ++i) n *= d[i];
  return n;
}

Part part_of(Lowering& l, int id, int64_t axis, int64_t at, const Codes& from, const Codes& to) {
  Part part;
  part.id = id, part.at = at;
  part.columns = run_length(l.type(id).dims, axis);
  part.rows = part.columns == 0 ? 0 : elements(l, id) / part.columns;
  if (from != to) part.table = recoding(from, to);
  return part;
}

Lowered lower_concat(Lowering& l, const Int8Plan& p) {
  const int out = l.out();
  const int64_t width = run_length(l.type(out).dims, p.axis);
  std::vector<Part> parts;
  int64_t at = 0;
  for (size_t i = 0; i < p.values.size(); ++i) {
    const int id = l.in("values", l.node().sources[i].index);
    Part part = part_of(l, id, p.axis, at, p.values[i], p.out);
    at += part.columns;
    if (!is_apart(l, id)) parts.push_back(std::move(part));  // others are there already
  }
  Lowered lowered;
  lowered.kernel = parts.empty() ? "in place" : "int8 copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts)
      if (part.rows > 0) map_code_rows(c.codes(part.id), part.columns, c.codes_out(out) + part.at, width, part.rows, part.columns, part.table ? &*part.table : nullptr);
    return Status();
  };
  return lowered;
}

Lowered lower_split(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x");
  const int64_t width = run_length(l.type(x).dims, p.axis);
  std::vector<Part> parts;
  int64_t at = 0;
  for (size_t i = 0; i < p.values.size(); ++i) {
    parts.push_back(part_of(l, l.node().outs[i], p.axis, at, p.x, p.values[i]));
    at += parts.back().columns;
  }
  Lowered lowered;
  lowered.kernel = "int8 copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts)
      if (part.rows > 0) map_code_rows(c.codes(x) + part.at, width, c.codes_out(part.id), part.columns, part.rows, part.columns, part.table ? &*part.table : nullptr);
    return Status();
  };
  return lowered;
}

Lowered lower_transpose(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const size_t rank = p.perm.size();
  const Dims shape = order_in_memory(l.type(x).dims);
  Dims perm(rank);
  for (size_t i = 0; i < rank; ++i) perm[axis_in_memory(rank, static_cast<int64_t>(i))] = static_cast<int64_t>(axis_in_memory(rank, p.perm[i]));
  const int64_t count = elements(l, out);
  std::optional<CodeTable> table;
  if (p.x != p.out) table = recoding(p.x, p.out);
  Lowered lowered;
  lowered.kernel = "int8 copy";
  lowered.run = [=](RunContext& c) {
    transpose(c.codes(x), c.codes_out(out), shape, perm, 1);
    if (table) map_codes(c.codes_out(out), c.codes_out(out), count, *table);
    return Status();
  };
  return lowered;
}

// Images lose their order of channels before, and get it after.
Lowered lower_reshape(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const Turned before = turned(l, x), after = turned(l, out);
  const int64_t count = elements(l, out);
  std::optional<CodeTable> table;
  if (p.x != p.out) table = recoding(p.x, p.out);
  Lowered lowered;
  lowered.kernel = "int8 copy";
  if (before.needed && after.needed) lowered.scratch = static_cast<size_t>(count) + kSlack;
  if (!before.needed && !after.needed) lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    const uint8_t* from = c.codes(x);
    uint8_t* to = c.codes_out(out);
    if (before.needed) {
      uint8_t* middle = after.needed ? reinterpret_cast<uint8_t*>(c.scratch) : to;
      transpose(from, middle, before.last, kExchange, 1);
      from = middle;
    }
    if (after.needed) transpose(from, to, after.first, kExchange, 1);
    else if (from != to && !table) std::memcpy(to, from, static_cast<size_t>(count));
    if (table) map_codes(after.needed ? to : from, to, count, *table);
    return Status();
  };
  return lowered;
}

Lowered lower_scale(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), y = l.in("y"), out = l.out();
  const Dims d = order_in_memory(l.type(out).dims);
  const int64_t channels = d.back(), count = elements(l, out), images = y >= 0 ? d[0] : 1, pixels = count == 0 ? 0 : count / channels / images;
  const size_t gates = y >= 0 ? align_up(static_cast<size_t>(channels) * sizeof(float) + kSlack) : 0;
  Lowered lowered;
  lowered.kernel = "int8 scale";
  lowered.scratch = gates + scale_codes_scratch(channels);
  lowered.run = [=, from = p.x, by = p.y, to = p.out, factor = p.factor, shift = p.shift](RunContext& c) {
    auto* gate = reinterpret_cast<float*>(c.scratch);
    for (int64_t i = 0; i < images && pixels > 0; ++i) {
      if (y >= 0) dequantize_codes(c.codes(y) + i * channels, gate, channels, by);
      const int64_t at = i * pixels * channels;
      scale_codes(c.codes(x) + at, from, y >= 0 ? gate : factor.empty() ? nullptr : factor.data(), shift.empty() ? nullptr : shift.data(), c.codes_out(out) + at, to, pixels,
                  channels, c.scratch + gates);
    }
    return Status();
  };
  return lowered;
}

Lowered lower_norm(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const Dims& d = l.type(x).dims;
  const int64_t batch = d[0], channels = d[1], planes = batch * channels, inner = planes == 0 ? 0 : elements(l, x) / planes;
  Lowered lowered;
  lowered.kernel = "int8 norm";
  lowered.in_place = {x};
  lowered.run = [=, from = p.x, to = p.out, nan = p.nan, gamma = p.factor, beta = p.shift, epsilon = p.epsilon](RunContext& c) {
    if (inner > 0)
      norm_codes(c.codes(x), from, c.codes_out(out), to, nan, batch, channels, inner, gamma.empty() ? nullptr : gamma.data(), beta.empty() ? nullptr : beta.data(), epsilon);
    return Status();
  };
  return lowered;
}

Lowered lower_pick(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const Dims& d = l.type(x).dims;
  const int64_t count = elements(l, out);
  std::optional<CodeTable> table;
  if (p.x != p.out) table = recoding(p.x, p.out);
  Lowered lowered;
  lowered.kernel = "int8 nearest";
  lowered.run = [=, batch = d[0], channels = d[1], h = d[2], w = d[3], ys = p.pick_y, xs = p.pick_x](RunContext& c) {
    pick_code_pixels(c.codes(x), c.codes_out(out), batch, h, w, channels, ys, xs);
    if (table) map_codes(c.codes(out), c.codes_out(out), count, *table);
    return Status();
  };
  return lowered;
}

Lowered lower_pool(Lowering& l, const Int8Plan& p) {
  const int x = l.in("x"), out = l.out();
  const int64_t count = elements(l, out);
  if (p.floats) {
    Lowered lowered;
    lowered.kernel = "int8 window";
    lowered.run = [=, from = p.x, batch = p.window.batch, channels = p.window.channels, pixels = p.window.in[0] * p.window.in[1]](RunContext& c) {
      mean_of_codes(c.codes(x), from, c.f32_out(out), batch, pixels, channels);
      return Status();
    };
    return lowered;
  }
  const bool mapped = p.pool == Pool::kMax && !(p.x == p.out);
  Lowered lowered;
  lowered.kernel = "int8 window";
  lowered.run = [=, op = p.pool, window = p.window, from = p.x, to = p.out, table = recoding(p.x, p.out)](RunContext& c) {
    pool_codes_nhwc(op, window, c.codes(x), from, c.codes_out(out), to);
    if (mapped) map_codes(c.codes(out), c.codes_out(out), count, table);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_int8(Lowering& l) {
  const Int8Plan& p = *l.node().int8;
  const int x = l.in("x"), y = l.in("y"), out = l.out();
  const int64_t count = elements(l, out);
  Lowered lowered;
  switch (p.kind) {
    case Kind::kQuantize: return lower_quantize(l, p);
    case Kind::kDequantize: return lower_dequantize(l, p);
    case Kind::kProduct: return lower_product(l, p);
    case Kind::kConcat: return lower_concat(l, p);
    case Kind::kSplit: return lower_split(l, p);
    case Kind::kReshape: return lower_reshape(l, p);
    case Kind::kTranspose: return lower_transpose(l, p);
    case Kind::kPool: return lower_pool(l, p);
    case Kind::kScale: return lower_scale(l, p);
    case Kind::kNorm: return lower_norm(l, p);
    case Kind::kPick: return lower_pick(l, p);
    case Kind::kAdd:
      lowered.kernel = "int8 add";
      lowered.in_place = {x, y};
      lowered.run = [=, a = p.x, b = p.y, to = p.out, f = p.f](RunContext& c) {
        add_codes(c.codes(x), a, c.codes(y), b, f, c.codes_out(out), to, count);
        return Status();
      };
      return lowered;
    case Kind::kMap:
      lowered.kernel = "int8 table";
      lowered.in_place = {x};
      lowered.run = [=, table = p.table](RunContext& c) {
        map_codes(c.codes(x), c.codes_out(out), count, table);
        return Status();
      };
      return lowered;
  }
  return l.refuse("not known");
}

constexpr LowerRow kRows[] = {{"", "int8", lower_int8}};

}  // namespace

std::span<const LowerRow> int8_lowerings() { return kRows; }

}  // namespace mlt
