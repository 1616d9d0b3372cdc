#include "lib/convert/learners/assembly.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <stdexcept>

#include "lib/coreml/validate.h"

namespace mlt::foreign {

using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::FeatureType;
using coreml::Model;
using coreml::ModelKind;
using Branch = TreeEnsembleParams::Branch;

namespace {

FeatureType doubles(int64_t width) { return FeatureType::multi_array(coreml::ArrayDataType::kDouble, {width}); }

FeatureDescription feature(const std::string& name, FeatureType type) {
  FeatureDescription f;
  f.name = name;
  f.type = std::move(type);
  return f;
}

}  // namespace

void refuse(std::string what, std::string hint) { throw LearnError{unsupported_error(std::move(what), std::move(hint))}; }
void damaged(std::string what) { throw LearnError{input_error(std::move(what))}; }

Result<LearnedModel> run_learner(const std::function<LearnedModel()>& body) {
  try {
    return body();
  } catch (LearnError& e) {
    return std::move(e.error);
  } catch (const std::bad_alloc&) {
    return resource_error("not enough memory for what the file declares");
  } catch (const std::length_error&) {
    return resource_error("not enough memory for what the file declares");
  }
}

std::string Assembly::output(const std::string& name) {
  for (const auto& [from, to] : options_.output_names)
    if (from == name) {
      used_names_[from] = true;
      return to;
    }
  size_t position = next_output_++, count = 0;
  for (const auto& [from, to] : options_.output_names)
    if (from.empty() && count++ == position) return to;
  return name;
}

Vec Assembly::numbers(int64_t width, const std::vector<std::string>& names) {
  if (width <= 0 || width > (1 << 24)) damaged(fmt::format("the model has {} features", width));
  std::vector<std::string> chosen = options_.feature_names;
  if (options_.model_names) {
    if (names.empty()) throw LearnError{usage_error("the file holds no names of features", "list them with --feature-names")};
    chosen = names;
  }
  if (chosen.empty()) {
    inputs_.push_back(feature("input", doubles(width)));
    return {"input", width, false};
  }
  if (static_cast<int64_t>(chosen.size()) != width) throw LearnError{usage_error(fmt::format("{} feature names, but the model has {} features", chosen.size(), width))};
  std::map<std::string, bool> seen;
  for (const std::string& name : chosen) {
    if (name.empty() || !seen.emplace(name, true).second) throw LearnError{usage_error(fmt::format("the feature name \"{}\" is {}", name, name.empty() ? "empty" : "given twice"))};
    FeatureDescription f = feature(name, FeatureType::float64());
    inputs_.push_back(std::move(f));
  }
  return {"", width, true};
}

std::string Assembly::input(const std::string& name, FeatureType type) {
  for (const FeatureDescription& f : inputs_)
    if (f.name == name) {
      if (!(f.type == type)) refuse(fmt::format("the column \"{}\" is used as {} and as {}", name, format_type(f.type), format_type(type)));
      return name;
    }
  inputs_.push_back(feature(name, std::move(type)));
  return name;
}

Assembly::Stage& Assembly::add(const std::string& name, std::vector<Feature> inputs, std::vector<Feature> outputs) {
  auto stage = std::make_unique<Stage>();
  stage->name = name;
  coreml::Description d;
  d.inputs = std::move(inputs);
  d.outputs = std::move(outputs);
  stage->model.set_description(std::move(d));
  stages_.push_back(std::move(stage));
  return *stages_.back();
}

std::vector<FeatureDescription> Assembly::inputs_of(const Vec& x, bool optional) {
  if (!x.columns) return {feature(x.name, doubles(x.width))};
  if (optional)
    for (Feature& f : inputs_) f.type.optional = true;
  return inputs_;
}

Vec Assembly::array(Vec x) {
  if (!x.columns) return x;
  if (!columns_array_.name.empty()) return columns_array_;
  std::vector<VectorizerColumn> columns;
  for (const Feature& f : inputs_) columns.push_back({f.name, 1});
  std::vector<Feature> inputs = inputs_;
  for (Feature& f : inputs) f.type.optional = false;
  for (Feature& f : inputs_) f.type.optional = false;
  Vec y = result(x.width);
  write_feature_vectorizer(add("vectorize", std::move(inputs), {feature(y.name, doubles(y.width))}).model, columns);
  return columns_array_ = y;
}

Vec Assembly::result(int64_t width) {
  if (width <= 0 || width > (1 << 24)) damaged(fmt::format("a step with {} outputs", width));
  return {fmt::format("__features_{}__", next_++), width, false};
}

Vec Assembly::trees(Vec x, const TreeEnsembleParams& params) {
  Vec y = result(static_cast<int64_t>(params.outputs));
  // Only models of scalar columns may leave some out, and only when no other stage needs them all.
  Stage& s = add("trees", inputs_of(x, missing_allowed_ && stages_.empty()), {feature(y.name, doubles(y.width))});
  write_tree_regressor(s.model, params);
  coreml::Description d = s.model.description();
  d.predicted_feature_name = y.name;
  s.model.set_description(std::move(d));
  return y;
}

Vec Assembly::linear(Vec x, const LinearParams& params) {
  Vec y = result(static_cast<int64_t>(params.weights.size()));
  Stage& s = add("linear", inputs_of(x), {feature(y.name, doubles(y.width))});
  write_glm_regressor(s.model, params);
  coreml::Description d = s.model.description();
  d.predicted_feature_name = y.name;
  s.model.set_description(std::move(d));
  return y;
}

Vec Assembly::svm(Vec x, const SvmParams& params) {
  std::string y = result(1).name;
  Stage& s = add("svm", inputs_of(x), {feature(y, FeatureType::float64())});
  write_svm_regressor(s.model, params);
  coreml::Description d = s.model.description();
  d.predicted_feature_name = y;
  s.model.set_description(std::move(d));
  return scalar(y);
}

void Assembly::svm_regression(Vec x, const SvmParams& params) {
  kind_ = Kind::kRegressor;
  predicted_ = output("prediction");
  outputs_ = {feature(predicted_, FeatureType::float64())};
  Stage& s = add("svm", inputs_of(x), outputs_);
  write_svm_regressor(s.model, params);
  coreml::Description d = s.model.description();
  d.predicted_feature_name = predicted_;
  s.model.set_description(std::move(d));
}

Vec Assembly::scale(Vec x, const std::vector<double>& shift, const std::vector<double>& scale) {
  x = array(x);
  Vec y = result(x.width);
  write_scaler(add("scale", inputs_of(x), {feature(y.name, doubles(y.width))}).model, shift, scale);
  return y;
}

Vec Assembly::normalize(Vec x, Norm norm) {
  x = array(x);
  Vec y = result(x.width);
  write_normalizer(add("normalize", inputs_of(x), {feature(y.name, doubles(y.width))}).model, norm);
  return y;
}

Vec Assembly::impute(Vec x, const std::vector<double>& values, double missing) {
  x = array(x);
  Vec y = result(x.width);
  write_imputer(add("impute", inputs_of(x), {feature(y.name, doubles(y.width))}).model, values, missing);
  return y;
}

Vec Assembly::extract(Vec x, const std::vector<uint64_t>& indices) {
  x = array(x);
  bool all = static_cast<int64_t>(indices.size()) == x.width;
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] >= static_cast<uint64_t>(x.width)) damaged(fmt::format("a step reads column {} of {}", indices[i], x.width));
    all = all && indices[i] == i;
  }
  if (all) return x;
  Vec y = result(static_cast<int64_t>(indices.size()));
  write_array_feature_extractor(add("select", inputs_of(x), {feature(y.name, doubles(y.width))}).model, indices);
  return y;
}

