// Projections.
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

Data project(Context& c, const Node& e, const Vec& x, const std::vector<double>& mean, const std::vector<double>& scale) {
  Matrix components = matrix_of(e.need("components_"));
  if (components.columns != x.width || components.rows < 1 || (!mean.empty() && static_cast<int64_t>(mean.size()) != x.width) || (!scale.empty() && static_cast<int64_t>(scale.size()) != components.rows))
    e.fail("components_ does not fit the features");
  LinearParams p;
  for (int64_t k = 0; k < components.rows; ++k) {
    auto row = components.row(k);
    if (!scale.empty())
      for (double& w : row) w /= scale[static_cast<size_t>(k)];
    p.weights.push_back(std::move(row));
    p.offset.push_back(0);
  }
  // The mean is taken off first, as scikit-learn does: nothing is lost to cancellation.
  std::vector<double> shift;
  for (double m : mean) shift.push_back(-m);
  return c.of(c.a.linear(shift.empty() ? x : c.a.scale(x, shift, {}), p));
}

Data pca(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  std::vector<double> mean, scale;
  if (Node m = e.attr("mean_"); m) mean = m.numbers();
  if (e.attr("whiten").boolean(false))
    for (double v : e.need("explained_variance_").numbers()) {
      double s = std::sqrt(v);
      scale.push_back(s == 0 ? std::numeric_limits<double>::epsilon() : s);
    }
  return project(c, e, x, mean, scale);
}

Data svd(Context& c, const Node& e, const Data& data) { return project(c, e, c.vec(data), {}, {}); }

Data ica(Context& c, const Node& e, const Data& data) {
  std::vector<double> mean;
  if (Node m = e.attr("mean_"); m) mean = m.numbers();
  return project(c, e, c.vec(data), mean, {});
}

constexpr Row kRows[] = {{"PCA", pca}, {"IncrementalPCA", pca}, {"TruncatedSVD", svd}, {"FastICA", ica}};

}  // namespace

std::span<const Row> families::decomposition() { return kRows; }

}  // namespace mlt::foreign::sklearn
