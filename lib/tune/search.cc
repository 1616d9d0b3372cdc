#include "lib/tune/search.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/compress/settings.h"
#include "lib/container/program.h"

namespace mlt::tune {
namespace {

constexpr size_t kProbed = 64, kProbeRecords = 16;
constexpr int kBisections = 7, kPoints = 5;

using compress::Config;
using compress::Recipe;
using compress::Rule;
using compress::Settings;

Result<std::vector<Recipe>> candidates(const OpenedModel& original, const Config& base, size_t* probe) {
  MLT_ASSIGN(auto programs, load_programs(original));
  bool program = false, newest = true;
  for (const auto& p : programs) {
    if (!p) continue;
    program = true;
    for (const auto& function : p->functions) {
      auto opset = ops::opset_from_token(function->opset);
      newest = newest && opset && (*opset >= ops::Opset::kCoreML8 || (base.target && *base.target >= ops::Opset::kCoreML8));
    }
  }
  std::vector<Settings> list;
  if (!program) {
    list = {{.palettize = "4"}, {.linear = "uint8", .mode = "asymmetric"}, {.palettize = "6"}, {.palettize = "5"}, {.palettize = "3"}, {.palettize = "2"}, {.palettize = "1"}, {.float16 = true}};
  } else {
    list = {{.palettize = "4"}, {.linear = "int8"}, {.palettize = "6"}, {.palettize = "2"}, {.palettize = "1"}, {.float16 = true}};
    if (newest) {
      for (const Settings& more : {Settings{.palettize = "3"}, Settings{.palettize = "4", .group = 16}, Settings{.palettize = "3", .group = 16}, Settings{.linear = "int4", .granularity = "block:32"}, Settings{.palettize = "4", .vector = 2}})
        list.push_back(more);
    }
  }
  *probe = 0;
  std::vector<Recipe> out;
  for (const Settings& settings : list) {
    MLT_ASSIGN(Recipe recipe, compress::make_recipe(settings));
    recipe.threshold = base.recipe.threshold;
    out.push_back(std::move(recipe));
  }
  return out;
}

struct Choice {
  size_t recipe = 0;
  uint64_t bytes = 0;
  double squared = 0;  // sum of squared differences
  double cost = 0;
};

struct Weight {
  std::string name;
  uint64_t bytes = 0;
  int64_t elements = 0;
  double sensitivity = 0;
  bool probed = false;
  std::vector<Choice> choices;  // by recipe, those that changed it
  std::vector<Choice> hull;     // from nothing down, each step the best for its bytes
};

std::string key_of(const compress::WeightReport& w) { return w.name; }

// The choices that a search by slopes can take: cheaper and cheaper bytes first.
void make_hull(Weight& w) {
  std::vector<Choice> left = w.choices;
  Choice at{.recipe = SIZE_MAX, .bytes = w.bytes, .squared = 0, .cost = 0};
  for (;;) {
    const Choice* best = nullptr;
    double slope = 0;
    for (const Choice& c : left) {
      if (c.bytes >= at.bytes) continue;
      double s = (c.cost - at.cost) / static_cast<double>(at.bytes - c.bytes);
      if (best == nullptr || s < slope || (s == slope && c.bytes < best->bytes)) {
        best = &c;
        slope = s;
      }
    }
    if (best == nullptr) return;
    at = *best;
    w.hull.push_back(at);
  }
}

struct Step {
  size_t weight = 0, rank = 0;
  uint64_t saved = 0;
  double cost = 0, slope = 0;
};

class Search {
 public:
  Search(const OpenedModel& original, const Reference* reference, const SearchOptions& options) : original_(original), reference_(reference), o_(options) {}

