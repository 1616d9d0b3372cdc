#include "lib/estimators/estimator.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/threads.h"

namespace mlt {

std::vector<Result<FeatureMap>> Estimator::predict_many(std::span<const FeatureMap> records) const {
  std::vector<Result<FeatureMap>> results(records.size(), FeatureMap());
  parallel_for(static_cast<int64_t>(records.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) results[static_cast<size_t>(i)] = predict(records[static_cast<size_t>(i)]);
  });
  return results;
}

bool Estimator::takes_rows(int64_t) const { return false; }
Result<FeatureBatch> Estimator::predict_rows(const Rows&) const { return unsupported_error("this model predicts record by record"); }

const Port* Interface::output(std::string_view name) const {
  for (const Port& port : outputs)
    if (port.name == name) return &port;
  return nullptr;
}

FeatureValue Labels::at(size_t i) const {
  if (integers) return ints[i];
  return strings[i];
}

int Labels::compare(size_t i, size_t j) const {
  if (integers) return ints[i] < ints[j] ? -1 : ints[i] > ints[j];
  return strings[i].compare(strings[j]);
}

Result<std::vector<double>> gather_numbers(const Interface& interface, const FeatureMap& features, int64_t width) {
  std::vector<double> row;
  for (const Port& port : interface.inputs) {
    auto it = features.find(port.name);
    if (it == features.end() || std::holds_alternative<std::monostate>(it->second)) {
      if (!port.optional) return input_error("feature \"" + port.name + "\" is missing");
      row.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    if (const auto* sparse = std::get_if<IntDict>(&it->second)) {
      size_t base = row.size();
      row.resize(base + static_cast<size_t>(std::max<int64_t>(width, 0)), 0.0);
      for (auto [key, value] : *sparse) {
        if (key < 0 || key >= width)
          return input_error("feature \"" + port.name + "\": key " + std::to_string(key) + " is out of range 0.." + std::to_string(width - 1));
        row[base + static_cast<size_t>(key)] = value;
      }
      continue;
    }
    MLT_ASSIGN(std::vector<double> values, feature_numbers(features, port.name));
    row.insert(row.end(), values.begin(), values.end());
  }
  if (static_cast<int64_t>(row.size()) < width)
    return input_error("expected " + std::to_string(width) + " input values, got " + std::to_string(row.size()));
  return row;
}

namespace {

struct ClassifierNames {
  std::string label, probability;
};

ClassifierNames classifier_names(const Interface& interface) {
  auto is_label = [](const Port& p) { return p.type == PortType::kInt || p.type == PortType::kString; };
  auto is_dict = [](const Port& p) { return p.type == PortType::kIntDict || p.type == PortType::kStringDict; };
  ClassifierNames names{interface.predicted_feature, interface.predicted_probabilities};
  if (names.label.empty())
    if (auto it = std::find_if(interface.outputs.begin(), interface.outputs.end(), is_label); it != interface.outputs.end()) names.label = it->name;
  if (names.probability.empty())
    if (auto it = std::find_if(interface.outputs.begin(), interface.outputs.end(), is_dict); it != interface.outputs.end()) names.probability = it->name;
  return names;
}

const Port* regressor_port(const Interface& interface) {
  const Port* port = interface.predicted_feature.empty() ? nullptr : interface.output(interface.predicted_feature);
  return port == nullptr && !interface.outputs.empty() ? &interface.outputs[0] : port;
}

Dims shape_of(const Port& port, int64_t width) {
  auto count = element_count(port.shape);
  return !port.shape.empty() && count.ok() && *count == width ? port.shape : Dims{width};
}

}  // namespace

Result<FeatureMap> classifier_outputs(const Interface& interface, const Labels& labels, size_t best, std::span<const double> probabilities) {
  FeatureMap out;
  auto [label_name, probability_name] = classifier_names(interface);
  if (!label_name.empty()) {
    FeatureValue label = labels.at(best);
    if (const Port* port = interface.output(label_name)) {
      MLT_ASSIGN(label, adapt(*port, label));
    }
    out[label_name] = std::move(label);
  }
  if (!probability_name.empty()) {
    if (probabilities.size() != labels.size()) return unsupported_error("the model declares class probabilities, but holds nothing to compute them from");
    if (labels.integers) {
      IntDict dict;
      for (size_t i = 0; i < labels.size(); ++i) dict[labels.ints[i]] = probabilities[i];
      out[probability_name] = std::move(dict);
    } else {
      StringDict dict;
      for (size_t i = 0; i < labels.size(); ++i) dict[labels.strings[i]] = probabilities[i];
      out[probability_name] = std::move(dict);
    }
  }
  return out;
}

Result<FeatureMap> regressor_outputs(const Interface& interface, std::span<const double> values) {
  const Port* port = regressor_port(interface);
  if (port == nullptr) return input_error("the model declares no output");
  FeatureMap out;
  MLT_ASSIGN(out[port->name], shaped_numbers(*port, values));
  return out;
}

std::optional<FeatureBatch> classifier_columns(const Interface& interface, const Labels& labels) {
  auto [label_name, probability_name] = classifier_names(interface);
  if (label_name == probability_name || labels.size() > (uint64_t{1} << 31)) return std::nullopt;
  auto shared = std::make_shared<const Labels>(labels);
  FeatureBatch batch;
  if (!label_name.empty()) {
    const Port* port = interface.output(label_name);
    if (port != nullptr && port->type != (labels.integers ? PortType::kInt : PortType::kString)) return std::nullopt;
    FeatureBatch::Column column;
    column.name = label_name;
    column.kind = FeatureBatch::Kind::kLabel;
    column.labels = shared;
    batch.columns.push_back(std::move(column));
  }
  if (!probability_name.empty()) {
    FeatureBatch::Column column;
    column.name = probability_name;
    column.kind = FeatureBatch::Kind::kDict;
    column.labels = shared;
    column.width = static_cast<int64_t>(labels.size());
    for (size_t i = 0; i < labels.size(); ++i) column.order.push_back(i);
    std::stable_sort(column.order.begin(), column.order.end(), [&](size_t a, size_t b) { return labels.compare(a, b) < 0; });
    for (size_t i = 1; i < column.order.size(); ++i)
      if (labels.compare(column.order[i - 1], column.order[i]) == 0) return std::nullopt;
    batch.columns.push_back(std::move(column));
  }
  std::sort(batch.columns.begin(), batch.columns.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return batch;
}

std::optional<FeatureBatch> regressor_columns(const Interface& interface, size_t width) {
  const Port* port = regressor_port(interface);
  if (port == nullptr || !(port->type == PortType::kArray || (port->type == PortType::kDouble && width == 1))) return std::nullopt;
  FeatureBatch::Column column;
  column.name = port->name;
  column.width = static_cast<int64_t>(width);
  if (port->type == PortType::kArray) {
    column.kind = FeatureBatch::Kind::kArray;
    column.dtype = port->dtype;
    column.shape = shape_of(*port, column.width);
  }
  FeatureBatch batch;
  batch.columns.push_back(std::move(column));
  return batch;
}

void make_room(FeatureBatch& batch, int64_t count) {
  batch.count = count;
  for (FeatureBatch::Column& column : batch.columns) {
    if (column.kind == FeatureBatch::Kind::kLabel) column.indices.resize(static_cast<size_t>(count));
    else column.values.resize(static_cast<size_t>(count * column.width));
  }
}

void set_classifier_row(FeatureBatch& batch, int64_t i, size_t best, std::span<const double> probabilities) {
  for (FeatureBatch::Column& column : batch.columns) {
    if (column.kind == FeatureBatch::Kind::kLabel) {
      column.indices[static_cast<size_t>(i)] = static_cast<uint32_t>(best);
    } else {
      double* out = column.values.data() + i * column.width;
      for (size_t k = 0; k < column.order.size(); ++k) out[k] = probabilities[column.order[k]];
    }
  }
}

void set_regressor_row(FeatureBatch& batch, int64_t i, std::span<const double> values) {
  std::copy(values.begin(), values.end(), batch.columns[0].values.begin() + i * batch.columns[0].width);
}

Result<FeatureValue> shaped_numbers(const Port& port, std::span<const double> values) {
  auto wrong = [&](const char* what) {
    return input_error("output \"" + port.name + "\" is declared as " + what + ", but the model gives " + std::to_string(values.size()) + " value(s)");
  };
  switch (port.type) {
    case PortType::kDouble:
      if (values.size() != 1) return wrong("a double");
      return FeatureValue(values[0]);
    case PortType::kInt: {
      if (values.size() != 1) return wrong("an int64");
      if (!(std::abs(values[0]) < 9.2e18)) return input_error("output \"" + port.name + "\": " + std::to_string(values[0]) + " is no int64");
      return FeatureValue(static_cast<int64_t>(std::llround(values[0])));
    }
    case PortType::kArray: {
      return FeatureValue(convert(Tensor::from<double>(shape_of(port, static_cast<int64_t>(values.size())), values), port.dtype));
    }
    case PortType::kIntDict: {
      IntDict dict;
      for (size_t i = 0; i < values.size(); ++i)
        if (values[i] != 0.0) dict[static_cast<int64_t>(i)] = values[i];
      return FeatureValue(std::move(dict));
    }
    default: return wrong("no number");
  }
}

Result<FeatureValue> adapt(const Port& port, const FeatureValue& value) {
  if (const auto* i = std::get_if<int64_t>(&value)) {
    if (port.type == PortType::kDouble) return FeatureValue(static_cast<double>(*i));
    if (port.type == PortType::kArray) return shaped_numbers(port, std::vector<double>{static_cast<double>(*i)});
    if (port.type == PortType::kString) return FeatureValue(std::to_string(*i));
  } else if (const auto* d = std::get_if<double>(&value)) {
    if (port.type == PortType::kInt && *d == std::floor(*d) && std::abs(*d) < 9.2e18) return FeatureValue(static_cast<int64_t>(*d));
    if (port.type == PortType::kArray) return shaped_numbers(port, std::vector<double>{*d});
  } else if (const auto* t = std::get_if<Tensor>(&value); t != nullptr && t->valid() && t->dtype() != DType::kString) {
    if ((port.type == PortType::kDouble || port.type == PortType::kInt) && t->size() == 1) {
      double number = to_doubles(*t)[0];
      if (port.type == PortType::kDouble) return FeatureValue(number);
      if (number == std::floor(number) && std::abs(number) < 9.2e18) return FeatureValue(static_cast<int64_t>(number));
    }
    if (port.type == PortType::kArray && t->dtype() != port.dtype) return FeatureValue(convert(*t, port.dtype));
  }
  return value;
}

size_t arg_max(std::span<const double> values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i)
    if (values[i] > values[best]) best = i;
  return best;
}

double logistic(double x) { return x >= 0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x)); }

double normal_cdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }

void softmax_in_place(std::span<double> values) {
  if (values.empty()) return;
  double top = *std::max_element(values.begin(), values.end()), sum = 0;
  for (double& v : values) sum += v = std::exp(v - top);
  for (double& v : values) v /= sum;
}

}  // namespace mlt
