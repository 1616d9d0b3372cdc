#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/runtime/json_features.h"
#include "lib/runtime/records.h"

namespace mlt {

RecordDifference compare_records(const FeatureMap& actual, const FeatureMap& expected, double rtol, double atol) {
  RecordDifference out;
  auto numbers = [&](const std::string& name, const std::vector<double>& a, const std::vector<double>& b) {
    if (a.size() != b.size()) {
      out.findings.push_back("output \"" + name + "\": " + std::to_string(a.size()) + " values, expected " + std::to_string(b.size()));
      return;
    }
    int64_t outside = 0;
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
      double error = same ? 0 : std::abs(a[i] - b[i]);
      if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
      out.max_abs = std::max(out.max_abs, error);
      if (!same && b[i] != 0) out.max_rel = std::max(out.max_rel, error / std::abs(b[i]));
      // Written so that a NaN on one side alone is outside.
      if (!same && !(error <= atol + rtol * std::abs(b[i]) && std::isfinite(b[i]))) ++outside;
      if (error > worst) worst = error, at = i;
    }
    out.values += static_cast<int64_t>(a.size());
    out.outside += outside;
    if (outside > 0)
      out.findings.push_back("output \"" + name + "\": " + std::to_string(outside) + " of " + std::to_string(a.size()) + " values are off, the worst at index " +
                             std::to_string(at) + ": " + to_json(FeatureValue(a[at])) + ", expected " + to_json(FeatureValue(b[at])));
  };
  for (const auto& [name, want] : expected) {
    auto it = actual.find(name);
    if (it == actual.end()) {
      out.findings.push_back("output \"" + name + "\" is missing");
      continue;
    }
    const FeatureValue& have = it->second;
    // Labels and strings compare exactly; dictionaries by key; everything else by its numbers.
    auto text = [](const FeatureValue& v) -> std::optional<std::string> {
      if (const auto* s = std::get_if<std::string>(&v)) return *s;
      if (const auto* t = std::get_if<Tensor>(&v); t != nullptr && t->dtype() == DType::kString && t->size() == 1) return t->strings()[0];
      return std::nullopt;
    };
    auto dict = [](const FeatureValue& v) -> std::optional<StringDict> {
      if (const auto* s = std::get_if<StringDict>(&v)) return *s;
      if (const auto* n = std::get_if<IntDict>(&v)) {
        StringDict named;
        for (const auto& [k, x] : *n) named[std::to_string(k)] = x;
        return named;
      }
      return std::nullopt;
    };
    auto values = [](const FeatureValue& v) -> std::optional<std::vector<double>> {
      if (const auto* i = std::get_if<int64_t>(&v)) return std::vector<double>{static_cast<double>(*i)};
      if (const auto* d = std::get_if<double>(&v)) return std::vector<double>{*d};
      if (const auto* t = std::get_if<Tensor>(&v); t != nullptr && t->dtype() != DType::kString) return to_doubles(*t);
      if (const auto* image = std::get_if<Image>(&v)) return to_doubles(image->pixels);
      if (const auto* list = std::get_if<IntList>(&v)) return std::vector<double>(list->begin(), list->end());
      return std::nullopt;
    };
    if (auto a = text(have), b = text(want); a || b) {
      ++out.values;
      if (a != b) {
        ++out.outside;
        out.findings.push_back("output \"" + name + "\": " + to_json(have) + ", expected " + to_json(want));
      }
    } else if (auto da = dict(have), db = dict(want); da && db) {
      std::vector<double> x, y;
      bool keys = da->size() == db->size();
      for (const auto& [key, number] : *db) {
        auto found = da->find(key);
        keys = keys && found != da->end();
        if (found != da->end()) x.push_back(found->second), y.push_back(number);
      }
      if (!keys) out.findings.push_back("output \"" + name + "\": the dictionaries have other keys");
      else numbers(name, x, y);
    } else if (auto na = values(have), nb = values(want); na && nb) {
      numbers(name, *na, *nb);
    } else if (to_json(have) != to_json(want)) {
      out.findings.push_back("output \"" + name + "\": " + feature_text(have) + ", expected " + feature_text(want));
    }
  }
  return out;
}

}  // namespace mlt
