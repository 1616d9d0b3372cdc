// Decision trees over many rows at once, without a branch and without a gather per node.
//
// A tile is kTreeTile rows. Every feature becomes a column of 8-bit bins (the rank of the value among the thresholds
// that the trees at hand compare the feature with, less 128), so that one vector compares 16 to 64 rows with a node.
// All nodes of a tree's upper levels are compared, needed or not; the bits that come out are combined level by level, 256
// rows in a vector of 64-bit words, into the path of every row. A path is the number of a leaf.
//
// Each level costs twice what the one above costs that way. Where the machine looks up tables and gathers fast, the lowest
// levels of a tree are descended instead: every row fetches its node, and the bin that the node tests. Where a row's bins
// fit into registers that bytes can be looked up in (AVX-512 VBMI), the lowest two levels of many trees are descended at
// once: a row fetches the three tests that are left to it in each tree, and looks up the bins of all of them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mlt {

inline constexpr int64_t kTreeTile = 256;
inline constexpr int kTreeDepth = 8;  // most levels of a path: it is a byte

// Goes to the right when bin > threshold. The place of a node is its number in the complete tree, breadth first; where a
// tree has no node the way goes to the left.
struct TreeNode {
  uint32_t column_place = 0;  // its bins start at column * kTreeTile; the place is the low 8 bits
  uint32_t threshold = 0;     // four times the same int8
  TreeNode() = default;
  TreeNode(uint32_t column, uint32_t place, int8_t limit)
      : column_place(column << 8 | place), threshold(static_cast<uint8_t>(limit) * 0x01010101u) {}
  size_t column() const { return column_place >> 8; }
  size_t place() const { return column_place & 255; }
};
inline constexpr uint32_t kMaxTreeColumns = 1u << 24;

// path[r]: the bits of row r's way, the root's the highest of `depth`; 1 is right. depth is 0 to kTreeDepth, count at most
// 2^depth - 1. bins: columns of kTreeTile, 64-byte aligned; tree_descend() may read 3 bytes beyond those it tests.
void tree_paths(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept;
// The level from which descending is faster than comparing all nodes; kTreeDepth: never.
int tree_descend_from() noexcept;
// One level further: path[r] = 2 * path[r] + (the test of node path[r] of that level). A test is column << 8 | threshold as
// uint8, so only the first 256 columns can be used; there are 2^level of them, level < kTreeDepth, and every path is below
// that. A threshold of 127 goes to the left.
void tree_descend(const uint16_t* tests, int level, const int8_t* bins, uint8_t* path) noexcept;
// sums[r] += values[path[r]]
void tree_add(const uint8_t* path, const double* values, double* sums) noexcept;

// Levels 6 and 7 of several trees, where tree_kernels().pairs is set. A pair is a node of level 6 and its children: the
// columns of node, left and right child in bytes 0 to 2, their thresholds in bytes 4 to 6. A tree has kTreePairs.
inline constexpr int64_t kTreePairs = 64;
inline constexpr int64_t kPairColumns = 128;  // only these can be tested
inline constexpr int64_t kPairTrees = 64;     // most trees at once
constexpr uint64_t tree_pair(const uint16_t (&tests)[3]) {
  uint64_t all = 0;
  for (int i = 0; i < 3; ++i) all |= static_cast<uint64_t>(tests[i] >> 8) << 8 * i | static_cast<uint64_t>(tests[i] & 255) << (32 + 8 * i);
  return all;
}

// How many of the thresholds are <= x[r], for kTreeTile values; NaN: none. The thresholds ascend and are 2^steps - 1
// many; NaN stands for those that are missing at the end. True when some value is NaN.
bool tree_ranks(const float* x, const float* thresholds, int steps, uint16_t* ranks) noexcept;
bool tree_ranks(const double* x, const double* thresholds, int steps, uint16_t* ranks) noexcept;

// A number that need not be aligned, in an array of a file.
template <typename T>
inline T number_at(const T* p) {
  T value;
  std::memcpy(&value, static_cast<const void*>(p), sizeof value);
  return value;
}

// columns[f * kTreeTile + r] = rows[r * stride + f] for f < width <= kTreeBlock; 0 for rows from count on. There is room for
// kTreeBlock columns, of which those from width on hold anything afterwards. The rows need not be aligned.
inline constexpr int64_t kTreeBlock = 16;
void tree_columns(const float* rows, int64_t count, int64_t stride, int64_t width, float* columns) noexcept;
void tree_columns(const double* rows, int64_t count, int64_t stride, int64_t width, double* columns) noexcept;

// sums[r] += weight * x[r] for kTreeTile rows, rounded after each step.
void rows_add(const float* x, double weight, double* sums) noexcept;
void rows_add(const double* x, double weight, double* sums) noexcept;

// All of the above for the instruction set in use, for callers to whom choosing it at every call is too slow.
struct TreeKernels {
  void (*paths)(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept;
  void (*descend)(const uint16_t* tests, int level, const int8_t* bins, uint8_t* path) noexcept;
  int descend_from;
  void (*add)(const uint8_t* path, const double* values, double* sums) noexcept;
  bool (*ranks_f32)(const float* x, const float* thresholds, int steps, uint16_t* ranks) noexcept;
  bool (*ranks_f64)(const double* x, const double* thresholds, int steps, uint16_t* ranks) noexcept;
  void (*columns_f32)(const float* rows, int64_t count, int64_t stride, int64_t width, float* columns) noexcept;
  void (*columns_f64)(const double* rows, int64_t count, int64_t stride, int64_t width, double* columns) noexcept;
  void (*axpy_f32)(const float* x, double weight, double* sums) noexcept;
  void (*axpy_f64)(const double* x, double weight, double* sums) noexcept;
  // nullptr where the machine cannot. rows[r * kPairColumns + c] = bins[c * kTreeTile + r] for kPairColumns columns, both 64-byte
  // aligned.
  void (*pair_rows)(const int8_t* bins, int8_t* rows) noexcept;
  // path[r] = 4 * path[r] + the way through pair path[r] < kTreePairs, for `count` trees: a multiple of eight, at most
  // kPairTrees. Tree t's pairs are at pairs + t * kTreePairs, its path at paths + t * kTreeTile; all are 64-byte aligned.
  void (*pairs)(const uint64_t* pairs, int64_t count, const int8_t* rows, uint8_t* paths) noexcept;
};
const TreeKernels& tree_kernels() noexcept;

}  // namespace mlt
