#include "lib/runtime/records.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <map>

#include "lib/base/threads.h"
#include "lib/container/file_tree.h"
#include "lib/container/zip.h"
#include "lib/runtime/csv.h"
#include "lib/runtime/image.h"
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

// Every value as an array where that is possible.
Result<Tensor> as_array(const std::string& name, const FeatureValue& value) {
  if (const auto* t = std::get_if<Tensor>(&value)) return *t;
  if (const auto* i = std::get_if<int64_t>(&value)) return Tensor::scalar(*i);
  if (const auto* d = std::get_if<double>(&value)) return Tensor::scalar(*d);
  if (const auto* s = std::get_if<std::string>(&value)) return Tensor::string(*s);
  if (const auto* image = std::get_if<Image>(&value)) return image->pixels;
  if (const auto* list = std::get_if<IntList>(&value)) return Tensor::from<int64_t>({static_cast<int64_t>(list->size())}, *list);
  if (const auto* list = std::get_if<StringList>(&value)) return Tensor::of_strings({static_cast<int64_t>(list->size())}, *list);
  return unsupported_error("output \"" + name + "\" is a " + feature_text(value) + " and has no array form", "use jsonl or csv");
}

class ArrayWriter : public RecordWriter {
 public:
  ArrayWriter(RecordFormat format, Sink sink) : format_(format), sink_(std::move(sink)) {}
  Status write(const FeatureMap& record) override {
    for (const auto& [name, value] : record) {
      // A dictionary becomes two arrays: its keys and its numbers.
      if (const auto* dict = std::get_if<StringDict>(&value)) {
        std::vector<std::string> keys;
        std::vector<double> numbers;
        for (const auto& [k, v] : *dict) keys.push_back(k), numbers.push_back(v);
        auto n = static_cast<int64_t>(keys.size());
        if (format_ != RecordFormat::kSafetensors) add(name + ".keys", Tensor::of_strings({n}, std::move(keys)));
        add(name, Tensor::from<double>({n}, numbers));
      } else if (const auto* ints = std::get_if<IntDict>(&value)) {
        std::vector<int64_t> keys;
        std::vector<double> numbers;
        for (const auto& [k, v] : *ints) keys.push_back(k), numbers.push_back(v);
        auto n = static_cast<int64_t>(keys.size());
        add(name + ".keys", Tensor::from<int64_t>({n}, keys));
        add(name, Tensor::from<double>({n}, numbers));
      } else {
        MLT_ASSIGN(Tensor tensor, as_array(name, value));
        add(name, tensor.dtype() == DType::kString ? tensor : tensor.clone());
      }
    }
    ++records_;
    return {};
  }
  Status write_rows(const FeatureBatch& batch) override {
    for (auto& [name, tensor] : batch.arrays()) {
      if (format_ == RecordFormat::kSafetensors && tensor.dtype() == DType::kString && name.ends_with(".keys")) continue;
      Parts& parts = arrays_[name];
      parts.records += static_cast<size_t>(batch.count);
      parts.list.push_back({std::move(tensor), true});
    }
    records_ += static_cast<size_t>(batch.count);
    return {};
  }
  Status finish() override {
    std::map<std::string, Tensor> stacked;
    for (auto& [name, parts] : arrays_) {
      const Part& front = parts.list[0];
      Dims record = front.tensor.dims();  // of one record
      if (front.stacked) record.erase(record.begin());
      if (records_ == 1) {
        stacked[name] = front.tensor.reshaped(record);
        continue;
      }
      if (parts.records != records_) return input_error("output \"" + name + "\" is not in every record");
      for (const Part& part : parts.list) {
        Dims dims = part.tensor.dims();
        if (part.stacked) dims.erase(dims.begin());
        if (dims != record || part.tensor.dtype() != front.tensor.dtype())
          return input_error("output \"" + name + "\" changes its shape from record to record");
      }
      if (parts.list.size() == 1) {
        stacked[name] = front.tensor;
        continue;
      }
      Dims dims = record;
      dims.insert(dims.begin(), static_cast<int64_t>(records_));
      MLT_TRY(element_count(dims));
      if (front.tensor.dtype() == DType::kString) {
        std::vector<std::string> all;
        for (const Part& part : parts.list) all.insert(all.end(), part.tensor.strings().begin(), part.tensor.strings().end());
        stacked[name] = Tensor::of_strings(dims, std::move(all));
        continue;
      }
      Tensor all = Tensor::uninitialized(front.tensor.dtype(), dims);
      std::byte* out = all.mutable_bytes();
      for (const Part& part : parts.list) {
        std::memcpy(out, part.tensor.bytes().data(), part.tensor.bytes().size());
        out += part.tensor.bytes().size();
      }
      stacked[name] = std::move(all);
    }
    if (format_ == RecordFormat::kSafetensors) {
      MLT_ASSIGN(Bytes file, write_safetensors(stacked));
      return sink_(file);
    }
    return write_npz(stacked, sink_);
  }