Vec Assembly::concat(const std::vector<Vec>& given) {
  std::vector<Vec> parts;
  for (const Vec& v : given) parts.push_back(array(v));
  if (parts.size() == 1) return parts[0];
  std::vector<VectorizerColumn> columns;
  std::vector<Feature> inputs;
  int64_t width = 0;
  for (Vec& v : parts) {
    for (const VectorizerColumn& other : columns)
      if (other.input == v.name) {  // a column twice: a copy
        v = scale(v, {}, {});
        break;
      }
    columns.push_back({v.name, static_cast<uint64_t>(v.width)});
    inputs.push_back(inputs_of(v)[0]);
    width += v.width;
  }
  Vec y = result(width);
  write_feature_vectorizer(add("concatenate", std::move(inputs), {feature(y.name, doubles(y.width))}).model, columns);
  return y;
}

Vec Assembly::network(Vec x, int64_t width, const std::function<void(coreml::NetworkWriter&, const std::string&)>& build) {
  x = array(x);
  Vec y = result(width);
  coreml::NetworkWriter writer;
  build(writer, x.name);
  Stage& s = add("network", inputs_of(x), {feature(y.name, doubles(y.width))});
  writer.finish(s.model, y.name);
  return y;
}

Vec Assembly::one_hot(const std::string& name, const std::vector<std::string>& categories, bool ignore_unknown) {
  Vec y = result(static_cast<int64_t>(categories.size()));
  mlt::Labels labels;
  labels.strings = categories;
  write_one_hot_encoder(add("one_hot", {feature(name, FeatureType::string())}, {feature(y.name, doubles(y.width))}).model, labels, ignore_unknown);
  return y;
}

