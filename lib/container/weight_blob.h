// Blob storage files (weights/weight.bin). Layout: reference milblob.md, from coremltools' MILBlob sources. Version 2:
// a 64-byte header (u32 count, u32 version), then per blob a 64-byte record (sentinel, dtype, size, offset, padding
// bits) and its data, all starts on 64-byte boundaries. Version 1 holds a compiled neural network's weights.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/base/threads.h"
#include "lib/container/file_tree.h"
#include "lib/coreml/weight_source.h"
#include "lib/tensor/dtype.h"

namespace mlt {

using coreml::WeightBlob;

// Codes of blob storage version 2; they are not the numbers of MIL's DataType. None for bool, string, 64-bit types.
std::optional<DType> blob_dtype(uint32_t code);
std::optional<uint32_t> blob_code(DType dtype);

struct BlobRecord {
  uint64_t record_offset = 0;  // what programs name
  uint64_t data_offset = 0, bytes = 0;
  DType dtype{};
  uint64_t elements = 0;
};

// A mapped version 2 file. Copies share.
class BlobFile {
 public:
  // kInput when the header is not that of version 2.
  static Result<BlobFile> open(Blob file);
  uint32_t count() const { return count_; }  // as the header says
  Result<WeightBlob> read(uint64_t record_offset) const;
  Result<BlobRecord> record(uint64_t record_offset) const;
  // Every record, found by walking from offset 64; kInput when the walk does not meet `count` valid records.
  Result<std::vector<BlobRecord>> records() const;

 private:
  Blob file_;
  uint32_t count_ = 0;
};

// Blobs of a compiled neural network (model.espresso.weights), by id. Odd ids are data, even ids filler.
class EspressoWeights {
 public:
  static Result<EspressoWeights> open(Blob file);
  size_t count() const { return blobs_.size(); }
  Result<Blob> read(uint64_t id) const;

 private:
  std::map<uint64_t, Blob> blobs_;
};

// The weights of a program inside a tree rooted at the directory that "@model_path" means. Missing files are an error
// only when something is read from them.
class TreeWeights : public coreml::WeightSource {
 public:
  explicit TreeWeights(FileTree tree) : tree_(std::move(tree)) {}
  Result<WeightBlob> read(std::string_view file, uint64_t offset) const override;
  bool has(std::string_view file) const override;
  // The blob file itself.
  Result<BlobFile> file(std::string_view name) const;

 private:
  FileTree tree_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, BlobFile, std::less<>> open_;
};
// "@model_path/weights/weight.bin" -> "weights/weight.bin"; kInput when it would leave the model's directory.
Result<std::string> resolve_weight_path(std::string_view name);

// Writes a version 2 file; memory used does not grow with the weights. Equal blobs (dtype and bytes) are stored once
// unless `deduplicate` is false.
class BlobWriter : public coreml::WeightSink {
 public:
  // A new file at path (parent directories exist; on failure the caller removes it, see AtomicDirectory).
  static Result<std::unique_ptr<BlobWriter>> create(const std::string& path, bool deduplicate = true);
  // A file without a name in the temporary directory.
  static Result<std::unique_ptr<BlobWriter>> create_temporary(bool deduplicate = true);
  ~BlobWriter() override;

  Result<uint64_t> add(DType dtype, uint64_t elements, ByteSpan data) override;
  Result<uint64_t> add_tensor(const Tensor& tensor) override;
  std::string file_name() const override { return name_; }
  // Default "@model_path/weights/weight.bin".
  void set_file_name(std::string name) { name_ = std::move(name); }
  uint32_t count() const { return count_; }
  uint64_t bytes() const { return end_; }
  // Writes the header and gives the finished file, mapped. No add() after it.
  Result<Blob> finish();

 private:
  BlobWriter() = default;
  Status put(uint64_t offset, ByteSpan bytes);
  Result<bool> equals(uint64_t data_offset, ByteSpan data);
  Status put_deferred(uint64_t offset, const Tensor& tensor);
  Result<bool> equals_deferred(uint64_t data_offset, const Tensor& tensor);
  Result<uint64_t> store(DType dtype, uint64_t elements, uint64_t bytes, uint64_t hash, FunctionRef<Result<bool>(uint64_t)> equal,
                       FunctionRef<Status(uint64_t)> write);

  int fd_ = -1;
  std::string path_;
  std::string name_ = "@model_path/weights/weight.bin";
  bool deduplicate_ = true;
  uint32_t count_ = 0;
  uint64_t end_ = 64;
  struct Seen {
    DType dtype;
    uint64_t elements, bytes, record_offset;
  };
  std::multimap<uint64_t, Seen> seen_;  // by a fingerprint of the elements; equality is checked against the file
};

}  // namespace mlt
