// Matrix products.
#include <algorithm>
#include <map>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

Tensor scaled(const Tensor& tensor, float factor) {
  Tensor out = convert(tensor, DType::kF32).clone();
  for (int64_t i = 0; i < out.size(); ++i) out.mutable_data<float>()[i] *= factor;
  return out;
}

void gemm(Ctx& c) {
  c.ignore({"broadcast"});
  V a = c.in(0), b = c.in(1), bias = c.opt(2);
  float alpha = c.f32("alpha", 1), beta = c.f32("beta", 1);
  bool trans_a = c.i64("transA", 0) != 0, trans_b = c.i64("transB", 0) != 0;
  if (Lower::rank(a) != 2 || Lower::rank(b) != 2) bad_input("Gemm needs matrices");
  const Tensor *weight = Lower::known(b), *offset = bias ? Lower::known(bias) : nullptr;
  int64_t n = Lower::dims(b)[trans_b ? 0 : 1];
  if (is_compressed(b) && alpha == 1 && !Lower::known(a)) {
    std::vector<Input> inputs = {{"x", trans_a ? c.l.transpose(a, {1, 0}) : a}, {"weight", trans_b ? b : compressed_transpose(c.l, b)}};
    bool vector = offset && beta == 1 && offset->size() == n && offset->dims().back() == n;
    if (vector) inputs.push_back({"bias", c.l.constant(offset->reshaped({n}), bias->name)});
    V y = c.l.op("linear", inputs);
    if (bias && !vector) y = c.l.add(y, beta == 1 ? bias : c.l.mul(bias, beta));
    return same(c, y);
  }
  if (weight && Lower::dtype(a) == DType::kF32 && !Lower::known(a)) {
    if (trans_a) a = c.l.transpose(a, {1, 0});
    Tensor w = trans_b ? *weight : permuted(*weight, {1, 0});
    if (alpha != 1) w = scaled(w, alpha);
    std::vector<Input> inputs = {{"x", a}, {"weight", trans_b && alpha == 1 ? b : c.l.constant(std::move(w), b->name)}};
    bool vector = offset && (offset->size() == 1 || (offset->size() == n && offset->dims().back() == n));
    if (vector) {
      std::vector<float> values = to_floats(*offset);
      if (values.size() == 1) values.resize(static_cast<size_t>(n), values[0]);
      for (float& v : values) v *= beta;
      inputs.push_back({"bias", c.l.constant(Tensor::from<float>({n}, values), bias->name)});
    }
    V y = c.l.op("linear", inputs);
    if (bias && !vector) y = c.l.add(y, beta == 1 ? bias : c.l.mul(bias, beta));
    return same(c, y);
  }
  V y = c.l.matmul(a, b, trans_a, trans_b);
  if (alpha != 1) y = c.l.mul(y, alpha);
  if (bias) y = c.l.add(y, beta == 1 ? bias : c.l.mul(bias, beta));
  same(c, y);
}

V matmul_any(Lower& l, V a, V b) {
  if (is_compressed(b) && Lower::rank(b) == 2 && Lower::rank(a) >= 2 && Lower::rank(a) <= 3) return l.op("linear", {{"x", a}, {"weight", compressed_transpose(l, b)}});
  bool left = Lower::rank(a) == 1, right = Lower::rank(b) == 1;
  if (left) a = l.expand_dims(a, {0});
  if (right) b = l.expand_dims(b, {1});
  V y = l.matmul(a, b);
  int64_t rank = Lower::rank(y);
  std::vector<int64_t> drop;
  if (left) drop.push_back(rank - 2);
  if (right) drop.push_back(rank - 1);
  return l.squeeze(y, drop);
}

void matmul(Ctx& c) {
  V a = c.in(0), b = c.in(1);
  if (Lower::dtype(a) != Lower::dtype(b)) bad_input("operands differ in element type");
  same(c, matmul_any(c.l, a, b));
}

// A zero point per row of A, or per column of B.
V shift_rows(Ctx& c, V x, V zp) {
  if (Lower::rank(zp) == 1 && Lower::dims(zp)[0] != 1) zp = c.l.expand_dims(zp, {1});
  else if (Lower::rank(zp) == 1) zp = c.l.squeeze(zp, {0});
  return c.l.sub(x, zp);
}

void matmul_integer(Ctx& c) {
  V a = c.in(0), b = c.in(1);
  if (V zp = c.opt(2)) a = shift_rows(c, a, zp);
  if (V zp = c.opt(3)) b = c.l.sub(b, Lower::rank(zp) == 1 && Lower::dims(zp)[0] == 1 ? c.l.squeeze(zp, {0}) : zp);
  c.out(0, matmul_any(c.l, a, b), DType::kI32);
}

