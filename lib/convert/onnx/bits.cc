// Operators that Core ML has no word for and a few tensor operations spell: bits of integers, determinants, patches to
// images, n-grams.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

// The 32 bits of an int32 along a new last axis: quotients by powers of two, rounded down, are two's complement shifts.
V bits_of(Ctx& c, V x) {
  if (Lower::rank(x) >= 5) unsupported("bits of tensors of rank " + std::to_string(Lower::rank(x)));
  std::vector<int64_t> powers;
  for (int i = 0; i < 31; ++i) powers.push_back(int64_t{1} << i);
  V wide = c.l.expand_dims(x, {Lower::rank(x)});
  V low = c.l.binary("mod", c.l.binary("floor_div", wide, c.l.ints(powers)), c.l.i32(2));
  V sign = c.l.cast(c.l.binary("less", wide, c.l.i32(0)), DType::kI32);
  return c.l.concat({low, sign}, Lower::rank(x));
}
V from_bits(Ctx& c, V bits) {
  std::vector<int64_t> powers;
  for (int i = 0; i < 31; ++i) powers.push_back(int64_t{1} << i);
  powers.push_back(-(int64_t{1} << 31));
  return c.l.reduce("reduce_sum", c.l.mul(bits, c.l.ints(powers)), {Lower::rank(bits) - 1}, false);
}
void narrow(Ctx& c) {
  if (c.type(0) == DType::kI64 || c.type(0) == DType::kU64 || c.type(0) == DType::kU32) c.driver().warn("bits of 64-bit integers: only the lower 32 are there");
}
void bit_and(Ctx& c) {
  narrow(c);
  c.out(0, from_bits(c, c.l.mul(bits_of(c, c.in(0)), bits_of(c, c.in(1)))), c.type(0));
}
void bit_or(Ctx& c) {
  narrow(c);
  c.out(0, from_bits(c, c.l.binary("maximum", bits_of(c, c.in(0)), bits_of(c, c.in(1)))), c.type(0));
}
void bit_xor(Ctx& c) {
  narrow(c);
  V a = bits_of(c, c.in(0)), b = bits_of(c, c.in(1));
  c.out(0, from_bits(c, c.l.cast(c.l.binary("not_equal", a, b), DType::kI32)), c.type(0));
}

// Expansion along the first row; sizes that occur are small.
V minor_sum(Lower& l, V x, int64_t n) {
  int64_t rank = Lower::rank(x), rows = rank - 2, cols = rank - 1;
  if (n == 1) return l.squeeze(x, {rows, cols});
  V rest = l.slice(x, rows, 1, n), sum = nullptr;
  for (int64_t j = 0; j < n; ++j) {
    V pivot = l.squeeze(l.slice(l.slice(x, rows, 0, 1), cols, j, j + 1), {rows, cols});
    std::vector<V> parts;
    if (j > 0) parts.push_back(l.slice(rest, cols, 0, j));
    if (j + 1 < n) parts.push_back(l.slice(rest, cols, j + 1, n));
    V term = l.mul(pivot, minor_sum(l, parts.size() == 1 ? parts[0] : l.concat(parts, cols), n - 1));
    sum = sum == nullptr ? term : j % 2 ? l.sub(sum, term) : l.add(sum, term);
  }
  return sum;
}
void det(Ctx& c) {
  V x = c.fin(0);
  int64_t rank = Lower::rank(x), n = rank >= 2 ? Lower::dims(x).back() : 0;
  if (n < 1 || n > 5 || Lower::dims(x)[static_cast<size_t>(rank - 2)] != n) unsupported("determinants of other than square matrices of up to 5 x 5");
  c.out(0, minor_sum(c.l, x, n), c.type(0));
}

