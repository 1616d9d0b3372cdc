// Drawings of a model's graph. Where there are many operations, neighbours in execution order that share the
// beginning of their names, or lie between two places where few values are alive, are drawn as one box: what is contiguous
// in that order never makes a cycle.
#pragma once
#include <string>
#include <vector>

#include "lib/inspect/structure.h"

namespace mlt::inspect {

struct DrawnNode {
  enum class Shape { kOperation, kGroup, kInput, kOutput };
  Shape shape = Shape::kOperation;
  std::string title, name, detail;  // three lines: "conv", "conv1", "1x64x112x112"
  std::string hint;                 // several lines, shown on hovering
  std::string family;               // "conv", "activation", ...: decides the colour
  std::vector<int> members;         // nodes of the unit
  std::vector<std::string> also;    // names of far producers, in place of edges that would cross the drawing
};
struct DrawnEdge {
  int from = 0, to = 0;
  std::string label;  // shape of what flows
};
struct Drawing {
  std::string title;             // of the unit
  std::vector<DrawnNode> nodes;  // in an order in which edges go forward
  std::vector<DrawnEdge> edges;
};

// One for each unit. most_nodes: boxes of operations in a drawing, more are joined; 0: never join.
std::vector<Drawing> drawings_of(const std::vector<Unit>& units, const Report& report, size_t most_nodes);

// What colour an operation has: "conv", "linear", "activation", "norm", "pool", "shape", "control",
// "elementwise", "other".
std::string family_of(const std::string& kind);

std::string dot_text(const std::vector<Drawing>& drawings, const std::string& name);
// A file of its own, laid out in layers from top to bottom.
std::string svg_text(const std::vector<Drawing>& drawings, const std::string& name);

// "&amp;" and the like; what XML does not allow (control characters, broken UTF-8) becomes U+FFFD.
std::string escaped(std::string_view text);

}  // namespace mlt::inspect
