// Where an ML program's file-stored constants come from. lib/container implements it for packages, compiled
// directories, archives and memory; lib/coreml only asks.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt::coreml {

// One blob of a blob storage file. `data` is a part of the mapped file.
struct WeightBlob {
  DType dtype{};
  uint64_t elements = 0;  // sub-byte types: padding bits taken off
  Blob data;              // raw, little-endian, sub-byte types packed least significant bits first
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // file: as the program names it, e.g. "@model_path/weights/weight.bin". offset: of the metadata record.
  // kInput when the file is missing, the record is damaged or lies outside the file. Safe from several threads.
  virtual Result<WeightBlob> read(std::string_view file, uint64_t offset) const = 0;
  // False when there is no such file: its constants are then unknown, which is no error for who only reads the graph.
  virtual bool has(std::string_view file) const = 0;
};

// Where a program's constants go when it is written.
class WeightSink {
 public:
  virtual ~WeightSink() = default;
  // Appends a blob and returns the offset of its metadata record. Equal blobs may be stored once.
  virtual Result<uint64_t> add(DType dtype, uint64_t elements, ByteSpan data) = 0;
  // The same of a tensor, which may be deferred.
  virtual Result<uint64_t> add_tensor(const Tensor& tensor) { return add(tensor.dtype(), static_cast<uint64_t>(tensor.size()), tensor.bytes()); }
  // The name to put in BlobFileValue.fileName.
  virtual std::string file_name() const = 0;
};

}  // namespace mlt::coreml
