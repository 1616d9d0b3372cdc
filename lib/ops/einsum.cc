// Operands are folded from the left, two at a time. Before each step an operand's axes are brought into the order
// [shared and kept | own | contracted] by one strided copy, which also takes diagonals, repeats extents of 1 and sums
// labels that nobody else needs; what is left is a batch of matrix products.
#include "lib/ops/einsum.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/infer_util.h"
#include "lib/ops/reference_gemm.h"

namespace mlt::ops {
namespace {

using Labels = std::vector<int>;  // letters as their codes; axes of an ellipsis as kEllipsis + distance from the right
constexpr int kEllipsis = 1000;

struct Equation {
  std::vector<Labels> operands;
  Labels out;
  std::map<int, int64_t> extents;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Labels of one operand or of the result; `ellipsis` is how many axes "..." stands for.
Result<Labels> parse_labels(std::string_view text, int ellipsis) {
  Labels labels;
  bool seen = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.') {
      if (seen || text.substr(i, 3) != "...") return input_error("malformed ellipsis in the equation");
      for (int axis = ellipsis; axis-- > 0;) labels.push_back(kEllipsis + axis);
      seen = true;
      i += 2;
    } else if (is_letter(text[i])) {
      labels.push_back(text[i]);
    } else {
      return input_error(std::string("unexpected '") + text[i] + "' in the equation");
    }
  }
  return labels;
}

Result<Equation> parse_equation(std::string text, const std::vector<Dims>& shapes) {
  std::erase(text, ' ');
  size_t arrow = text.find("->");
  std::string_view left = std::string_view(text).substr(0, arrow);
  Equation equation;
  int widest = 0;
  for (size_t i = 0;; ++i) {
    size_t comma = left.find(',');
    std::string_view one = left.substr(0, comma);
    if (i >= shapes.size()) return input_error("the equation names more operands than the " + std::to_string(shapes.size()) + " given");
    int letters = static_cast<int>(std::count_if(one.begin(), one.end(), is_letter)), rank = static_cast<int>(shapes[i].size());
    bool open = one.find('.') != std::string_view::npos;
    if (letters > rank || (!open && letters != rank))
      return input_error("subscripts \"" + std::string(one) + "\" do not fit an operand of rank " + std::to_string(rank));
    if (open) widest = std::max(widest, rank - letters);
    MLT_ASSIGN(Labels labels, parse_labels(one, rank - letters));
    for (size_t axis = 0; axis < labels.size(); ++axis) {
      auto [it, added] = equation.extents.try_emplace(labels[axis], shapes[i][axis]);
      if (added) continue;
      auto extent = broadcast({it->second}, {shapes[i][axis]});
      if (!extent) return input_error("extents of one label differ: " + std::to_string(it->second) + " and " + std::to_string(shapes[i][axis]));
      it->second = (*extent)[0];
    }
    equation.operands.push_back(std::move(labels));
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
  }
  if (equation.operands.size() != shapes.size()) return input_error("the equation names fewer operands than given");
  if (arrow != std::string::npos) {
    MLT_ASSIGN(equation.out, parse_labels(std::string_view(text).substr(arrow + 2), widest));
  } else {
    std::map<int, int> uses;
    for (const Labels& labels : equation.operands)
      for (int label : labels) ++uses[label];
    for (int axis = widest; axis-- > 0;) equation.out.push_back(kEllipsis + axis);
    for (auto [label, count] : uses)
      if (count == 1 && label < kEllipsis) equation.out.push_back(label);
  }
  std::set<int> unique(equation.out.begin(), equation.out.end());
  if (unique.size() != equation.out.size()) return input_error("a label appears twice in the result of the equation");
  for (int label : equation.out)
    if (!equation.extents.contains(label)) return input_error("a label of the result appears in no operand of the equation");
  return equation;
}

Result<Equation> equation_of(Call& call, bool evaluating) {
  std::string text = call.str("equation");
  if (call.failed()) return *call.error();
  std::vector<Dims> shapes;
  for (size_t i = 0; i < call.count("values"); ++i) shapes.push_back(evaluating ? call.tensor("values", i).dims() : call.type("values", i).dims);
  if (call.failed()) return *call.error();
  if (shapes.empty()) return input_error("einsum needs at least one operand");
  return parse_equation(std::move(text), shapes);
}

Dims extents_of(const Equation& equation, const Labels& labels) {
  Dims dims;
  for (int label : labels) dims.push_back(equation.extents.at(label));
  return dims;
}

template <typename T>
struct Operand {
  Labels labels;
  Dims dims;
  std::vector<T> owned;
  const T* data = nullptr;
};

// The operand with axes `order`, every label at its full extent; labels not in `order` are summed.
template <typename T>
Result<Operand<T>> arranged(const Equation& equation, const Operand<T>& x, const Labels& order) {
  std::map<int, int64_t> steps;
  Dims strides = row_major_strides(x.dims);
  for (size_t i = 0; i < x.labels.size(); ++i) steps[x.labels[i]] += x.dims[i] == 1 ? 0 : strides[i];
  Labels summed;
  for (auto [label, step] : steps)
    if (std::find(order.begin(), order.end(), label) == order.end()) summed.push_back(label);
  Dims dims = extents_of(equation, order), sum_dims = extents_of(equation, summed), step, sum_step;
  for (int label : order) step.push_back(steps.at(label));
  for (int label : summed) sum_step.push_back(steps.at(label));
  MLT_ASSIGN(int64_t count, element_count(dims));
  MLT_ASSIGN(int64_t terms, element_count(sum_dims));
  Operand<T> out{order, dims, std::vector<T>(static_cast<size_t>(count)), nullptr};
  out.data = out.owned.data();
  Dims index(dims.size(), 0), sum_index(sum_dims.size(), 0);
  for (T& value : out.owned) {
    int64_t at = 0;
    for (size_t d = 0; d < dims.size(); ++d) at += index[d] * step[d];
    if (summed.empty()) {
      value = x.data[at];
    } else {
      value = T{0};
      for (int64_t t = 0; t < terms; ++t) {
        int64_t offset = at;
        for (size_t d = 0; d < sum_dims.size(); ++d) offset += sum_index[d] * sum_step[d];
        if constexpr (std::is_same_v<T, int32_t>) {
          value = static_cast<int32_t>(static_cast<uint32_t>(value) + static_cast<uint32_t>(x.data[offset]));
        } else {
          value += x.data[offset];
        }
        next_index(sum_index, sum_dims);
      }
    }
    next_index(index, dims);
  }
  return out;
}

int64_t product(const Dims& dims) { return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()); }

