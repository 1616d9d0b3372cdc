#include "lib/estimators/feature.h"

namespace mlt {

std::string feature_text(const FeatureValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "nothing"; }
    std::string operator()(int64_t) const { return "int64"; }
    std::string operator()(double) const { return "double"; }
    std::string operator()(const std::string&) const { return "string"; }
    std::string operator()(const Tensor& t) const {
      if (!t.valid()) return "multi-array";
      return "multi-array " + std::string(dtype_name(t.dtype())) + " " + dims_text(t.dims());
    }
    std::string operator()(const Image& i) const { return "image " + std::to_string(i.width) + "x" + std::to_string(i.height); }
    std::string operator()(const StringDict&) const { return "dictionary with string keys"; }
    std::string operator()(const IntDict&) const { return "dictionary with int64 keys"; }
    std::string operator()(const IntList&) const { return "sequence of int64"; }
    std::string operator()(const StringList&) const { return "sequence of strings"; }
  };
  return std::visit(Visitor{}, value);
}

Result<const FeatureValue*> require_feature(const FeatureMap& features, std::string_view name) {
  auto it = features.find(name);
  if (it == features.end() || std::holds_alternative<std::monostate>(it->second))
    return input_error("feature \"" + std::string(name) + "\" is missing");
  return &it->second;
}

Result<std::vector<double>> feature_numbers(const FeatureMap& features, std::string_view name) {
  MLT_ASSIGN(const FeatureValue* value, require_feature(features, name));
  if (const auto* i = std::get_if<int64_t>(value)) return std::vector<double>{static_cast<double>(*i)};
  if (const auto* d = std::get_if<double>(value)) return std::vector<double>{*d};
  if (const auto* t = std::get_if<Tensor>(value); t != nullptr && t->valid() && t->dtype() != DType::kString) return to_doubles(*t);
  return input_error("feature \"" + std::string(name) + "\": expected numbers, got " + feature_text(*value));
}

Result<double> feature_number(const FeatureMap& features, std::string_view name) {
  MLT_ASSIGN(std::vector<double> values, feature_numbers(features, name));
  if (values.size() != 1)
    return input_error("feature \"" + std::string(name) + "\": expected one number, got " + std::to_string(values.size()));
  return values[0];
}

}  // namespace mlt
