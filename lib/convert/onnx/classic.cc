// ai.onnx.ml: linear models, support vector machines, and what prepares features, as tensor arithmetic. Trees: trees.cc;
// labels and tables of strings: labels.cc.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/classic.h"

namespace mlt::foreign::onnx {

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

V arg_max(Ctx& c, V scores) { return c.l.op("reduce_argmax", {{"x", scores}, {"axis", c.l.i32(1)}, {"keep_dims", c.l.boolean(false)}}); }

namespace {

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
  size_t classes = class_count(c);
  std::string how = c.str("post_transform", "NONE");
  if (rows == 1 && classes == 2) {  // one score stands for two classes
    V other = how == "LOGISTIC" ? c.l.sub(c.l.f32(1), c.l.unary("sigmoid", scores)) : c.l.mul(scores, -1);
    V first = how == "LOGISTIC" ? c.l.unary("sigmoid", scores) : scores;
    scores = c.l.concat({other, first}, 1);
    if (how != "LOGISTIC") scores = post_transform(c, scores, how, true);
  } else {
    scores = post_transform(c, scores, how, false);
  }
  if (c.wants(0)) label_output(c, arg_max(c, scores), classes);
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
  int64_t classes = static_cast<int64_t>(class_count(c));
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
  if (c.wants(0)) label_output(c, best, static_cast<size_t>(classes));
  if (c.wants(1)) c.out(1, scores, DType::kF32);
}

using namespace classic_rows;

constexpr Row kRows[] = {
    {"TreeEnsemble", tree_ensemble, kMl},
    {"ArrayFeatureExtractor", array_feature_extractor, kMl}, {"Binarizer", binarizer, kMl}, {"CategoryMapper", category_mapper, kMl, "strings as inputs of the model: no"}, {"FeatureVectorizer", feature_vectorizer, kMl},
    {"Imputer", imputer, kMl}, {"LabelEncoder", label_encoder, kMl, "strings as inputs of the model: no"}, {"LinearClassifier", linear_classifier, kMl}, {"LinearRegressor", linear_regressor, kMl},
    {"Normalizer", normalizer, kMl}, {"OneHotEncoder", one_hot_encoder, kMl, "integer categories"}, {"Scaler", scaler, kMl},
    {"SVMClassifier", svm_classifier, kMl, "no prob_a"}, {"SVMRegressor", svm_regressor, kMl},
    {"TreeEnsembleClassifier", tree_classifier, kMl}, {"TreeEnsembleRegressor", tree_regressor, kMl}, {"ZipMap", zip_map, kMl, "a dictionary beside a label of strings, else the array of probabilities"},
};

}  // namespace

std::span<const Row> families::classic() { return kRows; }

}  // namespace mlt::foreign::onnx
