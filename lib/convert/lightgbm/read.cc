// Sources: LightGBM's src/boosting/gbdt_model_text.cpp, src/io/tree.cpp and include/LightGBM/tree.h.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/convert/lightgbm/booster.h"

namespace mlt::foreign::lightgbm {
namespace {

using Json = nlohmann::json;
constexpr int64_t kMaxFeatures = 1 << 24;

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t begin = text.find_first_not_of(' ', at);
    if (begin == std::string_view::npos) break;
    size_t end = std::min(text.find(' ', begin), text.size());
    out.emplace_back(text.substr(begin, end - begin));
    at = end;
  }
  return out;
}

template <typename T>
T parse(std::string_view word, std::string_view key) {
  T value{};
  auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code == std::errc::result_out_of_range && std::is_floating_point_v<T>) return value;  // denormals of old writers
  if (code != std::errc() || end != word.data() + word.size()) damaged(fmt::format("{}: \"{}\" is no number", key, word.substr(0, 40)));
  return value;
}

template <typename T>
std::vector<T> parse_list(std::string_view text, std::string_view key) {
  std::vector<T> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) out.push_back(parse<T>(text.substr(at, end - at), key));
    at = end + 1;
  }
  return out;
}

using Section = std::map<std::string, std::string_view, std::less<>>;

// "key=value" lines up to an empty one.
Section section(std::string_view& rest) {
  Section out;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) break;
    size_t equals = line.find('=');
    if (equals == std::string_view::npos) out[std::string(line)] = "";
    else out[std::string(line.substr(0, equals))] = line.substr(equals + 1);
  }
  return out;
}

std::string_view need(const Section& s, std::string_view key) {
  auto it = s.find(key);
  if (it == s.end()) damaged(fmt::format("\"{}\" is missing", key));
  return it->second;
}

void set_objective(Booster& b, std::string_view text) {
  auto parts = words(text);
  if (parts.empty()) return;
  b.objective = parts[0];
  b.parameters.assign(parts.begin() + 1, parts.end());
}

void check_header(const Booster& b) {
  if (b.classes < 1 || b.classes > (1 << 20) || b.trees_per_iteration < 1 || b.trees_per_iteration > (1 << 20)) damaged("the number of classes is damaged");
  if (b.features < 1 || b.features > kMaxFeatures) damaged("the number of features is damaged");
}

std::vector<uint8_t> bits(const std::vector<uint32_t>& all, uint64_t begin, uint64_t end) {
  if (begin > end || end > all.size() || end - begin > (1 << 16)) damaged("cat_boundaries are damaged");
  std::vector<uint8_t> out;
  for (uint64_t w = begin; w < end; ++w)
    for (int i = 0; i < 32; ++i) out.push_back(all[w] >> i & 1);
  while (!out.empty() && out.back() == 0) out.pop_back();
  return out;
}

