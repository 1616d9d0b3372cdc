// The way back: Core ML models as ONNX. ML programs, neural networks (lifted), trees, linear models, support vector
// machines, feature engineering, and pipelines of these.
//
// Interface of the ONNX model: features keep their names. Multi-arrays keep their extents; extents that the program
// leaves open become symbolic. Images are float [1, channels, height, width] of pixels 0..255 in the channel order that
// the metadata entry "coreml.input.NAME" states. Classic models take [N, 1] for a number or string and [N, n] for an array
// of n values, with N open. A dictionary of class probabilities becomes a float tensor, one column per class in the
// order of the metadata entry "coreml.classes.NAME" (a JSON array). A state becomes an input NAME and an output NAME_out.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/convert/frontend.h"
#include "lib/coreml/model.h"
#include "lib/ir/graph.h"

namespace mlt::foreign::to_onnx {

struct Options {
  int64_t opset = 17;     // of the standard operators: 13 to 24
  int64_t ml_opset = 3;   // of ai.onnx.ml: 1 to 3
  bool float32 = false;   // float16 tensors and weights become float32
  std::string function;   // of a program with several; empty: the default one
  std::map<std::string, Dims> input_dims;  // of a network's inputs, where not the described ones
  std::string data_name;  // file name of weights kept apart when the model would pass 2 GiB; empty: an error then
};

struct Exported {
  Bytes model;                     // a ModelProto
  std::vector<Blob> data;          // content of the file `data_name`, in order and without gaps; empty: none is needed
  std::vector<std::string> warnings;
};

// program: of an mlProgram, its constants loaded; null for every other kind (programs inside pipelines are found by
// stage in `stages`, null where a stage has none). kUnsupported with every reason when something has no ONNX twin.
Result<Exported> export_onnx(const coreml::Model& model, const ir::Program* program, const std::vector<std::unique_ptr<ir::Program>>& stages,
                             const Options& options);

}  // namespace mlt::foreign::to_onnx
