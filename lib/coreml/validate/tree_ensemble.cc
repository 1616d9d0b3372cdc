// Trees must be trees: every child exists once, below one parent, in the same tree, and hangs on the tree's one root.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <vector>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

using Node = spec::TreeEnsembleParameters::TreeNode;

struct Entry {
  uint64_t tree, id;
  const Node* node;
  int parents = 0;
  bool reached = false;
  bool operator<(const Entry& other) const { return std::pair(tree, id) < std::pair(other.tree, other.id); }
};

Entry* find(std::vector<Entry>& entries, uint64_t tree, uint64_t id) {
  Entry key{tree, id, nullptr};
  auto it = std::lower_bound(entries.begin(), entries.end(), key);
  return it != entries.end() && it->tree == tree && it->id == id ? &*it : nullptr;
}

bool is_leaf(const Node& node) { return node.nodebehavior() == Node::LeafNode; }

void check_structure(std::vector<Entry>& entries, Checker& check) {
  for (size_t i = 1; i < entries.size(); i++)
    if (!(entries[i - 1] < entries[i]))
      check.error(fmt::format("tree {} has two nodes {}", entries[i].tree, entries[i].id));
  for (Entry& entry : entries) {
    if (is_leaf(*entry.node)) continue;
    for (uint64_t id : {entry.node->truechildnodeid(), entry.node->falsechildnodeid()}) {
      Entry* child = find(entries, entry.tree, id);
      if (!child) {
        check.error(fmt::format("tree {}: node {} has the child {}, which does not exist", entry.tree, entry.id, id));
      } else if (child == &entry) {
        check.error(fmt::format("tree {}: node {} is its own child", entry.tree, entry.id));
      } else if (++child->parents == 2) {
        check.error(fmt::format("tree {}: node {} is the child of two branches", entry.tree, id));
      }
    }
    if (check.full()) return;
  }
  // From each root downwards; what is not reached hangs on a cycle.
  std::vector<Entry*> stack;
  std::map<uint64_t, int> roots;
  for (Entry& entry : entries) {
    if (entry.parents > 0) continue;
    roots[entry.tree]++;
    entry.reached = true;
    stack.push_back(&entry);
  }
  while (!stack.empty()) {
    Entry* entry = stack.back();
    stack.pop_back();
    if (is_leaf(*entry->node)) continue;
    for (uint64_t id : {entry->node->truechildnodeid(), entry->node->falsechildnodeid()}) {
      Entry* child = find(entries, entry->tree, id);
      if (!child || child->reached) continue;
      child->reached = true;
      stack.push_back(child);
    }
  }
  for (const auto& [tree, count] : roots)
    if (count > 1) check.error(fmt::format("tree {} has {} roots", tree, count));
  for (const Entry& entry : entries)
    if (!entry.reached) check.error(fmt::format("tree {}: node {} is part of a cycle", entry.tree, entry.id));
}

}  // namespace

void check_tree_ensemble(const Model& model, Checker& check) {
  bool classifier = model.kind() == ModelKind::kTreeEnsembleClassifier;
  const spec::Model& proto = model.proto();
  const spec::TreeEnsembleParameters& trees =
      classifier ? proto.treeensembleclassifier().treeensemble() : proto.treeensembleregressor().treeensemble();
  int transform = classifier ? proto.treeensembleclassifier().postevaluationtransform()
                             : proto.treeensembleregressor().postevaluationtransform();
  check.require(transform >= 0 && transform <= 3, "unknown transform of the result");
  check.require(trees.nodes_size() > 0, "has no nodes");
  uint64_t dimensions = trees.numpredictiondimensions();
  check.require(dimensions > 0, "number of prediction dimensions is not stated");
  if (trees.basepredictionvalue_size() != 0 && static_cast<uint64_t>(trees.basepredictionvalue_size()) != dimensions)
    check.error(fmt::format("has {} base values for {} dimensions", trees.basepredictionvalue_size(), dimensions));

  std::vector<Entry> entries;
  entries.reserve(static_cast<size_t>(trees.nodes_size()));
  for (const Node& node : trees.nodes()) {
    entries.push_back({node.treeid(), node.nodeid(), &node});
    auto at = [&] { return fmt::format("tree {}: node {}", node.treeid(), node.nodeid()); };
    if (node.nodebehavior() < 0 || node.nodebehavior() > Node::LeafNode)
      check.error(fmt::format("{} has the unknown behaviour {}", at(), static_cast<int>(node.nodebehavior())));
    if (is_leaf(node)) {
      for (const auto& info : node.evaluationinfo())
        if (info.evaluationindex() >= dimensions)
          check.error(fmt::format("{} adds to dimension {} of {}", at(), info.evaluationindex(), dimensions));
    } else if (node.evaluationinfo_size() > 0) {
      check.warning(at() + " is a branch with leaf values");
    }
    if (check.full()) return;
  }
  std::stable_sort(entries.begin(), entries.end());
  check_structure(entries, check);

  if (!classifier) {
    check_regressor_interface(model.description(), check);
    return;
  }
  Model::ClassLabels labels = model.class_labels();
  check_classifier_interface(model.description(), labels, true, true, check);
  size_t classes = labels.size();
  if (classes != 0 && !(dimensions == 1 && classes == 2) && !(dimensions >= 2 && classes == dimensions))
    check.error(fmt::format("{} dimensions do not suit {} classes", dimensions, classes));
}

}  // namespace mlt::coreml
