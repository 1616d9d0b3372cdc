#include "lib/estimators/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

namespace mlt {
namespace {

constexpr uint64_t kMaxVector = uint64_t{1} << 26;

// Most of these have one input and one output; `F` does the work.
template <typename F>
class OneToOne : public Estimator {
 public:
  OneToOne(Interface interface, F f) : interface_(std::move(interface)), f_(std::move(f)) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    const Port& in = interface_.inputs[0];
    const Port& out = interface_.outputs[0];
    auto it = inputs.find(in.name);
    static const FeatureValue kNothing;
    const FeatureValue& value = it == inputs.end() ? kNothing : it->second;
    if (std::holds_alternative<std::monostate>(value) && !in.optional) return input_error("feature \"" + in.name + "\" is missing");
    FeatureMap result;
    MLT_ASSIGN(result[out.name], f_(in, out, value));
    return result;
  }

 private:
  Interface interface_;
  F f_;
};

template <typename F>
Result<std::unique_ptr<Estimator>> one_to_one(Interface interface, const char* what, F f) {
  if (interface.inputs.empty() || interface.outputs.empty()) return input_error(std::string(what) + ": needs an input and an output");
  return std::unique_ptr<Estimator>(std::make_unique<OneToOne<F>>(std::move(interface), std::move(f)));
}

Result<std::vector<double>> numbers(const Port& port, const FeatureValue& value) {
  FeatureMap one{{port.name, value}};
  return feature_numbers(one, port.name);
}

Error wrong_type(const Port& port, const char* wanted, const FeatureValue& value) {
  return input_error("feature \"" + port.name + "\": expected " + wanted + ", got " + feature_text(value));
}

// Transformed numbers in the shape they had when the output is an array.
Result<FeatureValue> like_input(const Port& out, const FeatureValue& in, const std::vector<double>& values) {
  if (const auto* tensor = std::get_if<Tensor>(&in); tensor != nullptr && out.type == PortType::kArray) {
    auto declared = element_count(out.shape);
    if (out.shape.empty() || !declared.ok() || *declared != tensor->size())
      return FeatureValue(convert(Tensor::from<double>(tensor->dims(), values), out.dtype));
  }
  return shaped_numbers(out, values);
}

class Vectorizer : public Estimator {
 public:
  Vectorizer(Interface interface, std::vector<VectorizerColumn> columns, uint64_t total)
      : interface_(std::move(interface)), columns_(std::move(columns)), total_(total) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    std::vector<double> row;
    row.reserve(total_);
    for (const VectorizerColumn& column : columns_) {
      MLT_ASSIGN(const FeatureValue* value, require_feature(inputs, column.input));
      if (const auto* dict = std::get_if<IntDict>(value)) {
        size_t base = row.size();
        row.resize(base + column.dimensions, 0.0);
        for (auto [key, number] : *dict) {
          if (key < 0 || static_cast<uint64_t>(key) >= column.dimensions)
            return input_error("feature \"" + column.input + "\": key " + std::to_string(key) + " is out of range 0.." + std::to_string(column.dimensions));
          row[base + static_cast<size_t>(key)] = number;
        }
        continue;
      }
      MLT_ASSIGN(std::vector<double> values, feature_numbers(inputs, column.input));
      if (values.size() != column.dimensions)
        return input_error("feature \"" + column.input + "\": expected " + std::to_string(column.dimensions) + " values, got " + std::to_string(values.size()));
      row.insert(row.end(), values.begin(), values.end());
    }
    FeatureMap out;
    MLT_ASSIGN(out[interface_.outputs[0].name], shaped_numbers(interface_.outputs[0], row));
    return out;
  }

 private:
  Interface interface_;
  std::vector<VectorizerColumn> columns_;
  uint64_t total_;
};

