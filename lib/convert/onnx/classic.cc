// ai.onnx.ml: classic models as tensor arithmetic.
//
// Trees: all trees of an ensemble step down together. Node tables are constants; a row's position is one node number per
// tree, and each step gathers the node's feature and threshold, compares, and picks a child. Leaves point at themselves, so
// the number of steps is the greatest depth. What reaches the end gathers the leaves' weights.
#include <algorithm>
#include <cmath>
#include <map>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

V matrix(Ctx& c, size_t i) {
  V x = c.fin(i);
  if (Lower::rank(x) == 1) x = c.l.expand_dims(x, {0});
  if (Lower::rank(x) != 2) unsupported("an input of rank " + std::to_string(Lower::rank(x)));
  return x;
}

V post_transform(Ctx& c, V scores, const std::string& how, bool binary_pair) {
  if (how == "NONE") return scores;
  if (how == "LOGISTIC") return c.l.unary("sigmoid", scores);
  if (how == "SOFTMAX") return softmax(c.l, scores, 1);
  if (how == "SOFTMAX_ZERO" && !binary_pair) {
    V zero = c.l.binary("equal", scores, c.l.f32(0));
    V e = select_broadcast(c.l, zero, c.l.f32(0), c.l.unary("exp", c.l.sub(scores, c.l.reduce("reduce_max", scores, {1}, true))));
    return c.l.div(e, c.l.reduce("reduce_sum", e, {1}, true));
  }
  unsupported("post_transform " + how);
}

void linear_regressor(Ctx& c) {
  V x = matrix(c, 0);
  auto coefficients = c.floats("coefficients"), intercepts = c.floats("intercepts");
  int64_t targets = c.i64("targets", 1), features = Lower::dims(x)[1];
  if (!coefficients || targets <= 0 || static_cast<int64_t>(coefficients->size()) % targets != 0) bad_input("coefficients do not fit the targets");
  int64_t n = static_cast<int64_t>(coefficients->size()) / targets;
  if (features >= 0 && features != n) bad_input("coefficients do not fit the input");
  std::vector<Input> inputs = {{"x", x}, {"weight", c.l.constant(Tensor::from<float>({targets, n}, *coefficients))}};
  if (intercepts && static_cast<int64_t>(intercepts->size()) == targets) inputs.push_back({"bias", c.l.floats(*intercepts)});
  c.out(0, post_transform(c, c.l.op("linear", inputs), c.str("post_transform", "NONE"), false), DType::kF32);
}

// Labels for class numbers, integers only: Core ML programs have no strings but those of `classify`.
V labels_for(Ctx& c, V best, size_t classes) {
  auto ints = c.ints(c.has_attr("classlabels_ints") ? "classlabels_ints" : "classlabels_int64s");
  if (auto strings = c.strings("classlabels_strings"); strings && !strings->empty()) unsupported("string labels as an output (use --class-labels and the probabilities)");
  if (!ints || ints->size() != classes) bad_input("labels do not fit the classes");
  bool plain = true;
  for (size_t i = 0; i < classes; ++i) plain = plain && (*ints)[i] == static_cast<int64_t>(i);
  return plain ? best : c.l.gather(c.l.ints(*ints), best, 0);
}

V arg_max(Ctx& c, V scores) { return c.l.op("reduce_argmax", {{"x", scores}, {"axis", c.l.i32(1)}, {"keep_dims", c.l.boolean(false)}}); }

bool string_labels(Ctx& c) {
  auto strings = c.strings("classlabels_strings");
  return strings && !strings->empty();
}

void linear_classifier(Ctx& c) {
  c.ignore({"multi_class"});
  V x = matrix(c, 0);
  auto coefficients = c.floats("coefficients"), intercepts = c.floats("intercepts");
  int64_t features = Lower::dims(x)[1];
  if (!coefficients || features <= 0 || static_cast<int64_t>(coefficients->size()) % features != 0) bad_input("coefficients do not fit the input");
  int64_t rows = static_cast<int64_t>(coefficients->size()) / features;
  std::vector<Input> inputs = {{"x", x}, {"weight", c.l.constant(Tensor::from<float>({rows, features}, *coefficients))}};
  if (intercepts && static_cast<int64_t>(intercepts->size()) == rows) inputs.push_back({"bias", c.l.floats(*intercepts)});
  V scores = c.l.op("linear", inputs);
  size_t classes = std::max(c.ints("classlabels_ints").value_or(std::vector<int64_t>{}).size(), c.strings("classlabels_strings").value_or(std::vector<std::string>{}).size());
  std::string how = c.str("post_transform", "NONE");
  if (rows == 1 && classes == 2) {  // one score stands for two classes
    V other = how == "LOGISTIC" ? c.l.sub(c.l.f32(1), c.l.unary("sigmoid", scores)) : c.l.mul(scores, -1);
    V first = how == "LOGISTIC" ? c.l.unary("sigmoid", scores) : scores;
    scores = c.l.concat({other, first}, 1);
    if (how != "LOGISTIC") scores = post_transform(c, scores, how, true);
  } else {
    scores = post_transform(c, scores, how, false);
  }
  if (c.wants(0) && !string_labels(c)) c.out(0, labels_for(c, arg_max(c, scores), classes), DType::kI64);
  else if (c.wants(0)) labels_for(c, scores, classes);
  if (c.wants(1)) c.out(1, scores, DType::kF32);
}

