// Layers of the fourth specification and later that move data or make shapes.
#include <algorithm>
#include <numeric>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {

using Ints = std::vector<int64_t>;

namespace {

Result<Dims> dims_of(const google::protobuf::RepeatedField<uint64_t>& field) {
  Dims dims;
  for (uint64_t d : field) {
    if (d > (uint64_t{1} << 40)) return input_error("bad shape");
    dims.push_back(static_cast<int64_t>(d));
  }
  MLT_TRY(element_count(dims));
  return dims;
}

Ints ints_of(const google::protobuf::RepeatedField<int64_t>& field) { return {field.begin(), field.end()}; }
std::vector<bool> bools_of(const google::protobuf::RepeatedField<bool>& field) { return {field.begin(), field.end()}; }

}  // namespace

// The extents a layer takes from the values of another blob, as an int32 vector.
Result<Lifter::V> Lifter::shape_value(const Blob& shape) {
  if (shape.rank() != 1) return bad("a shape must have rank 1, got " + dims_text(shape.dims));
  V value = to_int(plain(shape));
  if (value == nullptr) return failed().error();
  return value;
}

Status Lifter::shape_layer(const Layer& l, bool& known) {
  switch (l.layer_case()) {
    case Layer::kTile: {
      MLT_TRY(need(1, 2, 1, 1));
      MLT_ASSIGN(Blob x, in());
      if (has_in(1)) {
        MLT_ASSIGN(Blob given, in(1));
        MLT_ASSIGN(V reps, shape_value(given));
        if (given.rank() == 1 && given.dims[0] > 0 && given.dims[0] < x.rank()) {  // of the last axes
          V ones = b_.ints(Ints(static_cast<size_t>(x.rank() - given.dims[0]), 1));
          reps = op("concat", {{"values", std::vector<V>{ones, reps}}, {"axis", b_.i32(0)}, {"interleave", b_.boolean(false)}});
        }
        return out(op("tile", {{"x", plain(x)}, {"reps", reps}}));
      }
      MLT_ASSIGN(Dims reps, dims_of(l.tile().reps()));
      if (reps.size() > x.dims.size()) return bad("reps has more values than the input has axes");
      reps.insert(reps.begin(), x.dims.size() - reps.size(), 1);
      return out(op("tile", {{"x", plain(x)}, {"reps", b_.ints(reps)}}));
    }
    case Layer::kStack: case Layer::kConcatND: {
      MLT_TRY(need(1, 1 << 20, 1, 1));
      std::vector<V> values;
      for (int i = 0; i < l.input_size(); ++i) {
        MLT_ASSIGN(Blob x, in(i));
        values.push_back(plain(x));
      }
      if (l.layer_case() == Layer::kStack) return out(op("stack", {{"values", values}, {"axis", b_.i32(l.stack().axis())}}));
      return out(op("concat", {{"values", values}, {"axis", b_.i32(l.concatnd().axis())}, {"interleave", b_.boolean(l.concatnd().interleave())}}));
    }
    case Layer::kSplitND: {
      MLT_TRY(need(1, 1, 1, 1 << 20));
      MLT_ASSIGN(Blob x, in());
      std::vector<ops::Input> args{{"x", plain(x)}, {"axis", b_.i32(l.splitnd().axis())}};
      if (l.splitnd().splitsizes().empty()) {
        // As numpy.array_split: the first parts take one more each of what does not divide.
        MLT_ASSIGN(int64_t axis, axis_of(l.splitnd().axis(), x.rank()));
        MLT_ASSIGN(Dims dims, fixed(x));
        int64_t extent = dims[static_cast<size_t>(axis)], parts = l.output_size();
        if (l.splitnd().numsplits() != static_cast<uint64_t>(parts)) return bad("numSplits is " + std::to_string(l.splitnd().numsplits()) + ", but the layer has " + std::to_string(parts) + " outputs");
        Ints sizes(static_cast<size_t>(parts), extent / parts);
        for (int64_t i = 0; i < extent % parts; ++i) ++sizes[static_cast<size_t>(i)];
        args.emplace_back("split_sizes", b_.ints(sizes));
      } else {
        MLT_ASSIGN(Dims sizes, dims_of(l.splitnd().splitsizes()));
        args.emplace_back("split_sizes", b_.ints(sizes));
      }
      std::vector<V> parts = ops_of("split", std::move(args));
      if (parts.empty() || parts[0] == nullptr) return failed();
      if (static_cast<int>(parts.size()) != l.output_size()) return bad("splits into " + std::to_string(parts.size()) + " parts, but has " + std::to_string(l.output_size()) + " outputs");
      for (int i = 0; i < l.output_size(); ++i) MLT_TRY(out(parts[static_cast<size_t>(i)], i));
      return {};
    }
    case Layer::kTranspose: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      MLT_ASSIGN(Dims axes, dims_of(l.transpose().axes()));
      // Axes of a picture without its batch, as coremltools' make_image_input writes them: leading extents of 1 stay.
      if (auto missing = static_cast<size_t>(x.rank()) - axes.size(); axes.size() < static_cast<size_t>(x.rank()) &&
          std::all_of(x.dims.begin(), x.dims.begin() + static_cast<ptrdiff_t>(missing), [](int64_t d) { return d == 1; })) {
        for (int64_t& axis : axes) axis += axis < 0 ? 0 : static_cast<int64_t>(missing);
        for (size_t i = missing; i-- > 0;) axes.insert(axes.begin(), static_cast<int64_t>(i));
      }
      return out(op("transpose", {{"x", plain(x)}, {"perm", b_.ints(axes)}}));
    }
    case Layer::kReverse: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      if (l.reverse().reversedim_size() != x.rank()) return bad("reverseDim needs a value for each axis");
      Ints axes;
      for (int i = 0; i < x.rank(); ++i)
        if (l.reverse().reversedim(i)) axes.push_back(i);
      if (axes.empty()) return out(x.value, x.dims);
      return out(op("reverse", {{"x", plain(x)}, {"axes", b_.ints(axes)}}));
    }
    case Layer::kReverseSeq: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob lengths, in(1));
      return out(op("reverse_sequence", {{"x", plain(x)}, {"lengths", to_int(plain(lengths))}, {"seq_axis", b_.i32(l.reverseseq().sequenceaxis())}, {"batch_axis", b_.i32(l.reverseseq().batchaxis())}}));
    }
    case Layer::kSliceStatic: {
      const auto& p = l.slicestatic();
      return slice_nd(ints_of(p.beginids()), bools_of(p.beginmasks()), ints_of(p.endids()), bools_of(p.endmasks()), ints_of(p.strides()), bools_of(p.squeezemasks()));
    }
    case Layer::kSliceDynamic: return slice_dynamic(l.slicedynamic());
    case Layer::kSliceBySize: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob begin, in(1));
      MLT_ASSIGN(int64_t axis, axis_of(l.slicebysize().axis(), x.rank()));
      V start = view(to_int(begin.value), {1});
      std::vector<V> parts;
      if (axis > 0) parts.push_back(b_.ints(Ints(static_cast<size_t>(axis), 0)));
      parts.push_back(start);
      if (axis + 1 < x.rank()) parts.push_back(b_.ints(Ints(static_cast<size_t>(x.rank() - axis - 1), 0)));
      V begins = parts.size() == 1 ? parts[0] : op("concat", {{"values", parts}, {"axis", b_.i32(0)}, {"interleave", b_.boolean(false)}});
      Ints size(static_cast<size_t>(x.rank()), -1);
      size[static_cast<size_t>(axis)] = l.slicebysize().size();
      return out(op("slice_by_size", {{"x", plain(x)}, {"begin", begins}, {"size", b_.ints(size)}}));
    }
    case Layer::kSlidingWindows: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      if (l.slidingwindows().windowsize() > (1u << 30) || l.slidingwindows().step() > (1u << 30)) return bad("the window is too large");
      return out(op("sliding_windows", {{"x", plain(x)}, {"axis", b_.i32(l.slidingwindows().axis())}, {"size", b_.i32(static_cast<int64_t>(l.slidingwindows().windowsize()))},
                                        {"stride", b_.i32(static_cast<int64_t>(l.slidingwindows().step()))}}));
    }
    case Layer::kGetShape: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      if (std::all_of(x.dims.begin(), x.dims.end(), [](int64_t d) { return d >= 0; })) {
        std::vector<float> values(x.dims.begin(), x.dims.end());
        return out(b_.floats(values));
      }
      return out(to_float(op("shape", {{"x", plain(x)}})));
    }
    case Layer::kFillLike: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      MLT_ASSIGN(Dims dims, fixed(x));
      return fill(dims, l.filllike().value());
    }
    case Layer::kFillStatic: {
      MLT_TRY(need(0, 0, 1, 1));
      MLT_ASSIGN(Dims dims, dims_of(l.fillstatic().targetshape()));
      return fill(dims, l.fillstatic().value());
    }
    case Layer::kFillDynamic: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob given, in());
      MLT_ASSIGN(V shape, shape_value(given));
      return out(op("fill", {{"shape", shape}, {"value", b_.f32(l.filldynamic().value())}}));
    }
    case Layer::kBroadcastToLike: case Layer::kBroadcastToStatic: case Layer::kBroadcastToDynamic: {
      MLT_TRY(need(1, 2, 1, 1));
      MLT_ASSIGN(Blob x, in());
      Dims dims;
      if (l.layer_case() == Layer::kBroadcastToStatic) {
        MLT_ASSIGN(dims, dims_of(l.broadcasttostatic().targetshape()));
      } else {
        MLT_ASSIGN(Blob other, in(1));
        if (l.layer_case() == Layer::kBroadcastToLike) {
          MLT_ASSIGN(dims, fixed(other));
        } else if (other.value->constant_tensor() == nullptr) {
          // Extents only known at run time: repeat what is 1 as often as is wanted.
          MLT_ASSIGN(Dims from, fixed(x));
          MLT_ASSIGN(V shape, shape_value(other));
          if (other.dims[0] < static_cast<int64_t>(from.size())) return bad("the target shape has fewer axes than " + dims_text(from));
          from.insert(from.begin(), static_cast<size_t>(other.dims[0]) - from.size(), 1);
          return out(op("tile", {{"x", view(x.value, from)}, {"reps", op("floor_div", {{"x", shape}, {"y", b_.ints(from)}})}}));
        } else {
          MLT_ASSIGN(dims, constant_ints(other, "the target shape"));
        }
      }
      MLT_ASSIGN(V y, broadcast_to(x, dims));
      return out(y, dims);
    }
    case Layer::kSqueeze: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      MLT_ASSIGN(Dims dims, fixed(x));
      std::vector<bool> gone(dims.size(), false);
      if (l.squeeze().squeezeall()) {
        for (size_t i = 0; i < dims.size(); ++i) gone[i] = dims[i] == 1;
      } else {
        for (int64_t a : l.squeeze().axes()) {
          MLT_ASSIGN(int64_t axis, axis_of(a, x.rank()));
          if (dims[static_cast<size_t>(axis)] != 1) return bad("axis " + std::to_string(a) + " of " + dims_text(dims) + " is not 1");
          gone[static_cast<size_t>(axis)] = true;
        }
      }
      Dims left;
      for (size_t i = 0; i < dims.size(); ++i)
        if (!gone[i]) left.push_back(dims[i]);
      if (left.empty()) left = {1};
      return out(x.value, left);
    }
    case Layer::kExpandDims: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      MLT_ASSIGN(Dims dims, fixed(x));
      if (x.single) dims.clear();
      int rank = static_cast<int>(dims.size()) + l.expanddims().axes_size();
      if (rank > 16) return bad("too many axes");
      std::vector<bool> fresh(static_cast<size_t>(rank), false);
      for (int64_t a : l.expanddims().axes()) {
        MLT_ASSIGN(int64_t axis, axis_of(a, rank));
        if (fresh[static_cast<size_t>(axis)]) return bad("axis " + std::to_string(a) + " is given twice");
        fresh[static_cast<size_t>(axis)] = true;
      }
      Dims wide;
      size_t next = 0;
      for (bool one : fresh) wide.push_back(one ? 1 : dims[next++]);
      return out(x.value, wide);
    }
    case Layer::kFlattenTo2D: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      MLT_ASSIGN(Dims dims, fixed(x));
      int64_t axis = l.flattento2d().axis();
      if (axis < -x.rank() || axis > x.rank()) return bad("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(x.rank()));
      if (axis < 0) axis += x.rank();
      Dims flat{1, 1};
      for (size_t i = 0; i < dims.size(); ++i) flat[static_cast<int64_t>(i) < axis ? 0 : 1] *= dims[i];
      return out(x.value, flat);
    }
    case Layer::kReshapeStatic: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return reshape_to(x, ints_of(l.reshapestatic().targetshape()), false);
    }
    case Layer::kRankPreservingReshape: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      if (l.rankpreservingreshape().targetshape_size() != x.rank()) return bad("targetShape needs a value for each axis of " + dims_text(x.dims));
      return reshape_to(x, ints_of(l.rankpreservingreshape().targetshape()), true);
    }
    case Layer::kReshapeLike: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob like, in(1));
      MLT_ASSIGN(Dims dims, fixed(like));
      return reshape_to(x, dims, false);
    }
    case Layer::kReshapeDynamic: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob given, in(1));
      if (given.value->constant_tensor() != nullptr && std::all_of(x.dims.begin(), x.dims.end(), [](int64_t d) { return d >= 0; })) {
        MLT_ASSIGN(Ints target, constant_ints(given, "the target shape"));
        return reshape_to(x, target, false);
      }
      MLT_ASSIGN(V shape, shape_value(given));
      return out(op("reshape", {{"x", plain(x)}, {"shape", shape}}));
    }
    case Layer::kConstantPad: return constant_pad(l.constantpad());
    case Layer::kRangeStatic: {
      MLT_TRY(need(0, 0, 1, 1));
      const auto& p = l.rangestatic();
      float step = p.stepsizevalue() == 0 ? 1.0f : p.stepsizevalue();
      return out(op("range_1d", {{"end", b_.f32(p.endvalue())}, {"start", b_.f32(p.startvalue())}, {"step", b_.f32(step)}}));
    }
    case Layer::kRangeDynamic: {
      MLT_TRY(need(1, 3, 1, 1));
      auto number = [&](int index, float preset) -> Result<V> {
        if (!has_in(index)) return b_.f32(preset);
        MLT_ASSIGN(Blob given, in(index));
        return view(given.value, {});
      };
      MLT_ASSIGN(V end, number(0, 0));
      MLT_ASSIGN(V start, number(1, l.rangedynamic().startvalue()));
      MLT_ASSIGN(V step, number(2, l.rangedynamic().stepsizevalue() == 0 ? 1.0f : l.rangedynamic().stepsizevalue()));
      return out(op("range_1d", {{"end", end}, {"start", start}, {"step", step}}));
    }
    default: return random_layer(l, known);
  }
}

