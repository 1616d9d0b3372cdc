// Sources: xgboost's src/learner.cc, src/gbm/gbtree_model.h, include/xgboost/tree_model.h and doc/model.schema.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/convert/learners/assembly.h"
#include "lib/convert/xgboost/booster.h"
#include "lib/convert/xgboost/ubjson.h"

namespace mlt::foreign::xgboost {
namespace {

using Json = nlohmann::json;

const Json& member(const Json& object, const char* key) {
  if (!object.is_object()) damaged(fmt::format("\"{}\" is looked for in something that is no object", key));
  auto it = object.find(key);
  if (it == object.end()) damaged(fmt::format("\"{}\" is missing", key));
  return *it;
}

// Numbers come as numbers or as text.
double real(const Json& value, const char* key) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    double out = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (code == std::errc() && end == text.data() + text.size()) return out;
  }
  damaged(fmt::format("\"{}\" is no number", key));
}

int64_t whole(const Json& value, const char* key, int64_t low, int64_t high) {
  double d = real(value, key);
  if (!(d >= static_cast<double>(low) && d <= static_cast<double>(high)) || d != std::floor(d)) damaged(fmt::format("\"{}\" is out of range", key));
  return static_cast<int64_t>(d);
}

int64_t optional_whole(const Json& object, const char* key, int64_t otherwise) {
  auto it = object.find(key);
  return it == object.end() ? otherwise : whole(*it, key, -1, int64_t{1} << 31);
}

template <typename T>
std::vector<T> list(const Json& object, const char* key, double low, double high) {
  const Json& value = member(object, key);
  if (!value.is_array()) damaged(fmt::format("\"{}\" is no list", key));
  std::vector<T> out;
  out.reserve(value.size());
  for (const Json& item : value) {
    double d = real(item, key);
    if (!(d >= low && d <= high)) damaged(fmt::format("\"{}\" holds a value out of range", key));
    out.push_back(static_cast<T>(d));
  }
  return out;
}

constexpr double kInt = 2147483647.0;

Tree read_tree(const Json& json) {
  Tree t;
  const Json& param = member(json, "tree_param");
  if (optional_whole(param, "size_leaf_vector", 1) > 1) refuse("xgboost trees with a vector in each leaf (multi_strategy=multi_output_tree)", "train with multi_strategy=one_output_per_tree");
  t.left = list<int32_t>(json, "left_children", -1, kInt);
  t.right = list<int32_t>(json, "right_children", -1, kInt);
  t.feature = list<uint32_t>(json, "split_indices", 0, kInt);
  t.value = list<float>(json, "split_conditions", -HUGE_VAL, HUGE_VAL);
  t.default_left = list<uint8_t>(json, "default_left", 0, 1);
  size_t n = t.left.size();
  if (t.right.size() != n || t.feature.size() != n || t.value.size() != n || t.default_left.size() != n || n == 0) damaged("the lists of a tree differ in length");
  t.categorical.assign(n, 0);
  if (json.contains("split_type")) {
    auto types = list<uint8_t>(json, "split_type", 0, 255);
    if (!types.empty() && types.size() != n) damaged("the lists of a tree differ in length");
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] > 1) refuse(fmt::format("xgboost split type {}", types[i]));
      t.categorical[i] = types[i];
    }
  }
  if (json.contains("categories_nodes")) {
    auto nodes = list<int32_t>(json, "categories_nodes", 0, kInt);
    auto segments = list<int64_t>(json, "categories_segments", 0, 9e15);
    auto sizes = list<int64_t>(json, "categories_sizes", 0, 9e15);
    auto flat = list<int32_t>(json, "categories", 0, 1 << 24);
    if (segments.size() != nodes.size() || sizes.size() != nodes.size()) damaged("the lists of categories differ in length");
    t.right_categories.resize(nodes.empty() ? 0 : n);
    for (size_t i = 0; i < nodes.size(); ++i) {
      auto size = static_cast<uint64_t>(sizes[i]), begin = static_cast<uint64_t>(segments[i]);
      if (static_cast<size_t>(nodes[i]) >= n || begin > flat.size() || size > flat.size() - begin) damaged("the lists of categories are damaged");
      t.right_categories[static_cast<size_t>(nodes[i])].assign(flat.begin() + static_cast<std::ptrdiff_t>(begin), flat.begin() + static_cast<std::ptrdiff_t>(begin + size));
    }
  }
  t.right_categories.resize(n);
  return t;
}