  Result<SearchResult> run() {
    MLT_TRY(measure_weights());
    MLT_TRY(measure_sensitivity());
    make_path();
    size_t at = 0;
    SearchResult out;
    if (o_.target_bytes) {
      while (at < path_.size() && sizes_[at] > *o_.target_bytes) ++at;
      for (;;) {
        MLT_ASSIGN(out.candidate, candidate(at));
        if (out.candidate.bytes <= *o_.target_bytes || at == path_.size()) break;
        // Records and names take some bytes, too.
        uint64_t over = out.candidate.bytes - *o_.target_bytes, goal = sizes_[at] > over ? sizes_[at] - over : 0;
        do ++at;
        while (at < path_.size() && sizes_[at] > goal);
      }
      if (out.candidate.bytes > *o_.target_bytes)
        out.refused = Error{Code::kNegative, fmt::format("the smallest that was found takes {} bytes, {} are allowed", out.candidate.bytes, *o_.target_bytes), {}, original_.model.kind() == coreml::ModelKind::kMlProgram ? "--target iOS18 allows more forms" : ""};
    } else {
      // The farthest step within the drop; errors grow along the path.
      size_t low = 0, high = path_.size();
      for (int i = 0; i < kBisections && low < high; ++i) {
        size_t middle = (low + high + 1) / 2;
        say(fmt::format("trying {} bytes", sizes_[middle]));
        MLT_ASSIGN(Candidate tried, candidate(middle));
        MLT_ASSIGN(Fidelity fidelity, reference_->compare(tried.model));
        note_point(middle, tried, fidelity);
        if (fidelity.drop <= *o_.max_drop) low = middle;
        else high = middle - 1;
      }
      at = low;
      MLT_ASSIGN(out.candidate, candidate(at));
    }
    if (reference_ != nullptr) {
      MLT_ASSIGN(out.fidelity, reference_->compare(out.candidate.model));
      if (o_.max_drop && out.fidelity->drop > *o_.max_drop && !out.refused)
        out.refused = Error{Code::kNegative, fmt::format("{} at {} bytes, {:.3g}% are allowed", drop_text(*out.fidelity), out.candidate.bytes, 100 * *o_.max_drop), {}, "--max-drop without --target-size finds the smallest that is good enough"};
    }
    note_point(at, out.candidate, out.fidelity, true);
    for (int i = 0; i <= kPoints; ++i) {
      size_t middle = path_.size() * static_cast<size_t>(i) / kPoints;
      if (points_.contains(middle)) continue;
      MLT_ASSIGN(Candidate tried, candidate(middle));
      std::optional<Fidelity> fidelity;
      if (reference_ != nullptr) { MLT_ASSIGN(fidelity, reference_->compare(tried.model)); }
      note_point(middle, tried, fidelity);
    }
    out.config = config_at(at);
    for (auto& [steps, point] : points_) out.points.push_back(std::move(point));
    std::map<std::string, const compress::WeightReport*> reported;
    for (const auto& w : out.candidate.report.weights) reported.emplace(key_of(w), &w);
    for (const Weight& w : weights_) {
      WeightChoice choice{w.name, "as it was", w.sensitivity, w.bytes};
      if (auto it = reported.find(w.name); it != reported.end() && it->second->changed) {
        choice.form = it->second->form;
        choice.bytes = it->second->bytes_after;
      }
      out.weights.push_back(std::move(choice));
    }
    return out;
  }

 private:
  void say(const std::string& text) const {
    if (o_.progress) o_.progress(text);
  }

  Config plain() const {
    Config config = o_.base;
    config.recipe = {};
    config.recipe.threshold = o_.base.recipe.threshold;
    return config;
  }

  Status measure_weights() {
    MLT_ASSIGN(recipes_, candidates(original_, o_.base, &probe_));
    MLT_ASSIGN(Candidate nothing, make_candidate(original_, plain()));
    base_bytes_ = nothing.bytes;
    std::map<std::string, size_t> index;
    for (size_t r = 0; r < recipes_.size(); ++r) {
      say("measuring weights: " + compress::describe(recipes_[r]));
      Config config = plain();
      config.recipe = recipes_[r];
      MLT_ASSIGN(compress::Report report, try_config(original_, config));
      for (const auto& w : report.weights) {
        if (!w.changed) continue;
        auto [it, fresh] = index.emplace(key_of(w), weights_.size());
        if (fresh) weights_.push_back({.name = w.name, .bytes = w.bytes_before, .elements = w.elements, .choices = {}, .hull = {}});
        Weight& weight = weights_[it->second];
        if (!weight.choices.empty() && weight.choices.back().recipe == r) {
          // The same name in another function or stage: they change together.
          weight.bytes += w.bytes_before;
          weight.choices.back().bytes += w.bytes_after;
          weight.choices.back().squared += w.distance.squared * static_cast<double>(w.elements);
          continue;
        }
        weight.choices.push_back({.recipe = r, .bytes = w.bytes_after, .squared = w.distance.squared * static_cast<double>(w.elements)});
      }
    }
    if (weights_.empty()) return unsupported_error("no weight could be made smaller");
    return {};
  }

  Status measure_sensitivity() {
    std::vector<size_t> order(weights_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return weights_[a].elements > weights_[b].elements; });
    double total = 0, squared = 0;
    for (size_t i = 0; i < order.size() && i < kProbed && reference_ != nullptr; ++i) {
      Weight& w = weights_[order[i]];
      auto probe = std::find_if(w.choices.begin(), w.choices.end(), [&](const Choice& c) { return c.recipe == probe_; });
      if (probe == w.choices.end() || probe->squared <= 0) continue;
      say("measuring sensitivity: " + w.name);
      Config config = plain();
      config.rules.push_back({.op_kind = "", .name = compress::Pattern::exactly(w.name), .recipe = recipes_[probe_]});
      MLT_ASSIGN(Candidate tried, make_candidate(original_, config));
      MLT_ASSIGN(Fidelity fidelity, reference_->compare(tried.model, kProbeRecords));
      double error = std::min(fidelity.error, 1e6);
      w.sensitivity = error * error;
      w.probed = true;
      total += w.sensitivity;
      squared += probe->squared;
    }
    for (Weight& w : weights_) {
      auto probe = std::find_if(w.choices.begin(), w.choices.end(), [&](const Choice& c) { return c.recipe == probe_; });
      // Where nothing could be measured, squared errors of weights still count.
      double mean = squared > 0 && total > 0 ? total / squared : 1;
      double unit = w.probed ? std::max(w.sensitivity / probe->squared, 1e-6 * mean) : mean;
      if (!w.probed && probe != w.choices.end()) w.sensitivity = unit * probe->squared;
      for (Choice& c : w.choices) c.cost = unit * c.squared;
      make_hull(w);
    }
    return {};
  }

