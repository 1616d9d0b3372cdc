// softmax(query * transpose(key) * scale [+ mask]) * value -> scaled_dot_product_attention, from iOS 18.
//
// The scale 1/sqrt(e) may stand at the scores, at the query, or in parts at query and key, also before their heads were
// split; what remains of another scale multiplies the query. A mask may also be a choice between scores and a large negative
// number (select), as exporters write GPT-2's.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

struct Scale {
  ir::Op* op = nullptr;  // multiplies or divides; null: none
  V input = nullptr;
  double factor = 1;
};

// v when it is something times or divided by one number.
Scale match_scale(V v) {
  for (const char* kind : {"mul", "real_div"}) {
    ir::Op* op = producer(v, kind);
    V x = nullptr;
    const Tensor* c = nullptr;
    if (op == nullptr || !split_constant(*op, &x, &c) || c->size() != 1 || !is_float(c->dtype()) || x->type != v->type) continue;
    double value = to_doubles(*c)[0];
    bool division = op->kind == "real_div";
    if ((division && op->input("x") != x) || !std::isfinite(value) || value <= 0) continue;
    return {op, x, division ? 1 / value : value};
  }
  return {};
}

// A scale of v itself, or before ops that only move elements.
Scale scale_above(const Rewriter& r, V v) {
  for (int depth = 0; depth < 6; ++depth) {
    if (!r.only_user(v)) return {};
    Scale found = match_scale(v);
    if (found.op) return found;
    ir::Op* op = v->producer;
    if (op == nullptr || (op->kind != "transpose" && op->kind != "reshape" && op->kind != "expand_dims" && op->kind != "squeeze") || op->input("x") == nullptr) return {};
    v = op->input("x");
  }
  return {};
}

// Elements of a constant at the places of a larger tensor that it broadcasts to.
std::vector<double> spread(const Tensor& t, const Dims& dims) {
  std::vector<double> own = to_doubles(convert(t, DType::kF32)), out;
  int64_t count = 1, rank = static_cast<int64_t>(dims.size());
  for (int64_t d : dims) count *= d;
  Dims strides = row_major_strides(t.dims());
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at = 0;
    for (int64_t k = rank; k-- > 0;) {
      int64_t index = rest % dims[static_cast<size_t>(k)], mine = k - (rank - t.rank());
      rest /= dims[static_cast<size_t>(k)];
      if (mine >= 0 && t.dims()[static_cast<size_t>(mine)] > 1) at += index * strides[static_cast<size_t>(mine)];
    }
    out.push_back(own[static_cast<size_t>(at)]);
  }
  return out;
}

// A constant of which all matrices (the last two axes) are alike, as one of them; other constants as they are.
Tensor one_matrix(const Tensor& t) {
  size_t rank = static_cast<size_t>(t.rank()), width = static_cast<size_t>(dtype_bits(t.dtype())) / 8;
  if (rank < 3 || width == 0 || t.size() == 0) return t;
  size_t matrix = static_cast<size_t>(t.dims()[rank - 1] * t.dims()[rank - 2]) * width;
  ByteSpan bytes = t.bytes();
  for (size_t at = matrix; at < bytes.size(); at += matrix)
    if (std::memcmp(bytes.data(), bytes.data() + at, matrix) != 0) return t;
  Dims dims(rank, 1);
  dims[rank - 1] = t.dims()[rank - 1];
  dims[rank - 2] = t.dims()[rank - 2];
  Tensor out = Tensor::uninitialized(t.dtype(), dims);
  std::memcpy(out.mutable_bytes(), bytes.data(), matrix);
  return out;
}

