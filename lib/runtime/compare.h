// Two models on the same records, value by value: where do they part? Both run with every op's result kept, nothing
// fused; values that bear the same name in both are compared in the program order of the first model.
//
// Names are shared when they are equal, or equal without "_cast_fp16", which conversions to float16 put into the names of
// the ops they rewrite (source: coremltools' pass add_fp16_cast). A name that occurs several times (stages of a pipeline)
// is matched in order. A value is what the op computed: rounded to float16 only with ExecOptions::strict_fp16.
//
// Agreement, unless tolerances are given: the largest error of a value is at most 1/1000 of the largest magnitude in it, or
// 1/100 when either model declares it in a type narrower than float32; integers and booleans are equal. With tolerances:
// |a - b| <= atol + rtol * |a| for every element. A number on one side and NaN on the other never agree. Numbers that only
// masks have (-1e9 and less, against such a number or one from -65504 to -60000) count as equal.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "lib/runtime/predictor.h"

namespace mlt {

struct CompareOptions {
  std::optional<double> rtol, atol;  // one alone: the other is 0
};

struct ComparedValue {
  std::string name, other_name;    // of the value, or of the output
  std::string op, kind;            // what makes it in the first model; empty for outputs
  std::string other_kind;
  size_t position = 0;             // of the op among those that run, from 1
  DType dtype = DType::kF32, other_dtype = DType::kF32;  // as declared
  int64_t values = 0, outside = 0; // over all records; outside: beyond tolerance
  double max_abs = 0, max_rel = 0; // infinite when one side is not finite and the other is
  double peak = 0, squares = 0;    // largest finite magnitude; sum of squared errors
  bool agrees = true;
  // Decibels, of the peak over the root mean square error; infinite when equal.
  double psnr() const;
};

struct Comparison {
  std::vector<ComparedValue> ops;      // shared values, in program order
  std::vector<ComparedValue> outputs;
  std::vector<std::string> findings;   // of outputs: other labels, an output that only one has
  size_t first_values = 0, second_values = 0;  // results of ops in each model
  size_t other_shapes = 0;             // names shared by values of other shapes, which are not compared
  size_t steps = 0;                    // ops that run in the first model
  int64_t records = 0;
  const ComparedValue* first_diverging() const;
  bool agree() const;
};

class ModelComparer {
 public:
  // `predict.exec` decides what both run with; what comparing needs is set here.
  static Result<std::unique_ptr<ModelComparer>> create(const OpenedModel& first, const OpenedModel& second, PredictOptions predict, CompareOptions options = {});
  ~ModelComparer();
  Predictor& first();
  // Runs both on the record; each keeps its own states. Errors say which model failed.
  Status add(const FeatureMap& record);
  const Comparison& result() const;

 private:
  struct Impl;
  explicit ModelComparer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// A table for people, and what it says.
std::string comparison_text(const Comparison& comparison);
// One JSON object, fields as in mlpredict(1).
std::string comparison_json(const Comparison& comparison, const std::string& first, const std::string& second);

}  // namespace mlt