void qlinear_matmul(Ctx& c) {
  auto rows = [&](V v) { return v && Lower::rank(v) == 1 && Lower::dims(v)[0] != 1 ? c.l.expand_dims(v, {1}) : v && Lower::rank(v) == 1 ? c.l.squeeze(v, {0}) : v; };
  auto cols = [&](V v) { return v && Lower::rank(v) == 1 && Lower::dims(v)[0] == 1 ? c.l.squeeze(v, {0}) : v; };
  V a = dequantize_op(c, c.in(0), rows(c.fin(1)), rows(c.opt(2)));
  V b = compressed_input(c, 3, 4, 5, c.raw(3) ? c.raw(3)->rank() - 1 : 0);
  if (b == nullptr) b = dequantize(c.l, c.in(3), cols(c.fin(4)), cols(c.opt(5)));
  V y = matmul_any(c.l, a, b);
  DType type = c.opt(7) ? c.type(7) : DType::kU8;
  c.out(0, quantize_op(c, y, rows(c.fin(6)), rows(c.opt(7)), type), type);
}

void einsum_op(Ctx& c) {
  std::vector<V> operands;
  for (size_t i = 0; i < c.inputs(); ++i) operands.push_back(c.in(i));
  same(c, einsum(c.l, c.str("equation", ""), operands));
}

constexpr Row kRows[] = {
    {"Einsum", einsum_op, "", "repeated indices within one operand only where constant extents allow"}, {"Gemm", gemm}, {"MatMul", matmul},
    {"MatMulInteger", matmul_integer}, {"QLinearMatMul", qlinear_matmul},
    {"FusedMatMul", [](Ctx& c) {
       if (c.i64("transBatchA", 0) || c.i64("transBatchB", 0)) unsupported("transposed batches");
       V y = c.l.matmul(c.in(0), c.in(1), c.i64("transA", 0) != 0, c.i64("transB", 0) != 0);
       float alpha = c.f32("alpha", 1);
       same(c, alpha == 1 ? y : c.l.mul(y, alpha));
     }, "com.microsoft"},
};

// One operand with its labels, one per axis.
struct Term {
  V value;
  std::string labels;
};

Term permute_to(Lower& l, Term t, const std::string& order) {
  std::vector<int64_t> perm;
  for (char label : order) perm.push_back(static_cast<int64_t>(t.labels.find(label)));
  return {l.transpose(t.value, perm), order};
}

Term sum_out(Lower& l, Term t, const std::string& keep) {
  std::vector<int64_t> axes;
  std::string left;
  for (size_t i = 0; i < t.labels.size(); ++i) {
    if (keep.find(t.labels[i]) == std::string::npos) axes.push_back(static_cast<int64_t>(i));
    else left += t.labels[i];
  }
  if (axes.empty()) return t;
  return {l.reduce("reduce_sum", t.value, axes, false), left};
}

// Repeated labels: only the diagonal counts.
Term diagonal(Lower& l, Term t) {
  for (size_t i = 0; i < t.labels.size(); ++i) {
    size_t j = t.labels.find(t.labels[i], i + 1);
    if (j == std::string::npos) continue;
    const Dims dims = Lower::dims(t.value);
    int64_t n = dims[i];
    if (n < 0 || dims[j] != n) unsupported("a diagonal of unknown extent");
    std::string order;
    std::vector<int64_t> perm = {static_cast<int64_t>(i), static_cast<int64_t>(j)};
    for (size_t k = 0; k < t.labels.size(); ++k)
      if (k != i && k != j) {
        perm.push_back(static_cast<int64_t>(k));
        order += t.labels[k];
      }
    V x = l.transpose(t.value, perm);
    Dims merged = {n * n};
    for (size_t k = 2; k < perm.size(); ++k) merged.push_back(Lower::dims(x)[k]);
    Lower::check_constant({n});
    std::vector<int64_t> pick;
    for (int64_t k = 0; k < n; ++k) pick.push_back(k * n + k);
    return diagonal(l, {l.gather(l.reshape(x, merged), l.ints(pick), 0), std::string(1, t.labels[i]) + order});
  }
  return t;
}

