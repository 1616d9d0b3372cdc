#include "lib/tune/fidelity.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "lib/runtime/compare.h"

namespace mlt::tune {
namespace {

constexpr size_t kLayerRecords = 8;

struct Sums {
  int64_t values = 0;
  double max_abs = 0, squares = 0, reference = 0, peak = 0;
  int64_t same = 0, compared = 0;
};

std::vector<double> numbers_of(const FeatureValue& value) {
  if (const auto* tensor = std::get_if<Tensor>(&value)) return to_doubles(*tensor);
  if (const auto* image = std::get_if<Image>(&value)) return to_doubles(image->pixels);
  if (const auto* number = std::get_if<double>(&value)) return {*number};
  if (const auto* whole = std::get_if<int64_t>(&value)) return {static_cast<double>(*whole)};
  std::vector<double> out;
  if (const auto* dict = std::get_if<StringDict>(&value))
    for (const auto& [key, number] : *dict) out.push_back(number);
  if (const auto* dict = std::get_if<IntDict>(&value))
    for (const auto& [key, number] : *dict) out.push_back(number);
  if (const auto* list = std::get_if<IntList>(&value))
    for (int64_t number : *list) out.push_back(static_cast<double>(number));
  return out;
}

bool same_keys(const FeatureValue& a, const FeatureValue& b) {
  auto equal = [](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& p, const auto& q) { return p.first == q.first; }); };
  if (const auto* x = std::get_if<StringDict>(&a)) return equal(*x, std::get<StringDict>(b));
  if (const auto* x = std::get_if<IntDict>(&a)) return equal(*x, std::get<IntDict>(b));
  return true;
}

// A short row of scores, whose largest says something.
bool is_scores(const FeatureValue& value) {
  const auto* tensor = std::get_if<Tensor>(&value);
  return tensor != nullptr && is_float(tensor->dtype()) && !tensor->dims().empty() && tensor->dims().back() == tensor->size() && tensor->size() > 1;
}

Status add(const FeatureValue& before, const FeatureValue& after, bool label, Sums* sums) {
  if (before.index() != after.index()) return input_error(fmt::format("is {} in one model and {} in the other", feature_text(before), feature_text(after)));
  if (label || std::holds_alternative<std::string>(before) || std::holds_alternative<StringList>(before)) {
    bool same = std::holds_alternative<std::string>(before) ? std::get<std::string>(before) == std::get<std::string>(after)
                : std::holds_alternative<StringList>(before) ? std::get<StringList>(before) == std::get<StringList>(after)
                                                             : numbers_of(before) == numbers_of(after);
    ++sums->values;
    ++sums->compared;
    sums->same += same ? 1 : 0;
    return {};
  }
  std::vector<double> a = numbers_of(before), b = numbers_of(after);
  if (a.size() != b.size() || !same_keys(before, after)) return input_error(fmt::format("has {} numbers in one model and {} in the other", a.size(), b.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    ++sums->values;
    if (std::isfinite(a[i]) != std::isfinite(b[i])) sums->max_abs = sums->squares = std::numeric_limits<double>::infinity();
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) continue;
    double d = std::abs(a[i] - b[i]);
    sums->max_abs = std::max(sums->max_abs, d);
    sums->squares += d * d;
    sums->reference += a[i] * a[i];
    sums->peak = std::max(sums->peak, std::abs(a[i]));
  }
  if (is_scores(before)) {
    ++sums->compared;
    sums->same += std::max_element(a.begin(), a.end()) - a.begin() == std::max_element(b.begin(), b.end()) - b.begin() ? 1 : 0;
  }
  return {};
}

bool labels_equal(const FeatureValue& answer, const FeatureValue& expected) {
  if (const auto* text = std::get_if<std::string>(&answer)) {
    const auto* wanted = std::get_if<std::string>(&expected);
    return wanted != nullptr && *wanted == *text;
  }
  return numbers_of(answer) == numbers_of(expected) && !numbers_of(answer).empty();
}

