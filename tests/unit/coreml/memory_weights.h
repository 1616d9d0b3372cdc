// Both ends of a weight file, in memory: offset n is the n-th blob times 64.
#pragma once
#include <vector>

#include "lib/coreml/weight_source.h"

namespace mlt::test {

struct MemoryWeights : coreml::WeightSource, coreml::WeightSink {
  std::vector<coreml::WeightBlob> blobs;
  Result<coreml::WeightBlob> read(std::string_view, uint64_t offset) const override {
    if (offset % 64 != 0 || offset / 64 >= blobs.size()) return input_error("no record here");
    return blobs[offset / 64];
  }
  bool has(std::string_view file) const override { return file == file_name(); }
  Result<uint64_t> add(DType dtype, uint64_t elements, ByteSpan data) override {
    blobs.push_back({dtype, elements, Blob(Bytes(data.begin(), data.end()))});
    return (blobs.size() - 1) * 64;
  }
  std::string file_name() const override { return "@model_path/weights/weight.bin"; }
};

}  // namespace mlt::test