Tree read_tree(const Section& s) {
  Tree t;
  auto leaves = parse<int64_t>(need(s, "num_leaves"), "num_leaves");
  if (leaves < 1 || leaves > (1 << 28)) damaged("num_leaves is damaged");
  if (auto it = s.find("is_linear"); it != s.end() && it->second == "1") refuse("lightgbm linear trees (linear_tree=true)", "Core ML's trees hold one value in a leaf");
  t.leaves = parse_list<double>(need(s, "leaf_value"), "leaf_value");
  if (t.leaves.size() != static_cast<size_t>(leaves)) damaged("leaf_value does not fit num_leaves");
  for (double v : t.leaves)
    if (!std::isfinite(v)) damaged("a leaf is not finite");
  if (leaves == 1) return t;
  auto feature = parse_list<int64_t>(need(s, "split_feature"), "split_feature");
  auto threshold = parse_list<double>(need(s, "threshold"), "threshold");
  auto decision = parse_list<int64_t>(need(s, "decision_type"), "decision_type");
  auto left = parse_list<int64_t>(need(s, "left_child"), "left_child");
  auto right = parse_list<int64_t>(need(s, "right_child"), "right_child");
  size_t n = static_cast<size_t>(leaves) - 1;
  if (feature.size() != n || threshold.size() != n || decision.size() != n || left.size() != n || right.size() != n) damaged("the lists of a tree differ in length");
  std::vector<int64_t> boundaries;
  std::vector<uint32_t> sets;
  if (auto it = s.find("num_cat"); it != s.end() && parse<int64_t>(it->second, "num_cat") > 0) {
    boundaries = parse_list<int64_t>(need(s, "cat_boundaries"), "cat_boundaries");
    sets = parse_list<uint32_t>(need(s, "cat_threshold"), "cat_threshold");
  }
  for (size_t i = 0; i < n; ++i) {
    Tree::Node node;
    node.feature = feature[i];
    node.threshold = threshold[i];
    if (decision[i] < 0 || decision[i] > 15 || (decision[i] >> 2) > 2) damaged("decision_type is damaged");
    node.categorical = decision[i] & 1;
    node.default_left = decision[i] & 2;
    node.missing = static_cast<Missing>(decision[i] >> 2);
    if (std::isnan(node.threshold)) damaged("a threshold is no number");
    auto child = [&](int64_t c) {
      if (c >= static_cast<int64_t>(n) || c < -static_cast<int64_t>(n + 1)) damaged("a node has a child that is not there");
      return static_cast<int32_t>(c);
    };
    node.left = child(left[i]);
    node.right = child(right[i]);
    if (node.categorical) {
      double d = threshold[i];
      if (!(d >= 0) || d + 1 >= static_cast<double>(boundaries.size())) damaged("cat_boundaries are damaged");
      auto at = static_cast<size_t>(d);
      if (boundaries[at] < 0 || boundaries[at + 1] < 0) damaged("cat_boundaries are damaged");
      node.left_categories = bits(sets, static_cast<uint64_t>(boundaries[at]), static_cast<uint64_t>(boundaries[at + 1]));
    }
    t.nodes.push_back(std::move(node));
  }
  return t;
}

double json_number(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !(object[key].is_number() || object[key].is_boolean())) damaged(fmt::format("\"{}\" is missing or no number", key));
  return object[key].is_boolean() ? static_cast<double>(object[key].get<bool>()) : object[key].get<double>();
}

int64_t json_whole(const Json& object, const char* key, double low, double high) {
  double d = json_number(object, key);
  if (!(d >= low && d <= high) || d != std::floor(d)) damaged(fmt::format("\"{}\" is out of range", key));
  return static_cast<int64_t>(d);
}

// Nested objects, walked with a stack of our own.
Tree json_tree(const Json& structure) {
  Tree t;
  struct Item {
    const Json* json;
    int32_t parent;
    bool left;
  };
  std::vector<Item> stack{{&structure, -1, true}};
  while (!stack.empty()) {
    Item item = stack.back();
    stack.pop_back();
    const Json& j = *item.json;
    int32_t here = 0;
    if (j.is_object() && j.contains("leaf_value")) {
      if (j.contains("leaf_coeff")) refuse("lightgbm linear trees (linear_tree=true)", "Core ML's trees hold one value in a leaf");
      t.leaves.push_back(json_number(j, "leaf_value"));
      here = ~static_cast<int32_t>(t.leaves.size() - 1);
    } else {
      Tree::Node node;
      node.feature = json_whole(j, "split_feature", 0, static_cast<double>(kMaxFeatures));
      std::string how = j.contains("decision_type") && j["decision_type"].is_string() ? j["decision_type"].get<std::string>() : "";
      std::string missing = j.contains("missing_type") && j["missing_type"].is_string() ? j["missing_type"].get<std::string>() : "None";
      node.default_left = j.contains("default_left") && json_number(j, "default_left") != 0;
      node.missing = missing == "Zero" ? Missing::kZero : missing == "NaN" ? Missing::kNan : Missing::kNone;
      if (how == "==") {
        node.categorical = true;
        if (!j.contains("threshold") || !j["threshold"].is_string()) damaged("a split by category has no categories");
        std::string_view text = j["threshold"].get_ref<const std::string&>();
        while (!text.empty()) {
          size_t end = std::min(text.find("||"), text.size());
          auto category = parse<int64_t>(text.substr(0, end), "threshold");
          if (category < 0 || category > (1 << 21)) damaged("a category is out of range");
          if (node.left_categories.size() <= static_cast<size_t>(category)) node.left_categories.resize(static_cast<size_t>(category) + 1, 0);
          node.left_categories[static_cast<size_t>(category)] = 1;
          text = end == text.size() ? std::string_view{} : text.substr(end + 2);
        }
      } else if (how == "<=") {
        node.threshold = json_number(j, "threshold");
      } else {
        damaged("unknown decision_type \"" + how.substr(0, 20) + "\"");
      }
      if (!j.contains("left_child") || !j.contains("right_child")) damaged("a node has no children");
      here = static_cast<int32_t>(t.nodes.size());
      t.nodes.push_back(std::move(node));
      stack.push_back({&j["right_child"], here, false});
      stack.push_back({&j["left_child"], here, true});
    }
    if (item.parent >= 0) (item.left ? t.nodes[static_cast<size_t>(item.parent)].left : t.nodes[static_cast<size_t>(item.parent)].right) = here;
  }
  return t;
}

}  // namespace