void normalizer(Ctx& c) {
  V x = matrix(c, 0);
  std::string norm = c.str("norm", "MAX");
  V size = norm == "L1" ? c.l.reduce("reduce_l1_norm", x, {1}, true) : norm == "L2" ? c.l.reduce("reduce_l2_norm", x, {1}, true) : c.l.reduce("reduce_max", c.l.unary("abs", x), {1}, true);
  V safe = select_broadcast(c.l, c.l.binary("equal", size, c.l.f32(0)), c.l.f32(1), size);
  c.out(0, c.l.div(x, safe), DType::kF32);
}

void scaler(Ctx& c) {
  V x = matrix(c, 0);
  auto offset = c.floats("offset"), scale = c.floats("scale");
  if (offset && !offset->empty()) x = c.l.sub(x, offset->size() == 1 ? c.l.f32((*offset)[0]) : c.l.floats(*offset));
  if (scale && !scale->empty()) x = c.l.mul(x, scale->size() == 1 ? c.l.f32((*scale)[0]) : c.l.floats(*scale));
  c.out(0, x, DType::kF32);
}

void array_feature_extractor(Ctx& c) {
  V x = c.in(0), indices = c.in(1);
  int64_t rank = Lower::rank(x);
  if (rank == 1) x = c.l.expand_dims(x, {0});
  c.out(0, c.l.gather(x, c.l.reshape(indices, {-1}), Lower::rank(x) - 1), c.type(0));
}

void feature_vectorizer(Ctx& c) {
  c.ignore({"inputdimensions"});
  std::vector<V> parts;
  for (size_t i = 0; i < c.inputs(); ++i) {
    V x = c.fin(i);
    parts.push_back(Lower::rank(x) == 1 ? c.l.expand_dims(x, {1}) : x);
  }
  c.out(0, c.l.concat(parts, 1), DType::kF32);
}

void binarizer(Ctx& c) { c.out(0, c.l.cast(c.l.binary("greater", c.fin(0), c.l.f32(c.f32("threshold", 0))), DType::kF32), c.type(0)); }

void one_hot_encoder(Ctx& c) {
  auto categories = c.ints("cats_int64s");
  if (!categories || categories->empty()) unsupported("string categories");
  c.ignore({"zeros"});
  V x = c.l.cast(c.in(0), DType::kI32);
  V hot = c.l.binary("equal", c.l.expand_dims(x, {Lower::rank(x)}), c.l.ints(*categories));
  c.out(0, c.l.cast(hot, DType::kF32), DType::kF32);
}

void imputer(Ctx& c) {
  V x = c.fin(0);
  auto values = c.floats("imputed_value_floats");
  if (!values || values->empty()) unsupported("integer imputation");
  float replaced = c.f32("replaced_value_float", 0);
  V missing = std::isnan(replaced) ? c.l.binary("not_equal", x, x) : c.l.binary("equal", x, c.l.f32(replaced));
  c.out(0, select_broadcast(c.l, missing, values->size() == 1 ? c.l.f32((*values)[0]) : c.l.floats(*values), x), DType::kF32);
}

void zip_map(Ctx& c) {
  c.ignore({"classlabels_int64s", "classlabels_strings"});
  c.driver().warn("ZipMap: the output \"" + c.node.outputs[0] + "\" is an array of probabilities, not a sequence of maps; use --class-labels for a dictionary");
  c.out(0, c.in(0), DType::kF32);
}

// Kernel values of rows against rows: [B, F] and [N, F] -> [B, N]. kernel_params: gamma, coef0, degree.
V svm_kernel(Ctx& c, V x, const std::vector<float>& rows, int64_t n, const std::string& kind) {
  int64_t features = Lower::dims(x)[1];
  if (n <= 0 || features <= 0 || static_cast<int64_t>(rows.size()) != n * features) bad_input("support vectors do not fit the input");
  auto params = c.floats("kernel_params");
  auto param = [&](size_t i) { return params && i < params->size() ? (*params)[i] : 0.0f; };
  V table = c.l.constant(Tensor::from<float>({n, features}, rows));
  if (kind == "RBF") {
    if (n * features > (int64_t{1} << 22)) unsupported("radial kernels of this many support vectors");
    V difference = c.l.sub(c.l.expand_dims(x, {1}), table);
    return c.l.unary("exp", c.l.mul(c.l.reduce("reduce_sum_square", difference, {2}, false), -param(0)));
  }
  V dot = c.l.op("linear", {{"x", x}, {"weight", table}});
  if (kind == "LINEAR") return dot;
  dot = c.l.add(c.l.mul(dot, param(0)), param(1));
  if (kind == "SIGMOID") return c.l.unary("tanh", dot);
  if (kind == "POLY") return c.l.binary("pow", dot, c.l.f32(param(2)));
  unsupported("kernel_type " + kind);
}

