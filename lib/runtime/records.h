// Records of features in files and pipes: .npz, .safetensors, JSON lines, CSV. One record in, one record out, in order.
//
//   npz, safetensors  one record, an array for each feature; with `split_first_axis`, one record per index of it
//   jsonl             an object per line: number, string, nested arrays, object (dictionary), null (absent)
//   csv               a header of feature names; "x[0]", "x[1]" ... are the elements of array x, "d[word]" the entries
//                     of a dictionary
//   png               written only: the one image among the outputs of the one record
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"
#include "lib/estimators/rows.h"
#include "lib/runtime/row_plan.h"

namespace mlt {

enum class RecordFormat { kNpz, kSafetensors, kJsonl, kCsv, kPng };
// By content where it can be told, else by the name's extension (".csv", ".jsonl", ".json"); kUsage otherwise.
Result<RecordFormat> record_format(const std::string& path, ByteSpan content);
std::optional<RecordFormat> record_format_from_name(const std::string& name);  // "npz", "jsonl", ... or a path

class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // nullopt at the end. Errors name the record ("line 7").
  virtual Result<std::optional<FeatureMap>> next() = 0;
  // After an error: only this record cannot be read, and next() gives the one after it.
  virtual bool can_go_on() const { return false; }
  // The next records as rows of numbers, as many as are handy; they live until the next call. None when the next record
  // must be read with next(): the format does not allow it, the record is unusual, or there is none.
  virtual Result<Rows> next_rows(const RowPlan&) { return Rows{}; }
};
// A whole file.
Result<std::unique_ptr<RecordReader>> read_records(const Blob& file, RecordFormat format, const std::vector<coreml::FeatureDescription>& features,
                                                   bool split_first_axis = false);
// JSON lines or CSV from a pipe, record by record; `head` is what was read from it already. The descriptor stays the
// caller's.
Result<std::unique_ptr<RecordReader>> stream_records(int fd, RecordFormat format, const std::vector<coreml::FeatureDescription>& features,
                                                     std::string head = {});

class RecordWriter {
 public:
  using Sink = std::function<Status(ByteSpan)>;
  virtual ~RecordWriter() = default;
  virtual Status write(const FeatureMap& record) = 0;
  virtual Status write_rows(const FeatureBatch& batch);  // the same bytes as write() of each record
  virtual Status finish() = 0;  // npz and safetensors are written here; several records stack along a new first axis
};
std::unique_ptr<RecordWriter> write_records(RecordFormat format, RecordWriter::Sink sink);

// One feature from a command line's "name=value": a number, a string, JSON, or "@file" (.npy, picture, .json, .txt; the
// content decides). `read_file` gives a file's bytes ("-": stdin).
Result<FeatureValue> parse_feature(const std::string& text, const coreml::FeatureDescription& feature,
                                   const std::function<Result<Blob>(const std::string&)>& read_file);

// A command line's "name=value" arguments as one record. kUsage names an unknown input, one given twice, or no "=".
Result<FeatureMap> parse_record(const std::vector<std::string>& arguments, const std::vector<coreml::FeatureDescription>& features,
                                const std::function<Result<Blob>(const std::string&)>& read_file);

// {"name": value, ...} on one line, keys in order; floats in their shortest form, NaN and infinities as null.
std::string to_json(const FeatureMap& record);
std::string to_json(const FeatureValue& value);

// How two records of outputs differ: the largest error over all numbers, and one line for each feature beyond
// tolerance (|a - b| > atol + rtol * |b|), missing, or of another label.
struct RecordDifference {
  double max_abs = 0, max_rel = 0;
  int64_t values = 0, outside = 0;
  std::vector<std::string> findings;
  bool agree() const { return findings.empty(); }
};
RecordDifference compare_records(const FeatureMap& actual, const FeatureMap& expected, double rtol, double atol);

}  // namespace mlt