Vec Assembly::dictionary(const std::string& name, const std::vector<std::string>& keys) {
  Vec y = result(static_cast<int64_t>(keys.size()));
  write_dict_vectorizer(add("dictionary", {feature(name, FeatureType::dictionary(FeatureKind::kString))}, {feature(y.name, doubles(y.width))}).model, keys);
  return y;
}

Vec Assembly::string_codes(const std::string& name, const std::vector<std::pair<std::string, int64_t>>& codes, std::optional<int64_t> unknown) {
  std::string code = result(1).name;
  write_string_mapping(add("codes", {feature(name, FeatureType::string())}, {feature(code, FeatureType::int64())}).model, codes, unknown);
  Vec y = result(1);
  write_feature_vectorizer(add("vectorize", {feature(code, FeatureType::int64())}, {feature(y.name, doubles(1))}).model, {{code, 1}});
  return y;
}

std::string Assembly::impute_string(const std::string& name, const std::string& value, const std::string& missing) {
  std::string y = result(1).name;
  write_string_imputer(add("impute", {feature(name, FeatureType::string())}, {feature(y, FeatureType::string())}).model, value, missing);
  return y;
}

Vec Assembly::vectorize(const std::vector<std::string>& features) {
  Vec y = result(static_cast<int64_t>(features.size()));
  std::vector<Feature> inputs;
  std::vector<VectorizerColumn> columns;
  for (const std::string& name : features) {
    inputs.push_back(feature(name, FeatureType::float64()));
    columns.push_back({name, 1});
  }
  write_feature_vectorizer(add("vectorize", std::move(inputs), {feature(y.name, doubles(y.width))}).model, columns);
  return y;
}

void Assembly::order_inputs(const std::vector<std::string>& names) {
  std::vector<Feature> ordered;
  for (const std::string& name : names)
    for (const Feature& f : inputs_)
      if (f.name == name) ordered.push_back(f);
  if (ordered.size() == inputs_.size()) inputs_ = std::move(ordered);
}

void Assembly::regression(Vec y) {
  kind_ = Kind::kRegressor;
  y = array(y);
  predicted_ = output("prediction");
  Model* last = stages_.empty() ? nullptr : &stages_.back()->model;
  auto kind = last ? last->kind() : ModelKind::kNone;
  bool direct = last && (kind == ModelKind::kTreeEnsembleRegressor || kind == ModelKind::kGlmRegressor);
  if (!direct) {  // scalars are made by an extractor, arrays renamed by a stage that changes nothing
    if (y.width == 1) {
      write_array_feature_extractor(add("prediction", inputs_of(y), {feature(predicted_, FeatureType::float64())}).model, {0});
    } else {
      write_scaler(add("prediction", inputs_of(y), {feature(predicted_, doubles(y.width))}).model, {}, {});
    }
    outputs_ = stages_.back()->model.description().outputs;
    return;
  }
  coreml::Description d = last->description();
  d.outputs[0].name = predicted_;
  if (y.width == 1) d.outputs[0].type = FeatureType::float64();
  d.predicted_feature_name = predicted_;
  outputs_ = d.outputs;
  last->set_description(std::move(d));
}

