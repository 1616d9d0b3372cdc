#include "lib/runtime/csv.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "lib/estimators/estimator.h"
#include "lib/runtime/records.h"

namespace mlt {
namespace {

using coreml::FeatureDescription;
using coreml::FeatureKind;

bool parse_double(const std::string& text, double* value) {
  char* end = nullptr;
  *value = std::strtod(text.c_str(), &end);
  while (*end == ' ') ++end;
  return end != text.c_str() && *end == '\0';
}

}  // namespace

bool csv_open_quote(const std::string& line) {
  bool open = false;
  for (char c : line) open ^= c == '"';
  return open;
}

std::vector<std::string> csv_split(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (c == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += '"';
        ++i;
      } else {
        quoted = !quoted;
      }
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i) line += ',';
    line += csv_field(fields[i]);
  }
  return line + "\n";
}

Result<std::vector<CsvColumn>> csv_columns(const std::vector<std::string>& header, const std::vector<FeatureDescription>& features) {
  std::vector<CsvColumn> columns;
  for (const std::string& name : header) {
    CsvColumn column{name, {}, false};
    // A feature of exactly this name wins over an element of another.
    size_t open = name.rfind('[');
    if (coreml::find_feature(features, name) == nullptr && name.ends_with(']') && open != std::string::npos && open > 0)
      column = {name.substr(0, open), name.substr(open + 1, name.size() - open - 2), true};
    columns.push_back(std::move(column));
  }
  return columns;
}

Result<FeatureMap> csv_record(const std::vector<CsvColumn>& columns, const std::vector<std::string>& fields, const std::vector<FeatureDescription>& features) {
  if (fields.size() != columns.size())
    return input_error(std::to_string(columns.size()) + " fields expected, " + std::to_string(fields.size()) + " found");
  FeatureMap record;
  std::map<std::string, std::vector<double>> arrays;
  for (size_t i = 0; i < columns.size(); ++i) {
    const CsvColumn& column = columns[i];
    const FeatureDescription* feature = coreml::find_feature(features, column.feature);
    FeatureKind kind = feature ? feature->type.kind : FeatureKind::kNone;
    double number = 0;
    bool numeric = parse_double(fields[i], &number);
    if (!column.keyed) {
      if (fields[i].empty() && kind != FeatureKind::kString) {
        // Trees and their kin know missing numbers as NaN.
        if (kind == FeatureKind::kDouble) record[column.feature] = std::nan("");
        continue;
      }
      if (kind == FeatureKind::kString || (kind == FeatureKind::kNone && !numeric)) {
        record[column.feature] = fields[i];
      } else if (kind == FeatureKind::kSequence || kind == FeatureKind::kDictionary) {
        MLT_ASSIGN(record[column.feature], parse_feature(fields[i], *feature, {}));
      } else if (!numeric) {
        return input_error("column \"" + column.feature + "\": \"" + fields[i] + "\" is not a number");
      } else if (kind == FeatureKind::kInt64 && number == std::floor(number) && std::abs(number) < 9e18) {
        record[column.feature] = static_cast<int64_t>(number);
      } else {
        record[column.feature] = number;
      }
      continue;
    }
    if (fields[i].empty()) number = std::nan("");
    else if (!numeric) return input_error("column \"" + column.feature + "[" + column.key + "]\": \"" + fields[i] + "\" is not a number");
    if (kind == FeatureKind::kDictionary) {
      if (fields[i].empty()) continue;
      FeatureValue& value = record[column.feature];
      if (!std::holds_alternative<StringDict>(value)) value = StringDict{};
      std::get<StringDict>(value)[column.key] = number;
      continue;
    }
    char* end = nullptr;
    unsigned long long index = std::strtoull(column.key.c_str(), &end, 10);
    if (column.key.empty() || *end != '\0' || index > (1u << 28)) return input_error("column \"" + column.feature + "[" + column.key + "]\": the index is not a number");
    std::vector<double>& array = arrays[column.feature];
    if (array.size() <= index) array.resize(index + 1, std::nan(""));
    array[index] = number;
  }
  for (auto& [name, values] : arrays) {
    Dims dims{static_cast<int64_t>(values.size())};
    const FeatureDescription* feature = coreml::find_feature(features, name);
    if (feature != nullptr && feature->type.kind == FeatureKind::kMultiArray) {
      auto count = element_count(feature->type.array.shape);
      if (count && *count == dims[0]) dims = feature->type.array.shape;
    }
    record[name] = Tensor::from<double>(dims, values);
  }
  return record;
}