class Identity : public Estimator {
 public:
  explicit Identity(Interface interface) : interface_(std::move(interface)) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    FeatureMap out;
    for (size_t i = 0; i < interface_.outputs.size(); ++i) {
      const Port& port = interface_.outputs[i];
      auto it = inputs.find(port.name);
      if (it == inputs.end() && interface_.inputs.size() == interface_.outputs.size()) it = inputs.find(interface_.inputs[i].name);
      if (it == inputs.end()) return input_error("feature \"" + port.name + "\" is missing");
      MLT_ASSIGN(out[port.name], adapt(port, it->second));
    }
    return out;
  }

 private:
  Interface interface_;
};

bool is_missing(const ImputerParams& params, const FeatureValue& value) {
  if (std::holds_alternative<std::monostate>(value)) return true;
  const auto* d = std::get_if<double>(&value);
  if (!params.missing) return d != nullptr && std::isnan(*d);
  if (const auto* wanted = std::get_if<double>(&*params.missing)) {
    if (d != nullptr) return *d == *wanted || (std::isnan(*d) && std::isnan(*wanted));
    const auto* i = std::get_if<int64_t>(&value);
    return i != nullptr && static_cast<double>(*i) == *wanted;
  }
  if (const auto* wanted = std::get_if<int64_t>(&*params.missing)) {
    const auto* i = std::get_if<int64_t>(&value);
    return (i != nullptr && *i == *wanted) || (d != nullptr && *d == static_cast<double>(*wanted));
  }
  return value.index() == params.missing->index() && std::get<std::string>(value) == std::get<std::string>(*params.missing);
}

template <typename Dict>
Result<FeatureValue> impute_dict(const ImputerParams& params, const Port& port, const FeatureValue& value) {
  const auto* defaults = std::get_if<Dict>(&params.imputed);
  const auto* given = std::get_if<Dict>(&value);
  if (defaults == nullptr || (given == nullptr && !std::holds_alternative<std::monostate>(value)))
    return wrong_type(port, "a dictionary that fits the imputed value", value);
  if (given == nullptr) return FeatureValue(*defaults);
  Dict out = *given;
  for (auto& [key, number] : out)
    if (is_missing(params, FeatureValue(number)))
      if (auto it = defaults->find(key); it != defaults->end()) number = it->second;
  return FeatureValue(std::move(out));
}

}  // namespace

Result<std::unique_ptr<Estimator>> make_feature_vectorizer(Interface interface, std::vector<VectorizerColumn> columns) {
  if (interface.outputs.empty()) return input_error("feature vectorizer: no output");
  uint64_t total = 0;
  for (const VectorizerColumn& column : columns)
    if (column.dimensions > kMaxVector || (total += column.dimensions) > kMaxVector) return input_error("feature vectorizer: too many dimensions");
  return std::unique_ptr<Estimator>(std::make_unique<Vectorizer>(std::move(interface), std::move(columns), total));
}

Result<std::unique_ptr<Estimator>> make_one_hot_encoder(Interface interface, Labels categories, bool sparse, bool ignore_unknown) {
  auto encode = [categories = std::move(categories), sparse, ignore_unknown](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    size_t count = categories.size(), at = count;
    if (categories.integers) {
      int64_t wanted = 0;
      if (const auto* i = std::get_if<int64_t>(&value)) {
        wanted = *i;
      } else {
        MLT_ASSIGN(std::vector<double> number, numbers(in, value));
        if (number.size() != 1 || number[0] != std::floor(number[0]) || std::abs(number[0]) > 9e18) return wrong_type(in, "an int64", value);
        wanted = static_cast<int64_t>(number[0]);
      }
      at = static_cast<size_t>(std::find(categories.ints.begin(), categories.ints.end(), wanted) - categories.ints.begin());
    } else {
      const auto* text = std::get_if<std::string>(&value);
      if (text == nullptr) return wrong_type(in, "a string", value);
      at = static_cast<size_t>(std::find(categories.strings.begin(), categories.strings.end(), *text) - categories.strings.begin());
    }
    if (at == count && !ignore_unknown) return input_error("feature \"" + in.name + "\": a category that the encoder does not know");
    if (sparse || out.type == PortType::kIntDict) {
      IntDict dict;
      if (at < count) dict[static_cast<int64_t>(at)] = 1.0;
      return FeatureValue(std::move(dict));
    }
    std::vector<double> row(count, 0.0);
    if (at < count) row[at] = 1.0;
    return shaped_numbers(out, row);
  };
  return one_to_one(std::move(interface), "one-hot encoder", std::move(encode));
}

