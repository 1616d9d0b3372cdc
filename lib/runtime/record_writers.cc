#include <algorithm>
#include <map>

#include "lib/base/threads.h"
#include "lib/runtime/csv.h"
#include "lib/runtime/image.h"
#include "lib/runtime/json_features.h"
#include "lib/runtime/npz.h"
#include "lib/runtime/records.h"
#include "lib/runtime/safetensors.h"

namespace mlt {
namespace {

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

}  // namespace mlt
