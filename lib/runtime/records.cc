#include "lib/runtime/records.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "lib/runtime/csv.h"
#include "lib/runtime/json_features.h"
#include "lib/runtime/npz.h"
#include "lib/runtime/row_reader.h"
#include "lib/runtime/safetensors.h"
#include "lib/tensor/npy.h"

namespace mlt {
namespace {

using coreml::FeatureDescription;
using Features = std::vector<FeatureDescription>;
using Next = std::optional<FeatureMap>;

constexpr size_t kMaxLine = size_t{1} << 30;

// Lines of a file in memory or of a descriptor.
class Lines {
 public:
  explicit Lines(Blob file) : file_(std::move(file)), at_(0) {}
  Lines(int fd, std::string head) : fd_(fd), buffer_(std::move(head)) {}

  Result<std::optional<std::string>> next() {
    using Line = std::optional<std::string>;
    for (;;) {
      std::string_view rest = (fd_given() ? std::string_view(buffer_) : file_.text()).substr(at_);
      size_t end = rest.find('\n', searched_);
      if (end != rest.npos || (done() && !rest.empty())) {
        std::string line(rest.substr(0, end));
        at_ += end == rest.npos ? rest.size() : end + 1;
        searched_ = 0;
        if (line.ends_with('\r')) line.pop_back();
        ++number_;
        return Line{std::move(line)};
      }
      if (done()) return Line{};
      searched_ = rest.size();
      MLT_TRY(fill());
    }
  }
  size_t number() const { return number_; }
  // What is unread of a file in memory; empty for a descriptor.
  std::string_view rest() const { return fd_given() ? std::string_view() : file_.text().substr(at_); }
  void skip(size_t bytes, size_t lines) {
    at_ += bytes;
    number_ += lines;
    searched_ = 0;
  }

 private:
  bool fd_given() const { return fd_ != kNone; }
  bool done() const { return !fd_given() || ended_; }
  Status fill() {
    buffer_.erase(0, at_);
    at_ = 0;
    if (buffer_.size() > kMaxLine) return resource_error("a line is longer than 1 GiB");
    size_t used = buffer_.size();
    buffer_.resize(used + (1 << 16));
    ssize_t n;
    do n = ::read(fd_, buffer_.data() + used, 1 << 16);
    while (n < 0 && errno == EINTR);
    if (n < 0) return input_error(std::string("cannot read: ") + std::strerror(errno));
    buffer_.resize(used + static_cast<size_t>(n));
    ended_ = n == 0;
    return {};
  }

  static constexpr int kNone = -1;
  Blob file_;
  int fd_ = kNone;
  bool ended_ = false;
  std::string buffer_;
  size_t at_ = 0, searched_ = 0;  // start of what is unread; how much of it holds no line end
  size_t number_ = 0;
};

class JsonlReader : public RecordReader {
 public:
  JsonlReader(Lines lines, Features features) : lines_(std::move(lines)), features_(std::move(features)) {}
  bool can_go_on() const override { return can_go_on_; }
  Result<Next> next() override {
    can_go_on_ = false;
    for (;;) {
      MLT_ASSIGN(std::optional<std::string> line, lines_.next());
      if (!line) return Next{};
      if (line->find_first_not_of(" \t") == std::string::npos) continue;
      auto record = record_from_json(*line, features_);
      can_go_on_ = true;
      if (!record) return std::move(record).error().in_path("line " + std::to_string(lines_.number()));
      return Next{std::move(*record)};
    }
  }

