// Resizing along an axis whose extents are not known when the model is converted. An output's place in the input is a
// quotient of integers, so that the arithmetic stays exact where a program computes in float16.
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {

V resize_open_axis(Ctx& c, V x, const OpenResize& r) {
  Lower& l = c.l;
  int64_t axis = r.axis;
  auto integer = [&](int64_t v) { return l.i32(v); };
  V in = l.gather(l.shape_of(x), integer(axis), 0);
  V out = r.out, p = r.numerator ? integer(r.numerator) : r.out, q = r.numerator ? integer(r.denominator) : in;  // the scale is p / q
  if (out == nullptr) out = l.binary("floor_div", l.mul(in, p), q);
  V i = l.op("range_1d", {{"start", integer(0)}, {"end", out}, {"step", integer(1)}});
  V top = l.add(in, integer(-1)), place, unit;
  if (r.coordinates == "half_pixel" || r.coordinates == "pytorch_half_pixel") {  // ((2i + 1) q - p) / 2p
    place = l.sub(l.mul(l.add(l.mul(i, integer(2)), integer(1)), q), p);
    unit = l.mul(p, integer(2));
    if (r.coordinates == "pytorch_half_pixel") place = l.mul(place, l.cast(l.binary("greater", out, integer(1)), DType::kI32));
  } else if (r.coordinates == "align_corners") {  // i (in - 1) q / (p in - q)
    place = l.mul(i, r.numerator ? l.mul(top, q) : top);
    unit = l.binary("maximum", r.numerator ? l.sub(l.mul(p, in), q) : l.add(out, integer(-1)), integer(1));
  } else if (r.coordinates == "asymmetric") {
    place = l.mul(i, q);
    unit = p;
  } else {
    return nullptr;
  }
  place = l.binary("maximum", place, integer(0));
  auto inside = [&](V index) { return l.binary("minimum", index, top); };
  if (r.mode == "nearest") {
    V twice = l.mul(place, integer(2)), two = l.mul(unit, integer(2)), index;
    if (r.nearest == "floor") index = l.binary("floor_div", place, unit);
    else if (r.nearest == "ceil") index = l.binary("floor_div", l.add(place, l.add(unit, integer(-1))), unit);
    else if (r.nearest == "round_prefer_floor") index = l.binary("floor_div", l.add(twice, l.add(unit, integer(-1))), two);
    else if (r.nearest == "round_prefer_ceil") index = l.binary("floor_div", l.add(twice, unit), two);
    else return nullptr;
    return l.gather(x, inside(index), axis);
  }
  if (r.mode != "linear") return nullptr;
  V low = l.binary("floor_div", place, unit);
  V share = l.div(l.cast(l.sub(place, l.mul(low, unit)), DType::kF32), l.cast(unit, DType::kF32));
  std::vector<int64_t> after;
  for (int64_t k = axis + 1; k < Lower::rank(x); ++k) after.push_back(k - axis);
  if (!after.empty()) share = l.expand_dims(share, after);
  V from = l.gather(x, inside(low), axis), to = l.gather(x, inside(l.add(low, integer(1))), axis);
  return l.add(from, l.mul(l.sub(to, from), share));
}

}  // namespace mlt::foreign::onnx