Result<std::unique_ptr<Estimator>> make_imputer(Interface interface, ImputerParams params) {
  auto impute = [params = std::move(params)](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    if (std::holds_alternative<StringDict>(params.imputed)) return impute_dict<StringDict>(params, in, value);
    if (std::holds_alternative<IntDict>(params.imputed)) return impute_dict<IntDict>(params, in, value);
    const auto* tensor = std::get_if<Tensor>(&value);
    if (tensor == nullptr) {
      if (!is_missing(params, value)) return adapt(out, value);
      return adapt(out, params.imputed);
    }
    MLT_ASSIGN(std::vector<double> row, numbers(in, value));
    MLT_ASSIGN(std::vector<double> fill, numbers(in, params.imputed));
    if (fill.size() != 1 && fill.size() != row.size())
      return input_error("feature \"" + in.name + "\": expected " + std::to_string(fill.size()) + " values, got " + std::to_string(row.size()));
    for (size_t i = 0; i < row.size(); ++i)
      if (is_missing(params, FeatureValue(row[i]))) row[i] = fill[fill.size() == 1 ? 0 : i];
    return like_input(out, value, row);
  };
  return one_to_one(std::move(interface), "imputer", std::move(impute));
}

Result<std::unique_ptr<Estimator>> make_scaler(Interface interface, std::vector<double> shift, std::vector<double> scale) {
  auto apply = [shift = std::move(shift), scale = std::move(scale)](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    MLT_ASSIGN(std::vector<double> row, numbers(in, value));
    for (const auto* list : {&shift, &scale})
      if (list->size() > 1 && list->size() != row.size())
        return input_error("feature \"" + in.name + "\": expected " + std::to_string(list->size()) + " values, got " + std::to_string(row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      double a = shift.empty() ? 0.0 : shift[shift.size() == 1 ? 0 : i];
      double b = scale.empty() ? 1.0 : scale[scale.size() == 1 ? 0 : i];
      row[i] = (row[i] + a) * b;
    }
    if (out.type == PortType::kInt && row.size() == 1 && row[0] != std::floor(row[0]))
      return input_error("feature \"" + in.name + "\": the scaled value is no whole number");
    return like_input(out, value, row);
  };
  return one_to_one(std::move(interface), "scaler", std::move(apply));
}

Result<std::unique_ptr<Estimator>> make_normalizer(Interface interface, Norm norm) {
  auto apply = [norm](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    MLT_ASSIGN(std::vector<double> row, numbers(in, value));
    double size = 0;
    for (double x : row) {
      if (norm == Norm::kMax) size = std::max(size, std::abs(x));
      else size += norm == Norm::kL1 ? std::abs(x) : x * x;
    }
    if (norm == Norm::kL2) size = std::sqrt(size);
    if (size != 0)
      for (double& x : row) x /= size;
    return like_input(out, value, row);
  };
  return one_to_one(std::move(interface), "normalizer", std::move(apply));
}

Result<std::unique_ptr<Estimator>> make_dict_vectorizer(Interface interface, Labels keys) {
  std::unordered_map<std::string, size_t> by_text;
  std::unordered_map<int64_t, size_t> by_int;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys.integers) by_int.try_emplace(keys.ints[i], i);
    else by_text.try_emplace(keys.strings[i], i);
  }
  size_t count = keys.size();
  bool integers = keys.integers;
  auto apply = [by_text = std::move(by_text), by_int = std::move(by_int), count, integers](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    IntDict sparse;
    // The keys' kind is the vectorizer's, whatever the description says: coremltools writes string keys there for both.
    if (const auto* strings = std::get_if<StringDict>(&value)) {
      for (const auto& [key, number] : *strings) {
        if (!integers) {
          if (auto it = by_text.find(key); it != by_text.end()) sparse[static_cast<int64_t>(it->second)] = number;
          continue;
        }
        int64_t parsed = 0;
        auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), parsed);
        if (error != std::errc() || end != key.data() + key.size()) return wrong_type(in, "a dictionary with integer keys", value);
        if (auto it = by_int.find(parsed); it != by_int.end()) sparse[static_cast<int64_t>(it->second)] = number;
      }
    } else if (const auto* ints = std::get_if<IntDict>(&value)) {
      if (!integers) return wrong_type(in, "a dictionary with string keys", value);
      for (const auto& [key, number] : *ints)
        if (auto it = by_int.find(key); it != by_int.end()) sparse[static_cast<int64_t>(it->second)] = number;
    } else {
      return wrong_type(in, "a dictionary", value);
    }
    if (out.type == PortType::kIntDict) return FeatureValue(std::move(sparse));
    std::vector<double> row(count, 0.0);
    for (auto [at, number] : sparse) row[static_cast<size_t>(at)] = number;
    return shaped_numbers(out, row);
  };
  return one_to_one(std::move(interface), "dictionary vectorizer", std::move(apply));
}

