// Neural networks in their compiled form: the layers of model.espresso.net as data, and the way between them and the
// layers of a NeuralNetwork message. Apple publishes nothing of this format. What is written here was observed: by
// comparing public compiled models with their sources (reference mlmodelc.md section 6) and in open tools that write or
// read such files. A layer type, a value or a field without such evidence is refused, never guessed.
//
// Compiled axes are numbered from the innermost: w 0, h 1, k (channels) 2, n 3, seq 4.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/coreml/model.h"

namespace mlt::coreml {

using EspressoValue = std::variant<double, bool, std::string>;

struct EspressoLayer {
  std::string type, name;
  std::vector<std::string> bottoms, tops;
  std::map<std::string, EspressoValue> fields;  // "pad_l", "blob_weights", ...
  std::map<std::string, uint64_t> weights;      // the member "weights": ids of blobs of quantized layers
  bool is_output = false;
};

struct EspressoShape {
  int64_t n = 1, k = 1, h = 1, w = 1, seq = 1;
  int rank = 0;  // of exactly mapped blobs; 0: not said
  bool operator==(const EspressoShape&) const = default;
};

// Image preprocessing of one input: pixel * scale + bias.
struct EspressoImage {
  float scale = 1, red = 0, green = 0, blue = 0, gray = 0;
};

struct EspressoNetwork {
  std::vector<EspressoLayer> layers;
  std::map<std::string, EspressoShape> shapes;  // by blob
  std::map<std::string, EspressoImage> images;  // by input
  bool exact_arrays = false;                    // array shapes are mapped exactly, not to rank 5
  // Updatable networks: the layers that are trained, with their outputs, and the NetworkUpdateParameters message.
  std::vector<std::pair<std::string, std::string>> updatable_layers;
  std::optional<Bytes> update_parameters;
};

using EspressoBlobs = std::function<Result<Blob>(uint64_t id)>;

// Fills the network of `model` (which has its type, description and labels already) with layers that mean the same.
// Fused activations become layers of their own. kUnsupported lists every layer that cannot be read, kInput names a
// damaged one; the model's network is then empty.
Status read_espresso(const EspressoNetwork& network, const EspressoBlobs& blobs, Model& model);

struct EspressoBlob {
  Bytes bytes;
  uint64_t padded = 0;  // size of the blob, zeros after `bytes`
};
struct WrittenEspresso {
  EspressoNetwork network;
  std::vector<EspressoBlob> blobs;  // the i-th has the id 2 * i + 1
};
// The network of `model` as Apple's compiler lays it out: batch normalizations folded into convolutions, activations
// fused, types and fields as observed. kUnsupported lists every layer that the known part of the format cannot say.
Result<WrittenEspresso> write_espresso(const Model& model);

}  // namespace mlt::coreml
