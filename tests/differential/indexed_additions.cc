// What reads or writes at indices, windows or coordinates.
#include <algorithm>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

int64_t some_axis(Random& r, const Live& x) { return r.range(0, static_cast<int64_t>(x.rank()) - 1); }

// Indices of [0, count), some of them counted from the end when `from_end`.
Value* indices(ProgramMaker& m, Dims dims, int64_t count, bool from_end = false) {
  Tensor t = Tensor::uninitialized(DType::kI32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) {
    const int64_t at = m.random.range(0, count - 1);
    t.mutable_data<int32_t>()[i] = static_cast<int32_t>(from_end && m.random.chance(0.2) ? at - count : at);
  }
  return m.b().constant(std::move(t));
}

bool gather_along(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  const int64_t axis = some_axis(m.random, x), count = x.dims()[static_cast<size_t>(axis)];
  Dims dims = x.dims();
  dims[static_cast<size_t>(axis)] = m.random.range(1, count + 2);
  return m.keep(m.op("gather_along_axis", {{"x", x.value}, {"indices", indices(m, dims, count, true)}, {"axis", m.b().i32(axis)}}), x.exact);
}

bool gather_tuples(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  const int64_t depth = m.random.range(1, static_cast<int64_t>(x.rank())), count = m.random.range(1, 9);
  Tensor t = Tensor::uninitialized(DType::kI32, {count, depth});
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<int32_t>()[i] = static_cast<int32_t>(m.random.range(0, x.dims()[static_cast<size_t>(i % depth)] - 1));
  return m.keep(m.op("gather_nd", {{"x", x.value}, {"indices", m.b().constant(std::move(t))}}), x.exact);
}

bool scatter(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  auto b = m.b();
  Value* mode = b.string(m.random.of<std::string>({"add", "add", "update", "max", "min", "sub"}));
  const int64_t axis = some_axis(m.random, x), count = x.dims()[static_cast<size_t>(axis)];
  Dims dims = x.dims();
  dims[static_cast<size_t>(axis)] = m.random.range(1, count);
  if (m.random.chance(0.5))
    return m.keep(m.op("scatter_along_axis", {{"data", x.value}, {"indices", indices(m, dims, count)}, {"updates", m.noise(dims)}, {"axis", b.i32(axis)}, {"mode", mode}}));
  // Each index once: which of two updates is the last is nowhere said.
  std::vector<int64_t> places;
  for (int64_t i = 0; i < count; ++i)
    if (m.random.chance(0.5)) places.push_back(i);
  if (places.empty()) return false;
  dims[static_cast<size_t>(axis)] = static_cast<int64_t>(places.size());
  return m.keep(m.op("scatter", {{"data", x.value}, {"indices", b.ints(places)}, {"updates", m.noise(dims)}, {"axis", b.i32(axis)}, {"mode", mode}}));
}

bool triangle(ProgramMaker& m) {
  const Live x = m.pick(static_cast<size_t>(m.random.range(2, 4)));
  if (x.value == nullptr) return false;
  auto b = m.b();
  return m.keep(m.op("band_part", {{"x", x.value}, {"lower", b.i32(m.random.range(-1, 3))}, {"upper", b.i32(m.random.range(-1, 3))}}), x.exact);
}

bool sample(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr) return false;
  auto b = m.b();
  const Dims grid{x.dims()[0], m.random.range(1, 9), m.random.range(1, 9), 2};
  return m.keep(m.op("resample", {{"x", x.value}, {"coordinates", m.noise(grid, -1.2f, 1.2f)}, {"sampling_mode", b.string("bilinear")},
                                  {"padding_mode", b.string(m.random.of<std::string>({"constant", "border", "reflection"}))}, {"padding_value", b.f32(0)},
                                  {"coordinates_mode", b.string(m.random.chance(0.8) ? "normalized_minus_one_to_one" : "unnormalized")},
                                  {"align_corners", b.boolean(m.random.chance(0.5))}}));
}

bool windows(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0 || x.rank() > 4) return false;
  const int64_t axis = some_axis(m.random, x), size = m.random.range(1, x.dims()[static_cast<size_t>(axis)]);
  auto b = m.b();
  return m.keep(m.op("sliding_windows", {{"x", x.value}, {"axis", b.i32(axis)}, {"size", b.i32(size)}, {"stride", b.i32(m.random.range(1, 3))}}), x.exact);
}

bool update(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  std::vector<int64_t> begin, end;
  Dims dims;
  for (int64_t d : x.dims()) {
    begin.push_back(m.random.chance(0.6) ? 0 : m.random.range(0, d - 1));
    end.push_back(begin.back() == 0 && m.random.chance(0.6) ? d : m.random.range(begin.back() + 1, d));
    dims.push_back(end.back() - begin.back());
  }
  auto b = m.b();
  return m.keep(m.op("slice_update", {{"x", x.value}, {"update", m.noise(dims)}, {"begin", b.ints(begin)}, {"end", b.ints(end)}}), x.exact);
}

bool reverse_sequence(ProgramMaker& m) {
  const Live x = m.pick(3);
  if (x.value == nullptr) return false;
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < x.dims()[0]; ++i) lengths.push_back(m.random.range(0, x.dims()[1]));
  auto b = m.b();
  return m.keep(m.op("reverse_sequence", {{"x", x.value}, {"lengths", b.ints(lengths)}, {"seq_axis", b.i32(1)}, {"batch_axis", b.i32(0)}}), x.exact);
}

bool einsum(ProgramMaker& m) {
  const Live x = m.pick(4);
  if (x.value == nullptr || x.dims()[0] != 1) return false;
  auto b = m.b();
  const Dims d = x.dims();
  const int64_t wide = m.random.range(1, 24);
  return m.keep(m.op("einsum", {{"values", {x.value, m.weights({d[0], d[3], d[2], wide}, d[3])}}, {"equation", b.string("nchw,nwhu->nchu")}},
                     static_cast<double>(d[1] * d[2] * d[3] * wide)));
}

}  // namespace

std::vector<Addition> indexed_additions() {
  return {{"gather_along", 1, gather_along}, {"gather_tuples", 1, gather_tuples}, {"scatter", 1, scatter}, {"triangle", 1, triangle},
          {"sample", 1, sample},             {"windows", 1, windows},             {"update", 1, update},   {"reverse_sequence", 1, reverse_sequence},
          {"einsum", 1, einsum}};
}

}  // namespace mlt::differential