void read_trees(const Json& model, Booster& b) {
  b.group = list<int32_t>(model, "tree_info", 0, kInt);
  const Json& trees = member(model, "trees");
  if (!trees.is_array()) damaged("\"trees\" is no list");
  for (const Json& tree : trees) b.trees.push_back(read_tree(tree));
  if (b.group.size() != b.trees.size()) damaged("\"tree_info\" and \"trees\" differ in length");
}

// Little-endian structs of the old format.
class Struct {
 public:
  explicit Struct(ByteSpan bytes) : reader_(bytes) {}
  template <typename T>
  T read() {
    auto value = reader_.read<T>();
    if (!value.ok()) damaged("the file ends too early");
    return *value;
  }
  void skip(uint64_t size) {
    if (!reader_.take(size).ok()) damaged("the file ends too early");
  }
  std::string text() {
    auto value = reader_.read_string64();
    if (!value.ok()) damaged("the file ends too early");
    return *value;
  }
  std::vector<float> floats() {
    auto count = read<uint64_t>();
    if (count > reader_.remaining() / 4) damaged("the file ends too early");
    std::vector<float> out(count);
    for (float& v : out) v = read<float>();
    return out;
  }
  size_t remaining() const { return reader_.remaining(); }

 private:
  ByteReader reader_;
};

}  // namespace

Booster read_binary(ByteSpan bytes) {
  if (as_text(bytes).starts_with("binf")) bytes = bytes.subspan(4);
  Struct s(bytes);
  Booster b;
  b.base = {static_cast<double>(s.read<float>())};
  b.features = s.read<uint32_t>();
  b.classes = s.read<int32_t>();
  s.skip(8);  // whether attributes and metrics follow
  auto major = s.read<uint32_t>(), minor = s.read<uint32_t>();
  b.targets = std::max<int64_t>(1, s.read<uint32_t>());
  s.skip(4 * 26);
  if (major > 100 || b.targets > (1 << 16)) major = 0, b.targets = 1;  // those places were not used before 1.0
  if (major == 0) b.targets = 1;
  b.base_is_margin = major < 1;
  b.version = fmt::format("{}.{}", major, minor);
  if (b.classes < 0 || b.classes > (1 << 20)) damaged("the number of classes is damaged");
  b.objective = s.text();
  std::string kind = s.text();
  if (b.objective.size() > 100 || kind.size() > 100) damaged("the file is no xgboost model");
  if (kind == "gblinear") {
    b.kind = Booster::Kind::kLinear;
    s.skip(4 * 34);
    b.linear = s.floats();
    return b;
  }
  if (kind != "gbtree" && kind != "dart") damaged(fmt::format("unknown booster \"{}\"", kind));
  auto trees = s.read<int32_t>();
  s.skip(4 * 3 + 8 + 4);
  auto leaf_vector = s.read<int32_t>();
  s.skip(4 * 32);
  if (trees < 0) damaged("the number of trees is damaged");
  if (leaf_vector > 1) refuse("xgboost trees with a vector in each leaf");
  for (int32_t i = 0; i < trees; ++i) {
    s.skip(4);
    auto nodes = s.read<int32_t>();
    s.skip(4 * 3);
    auto vector = s.read<int32_t>();
    s.skip(4 * 31);
    if (nodes <= 0 || static_cast<uint64_t>(nodes) > s.remaining() / 36) damaged("the file ends too early");
    if (vector > 1) refuse("xgboost trees with a vector in each leaf");
    Tree t;
    for (int32_t n = 0; n < nodes; ++n) {
      s.skip(4);
      t.left.push_back(s.read<int32_t>());
      t.right.push_back(s.read<int32_t>());
      auto split = s.read<uint32_t>();
      t.feature.push_back(split & 0x7fffffffu);
      t.default_left.push_back(static_cast<uint8_t>(split >> 31));
      t.value.push_back(s.read<float>());
    }
    s.skip(16 * static_cast<uint64_t>(nodes));
    t.categorical.assign(static_cast<size_t>(nodes), 0);
    t.right_categories.resize(static_cast<size_t>(nodes));
    b.trees.push_back(std::move(t));
  }
  for (int32_t i = 0; i < trees; ++i) {
    b.group.push_back(s.read<int32_t>());
    if (b.group.back() < 0) damaged("a tree's output is damaged");
  }
  if (kind == "dart") b.tree_weight = s.floats();
  return b;
}