template <typename T>
Result<Operand<T>> contract(const Equation& equation, const Operand<T>& a, const Operand<T>& b, const std::set<int>& needed) {
  auto in = [](const Labels& labels, int label) { return std::find(labels.begin(), labels.end(), label) != labels.end(); };
  Labels batch, inner, own_a, own_b;
  for (int label : std::set<int>(a.labels.begin(), a.labels.end())) {
    if (in(b.labels, label)) (needed.contains(label) ? batch : inner).push_back(label);
    else if (needed.contains(label)) own_a.push_back(label);
  }
  for (int label : std::set<int>(b.labels.begin(), b.labels.end()))
    if (!in(a.labels, label) && needed.contains(label)) own_b.push_back(label);
  auto joined = [](Labels x, const Labels& y, const Labels& z) {
    x.insert(x.end(), y.begin(), y.end());
    x.insert(x.end(), z.begin(), z.end());
    return x;
  };
  MLT_ASSIGN(Operand<T> left, arranged(equation, a, joined(batch, own_a, inner)));
  MLT_ASSIGN(Operand<T> right, arranged(equation, b, joined(batch, inner, own_b)));
  Operand<T> out;
  out.labels = joined(batch, own_a, own_b);
  out.dims = extents_of(equation, out.labels);
  MLT_ASSIGN(int64_t count, element_count(out.dims));
  out.owned.resize(static_cast<size_t>(count));
  out.data = out.owned.data();
  int64_t batches = product(extents_of(equation, batch)), m = product(extents_of(equation, own_a)),
          n = product(extents_of(equation, own_b)), k = product(extents_of(equation, inner));
  for (int64_t i = 0; i < batches; ++i) {
    if constexpr (std::is_same_v<T, int32_t>) {
      reference_gemm_i32(m, n, k, left.data + i * m * k, k, 1, right.data + i * k * n, n, 1, out.owned.data() + i * m * n, n);
    } else {
      reference_gemm(m, n, k, {left.data + i * m * k, k, 1}, {right.data + i * k * n, n, 1}, out.owned.data() + i * m * n, n);
    }
  }
  return out;
}

template <typename T>
Status evaluate_as(Call& call, const Equation& equation) {
  auto operand = [&](size_t i) {
    const Tensor& tensor = call.tensor("values", i);
    return Operand<T>{equation.operands[i], tensor.dims(), {}, tensor.data<T>()};
  };
  Operand<T> current = operand(0);
  for (size_t i = 1; i < equation.operands.size(); ++i) {
    std::set<int> needed(equation.out.begin(), equation.out.end());
    for (size_t j = i + 1; j < equation.operands.size(); ++j) needed.insert(equation.operands[j].begin(), equation.operands[j].end());
    MLT_ASSIGN(Operand<T> next, contract(equation, current, operand(i), needed));
    current = std::move(next);
    current.data = current.owned.data();
  }
  MLT_ASSIGN(Operand<T> result, arranged(equation, current, equation.out));
  Tensor& out = output(call, 0, result.dims);
  std::copy_n(result.owned.data(), result.owned.size(), out.mutable_data<T>());
  return {};
}

}  // namespace

Result<std::vector<ir::Type>> infer_einsum(Call& call) {
  MLT_ASSIGN(Equation equation, equation_of(call, false));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("values").dtype, extents_of(equation, equation.out))};
}

Status eval_einsum(Call& call) {
  MLT_ASSIGN(Equation equation, equation_of(call, true));
  DType dtype = call.tensor("values").dtype();
  for (size_t i = 0; i < equation.operands.size(); ++i)
    if (call.tensor("values", i).dtype() != dtype) return input_error("operands of einsum must have one element type");
  return dtype == DType::kI32 ? evaluate_as<int32_t>(call, equation) : evaluate_as<float>(call, equation);
}

}  // namespace mlt::ops
