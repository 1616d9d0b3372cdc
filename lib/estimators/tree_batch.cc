#include "lib/estimators/tree_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>

namespace mlt {
namespace {

constexpr size_t kMaxBins = 255;         // thresholds of a feature within a group
constexpr size_t kMaxThresholds = 65535;  // of a feature: ranks are 16 bits
constexpr size_t kMaxFeatures = 1 << 14;
constexpr size_t kMaxTables = 16;        // outputs that the leaves of one tree add to

// What the kernel can test: no equality, and no threshold that stands for "always".
bool testable(const FlatNode& node) { return node.feature >= 0 && !node.equal && !std::isnan(node.threshold); }

float least_float_from(double t) {
  auto f = static_cast<float>(t);
  return static_cast<double>(f) < t ? std::nextafter(f, std::numeric_limits<float>::infinity()) : f;
}

}  // namespace

struct TreeBatch::Builder {
  std::span<const FlatNode> nodes;
  std::vector<int> depth;                                  // of the part of each tree that the kernel walks
  std::vector<std::vector<std::pair<int32_t, int32_t>>> upper;  // its nodes, with their place in the complete tree
  std::unordered_map<int32_t, uint32_t> slot;              // feature -> features_

  // Nodes of the kernel's part by place, breadth first; places below a leaf stay out.
  static void place(std::span<const FlatNode> nodes, int32_t root, int depth, std::vector<std::pair<int32_t, int32_t>>& out) {
    std::vector<std::pair<int32_t, int32_t>> level{{root, 0}}, next;
    for (int l = 0; l < depth && !level.empty(); ++l, level.swap(next)) {
      next.clear();
      for (auto [at, place] : level) {
        const FlatNode& node = nodes[static_cast<size_t>(at)];
        if (!testable(node)) continue;
        out.emplace_back(at, (1 << l) - 1 + place);
        next.emplace_back(node.child[1], 2 * place);
        next.emplace_back(node.child[0], 2 * place + 1);
      }
    }
  }