void Assembly::transformation(Vec y) {
  y = array(y);
  kind_ = Kind::kTransform;
  std::string name = output("transformed_features");
  Model* last = stages_.empty() ? nullptr : &stages_.back()->model;
  if (last == nullptr || coreml::is_neural_network(last->kind()) || last->description().outputs[0].type.kind != FeatureKind::kMultiArray) {
    write_scaler(add("output", inputs_of(y), {feature(name, doubles(y.width))}).model, {}, {});
    outputs_ = stages_.back()->model.description().outputs;
    return;
  }
  coreml::Description d = last->description();
  d.outputs[0].name = name;
  if (!d.predicted_feature_name.empty()) d.predicted_feature_name = name;
  outputs_ = d.outputs;
  last->set_description(std::move(d));
}

mlt::Labels Assembly::chosen(mlt::Labels labels) const {
  if (!options_.labels) return labels;
  if (options_.labels->size() != labels.size())
    throw LearnError{usage_error(fmt::format("{} class labels, but the model has {} classes", options_.labels->size(), labels.size()))};
  return *options_.labels;
}

Assembly::Stage& Assembly::classifier(const std::string& name, std::vector<Feature> inputs, const mlt::Labels& labels, bool probabilities) {
  kind_ = Kind::kClassifier;
  predicted_ = output("classLabel");
  outputs_ = {feature(predicted_, labels.integers ? FeatureType::int64() : FeatureType::string())};
  if (probabilities) {
    probabilities_ = output("classProbability");
    outputs_.push_back(feature(probabilities_, FeatureType::dictionary(labels.integers ? FeatureKind::kInt64 : FeatureKind::kString)));
  }
  Stage& s = add(name, std::move(inputs), outputs_);
  coreml::Description d = s.model.description();
  d.predicted_feature_name = predicted_;
  d.predicted_probabilities_name = probabilities_;
  s.model.set_description(std::move(d));
  return s;
}

void Assembly::tree_classifier(Vec x, const TreeEnsembleParams& params, mlt::Labels labels, bool probabilities) {
  labels = chosen(std::move(labels));
  write_tree_classifier(classifier("trees", inputs_of(x, missing_allowed_ && stages_.empty()), labels, probabilities).model, params, labels);
}

void Assembly::glm_classifier(Vec x, const LinearParams& params, mlt::Labels labels, bool probabilities) {
  labels = chosen(std::move(labels));
  write_glm_classifier(classifier("linear", inputs_of(x), labels, probabilities).model, params, labels);
}

void Assembly::svm_classifier(Vec x, const SvmParams& params, mlt::Labels labels, bool label_by_votes) {
  labels = chosen(std::move(labels));
  bool probabilities = !params.prob_a.empty();
  if (!probabilities || !label_by_votes) {
    write_svm_classifier(classifier("svm", inputs_of(x), labels, probabilities).model, params, labels);
    return;
  }
  x = array(x);
  std::string label = output("classLabel"), dictionary = output("classProbability"), unused = "__most_probable__";
  FeatureType type = labels.integers ? FeatureType::int64() : FeatureType::string();
  FeatureType dict = FeatureType::dictionary(labels.integers ? FeatureKind::kInt64 : FeatureKind::kString);
  Stage& first = add("probabilities", inputs_of(x), {feature(unused, type), feature(dictionary, dict)});
  coreml::Description d = first.model.description();
  d.predicted_feature_name = unused;
  d.predicted_probabilities_name = dictionary;
  first.model.set_description(std::move(d));
  write_svm_classifier(first.model, params, labels);
  SvmParams votes = params;
  votes.prob_a.clear();
  votes.prob_b.clear();
  Stage& second = add("votes", inputs_of(x), {feature(label, type)});
  d = second.model.description();
  d.predicted_feature_name = label;
  second.model.set_description(std::move(d));
  write_svm_classifier(second.model, votes, labels);
  kind_ = Kind::kClassifier;
  predicted_ = label;
  probabilities_ = dictionary;
  outputs_ = {feature(label, type), feature(dictionary, dict)};
}

void Assembly::knn_classifier(Vec x, const KnnParams& params, mlt::Labels labels) {
  x = array(x);
  write_knn_classifier(classifier("neighbors", inputs_of(x), labels, true).model, params, labels);
}

void Assembly::network_classifier(Vec x, const std::function<void(coreml::NetworkWriter&, const std::string&)>& build, mlt::Labels labels) {
  x = array(x);
  labels = chosen(std::move(labels));
  coreml::NetworkWriter writer;
  build(writer, x.name);
  Stage& s = classifier("network", inputs_of(x), labels, true);
  writer.finish(s.model, probabilities_, &labels);
}

