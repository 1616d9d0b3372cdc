#include "lib/kernels/packed_memory.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/kernels/aligned.h"
#include "lib/kernels/gemm.h"

using namespace mlt;

TEST_CASE("packed memory: buffers apart, aligned, and alive without their maker") {
  struct Buffer {
    std::byte* at;
    size_t size;
    std::shared_ptr<const void> owner;
  };
  std::vector<Buffer> buffers;
  {
    PackedMemory memory;
    std::shared_ptr<const void> owner;
    CHECK(memory.take(1000, &owner) == nullptr);  // little in all
    CHECK(memory.take(kHugePage - 1001, &owner) == nullptr);
    for (size_t size : {size_t{1}, size_t{100'000}, size_t{3'000'000}, size_t{40'000'000}, size_t{5'000'000}, size_t{64}, size_t{12'000'000}}) {
      Buffer buffer{nullptr, size, nullptr};
      buffer.at = memory.take(size, &buffer.owner);
      REQUIRE(buffer.at != nullptr);
      CHECK(reinterpret_cast<uintptr_t>(buffer.at) % kAlignment == 0);
      buffers.push_back(buffer);
    }
    CHECK(memory.take(static_cast<size_t>(-1) / 2 + 1, &owner) == nullptr);
    CHECK(memory.take(static_cast<size_t>(-1) - 10, &owner) == nullptr);
  }
  for (size_t i = 0; i < buffers.size(); ++i) std::memset(buffers[i].at, static_cast<int>(i + 1), buffers[i].size + kSlack);
  // Slack may be anybody's in the end, what is in front of it not.
  for (size_t i = buffers.size(); i-- > 0;) {
    std::memset(buffers[i].at, static_cast<int>(i + 1), buffers[i].size);
    for (size_t j = 0; j < i; ++j) CHECK(buffers[j].at[buffers[j].size - 1] == static_cast<std::byte>(j + 1));
  }
}

TEST_CASE("packed memory: weights that lie there give the same") {
  const int64_t n = 1100, k = 1000;
  std::vector<float> w(static_cast<size_t>(n * k)), x(static_cast<size_t>(k)), apart(static_cast<size_t>(n)), together(apart);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i % 101) - 50;
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  auto plain = PackedWeights::pack(n, k, w.data());
  REQUIRE(plain);
  std::vector<PackedWeights> kept;
  {
    PackedMemory memory;
    for (int i = 0; i < 3; ++i) {
      auto made = PackedWeights::prepare(n, k, [&] { return w.data(); }, k, 1, {nullptr, {}, &memory});
      REQUIRE(made);
      kept.push_back(std::move(*made));
    }
  }
  plain->run(1, x.data(), k, apart.data(), n, nullptr, {}, nullptr, 0);
  for (const PackedWeights& one : kept) {
    one.run(1, x.data(), k, together.data(), n, nullptr, {}, nullptr, 0);
    CHECK(together == apart);
  }
}
