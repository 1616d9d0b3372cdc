#include "lib/runtime/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "lib/runtime/records.h"

namespace mlt {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string without_cast(std::string name) {
  constexpr std::string_view kCast = "_cast_fp16";
  for (size_t at; (at = name.find(kCast)) != std::string::npos;) name.erase(at, kCast.size());
  return name;
}

bool is_narrow(DType dtype) { return is_float(dtype) && dtype != DType::kF32 && dtype != DType::kF64; }

// Numbers that stand for minus infinity in masks: each precision has its own, and a score may have been added. An
// overflow is none: its wider side is finite and beyond float16.
bool both_masked(double x, double y) {
  double low = std::min(x, y), high = std::max(x, y);
  return low <= -1e9 && (high <= -1e9 || (high <= -6e4 && high >= -65504));
}
bool same_number(double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)) || both_masked(x, y); }

// Adds the errors of b against a to the value's.
void measure(const std::vector<double>& a, const std::vector<double>& b, const CompareOptions& options, ComparedValue& value) {
  double peak = 0, worst = 0;
  int64_t outside = 0;
  bool given = options.rtol || options.atol;
  for (size_t i = 0; i < a.size(); ++i) {
    double x = a[i], y = b[i], size = std::abs(x);
    if (both_masked(x, y)) continue;
    if (std::isfinite(x)) peak = std::max(peak, size);
    double error = same_number(x, y) ? 0 : std::abs(x - y);
    if (std::isnan(error)) error = kInfinity;
    worst = std::max(worst, error);
    if (error > 0 && size > 0) value.max_rel = std::max(value.max_rel, error / size);
    value.squares += std::isfinite(error) ? error * error : 0;
    if (given && !(error <= options.atol.value_or(0) + options.rtol.value_or(0) * size)) ++outside;
  }
  if (!given) {
    bool numbers = is_float(value.dtype) || is_float(value.other_dtype);
    double share = is_narrow(value.dtype) || is_narrow(value.other_dtype) ? 1e-2 : 1e-3;
    double limit = numbers ? share * peak + 1e-6 : 0;
    if (!(worst <= limit))
      for (size_t i = 0; i < a.size(); ++i) outside += !same_number(a[i], b[i]) && !(std::abs(a[i] - b[i]) <= limit);
  }
  value.max_abs = std::max(value.max_abs, worst);
  value.peak = std::max(value.peak, peak);
  value.values += static_cast<int64_t>(a.size());
  value.outside += outside;
  value.agrees = value.outside == 0;
}

// The name and which of its occurrences in this run.
using Key = std::pair<std::string, int>;
struct KeyHash {
  size_t operator()(const Key& key) const { return std::hash<std::string>()(key.first) * 31 + static_cast<size_t>(key.second); }
};
using Counter = std::unordered_map<std::string, int>;

}  // namespace

double ComparedValue::psnr() const {
  if (squares == 0 && std::isfinite(max_abs)) return kInfinity;
  if (!std::isfinite(max_abs)) return -kInfinity;
  return 10 * std::log10(peak * peak * static_cast<double>(values) / squares);
}

const ComparedValue* Comparison::first_diverging() const {
  for (const ComparedValue& value : ops)
    if (!value.agrees) return &value;
  return nullptr;
}

bool Comparison::agree() const {
  if (first_diverging() != nullptr || !findings.empty()) return false;
  return std::all_of(outputs.begin(), outputs.end(), [](const ComparedValue& v) { return v.agrees; });
}

struct ModelComparer::Impl {
  CompareOptions options;
  std::unique_ptr<Predictor> first, second;
  std::string first_name, second_name;
  StateTensors first_state, second_state;
  Comparison result;

  // Results of the first model's ops in this record.
  struct Kept {
    Tensor tensor;
    size_t row = 0;
    bool matched = false;
  };
  std::vector<Kept> kept;
  std::unordered_map<Key, size_t, KeyHash> by_name, by_plain_name;
  // Rows of all values of the first model that were ever seen; those never matched are dropped at the end.
  std::vector<ComparedValue> rows;
  std::unordered_map<Key, size_t, KeyHash> row_of;
  std::vector<bool> row_matched, row_reshaped;
  size_t step = 0, values = 0;