// Overlapping blocks summed: a transposed convolution whose weights put each element in its place.
void col2im(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0);
  std::vector<int64_t> image = c.known(1, "image_shape"), block = c.known(2, "block_shape");
  size_t n = image.size();
  if (n < 1 || n > 3 || block.size() != n || Lower::rank(x) != 3) unsupported("blocks of " + std::to_string(n) + " axes");
  auto ones = std::vector<int64_t>(n, 1);
  std::vector<int64_t> dilations = c.ints("dilations").value_or(ones), strides = c.ints("strides").value_or(ones), pads = c.ints("pads").value_or(std::vector<int64_t>(2 * n, 0));
  if (dilations.size() != n || strides.size() != n || pads.size() != 2 * n) bad_input("attributes do not fit the image");
  int64_t size = 1;
  Dims steps, full;
  for (size_t i = 0; i < n; ++i) {
    if (block[i] < 1 || strides[i] < 1 || dilations[i] < 1) bad_input("extents must be positive");
    size *= block[i];
    int64_t span = dilations[i] * (block[i] - 1) + 1;
    steps.push_back((image[i] + pads[i] + pads[n + i] - span) / strides[i] + 1);
    full.push_back((steps.back() - 1) * strides[i] + span);
  }
  const Dims dims = c.known_dims(x);
  if (size > (1 << 12) || dims[1] % size) bad_input("blocks do not fit the input");
  int64_t channels = dims[1] / size;
  Lower::check_constant({dims[1], size});
  Dims grid = {dims[0], dims[1]}, weight = {dims[1], 1};
  grid.insert(grid.end(), steps.begin(), steps.end());
  weight.insert(weight.end(), block.begin(), block.end());
  Tensor w = Tensor::zeros(DType::kF32, weight);
  for (int64_t i = 0; i < dims[1]; ++i) w.mutable_data<float>()[i * size + i % size] = 1;
  V y = l.op("conv_transpose", {{"x", l.reshape(x, grid)}, {"weight", l.constant(std::move(w))}, {"strides", l.ints(strides)}, {"dilations", l.ints(dilations)},
                                {"pad_type", l.str("valid")}, {"groups", l.i32(channels)}});
  // What lies in the padding is cut off; what no block reaches is zero.
  std::vector<int64_t> more;
  bool any = false;
  for (size_t i = 0; i < n; ++i) {
    int64_t missing = image[i] + pads[i] + pads[n + i] - full[i];
    more.push_back(0);
    more.push_back(missing);
    any = any || missing > 0;
  }
  if (any) y = l.op("pad", {{"x", y}, {"pad", l.ints(more)}, {"mode", l.str("constant")}, {"constant_val", l.f32(0)}});
  for (size_t i = 0; i < n; ++i) y = l.slice(y, static_cast<int64_t>(i) + 2, pads[i], pads[i] + image[i]);
  c.out(0, y, c.type(0));
}