void svm_regressor(Ctx& c) {
  V x = matrix(c, 0);
  auto coefficients = c.floats("coefficients"), vectors = c.floats("support_vectors"), rho = c.floats("rho");
  int64_t n = c.i64("n_supports", 0), one_class = c.i64("one_class", 0);
  std::string kind = c.str("kernel_type", "LINEAR"), how = c.str("post_transform", "NONE");
  if (!coefficients || coefficients->empty() || !rho || rho->empty()) bad_input("coefficients or rho are missing");
  c.driver().keep_float32("kernels need full precision");
  V y;
  if (n > 0) {
    if (!vectors || static_cast<int64_t>(coefficients->size()) != n) bad_input("coefficients do not fit the support vectors");
    V kernel = svm_kernel(c, x, *vectors, n, kind);
    y = c.l.op("linear", {{"x", kernel}, {"weight", c.l.constant(Tensor::from<float>({1, n}, *coefficients))}, {"bias", c.l.floats({(*rho)[0]})}});
  } else {
    c.ignore({"support_vectors"});
    y = c.l.add(svm_kernel(c, x, *coefficients, 1, kind), (*rho)[0]);
  }
  if (one_class != 0) y = c.l.select(c.l.binary("greater", y, c.l.f32(0)), c.l.f32(1), c.l.f32(-1));
  c.out(0, post_transform(c, y, how, false), DType::kF32);
}

// Decisions between pairs of classes, and the class that wins most of them; the scores that ONNX Runtime gives for them.
void svm_classifier(Ctx& c) {
  V x = matrix(c, 0);
  auto coefficients = c.floats("coefficients"), vectors = c.floats("support_vectors"), rho = c.floats("rho");
  auto counts = c.ints("vectors_per_class");
  std::string kind = c.str("kernel_type", "LINEAR"), how = c.str("post_transform", "NONE");
  int64_t classes = static_cast<int64_t>(std::max(c.ints("classlabels_ints").value_or(std::vector<int64_t>{}).size(), c.strings("classlabels_strings").value_or(std::vector<std::string>{}).size()));
  auto prob_a = c.floats("prob_a"), prob_b = c.floats("prob_b");
  if (prob_a && !prob_a->empty()) unsupported("probabilities of pairs (prob_a), which an iteration couples (convert the model that LIBSVM or scikit-learn saved)");
  if (!coefficients || coefficients->empty() || !rho || rho->empty() || classes < 2) bad_input("coefficients, rho or labels are missing");
  if (classes > 256) unsupported("support vector machines of more than 256 classes");
  c.driver().keep_float32("kernels need full precision");
  int64_t n = 0;
  for (int64_t k : counts.value_or(std::vector<int64_t>{})) {
    if (k < 0 || k > (int64_t{1} << 24)) bad_input("vectors_per_class");
    n += k;
  }
  V scores, best;
  if (n == 0) {  // one row of coefficients a class
    c.ignore({"support_vectors", "kernel_params"});
    if (classes == 2) unsupported("a linear machine of two classes without support vectors");
    scores = c.l.add(svm_kernel(c, x, *coefficients, classes, "LINEAR"), (*rho)[0]);
    best = arg_max(c, scores);
    scores = post_transform(c, scores, how, false);
  } else {
    int64_t pairs = classes * (classes - 1) / 2;
    if (!vectors || static_cast<int64_t>(counts->size()) != classes || static_cast<int64_t>(coefficients->size()) < (classes - 1) * n || static_cast<int64_t>(rho->size()) < pairs)
      bad_input("coefficients, rho and vectors_per_class do not fit each other");
    Lower::check_constant({pairs, n});
    Tensor weight = Tensor::zeros(DType::kF32, {pairs, n}), vote = Tensor::zeros(DType::kF32, {classes, pairs});
    std::vector<float> bias, lost(static_cast<size_t>(classes), 0);
    std::vector<int64_t> start(static_cast<size_t>(classes), 0);
    for (size_t k = 1; k < start.size(); ++k) start[k] = start[k - 1] + (*counts)[k - 1];
    int64_t pair = 0;
    for (int64_t i = 0; i < classes; ++i)
      for (int64_t j = i + 1; j < classes; ++j, ++pair) {
        float* row = weight.mutable_data<float>() + pair * n;
        auto copy = [&](int64_t of, int64_t against) {
          int64_t from = start[static_cast<size_t>(of)], line = against > of ? against - 1 : against;
          for (int64_t k = from; k < from + (*counts)[static_cast<size_t>(of)]; ++k) row[k] = (*coefficients)[static_cast<size_t>(line * n + k)];
        };
        copy(i, j);
        copy(j, i);
        bias.push_back((*rho)[static_cast<size_t>(pair)]);
        vote.mutable_data<float>()[i * pairs + pair] = 1;
        vote.mutable_data<float>()[j * pairs + pair] = -1;
        lost[static_cast<size_t>(j)] += 1;
      }
    V kernel = svm_kernel(c, x, *vectors, n, kind);
    V decisions = c.l.op("linear", {{"x", kernel}, {"weight", c.l.constant(std::move(weight))}, {"bias", c.l.floats(bias)}});
    V wins = c.l.cast(c.l.binary("greater", decisions, c.l.f32(0)), DType::kF32);
    best = arg_max(c, c.l.op("linear", {{"x", wins}, {"weight", c.l.constant(std::move(vote))}, {"bias", c.l.floats(lost)}}));
    if (classes == 2 && how == "LOGISTIC") decisions = c.l.unary("sigmoid", decisions);
    if (classes == 2) scores = c.l.concat({how == "NONE" ? c.l.mul(decisions, -1) : c.l.sub(c.l.f32(1), decisions), decisions}, 1);
    else scores = post_transform(c, decisions, how, false);
  }
  if (c.wants(0) && !string_labels(c)) c.out(0, labels_for(c, best, static_cast<size_t>(classes)), DType::kI64);
  else if (c.wants(0)) labels_for(c, scores, static_cast<size_t>(classes));
  if (c.wants(1)) c.out(1, scores, DType::kF32);
}