 private:
  Lines lines_;
  Features features_;
  bool can_go_on_ = false;
};

class CsvReader : public RecordReader {
 public:
  CsvReader(Lines lines, Features features) : lines_(std::move(lines)), features_(std::move(features)) {}
  bool can_go_on() const override { return can_go_on_; }
  Result<Rows> next_rows(const RowPlan& plan) override {
    // The header goes the usual way, with the first record; after a line that is not as expected come some more.
    if (!header_ || slow_lines_ > 0) return Rows{};
    if (!rows_) rows_ = CsvRows::make(*header_, plan, features_);
    if (!*rows_ || lines_.rest().empty()) return Rows{};
    CsvRows::Part part = (*rows_)->next(lines_.rest());
    if (part.stopped) slow_lines_ = kSlowLines;
    lines_.skip(part.bytes, static_cast<size_t>(part.rows.count));
    return part.rows;
  }
  Result<Next> next() override {
    can_go_on_ = false;
    if (slow_lines_ > 0) --slow_lines_;
    for (;;) {
      MLT_ASSIGN(std::optional<std::string> line, lines_.next());
      if (!line) {
        if (!header_) return input_error("CSV without a header line");
        return Next{};
      }
      // A quoted field may contain line breaks.
      for (bool open = csv_open_quote(*line); open;) {
        MLT_ASSIGN(std::optional<std::string> more, lines_.next());
        if (!more) return input_error("unterminated quote").in_path("line " + std::to_string(lines_.number()));
        open ^= csv_open_quote(*more);
        *line += '\n';
        *line += *more;
        if (line->size() > kMaxLine) return resource_error("a record is longer than 1 GiB");
      }
      if (line->empty()) continue;
      std::vector<std::string> fields = csv_split(*line);
      if (!header_) {
        auto columns = csv_columns(fields, features_);
        if (!columns) return std::move(columns).error().in_path("line 1");
        header_ = std::move(*columns);
        continue;
      }
      auto record = csv_record(*header_, fields, features_);
      can_go_on_ = true;
      if (!record) return std::move(record).error().in_path("line " + std::to_string(lines_.number()));
      return Next{std::move(*record)};
    }
  }

 private:
  Lines lines_;
  Features features_;
  std::optional<std::vector<CsvColumn>> header_;
  std::optional<std::optional<CsvRows>> rows_;  // made, and of use
  static constexpr int kSlowLines = 4096;
  int slow_lines_ = 0;
  bool can_go_on_ = false;
};

// Arrays by name, as one record or as many.
class ArrayReader : public RecordReader {
 public:
  ArrayReader(std::map<std::string, Tensor> arrays, std::map<std::string, RawArray> raw, const Features& features, bool split)
      : arrays_(std::move(arrays)), raw_(std::move(raw)), split_(split) {
    auto given = [&](const std::string& name) { return arrays_.contains(name) || raw_.contains(name); };
    for (const FeatureDescription& feature : features)
      if (feature.type.kind == coreml::FeatureKind::kDictionary && given(feature.name) && given(feature.name + ".keys"))
        dictionaries_.push_back(feature.name);
  }
  Result<Rows> next_rows(const RowPlan& plan) override {
    if (!split_) return Rows{};
    if (!rows_) rows_ = ArrayRows::make(arrays_, raw_, plan);
    if (!*rows_) return Rows{};
    Rows rows = (*rows_)->next(index_);
    index_ += rows.count;
    return rows;
  }
  Result<Next> next() override {
    if (split_ && rows_ && *rows_ && index_ >= (*rows_)->count()) return Next{};
    MLT_TRY(load());
    if (!split_) {
      if (index_++ > 0) return Next{};
      FeatureMap record;
      for (const auto& [name, tensor] : arrays_) record[name] = tensor;
      MLT_TRY(join_dictionaries(record));
      return Next{std::move(record)};
    }
    int64_t count = -1;
    for (const auto& [name, tensor] : arrays_) {
      if (tensor.rank() == 0) return input_error("array \"" + name + "\" is a scalar and cannot be split");
      if (count >= 0 && tensor.dims()[0] != count) return input_error("array \"" + name + "\" has another first extent than its neighbours");
      count = tensor.dims()[0];
    }
    if (index_ >= count) return Next{};
    FeatureMap record;
    for (const auto& [name, tensor] : arrays_) {
      Dims dims(tensor.dims().begin() + 1, tensor.dims().end());
      if (tensor.dtype() == DType::kString) {
        int64_t n = tensor.size() / count;
        std::vector<std::string> part(tensor.strings().begin() + index_ * n, tensor.strings().begin() + (index_ + 1) * n);
        record[name] = Tensor::of_strings(dims, std::move(part));
        continue;
      }
      size_t bytes = static_cast<size_t>(tensor.nbytes() / count);
      MLT_ASSIGN(Tensor row, Tensor::from_blob(tensor.dtype(), dims, tensor.blob().sub(static_cast<size_t>(index_) * bytes, bytes)));
      record[name] = std::move(row);
    }
    ++index_;
    MLT_TRY(join_dictionaries(record));
    return Next{std::move(record)};
  }