Status Lifter::fill(const Dims& dims, float value) {
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count > (int64_t{1} << 28)) return out(op("fill", {{"shape", b_.ints(dims)}, {"value", b_.f32(value)}}));
  Tensor tensor = Tensor::uninitialized(DType::kF32, dims);
  std::fill_n(tensor.mutable_data<float>(), count, value);
  return out(b_.constant(tensor), dims);
}

// -1 (at most once) stands for what is left; 0 keeps an axis where zero_keeps says so.
Status Lifter::reshape_to(const Blob& x, Ints target, bool zero_keeps) {
  MLT_ASSIGN(Dims dims, fixed(x));
  MLT_ASSIGN(int64_t total, element_count(dims));
  int64_t known = 1, open = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] == 0 && zero_keeps) target[i] = dims[i];
    if (target[i] == -1 && open < 0) {
      open = static_cast<int64_t>(i);
    } else {
      if (target[i] < 1 || target[i] > total || known > total) return bad("cannot reshape " + dims_text(dims) + " to " + dims_text(target));
      known *= target[i];
    }
  }
  if (open >= 0 && known > 0) target[static_cast<size_t>(open)] = total / known, known *= total / known;
  if (known != total) return bad("cannot reshape " + dims_text(dims) + " to " + dims_text(target));
  return out(x.value, target);
}