 private:
  struct Part {
    Tensor tensor;
    bool stacked = false;  // many records along the first axis; else one
  };
  struct Parts {
    std::vector<Part> list;
    size_t records = 0;
  };
  void add(const std::string& name, Tensor tensor) {
    Parts& parts = arrays_[name];
    parts.list.push_back({std::move(tensor), false});
    ++parts.records;
  }

  RecordFormat format_;
  Sink sink_;
  std::map<std::string, Parts> arrays_;
  size_t records_ = 0;
};

// The texts of many records, made in parallel and written in order.
template <typename F>
Status write_text(int64_t count, const RecordWriter::Sink& sink, const F& append) {
  constexpr int64_t kPart = 1024;
  std::vector<std::string> parts(static_cast<size_t>((count + kPart - 1) / kPart));
  parallel_for(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      for (int64_t i = p * kPart; i < std::min(count, (p + 1) * kPart); ++i) append(i, parts[static_cast<size_t>(p)]);
  });
  for (const std::string& part : parts) MLT_TRY(sink(as_bytes(part)));
  return {};
}

class JsonlWriter : public RecordWriter {
 public:
  explicit JsonlWriter(Sink sink) : sink_(std::move(sink)) {}
  Status write(const FeatureMap& record) override { return sink_(as_bytes(to_json(record) + "\n")); }
  Status write_rows(const FeatureBatch& batch) override {
    return write_text(batch.count, sink_, [&](int64_t i, std::string& out) {
      out += to_json(batch.record(i));
      out += '\n';
    });
  }
  Status finish() override { return {}; }

 private:
  Sink sink_;
};

class CsvWriter : public RecordWriter {
 public:
  explicit CsvWriter(Sink sink) : sink_(std::move(sink)) {}
  Status write(const FeatureMap& record) override {
    MLT_ASSIGN(auto cells, csv_cells(record));
    std::vector<std::string> names, fields;
    for (auto& [name, text] : cells) {
      names.push_back(name);
      fields.push_back(std::move(text));
    }
    if (header_.empty()) {
      header_ = names;
      MLT_TRY(sink_(as_bytes(csv_line(names))));
    } else if (names != header_) {
      return input_error("this record has other columns than the first", "use jsonl for records that differ");
    }
    return sink_(as_bytes(csv_line(fields)));
  }
  Status write_rows(const FeatureBatch& batch) override {
    CsvBatch lines(batch);
    if (!lines.usable()) return RecordWriter::write_rows(batch);
    if (header_.empty()) {
      header_ = lines.header();
      MLT_TRY(sink_(as_bytes(csv_line(header_))));
    } else if (lines.header() != header_) {
      return input_error("this record has other columns than the first", "use jsonl for records that differ");
    }
    return write_text(batch.count, sink_, [&](int64_t i, std::string& out) { lines.append(i, out); });
  }
  Status finish() override { return {}; }

 private:
  Sink sink_;
  std::vector<std::string> header_;
};

class PngWriter : public RecordWriter {
 public:
  explicit PngWriter(Sink sink) : sink_(std::move(sink)) {}
  Status write(const FeatureMap& record) override {
    if (written_) return unsupported_error("a .png holds the image of one record", "use npz for several");
    const Image* found = nullptr;
    for (const auto& [name, value] : record)
      if (const auto* image = std::get_if<Image>(&value)) {
        if (found != nullptr) return unsupported_error("the model has several image outputs", "use npz");
        found = image;
      }
    if (found == nullptr) return unsupported_error("the model has no image output", "use npz, jsonl or csv");
    written_ = true;
    MLT_ASSIGN(Bytes png, encode_png(*found));
    return sink_(png);
  }
  Status finish() override { return written_ ? Status() : Status(input_error("there was no record")); }

 private:
  Sink sink_;
  bool written_ = false;
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

std::unique_ptr<RecordWriter> write_records(RecordFormat format, RecordWriter::Sink sink) {
  if (format == RecordFormat::kJsonl) return std::make_unique<JsonlWriter>(std::move(sink));
  if (format == RecordFormat::kCsv) return std::make_unique<CsvWriter>(std::move(sink));
  if (format == RecordFormat::kPng) return std::make_unique<PngWriter>(std::move(sink));
  return std::make_unique<ArrayWriter>(format, std::move(sink));
}

Status RecordWriter::write_rows(const FeatureBatch& batch) {
  for (int64_t i = 0; i < batch.count; ++i) MLT_TRY(write(batch.record(i)));
  return {};
}

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