  // In cycles for a row: a node of the kernel's part costs about a fiftieth of one, a step of a walk about six.
  static int best_depth(std::span<const FlatNode> nodes, int32_t root) {
    std::vector<int32_t> level{root}, next;
    double below[kTreeDepth + 1] = {};  // expected steps from each level to the next when either way is as likely
    double share = 1, rest = 0;
    for (int l = 0; !level.empty() && l < 64; ++l, share /= 2, level.swap(next)) {
      next.clear();
      double steps = 0;
      for (int32_t at : level) {
        const FlatNode& node = nodes[static_cast<size_t>(at)];
        if (node.feature < 0) continue;
        steps += share;
        next.push_back(node.child[0]);
        next.push_back(node.child[1]);
      }
      (l <= kTreeDepth ? below[l] : rest) += steps;
    }
    below[kTreeDepth] += rest;
    int best = 0;
    double least = std::numeric_limits<double>::infinity(), walk = 0;
    for (int l = kTreeDepth; l >= 0; --l) {
      walk += below[l];
      double cost = 6 * walk + ((1 << l) - 1) / 50.0 + (walk > 0 ? 4 : 0);
      if (cost < least) least = cost, best = l;
    }
    return testable(nodes[static_cast<size_t>(root)]) ? best : 0;
  }
};

void TreeBatch::rank_features(std::span<const FlatNode> nodes, const Builder& builder) {
  for (const auto& upper : builder.upper)
    for (auto [at, place] : upper) {
      const FlatNode& node = nodes[static_cast<size_t>(at)];
      features_[builder.slot.at(node.feature)].doubles.push_back(node.threshold);
    }
  for (Feature& feature : features_) {
    std::sort(feature.doubles.begin(), feature.doubles.end());
    feature.doubles.erase(std::unique(feature.doubles.begin(), feature.doubles.end()), feature.doubles.end());
  }
}

// Nodes ascend by their place, so those of the lower levels are at the end.
void TreeBatch::lay_out_descent(Tree& tree, bool pairs) {
  constexpr uint16_t kLeft = 127;
  tree.upper = std::min(tree.depth, kernels_->descend_from);
  tree.paired = pairs && tree.depth == kTreeDepth;
  if (tree.paired) tree.upper = kTreeDepth - 2;
  if (tree.upper == tree.depth) return;
  size_t first = (size_t{1} << tree.upper) - 1;
  std::vector<uint16_t> tests((size_t{1} << tree.depth) - 1 - first, kLeft);
  while (tree.upper_count > 0) {
    const TreeNode& node = nodes_[tree.nodes + static_cast<size_t>(tree.upper_count) - 1];
    if (node.place() < first) break;
    tests[node.place() - first] = static_cast<uint16_t>(node.column() << 8 | (node.threshold & 255));
    --tree.upper_count;
  }
  if (!tree.paired) {
    tree.tests = static_cast<uint32_t>(tests_.size());
    tests_.insert(tests_.end(), tests.begin(), tests.end());
    return;
  }
  tree.pairs = static_cast<uint32_t>(pairs_.size());
  for (size_t i = 0; i < kTreePairs; ++i) pairs_.push_back(tree_pair({tests[i], tests[kTreePairs + 2 * i], tests[kTreePairs + 2 * i + 1]}));
}

TreeBatch::TreeBatch(std::span<const FlatNode> nodes, std::span<const int32_t> roots, std::span<const LeafValue> leaves) {
  kernels_ = &tree_kernels();
  Builder builder;
  builder.nodes = nodes;
  for (int32_t root : roots) {
    builder.depth.push_back(Builder::best_depth(nodes, root));
    Builder::place(nodes, root, builder.depth.back(), builder.upper.emplace_back());
    // Too many features for a tile's ranks to be held: the tree is walked.
    if (features_.size() + builder.upper.back().size() > kMaxFeatures) {
      builder.upper.back().clear();
      builder.depth.back() = 0;
    }
    for (auto [at, place] : builder.upper.back()) {
      int32_t feature = nodes[static_cast<size_t>(at)].feature;
      if (builder.slot.try_emplace(feature, static_cast<uint32_t>(features_.size())).second) features_.emplace_back().index = feature;
    }
  }
  std::sort(features_.begin(), features_.end(), [](const Feature& a, const Feature& b) { return a.index < b.index; });
  for (uint32_t f = 0; f < features_.size(); ++f) {
    int32_t index = features_[f].index;
    builder.slot[index] = f;
    if (blocks_.empty() || index >= blocks_.back().index + kTreeBlock) blocks_.push_back({f, f, index, 0});
    blocks_.back().last = f + 1;
    blocks_.back().width = index - blocks_.back().index + 1;
  }
  rank_features(nodes, builder);
  // A feature with more thresholds than ranks: trees that test it above are walked instead.
  bool again = false;
  for (size_t t = 0; t < roots.size(); ++t) {
    bool drop = false;
    for (auto [at, place] : builder.upper[t]) drop |= features_[builder.slot.at(nodes[static_cast<size_t>(at)].feature)].doubles.size() > kMaxThresholds;
    if (!drop) continue;
    builder.upper[t].clear();
    builder.depth[t] = 0;
    again = true;
  }
  if (again) {
    for (Feature& feature : features_) feature.doubles.clear();
    rank_features(nodes, builder);
  }

  auto rank_of = [&](const Feature& feature, double threshold) {
    return static_cast<size_t>(std::lower_bound(feature.doubles.begin(), feature.doubles.end(), threshold) - feature.doubles.begin());
  };
  std::vector<std::vector<uint8_t>> used(features_.size());  // thresholds that the group has, and how many
  std::vector<size_t> used_count(features_.size(), 0);
  std::vector<std::pair<uint32_t, size_t>> fresh;
  std::vector<std::vector<size_t>> ranks(roots.size());

  auto close_group = [&](uint32_t last) {
    if (groups_.empty() || groups_.back().first == last) return;
    Group& group = groups_.back();
    group.last = last;
    std::vector<std::vector<uint8_t>> bin_of(features_.size());  // rank of a threshold -> its bin in the group
    std::vector<int32_t> column_of(features_.size() * 2, -1);
    for (uint32_t t = group.first; t < last; ++t) {
      TreeNode* out = nodes_.data() + trees_[t].nodes;
      for (size_t i = 0; i < builder.upper[t].size(); ++i) {
        auto [at, place] = builder.upper[t][i];
        const FlatNode& node = nodes[static_cast<size_t>(at)];
        uint32_t slot = builder.slot.at(node.feature);
        if (bin_of[slot].empty()) {
          bin_of[slot].resize(used[slot].size());
          uint8_t bin = 0;
          for (size_t k = 0; k < used[slot].size(); ++k) {
            bin_of[slot][k] = bin;
            bin = static_cast<uint8_t>(bin + used[slot][k]);
          }
        }
        bool missing_right = !node.missing_is_true;
        int32_t& column = column_of[slot * 2 + missing_right];
        if (column < 0) {
          column = static_cast<int32_t>(group.columns.size());
          Column c;
          c.feature = slot;
          c.missing_right = missing_right;
          c.plain = used_count[slot] == used[slot].size();
          c.map = static_cast<uint32_t>(maps_.size());
          if (!c.plain) {
            int bin = 0;  // of rank r: how many of the group's thresholds are among the r smallest
            maps_.push_back(-128);
            for (uint8_t in : used[slot]) maps_.push_back(static_cast<int8_t>((bin += in) - 128));
          }
          group.columns.push_back(c);
        }
        out[i] = TreeNode(static_cast<uint32_t>(column), static_cast<uint32_t>(place), static_cast<int8_t>(bin_of[slot][ranks[t][i]] - 128));
      }
    }
    bool pairs = kernels_->pairs != nullptr && group.columns.size() <= kPairColumns;
    for (uint32_t t = group.first; t < last && group.columns.size() <= 256; ++t) {
      lay_out_descent(trees_[t], pairs);
      group.paired |= trees_[t].paired;
    }
    for (size_t s = 0; s < used.size(); ++s) {
      std::fill(used[s].begin(), used[s].end(), 0);
      used_count[s] = 0;
    }
  };
  for (size_t s = 0; s < features_.size(); ++s) used[s].assign(features_[s].doubles.size(), 0);

  for (size_t t = 0; t < roots.size(); ++t) {
    auto number = static_cast<uint32_t>(t);
    for (auto [at, place] : builder.upper[t]) {
      const FlatNode& node = nodes[static_cast<size_t>(at)];
      ranks[t].push_back(rank_of(features_[builder.slot.at(node.feature)], node.threshold));
    }
    auto take = [&] {
      fresh.clear();
      bool fits = true;
      for (size_t i = 0; i < builder.upper[t].size(); ++i) {
        uint32_t slot = builder.slot.at(nodes[static_cast<size_t>(builder.upper[t][i].first)].feature);
        if (used[slot][ranks[t][i]]) continue;
        used[slot][ranks[t][i]] = 1;
        fresh.emplace_back(slot, ranks[t][i]);
        fits &= ++used_count[slot] <= kMaxBins;
      }
      return fits;
    };
    if (t == 0) groups_.emplace_back();
    if (!take()) {
      for (auto [slot, rank] : fresh) used[slot][rank] = 0, --used_count[slot];
      close_group(number);
      groups_.emplace_back().first = number;
      take();
    }
    Tree tree;
    tree.depth = builder.depth[t];
    tree.nodes = static_cast<uint32_t>(nodes_.size());
    tree.entries = static_cast<uint32_t>(entries_.size());
    size_t paths = size_t{1} << tree.depth;
    tree.upper_count = tree.count = static_cast<int>(builder.upper[t].size());
    tree.upper = tree.depth;
    nodes_.resize(nodes_.size() + builder.upper[t].size());
    entries_.resize(entries_.size() + paths);
    int32_t* entry = entries_.data() + tree.entries;
    for (size_t path = 0; path < paths; ++path) {
      int32_t at = roots[t];
      for (int l = tree.depth - 1; l >= 0 && testable(nodes[static_cast<size_t>(at)]); --l) at = nodes[static_cast<size_t>(at)].child[(path >> l) & 1 ? 0 : 1];
      entry[path] = at;
      tree.walk |= nodes[static_cast<size_t>(at)].feature >= 0;
    }
    // Tables of leaf values, one for each output; -0 changes no sum.
    std::vector<int32_t> outputs;
    for (size_t path = 0; path < paths && !tree.walk; ++path) {
      const FlatNode& leaf = nodes[static_cast<size_t>(entry[path])];
      for (int32_t i = leaf.child[0]; i < leaf.child[1]; ++i) {
        int32_t output = leaves[static_cast<size_t>(i)].first;
        if (std::find(outputs.begin(), outputs.end(), output) == outputs.end()) outputs.push_back(output);
        for (int32_t k = leaf.child[0]; k < i; ++k) tree.walk |= leaves[static_cast<size_t>(k)].first == output;
        if (outputs.size() > kMaxTables) tree.walk = true;
        if (tree.walk) break;
      }
    }
    tree.adds = static_cast<uint32_t>(adds_.size());
    if (!tree.walk) {
      tree.add_count = static_cast<uint32_t>(outputs.size());
      for (int32_t output : outputs) {
        adds_.push_back({output, static_cast<uint32_t>(tables_.size())});
        size_t table = tables_.size();
        tables_.resize(table + paths, -0.0);
        for (size_t path = 0; path < paths; ++path) {
          const FlatNode& leaf = nodes[static_cast<size_t>(entry[path])];
          for (int32_t i = leaf.child[0]; i < leaf.child[1]; ++i)
            if (leaves[static_cast<size_t>(i)].first == output) tables_[table + path] = leaves[static_cast<size_t>(i)].second;
        }
      }
    }
    trees_.push_back(tree);
  }
  close_group(static_cast<uint32_t>(roots.size()));
  pairs_.resize(pairs_.size() + (pairs_.empty() ? 0 : 7 * kTreePairs));  // eight trees are descended together

  for (Feature& feature : features_) {
    while ((size_t{1} << feature.steps) - 1 < feature.doubles.size()) ++feature.steps;
    for (double t : feature.doubles) feature.floats.push_back(least_float_from(t));
    size_t padded = (size_t{1} << feature.steps) - 1;
    feature.doubles.resize(padded, std::numeric_limits<double>::quiet_NaN());
    feature.floats.resize(padded, std::numeric_limits<float>::quiet_NaN());
  }
}

template <typename T>
void TreeBatch::rank(const T* rows, int64_t count, int64_t stride, Scratch& scratch) const {
  scratch.ranks.resize(features_.size() * kTreeTile);
  scratch.missing.resize(features_.size() * kTreeTile);
  scratch.any_missing.resize(features_.size());
  const TreeKernels& kernels = *kernels_;
  alignas(64) T columns[kTreeBlock * kTreeTile];
  for (const Block& block : blocks_) {
    if constexpr (sizeof(T) == sizeof(float)) kernels.columns_f32(rows + block.index, count, stride, block.width, columns);
    else kernels.columns_f64(rows + block.index, count, stride, block.width, columns);
    for (size_t f = block.first; f < block.last; ++f) {
      const Feature& feature = features_[f];
      const T* column = columns + (feature.index - block.index) * kTreeTile;
      uint16_t* ranks = scratch.ranks.data() + f * kTreeTile;
      bool any;
      if constexpr (sizeof(T) == sizeof(float)) any = kernels.ranks_f32(column, feature.floats.data(), feature.steps, ranks);
      else any = kernels.ranks_f64(column, feature.doubles.data(), feature.steps, ranks);
      scratch.any_missing[f] = any;
      for (int64_t r = 0; r < kTreeTile && any; ++r) scratch.missing[f * kTreeTile + static_cast<size_t>(r)] = column[r] != column[r];
    }
  }
}

template <typename T>
void TreeBatch::add(std::span<const FlatNode> nodes, std::span<const LeafValue> leaves, const T* rows, int64_t count, int64_t stride, double* sums,
                    Scratch& scratch) const {
  const TreeKernels& kernels = *kernels_;
  rank(rows, count, stride, scratch);
  auto aligned = [](auto& bytes, size_t size) {
    bytes.resize(size + 64);
    return bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64;
  };
  uint8_t* paths = aligned(scratch.paths, static_cast<size_t>((kPairTrees + 8) * kTreeTile));
  for (const Group& group : groups_) {
    int8_t* bins = aligned(scratch.bins, std::max(group.columns.size(), static_cast<size_t>(group.paired ? kPairColumns : 0)) * kTreeTile + 64);
    for (size_t c = 0; c < group.columns.size(); ++c) {
      const Column& source = group.columns[c];
      const uint16_t* ranks = scratch.ranks.data() + source.feature * kTreeTile;
      int8_t* out = bins + c * kTreeTile;
      if (source.plain) {
        for (int64_t r = 0; r < kTreeTile; ++r) out[r] = static_cast<int8_t>(ranks[r] - 128);
      } else {
        for (int64_t r = 0; r < kTreeTile; ++r) out[r] = maps_[source.map + ranks[r]];
      }
      if (!scratch.any_missing[source.feature]) continue;
      const uint8_t* missing = scratch.missing.data() + source.feature * kTreeTile;
      for (int64_t r = 0; r < kTreeTile; ++r)
        if (missing[r]) out[r] = source.missing_right ? 127 : -128;
    }
    int8_t* by_row = nullptr;
    if (group.paired) {
      by_row = aligned(scratch.rows, static_cast<size_t>(kPairColumns * kTreeTile));
      kernels.pair_rows(bins, by_row);
    }
    for (uint32_t from = group.first; from < group.last; from += kPairTrees) {
      const uint32_t to = std::min<uint32_t>(group.last, from + kPairTrees);
      // Paths of paired trees from the front, up to a multiple of eight, those of others from the back.
      int64_t paired = 0, back = kPairTrees + 8;
      uint8_t* path_of[kPairTrees];
      const uint64_t* pairs = nullptr;
      for (uint32_t t = from; t < to; ++t) {
        const Tree& tree = trees_[t];
        if (tree.paired && pairs == nullptr) pairs = pairs_.data() + tree.pairs;
        uint8_t* path = path_of[t - from] = paths + (tree.paired ? paired++ : --back) * kTreeTile;
        kernels.paths(nodes_.data() + tree.nodes, tree.upper_count, tree.upper, bins, path);
        if (tree.paired) continue;
        const uint16_t* tests = tests_.data() + tree.tests;
        for (int level = tree.upper; level < tree.depth; tests += size_t{1} << level++) kernels.descend(tests, level, bins, path);
      }
      if (paired > 0) {
        int64_t eights = (paired + 7) / 8 * 8;
        std::memset(paths + paired * kTreeTile, 0, static_cast<size_t>((eights - paired) * kTreeTile));
        kernels.pairs(pairs, eights, by_row, paths);
      }
      for (uint32_t t = from; t < to; ++t) {
        const Tree& tree = trees_[t];
        const uint8_t* path = path_of[t - from];
        for (uint32_t a = tree.adds; a < tree.adds + tree.add_count; ++a)
          kernels.add(path, tables_.data() + adds_[a].table, sums + static_cast<int64_t>(adds_[a].output) * kTreeTile);
        if (!tree.walk) continue;
        for (int64_t r = 0; r < count; ++r) {
          const FlatNode* node = &nodes[static_cast<size_t>(entries_[tree.entries + path[r]])];
          while (node->feature >= 0) node = &nodes[static_cast<size_t>(next_node(*node, rows + r * stride))];
          for (int32_t i = node->child[0]; i < node->child[1]; ++i)
            sums[static_cast<int64_t>(leaves[static_cast<size_t>(i)].first) * kTreeTile + r] += leaves[static_cast<size_t>(i)].second;
        }
      }
    }
  }
}

template void TreeBatch::add(std::span<const FlatNode>, std::span<const LeafValue>, const float*, int64_t, int64_t, double*, Scratch&) const;
template void TreeBatch::add(std::span<const FlatNode>, std::span<const LeafValue>, const double*, int64_t, int64_t, double*, Scratch&) const;

}  // namespace mlt