  void make_path() {
    std::vector<size_t> ranks(weights_.size());
    uint64_t size = base_bytes_;
    double cost = 0;
    sizes_.push_back(size);
    costs_.push_back(0);
    for (;;) {
      std::optional<Step> best;
      for (size_t i = 0; i < weights_.size(); ++i) {
        const Weight& w = weights_[i];
        if (ranks[i] == w.hull.size()) continue;
        const Choice& next = w.hull[ranks[i]];
        uint64_t before = ranks[i] == 0 ? w.bytes : w.hull[ranks[i] - 1].bytes;
        double paid = ranks[i] == 0 ? 0 : w.hull[ranks[i] - 1].cost;
        Step step{i, ranks[i], before - next.bytes, next.cost - paid, 0};
        step.slope = step.cost / static_cast<double>(std::max<uint64_t>(1, step.saved));
        if (!best || step.slope < best->slope) best = step;
      }
      if (!best) return;
      ++ranks[best->weight];
      size -= std::min(size, best->saved);
      cost += best->cost;
      path_.push_back(*best);
      sizes_.push_back(size);
      costs_.push_back(cost);
    }
  }

  Config config_at(size_t steps) const {
    std::map<size_t, size_t> chosen;
    for (size_t i = 0; i < steps; ++i) chosen[path_[i].weight] = weights_[path_[i].weight].hull[path_[i].rank].recipe;
    Config config = plain();
    for (const auto& [weight, recipe] : chosen) config.rules.push_back({.op_kind = "", .name = compress::Pattern::exactly(weights_[weight].name), .recipe = recipes_[recipe]});
    return config;
  }

  Result<Candidate> candidate(size_t steps) const { return make_candidate(original_, config_at(steps)); }

  void note_point(size_t steps, const Candidate& tried, const std::optional<Fidelity>& fidelity, bool chosen = false) {
    ParetoPoint& point = points_[steps];
    point = {tried.bytes, costs_[steps], fidelity, chosen};
  }

  const OpenedModel& original_;
  const Reference* reference_;
  const SearchOptions& o_;
  std::vector<Recipe> recipes_;
  size_t probe_ = 0;
  uint64_t base_bytes_ = 0;
  std::vector<Weight> weights_;
  std::vector<Step> path_;
  std::vector<uint64_t> sizes_;
  std::vector<double> costs_;
  std::map<size_t, ParetoPoint> points_;
};

}  // namespace

Result<SearchResult> search(const OpenedModel& original, const Reference* reference, const SearchOptions& options) {
  if (!options.target_bytes && (reference == nullptr || !options.max_drop)) return usage_error("a search needs a size, or data and a drop");
  return Search(original, reference, options).run();
}

std::string to_json(const SearchResult& result, const SearchOptions& options) {
  using Json = nlohmann::ordered_json;
  auto number = [](double v) { return std::isfinite(v) ? Json(std::stod(fmt::format("{:.6g}", v))) : Json(nullptr); };
  Json root = Json::object();
  if (options.target_bytes) root["target_bytes"] = *options.target_bytes;
  if (options.max_drop) root["max_drop"] = number(*options.max_drop);
  Json points = Json::array();
  for (const ParetoPoint& p : result.points) {
    Json item = {{"bytes", p.bytes}, {"predicted_error", number(std::sqrt(p.predicted))}};
    if (p.measured) {
      item["relative_error"] = number(p.measured->error);
      item["drop"] = number(p.measured->drop);
    }
    item["chosen"] = p.chosen;
    points.push_back(std::move(item));
  }
  root["pareto"] = std::move(points);
  Json weights = Json::array();
  for (const WeightChoice& w : result.weights) weights.push_back({{"name", w.name}, {"form", w.form}, {"sensitivity", number(w.sensitivity)}, {"bytes", w.bytes}});
  root["choices"] = std::move(weights);
  if (result.refused) root["refused"] = result.refused->message;
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> to_text(const SearchResult& result) {
  std::vector<std::string> lines;
  for (const ParetoPoint& p : result.points) {
    std::string line = fmt::format("{:>12} bytes", p.bytes);
    if (p.measured) line += fmt::format("  error {:<9.3g} drop {:.3g}%", p.measured->error, 100 * p.measured->drop);
    lines.push_back(line + (p.chosen ? "  *" : ""));
  }
  return lines;
}

}  // namespace mlt::tune