// Keys and values as numbers. The tables of strings have no twin in a program.
void label_encoder(Ctx& c) {
  for (const char* name : {"keys_strings", "values_strings", "classes_strings", "default_string"})
    if (c.has_attr(name)) unsupported("tables of strings, which ML programs do not have");
  struct Column {
    std::vector<double> values;
    bool real = false;
  };
  auto column = [&](const std::string& name) -> Column {
    if (auto list = c.ints(name + "_int64s")) return {{list->begin(), list->end()}, false};
    if (auto list = c.floats(name + "_floats")) return {{list->begin(), list->end()}, true};
    const Tensor* t = c.tensor(name + "_tensor");
    if (t == nullptr) bad_input(name + " are missing");
    if (t->dtype() == DType::kString) unsupported("tables of strings, which ML programs do not have");
    return {to_doubles(*t), is_float(t->dtype())};
  };
  Column keys = column("keys"), values = column("values");
  if (keys.values.empty() || keys.values.size() != values.values.size()) bad_input("keys and values do not pair");
  if (keys.values.size() > (size_t{1} << 16)) unsupported("tables of more than 65536 keys");
  if (std::any_of(keys.values.begin(), keys.values.end(), [](double v) { return std::isnan(v); })) unsupported("a key that is no number");
  double otherwise = values.real ? c.f32("default_float", -0.0f) : static_cast<double>(c.i64("default_int64", -1));
  if (const Tensor* t = c.tensor("default_tensor")) {
    if (t->dtype() == DType::kString || t->size() != 1) unsupported("this default_tensor");
    otherwise = to_doubles(*t)[0];
  }
  c.ignore({"default_int64", "default_float"});
  auto constant = [&](const std::vector<double>& list, bool real) {
    std::vector<float> floats(list.begin(), list.end());
    std::vector<int64_t> ints;
    for (double v : list) ints.push_back(real ? 0 : static_cast<int64_t>(v));
    return real ? c.l.floats(floats) : c.l.ints(ints);
  };
  if (!keys.real || !values.real)
    for (const Column* side : {&keys, &values})
      for (double v : side->values)
        if (!side->real && std::abs(v) > 2147483647.0) unsupported("integers beyond 32 bits");
  c.driver().keep_float32("keys are compared exactly");
  V x = c.l.expand_dims(keys.real ? c.fin(0) : c.l.cast(c.in(0), DType::kI32), {Lower::rank(c.in(0))});
  int64_t last = Lower::rank(x) - 1;
  V hit = c.l.binary("equal", x, constant(keys.values, keys.real));
  V where = c.l.cast(hit, DType::kF32);
  V index = c.l.op("reduce_argmax", {{"x", where}, {"axis", c.l.i32(last)}, {"keep_dims", c.l.boolean(false)}});
  V found = c.l.binary("greater", c.l.reduce("reduce_max", where, {last}, false), c.l.f32(0));
  V absent = values.real ? c.l.f32(otherwise) : c.l.i32(static_cast<int64_t>(otherwise));
  c.out(0, select_broadcast(c.l, found, c.l.gather(constant(values.values, values.real), index, 0), absent), values.real ? DType::kF32 : DType::kI64);
}

struct Trees {
  std::vector<int64_t> feature, yes, no;  // per node; leaves: yes == no == itself
  std::vector<float> threshold;
  std::vector<std::string> mode;
  std::vector<uint8_t> missing_true;
  std::vector<int64_t> roots;
  std::vector<int> leaf_rank;  // unused for inner nodes
  int64_t depth = 0;
  std::string rule;           // the one comparison used, or "mixed"
  std::vector<int64_t> code;  // when mixed: of each node's comparison
  bool any_missing = false;
};

// Bits of a comparison: true when less (1), equal (2), greater (4), unordered (8).
int64_t rule_code(const std::string& rule) {
  return rule == "BRANCH_LEQ" ? 3 : rule == "BRANCH_LT" ? 1 : rule == "BRANCH_GTE" ? 6 : rule == "BRANCH_GT" ? 4 : rule == "BRANCH_EQ" ? 2 : rule == "BRANCH_NEQ" ? 13 : 0;
}

