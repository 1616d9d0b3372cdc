#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "lib/kernels/target.h"
#include "lib/kernels/trees.h"

using namespace mlt;

namespace {

struct Bins {
  explicit Bins(int columns) : storage(static_cast<size_t>(columns * kTreeTile + 64)) {
    data = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  }
  std::vector<int8_t> storage;
  int8_t* data;
};

// Every target against a walk by hand.
template <typename F>
void on_all_targets(const F& body) {
  for (const std::string& name : kernel_targets()) {
    INFO(name);
    REQUIRE(select_kernel_target(name));
    body();
  }
  select_kernel_target("");
}

}  // namespace

TEST_CASE("paths of every depth, of full and of sparse trees") {
  std::mt19937 rng(1);
  Bins bins(5);
  for (int i = 0; i < 5 * kTreeTile; ++i) bins.data[i] = static_cast<int8_t>(rng() % 256 - 128);
  for (int depth = 0; depth <= kTreeDepth; ++depth)
    for (int keep : {100, 60, 0}) {
      std::vector<TreeNode> nodes;
      for (uint32_t place = 0; place + 1 < (1u << depth); ++place)
        if (static_cast<int>(rng() % 100) < keep) nodes.emplace_back(rng() % 5, place, static_cast<int8_t>(rng() % 256 - 128));
      std::vector<uint8_t> expected(kTreeTile);
      for (int64_t r = 0; r < kTreeTile; ++r) {
        uint32_t at = 0;
        for (int level = 0; level < depth; ++level) {
          auto node = std::find_if(nodes.begin(), nodes.end(), [&](const TreeNode& n) { return n.place() == (1u << level) - 1 + at; });
          bool right = node != nodes.end() && bins.data[static_cast<int64_t>(node->column()) * kTreeTile + r] > static_cast<int8_t>(node->threshold & 255);
          at = 2 * at + right;
        }
        expected[static_cast<size_t>(r)] = static_cast<uint8_t>(at);
      }
      on_all_targets([&] {
        std::vector<uint8_t> path(kTreeTile, 255);
        tree_paths(nodes.data(), static_cast<int>(nodes.size()), depth, bins.data, path.data());
        CHECK(path == expected);
      });
    }
}

TEST_CASE("descending a level is comparing all of its nodes") {
  std::mt19937 rng(7);
  Bins bins(256);
  for (int i = 0; i < 256 * kTreeTile; ++i) bins.data[i] = static_cast<int8_t>(rng() % 256 - 128);
  for (int level = 0; level < kTreeDepth; ++level) {
    std::vector<uint16_t> tests;
    for (int i = 0; i < 1 << level; ++i) tests.push_back(rng() % 4 == 0 ? 127 : static_cast<uint16_t>(rng()));
    std::vector<uint8_t> start, expected;
    for (int64_t r = 0; r < kTreeTile; ++r) {
      start.push_back(static_cast<uint8_t>(rng() % (1u << level)));
      uint16_t test = tests[start.back()];
      expected.push_back(static_cast<uint8_t>(2 * start.back() + (bins.data[(test >> 8) * kTreeTile + r] > static_cast<int8_t>(test & 255))));
    }
    on_all_targets([&] {
      CHECK(tree_descend_from() >= 1);
      CHECK(tree_descend_from() <= kTreeDepth);
      std::vector<uint8_t> path = start;
      tree_descend(tests.data(), level, bins.data, path.data());
      CHECK(path == expected);
    });
  }
}

TEST_CASE("descending pairs of levels is descending twice") {
  std::mt19937 rng(8);
  Bins bins(kPairColumns + 64), rows(kPairColumns), paths(kPairTrees);  // a column is as long as a path
  for (int i = 0; i < (kPairColumns + 64) * kTreeTile; ++i) bins.data[i] = static_cast<int8_t>(rng() % 256 - 128);
  std::vector<uint64_t> pairs;
  std::vector<std::vector<uint16_t>> tests(kPairTrees);  // of level 6, then of level 7
  for (auto& tree : tests) {
    for (int64_t i = 0; i < 3 * kTreePairs; ++i) tree.push_back(rng() % 4 == 0 ? 127 : static_cast<uint16_t>((rng() % kPairColumns) << 8 | (rng() & 255)));
    for (size_t i = 0; i < kTreePairs; ++i) pairs.push_back(tree_pair({tree[i], tree[kTreePairs + 2 * i], tree[kTreePairs + 2 * i + 1]}));
  }
  on_all_targets([&] {
    const TreeKernels& kernels = tree_kernels();
    if (kernels.pairs == nullptr) return;
    kernels.pair_rows(bins.data, rows.data);
    for (int64_t count : {int64_t{8}, int64_t{40}, kPairTrees}) {
      std::vector<uint8_t> expected;
      for (int64_t i = 0; i < count * kTreeTile; ++i) paths.data[i] = static_cast<int8_t>(rng() % kTreePairs);
      for (int64_t t = 0; t < count; ++t) {
        std::vector<uint8_t> path(paths.data + t * kTreeTile, paths.data + (t + 1) * kTreeTile);
        tree_descend(tests[static_cast<size_t>(t)].data(), 6, bins.data, path.data());
        tree_descend(tests[static_cast<size_t>(t)].data() + kTreePairs, 7, bins.data, path.data());
        expected.insert(expected.end(), path.begin(), path.end());
      }
      kernels.pairs(pairs.data(), count, rows.data, reinterpret_cast<uint8_t*>(paths.data));
      CHECK(std::equal(expected.begin(), expected.end(), reinterpret_cast<uint8_t*>(paths.data)));
    }
  });
}