Status Lifter::slice_nd(Ints begin, std::vector<bool> begin_mask, Ints end, std::vector<bool> end_mask, Ints stride, std::vector<bool> squeeze) {
  MLT_ASSIGN(Blob x, in());
  size_t rank = x.dims.size();
  if (begin_mask.empty()) begin_mask.assign(rank, false);
  if (end_mask.empty()) end_mask.assign(rank, false);
  if (squeeze.empty()) squeeze.assign(rank, false);
  if (stride.empty()) stride.assign(rank, 1);
  if (begin.size() != rank || end.size() != rank || stride.size() != rank || begin_mask.size() != rank || end_mask.size() != rank || squeeze.size() != rank)
    return bad("slice parameters need a value for each axis of " + dims_text(x.dims));
  // Ends may be "the largest number"; what is beyond the extent is all the same.
  for (Ints* list : {&begin, &end})
    for (int64_t& v : *list) v = std::clamp<int64_t>(v, -(int64_t{1} << 31), (int64_t{1} << 31) - 1);
  return out(op("slice_by_index", {{"x", plain(x)}, {"begin", b_.ints(begin)}, {"end", b_.ints(end)}, {"stride", b_.ints(stride)}, {"begin_mask", b_.bools(begin_mask)},
                                   {"end_mask", b_.bools(end_mask)}, {"squeeze_mask", b_.bools(squeeze)}}));
}