Trees read_trees(Ctx& c) {
  Trees t;
  auto ids = c.ints("nodes_nodeids"), trees = c.ints("nodes_treeids"), features = c.ints("nodes_featureids"), yes = c.ints("nodes_truenodeids"), no = c.ints("nodes_falsenodeids");
  auto modes = c.strings("nodes_modes");
  auto values = c.floats("nodes_values");
  auto missing = c.ints("nodes_missing_value_tracks_true").value_or(std::vector<int64_t>{});
  c.ignore({"nodes_hitrates"});
  if (c.has_attr("nodes_values_as_tensor") || c.has_attr("base_values_as_tensor")) unsupported("double precision trees");
  if (!ids || !trees || !features || !yes || !no || !modes || !values) bad_input("incomplete tree tables");
  size_t n = ids->size();
  if (trees->size() != n || features->size() != n || yes->size() != n || no->size() != n || modes->size() != n || values->size() != n || (!missing.empty() && missing.size() != n)) bad_input("tree tables differ in length");
  std::map<std::pair<int64_t, int64_t>, int64_t> index;
  for (size_t i = 0; i < n; ++i)
    if (!index.emplace(std::make_pair((*trees)[i], (*ids)[i]), static_cast<int64_t>(i)).second) bad_input("a tree node is given twice");
  std::vector<bool> child(n, false);
  for (size_t i = 0; i < n; ++i) {
    bool leaf = (*modes)[i] == "LEAF";
    auto find = [&](int64_t id) {
      auto it = index.find({(*trees)[i], id});
      if (it == index.end()) bad_input("a tree node's child is missing");
      child[static_cast<size_t>(it->second)] = true;
      return it->second;
    };
    t.feature.push_back(leaf ? 0 : (*features)[i]);
    t.threshold.push_back(leaf ? 0 : (*values)[i]);
    t.yes.push_back(leaf ? static_cast<int64_t>(i) : find((*yes)[i]));
    t.no.push_back(leaf ? static_cast<int64_t>(i) : find((*no)[i]));
    bool track = !missing.empty() && missing[i] != 0;
    t.missing_true.push_back(track);
    int64_t code = 0;
    if (!leaf) {
      if ((*features)[i] < 0) bad_input("a negative feature number");
      t.any_missing = t.any_missing || track;
      if (t.rule.empty()) t.rule = (*modes)[i];
      if (t.rule != (*modes)[i]) t.rule = "mixed";
      code = rule_code((*modes)[i]);
    }
    t.code.push_back(code);
  }
  // Depths from the roots; a cycle never reaches a fixed point within n steps.
  std::vector<std::pair<int64_t, int64_t>> stack;
  std::vector<bool> seen(n, false);
  for (size_t i = 0; i < n; ++i)
    if (!child[i]) {
      t.roots.push_back(static_cast<int64_t>(i));
      stack.emplace_back(static_cast<int64_t>(i), 0);
    }
  while (!stack.empty()) {
    auto [node, depth] = stack.back();
    stack.pop_back();
    size_t at = static_cast<size_t>(node);
    if (seen[at]) bad_input("a tree node has two parents");
    seen[at] = true;
    t.depth = std::max(t.depth, depth);
    if (t.yes[at] == node) continue;
    stack.emplace_back(t.yes[at], depth + 1);
    stack.emplace_back(t.no[at], depth + 1);
  }
  if (std::find(seen.begin(), seen.end(), false) != seen.end()) bad_input("the tree tables hold a cycle");
  if (t.depth > 256) unsupported("trees deeper than 256");
  return t;
}

