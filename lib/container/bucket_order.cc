#include "lib/container/bucket_order.h"

#include <numeric>

namespace mlt {
namespace {

struct TableSize {
  size_t buckets, capacity;
};
constexpr TableSize kSizes[] = {{3, 3},    {7, 6},     {13, 11},   {23, 19},   {41, 32},   {71, 52},
                                {127, 85}, {191, 118}, {251, 155}, {383, 237}, {631, 390}, {1087, 672}};
constexpr size_t kEmpty = ~size_t{0};

std::vector<uint16_t> utf16(std::string_view text) {
  std::vector<uint16_t> units;
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<unsigned char>(text[i]);
    size_t extra = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    uint32_t code = extra == 0 ? lead : lead & (0x3f >> extra);
    for (size_t k = 1; k <= extra && i + k < text.size(); ++k)
      code = (code << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3f);
    i += extra + 1;
    if (code < 0x10000) {
      units.push_back(static_cast<uint16_t>(code));
    } else {
      code -= 0x10000;
      units.push_back(static_cast<uint16_t>(0xd800 + ((code >> 10) & 0x3ff)));
      units.push_back(static_cast<uint16_t>(0xdc00 + (code & 0x3ff)));
    }
  }
  return units;
}

uint64_t mix(uint64_t r, const uint16_t* u, size_t count) {
  size_t i = 0;
  for (; count - i >= 4; i += 4)
    r = r * 67503105u + u[i] * uint64_t{16974593} + u[i + 1] * uint64_t{66049} + u[i + 2] * uint64_t{257} +
        u[i + 3];
  for (; i < count; ++i) r = r * 257 + u[i];
  return r;
}

class Table {
 public:
  Table(const std::vector<uint64_t>& hashes, size_t size)
      : hashes_(hashes), size_(size), buckets_(kSizes[size].buckets, kEmpty) {}

  void insert(size_t key) {
    if (used_ == kSizes[size_].capacity) grow();
    put(key);
    ++used_;
  }
  std::vector<size_t> order() const {
    std::vector<size_t> keys;
    for (size_t key : buckets_)
      if (key != kEmpty) keys.push_back(key);
    return keys;
  }

 private:
  void put(size_t key) {
    size_t bucket = hashes_[key] % buckets_.size();
    while (buckets_[bucket] != kEmpty) bucket = (bucket + 1) % buckets_.size();
    buckets_[bucket] = key;
  }
  void grow() {
    std::vector<size_t> old = order();
    ++size_;
    buckets_.assign(kSizes[size_].buckets, kEmpty);
    for (size_t key : old) put(key);
  }

  const std::vector<uint64_t>& hashes_;
  size_t size_, used_ = 0;
  std::vector<size_t> buckets_;
};

}  // namespace

uint64_t bucket_hash(std::string_view utf8) {
  std::vector<uint16_t> u = utf16(utf8);
  uint64_t length = u.size(), r = length;
  if (length <= 96) {
    r = mix(r, u.data(), u.size());
  } else {
    r = mix(r, u.data(), 32);
    r = mix(r, u.data() + u.size() / 2 - 16, 32);
    r = mix(r, u.data() + u.size() - 32, 32);
  }
  return r + (r << (length & 31));
}

std::vector<size_t> bucket_order(const std::vector<std::string_view>& keys, TableGrowth growth) {
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (keys.empty() || keys.size() > std::end(kSizes)[-1].capacity) return order;
  std::vector<uint64_t> hashes;
  for (std::string_view key : keys) hashes.push_back(bucket_hash(key));
  size_t size = 0;
  if (growth == TableGrowth::kFinal)
    while (kSizes[size].capacity < keys.size()) ++size;
  Table table(hashes, size);
  for (size_t i = 0; i < keys.size(); ++i) table.insert(i);
  return table.order();
}

}  // namespace mlt
