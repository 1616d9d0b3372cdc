#include "lib/runtime/present.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "lib/runtime/records.h"

namespace mlt {
namespace {

constexpr int64_t kShownElements = 16;
constexpr size_t kShownEntries = 10;

// Entries by falling value; NaN last.
template <typename Map>
auto sorted_entries(const Map& dict) {
  std::vector<std::pair<typename Map::key_type, double>> entries(dict.begin(), dict.end());
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    if (std::isnan(a.second) || std::isnan(b.second)) return !std::isnan(a.second) && std::isnan(b.second);
    return a.second > b.second;
  });
  return entries;
}

template <typename Map>
Map largest(const Map& dict, int k) {
  Map out;
  for (const auto& [key, value] : sorted_entries(dict)) {
    if (static_cast<int>(out.size()) == k) break;
    out[key] = value;
  }
  return out;
}

std::string short_number(double value) { return fmt::format("{:.6g}", value); }

std::string show_tensor(const Tensor& tensor) {
  if (tensor.size() == 1 && tensor.dtype() != DType::kString) return short_number(to_doubles(tensor)[0]);
  std::string text = fmt::format("{} {} [", dtype_name(tensor.dtype()), dims_text(tensor.dims()));
  int64_t shown = std::min(tensor.size(), kShownElements);
  if (tensor.dtype() == DType::kString) {
    for (int64_t i = 0; i < shown; ++i) text += (i ? ", " : "") + tensor.strings()[static_cast<size_t>(i)];
  } else {
    std::vector<double> values = to_doubles(tensor);
    for (int64_t i = 0; i < shown; ++i) text += (i ? ", " : "") + short_number(values[static_cast<size_t>(i)]);
  }
  return text + (shown < tensor.size() ? ", ...]" : "]");
}

template <typename Map>
std::string show_dict(const Map& dict) {
  std::string text;
  size_t shown = 0;
  for (const auto& [key, value] : sorted_entries(dict)) {
    if (shown++ == kShownEntries) break;
    text += fmt::format("\n  {:<8.6f}  {}", value, key);
  }
  if (dict.size() > kShownEntries) text += fmt::format("\n  ... {} more", dict.size() - kShownEntries);
  return text;
}

}  // namespace

FeatureMap top_k(const FeatureMap& record, int k) {
  FeatureMap out;
  for (const auto& [name, value] : record) {
    if (const auto* strings = std::get_if<StringDict>(&value)) {
      out[name] = largest(*strings, k);
    } else if (const auto* ints = std::get_if<IntDict>(&value)) {
      out[name] = largest(*ints, k);
    } else if (const auto* tensor = std::get_if<Tensor>(&value);
               tensor != nullptr && is_float(tensor->dtype()) && tensor->size() > 1 &&
               std::count_if(tensor->dims().begin(), tensor->dims().end(), [](int64_t d) { return d != 1; }) == 1) {
      IntDict dict;
      std::vector<double> values = to_doubles(*tensor);
      for (size_t i = 0; i < values.size(); ++i) dict[static_cast<int64_t>(i)] = values[i];
      out[name] = largest(dict, k);
    } else {
      out[name] = value;
    }
  }
  return out;
}

std::string present(const FeatureMap& record, const std::vector<coreml::FeatureDescription>& features) {
  std::vector<std::string> order;
  for (const auto& feature : features)
    if (record.contains(feature.name)) order.push_back(feature.name);
  for (const auto& [name, value] : record)
    if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
  std::string text;
  for (const std::string& name : order) {
    const FeatureValue& value = record.find(name)->second;
    text += name + ":";
    if (const auto* tensor = std::get_if<Tensor>(&value)) {
      text += " " + show_tensor(*tensor);
    } else if (const auto* strings = std::get_if<StringDict>(&value)) {
      text += show_dict(*strings);
    } else if (const auto* ints = std::get_if<IntDict>(&value)) {
      text += show_dict(*ints);
    } else if (const auto* string = std::get_if<std::string>(&value)) {
      text += " " + *string;
    } else if (const auto* number = std::get_if<double>(&value)) {
      text += " " + short_number(*number);
    } else if (std::holds_alternative<Image>(value)) {
      text += " " + feature_text(value);
    } else {
      text += " " + to_json(value);
    }
    text += "\n";
  }
  return text;
}

}  // namespace mlt
