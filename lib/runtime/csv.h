// CSV as in RFC 4180, and the mapping of its columns to features. Internal to lib/runtime.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"
#include "lib/estimators/rows.h"

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

// The same lines for the records of a batch, without making the records.
class CsvBatch {
 public:
  explicit CsvBatch(const FeatureBatch& batch);  // which must outlive it
  bool usable() const { return usable_; }        // false: an element type that only csv_cells() writes
  const std::vector<std::string>& header() const { return header_; }
  void append(int64_t record, std::string& out) const;

 private:
  const FeatureBatch& batch_;
  bool usable_ = true;
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> labels_;  // of each column, quoted where need be
};

}  // namespace mlt