Booster read_text(std::string_view text) {
  Booster b;
  Section header = section(text);
  b.classes = parse<int64_t>(need(header, "num_class"), "num_class");
  b.trees_per_iteration = header.count("num_tree_per_iteration") ? parse<int64_t>(header["num_tree_per_iteration"], "num_tree_per_iteration") : b.classes;
  b.features = parse<int64_t>(need(header, "max_feature_idx"), "max_feature_idx");
  if (b.features < 0 || b.features >= kMaxFeatures) damaged("the number of features is damaged");
  ++b.features;
  b.average = header.count("average_output") != 0;
  if (header.count("objective")) set_objective(b, header["objective"]);
  if (header.count("feature_names")) b.names = words(header["feature_names"]);
  check_header(b);
  while (!text.empty() && !text.starts_with("end of trees")) {
    if (text.starts_with('\n') || text.starts_with('\r')) {
      text.remove_prefix(1);
      continue;
    }
    Section s = section(text);
    if (!s.count("Tree")) {
      if (s.count("feature importances:") || s.count("feature_importances:")) break;
      damaged("a section that is no tree");
    }
    b.trees.push_back(read_tree(s));
  }
  if (header.count("tree_sizes") && words(header["tree_sizes"]).size() != b.trees.size()) damaged(fmt::format("{} trees instead of {}: the file ends too early", b.trees.size(), words(header["tree_sizes"]).size()));
  size_t at = text.find("pandas_categorical:");
  b.pandas_categories = at != std::string_view::npos && !text.substr(at + 19).starts_with("null") && !text.substr(at + 19).starts_with("[]");
  return b;
}

Booster read_json(std::string_view text) {
  Json j = Json::parse(text, nullptr, false);
  if (!j.is_object()) damaged("the JSON is damaged");
  Booster b;
  b.classes = json_whole(j, "num_class", 1, 1 << 20);
  b.trees_per_iteration = json_whole(j, "num_tree_per_iteration", 1, 1 << 20);
  b.features = json_whole(j, "max_feature_idx", 0, static_cast<double>(kMaxFeatures)) + 1;
  b.average = j.contains("average_output") && json_number(j, "average_output") != 0;
  if (j.contains("objective") && j["objective"].is_string()) set_objective(b, j["objective"].get_ref<const std::string&>());
  if (j.contains("feature_names") && j["feature_names"].is_array())
    for (const Json& name : j["feature_names"])
      if (name.is_string()) b.names.push_back(name.get<std::string>());
  if (!j.contains("tree_info") || !j["tree_info"].is_array()) damaged("\"tree_info\" is missing");
  check_header(b);
  for (const Json& tree : j["tree_info"]) {
    if (!tree.is_object() || !tree.contains("tree_structure")) damaged("a tree has no structure");
    b.trees.push_back(json_tree(tree["tree_structure"]));
  }
  b.pandas_categories = j.contains("pandas_categorical") && j["pandas_categorical"].is_array() && !j["pandas_categorical"].empty();
  return b;
}

}  // namespace mlt::foreign::lightgbm