double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  double unit = std::pow(10.0, 5 - std::floor(std::log10(std::abs(value))));
  return std::isfinite(unit) ? std::round(value * unit) / unit : value;
}

}  // namespace

Result<Reference> Reference::create(const OpenedModel& original, std::vector<FeatureMap> records) {
  Reference out;
  MLT_ASSIGN(auto predictor, Predictor::create(original));
  out.label_ = predictor->description().predicted_feature_name;
  for (size_t i = 0; i < records.size(); ++i) {
    std::optional<FeatureValue> expected;
    if (auto it = out.label_.empty() ? records[i].end() : records[i].find(out.label_); it != records[i].end()) {
      if (!std::holds_alternative<std::monostate>(it->second)) expected = it->second;
      records[i].erase(it);
    }
    MLT_ASSIGN(StateTensors state, predictor->initial_state());
    MLT_ASSIGN(FeatureMap answer, predictor->predict(records[i], state.empty() ? nullptr : &state).in(fmt::format("record {}", i)));
    out.answers_.push_back(std::move(answer));
    out.expected_.push_back(std::move(expected));
  }
  out.records_ = std::move(records);
  return out;
}

Result<Fidelity> Reference::compare(const OpenedModel& candidate, size_t limit) const {
  MLT_ASSIGN(auto predictor, Predictor::create(candidate));
  size_t count = limit == 0 ? records_.size() : std::min(limit, records_.size());
  std::map<std::string, Sums> sums;
  Fidelity out;
  int64_t known = 0, before = 0, after = 0;
  for (size_t i = 0; i < count; ++i) {
    MLT_ASSIGN(StateTensors state, predictor->initial_state());
    MLT_ASSIGN(FeatureMap answer, predictor->predict(records_[i], state.empty() ? nullptr : &state).in(fmt::format("record {}", i)));
    for (const auto& [name, value] : answers_[i]) {
      auto it = answer.find(name);
      if (it == answer.end()) return input_error("the compressed model does not give output \"" + name + "\"");
      MLT_TRY(add(value, it->second, name == label_, &sums[name]).in("output \"" + name + "\""));
    }
    if (!expected_[i] || label_.empty()) continue;
    ++known;
    if (auto it = answers_[i].find(label_); it != answers_[i].end()) before += labels_equal(it->second, *expected_[i]) ? 1 : 0;
    if (auto it = answer.find(label_); it != answer.end()) after += labels_equal(it->second, *expected_[i]) ? 1 : 0;
  }
  out.records = static_cast<int64_t>(count);
  for (const auto& [name, s] : sums) {
    OutputFidelity o;
    o.name = name;
    o.label = name == label_ || (s.compared == s.values && s.peak == 0 && s.reference == 0 && s.compared > 0 && s.squares == 0);
    o.values = s.values;
    o.same = s.same;
    o.compared = s.compared;
    o.max_abs = s.max_abs;
    if (name != label_) {
      o.relative = s.squares == 0 ? 0 : s.reference > 0 ? std::sqrt(s.squares / s.reference) : std::numeric_limits<double>::infinity();
      if (s.squares > 0) o.psnr = 10 * std::log10(s.peak * s.peak / (s.squares / static_cast<double>(s.values)));
      out.error = std::max(out.error, o.relative);
    }
    out.outputs.push_back(std::move(o));
  }
  auto label = std::find_if(out.outputs.begin(), out.outputs.end(), [&](const OutputFidelity& o) { return !label_.empty() && o.name == label_; });
  if (known > 0) {
    out.right_before = before;
    out.right_after = after;
    out.drop = static_cast<double>(before - after) / static_cast<double>(known);
    out.drop_of = "accuracy";
  } else if (label != out.outputs.end()) {
    out.drop = 1 - static_cast<double>(label->same) / static_cast<double>(std::max<int64_t>(1, label->compared));
    out.drop_of = "label agreement";
  } else {
    out.drop = out.error;
    out.drop_of = "relative error";
  }
  return out;
}