 private:
  // Records need tensors.
  Status load() {
    for (const auto& [name, array] : raw_) {
      MLT_ASSIGN(Tensor tensor, Tensor::from_blob(array.dtype, array.dims, array.bytes));
      arrays_[name] = std::move(tensor);
    }
    raw_.clear();
    return {};
  }
  // Keys and numbers, the two arrays that a dictionary is written as.
  Status join_dictionaries(FeatureMap& record) const {
    for (const std::string& name : dictionaries_) {
      Tensor keys = std::get<Tensor>(record[name + ".keys"]), numbers = std::get<Tensor>(record[name]);
      record.erase(name + ".keys");
      if (keys.size() != numbers.size() || numbers.dtype() == DType::kString)
        return input_error("arrays \"" + name + "\" and \"" + name + ".keys\" make no dictionary");
      std::vector<double> values = to_doubles(numbers);
      if (keys.dtype() == DType::kString) {
        StringDict dict;
        for (size_t i = 0; i < values.size(); ++i) dict[keys.strings()[i]] = values[i];
        record[name] = std::move(dict);
      } else {
        std::vector<int64_t> ints = to_ints(keys);
        IntDict dict;
        for (size_t i = 0; i < values.size(); ++i) dict[ints[i]] = values[i];
        record[name] = std::move(dict);
      }
    }
    return {};
  }

  std::map<std::string, Tensor> arrays_;
  std::map<std::string, RawArray> raw_;  // those that only rows have been wanted of so far
  std::vector<std::string> dictionaries_;
  bool split_;
  int64_t index_ = 0;
  std::optional<std::optional<ArrayRows>> rows_;  // made, and of use
};

}  // namespace

std::optional<RecordFormat> record_format_from_name(const std::string& name) {
  auto ends = [&](std::string_view suffix) { return name == suffix.substr(1) || name.ends_with(suffix); };
  if (ends(".npz")) return RecordFormat::kNpz;
  if (ends(".safetensors")) return RecordFormat::kSafetensors;
  if (ends(".jsonl") || ends(".json") || ends(".ndjson")) return RecordFormat::kJsonl;
  if (ends(".csv")) return RecordFormat::kCsv;
  if (ends(".png")) return RecordFormat::kPng;
  return std::nullopt;
}

Result<RecordFormat> record_format(const std::string& path, ByteSpan content) {
  std::string_view text = as_text(content);
  if (text.starts_with("PK\x03\x04") || text.starts_with("PK\x05\x06")) return RecordFormat::kNpz;
  if (looks_like_safetensors(content)) return RecordFormat::kSafetensors;
  size_t first = text.find_first_not_of(" \t\r\n");
  if (first != text.npos && text[first] == '{') return RecordFormat::kJsonl;
  if (auto named = record_format_from_name(path)) return *named;
  if (first != text.npos && text.find('\0') == text.npos) return RecordFormat::kCsv;
  return usage_error("cannot tell the format of the records", "name the file .npz, .safetensors, .jsonl or .csv");
}

Result<std::unique_ptr<RecordReader>> read_records(const Blob& file, RecordFormat format, const Features& features, bool split_first_axis) {
  switch (format) {
    case RecordFormat::kNpz: {
      std::map<std::string, RawArray> raw;
      MLT_ASSIGN(auto arrays, read_npz(file, raw));
      return std::unique_ptr<RecordReader>(std::make_unique<ArrayReader>(std::move(arrays), std::move(raw), features, split_first_axis));
    }
    case RecordFormat::kSafetensors: {
      MLT_ASSIGN(auto arrays, read_safetensors(file));
      return std::unique_ptr<RecordReader>(std::make_unique<ArrayReader>(std::move(arrays), std::map<std::string, RawArray>(), features, split_first_axis));
    }
    case RecordFormat::kJsonl: return std::unique_ptr<RecordReader>(std::make_unique<JsonlReader>(Lines(file), features));
    case RecordFormat::kCsv: return std::unique_ptr<RecordReader>(std::make_unique<CsvReader>(Lines(file), features));
    case RecordFormat::kPng: break;
  }
  return usage_error("pictures are no records", "give a picture as NAME=@FILE");
}

Result<std::unique_ptr<RecordReader>> stream_records(int fd, RecordFormat format, const Features& features, std::string head) {
  Lines lines(fd, std::move(head));
  if (format == RecordFormat::kJsonl) return std::unique_ptr<RecordReader>(std::make_unique<JsonlReader>(std::move(lines), features));
  if (format == RecordFormat::kCsv) return std::unique_ptr<RecordReader>(std::make_unique<CsvReader>(std::move(lines), features));
  return usage_error("this format cannot be read record by record");
}

}  // namespace mlt
