#include "lib/convert/onnx/pipeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "lib/convert/learners/assembly.h"
#include "lib/convert/onnx/convert.h"
#include "lib/convert/onnx/model.h"

namespace mlt::foreign::onnx {
namespace {

using coreml::FeatureType;
using Kind = Attribute::Kind;
using Branch = TreeEnsembleParams::Branch;

// A value of the graph.
struct Item {
  enum class What { kNumbers, kStrings, kDictionary, kLabel, kScores } what = What::kNumbers;
  std::vector<std::string> features;  // strings: a feature a column; a dictionary or a scalar not yet an array: its feature
  Vec numbers;
  bool predicted = false;             // by trees or a linear model
  const Node* classifier = nullptr;   // label and scores; x is what it looks at
  Vec x;
  bool normalized = false;            // scores: divided by their sum
};

class Pipeline {
 public:
  Pipeline(const Model& model, const LearnerOptions& options) : model_(model), options_(options), a_(options_) {}
  LearnedModel run();

 private:
  void input(const ValueInfo& info);
  void node(const Node& n);
  void outputs();
  void classifier(const Item& item, bool scores);
  void linear_classifier(const Item& item, bool scores);
  void tree_classifier(const Item& item);

  // A value that no node has made.
  [[noreturn]] void no_item(const std::string& place, const std::string& name) {
    if (constants_.contains(name) || model_.graph.initializers.contains(name)) refuse(place + " is constant");
    damaged(place + " comes from nowhere");
  }
  const Item& in(const Node& n, size_t i) {
    auto it = i < n.inputs.size() ? items_.find(n.inputs[i]) : items_.end();
    if (it == items_.end()) no_item(fmt::format("{}: input {}", n.op_type, i), i < n.inputs.size() ? n.inputs[i] : std::string());
    return it->second;
  }
  Vec vec(const Node& n, size_t i) {
    const Item& item = in(n, i);
    if (item.what != Item::What::kNumbers) refuse(fmt::format("{}: strings, dictionaries or a classifier's results where numbers are needed", n.op_type));
    return item.features.empty() ? item.numbers : a_.scalar(item.features[0]);
  }
  std::string text(const Node& n, size_t i) {
    const Item& item = in(n, i);
    if (item.what != Item::What::kStrings || item.features.size() != 1) refuse(fmt::format("{}: not one column of strings", n.op_type));
    return item.features[0];
  }
  const Tensor* constant(const Node& n, size_t i) {
    if (i >= n.inputs.size()) return nullptr;
    if (auto it = constants_.find(n.inputs[i]); it != constants_.end()) return &it->second;
    auto it = model_.graph.initializers.find(n.inputs[i]);
    return it == model_.graph.initializers.end() ? nullptr : &it->second;
  }
  void out(const Node& n, Item item) { items_[n.outputs.at(0)] = std::move(item); }
  void out(const Node& n, Vec v, bool predicted = false) {
    Item item;
    item.numbers = std::move(v);
    item.predicted = predicted;
    out(n, std::move(item));
  }

