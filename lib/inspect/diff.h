// What differs between two models: interface, metadata, graph, weights, size and cost. Containers do not
// matter: a package equals what it compiles to.
#pragma once
#include <string>
#include <vector>

#include "lib/inspect/structure.h"

namespace mlt::inspect {

struct Change {
  enum class Kind { kAdded, kRemoved, kChanged };
  Kind kind = Kind::kChanged;
  std::string what;   // "input \"image\"", "author", "stage 1"; of nodes the kind of operation: "conv"
  std::string name;   // of nodes
  std::string place;  // unit of the node: "stage 1"; empty when there is one only
  std::string before, after;         // texts; of added and removed nodes what they are made of in one line
  std::vector<std::string> details;  // of changed nodes: "strides: [1, 1] -> [2, 2]"
};

// Between the values of two tensors, over the finite ones.
struct Distance {
  int64_t elements = 0, changed = 0;  // changed: other bits, both NaN not counted
  int64_t not_finite = 0;             // in one of them; not in the numbers below
  double max = 0, mean = 0;           // absolute difference
  double relative = 0;  // norm of the difference by the norm of the first; infinite when that is zero
  double cosine = 1;    // NaN when one is all zero
};
Distance distance(const Tensor& a, const Tensor& b);  // of equal dims, numeric

struct WeightChange {
  std::string name, name_after;  // of the constant in either model
  std::string used_by, place;    // node and unit
  std::string storage, storage_after;
  Dims dims, dims_after;
  uint64_t bytes = 0, bytes_after = 0;
  std::optional<Distance> distance;  // of equal shape, and numbers
  std::string note;                  // instead of a distance: "12 of 1000 texts differ"
};

struct Totals {
  int64_t nodes = 0, weights = 0;
  uint64_t weight_bytes = 0;
  double flops = 0, bytes = 0;  // of the default shapes
  int64_t unknown = 0;          // nodes whose cost depends on flexible shapes
};

struct Comparison {
  std::string before, after;  // files
  std::vector<Change> interface, metadata, graph;
  std::vector<WeightChange> weights;
  int64_t same_nodes = 0, renamed = 0;  // pairs without a difference, and those of them with another name
  int64_t weight_pairs = 0;
  std::vector<std::string> notes;  // what could not be compared
  Totals totals[2];
  bool same() const { return interface.empty() && metadata.empty() && graph.empty() && weights.empty(); }
};

// kUnsupported when a part of a model cannot be read (compiled networks in unknown forms).
Result<Comparison> compare(const Subject& before, const Subject& after);
std::string comparison_text(const Comparison& comparison);
std::string comparison_json(const Comparison& comparison);  // schema "mlinspect-diff"
// The same schema where one side does not exist (empty name).
std::string absence_json(const std::string& before, const std::string& after);

// Pairs the nodes of two units by what they do and how they hang together, by name only where that leaves a
// choice: for each node of `a` the one of `b`, or -1.
std::vector<int> match_nodes(const Unit& a, const Unit& b);

// A model in lines for `git diff` (textconv): interface, metadata, one line for each operation, one for each
// weight. The same model in another file gives the same lines.
std::string lines_text(const Subject& subject);

}  // namespace mlt::inspect
