#include <algorithm>
#include <numeric>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

// An axis of a shape, counted from either end.
int64_t some_axis(Random& r, size_t rank) { return r.range(0, static_cast<int64_t>(rank) - 1) - (r.chance(0.3) ? static_cast<int64_t>(rank) : 0); }
int64_t extent(const Live& x, int64_t axis) { return x.dims()[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.rank()) : axis)]; }

Live movable(ProgramMaker& m) {
  Live x = m.pick();
  return x.value != nullptr && x.rank() >= 1 ? x : Live{nullptr, false};
}

bool transpose(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  std::vector<int64_t> perm(x.rank());
  std::iota(perm.begin(), perm.end(), 0);
  if (x.rank() == 4 && m.random.chance(0.5)) {
    perm = m.random.of<std::vector<int64_t>>({{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 2, 1, 3}, {0, 1, 3, 2}});
  } else {
    for (size_t i = perm.size(); i > 1; --i) std::swap(perm[i - 1], perm[static_cast<size_t>(m.random.range(0, static_cast<int64_t>(i) - 1))]);
  }
  return m.keep(m.op("transpose", {{"x", x.value}, {"perm", m.b().ints(perm)}}), x.exact);
}

bool reshape(ProgramMaker& m) {  // neighbouring axes merged, or one cut in two
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  Dims shape = x.dims();
  for (int64_t n = m.random.range(1, 2); n > 0; --n) {
    if (shape.size() >= 2 && m.random.chance(0.5)) {
      const size_t at = static_cast<size_t>(m.random.range(0, static_cast<int64_t>(shape.size()) - 2));
      shape[at] *= shape[at + 1];
      shape.erase(shape.begin() + static_cast<long>(at) + 1);
    } else if (shape.size() < 5) {
      const size_t at = static_cast<size_t>(m.random.range(0, static_cast<int64_t>(shape.size()) - 1));
      std::vector<int64_t> divisors;
      for (int64_t d = 1; d <= shape[at]; ++d)
        if (shape[at] % d == 0) divisors.push_back(d);
      const int64_t d = m.random.of(divisors);
      shape[at] /= d;
      shape.insert(shape.begin() + static_cast<long>(at), d);
    }
  }
  if (m.random.chance(0.2)) shape[static_cast<size_t>(m.random.range(0, static_cast<int64_t>(shape.size()) - 1))] = -1;
  return m.keep(m.op("reshape", {{"x", x.value}, {"shape", m.b().ints(shape)}}), x.exact);
}

bool unit_axes(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  auto b = m.b();
  for (size_t i = 0; i < x.rank(); ++i)
    if (x.dims()[i] == 1 && x.rank() > 1 && m.random.chance(0.5))
      return m.keep(m.op("squeeze", {{"x", x.value}, {"axes", b.ints({static_cast<int64_t>(i)})}}), x.exact);
  return x.rank() < 5 && m.keep(m.op("expand_dims", {{"x", x.value}, {"axes", b.ints({some_axis(m.random, x.rank() + 1)})}}), x.exact);
}

bool slice(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  auto b = m.b();
  std::vector<int64_t> begin, end, stride, size;
  std::vector<bool> begin_mask, end_mask, squeeze;
  for (int64_t d : x.dims()) {
    const bool whole = m.random.chance(0.6);
    const int64_t from = whole ? 0 : m.random.range(0, d - 1), to = whole ? d : m.random.range(from + 1, d);
    begin.push_back(from - (from > 0 && m.random.chance(0.2) ? d : 0));
    end.push_back(to - (to < d && m.random.chance(0.2) ? d : 0));
    stride.push_back(m.random.chance(0.85) ? 1 : m.random.range(2, 3));
    size.push_back(to - from);
    begin_mask.push_back(whole && m.random.chance(0.5));
    end_mask.push_back(whole && m.random.chance(0.5));
    squeeze.push_back(false);
  }
  if (m.random.chance(0.3)) {
    for (size_t i = 0; i < begin.size(); ++i)
      if (begin[i] < 0) begin[i] += x.dims()[i];
    return m.keep(m.op("slice_by_size", {{"x", x.value}, {"begin", b.ints(begin)}, {"size", b.ints(size)}}), x.exact);
  }
  if (x.rank() > 1 && m.random.chance(0.2)) {
    const size_t at = static_cast<size_t>(m.random.range(0, static_cast<int64_t>(x.rank()) - 1));
    squeeze[at] = true;
    begin_mask[at] = end_mask[at] = false;
    stride[at] = 1;
    begin[at] = m.random.range(0, x.dims()[at] - 1);
    end[at] = begin[at] + 1;
  }
  return m.keep(m.op("slice_by_index", {{"x", x.value}, {"begin", b.ints(begin)}, {"end", b.ints(end)}, {"stride", b.ints(stride)},
                                        {"begin_mask", b.bools(begin_mask)}, {"end_mask", b.bools(end_mask)}, {"squeeze_mask", b.bools(squeeze)}}),
                x.exact);
}