Result<std::unique_ptr<Estimator>> make_categorical_mapping(Interface interface, CategoricalParams params) {
  auto apply = [params = std::move(params)](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    if (params.from_string) {
      const auto* text = std::get_if<std::string>(&value);
      if (text == nullptr) return wrong_type(in, "a string", value);
      if (auto it = params.to_int.find(*text); it != params.to_int.end()) return adapt(out, FeatureValue(it->second));
    } else {
      const auto* number = std::get_if<int64_t>(&value);
      if (number == nullptr) return wrong_type(in, "an int64", value);
      if (auto it = params.to_string.find(*number); it != params.to_string.end()) return FeatureValue(it->second);
    }
    if (!params.unknown) return input_error("feature \"" + in.name + "\": a value that the mapping does not hold");
    return adapt(out, *params.unknown);
  };
  return one_to_one(std::move(interface), "categorical mapping", std::move(apply));
}

Result<std::unique_ptr<Estimator>> make_array_feature_extractor(Interface interface, std::vector<uint64_t> indices) {
  if (indices.empty()) return input_error("array feature extractor: no index");
  auto apply = [indices = std::move(indices)](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    MLT_ASSIGN(std::vector<double> row, numbers(in, value));
    std::vector<double> picked;
    for (uint64_t index : indices) {
      if (index >= row.size()) return input_error("feature \"" + in.name + "\": index " + std::to_string(index) + " is out of range, it has " + std::to_string(row.size()) + " values");
      picked.push_back(row[index]);
    }
    return shaped_numbers(out, picked);
  };
  return one_to_one(std::move(interface), "array feature extractor", std::move(apply));
}

Result<std::unique_ptr<Estimator>> make_identity(Interface interface) {
  return std::unique_ptr<Estimator>(std::make_unique<Identity>(std::move(interface)));
}

Result<std::unique_ptr<Estimator>> make_class_confidence_thresholding(Interface interface) {
  auto apply = [](const Port& in, const Port& out, const FeatureValue& value) -> Result<FeatureValue> {
    MLT_ASSIGN(std::vector<double> row, numbers(in, value));
    size_t classes = row.size();
    row.resize(2 * classes, 1.0);
    return FeatureValue(convert(Tensor::from<double>({2, static_cast<int64_t>(classes)}, row), out.dtype));
  };
  return one_to_one(std::move(interface), "class confidence thresholding", std::move(apply));
}

}  // namespace mlt
