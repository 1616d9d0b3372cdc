// An ensemble laid out for lib/kernels/trees.h. Of every tree the upper levels become a complete one that the kernel
// walks for a whole tile of rows; what is below (deep trees, tests for equality) is walked row by row from where the
// kernel stopped. How many levels are taken is chosen per tree by what it would cost.
//
// A bin is 8 bits, so trees are taken in groups, each with at most 255 thresholds for a feature. Values are ranked once
// among all thresholds of their feature, and each group maps those ranks to its bins.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lib/kernels/trees.h"

namespace mlt {

// A node as TreeEnsemble keeps it: x < threshold or x == threshold goes to child[1], NaN to child[missing_is_true].
struct FlatNode {
  double threshold = 0;       // NaN: the test is always true
  int32_t feature = -1;       // -1: leaf
  int32_t child[2] = {0, 0};  // false, true; leaf: range of leaf values
  uint8_t equal = 0, missing_is_true = 0;
};
using LeafValue = std::pair<int32_t, double>;  // output, value

template <typename T>
inline int32_t next_node(const FlatNode& node, const T* row) {
  double x = static_cast<double>(number_at(row + node.feature));
  bool yes = node.equal ? x == node.threshold : x < node.threshold;
  if (x != x) yes = node.missing_is_true;
  else if (node.threshold != node.threshold) yes = true;
  return node.child[yes];
}

class TreeBatch {
 public:
  TreeBatch() = default;
  TreeBatch(std::span<const FlatNode> nodes, std::span<const int32_t> roots, std::span<const LeafValue> leaves);

  // Memory that a thread needs; reused from tile to tile.
  struct Scratch {
    std::vector<uint16_t> ranks;
    std::vector<uint8_t> missing, any_missing;
    std::vector<int8_t> bins, rows;
    std::vector<uint8_t> paths;
  };
  // Adds the leaves of `count` <= kTreeTile rows, tree after tree: sums[output * kTreeTile + row].
  template <typename T>
  void add(std::span<const FlatNode> nodes, std::span<const LeafValue> leaves, const T* rows, int64_t count, int64_t stride, double* sums,
           Scratch& scratch) const;

 private:
  struct Feature {
    int32_t index = 0;
    int steps = 0;  // 2^steps - 1 thresholds, NaN at the end
    std::vector<double> doubles;
    std::vector<float> floats;  // the least float that is not below: the same test for float values
  };
  struct Column {
    uint32_t feature = 0;    // of features_
    bool missing_right = false;
    uint32_t map = 0;        // of maps_: bins of the ranks
    bool plain = false;      // bin = rank - 128
  };
  struct Add {
    int32_t output = 0;
    uint32_t table = 0;  // of tables_
  };
  struct Tree {
    uint32_t nodes = 0;    // of nodes_
    uint32_t entries = 0;  // of entries_: where each path ends, a node of the ensemble
    int count = 0, depth = 0;
    int upper_count = 0, upper = 0;  // nodes and levels that are compared; those below are descended
    uint32_t tests = 0;              // of tests_: the levels below, one after the other
    bool paired = false;             // or of pairs_, which those of the next paired tree follow
    uint32_t pairs = 0;
    bool walk = false;  // some path ends above a leaf, or leaves are of a form that tables do not hold
    uint32_t adds = 0, add_count = 0;
  };
  struct Group {
    uint32_t first = 0, last = 0;  // trees
    std::vector<Column> columns;
    bool paired = false;  // some tree is
  };
  // Features that lie near one another in a row.
  struct Block {
    uint32_t first = 0, last = 0;  // of features_
    int32_t index = 0, width = 0;  // where they are in a row
  };
  struct Builder;
  void lay_out_descent(Tree& tree, bool pairs);
  template <typename T>
  void rank(const T* rows, int64_t count, int64_t stride, Scratch& scratch) const;
  void rank_features(std::span<const FlatNode> nodes, const Builder& builder);

  const TreeKernels* kernels_ = nullptr;  // what the trees are laid out for
  std::vector<Feature> features_;  // ascending by index
  std::vector<Block> blocks_;
  std::vector<Group> groups_;
  std::vector<Tree> trees_;
  std::vector<TreeNode> nodes_;
  std::vector<uint16_t> tests_;
  std::vector<uint64_t> pairs_;
  std::vector<int32_t> entries_;
  std::vector<Add> adds_;
  std::vector<double> tables_;
  std::vector<int8_t> maps_;
};

}  // namespace mlt