Result<std::vector<std::pair<std::string, std::string>>> csv_cells(const FeatureMap& record) {
  std::vector<std::pair<std::string, std::string>> cells;
  auto number = [](double value) { return std::isnan(value) ? std::string("nan") : std::isinf(value) ? std::string(value < 0 ? "-inf" : "inf") : to_json(FeatureValue(value)); };
  for (const auto& [name, value] : record) {
    if (const auto* text = std::get_if<std::string>(&value)) {
      cells.emplace_back(name, *text);
    } else if (const auto* d = std::get_if<double>(&value)) {
      cells.emplace_back(name, number(*d));
    } else if (std::holds_alternative<int64_t>(value)) {
      cells.emplace_back(name, to_json(value));
    } else if (const auto* dict = std::get_if<StringDict>(&value)) {
      for (const auto& [k, v] : *dict) cells.emplace_back(name + "[" + k + "]", number(v));
    } else if (const auto* ints = std::get_if<IntDict>(&value)) {
      for (const auto& [k, v] : *ints) cells.emplace_back(name + "[" + std::to_string(k) + "]", number(v));
    } else if (const auto* tensor = std::get_if<Tensor>(&value)) {
      auto column = [&, &name = name](size_t i) { return tensor->rank() == 0 ? name : name + "[" + std::to_string(i) + "]"; };
      if (tensor->dtype() == DType::kString) {
        for (size_t i = 0; i < tensor->strings().size(); ++i) cells.emplace_back(column(i), tensor->strings()[i]);
      } else {
        bool single = is_float(tensor->dtype()) && tensor->dtype() != DType::kF64;
        std::vector<double> values = to_doubles(*tensor);
        std::vector<float> floats = single ? to_floats(*tensor) : std::vector<float>{};
        for (size_t i = 0; i < values.size(); ++i)
          cells.emplace_back(column(i), single && std::isfinite(values[i]) ? to_json(FeatureValue(Tensor::scalar(floats[i]))) : number(values[i]));
      }
    } else {
      return unsupported_error("output \"" + name + "\" is a " + feature_text(value) + " and has no CSV form", "use jsonl");
    }
  }
  return cells;
}

CsvBatch::CsvBatch(const FeatureBatch& batch) : batch_(batch) {
  for (const FeatureBatch::Column& column : batch.columns) {
    std::vector<std::string>& labels = labels_.emplace_back();
    switch (column.kind) {
      case FeatureBatch::Kind::kDouble: header_.push_back(column.name); break;
      case FeatureBatch::Kind::kArray:
        usable_ = usable_ && (column.dtype == DType::kF32 || column.dtype == DType::kF64);
        for (int64_t i = 0; i < column.width; ++i) header_.push_back(column.shape.empty() ? column.name : column.name + "[" + std::to_string(i) + "]");
        break;
      case FeatureBatch::Kind::kLabel:
        header_.push_back(column.name);
        for (size_t i = 0; i < column.labels->size(); ++i)
          labels.push_back(column.labels->integers ? std::to_string(column.labels->ints[i]) : csv_field(column.labels->strings[i]));
        break;
      case FeatureBatch::Kind::kDict:
        for (size_t i : column.order) header_.push_back(column.name + "[" + (column.labels->integers ? std::to_string(column.labels->ints[i]) : column.labels->strings[i]) + "]");
        break;
    }
  }
}

void CsvBatch::append(int64_t record, std::string& out) const {
  auto number = [&](auto value) {
    if (std::isnan(value)) out += "nan";
    else if (std::isinf(value)) out += value < 0 ? "-inf" : "inf";
    else fmt::format_to(std::back_inserter(out), "{}", value);
  };
  bool first = true;
  for (size_t c = 0; c < batch_.columns.size(); ++c) {
    const FeatureBatch::Column& column = batch_.columns[c];
    if (column.kind == FeatureBatch::Kind::kLabel) {
      if (!std::exchange(first, false)) out += ',';
      out += labels_[c][column.indices[static_cast<size_t>(record)]];
      continue;
    }
    for (int64_t i = 0; i < column.width; ++i) {
      if (!std::exchange(first, false)) out += ',';
      double value = column.values[static_cast<size_t>(record * column.width + i)];
      if (column.kind == FeatureBatch::Kind::kArray && column.dtype == DType::kF32) number(static_cast<float>(value));
      else number(value);
    }
  }
  out += '\n';
}

}  // namespace mlt
