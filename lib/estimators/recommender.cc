#include "lib/estimators/recommender.h"

#include <algorithm>
#include <map>
#include <set>

namespace mlt {
namespace {

class Recommender : public Estimator {
 public:
  Recommender(Interface interface, RecommenderParams params, uint64_t count)
      : interface_(std::move(interface)), p_(std::move(params)), count_(count) {
    adjustment_.assign(count_, 0.0);
    for (size_t i = 0; i < p_.items.size(); ++i) {
      by_id_[p_.items[i].id] = i;
      adjustment_[p_.items[i].id] = p_.items[i].adjustment;
    }
    for (size_t i = 0; i < p_.ids.strings.size(); ++i) by_text_.try_emplace(p_.ids.strings[i], i);
    for (size_t i = 0; i < p_.ids.ints.size(); ++i) by_int_.try_emplace(p_.ids.ints[i], i);
  }

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(auto given, items(inputs, p_.items_input));
    std::vector<double> scores(count_, 0.0);
    for (auto [item, score] : given) {
      auto it = by_id_.find(item);
      if (it == by_id_.end()) continue;
      for (auto [other, similarity] : p_.items[it->second].similar) scores[other] += similarity * (score - adjustment_[other]);
    }
    std::vector<char> allowed(count_, 1);
    if (!p_.restriction_input.empty() && inputs.count(p_.restriction_input)) {
      std::fill(allowed.begin(), allowed.end(), 0);
      MLT_ASSIGN(auto list, items(inputs, p_.restriction_input));
      for (auto [item, score] : list) allowed[item] = 1;
    }
    if (!p_.exclusion_input.empty() && inputs.count(p_.exclusion_input)) {
      MLT_ASSIGN(auto list, items(inputs, p_.exclusion_input));
      for (auto [item, score] : list) allowed[item] = 0;
    } else {
      for (auto [item, score] : given) allowed[item] = 0;
    }
    uint64_t wanted = count_;
    if (!p_.count_input.empty() && inputs.count(p_.count_input)) {
      MLT_ASSIGN(double number, feature_number(inputs, p_.count_input));
      if (!(number >= 0)) return input_error("feature \"" + p_.count_input + "\": the number of recommendations is negative");
      if (number < static_cast<double>(count_)) wanted = static_cast<uint64_t>(number);
    }
    std::vector<uint64_t> order;
    for (uint64_t i = 0; i < count_; ++i)
      if (allowed[i]) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](uint64_t a, uint64_t b) { return scores[a] > scores[b]; });
    if (order.size() > wanted) order.resize(wanted);
    FeatureMap out;
    if (!p_.ids.integers && !p_.ids.strings.empty()) {
      StringList list;
      StringDict dict;
      for (uint64_t i : order) list.push_back(p_.ids.strings[i]), dict[p_.ids.strings[i]] = scores[i];
      if (!p_.list_output.empty()) out[p_.list_output] = std::move(list);
      if (!p_.score_output.empty()) out[p_.score_output] = std::move(dict);
    } else {
      IntList list;
      IntDict dict;
      for (uint64_t i : order) {
        int64_t id = p_.ids.ints.empty() ? static_cast<int64_t>(i) : p_.ids.ints[i];
        list.push_back(id), dict[id] = scores[i];
      }
      if (!p_.list_output.empty()) out[p_.list_output] = std::move(list);
      if (!p_.score_output.empty()) out[p_.score_output] = std::move(dict);
    }
    return out;
  }

 private:
  // Items by index with their scores (1 for a plain list). Items the model does not know are left out.
  Result<std::map<uint64_t, double>> items(const FeatureMap& inputs, const std::string& name) const {
    MLT_ASSIGN(const FeatureValue* value, require_feature(inputs, name));
    std::map<uint64_t, double> out;
    auto text = [&](const std::string& id, double score) {
      if (auto it = by_text_.find(id); it != by_text_.end()) out[it->second] = score;
    };
    auto number = [&](int64_t id, double score) {
      if (!by_int_.empty()) {
        if (auto it = by_int_.find(id); it != by_int_.end()) out[it->second] = score;
      } else if (id >= 0 && static_cast<uint64_t>(id) < count_) {
        out[static_cast<uint64_t>(id)] = score;
      }
    };
    if (const auto* sd = std::get_if<StringDict>(value)) {
      for (const auto& [id, score] : *sd) text(id, score);
    } else if (const auto* id_dict = std::get_if<IntDict>(value)) {
      for (auto [id, score] : *id_dict) number(id, score);
    } else if (const auto* sl = std::get_if<StringList>(value)) {
      for (const auto& id : *sl) text(id, 1.0);
    } else if (const auto* il = std::get_if<IntList>(value)) {
      for (int64_t id : *il) number(id, 1.0);
    } else {
      return input_error("feature \"" + name + "\": expected a dictionary or a sequence of items, got " + feature_text(*value));
    }
    return out;
  }

  Interface interface_;
  RecommenderParams p_;
  uint64_t count_;
  std::vector<double> adjustment_;
  std::map<uint64_t, size_t> by_id_;
  std::map<std::string, size_t> by_text_;
  std::map<int64_t, size_t> by_int_;
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_recommender(Interface interface, RecommenderParams params) {
  if (params.items_input.empty()) return input_error("recommender: no item input");
  if (params.list_output.empty() && params.score_output.empty()) return input_error("recommender: no output");
  uint64_t count = params.ids.size();
  if (count == 0) {
    for (const auto& item : params.items) {
      count = std::max(count, item.id + 1);
      for (auto [id, score] : item.similar) count = std::max(count, id + 1);
    }
  }
  if (count > (uint64_t{1} << 26)) return input_error("recommender: item ids are too large");
  for (const auto& item : params.items) {
    if (item.id >= count) return input_error("recommender: item id " + std::to_string(item.id) + " is out of range");
    for (auto [id, score] : item.similar)
      if (id >= count) return input_error("recommender: item id " + std::to_string(id) + " is out of range");
  }
  return std::unique_ptr<Estimator>(std::make_unique<Recommender>(std::move(interface), std::move(params), count));
}

}  // namespace mlt
