// CSV as in RFC 4180, and the mapping of its columns to features. Internal to lib/runtime.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"

namespace mlt {

bool csv_open_quote(const std::string& line);  // ends inside a quoted field
std::vector<std::string> csv_split(const std::string& line);
std::string csv_line(const std::vector<std::string>& fields);  // with its line end

struct CsvColumn {
  std::string feature;
  std::string key;     // of "x[key]", otherwise empty
  bool keyed = false;
};
Result<std::vector<CsvColumn>> csv_columns(const std::vector<std::string>& header, const std::vector<coreml::FeatureDescription>& features);
// An empty field is an absent value.
Result<FeatureMap> csv_record(const std::vector<CsvColumn>& columns, const std::vector<std::string>& fields,
                              const std::vector<coreml::FeatureDescription>& features);
// Column names and texts of a record of outputs.
Result<std::vector<std::pair<std::string, std::string>>> csv_cells(const FeatureMap& record);

}  // namespace mlt