void Assembly::pick_classifier(Vec probabilities, mlt::Labels labels) {
  // No classic classifier takes probabilities as they are; a network that changes nothing does.
  network_classifier(probabilities, [&](coreml::NetworkWriter& n, const std::string& x) { n.binary("add", x, n.constant({1}, {0.0F})); }, std::move(labels));
}

LearnedModel Assembly::finish(const std::string& text) {
  for (const auto& [from, to] : options_.output_names)
    if (!from.empty() && !used_names_.count(from)) {
      std::string names;
      for (const Feature& f : outputs_) names += (names.empty() ? "" : ", ") + f.name;
      throw LearnError{usage_error("the model has no output \"" + from + "\"", "its outputs are: " + names)};
    }
  if (stages_.empty()) damaged("the model does nothing");
  for (const Feature& a : outputs_)
    for (const Feature& b : inputs_)
      if (a.name == b.name) throw LearnError{usage_error("the name \"" + a.name + "\" is that of an input and of an output", "rename the output with --output-name")};
  LearnedModel out;
  out.warnings = std::move(warnings_);
  if (stages_.size() == 1) {
    out.model = std::move(stages_[0]->model);
  } else {
    std::vector<const Model*> models;
    std::vector<std::string> names;
    for (auto& stage : stages_) {
      stage->model.set_spec_version(required_spec_version(stage->model));
      models.push_back(&stage->model);
      names.push_back(fmt::format("{}_{}", stage->name, models.size() - 1));
    }
    out.model.set_pipeline(kind_ == Kind::kClassifier ? ModelKind::kPipelineClassifier : kind_ == Kind::kRegressor ? ModelKind::kPipelineRegressor : ModelKind::kPipeline, models, names);
  }
  coreml::Description d;
  d.inputs = inputs_;
  d.outputs = outputs_;
  if (kind_ != Kind::kTransform) d.predicted_feature_name = predicted_;
  else if (out.model.kind() == ModelKind::kTreeEnsembleRegressor || out.model.kind() == ModelKind::kGlmRegressor) d.predicted_feature_name = outputs_[0].name;
  d.predicted_probabilities_name = probabilities_;
  d.metadata = options_.metadata;
  if (d.metadata.short_description.empty()) d.metadata.short_description = text;
  d.has_metadata = true;
  out.model.set_description(std::move(d));
  out.model.set_spec_version(required_spec_version(out.model));
  return out;
}

namespace {

// The double between two neighbouring floats that is the last to round to the lower one, or the first to round to the
// upper one. Halfway values go to the float whose last bit is 0.
double midpoint(float lower, float upper) { return (static_cast<double>(lower) + static_cast<double>(upper)) / 2; }
bool even(float x) { return (std::bit_cast<uint32_t>(x) & 1) == 0; }

}  // namespace

double le_float(double threshold) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr float finf = std::numeric_limits<float>::infinity();
  if (std::isnan(threshold) || std::isinf(threshold)) return threshold;
  if (threshold >= static_cast<double>(std::numeric_limits<float>::max())) return inf;
  if (threshold < -static_cast<double>(std::numeric_limits<float>::max())) return -inf;
  auto lower = static_cast<float>(threshold);
  if (static_cast<double>(lower) > threshold) lower = std::nextafter(lower, -finf);
  if (lower == 0) lower = 0;  // +0: its bits are even either way
  float upper = std::nextafter(lower, finf);
  double middle = midpoint(lower, upper);
  return even(lower) ? middle : std::nextafter(middle, -inf);
}

double lt_float(float threshold) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  constexpr float finf = std::numeric_limits<float>::infinity();
  if (std::isnan(threshold) || std::isinf(threshold) || threshold == -std::numeric_limits<float>::max()) return threshold;
  float lower = std::nextafter(threshold, -finf);
  double middle = midpoint(lower, threshold);
  return even(lower) ? std::nextafter(middle, inf) : middle;
}

void TreeAdder::branch(uint64_t id, Branch kind, uint64_t feature, double value, uint64_t yes, uint64_t no, bool missing_yes) {
  TreeEnsembleParams::Node node;
  node.tree = tree;
  node.id = id;
  node.branch = kind;
  node.feature = feature;
  node.value = value;
  node.true_child = yes;
  node.false_child = no;
  node.missing_is_true = missing_yes;
  params.nodes.push_back(std::move(node));
}