  const Model& model_;
  LearnerOptions options_;
  Assembly a_;
  std::map<std::string, Item> items_;
  std::map<std::string, Tensor> constants_;
};

const Attribute* find(const Node& n, std::string_view name, Kind kind) {
  auto it = n.attributes.find(name);
  return it == n.attributes.end() || it->second.kind != kind ? nullptr : &it->second;
}
std::vector<double> floats(const Node& n, std::string_view name) {
  const Attribute* a = find(n, name, Kind::kFloats);
  return a ? std::vector<double>(a->floats.begin(), a->floats.end()) : std::vector<double>();
}
std::vector<int64_t> ints(const Node& n, std::string_view name) {
  const Attribute* a = find(n, name, Kind::kInts);
  return a ? a->ints : std::vector<int64_t>();
}
std::vector<std::string> strings(const Node& n, std::string_view name) {
  const Attribute* a = find(n, name, Kind::kStrings);
  return a ? a->strings : std::vector<std::string>();
}
std::string word(const Node& n, std::string_view name, std::string absent) {
  const Attribute* a = find(n, name, Kind::kString);
  return a ? a->s : std::move(absent);
}
int64_t number(const Node& n, std::string_view name, int64_t absent) {
  const Attribute* a = find(n, name, Kind::kInt);
  return a ? a->i : absent;
}

mlt::Labels labels_of(const Node& n) {
  mlt::Labels labels;
  labels.strings = strings(n, "classlabels_strings");
  labels.ints = ints(n, "classlabels_int64s");
  if (labels.ints.empty()) labels.ints = ints(n, "classlabels_ints");
  labels.integers = labels.strings.empty();
  if (labels.size() < 2) damaged(n.op_type + " without labels");
  return labels;
}

// Node tables of TreeEnsembleClassifier and TreeEnsembleRegressor; leaf(position, output, weight) adds a leaf's values.
TreeEnsembleParams trees(const Node& n, const std::string& prefix, const std::function<std::vector<std::pair<uint64_t, double>>(int64_t output, double weight)>& values) {
  std::vector<int64_t> tree = ints(n, "nodes_treeids"), id = ints(n, "nodes_nodeids"), feature = ints(n, "nodes_featureids"), yes = ints(n, "nodes_truenodeids"), no = ints(n, "nodes_falsenodeids");
  std::vector<int64_t> missing = ints(n, "nodes_missing_value_tracks_true"), leaf_tree = ints(n, prefix + "_treeids"), leaf_id = ints(n, prefix + "_nodeids"), leaf_output = ints(n, prefix + "_ids");
  std::vector<double> threshold = floats(n, "nodes_values"), weight = floats(n, prefix + "_weights");
  std::vector<std::string> mode = strings(n, "nodes_modes");
  size_t count = tree.size(), leaves = leaf_tree.size();
  if (count == 0 || id.size() != count || feature.size() != count || yes.size() != count || no.size() != count || threshold.size() != count || mode.size() != count || (!missing.empty() && missing.size() != count))
    damaged(n.op_type + ": node tables differ in length");
  if (leaf_id.size() != leaves || leaf_output.size() != leaves || weight.size() != leaves) damaged(n.op_type + ": leaf tables differ in length");
  TreeEnsembleParams p;
  std::map<std::pair<int64_t, int64_t>, std::vector<std::pair<uint64_t, double>>> at;
  for (size_t i = 0; i < leaves; ++i) {
    auto& list = at[{leaf_tree[i], leaf_id[i]}];
    for (auto& value : values(leaf_output[i], weight[i])) list.push_back(value);
  }
  for (size_t i = 0; i < count; ++i) {
    if (tree[i] < 0 || id[i] < 0 || feature[i] < 0 || yes[i] < 0 || no[i] < 0) damaged(n.op_type + ": a negative index");
    auto t = static_cast<uint64_t>(tree[i]), k = static_cast<uint64_t>(id[i]);
    TreeAdder add{p, t};
    if (mode[i] == "LEAF") {
      add.leaf(k, at[{tree[i], id[i]}]);
      continue;
    }
    // The features were rounded to float32 in the source.
    auto v = static_cast<float>(threshold[i]);
    bool lost = !missing.empty() && missing[i] != 0;
    auto f = static_cast<uint64_t>(feature[i]), y = static_cast<uint64_t>(yes[i]), x = static_cast<uint64_t>(no[i]);
    if (mode[i] == "BRANCH_LEQ") add.branch(k, Branch::kLessEqual, f, le_float(v), y, x, lost);
    else if (mode[i] == "BRANCH_LT") add.branch(k, Branch::kLess, f, lt_float(v), y, x, lost);
    else if (mode[i] == "BRANCH_GTE") add.branch(k, Branch::kLess, f, lt_float(v), x, y, !lost);
    else if (mode[i] == "BRANCH_GT") add.branch(k, Branch::kLessEqual, f, le_float(v), x, y, !lost);
    else refuse("branches of mode " + mode[i]);
  }
  return p;
}

std::vector<double> base_values(const Node& n, size_t outputs) {
  std::vector<double> base = floats(n, "base_values");
  if (!base.empty() && base.size() != outputs) refuse(fmt::format("{} base values of {} outputs", base.size(), outputs));
  return base;
}

LearnedModel Pipeline::run() {
  for (const ValueInfo& info : model_.graph.inputs)
    if (!model_.graph.initializers.contains(info.name)) input(info);
  for (const Node& n : model_.graph.nodes) node(n);
  outputs();
  return a_.finish("");
}

void Pipeline::input(const ValueInfo& info) {
  Item item;
  if (info.kind == ValueInfo::Kind::kMap) {
    item.what = Item::What::kDictionary;
    item.features = {a_.input(info.name, FeatureType::dictionary(coreml::FeatureKind::kString))};
  } else {
    if (info.kind != ValueInfo::Kind::kTensor || !info.known_dtype) refuse("input \"" + info.name + "\" is no tensor and no dictionary");
    int64_t width = info.dims.size() < 2 ? 1 : info.dims.back().extent;
    if (!info.has_shape || width < 1 || width > (1 << 20) || info.dims.size() > 2) refuse("input \"" + info.name + "\": a number of columns that is not known");
    if (info.dtype == DType::kString) {
      item.what = Item::What::kStrings;
      for (int64_t i = 0; i < width; ++i) item.features.push_back(a_.input(width == 1 ? info.name : fmt::format("{}_{}", info.name, i), FeatureType::string()));
    } else if (width == 1) {
      item.features = {a_.input(info.name, FeatureType::float64())};
    } else {
      item.numbers = {a_.input(info.name, FeatureType::multi_array(coreml::ArrayDataType::kDouble, {width})), width, false};
    }
  }
  items_[info.name] = std::move(item);
}

void Pipeline::node(const Node& n) {
  const std::string& op = n.op_type;
  if (n.outputs.empty()) return;
  if (op == "Constant" && n.domain.empty()) {
    if (const Attribute* t = find(n, "value", Kind::kTensor)) constants_[n.outputs[0]] = t->tensor;
    return;
  }
  if (n.domain.empty()) {
    if (op == "Identity" || op == "Reshape" || op == "Flatten" || op == "Squeeze" || op == "Unsqueeze" || op == "Cast") {
      Item item = in(n, 0);
      if (op == "Cast") {
        int64_t to = number(n, "to", 0);
        bool float_type = to == 1 || to == 11;
        if (item.what == Item::What::kNumbers ? !float_type && to != 7 : item.what == Item::What::kStrings && to != 8) refuse(fmt::format("a cast to ONNX element type {}", to));
        if (item.what == Item::What::kNumbers && to == 7) a_.warn("a cast to int64 keeps fractions");
      }
      return out(n, std::move(item));
    }
    if (op == "Concat") {
      std::vector<std::string> features;
      bool text = in(n, 0).what == Item::What::kStrings;
      std::vector<Vec> parts;
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        if (!text) {
          parts.push_back(vec(n, i));
          continue;
        }
        const Item& part = in(n, i);
        if (part.what != Item::What::kStrings) refuse("strings beside numbers");
        features.insert(features.end(), part.features.begin(), part.features.end());
      }
      if (!text) return out(n, a_.concat(parts));
      Item item;
      item.what = Item::What::kStrings;
      item.features = std::move(features);
      return out(n, std::move(item));
    }
  }
  bool ml = n.domain == "ai.onnx.ml";
  if ((op == "Gather" && n.domain.empty()) || (ml && op == "ArrayFeatureExtractor")) {
    const Tensor* indices = constant(n, 1);
    if (indices == nullptr || !is_integer(indices->dtype()) || (op == "Gather" && number(n, "axis", 0) != 1 && number(n, "axis", 0) != -1)) refuse(op + " of other than constant columns");
    Item item = in(n, 0);
    if (item.what == Item::What::kStrings) {
      Item picked;
      picked.what = item.what;
      for (int64_t i : to_ints(*indices)) {
        if (i < 0 || i >= static_cast<int64_t>(item.features.size())) damaged(op + ": a column out of range");
        picked.features.push_back(item.features[static_cast<size_t>(i)]);
      }
      return out(n, std::move(picked));
    }
    Vec x = vec(n, 0);
    std::vector<uint64_t> columns;
    for (int64_t i : to_ints(*indices)) {
      if (i < 0 || i >= x.width) damaged(op + ": a column out of range");
      columns.push_back(static_cast<uint64_t>(i));
    }
    return out(n, a_.extract(x, columns));
  }
  if (!ml) refuse("operator " + op + ", which no classic model of Core ML has");
  if (op == "OneHotEncoder") {
    std::vector<std::string> categories = strings(n, "cats_strings");
    if (categories.empty()) refuse("OneHotEncoder of numbers in a classic model");
    return out(n, a_.one_hot(text(n, 0), categories, number(n, "zeros", 1) != 0));
  }
  if (op == "LabelEncoder" || op == "CategoryMapper") {
    std::vector<std::string> keys = strings(n, op == "CategoryMapper" ? "cats_strings" : "keys_strings");
    std::vector<double> values;
    double otherwise = static_cast<double>(number(n, "default_int64", -1));
    for (int64_t v : ints(n, op == "CategoryMapper" ? "cats_int64s" : "values_int64s")) values.push_back(static_cast<double>(v));
    if (auto real = floats(n, "values_floats"); !real.empty()) {
      values = real;
      otherwise = n.attributes.contains("default_float") ? n.attributes.find("default_float")->second.f : 0;
    }
    if (std::vector<std::string> classes = strings(n, "classes_strings"); !classes.empty()) {
      keys = classes;
      for (size_t i = 0; i < keys.size(); ++i) values.push_back(static_cast<double>(i));
    }
    if (const Attribute* t = find(n, "keys_tensor", Kind::kTensor); t && t->tensor.dtype() == DType::kString) keys = t->tensor.strings();
    if (const Attribute* t = find(n, "values_tensor", Kind::kTensor); t && t->tensor.dtype() != DType::kString) values = to_doubles(t->tensor);
    if (const Attribute* t = find(n, "default_tensor", Kind::kTensor); t && t->tensor.dtype() != DType::kString && t->tensor.size() == 1) otherwise = to_doubles(t->tensor)[0];
    if (keys.empty() || keys.size() != values.size()) refuse(op + " of other than strings to numbers in a classic model");
    std::vector<std::pair<std::string, int64_t>> codes;
    for (size_t i = 0; i < keys.size(); ++i) {
      if (values[i] != std::floor(values[i]) || otherwise != std::floor(otherwise) || std::abs(values[i]) > 1e15) refuse(op + " of strings to fractions");
      codes.emplace_back(keys[i], static_cast<int64_t>(values[i]));
    }
    return out(n, a_.string_codes(text(n, 0), codes, static_cast<int64_t>(otherwise)));
  }
  if (op == "DictVectorizer") {
    if (in(n, 0).what != Item::What::kDictionary) refuse("DictVectorizer of no dictionary");
    std::vector<std::string> keys = strings(n, "string_vocabulary");
    if (keys.empty()) refuse("dictionaries by numbers");
    return out(n, a_.dictionary(in(n, 0).features[0], keys));
  }
  if (op == "FeatureVectorizer") {
    std::vector<Vec> parts;
    for (size_t i = 0; i < n.inputs.size(); ++i) parts.push_back(vec(n, i));
    return out(n, a_.concat(parts));
  }
  if (op == "Scaler") {
    Vec x = vec(n, 0);
    std::vector<double> shift = floats(n, "offset"), scale = floats(n, "scale");
    auto width = static_cast<size_t>(x.width);
    for (std::vector<double>* list : {&shift, &scale})
      if (list->size() == 1 && width != 1) list->assign(width, list->front());
    if ((!shift.empty() && shift.size() != width) || (!scale.empty() && scale.size() != width)) damaged("Scaler: offset or scale do not fit the input");
    for (double& v : shift) v = -v;
    return out(n, a_.scale(x, shift, scale));
  }
  if (op == "Imputer") {
    Vec x = vec(n, 0);
    std::vector<double> values = floats(n, "imputed_value_floats");
    if (values.size() == 1) values.assign(static_cast<size_t>(x.width), values[0]);
    if (static_cast<int64_t>(values.size()) != x.width) refuse("Imputer of integers or strings");
    auto lost = n.attributes.find("replaced_value_float");
    return out(n, a_.impute(x, values, lost == n.attributes.end() ? 0 : static_cast<double>(lost->second.f)));
  }
  if (op == "Normalizer") {
    Item item = in(n, 0);
    std::string norm = word(n, "norm", "MAX");
    if (item.what == Item::What::kScores && norm == "L1") {
      item.normalized = true;
      return out(n, std::move(item));
    }
    return out(n, a_.normalize(vec(n, 0), norm == "L1" ? Norm::kL1 : norm == "L2" ? Norm::kL2 : Norm::kMax));
  }
  if (op == "ZipMap") return out(n, in(n, 0));
  if (op == "LinearRegressor") {
    Vec x = vec(n, 0);
    std::vector<double> w = floats(n, "coefficients");
    LinearParams p;
    p.offset = floats(n, "intercepts");
    if (w.empty() || static_cast<int64_t>(w.size()) % x.width != 0 || word(n, "post_transform", "NONE") != "NONE") refuse("this LinearRegressor");
    for (size_t i = 0; i < w.size(); i += static_cast<size_t>(x.width)) p.weights.emplace_back(w.begin() + static_cast<int64_t>(i), w.begin() + static_cast<int64_t>(i) + x.width);
    if (!p.offset.empty() && p.offset.size() != p.weights.size()) damaged("LinearRegressor: intercepts do not fit");
    return out(n, a_.linear(x, p), true);
  }
  if (op == "TreeEnsembleRegressor") {
    Vec x = vec(n, 0);
    std::string how = word(n, "post_transform", "NONE"), sum = word(n, "aggregate_function", "SUM");
    int64_t targets = number(n, "n_targets", 1);
    if ((how != "NONE" && how != "LOGISTIC") || (sum != "SUM" && sum != "AVERAGE") || targets < 1 || targets > (1 << 20)) refuse("this TreeEnsembleRegressor");
    std::vector<int64_t> ids = ints(n, "nodes_treeids");
    double share = sum == "AVERAGE" ? 1.0 / static_cast<double>(std::set<int64_t>(ids.begin(), ids.end()).size()) : 1.0;
    TreeEnsembleParams p = trees(n, "target", [&](int64_t output, double weight) -> std::vector<std::pair<uint64_t, double>> {
      if (output < 0 || output >= targets) damaged("a leaf's target");
      return {{static_cast<uint64_t>(output), weight * share}};
    });
    p.outputs = static_cast<uint64_t>(targets);
    p.base = base_values(n, p.outputs);
    if (how == "LOGISTIC") p.transform = TreeEnsembleParams::Transform::kLogistic;
    return out(n, a_.trees(x, p), true);
  }
  if (op == "LinearClassifier" || op == "TreeEnsembleClassifier") {
    Item item;
    item.classifier = &n;
    item.x = vec(n, 0);
    item.what = Item::What::kLabel;
    items_[n.outputs[0]] = item;
    item.what = Item::What::kScores;
    if (n.outputs.size() > 1) items_[n.outputs[1]] = item;
    return;
  }
  refuse("operator ai.onnx.ml." + op + ", which no classic model of Core ML has here");
}

void Pipeline::linear_classifier(const Item& item, bool scores) {
  const Node& n = *item.classifier;
  std::vector<double> w = floats(n, "coefficients"), offset = floats(n, "intercepts");
  mlt::Labels labels = labels_of(n);
  size_t width = static_cast<size_t>(item.x.width), classes = labels.size();
  if (w.empty() || w.size() % width != 0) damaged("LinearClassifier: coefficients do not fit the input");
  std::vector<std::vector<double>> rows;
  for (size_t i = 0; i < w.size(); i += width) rows.emplace_back(w.begin() + static_cast<int64_t>(i), w.begin() + static_cast<int64_t>(i + width));
  if (offset.empty()) offset.assign(rows.size(), 0.0);
  if (offset.size() != rows.size() || (rows.size() != classes && !(rows.size() == 1 && classes == 2))) damaged("LinearClassifier: coefficients, intercepts and labels do not fit");
  std::string how = word(n, "post_transform", "NONE");
  bool opposite = rows.size() == 2 && offset[0] == -offset[1];
  for (size_t i = 0; i < width && opposite; ++i) opposite = rows[0][i] == -rows[1][i];
  LinearParams p;
  p.link = Link::kLogit;
  p.one_vs_rest = true;
  bool probabilities = scores && how != "NONE";
  if (scores && how == "NONE") a_.warn("the scores are left out: Core ML's linear classifiers give probabilities");
  if (rows.size() == 1 || (opposite && how != "SOFTMAX")) {  // one row says both
    p.weights = {rows.back()};
    p.offset = {offset.back()};
  } else if (how == "LOGISTIC") {
    if (probabilities && !item.normalized) refuse("a linear classifier's probabilities that do not sum to one");
    p.weights = rows;
    p.offset = offset;
    if (classes == 2) refuse("a linear classifier of two independent scores");
  } else if (how == "SOFTMAX" || how == "NONE") {  // differences from the first class: the same softmax, the same best class
    for (size_t k = 1; k < rows.size(); ++k) {
      for (size_t i = 0; i < width; ++i) rows[k][i] -= rows[0][i];
      p.weights.push_back(rows[k]);
      p.offset.push_back(offset[k] - offset[0]);
    }
    p.one_vs_rest = classes == 2;
  } else {
    refuse("post_transform " + how);
  }
  a_.glm_classifier(item.x, p, labels, probabilities);
}

void Pipeline::tree_classifier(const Item& item) {
  const Node& n = *item.classifier;
  mlt::Labels labels = labels_of(n);
  auto classes = static_cast<int64_t>(labels.size());
  std::string how = word(n, "post_transform", "NONE");
  std::vector<int64_t> ids = ints(n, "class_ids");
  std::vector<double> weights = floats(n, "class_weights"), base = floats(n, "base_values");
  if (ids.empty()) damaged("TreeEnsembleClassifier without leaves");
  bool single = classes == 2 && std::all_of(ids.begin(), ids.end(), [&](int64_t i) { return i == ids[0]; });
  bool positive = std::all_of(weights.begin(), weights.end(), [](double v) { return v >= 0; });
  TreeEnsembleParams p = trees(n, "class", [&](int64_t output, double weight) -> std::vector<std::pair<uint64_t, double>> {
    if (output < 0 || output >= classes) damaged("a leaf's class");
    if (!single) return {{static_cast<uint64_t>(output), weight}};
    if (how == "LOGISTIC") return {{0, weight}};
    return {{0, -weight}, {1, weight}};
  });
  if (single) {
    double shift = base.empty() ? 0 : base.back();
    if (how != "LOGISTIC" && how != "NONE") refuse("post_transform " + how + " of one score");
    p.outputs = how == "LOGISTIC" ? 1 : 2;
    p.base = how == "LOGISTIC" ? std::vector<double>{shift} : std::vector<double>{(positive ? 1 : 0) - shift, shift};
    if (how == "LOGISTIC") p.transform = TreeEnsembleParams::Transform::kLogistic;
  } else {
    p.outputs = static_cast<uint64_t>(classes);
    p.base = base_values(n, p.outputs);
    if (how == "SOFTMAX") p.transform = TreeEnsembleParams::Transform::kSoftmax;
    else if (how != "NONE") refuse("post_transform " + how + " of several scores");
  }
  a_.tree_classifier(item.x, p, labels);
}

void Pipeline::outputs() {
  const Item *label = nullptr, *scores = nullptr, *numbers = nullptr;
  std::string label_name, scores_name, numbers_name;
  for (const ValueInfo& o : model_.graph.outputs) {
    auto it = items_.find(o.name);
    if (it == items_.end()) no_item("output \"" + o.name + "\"", o.name);
    const Item& item = it->second;
    const Item** slot = item.what == Item::What::kLabel ? &label : item.what == Item::What::kScores ? &scores : &numbers;
    if (*slot || item.what == Item::What::kStrings || item.what == Item::What::kDictionary) refuse("several outputs, or outputs of strings");
    *slot = &item;
    (slot == &label ? label_name : slot == &scores ? scores_name : numbers_name) = o.name;
  }
  // Features keep the names of the source.
  auto wished = std::exchange(options_.output_names, {});
  for (const std::string& name : {label_name, scores_name, numbers_name}) {
    if (name.empty()) continue;
    auto own = std::find_if(wished.begin(), wished.end(), [&](const auto& w) { return w.first == name; });
    if (own == wished.end()) own = std::find_if(wished.begin(), wished.end(), [](const auto& w) { return w.first.empty(); });
    options_.output_names.emplace_back("", own == wished.end() ? name : own->second);
    if (own != wished.end()) wished.erase(own);
  }
  for (auto& rest : wished) options_.output_names.push_back(std::move(rest));
  if ((label || scores) && numbers) refuse("numbers beside a classifier's outputs");
  const Item* any = scores ? scores : label;
  if (any) {
    if (label && scores && label->classifier != scores->classifier) refuse("labels and probabilities of two classifiers");
    if (!label) options_.output_names.insert(options_.output_names.begin(), {"", "classLabel"});
    if (any->classifier->op_type == "LinearClassifier") linear_classifier(*any, scores != nullptr);
    else tree_classifier(*any);
    return;
  }
  if (numbers == nullptr) refuse("a model without outputs");
  Vec y = numbers->features.empty() ? numbers->numbers : a_.scalar(numbers->features[0]);
  if (numbers->predicted) a_.regression(y);
  else a_.transformation(y);
}

}  // namespace