  void keep(const StepInfo& info, const std::vector<const Tensor*>& outputs, Counter& names, Counter& plain_names) {
    ++step;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i]->valid() || outputs[i]->dtype() == DType::kString) continue;
      const std::string& name = info.output_names[i];
      Key key{name, names[name]++};
      auto [it, fresh] = row_of.try_emplace(key, rows.size());
      if (fresh) {
        ComparedValue& row = rows.emplace_back();
        row.name = name;
        row.op = info.op != nullptr ? std::string(info.op->name()) : info.name;
        row.kind = info.kind;
        row.position = step;
        row.dtype = info.output_types[i].is_tensor() ? info.output_types[i].dtype : outputs[i]->dtype();
        row_matched.push_back(false);
        row_reshaped.push_back(false);
      }
      std::string plain = without_cast(name);
      int nth = plain_names[plain]++;
      by_name.emplace(key, kept.size());
      by_plain_name.emplace(Key{std::move(plain), nth}, kept.size());
      kept.push_back({outputs[i]->clone(), it->second});
    }
    values = kept.size();
  }

  void match(const StepInfo& info, const std::vector<const Tensor*>& outputs, Counter& names, size_t* count) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i]->valid() || outputs[i]->dtype() == DType::kString) continue;
      ++*count;
      const std::string& name = info.output_names[i];
      int nth = names[name]++;
      std::string plain = without_cast(name);
      auto it = by_name.find({name, nth});
      if (it == by_name.end()) it = by_name.find({plain, nth});
      if (it == by_name.end() && (it = by_plain_name.find({plain, nth})) == by_plain_name.end()) continue;
      Kept& mine = kept[it->second];
      if (mine.matched) continue;
      mine.matched = true;
      if (mine.tensor.size() != outputs[i]->size()) {
        row_reshaped[mine.row] = true;
        continue;
      }
      ComparedValue& row = rows[mine.row];
      row_matched[mine.row] = true;
      row.other_name = name;
      row.other_kind = info.kind;
      row.other_dtype = info.output_types[i].is_tensor() ? info.output_types[i].dtype : outputs[i]->dtype();
      measure(to_doubles(mine.tensor), to_doubles(*outputs[i]), options, row);
    }
  }

  ComparedValue& output_row(const std::string& name) {
    for (ComparedValue& row : result.outputs)
      if (row.name == name) return row;
    ComparedValue& row = result.outputs.emplace_back();
    row.name = row.other_name = name;
    return row;
  }

  void compare_outputs(const FeatureMap& a, const FeatureMap& b);
};