// Inputs after the first replace the parameters of the same meaning.
Status Lifter::slice_dynamic(const spec::SliceDynamicLayerParams& p) {
  MLT_TRY(need(2, 7, 1, 1));
  MLT_ASSIGN(Blob x, in(0));
  auto ints = [&](int index, Ints preset, const char* what) -> Result<Ints> {
    if (!has_in(index)) return preset;
    MLT_ASSIGN(Blob given, in(index));
    return constant_ints(given, what);
  };
  auto bools = [&](int index, std::vector<bool> preset, const char* what) -> Result<std::vector<bool>> {
    if (!has_in(index)) return preset;
    MLT_ASSIGN(Blob given, in(index));
    MLT_ASSIGN(Ints values, constant_ints(given, what));
    return std::vector<bool>(values.begin(), values.end());
  };
  MLT_ASSIGN(Ints stride, ints(3, ints_of(p.strides()), "the stride"));
  MLT_ASSIGN(auto begin_mask, bools(4, bools_of(p.beginmasks()), "the begin mask"));
  MLT_ASSIGN(auto end_mask, bools(5, bools_of(p.endmasks()), "the end mask"));
  MLT_ASSIGN(auto squeeze, bools(6, bools_of(p.squeezemasks()), "the squeeze mask"));
  MLT_ASSIGN(Blob begin, in(1));
  bool constant = begin.value->constant_tensor() != nullptr;
  Blob end;
  if (has_in(2)) {
    MLT_ASSIGN(end, in(2));
    constant &= end.value->constant_tensor() != nullptr;
  }
  if (constant) {
    MLT_ASSIGN(Ints begins, constant_ints(begin, "the begin"));
    MLT_ASSIGN(Ints ends, ints(2, ints_of(p.endids()), "the end"));
    return slice_nd(begins, begin_mask, ends, end_mask, stride, squeeze);
  }
  size_t rank = x.dims.size();
  if (stride.empty()) stride.assign(rank, 1);
  if (begin_mask.empty()) begin_mask.assign(rank, false);
  if (end_mask.empty()) end_mask.assign(rank, false);
  if (squeeze.empty()) squeeze.assign(rank, false);
  // coremltools writes five of each, whatever the rank; the first ones count.
  if (stride.size() > rank) stride.resize(rank);
  for (auto* mask : {&begin_mask, &end_mask, &squeeze})
    if (mask->size() > rank) mask->resize(rank);
  V ends = end.value != nullptr ? to_int(plain(end)) : b_.ints(ints_of(p.endids()));
  return out(op("slice_by_index", {{"x", plain(x)}, {"begin", to_int(plain(begin))}, {"end", ends}, {"stride", b_.ints(stride)}, {"begin_mask", b_.bools(begin_mask)},
                                   {"end_mask", b_.bools(end_mask)}, {"squeeze_mask", b_.bools(squeeze)}}));
}