void TreeAdder::leaf(uint64_t id, std::vector<std::pair<uint64_t, double>> values) {
  TreeEnsembleParams::Node node;
  node.tree = tree;
  node.id = id;
  node.leaf = std::move(values);
  params.nodes.push_back(std::move(node));
}

void add_steps(TreeEnsembleParams& params, uint64_t tree, uint64_t feature, const std::vector<double>& bounds,
               const std::vector<std::vector<std::pair<uint64_t, double>>>& values, const std::vector<std::pair<uint64_t, double>>& missing, bool closed_above) {
  TreeAdder add{params, tree};
  uint64_t next = 0, start = next++;
  // NaN goes all the way down or up when that is its place; else it is asked for first.
  bool lowest = missing == values.front();
  if (!lowest && missing != values.back()) {
    uint64_t lost = next++, rest = next++;
    add.branch(start, Branch::kLessEqual, feature, std::numeric_limits<double>::infinity(), rest, lost, false);
    add.leaf(lost, missing);
    start = rest;
  }
  std::function<void(uint64_t, size_t, size_t)> build = [&](uint64_t id, size_t low, size_t high) {
    if (low == high) {
      add.leaf(id, values[low]);
      return;
    }
    size_t middle = (low + high) / 2;  // bounds[middle] parts low..middle from middle+1..high
    uint64_t left = next++, right = next++;
    add.branch(id, closed_above ? Branch::kLessEqual : Branch::kLess, feature, bounds[middle], left, right, lowest);
    build(left, low, middle);
    build(right, middle + 1, high);
  };
  build(start, 0, bounds.size());
}

uint64_t IntervalSets::add(Set set) {
  for (size_t i = sets_.size(); i-- > 0 && sets_.size() - i < 64;)  // equal neighbours are common, far ones are not worth it
    if (sets_[i] == set) return i;
  sets_.push_back(std::move(set));
  return sets_.size() - 1;
}

uint64_t IntervalSets::add(const Categories& c) {
  Set set;
  set.feature = c.feature;
  set.missing = c.missing;
  set.inside = {c.negative};
  for (size_t i = 0; i <= c.members.size(); ++i) {
    auto now = static_cast<uint8_t>(i < c.members.size() ? c.members[i] != 0 : c.beyond);
    if (now == set.inside.back()) continue;
    auto at = static_cast<double>(i);
    if (i == 0 && c.zero_from_below) at = std::nextafter(-1.0, 0.0);
    else if (c.rounds_to_float) at = lt_float(static_cast<float>(i));
    set.bounds.push_back(at);
    set.inside.push_back(now);
  }
  return add(std::move(set));
}

Vec IntervalSets::append(Assembly& assembly, Vec x) const {
  if (sets_.empty()) return x;
  TreeEnsembleParams params;
  params.outputs = sets_.size();
  std::map<uint64_t, std::vector<size_t>> by_feature;
  for (size_t i = 0; i < sets_.size(); ++i) by_feature[sets_[i].feature].push_back(i);
  using Values = std::vector<std::pair<uint64_t, double>>;
  uint64_t tree = 0, written = 0;
  for (const auto& [feature, list] : by_feature) {
    std::vector<double> bounds;
    for (size_t i : list) bounds.insert(bounds.end(), sets_[i].bounds.begin(), sets_[i].bounds.end());
    std::sort(bounds.begin(), bounds.end());
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    std::vector<Values> values(bounds.size() + 1);
    Values missing;
    for (size_t i : list) {
      const Set& set = sets_[i];
      if (set.missing) missing.emplace_back(i, 1.0);
      size_t part = 0;
      for (size_t at = 0; at <= bounds.size(); ++at) {
        if (set.inside[part]) {
          values[at].emplace_back(i, 1.0);
          if (++written > (uint64_t{1} << 26)) refuse("too many splits by category");
        }
        if (at < bounds.size() && part < set.bounds.size() && set.bounds[part] == bounds[at]) ++part;
      }
    }
    add_steps(params, tree++, feature, bounds, values, missing);
  }
  return assembly.concat({x, assembly.trees(x, params)});
}

}  // namespace mlt::foreign
