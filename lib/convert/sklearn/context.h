// What the converters of scikit-learn's classes share. Internal to lib/convert/sklearn.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/convert/learners/assembly.h"
#include "lib/convert/pickle/pickle.h"

namespace mlt::foreign::sklearn {

using pickle::Node;

// Dense matrix from an array of one or two axes, or a sparse one of scipy.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> data;
  std::vector<double> row(int64_t i) const {
    return {data.begin() + static_cast<std::ptrdiff_t>(i * columns), data.begin() + static_cast<std::ptrdiff_t>((i + 1) * columns)};
  }
  double at(int64_t i, int64_t j) const { return data[static_cast<size_t>(i * columns + j)]; }
};
Matrix matrix_of(const Node& node);

// What flows from step to step: an array, or some columns of the input that no step has touched yet.
struct Data {
  bool raw = false;
  std::vector<size_t> columns;
  Vec vec;
  int64_t width() const { return raw ? static_cast<int64_t>(columns.size()) : vec.width; }
};

class Context {
 public:
  Assembly& a;
  std::vector<std::string> names;  // of the input's columns: the file's, or f0, f1, ...
  bool by_column = false;          // each column is an input of its own, some of them strings
  Vec whole;                       // the input otherwise
  std::vector<std::string> feature;  // by_column: where a column's string is now (imputed), empty: the input itself

  Vec vec(const Data& x);                     // as numbers
  std::string text_column(const Data& x, size_t i);  // as a string feature
  Data of(Vec v) const {
    Data d;
    d.vec = std::move(v);
    return d;
  }
  // Columns of what flows.
  Data select(const Data& x, const std::vector<uint64_t>& columns);
};

// "1.5.1" of the file as 10501; 0 when it says nothing (before 0.18).
int version_of(const Node& estimator);
mlt::Labels labels_of(const Node& classes);
Node classes_of(const Node& estimator);  // classes_, or what the property of that name reads
bool strings(const Node& categories);  // an array of text
std::string param(const Node& estimator, std::string_view name, std::string_view otherwise);  // text of a parameter; "None" for None

using Transformer = Data (*)(Context&, const Node&, const Data&);
using Regressor = Vec (*)(Context&, const Node&, const Data&);
using Classifier = void (*)(Context&, const Node&, const Data&);

struct Row {
  std::string_view name;
  Transformer transform = nullptr;
  Regressor regress = nullptr;
  Classifier classify = nullptr;  // sets the last stage
  std::string_view note = {};
};

namespace families {
std::span<const Row> linear();
std::span<const Row> trees();
std::span<const Row> boosting();
std::span<const Row> svm();
std::span<const Row> neighbors();
std::span<const Row> bayes();
std::span<const Row> neural();
std::span<const Row> scaling();
std::span<const Row> encoding();
std::span<const Row> decomposition();
std::span<const Row> compose();
}  // namespace families

const Row* find_row(const Node& estimator);  // null when unknown
[[noreturn]] void unknown(const Node& estimator);
Data transform(Context& c, const Node& estimator, const Data& x);
Vec regress(Context& c, const Node& estimator, const Data& x);
void classify(Context& c, const Node& estimator, const Data& x);

// Scores of classes, one row each (one row: of the second of two), as the last stage. `how`: softmax over the rows,
// one-vs-rest logistic, or labels only.
enum class Scores { kSoftmax, kOneVsRest, kLabels };
void linear_classifier(Context& c, Vec x, const std::vector<std::vector<double>>& weights, const std::vector<double>& offset, const mlt::Labels& labels, Scores how);

// A decision tree read from a file.
struct Tree {
  std::vector<int64_t> left, right, feature;
  std::vector<double> threshold;
  std::vector<uint8_t> missing_left;
  std::vector<double> values;  // [nodes, outputs, classes]
  int64_t features = 0, outputs = 1, classes = 1;
  size_t size() const { return left.size(); }
};
Tree read_tree(const Node& estimator);  // with attribute tree_
// Adds a tree whose leaves hold what `leaf` gives for a node. `columns`: where the features are, or empty.
void add_tree(TreeEnsembleParams& params, uint64_t id, const Tree& tree, const std::function<std::vector<std::pair<uint64_t, double>>(size_t)>& leaf,
              const std::vector<uint64_t>& columns = {});

// Steps and what they are made of.
std::vector<std::pair<std::string, Node>> steps_of(const Node& pipeline);
std::vector<Node> parts_of(const Node& estimator);  // of a Pipeline, ColumnTransformer, FeatureUnion, ensemble of anything

}  // namespace mlt::foreign::sklearn
