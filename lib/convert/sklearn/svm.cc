// Support vector machines of libsvm (source: sklearn/svm/_base.py).
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

SvmParams params_of(const Node& e, const Vec& x) {
  SvmParams p;
  std::string kernel = param(e, "kernel", "rbf");
  if (kernel == "linear") p.kernel.kind = SvmKernel::Kind::kLinear;
  else if (kernel == "rbf") p.kernel.kind = SvmKernel::Kind::kRbf;
  else if (kernel == "poly") p.kernel.kind = SvmKernel::Kind::kPoly;
  else if (kernel == "sigmoid") p.kernel.kind = SvmKernel::Kind::kSigmoid;
  else refuse(e.short_class() + " with " + (kernel == "?" ? "a kernel of your own" : "the kernel " + kernel));
  if (kernel != "linear") {
    Node gamma = e.attr("_gamma");
    if (!gamma) gamma = e.need("gamma");
    p.kernel.gamma = gamma.number();
    p.kernel.c = e.need("coef0").number();
    int64_t degree = e.need("degree").integer();
    if (degree < 0 || degree > 1000) e.fail("degree is out of range");
    p.kernel.degree = static_cast<int>(degree);
  }
  Matrix vectors = matrix_of(e.need("support_vectors_"));
  if (vectors.rows < 1 || vectors.columns != x.width) e.fail("support_vectors_ does not fit the features");
  Node coefficients = e.attr("_dual_coef_");
  Matrix dual = matrix_of(coefficients ? coefficients : e.need("dual_coef_"));
  if (dual.columns != vectors.rows) e.fail("_dual_coef_ does not fit the support vectors");
  for (int64_t i = 0; i < dual.rows; ++i) p.coefficients.push_back(dual.row(i));
  Node intercept = e.attr("_intercept_");
  for (double v : (intercept ? intercept : e.need("intercept_")).numbers()) p.rho.push_back(-v);
  for (int64_t i = 0; i < vectors.rows; ++i) p.vectors.dense.push_back(vectors.row(i));
  return p;
}

Vec svr(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  SvmParams p = params_of(e, x);
  if (p.rho.size() != 1 || p.coefficients.size() != 1) e.fail("intercept_ is damaged");
  return c.a.svm(x, p);
}

void svc(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  SvmParams p = params_of(e, x);
  mlt::Labels labels = labels_of(classes_of(e));
  Node counts = e.attr("_n_support");
  p.vectors_per_class = (counts ? counts : e.need("n_support_")).integers();
  size_t n = labels.size(), pairs = n * (n - 1) / 2;
  int64_t total = 0;
  for (int64_t v : p.vectors_per_class) total += v < 0 ? -1000000000 : v;
  if (n < 2 || p.vectors_per_class.size() != n || total != static_cast<int64_t>(p.vectors.size()) || p.rho.size() != pairs || p.coefficients.size() != n - 1)
    e.fail("numbers of classes, support vectors and constants do not fit together");
  if (Node ties = e.attr("break_ties"); ties.boolean(false) && n > 2 && param(e, "decision_function_shape", "ovr") == "ovr") refuse("SVC with break_ties");
  Node a = e.first_of({"_probA", "probA_"}), b = e.first_of({"_probB", "probB_"});
  Node wanted = e.attr("probability");  // "deprecated" since 1.8: not asked for
  if (a && b && !wanted.is_text() && wanted.boolean(false)) {
    p.prob_a = a.numbers();
    p.prob_b = b.numbers();
    if (p.prob_a.size() != pairs || p.prob_b.size() != pairs) e.fail("probA_ is damaged");
  }
  c.a.svm_classifier(x, p, labels, true);
}

void one_class(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  SvmParams p = params_of(e, x);
  if (p.rho.size() != 1 || p.coefficients.size() != 1) e.fail("intercept_ is damaged");
  TreeEnsembleParams sign;
  sign.outputs = 2;
  add_steps(sign, 0, 0, {0.0}, {{{0, 1.0}}, {{1, 1.0}}}, {{0, 1.0}}, true);
  mlt::Labels labels;
  labels.integers = true;
  labels.ints = {-1, 1};
  c.a.tree_classifier(c.a.svm(x, p), sign, labels, false);
}

constexpr Row kRows[] = {
    {"SVC", nullptr, nullptr, svc, "not with precomputed kernels"}, {"NuSVC", nullptr, nullptr, svc, "not with precomputed kernels"},
    {"SVR", nullptr, svr, nullptr, "not with precomputed kernels"}, {"NuSVR", nullptr, svr, nullptr, "not with precomputed kernels"},
    {"OneClassSVM", nullptr, nullptr, one_class, "labels only"},
};

}  // namespace

std::span<const Row> families::svm() { return kRows; }

}  // namespace mlt::foreign::sklearn