Status Lifter::constant_pad(const spec::ConstantPaddingLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  Ints pad;
  if (has_in(1)) {
    MLT_ASSIGN(Blob given, in(1));
    if (given.value->constant_tensor() == nullptr) {
      if (given.dims != Dims{2 * x.rank()}) return bad("the padding needs two values for each axis of " + dims_text(dims));
      V amounts = to_int(plain(given));
      if (p.padtogivenoutputsizemode()) {
        Ints extents;
        for (int64_t d : dims) extents.insert(extents.end(), {d, d});
        amounts = op("maximum", {{"x", op("sub", {{"x", amounts}, {"y", b_.ints(extents)}})}, {"y", b_.i32(0)}});
      }
      return out(op("pad", {{"x", plain(x)}, {"pad", amounts}, {"mode", b_.string("constant")}, {"constant_val", b_.f32(p.value())}}));
    }
    MLT_ASSIGN(pad, constant_ints(given, "the padding"));
  } else {
    for (uint64_t v : p.padamounts()) pad.push_back(static_cast<int64_t>(std::min<uint64_t>(v, uint64_t{1} << 40)));
  }
  if (pad.size() != 2 * dims.size()) return bad("padAmounts needs two values for each axis of " + dims_text(dims));
  if (p.padtogivenoutputsizemode()) {
    for (size_t i = 0; i < dims.size(); ++i) {
      if (pad[2 * i] > 0 && pad[2 * i + 1] > 0) return bad("one of a pair of padAmounts must be 0 when they are output extents");
      for (size_t side : {2 * i, 2 * i + 1}) pad[side] = std::max<int64_t>(pad[side] - dims[i], 0);
    }
  }
  return out(op("pad", {{"x", plain(x)}, {"pad", b_.ints(pad)}, {"mode", b_.string("constant")}, {"constant_val", b_.f32(p.value())}}));
}