// Product of two terms, summed over labels that nothing later needs: labels in both and in the result make the batch,
// labels in both but not in the result are contracted, the others are rows and columns.
Term contract(Lower& l, Term a, Term b, const std::string& needed) {
  auto in = [](const std::string& s, char ch) { return s.find(ch) != std::string::npos; };
  std::string only_a = needed + b.labels, only_b = needed + a.labels;
  a = sum_out(l, a, only_a);
  b = sum_out(l, b, only_b);
  std::string batch, inner, rows, cols;
  for (char ch : a.labels) {
    if (in(b.labels, ch)) (in(needed, ch) ? batch : inner) += ch;
    else rows += ch;
  }
  for (char ch : b.labels)
    if (!in(a.labels, ch)) cols += ch;
  Term left = permute_to(l, a, batch + rows + inner), right = permute_to(l, b, batch + inner + cols);
  if (inner.empty()) {  // an outer product
    std::vector<int64_t> after, before;
    for (size_t i = 0; i < cols.size(); ++i) after.push_back(static_cast<int64_t>(left.labels.size() + i));
    for (size_t i = 0; i < rows.size(); ++i) before.push_back(static_cast<int64_t>(batch.size() + i));
    return {l.mul(l.expand_dims(left.value, after), l.expand_dims(right.value, before)), batch + rows + cols};
  }
  auto extents = [&](const Term& t, const std::string& labels) {
    Dims d;
    for (char ch : labels) {
      int64_t n = Lower::dims(t.value)[t.labels.find(ch)];
      d.push_back(n);
    }
    return d;
  };
  Dims bd = extents(left, batch), rd = extents(left, rows), id = extents(left, inner), cd = extents(right, cols), bd2 = extents(right, batch), id2 = extents(right, inner);
  for (size_t i = 0; i < id.size(); ++i)
    if (id[i] != id2[i] && id[i] >= 0 && id2[i] >= 0) unsupported("contracted axes that broadcast");
  for (size_t i = 0; i < bd.size(); ++i)
    if (bd[i] == 1 && bd2[i] > 1) bd[i] = bd2[i];
  int64_t inner_count = product(id, 0, id.size()), row_count = product(rd, 0, rd.size()), col_count = product(cd, 0, cd.size());
  if (inner_count < 0 || (rows.size() != 1 && row_count < 0) || (cols.size() != 1 && col_count < 0)) unsupported("extents that are not known", "give fixed input shapes with --input NAME,shape=...");
  V x = left.value, y = right.value;
  if (rows.size() != 1 || inner.size() != 1) {
    Dims shape = extents(left, batch);
    shape.push_back(row_count);
    shape.push_back(inner_count);
    x = l.reshape(x, shape);
  }
  if (cols.size() != 1 || inner.size() != 1) {
    Dims shape = extents(right, batch);
    shape.push_back(inner_count);
    shape.push_back(col_count);
    y = l.reshape(y, shape);
  }
  V z = l.matmul(x, y);
  if (rows.size() != 1 || cols.size() != 1) {
    Dims shape = bd;
    shape.insert(shape.end(), rd.begin(), rd.end());
    shape.insert(shape.end(), cd.begin(), cd.end());
    z = l.reshape(z, shape);
  }
  return {z, batch + rows + cols};
}

}  // namespace

V einsum(Lower& l, const std::string& equation, const std::vector<V>& operands) {
  std::string text;
  for (char ch : equation)
    if (ch != ' ') text += ch;
  size_t arrow = text.find("->");
  std::string left = text.substr(0, arrow), right = arrow == std::string::npos ? "" : text.substr(arrow + 2);
  std::vector<std::string> terms = {""};
  for (char ch : left) {
    if (ch == ',') terms.emplace_back();
    else terms.back() += ch;
  }
  if (terms.size() != operands.size()) bad_input("equation \"" + equation + "\" does not fit " + std::to_string(operands.size()) + " operands");
  // "..." becomes labels of its own (characters from '0' up), aligned at its end.
  int64_t hidden = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    size_t dots = terms[i].find("...");
    if (dots != std::string::npos) hidden = std::max(hidden, Lower::rank(operands[i]) - static_cast<int64_t>(terms[i].size() - 3));
  }
  if (hidden < 0 || hidden > 10) bad_input("equation \"" + equation + "\" does not fit its operands");
  auto fill = [&](std::string& term, int64_t count) {
    size_t dots = term.find("...");
    if (dots == std::string::npos) return;
    std::string labels;
    for (int64_t k = hidden - count; k < hidden; ++k) labels += static_cast<char>('0' + k);
    term.replace(dots, 3, labels);
  };
  std::map<char, int> seen;
  for (size_t i = 0; i < terms.size(); ++i) {
    fill(terms[i], Lower::rank(operands[i]) - static_cast<int64_t>(terms[i].size()) + 3);
    if (static_cast<int64_t>(terms[i].size()) != Lower::rank(operands[i])) bad_input("equation \"" + equation + "\" does not fit its operands");
    for (char ch : terms[i]) ++seen[ch];
  }
  if (arrow == std::string::npos) {  // implicit: labels that occur once, in order, after the "..." axes
    for (auto& [ch, count] : seen)
      if (count == 1 || (ch >= '0' && ch <= '9')) right += ch;
  } else {
    fill(right, hidden);
  }
  for (char ch : right)
    if (!seen.contains(ch)) bad_input("equation \"" + equation + "\": \"" + std::string(1, ch) + "\" is not in an operand");
  std::vector<Term> list;
  for (size_t i = 0; i < terms.size(); ++i) list.push_back(diagonal(l, {operands[i], terms[i]}));
  Term result = list[0];
  for (size_t i = 1; i < list.size(); ++i) {
    std::string needed = right;
    for (size_t k = i + 1; k < list.size(); ++k) needed += list[k].labels;
    result = contract(l, result, list[i], needed);
  }
  result = sum_out(l, result, right);
  return permute_to(l, result, right).value;
}

std::span<const Row> families::linear() { return kRows; }

}  // namespace mlt::foreign::onnx