// Rows compared pair by pair: a row is kept when no equal one comes before it.
void unique(Ctx& c) {
  Lower& l = c.l;
  bool sorted = c.i64("sorted", 1) != 0, flat = !c.has_attr("axis");
  V x = c.in(0), rows = x;
  DType own = c.type(0);
  if (Lower::dtype(x) == DType::kBool) rows = x = l.cast(x, DType::kI32);
  const Dims dims = c.known_dims(x);
  int64_t rank = Lower::rank(x), axis = flat ? 0 : c.axis("axis", 0, rank);
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank; ++i) perm.push_back(i);
  if (flat) {
    rows = l.reshape(x, {-1, 1});
  } else {
    perm.erase(perm.begin() + axis);
    perm.insert(perm.begin(), axis);
    rows = l.reshape(l.transpose(x, perm), {dims[static_cast<size_t>(axis)], -1});
  }
  int64_t n = Lower::dims(rows)[0], m = Lower::dims(rows)[1];
  Lower::check_constant({n, n, m});
  if (n * n * m > (int64_t{1} << 26)) unsupported("too many elements to compare");
  V a = l.expand_dims(rows, {1}), b = l.expand_dims(rows, {0});
  V differ = l.cast(l.binary("not_equal", a, b), DType::kI32);
  V equal = l.sub(l.i32(1), l.reduce("reduce_max", differ, {2}, false));  // [n, n]
  V at = l.op("reduce_argmax", {{"x", l.cast(differ, DType::kF32)}, {"axis", l.i32(2)}, {"keep_dims", l.boolean(true)}});
  V less = l.op("gather_along_axis", {{"x", l.cast(l.binary("less", a, b), DType::kI32)}, {"indices", at}, {"axis", l.i32(2)}});
  V first = l.op("reduce_argmax", {{"x", l.cast(equal, DType::kF32)}, {"axis", l.i32(1)}, {"keep_dims", l.boolean(false)}});
  V index = l.index_vector(n), kept = l.cast(l.binary("equal", first, index), DType::kI32);
  // How many kept rows come before each row's value, by value or by place.
  V before = sorted ? l.transpose(l.squeeze(less, {2}), {1, 0}) : l.cast(l.binary("less", l.expand_dims(index, {0}), l.expand_dims(first, {1})), DType::kI32);
  V inverse = l.reduce("reduce_sum", l.mul(before, l.expand_dims(kept, {0})), {1}, false);
  V places = l.squeeze(l.op("non_zero", {{"x", kept}}), {1});
  if (sorted) {
    V order = l.op("argsort", {{"x", l.gather(inverse, places, 0)}, {"axis", l.i32(0)}, {"ascending", l.boolean(true)}});
    places = l.gather(places, order, 0);
  }
  c.out(0, flat ? l.gather(l.reshape(x, {-1}), places, 0) : l.gather(x, places, axis), own);
  if (c.wants(1)) c.out(1, places, DType::kI64);
  if (c.wants(2)) c.out(2, inverse, DType::kI64);
  if (c.wants(3)) c.out(3, l.gather(l.reduce("reduce_sum", equal, {1}, false), places, 0), DType::kI64);
}

// Values of 8 and 16 bits stay in int32, so that their other reading is known; a float's bits or an unsigned 32-bit number
// is nothing that Core ML can hold.
void bit_cast(Ctx& c) {
  DType from = c.type(0), to = dtype_from_onnx(c.i64("to", 0)).value_or(DType::kString);
  auto narrow_int = [](DType t) { return t == DType::kI8 || t == DType::kU8 || t == DType::kI16 || t == DType::kU16; };
  if (from == to) return c.out(0, c.l.unary("identity", c.in(0)), to);
  if (from == DType::kBool && to == DType::kU8) return c.out(0, c.l.cast(c.in(0), DType::kI32), to);
  if (!narrow_int(from) || !narrow_int(to)) unsupported("the bits of " + std::string(dtype_name(from)) + " as " + std::string(dtype_name(to)));
  c.out(0, wrap_to(c, c.in(0), to), to);
}