// What added to scores chooses as `cond` does between them and `other`, before `added` (may be null) comes on top. Nothing
// unless the numbers chosen instead are out of a softmax's reach in every row.
std::optional<Tensor> mask_of(const Tensor& every_cond, const Tensor& every_other, const Tensor* added, const Dims& dims, DType dtype) {
  constexpr double kNear = -100, kFar = -5000;
  const Tensor cond = one_matrix(every_cond), other = one_matrix(every_other);
  for (const Tensor* t : {&cond, &other, added}) {
    if (t == nullptr) continue;
    if (t->rank() > static_cast<int64_t>(dims.size())) return std::nullopt;
    for (int64_t k = 0; k < t->rank(); ++k)
      if (int64_t d = t->dims()[static_cast<size_t>(k)]; d != 1 && d != dims[dims.size() - static_cast<size_t>(t->rank() - k)]) return std::nullopt;
  }
  // Leading axes along which nothing changes are of extent 1.
  Dims own(dims.size(), 1);
  own.back() = dims.back();
  for (const Tensor* t : {&cond, &other, added})
    for (int64_t k = 0; t && k < t->rank(); ++k)
      if (t->dims()[static_cast<size_t>(k)] != 1) own[dims.size() - static_cast<size_t>(t->rank() - k)] = t->dims()[static_cast<size_t>(k)];
  int64_t count = 1;
  for (int64_t d : own) {
    if (d <= 0 || count * d > (int64_t{1} << 22)) return std::nullopt;
    count *= d;
  }
  std::vector<double> chosen = spread(cond, own), instead = spread(other, own), more = added ? spread(*added, own) : std::vector<double>(chosen.size(), 0);
  double lowest = dtype == DType::kF16 ? -65504 : -3.4e38;
  std::vector<float> mask(chosen.size());
  size_t row = static_cast<size_t>(own.back());
  for (size_t i = 0; i < mask.size(); i += row) {
    bool some = false;
    for (size_t k = i; k < i + row; ++k) {
      if (chosen[k] == 0 && !(instead[k] + more[k] <= kFar)) return std::nullopt;
      some = some || (chosen[k] != 0 && more[k] >= kNear);
      mask[k] = static_cast<float>(std::max(lowest, chosen[k] != 0 ? more[k] : instead[k] + more[k]));
    }
    if (!some) return std::nullopt;
  }
  return convert(Tensor::from<float>(own, mask), dtype);
}

struct Attention {
  V query = nullptr, key = nullptr, value = nullptr, mask = nullptr;
  bool key_turned = false;  // [.., e, s] as in the product
  ir::Op *scores = nullptr, *softmax = nullptr;
  std::optional<Tensor> constant_mask;
  double scale = 1;
};

std::optional<Attention> match(const Rewriter& r, ir::Op& op) {
  Attention a;
  if (constant_flag(op, "transpose_x", false) != false || constant_flag(op, "transpose_y", false) != false) return std::nullopt;
  a.value = op.input("y");
  V weights = op.input("x");
  a.softmax = producer(weights, "softmax");
  if (a.softmax == nullptr || a.value == nullptr || !r.only_user(weights)) return std::nullopt;
  auto axis = constant_ints(*a.softmax, "axis");
  if (a.softmax->find("axis") && (!axis || axis->size() != 1 || ((*axis)[0] != -1 && (*axis)[0] != weights->type.rank() - 1))) return std::nullopt;
  V v = a.softmax->input("x");
  if (v == nullptr || !r.only_user(v)) return std::nullopt;
  auto scaled_scores = [&](V from) {
    Scale s = match_scale(from);
    V inner = s.op ? s.input : from;
    ir::Op* product = producer(inner, "matmul");
    if (product == nullptr || !r.only_user(from) || !r.only_user(inner)) return false;
    a.scores = product;
    a.scale = s.factor;
    return true;
  };
  auto choosing = [&](V from, const Tensor* added) {
    ir::Op* choice = producer(from, "select");
    const Tensor *cond = choice ? constant(*choice, "cond") : nullptr, *other = choice ? constant(*choice, "b") : nullptr;
    V scores = choice ? choice->input("a") : nullptr;
    ir::Op* filler = choice && other == nullptr && choice->input("b") ? producer(choice->input("b"), "fill") : nullptr;  // too large to be written out
    if (filler) other = constant(*filler, "value");
    if (cond == nullptr || other == nullptr || scores == nullptr || scores->type != v->type || from->type != v->type || !v->type.is_static() || !r.only_user(from) || !r.free({choice})) return false;
    auto mask = mask_of(*cond, *other, added, v->type.dims, v->type.dtype);
    if (!mask || !scaled_scores(scores)) return false;
    a.constant_mask = std::move(mask);
    return true;
  };
  ir::Op* sum = producer(v, "add");
  V before = nullptr;
  const Tensor* added = nullptr;
  bool chosen = choosing(v, nullptr) || (sum && split_constant(*sum, &before, &added) && r.only_user(before) && choosing(before, added));
  if (!chosen && !scaled_scores(v)) {
    ir::Op* add = producer(v, "add");
    if (add == nullptr) return std::nullopt;
    for (const char* side : {"x", "y"}) {
      V from = add->input(side), other = add->input(side[0] == 'x' ? "y" : "x");
      if (a.scores || from == nullptr || other == nullptr || from->type != v->type || !scaled_scores(from)) continue;
      a.mask = other;
    }
    if (a.mask == nullptr) return std::nullopt;
  }
  a.query = a.scores->input("x");
  a.key = a.scores->input("y");
  auto turned_y = constant_flag(*a.scores, "transpose_y", false);
  if (a.query == nullptr || a.key == nullptr || !turned_y || constant_flag(*a.scores, "transpose_x", false) != false) return std::nullopt;
  a.key_turned = !*turned_y;
  return a;
}

}  // namespace