// [B, trees] leaf numbers.
V descend(Ctx& c, const Trees& t, V x) {
  Lower& l = c.l;
  int64_t batch = Lower::dims(x)[0], width = Lower::dims(x)[1];
  for (int64_t f : t.feature)
    if (width >= 0 && f >= width) bad_input("a tree uses feature " + std::to_string(f) + " of " + std::to_string(width));
  if (batch < 0) unsupported("a batch of unknown extent", "give fixed input shapes with --input NAME,shape=...");
  auto table = [&](const std::vector<int64_t>& values) { return l.ints(values); };
  Lower::check_constant({batch, static_cast<int64_t>(t.roots.size())});
  std::vector<int64_t> start;
  for (int64_t b = 0; b < batch; ++b) start.insert(start.end(), t.roots.begin(), t.roots.end());
  V node = l.constant(Tensor::ints(start).reshaped({batch, static_cast<int64_t>(t.roots.size())}));
  V features = table(t.feature), yes = table(t.yes), no = table(t.no), thresholds = l.floats(t.threshold);
  V codes = t.rule == "mixed" ? table(t.code) : nullptr;
  std::string op = codes ? "less" : t.rule == "BRANCH_LEQ" ? "less_equal" : t.rule == "BRANCH_LT" ? "less" : t.rule == "BRANCH_GTE" ? "greater_equal" : t.rule == "BRANCH_GT" ? "greater" : t.rule == "BRANCH_EQ" ? "equal" : t.rule == "BRANCH_NEQ" ? "not_equal" : "";
  if (t.depth > 0 && op.empty()) unsupported("tree comparison " + t.rule);
  V missing_to = nullptr;
  if (t.any_missing) {
    std::vector<int64_t> flags(t.missing_true.begin(), t.missing_true.end());
    missing_to = table(flags);
  }
  for (int64_t step = 0; step < t.depth; ++step) {
    V f = l.gather(features, node, 0);
    V value = l.op("gather_along_axis", {{"x", x}, {"indices", f}, {"axis", l.i32(1)}});
    V threshold = l.gather(thresholds, node, 0), go = nullptr;
    if (codes) {  // bits: goes on when less, when equal, when greater, when there is no order
      V code = l.gather(codes, node, 0);
      V rank = l.add(l.add(l.cast(l.binary("less", value, threshold), DType::kI32), l.mul(l.cast(l.binary("equal", value, threshold), DType::kI32), 2)),
                     l.mul(l.cast(l.binary("greater", value, threshold), DType::kI32), 4));
      rank = l.add(rank, l.mul(l.cast(l.binary("equal", rank, l.i32(0)), DType::kI32), 8));
      go = l.binary("equal", l.binary("mod", l.binary("floor_div", code, rank), l.i32(2)), l.i32(1));
    } else {
      go = l.binary(op, value, threshold);
    }
    if (missing_to) {
      V lost = l.op("logical_and", {{"x", l.binary("not_equal", value, value)}, {"y", l.cast(l.gather(missing_to, node, 0), DType::kBool)}});
      go = l.op("logical_or", {{"x", go}, {"y", lost}});
    }
    node = l.select(go, l.gather(yes, node, 0), l.gather(no, node, 0));
  }
  return node;
}

// Leaf weights of every target or class: [B, outputs].
V leaf_scores(Ctx& c, const Trees& t, V leaves, const std::string& prefix, int64_t outputs, const std::string& aggregate) {
  Lower& l = c.l;
  auto trees = c.ints(prefix + "_treeids"), nodes = c.ints(prefix + "_nodeids"), ids = c.ints(prefix + "_ids");
  auto weights = c.floats(prefix + "_weights");
  auto node_trees = c.ints("nodes_treeids"), node_ids = c.ints("nodes_nodeids");
  if (!trees || !nodes || !ids || !weights || trees->size() != weights->size() || nodes->size() != weights->size() || ids->size() != weights->size()) bad_input("incomplete leaf tables");
  std::map<std::pair<int64_t, int64_t>, int64_t> index;
  for (size_t i = 0; i < node_ids->size(); ++i) index[{(*node_trees)[i], (*node_ids)[i]}] = static_cast<int64_t>(i);
  int64_t n = static_cast<int64_t>(t.feature.size());
  if (outputs <= 0 || outputs > (1 << 20) || n * outputs > (1 << 28)) unsupported("a leaf table of " + std::to_string(n) + " x " + std::to_string(outputs));
  Tensor table = Tensor::zeros(DType::kF32, {n, outputs});
  for (size_t i = 0; i < weights->size(); ++i) {
    auto it = index.find({(*trees)[i], (*nodes)[i]});
    if (it == index.end() || (*ids)[i] < 0 || (*ids)[i] >= outputs) bad_input("a leaf weight names no node or output");
    table.mutable_data<float>()[it->second * outputs + (*ids)[i]] += (*weights)[i];
  }
  V picked = l.gather(l.constant(std::move(table)), leaves, 0);  // [B, trees, outputs]
  if (aggregate == "SUM") return l.reduce("reduce_sum", picked, {1}, false);
  if (aggregate == "AVERAGE") return l.reduce("reduce_mean", picked, {1}, false);
  if (aggregate == "MIN") return l.reduce("reduce_min", picked, {1}, false);
  if (aggregate == "MAX") return l.reduce("reduce_max", picked, {1}, false);
  bad_input("unknown aggregate_function \"" + aggregate + "\"");
}

V add_base(Ctx& c, V scores, int64_t outputs) {
  auto base = c.floats("base_values");
  if (!base || base->empty()) return scores;
  if (base->size() == 1 || static_cast<int64_t>(base->size()) == outputs) return c.l.add(scores, base->size() == 1 ? c.l.f32((*base)[0]) : c.l.floats(*base));
  bad_input("base_values do not fit the outputs");
}

void tree_regressor(Ctx& c) {
  V x = matrix(c, 0);
  Trees t = read_trees(c);
  c.driver().keep_float32("tree thresholds need full precision");
  int64_t targets = c.i64("n_targets", 1);
  V scores = leaf_scores(c, t, descend(c, t, x), "target", targets, c.str("aggregate_function", "SUM"));
  c.out(0, post_transform(c, add_base(c, scores, targets), c.str("post_transform", "NONE"), false), DType::kF32);
}