TEST_CASE("columns of rows of any width and number") {
  std::mt19937 rng(9);
  auto check = [&]<typename T>(T) {
    for (int64_t width : {int64_t{1}, int64_t{7}, kTreeBlock})
      for (int64_t count : {int64_t{0}, int64_t{1}, int64_t{16}, int64_t{100}, kTreeTile}) {
        const int64_t stride = width + static_cast<int64_t>(rng() % 3);
        std::vector<T> rows(static_cast<size_t>(std::max<int64_t>(1, count == 0 ? 0 : (count - 1) * stride + width)));
        for (T& v : rows) v = static_cast<T>(rng() % 1000);
        on_all_targets([&] {
          std::vector<T> columns(kTreeBlock * kTreeTile, T{-1});
          tree_columns(rows.data(), count, stride, width, columns.data());
          int wrong = 0;
          for (int64_t f = 0; f < width; ++f)
            for (int64_t r = 0; r < kTreeTile; ++r) wrong += columns[static_cast<size_t>(f * kTreeTile + r)] != (r < count ? rows[static_cast<size_t>(r * stride + f)] : T{0});
          CHECK(wrong == 0);
        });
      }
  };
  check(float{});
  check(double{});
}

TEST_CASE("ranks count the thresholds that are not above") {
  std::mt19937 rng(2);
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (int given : {0, 1, 2, 3, 6, 14, 15, 16, 30, 31, 60, 255, 300, 5000}) {
    int steps = 0;
    while ((1 << steps) - 1 < given) ++steps;
    std::vector<float> floats;
    for (int i = 0; i < given; ++i) floats.push_back(static_cast<float>(rng() % 60));
    std::sort(floats.begin(), floats.end());
    floats.resize(static_cast<size_t>(1 << steps) - 1, std::numeric_limits<float>::quiet_NaN());
    std::vector<double> doubles(floats.begin(), floats.end()), x(kTreeTile);
    for (double& v : x) v = static_cast<double>(rng() % 60) - 5;
    x[0] = nan, x[1] = inf, x[2] = -inf;
    std::vector<float> xf(x.begin(), x.end());
    std::vector<uint16_t> expected;
    for (double v : x) expected.push_back(static_cast<uint16_t>(std::count_if(doubles.begin(), doubles.end(), [&](double t) { return t <= v; })));
    on_all_targets([&] {
      std::vector<uint16_t> ranks(kTreeTile);
      CHECK(tree_ranks(x.data(), doubles.data(), steps, ranks.data()));
      CHECK(ranks == expected);
      CHECK(tree_ranks(xf.data(), floats.data(), steps, ranks.data()));
      CHECK(ranks == expected);
      std::vector<double> whole(kTreeTile, 1);
      CHECK_FALSE(tree_ranks(whole.data(), doubles.data(), steps, ranks.data()));
      whole.back() = nan;
      CHECK(tree_ranks(whole.data(), doubles.data(), steps, ranks.data()));
    });
  }
}

TEST_CASE("sums of leaves and of weighted columns are rounded like one row's") {
  std::mt19937 rng(3);
  std::vector<double> values(256), start(kTreeTile), x(kTreeTile);
  std::vector<uint8_t> path(kTreeTile);
  auto number = [&] { return static_cast<double>(rng()) / 1e5 - 2e4; };
  for (double& v : values) v = number();
  for (int64_t r = 0; r < kTreeTile; ++r) start[r] = number(), x[r] = number(), path[r] = static_cast<uint8_t>(rng() % 256);
  std::vector<float> xf(x.begin(), x.end());
  on_all_targets([&] {
    std::vector<double> sums = start;
    tree_add(path.data(), values.data(), sums.data());
    rows_add(x.data(), 1.1, sums.data());
    rows_add(xf.data(), 0.3, sums.data());
    int wrong = 0;
    for (size_t r = 0; r < sums.size(); ++r) {
      double sum = start[r] + values[path[r]];
      volatile double first = 1.1 * x[r];
      sum += first;
      volatile double second = 0.3 * static_cast<double>(xf[r]);
      sum += second;
      wrong += sums[r] != sum;
    }
    CHECK(wrong == 0);
  });
}
