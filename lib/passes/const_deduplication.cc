// Constants of equal type and bytes become one, where the first of them is in scope.
#include "lib/passes/pattern.h"
#include "lib/tensor/deferred.h"
#include "lib/tensor/spill.h"

namespace mlt::passes {
namespace {

using Seen = std::unordered_multimap<size_t, V>;

size_t hash_of(const Tensor& t) {
  size_t h = static_cast<size_t>(t.dtype());
  for (int64_t d : t.dims()) h = h * 1000003 + static_cast<size_t>(d);
  if (t.dtype() == DType::kString) {
    for (const std::string& s : t.strings()) h = h * 1000003 + std::hash<std::string>()(s);
    return h;
  }
  return h * 1000003 + static_cast<size_t>(fingerprint(t));
}

bool equal(const Tensor& a, const Tensor& b) {
  if (a.dtype() == DType::kString) return b.dtype() == DType::kString && a.dims() == b.dims() && a.strings() == b.strings();
  bool same = same_bytes(a, b);
  release_pages(a);
  release_pages(b);
  return same;
}

void visit(ir::Block& block, Seen seen, const ir::Users& users, std::unordered_map<const ir::Value*, V>* replacement) {
  for (const auto& op : block.ops) {
    if (op->is_const()) {
      V value = op->output();
      const Tensor* tensor = value->constant_tensor();
      if (tensor == nullptr || users.is_block_output(value)) continue;
      size_t h = hash_of(*tensor);
      release_pages(*tensor);
      V found = nullptr;
      int tries = 0;  // large constants of equal samples and different elements shall not cost their square
      for (auto [it, end] = seen.equal_range(h); it != end && found == nullptr && tries < 32; ++it, ++tries)
        if (equal(*it->second->constant_tensor(), *tensor)) found = it->second;
      if (found) (*replacement)[value] = found;
      else seen.emplace(h, value);
    }
    for (const auto& nested : op->blocks) visit(*nested, seen, users, replacement);
  }
}

}  // namespace

Result<size_t> const_deduplication(ir::Function& function, Context&) {
  ir::Users users(function);
  std::unordered_map<const ir::Value*, V> replacement;
  visit(*function.body, {}, users, &replacement);
  function.replace_all_uses(replacement);
  if (!replacement.empty()) function.erase_dead_ops();
  return replacement.size();
}

}  // namespace mlt::passes
