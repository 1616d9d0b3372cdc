// Pairing of nodes. A node has a hash of everything upstream of it and one of everything downstream; equal
// hashes pair first, so that an edit leaves both sides of it paired. Names, neighbours of pairs and order
// decide what is left.
#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "lib/inspect/diff.h"

namespace mlt::inspect {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2));
  x ^= x >> 31;
  x *= 0xbf58476d1ce4e5b9ull;
  return x ^ (x >> 29);
}
uint64_t hash_of(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

struct Side {
  const Unit& unit;
  std::vector<uint64_t> local, up, down;
  std::vector<std::vector<std::pair<int, std::string>>> users;  // of a node: node and parameter
  std::vector<int> match;

  explicit Side(const Unit& u) : unit(u), users(u.nodes.size()), match(u.nodes.size(), -1) {
    size_t n = u.nodes.size();
    local.resize(n);
    up.resize(n);
    down.assign(n, 0);
    for (size_t i = 0; i < n; ++i) {
      const Node& node = u.nodes[i];
      uint64_t h = hash_of(node.kind);
      for (const auto& [key, value] : node.fields) h = mix(h, mix(hash_of(key), hash_of(value)));
      for (const Input& input : node.inputs) {
        if (input.constant < 0) continue;
        h = mix(h, hash_of(input.param));
        for (int64_t d : u.constants[static_cast<size_t>(input.constant)].dims)
          h = mix(h, static_cast<uint64_t>(d));
      }
      local[i] = mix(h, node.outputs.size());
      h = local[i];
      if (node.parent >= 0)
        h = mix(h, up[static_cast<size_t>(node.parent)] + static_cast<uint64_t>(node.block));
      for (const Input& input : node.inputs) {
        if (input.constant >= 0) continue;
        h = mix(h, hash_of(input.param));
        if (input.producer < 0)
          h = mix(h, hash_of(input.name));
        else if (static_cast<size_t>(input.producer) < i)
          h = mix(h, up[static_cast<size_t>(input.producer)] + static_cast<uint64_t>(input.output));
        if (input.producer >= 0)
          users[static_cast<size_t>(input.producer)].emplace_back(static_cast<int>(i), input.param);
      }
      up[i] = h;
    }
    std::vector<uint64_t> ends(n, 0);
    for (size_t k = 0; k < u.outputs.size(); ++k)
      if (u.outputs[k].producer >= 0)
        ends[static_cast<size_t>(u.outputs[k].producer)] +=
            hash_of("output " + std::to_string(k) + "." + std::to_string(u.outputs[k].output));
    for (size_t i = n; i-- > 0;) {
      uint64_t sum = ends[i];
      for (const auto& [user, param] : users[i])
        if (static_cast<size_t>(user) > i) sum += mix(hash_of(param), down[static_cast<size_t>(user)]);
      down[i] = mix(local[i], sum);
    }
  }
};

class Matcher {
 public:
  Matcher(const Unit& a, const Unit& b) : a_(a), b_(b) {}

  std::vector<int> run() {
    auto name = [](const Side& s, size_t i) { return hash_of(s.unit.nodes[i].name); };
    auto kind = [](const Side& s, size_t i) { return hash_of(s.unit.nodes[i].kind); };
    by_key([](const Side& s, size_t i) { return mix(s.up[i], s.down[i]); });
    by_key([](const Side& s, size_t i) { return s.up[i]; });
    by_key([](const Side& s, size_t i) { return s.down[i]; });
    propagate();
    by_key([&](const Side& s, size_t i) { return mix(s.local[i], name(s, i)); });
    propagate();
    by_key([&](const Side& s, size_t i) { return mix(kind(s, i), name(s, i)); });
    propagate();
    in_order([](const Side& s, size_t i) { return s.local[i]; });
    propagate();
    in_order(kind);
    return std::move(a_.match);
  }

 private:
  using Key = std::function<uint64_t(const Side&, size_t)>;

  // Kinds agree whenever two nodes pair, hashes that collide notwithstanding; and blocks stay together.
  bool may_pair(size_t i, size_t j) const {
    const Node &x = a_.unit.nodes[i], &y = b_.unit.nodes[j];
    if (a_.match[i] >= 0 || b_.match[j] >= 0 || x.kind != y.kind || (x.parent < 0) != (y.parent < 0))
      return false;
    return x.parent < 0 || (x.block == y.block && a_.match[static_cast<size_t>(x.parent)] == y.parent);
  }
  bool pair(size_t i, size_t j) {
    if (!may_pair(i, j)) return false;
    a_.match[i] = static_cast<int>(j);
    b_.match[j] = static_cast<int>(i);
    fresh_.emplace_back(static_cast<int>(i), static_cast<int>(j));
    return true;
  }

  void by_key(const Key& key) {
    std::unordered_map<uint64_t, std::pair<std::vector<size_t>, std::vector<size_t>>> groups;
    std::vector<uint64_t> order;
    for (size_t i = 0; i < a_.match.size(); ++i)
      if (a_.match[i] < 0) {
        auto& group = groups[key(a_, i)];
        if (group.first.empty()) order.push_back(key(a_, i));
        group.first.push_back(i);
      }
    for (size_t j = 0; j < b_.match.size(); ++j)
      if (b_.match[j] < 0)
        if (auto it = groups.find(key(b_, j)); it != groups.end()) it->second.second.push_back(j);
    for (uint64_t k : order) {
      auto& [left, right] = groups[k];
      if (right.empty()) continue;
      // Twins: those of the same name first, then in order when none is left over.
      if (left.size() > 1 || right.size() > 1) {
        std::unordered_map<std::string_view, size_t> named;
        for (size_t j : right) named.emplace(b_.unit.nodes[j].name, j);
        for (size_t i : left)
          if (auto it = named.find(a_.unit.nodes[i].name); it != named.end()) pair(i, it->second);
        std::erase_if(left, [&](size_t i) { return a_.match[i] >= 0; });
        std::erase_if(right, [&](size_t j) { return b_.match[j] >= 0; });
        if (left.size() != right.size()) continue;
      }
      for (size_t n = 0; n < left.size() && n < right.size(); ++n) pair(left[n], right[n]);
    }
  }

  // From pairs to their neighbours: the producer at the same parameter, the only user of a kind at the same
  // parameter.
  void propagate() {
    while (!fresh_.empty()) {
      auto [i, j] = fresh_.back();
      fresh_.pop_back();
      const Node &x = a_.unit.nodes[static_cast<size_t>(i)], &y = b_.unit.nodes[static_cast<size_t>(j)];
      for (const Input& in : x.inputs) {
        if (in.producer < 0) continue;
        for (const Input& other : y.inputs)
          if (other.param == in.param && other.producer >= 0 && other.output == in.output)
            pair(static_cast<size_t>(in.producer), static_cast<size_t>(other.producer));
      }
      for (const auto& [user, param] : a_.users[static_cast<size_t>(i)]) {
        int found = -1, count = 0;
        for (const auto& [other, other_param] : b_.users[static_cast<size_t>(j)])
          if (other_param == param && may_pair(static_cast<size_t>(user), static_cast<size_t>(other)))
            found = other, ++count;
        if (count == 1) pair(static_cast<size_t>(user), static_cast<size_t>(found));
      }
    }
  }

  // The longest common subsequence of what is left, in execution order.
  void in_order(const Key& key) {
    std::vector<size_t> left, right;
    for (size_t i = 0; i < a_.match.size(); ++i)
      if (a_.match[i] < 0) left.push_back(i);
    for (size_t j = 0; j < b_.match.size(); ++j)
      if (b_.match[j] < 0) right.push_back(j);
    if (left.empty() || right.empty()) return;
    if (left.size() * right.size() > (size_t{1} << 24)) {  // too many for a table: the first that suits
      std::unordered_map<uint64_t, std::vector<size_t>> waiting;
      for (size_t n = right.size(); n-- > 0;) waiting[key(b_, right[n])].push_back(right[n]);
      for (size_t i : left) {
        auto& list = waiting[key(a_, i)];
        if (!list.empty() && pair(i, list.back())) list.pop_back();
      }
      return;
    }
    size_t rows = left.size(), columns = right.size();
    std::vector<uint64_t> row_keys, column_keys;
    for (size_t i : left) row_keys.push_back(key(a_, i));
    for (size_t j : right) column_keys.push_back(key(b_, j));
    std::vector<uint16_t> best((rows + 1) * (columns + 1), 0);
    auto at = [&](size_t r, size_t c) -> uint16_t& { return best[r * (columns + 1) + c]; };
    for (size_t r = rows; r-- > 0;)
      for (size_t c = columns; c-- > 0;)
        at(r, c) = row_keys[r] == column_keys[c] ? static_cast<uint16_t>(at(r + 1, c + 1) + 1)
                                                 : std::max(at(r + 1, c), at(r, c + 1));
    for (size_t r = 0, c = 0; r < rows && c < columns;) {
      if (row_keys[r] == column_keys[c])
        pair(left[r++], right[c++]);
      else if (at(r + 1, c) >= at(r, c + 1))
        ++r;
      else
        ++c;
    }
  }

  Side a_, b_;
  std::vector<std::pair<int, int>> fresh_;
};

}  // namespace

std::vector<int> match_nodes(const Unit& a, const Unit& b) { return Matcher(a, b).run(); }

}  // namespace mlt::inspect