// Counts of n-grams, elements of one n-gram lying skip + 1 apart.
void tf_idf(Ctx& c) {
  Lower& l = c.l;
  if (c.has_attr("pool_strings") && !c.has_attr("pool_int64s")) unsupported("n-grams of strings");
  int64_t shortest = c.i64("min_gram_length", 0), longest = c.i64("max_gram_length", 0), skips = c.i64("max_skip_count", 0);
  std::string mode = c.str("mode", "TF");
  auto counts = c.ints("ngram_counts"), indexes = c.ints("ngram_indexes"), pool = c.ints("pool_int64s");
  auto weights = c.floats("weights");
  if (!counts || !indexes || !pool || shortest < 1 || longest < shortest || skips < 0) bad_input("incomplete n-gram tables");
  V x = c.in(0);
  bool flat = Lower::rank(x) == 1;
  if (flat) x = l.expand_dims(x, {0});
  const Dims dims = c.known_dims(x);
  if (dims.size() != 2) bad_input("the input must be a vector or a matrix");
  int64_t outputs = 0;
  for (int64_t i : *indexes) {
    if (i < 0 || i > (1 << 24)) bad_input("ngram_indexes out of range");
    outputs = std::max(outputs, i + 1);
  }
  if (weights && static_cast<int64_t>(weights->size()) != outputs) bad_input("weights do not fit ngram_indexes");
  std::vector<V> parts;
  std::vector<int64_t> targets;
  size_t id = 0;
  for (size_t level = 0; level < counts->size(); ++level) {
    int64_t size = static_cast<int64_t>(level) + 1, begin = (*counts)[level], end = level + 1 < counts->size() ? (*counts)[level + 1] : static_cast<int64_t>(pool->size());
    if (begin < 0 || end < begin || end > static_cast<int64_t>(pool->size()) || (end - begin) % size) bad_input("ngram_counts do not fit the pool");
    int64_t grams = (end - begin) / size;
    if (id + static_cast<size_t>(grams) > indexes->size()) bad_input("ngram_indexes do not fit the pool");
    if (grams > 0 && size >= shortest && size <= longest) {
      V sum = nullptr;
      for (int64_t step = 1; step <= (size == 1 ? 1 : skips + 1); ++step) {
        int64_t windows = dims[1] - (size - 1) * step;
        if (windows <= 0) break;
        Lower::check_constant({dims[0], windows, grams});
        V all = nullptr;
        for (int64_t k = 0; k < size; ++k) {
          std::vector<int64_t> member;
          for (int64_t g = 0; g < grams; ++g) member.push_back((*pool)[static_cast<size_t>(begin + g * size + k)]);
          V equal = l.binary("equal", l.expand_dims(l.slice(x, 1, k * step, k * step + windows), {2}), l.ints(member));
          all = all ? l.op("logical_and", {{"x", all}, {"y", equal}}) : equal;
        }
        V found = l.reduce("reduce_sum", l.cast(all, DType::kF32), {1}, false);
        sum = sum ? l.add(sum, found) : found;
      }
      if (sum) {
        parts.push_back(sum);
        for (int64_t g = 0; g < grams; ++g) targets.push_back((*indexes)[id + static_cast<size_t>(g)]);
      }
    }
    id += static_cast<size_t>(grams);
  }
  V y;
  if (parts.empty()) {
    y = l.zeros({dims[0], outputs}, DType::kF32);
  } else {
    Lower::check_constant({static_cast<int64_t>(targets.size()), outputs});
    Tensor place = Tensor::zeros(DType::kF32, {static_cast<int64_t>(targets.size()), outputs});
    for (size_t g = 0; g < targets.size(); ++g) place.mutable_data<float>()[static_cast<int64_t>(g) * outputs + targets[g]] = 1;
    y = l.matmul(parts.size() == 1 ? parts[0] : l.concat(parts, 1), l.constant(std::move(place)));
  }
  if (mode == "IDF") y = l.clip(y, 0, 1);
  else if (mode != "TF" && mode != "TFIDF") bad_input("unknown mode \"" + mode + "\"");
  if (mode != "TF" && weights) y = l.mul(y, l.floats(*weights));
  c.out(0, flat ? l.squeeze(y, {0}) : y, DType::kF32);
}

constexpr Row kRows[] = {
    {"BitCast", bit_cast, "", "integers of 8 and 16 bits"}, {"TfIdfVectorizer", tf_idf, "", "n-grams of integers"},
    {"BitwiseAnd", bit_and}, {"BitwiseOr", bit_or}, {"BitwiseXor", bit_xor}, {"Col2Im", col2im}, {"Det", det, "", "up to 5 x 5"},
    {"Unique", unique, "", "of known extents"},
};

}  // namespace

std::span<const Row> families::bits() { return kRows; }

}  // namespace mlt::foreign::onnx