void tree_classifier(Ctx& c) {
  V x = matrix(c, 0);
  Trees t = read_trees(c);
  c.driver().keep_float32("tree thresholds need full precision");
  auto ids = c.ints("class_ids");
  if (!ids || ids->empty()) bad_input("incomplete leaf tables");
  size_t classes = std::max(c.ints("classlabels_int64s").value_or(std::vector<int64_t>{}).size(), c.strings("classlabels_strings").value_or(std::vector<std::string>{}).size());
  std::string how = c.str("post_transform", "NONE");
  bool single = classes == 2 && std::all_of(ids->begin(), ids->end(), [&](int64_t i) { return i == (*ids)[0]; });
  V leaves = descend(c, t, x);
  V scores;
  if (single) {  // weights for one class only: the score of the positive one
    if ((*ids)[0] != 0 && (*ids)[0] != 1) bad_input("class_ids out of range");
    V all = leaf_scores(c, t, leaves, "class", 2, "SUM");
    V s = c.l.slice(all, 1, (*ids)[0], (*ids)[0] + 1);
    auto base = c.floats("base_values");
    if (base && base->size() == 1) s = c.l.add(s, (*base)[0]);
    else if (base && base->size() == 2) s = c.l.add(s, (*base)[1]);
    auto weights = c.floats("class_weights");
    bool positive = std::all_of(weights->begin(), weights->end(), [](float w) { return w >= 0; });
    V p = how == "LOGISTIC" ? c.l.unary("sigmoid", s) : s;
    // All weights positive: they are probabilities; else scores on either side of zero.
    V other = how == "LOGISTIC" || positive ? c.l.sub(c.l.f32(1), p) : c.l.mul(p, -1);
    if (how != "LOGISTIC" && how != "NONE") unsupported("post_transform " + how + " of one score");
    scores = c.l.concat({other, p}, 1);
  } else {
    scores = post_transform(c, add_base(c, leaf_scores(c, t, leaves, "class", static_cast<int64_t>(classes), "SUM"), static_cast<int64_t>(classes)), how, false);
  }
  if (c.wants(0)) c.out(0, labels_for(c, arg_max(c, scores), classes), DType::kI64);
  if (c.wants(1)) c.out(1, scores, DType::kF32);
}

