// A model as nodes with inputs: what the differ, the linter, drawings and pages walk over, whatever the
// model's kind. A node is an op of a program, a layer of a network, or the whole of a classic model (whose
// numbers are its constants).
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lib/inspect/inspect.h"
#include "lib/ops/cost.h"

namespace mlt::inspect {

// A stored tensor, or the expression of constexpr ops over stored tensors that an op takes in its place.
struct Constant {
  std::string name;
  std::string storage;  // "fp16", "float32", "palette 4-bit", "linear int8", "sparse"
  Dims dims;
  uint64_t bytes = 0;
  bool missing = false;  // its file is not there
  bool expression = false;
  std::function<Result<Tensor>()> values;  // expanded; strings for columns of text
  std::function<ByteSpan()> stored;        // bytes as stored; empty: not at hand
};

struct Input {
  std::string param;  // "x", "values[1]", "0"
  int producer = -1;  // node; -1: an input of the unit or of a block
  int output = 0;     // which output of the producer
  std::string name;   // of the value
  int constant = -1;  // >= 0: no value but this constant
};

struct Output {
  std::string name, type;  // type as text; of layers "1x64x112x112" where it is known
  Dims dims;
  bool known = false;  // dims are concrete
};

struct Node {
  std::string kind, name;
  int parent = -1, block = 0;  // node whose block (0: then, condition; 1: else, body) it lies in
  std::vector<Input> inputs;
  std::vector<std::pair<std::string, std::string>> fields;  // small parameters as text
  std::vector<Output> outputs;
  Cost cost;
  const ir::Op* op = nullptr;  // of programs
};

// A function of a program, a network, or a classic model.
struct Unit {
  std::string place;  // "", "main", "stage 1", "stage 1, function f"
  std::string kind;   // "mlProgram", "neuralNetwork", "treeEnsembleClassifier"
  std::vector<std::pair<std::string, std::string>> inputs;  // name and type, of programs
  std::vector<Input> outputs;                               // what it returns, of programs
  std::vector<Node> nodes;  // execution order; a node before those of its blocks
  std::vector<Constant> constants;
  std::string unread;  // why there are no nodes although the model has some
  const ir::Function* function = nullptr;
};

// With `shapes`, networks get the shapes of their layers' outputs, and costs. The subject must outlive the
// units.
std::vector<Unit> units_of(const Subject& subject, bool shapes);

// Small tensors as text: "[1, 1]", "0.5", "\"same\""; the first 64 elements.
std::string value_text(const Tensor& tensor);

}  // namespace mlt::inspect
