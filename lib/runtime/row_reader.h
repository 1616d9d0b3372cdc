// Rows of numbers straight from arrays and from CSV text, without a record for each. Internal to lib/runtime. What is
// unusual (quotes, a field that is no number, a missing array) is left to the readers of records, which also know how to
// say what is wrong.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/estimators/rows.h"
#include "lib/runtime/csv.h"
#include "lib/runtime/row_plan.h"
#include "lib/tensor/npy.h"

namespace mlt {

class ArrayRows {
 public:
  // nullopt when the arrays do not give what the plan wants; they must outlive this object.
  static std::optional<ArrayRows> make(const std::map<std::string, Tensor>& arrays, const std::map<std::string, RawArray>& raw, const RowPlan& plan);
  // The rows from `first` on, as many as are handy; none at the end. They live until the next call.
  Rows next(int64_t first);
  int64_t count() const { return count_; }

 private:
  RowPlan plan_;
  std::vector<RawArray> sources_;
  int64_t count_ = 0;
  bool direct_ = false, floats_ = false;
  std::vector<float> f32_;
  std::vector<double> f64_;
};

class CsvRows {
 public:
  // nullopt when the columns do not give what the plan wants.
  static std::optional<CsvRows> make(const std::vector<CsvColumn>& columns, const RowPlan& plan, const std::vector<coreml::FeatureDescription>& features);
  struct Part {
    Rows rows;
    size_t bytes = 0;      // text they were read from
    bool stopped = false;  // the next line is not as expected
  };
  // Reads lines from the start of `text`, which ends with a line.
  Part next(std::string_view text);

 private:
  // Of what is behind the line, up to text_end, nothing is taken; it may be looked at.
  template <typename T>
  bool parse(std::string_view line, const char* text_end, T* row) const;

  struct Target {
    int64_t at = -1;  // place in the row; -1: nobody reads the column
    bool single = false;
    bool checked = true;  // must be a number or empty
  };
  std::vector<Target> targets_;
  int64_t width_ = 0;
  bool floats_ = false, all_checked_ = true;
  std::vector<float> f32_;
  std::vector<double> f64_;
  std::vector<std::string_view> lines_;
};

// A decimal number at p as strtod reads it; the place behind it, or nullptr when the text is anything else.
const char* parse_decimal(const char* p, const char* end, double* value);

}  // namespace mlt