constexpr const char* kMl = "ai.onnx.ml";
// ai.onnx.ml 5: nodes and leaves in tables of their own, roots named.
void tree_ensemble(Ctx& c) {
  Lower& l = c.l;
  V x = matrix(c, 0);
  auto features = c.ints("nodes_featureids"), yes = c.ints("nodes_truenodeids"), no = c.ints("nodes_falsenodeids"), yes_leaf = c.ints("nodes_trueleafs"),
       no_leaf = c.ints("nodes_falseleafs"), roots = c.ints("tree_roots"), targets = c.ints("leaf_targetids");
  auto missing = c.ints("nodes_missing_value_tracks_true").value_or(std::vector<int64_t>{});
  const Tensor *splits = c.tensor("nodes_splits"), *modes = c.tensor("nodes_modes"), *weights = c.tensor("leaf_weights");
  c.ignore({"nodes_hitrates"});
  if (!features || !yes || !no || !yes_leaf || !no_leaf || !roots || !targets || !splits || !modes || !weights) bad_input("incomplete tree tables");
  int64_t n = static_cast<int64_t>(features->size()), m = static_cast<int64_t>(targets->size()), outputs = c.i64("n_targets", 1);
  auto long_enough = [&](size_t size) { return static_cast<int64_t>(size) == n; };
  if (!long_enough(yes->size()) || !long_enough(no->size()) || !long_enough(yes_leaf->size()) || !long_enough(no_leaf->size()) || splits->size() != n || modes->size() != n ||
      weights->size() != m || outputs < 1 || (!missing.empty() && !long_enough(missing.size())))
    bad_input("tree tables differ in length");
  constexpr const char* kModes[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"};
  std::vector<int64_t> mode = to_ints(*modes);
  std::vector<float> split = to_floats(*splits), weight = to_floats(*weights);
  Trees t;
  auto child = [&](int64_t id, int64_t leaf) {
    if (id < 0 || id >= (leaf ? m : n)) bad_input("a tree node's child is missing");
    return leaf ? n + id : id;
  };
  for (int64_t i = 0; i < n + m; ++i) {
    size_t at = static_cast<size_t>(i);
    bool leaf = i >= n;
    t.feature.push_back(leaf ? 0 : (*features)[at]);
    t.threshold.push_back(leaf ? 0 : split[at]);
    t.yes.push_back(leaf ? i : child((*yes)[at], (*yes_leaf)[at]));
    t.no.push_back(leaf ? i : child((*no)[at], (*no_leaf)[at]));
    t.missing_true.push_back(!leaf && !missing.empty() && missing[at] != 0);
    t.code.push_back(0);
    if (leaf) continue;
    if ((*features)[at] < 0) bad_input("a negative feature number");
    t.any_missing = t.any_missing || t.missing_true.back();
    if (mode[at] < 0 || mode[at] > 6) bad_input("an unknown comparison");
    // A node whose children are one leaf stands for a tree of that leaf alone.
    if (t.yes.back() == t.no.back()) {
      t.code[at] = 3;
      continue;
    }
    std::string rule = kModes[mode[at] == 6 ? 4 : mode[at]];
    t.code[at] = rule_code(rule);
    if (t.rule.empty()) t.rule = rule;
    if (t.rule != rule) t.rule = "mixed";
  }
  // Membership is a chain of equalities: the first stays in place, the others are appended.
  std::vector<float> members;
  if (const Tensor* all = c.tensor("membership_values")) members = to_floats(*all);
  size_t next = 0;
  for (int64_t i = 0; i < n; ++i) {
    size_t at = static_cast<size_t>(i);
    if (mode[at] != 6) continue;
    size_t end = next;
    while (end < members.size() && !std::isnan(members[end])) ++end;
    if (end == next) bad_input("a test of membership without members");
    if (static_cast<int64_t>(t.feature.size()) + static_cast<int64_t>(end - next) > (1 << 24)) unsupported("too many members");
    size_t node = at;
    for (size_t k = next; k < end; ++k) {
      t.threshold[node] = members[k];
      if (k + 1 == end) break;
      t.feature.push_back(t.feature[at]);
      t.threshold.push_back(0);
      t.yes.push_back(t.yes[at]);
      t.no.push_back(t.no[node]);
      t.missing_true.push_back(t.missing_true[at]);
      t.code.push_back(2);
      t.no[node] = static_cast<int64_t>(t.feature.size()) - 1;
      node = t.feature.size() - 1;
    }
    next = end + 1;
  }
  int64_t total = static_cast<int64_t>(t.feature.size());
  if (t.rule.empty()) t.rule = kModes[0];
  for (int64_t root : *roots) {
    if (root < 0 || root >= n) bad_input("a root is no node");
    t.roots.push_back(root);
  }
  // Children come after their parents in no particular order: depth by relaxation, bounded by the number of nodes.
  std::vector<std::pair<int64_t, int64_t>> stack;
  for (int64_t root : t.roots) stack.emplace_back(root, 0);
  int64_t visited = 0;
  while (!stack.empty()) {
    auto [node, depth] = stack.back();
    stack.pop_back();
    if (++visited > 4 * total + 16 || depth > total) bad_input("the tree tables hold a cycle");
    t.depth = std::max(t.depth, depth);
    if (node >= n && node < n + m) continue;
    stack.emplace_back(t.yes[static_cast<size_t>(node)], depth + 1);
    if (t.no[static_cast<size_t>(node)] != t.yes[static_cast<size_t>(node)]) stack.emplace_back(t.no[static_cast<size_t>(node)], depth + 1);
  }
  if (t.depth > 256) unsupported("trees deeper than 256");
  c.driver().keep_float32("tree thresholds need full precision");
  Lower::check_constant({total, outputs});
  Tensor table = Tensor::zeros(DType::kF32, {total, outputs});
  for (int64_t i = 0; i < m; ++i) {
    int64_t target = (*targets)[static_cast<size_t>(i)];
    if (target < 0 || target >= outputs) bad_input("a leaf of target " + std::to_string(target));
    table.mutable_data<float>()[(n + i) * outputs + target] = weight[static_cast<size_t>(i)];
  }
  V each = l.gather(l.constant(std::move(table)), descend(c, t, x), 0);  // [B, trees, targets]
  int64_t aggregate = c.i64("aggregate_function", 1), post = c.i64("post_transform", 0);
  if (aggregate > 1 && outputs > 1) unsupported("extremes over several targets");
  V y = l.reduce(aggregate == 0 ? "reduce_mean" : aggregate == 1 ? "reduce_sum" : aggregate == 2 ? "reduce_min" : "reduce_max", each, {1}, false);
  constexpr const char* kPost[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  if (post < 0 || post > 4) bad_input("post_transform " + std::to_string(post));
  c.out(0, post_transform(c, y, kPost[post], false), c.type(0));
}

constexpr Row kRows[] = {
    {"TreeEnsemble", tree_ensemble, "ai.onnx.ml"},
    {"ArrayFeatureExtractor", array_feature_extractor, kMl}, {"Binarizer", binarizer, kMl}, {"FeatureVectorizer", feature_vectorizer, kMl},
    {"Imputer", imputer, kMl}, {"LabelEncoder", label_encoder, kMl, "numbers"}, {"LinearClassifier", linear_classifier, kMl, "integer labels"}, {"LinearRegressor", linear_regressor, kMl},
    {"Normalizer", normalizer, kMl}, {"OneHotEncoder", one_hot_encoder, kMl, "integer categories"}, {"Scaler", scaler, kMl},
    {"SVMClassifier", svm_classifier, kMl, "integer labels, no prob_a"}, {"SVMRegressor", svm_regressor, kMl},
    {"TreeEnsembleClassifier", tree_classifier, kMl, "integer labels"}, {"TreeEnsembleRegressor", tree_regressor, kMl}, {"ZipMap", zip_map, kMl, "gives the array of probabilities"},
};

}  // namespace

std::span<const Row> families::classic() { return kRows; }

}  // namespace mlt::foreign::onnx