bool split(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  auto b = m.b();
  const int64_t axis = x.rank() > 1 && m.random.chance(0.6) ? 1 : some_axis(m.random, x.rank()), n = extent(x, axis);
  if (n < 2) return false;
  std::vector<Value*> parts;
  if (n % 2 == 0 && m.random.chance(0.6)) {
    parts = m.ops("split", {{"x", x.value}, {"num_splits", b.i32(n % 4 == 0 && m.random.chance(0.3) ? 4 : 2)}, {"axis", b.i32(axis)}});
  } else {
    const int64_t first = m.random.range(1, n - 1);
    parts = m.ops("split", {{"x", x.value}, {"split_sizes", b.ints({first, n - first})}, {"axis", b.i32(axis)}});
  }
  bool any = false;
  for (Value* part : parts)
    if (m.random.chance(0.8)) any = m.keep(part, x.exact) || any;
  return any;
}

bool concat(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  const int64_t axis = x.rank() > 1 && m.random.chance(0.6) ? 1 : some_axis(m.random, x.rank());
  const size_t at = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.rank()) : axis);
  std::vector<Value*> values{x.value};
  bool exact = x.exact;
  for (int64_t n = m.random.range(1, 2); n > 0; --n) {
    std::vector<Live> fits;
    for (const Live& l : m.live()) {
      bool same = l.rank() == x.rank() && l.value->type.dtype == DType::kF32;
      for (size_t i = 0; same && i < x.rank(); ++i) same = i == at || l.dims()[i] == x.dims()[i];
      if (same) fits.push_back(l);
    }
    const Live& other = m.random.of(fits);
    values.push_back(other.value);
    exact = exact && other.exact;
  }
  if (m.random.chance(0.3)) std::swap(values.front(), values.back());
  auto b = m.b();
  return m.keep(m.op("concat", {{"values", values}, {"axis", b.i32(axis)}, {"interleave", b.boolean(false)}}), exact);
}

bool stack(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr || x.rank() > 4) return false;
  const Live y = m.pick_same(x);
  const std::vector<Value*> values{x.value, y.value != nullptr ? y.value : x.value};
  return m.keep(m.op("stack", {{"values", values}, {"axis", m.b().i32(some_axis(m.random, x.rank() + 1))}}), x.exact && (y.value == nullptr || y.exact));
}

bool tile(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  std::vector<int64_t> reps(x.rank(), 1);
  reps[static_cast<size_t>(m.random.range(0, static_cast<int64_t>(x.rank()) - 1))] = m.random.range(2, 3);
  return m.keep(m.op("tile", {{"x", x.value}, {"reps", m.b().ints(reps)}}), x.exact);
}

bool pad(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr || x.rank() < 2) return false;
  auto b = m.b();
  const std::string mode = m.random.of<std::string>({"constant", "constant", "reflect", "replicate"});
  const size_t axes = mode == "constant" ? x.rank() : std::min<size_t>(2, x.rank());
  std::vector<int64_t> amount(2 * axes, 0);
  for (size_t i = 0; i < axes; ++i)
    for (size_t side = 0; side < 2; ++side)
      if (mode != "constant" || i + 2 >= axes || m.random.chance(0.2)) amount[2 * i + side] = m.random.range(0, std::min<int64_t>(3, std::max<int64_t>(0, x.dims()[x.rank() - axes + i] - 1)));
  Value* y = m.op("pad", {{"x", x.value}, {"pad", b.ints(amount)}, {"mode", b.string(mode)}, {"constant_val", b.f32(m.random.chance(0.7) ? 0 : 0.5)}});
  return m.keep(y, x.exact);
}

bool reverse(ProgramMaker& m) {
  const Live x = movable(m);
  return x.value != nullptr && m.keep(m.op("reverse", {{"x", x.value}, {"axes", m.b().ints({some_axis(m.random, x.rank())})}}), x.exact);
}

bool gather(ProgramMaker& m) {
  const Live x = movable(m);
  if (x.value == nullptr) return false;
  auto b = m.b();
  const int64_t axis = some_axis(m.random, x.rank()), n = extent(x, axis);
  std::vector<int64_t> chosen;
  for (int64_t i = m.random.range(1, std::min<int64_t>(n + 1, 12)); i > 0; --i) chosen.push_back(m.random.range(0, n - 1));
  Value* indices = chosen.size() == 1 && x.rank() > 1 && m.random.chance(0.5) ? b.i32(chosen[0]) : b.ints(chosen);
  return m.keep(m.op("gather", {{"x", x.value}, {"indices", indices}, {"axis", b.i32(axis)}}), x.exact);
}

bool windows(ProgramMaker& m) {  // [N, H, W, C] cut into squares, as networks with shifted windows do
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  const int64_t side = m.random.range(2, 7);
  if (d[1] % side != 0 || d[2] % side != 0) return false;
  auto b = m.b();
  Value* y = m.op("reshape", {{"x", x.value}, {"shape", b.ints({d[0] * d[1] / side, side, d[2] / side, side * d[3]})}});
  y = m.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3})}});
  y = m.op("reshape", {{"x", y}, {"shape", b.ints({d[0] * d[1] / side * (d[2] / side), side * side, d[3]})}});
  return m.keep(y, x.exact);
}

}  // namespace

std::vector<Addition> movement_additions() {
  return {{"transpose", 3, transpose}, {"reshape", 3, reshape}, {"unit_axes", 2, unit_axes}, {"slice", 3, slice}, {"split", 3, split}, {"concat", 4, concat},
          {"stack", 1, stack},         {"tile", 1, tile},       {"pad", 2, pad},             {"reverse", 1, reverse}, {"gather", 1, gather}, {"windows", 1, windows}};
}

}  // namespace mlt::differential