Status Lifter::random_layer(const Layer& l, bool& known) {
  // The shape: of the input, of the parameters, or the input's values.
  auto like = [&]() -> Result<V> {
    MLT_ASSIGN(Blob x, in());
    MLT_ASSIGN(Dims dims, fixed(x));
    return b_.ints(dims);
  };
  auto fixed_shape = [&](const google::protobuf::RepeatedField<uint64_t>& field) -> Result<V> {
    MLT_ASSIGN(Dims dims, dims_of(field));
    return b_.ints(dims);
  };
  auto dynamic = [&]() -> Result<V> {
    MLT_ASSIGN(Blob x, in());
    return shape_value(x);
  };
  auto normal = [&](V shape, const auto& p) { return out(op("random_normal", {{"shape", shape}, {"mean", b_.f32(p.mean())}, {"stddev", b_.f32(p.stddev())}, {"seed", b_.i32(p.seed())}})); };
  auto uniform = [&](V shape, const auto& p) { return out(op("random_uniform", {{"shape", shape}, {"low", b_.f32(p.minval())}, {"high", b_.f32(p.maxval())}, {"seed", b_.i32(p.seed())}})); };
  auto bernoulli = [&](V shape, const auto& p) { return out(op("random_bernoulli", {{"shape", shape}, {"prob", b_.f32(p.prob())}, {"seed", b_.i32(p.seed())}})); };
  V shape = nullptr;
  switch (l.layer_case()) {
    case Layer::kRandomNormalLike: case Layer::kRandomUniformLike: case Layer::kRandomBernoulliLike: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(shape, like());
      break;
    }
    case Layer::kRandomNormalDynamic: case Layer::kRandomUniformDynamic: case Layer::kRandomBernoulliDynamic: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(shape, dynamic());
      break;
    }
    case Layer::kRandomNormalStatic: {
      MLT_TRY(need(0, 0, 1, 1));
      MLT_ASSIGN(shape, fixed_shape(l.randomnormalstatic().outputshape()));
      break;
    }
    case Layer::kRandomUniformStatic: {
      MLT_TRY(need(0, 0, 1, 1));
      MLT_ASSIGN(shape, fixed_shape(l.randomuniformstatic().outputshape()));
      break;
    }
    case Layer::kRandomBernoulliStatic: {
      MLT_TRY(need(0, 0, 1, 1));
      MLT_ASSIGN(shape, fixed_shape(l.randombernoullistatic().outputshape()));
      break;
    }
    default: break;
  }
  switch (l.layer_case()) {
    case Layer::kRandomNormalLike: return normal(shape, l.randomnormallike());
    case Layer::kRandomNormalStatic: return normal(shape, l.randomnormalstatic());
    case Layer::kRandomNormalDynamic: return normal(shape, l.randomnormaldynamic());
    case Layer::kRandomUniformLike: return uniform(shape, l.randomuniformlike());
    case Layer::kRandomUniformStatic: return uniform(shape, l.randomuniformstatic());
    case Layer::kRandomUniformDynamic: return uniform(shape, l.randomuniformdynamic());
    case Layer::kRandomBernoulliLike: return bernoulli(shape, l.randombernoullilike());
    case Layer::kRandomBernoulliStatic: return bernoulli(shape, l.randombernoullistatic());
    case Layer::kRandomBernoulliDynamic: return bernoulli(shape, l.randombernoullidynamic());
    case Layer::kCategoricalDistribution: {
      const auto& p = l.categoricaldistribution();
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      V value = plain(x);
      float temperature = p.temperature() == 0 ? 1.0f : p.temperature(), eps = p.eps() == 0 ? 1e-10f : p.eps();
      if (!p.islogits()) value = op("log", {{"x", value}, {"epsilon", b_.f32(eps)}});
      if (temperature != 1) value = op("mul", {{"x", value}, {"y", b_.f32(1.0 / temperature)}});
      return out(op("random_categorical", {{"x", value}, {"mode", b_.string("logits")}, {"size", b_.i32(p.numsamples())}, {"seed", b_.i32(p.seed())}}));
    }
    default: known = false; return {};
  }
}

}  // namespace mlt::coreml