Booster read_json(const Json& model) {
  Booster b;
  const Json& learner = member(model, "learner");
  const Json& param = member(learner, "learner_model_param");
  b.features = whole(member(param, "num_feature"), "num_feature", 0, 1 << 24);
  b.classes = whole(member(param, "num_class"), "num_class", 0, 1 << 20);
  b.targets = std::max<int64_t>(1, optional_whole(param, "num_target", 1));
  const Json& base = member(param, "base_score");
  if (base.is_string() && base.get_ref<const std::string&>().starts_with('[')) {  // since 3.1
    Json parsed = Json::parse(base.get_ref<const std::string&>(), nullptr, false);
    if (!parsed.is_array()) damaged("\"base_score\" is damaged");
    b.base_is_vector = true;
    for (const Json& item : parsed) b.base.push_back(real(item, "base_score"));
  } else if (base.is_array()) {
    for (const Json& item : base) b.base.push_back(real(item, "base_score"));
  } else {
    b.base = {real(base, "base_score")};
  }
  const Json& objective = member(member(learner, "objective"), "name");
  if (!objective.is_string()) damaged("the objective has no name");
  b.objective = objective.get<std::string>();
  for (const auto& [key, out] : {std::pair{"feature_names", &b.names}, std::pair{"feature_types", &b.types}})
    if (learner.contains(key) && learner[key].is_array())
      for (const Json& name : learner[key])
        if (name.is_string()) out->push_back(name.get<std::string>());
  if (model.contains("version") && model["version"].is_array())
    for (const Json& part : model["version"])
      if (part.is_number_integer()) b.version += (b.version.empty() ? "" : ".") + std::to_string(part.get<int64_t>());
  if (learner.contains("attributes") && learner["attributes"].is_object() && learner["attributes"].contains("best_iteration") && learner["attributes"]["best_iteration"].is_string())
    b.best_iteration = learner["attributes"]["best_iteration"].get<std::string>();
  const Json& booster = member(learner, "gradient_booster");
  const Json& name = member(booster, "name");
  std::string kind = name.is_string() ? name.get<std::string>() : "";
  if (kind == "gblinear") {
    b.kind = Booster::Kind::kLinear;
    b.linear = list<float>(member(booster, "model"), "weights", -HUGE_VAL, HUGE_VAL);
  } else if (kind == "gbtree") {
    read_trees(member(booster, "model"), b);
  } else if (kind == "dart") {
    read_trees(member(member(booster, "gbtree"), "model"), b);
    b.tree_weight = list<float>(booster, "weight_drop", -HUGE_VAL, HUGE_VAL);
  } else {
    damaged("unknown booster \"" + kind + "\"");
  }
  return b;
}

Booster read_booster(ByteSpan bytes) {
  std::string_view text = as_text(bytes);
  if (text.starts_with("CONFIG-offset:")) refuse("an xgboost booster in the memory form of versions before 1.0");
  if (!text.starts_with('{')) return read_binary(bytes);
  size_t first = text.find_first_not_of(" \t\r\n", 1);
  bool json = first != std::string_view::npos && text[first] == '"';
  Json model;
  if (json) {
    model = Json::parse(text, nullptr, false);
    if (model.is_discarded()) damaged("the JSON is damaged");
  } else {
    auto read = read_ubjson(bytes);
    if (!read.ok()) throw LearnError{std::move(read).error()};
    model = std::move(*read);
  }
  // Pickled boosters: {"Config": ..., "Model": ...}.
  if (model.is_object() && model.contains("Model")) return read_json(model["Model"]);
  return read_json(model);
}

}  // namespace mlt::foreign::xgboost
