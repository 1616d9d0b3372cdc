// The order in which Apple's metadata writer lists the keys of a JSON object: that of a hash table's buckets. Recipe
// found by observation (reference mlmodelc.md section 3.3; checked there on 19 files): CoreFoundation's string hash
// over UTF-16 units, open addressing with linear probing, prime table sizes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mlt {

uint64_t bucket_hash(std::string_view utf8);

enum class TableGrowth {
  kGrowing,  // starts small; old entries move in bucket order each time it is full
  kFinal,    // made at its final size
};
// Indices of `keys` (given in order of insertion, all different) in order of output. More keys than the largest known
// table holds: order of insertion.
std::vector<size_t> bucket_order(const std::vector<std::string_view>& keys, TableGrowth growth);

}  // namespace mlt