Result<size_t> fuse_scaled_dot_product_attention(ir::Function& function, Context& context) {
  if (context.opset < ops::Opset::kCoreML8) return size_t{0};
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "matmul") return {};
    auto a = match(r, op);
    if (!a || !r.free({&op, a->softmax, a->scores})) return {};
    const Dims &q = a->query->type.dims, &v = a->value->type.dims;
    int64_t rank = a->query->type.rank();
    if (rank < 3 || rank > 5 || a->key->type.rank() != rank || a->value->type.rank() != rank || q[static_cast<size_t>(rank) - 1] <= 0) return {};
    // No broadcasting between query, key and value.
    for (size_t i = 0; i + 2 < static_cast<size_t>(rank); ++i)
      if (q[i] != a->key->type.dims[i] || q[i] != v[i] || q[i] < 0) return {};
    if (a->mask && (a->mask->type.rank() > rank || a->mask->type.dtype != a->query->type.dtype)) return {};
    // Where the rest of the scale stands.
    double scale = a->scale;
    Scale of_query = scale_above(r, a->query), of_key = scale_above(r, a->key);
    if (of_query.op && r.free({of_query.op})) scale *= of_query.factor;
    else of_query = {};
    if (of_key.op && of_key.op != of_query.op && r.free({of_key.op})) scale *= of_key.factor;
    else of_key = {};
    double rest = scale * std::sqrt(static_cast<double>(q[static_cast<size_t>(rank) - 1]));
    if (std::abs(rest - 1) > 1e-4) {  // scales outside stay; the scores' own is made good at the query
      of_query = of_key = {};
      rest = a->scale * std::sqrt(static_cast<double>(q[static_cast<size_t>(rank) - 1]));
    }
    ops::OpBuilder b = r.before(op);
    V query = a->query, key = a->key;
    if (of_query.op && query == of_query.op->output()) query = of_query.input;
    if (of_key.op && key == of_key.op->output()) key = of_key.input;
    if (std::abs(rest - 1) > 1e-4) query = b.op("mul", {{"x", query}, {"y", b.scalar(query->type.dtype, rest)}});
    if (a->key_turned) {
      std::vector<int64_t> perm(static_cast<size_t>(rank));
      for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
      V source = key;
      ir::Op* turn = producer(key, "transpose");
      auto given = turn && r.only_user(key) ? constant_ints(*turn, "perm") : std::nullopt;
      if (given && given->size() == perm.size() && turn->input("x") != nullptr && r.free({turn})) {
        source = turn->input("x");
        for (size_t i = 0; i < perm.size(); ++i) perm[i] = (*given)[i] < 0 ? (*given)[i] + rank : (*given)[i];
      }
      std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
      key = b.op("transpose", {{"x", source}, {"perm", b.ints(perm)}});
    }
    std::vector<ops::Input> inputs = {{"query", query}, {"key", key}, {"value", a->value}};
    if (a->constant_mask) inputs.push_back({"attn_mask", b.constant(std::move(*a->constant_mask), std::string(a->softmax->output()->name) + "_mask")});
    else if (a->mask) inputs.push_back({"attn_mask", a->mask});
    V fresh = b.op("scaled_dot_product_attention", inputs);
    MLT_TRY(b.status());
    if (fresh->type != op.output()->type) return {};
    for (const Scale& s : {of_query, of_key})
      if (s.op && s.op->output() != a->query && s.op->output() != a->key) r.bypass(s.op->output(), s.input, {s.op});
    r.replace(op.output(), fresh, {&op, a->softmax, a->scores});
    return {};
  });
}

}  // namespace mlt::passes