bool needs_pipeline(ByteSpan bytes) {
  constexpr size_t kLargest = size_t{256} << 20;  // larger ones are networks
  if (bytes.size() > kLargest || !looks_like_onnx(bytes)) return false;
  auto model = read_interface(bytes);
  if (!model) return false;
  return std::any_of(model->begin(), model->end(), [](const ValueInfo& v) { return v.kind == ValueInfo::Kind::kMap || (v.kind == ValueInfo::Kind::kTensor && v.known_dtype && v.dtype == DType::kString); });
}

Result<LearnedModel> convert_pipeline(const Blob& bytes, const LearnerOptions& options) {
  MLT_ASSIGN(Model model, read_model(bytes, ""));
  return run_learner([&] {
    if (!options.feature_names.empty() || options.model_names) throw LearnError{usage_error("--feature-names: the model names its inputs")};
    return Pipeline(model, options).run();
  });
}

void add_coverage(std::vector<LearnerCoverage>& list) {
  for (const char* op : {"ArrayFeatureExtractor", "CategoryMapper", "DictVectorizer", "FeatureVectorizer", "Imputer", "LabelEncoder", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder", "Scaler",
                         "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap"})
    list.push_back({"onnx-ml", op, "in models with inputs of strings or dictionaries"});
}

}  // namespace mlt::foreign::onnx