Result<std::vector<LayerFidelity>> Reference::worst_layers(const OpenedModel& original, const OpenedModel& candidate, size_t count) const {
  MLT_ASSIGN(auto comparer, ModelComparer::create(original, candidate, {}));
  for (size_t i = 0; i < std::min(kLayerRecords, records_.size()); ++i) MLT_TRY(comparer->add(records_[i]).in(fmt::format("record {}", i)));
  std::vector<LayerFidelity> all;
  for (const ComparedValue& value : comparer->result().ops) {
    if (value.squares <= 0 || value.values == 0) continue;
    LayerFidelity layer;
    layer.name = value.name;
    layer.kind = value.kind;
    double rms = std::sqrt(value.squares / static_cast<double>(value.values));
    layer.relative = value.peak > 0 ? rms / value.peak : std::numeric_limits<double>::infinity();
    layer.psnr = value.psnr();
    all.push_back(std::move(layer));
  }
  std::stable_sort(all.begin(), all.end(), [](const LayerFidelity& a, const LayerFidelity& b) { return a.relative > b.relative; });
  if (all.size() > count) all.resize(count);
  return all;
}

std::string to_json(const Fidelity& f) {
  using Json = nlohmann::ordered_json;
  auto number = [](double v) { return std::isfinite(v) ? Json(rounded(v)) : Json(nullptr); };
  auto decibels = [](const std::optional<double>& v) { return v && std::isfinite(*v) ? Json(std::round(*v * 100) / 100) : Json(nullptr); };
  Json root = {{"records", f.records}, {"drop", number(f.drop)}, {"drop_of", f.drop_of}};
  if (f.right_before) root["right"] = {{"before", *f.right_before}, {"after", *f.right_after}};
  Json outputs = Json::array();
  for (const OutputFidelity& o : f.outputs) {
    Json item = {{"name", o.name}, {"values", o.values}};
    if (!o.label) {
      item["max_error"] = number(o.max_abs);
      item["relative_error"] = number(o.relative);
      item["psnr_db"] = decibels(o.psnr);
    }
    if (o.compared > 0) item["agreement"] = number(static_cast<double>(o.same) / static_cast<double>(o.compared));
    outputs.push_back(std::move(item));
  }
  root["outputs"] = std::move(outputs);
  Json worst = Json::array();
  for (const LayerFidelity& layer : f.worst) worst.push_back({{"name", layer.name}, {"kind", layer.kind}, {"relative_error", number(layer.relative)}, {"psnr_db", decibels(layer.psnr)}});
  root["worst_layers"] = std::move(worst);
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string drop_text(const Fidelity& f) {
  return fmt::format("{} {} {:.3g}%", f.drop_of, f.drop_of == "relative error" ? "is" : "drops by", 100 * f.drop);
}

std::vector<std::string> to_text(const Fidelity& f) {
  std::vector<std::string> lines;
  for (const OutputFidelity& o : f.outputs) {
    std::string line = fmt::format("output {}:", o.name);
    if (!o.label) line += fmt::format(" largest error {:.3g}, relative error {:.3g}{}", o.max_abs, o.relative, o.psnr ? fmt::format(", {:.1f} dB", *o.psnr) : "");
    if (o.compared > 0) line += fmt::format("{} {} of {} {}", o.label ? "" : ",", o.same, o.compared, o.label ? "labels agree" : "have their largest at the same place");
    lines.push_back(std::move(line));
  }
  for (const LayerFidelity& layer : f.worst) lines.push_back(fmt::format("layer {} ({}): error {:.3g} of the largest{}", layer.name, layer.kind, layer.relative, layer.psnr ? fmt::format(", {:.1f} dB", *layer.psnr) : ""));
  if (f.right_before) lines.push_back(fmt::format("right labels: {} of {} before, {} after", *f.right_before, f.records, *f.right_after));
  lines.push_back(drop_text(f));
  return lines;
}

}  // namespace mlt::tune