void ModelComparer::Impl::compare_outputs(const FeatureMap& a, const FeatureMap& b) {
  auto find = [&](const std::string& text) {
    if (std::find(result.findings.begin(), result.findings.end(), text) == result.findings.end()) result.findings.push_back(text);
  };
  auto type_of = [](const FeatureValue& value) {
    const auto* tensor = std::get_if<Tensor>(&value);
    return tensor != nullptr ? tensor->dtype() : std::holds_alternative<int64_t>(value) ? DType::kI64 : DType::kF64;
  };
  std::string record = "record " + std::to_string(result.records) + ": ";
  for (const auto& [name, value] : a) {
    auto it = b.find(name);
    std::string place = "output \"" + name + "\"";
    if (it == b.end()) {
      find("only the first model has an " + place);
      continue;
    }
    auto dictionary = [](const FeatureValue& v) {
      std::map<std::string, double> out;
      if (const auto* s = std::get_if<StringDict>(&v)) out.insert(s->begin(), s->end());
      if (const auto* n = std::get_if<IntDict>(&v))
        for (const auto& [key, number] : *n) out[std::to_string(key)] = number;
      return out;
    };
    auto numbers = [&, &name = name](const FeatureMap& map) -> std::optional<std::vector<double>> {
      const FeatureValue& v = map.find(name)->second;
      if (std::holds_alternative<StringDict>(v) || std::holds_alternative<IntDict>(v)) {
        std::vector<double> out;
        for (const auto& [key, number] : dictionary(v)) out.push_back(number);
        return out;
      }
      if (const auto* image = std::get_if<Image>(&v)) return to_doubles(image->pixels);
      auto got = feature_numbers(map, name);
      return got ? std::optional(std::move(*got)) : std::nullopt;
    };
    auto keys_differ = [&, &value = value] {
      auto x = dictionary(value), y = dictionary(it->second);
      return !std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& p, const auto& q) { return p.first == q.first; });
    };
    auto x = numbers(a), y = numbers(b);
    if (!x || !y) {
      const auto* s = std::get_if<std::string>(&value);
      const auto* t = std::get_if<std::string>(&it->second);
      if (s != nullptr && t != nullptr && *s != *t) find(record + place + ": \"" + *s + "\" and \"" + *t + "\"");
      else if (value.index() != it->second.index()) find(place + ": " + feature_text(value) + " and " + feature_text(it->second));
      else if (s == nullptr && to_json(value) != to_json(it->second)) find(record + place + " differs");
      continue;
    }
    if (x->size() != y->size() || keys_differ()) {
      find(record + place + ": " + feature_text(value) + " and " + feature_text(it->second));
      continue;
    }
    ComparedValue& row = output_row(name);
    row.dtype = type_of(value);
    row.other_dtype = type_of(it->second);
    measure(*x, *y, options, row);
  }
  for (const auto& [name, value] : b)
    if (!a.contains(name)) find("only the second model has an output \"" + name + "\"");
}

ModelComparer::ModelComparer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelComparer::~ModelComparer() = default;

Result<std::unique_ptr<ModelComparer>> ModelComparer::create(const OpenedModel& first, const OpenedModel& second, PredictOptions predict, CompareOptions options) {
  predict.exec.keep_all = true;
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->first_name = first.origin;
  impl->second_name = second.origin;
  MLT_ASSIGN(impl->first, Predictor::create(first, predict));
  MLT_ASSIGN(impl->second, Predictor::create(second, predict));
  MLT_ASSIGN(impl->first_state, impl->first->initial_state());
  MLT_ASSIGN(impl->second_state, impl->second->initial_state());
  return std::unique_ptr<ModelComparer>(new ModelComparer(std::move(impl)));
}

Predictor& ModelComparer::first() { return *impl_->first; }

Status ModelComparer::add(const FeatureMap& record) {
  Impl& c = *impl_;
  c.kept.clear();
  c.by_name.clear();
  c.by_plain_name.clear();
  c.step = 0;
  Counter names, plain_names, other_names;
  size_t second_values = 0;
  c.first->set_observer([&](const StepInfo& info, const std::vector<const Tensor*>& outputs, double) { c.keep(info, outputs, names, plain_names); });
  auto a = c.first->predict(record, &c.first_state);
  c.first->set_observer({});
  if (!a) return std::move(a).error().in_path(c.first_name);
  c.second->set_observer([&](const StepInfo& info, const std::vector<const Tensor*>& outputs, double) { c.match(info, outputs, other_names, &second_values); });
  auto b = c.second->predict(record, &c.second_state);
  c.second->set_observer({});
  if (!b) return std::move(b).error().in_path(c.second_name);

  c.compare_outputs(*a, *b);
  ++c.result.records;
  c.result.first_values = std::max(c.result.first_values, c.kept.size());
  c.result.second_values = std::max(c.result.second_values, second_values);
  c.result.steps = std::max(c.result.steps, c.step);
  c.result.ops.clear();
  c.result.other_shapes = 0;
  for (size_t i = 0; i < c.rows.size(); ++i) {
    if (c.row_matched[i]) c.result.ops.push_back(c.rows[i]);
    c.result.other_shapes += c.row_reshaped[i];
  }
  return {};
}

const Comparison& ModelComparer::result() const { return impl_->result; }

}  // namespace mlt
