#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "lib/base/bytes.h"
#include "lib/base/file.h"
#include "lib/base/float16.h"
#include "lib/base/float_mode.h"
#include "lib/base/threads.h"
#include "lib/base/work_share.h"

using namespace mlt;

namespace {
std::string scratch() {
  char path[] = "/tmp/mlt_base_XXXXXX";
  return mkdtemp(path);
}
Result<int> half(int x) {
  if (x % 2) return input_error("odd");
  return x / 2;
}
Result<int> quarter(int x) {
  MLT_ASSIGN(int h, half(x));
  return half(h).in("quarter");
}
}  // namespace

TEST_CASE("result carries values, errors and context") {
  CHECK(*quarter(8) == 2);
  CHECK(quarter(7).error().to_string() == "odd");
  CHECK(quarter(6).error().to_string() == "quarter: odd");
  CHECK(exit_status(quarter(6).error().code) == 3);
}

TEST_CASE("byte reader refuses what is not there") {
  ByteWriter writer;
  writer.write<uint32_t>(7);
  writer.write_string64("abc");
  ByteReader reader(writer.data());
  CHECK(*reader.read<uint32_t>() == 7);
  CHECK(*reader.read_string64() == "abc");
  CHECK_FALSE(reader.read<uint8_t>().ok());
  ByteWriter huge;
  huge.write<uint64_t>(~uint64_t{0});
  ByteReader reader2(huge.data());
  CHECK_FALSE(reader2.read_string64().ok());
  CHECK_FALSE(reader2.seek(9).ok());
}

TEST_CASE("every half survives the trip through float, and rounding is to nearest even") {
  for (uint32_t h = 0; h < 65536; ++h) {
    float f = half_to_float(static_cast<uint16_t>(h));
    if (std::isnan(f)) {
      CHECK(std::isnan(half_to_float(float_to_half(f))));
    } else {
      REQUIRE(float_to_half(f) == h);
    }
  }
  CHECK(float_to_half(65519.0f) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(1.0f + 0x1p-11f) == 0x3c00);
  CHECK(float_to_half(1.0f + 3 * 0x1p-11f) == 0x3c02);
  CHECK(float_to_half(0x1p-25f) == 0);
  CHECK(float_to_half(0x1.8p-25f) == 1);
  CHECK(float_to_half(std::numeric_limits<float>::infinity()) == 0x7c00);
  CHECK(float_to_bfloat16(1.0f) == 0x3f80);
}

TEST_CASE("atomic file leaves nothing without commit") {
  std::string dir = scratch();
  {
    auto file = AtomicFile::create(dir + "/a");
    REQUIRE(file.ok());
    REQUIRE(file->write(as_bytes("hello")).ok());
  }
  CHECK(std::filesystem::is_empty(dir));
  REQUIRE(write_file(dir + "/a", as_bytes("hello")).ok());
  CHECK(map_file(dir + "/a")->text() == "hello");
  CHECK(map_file(dir + "/b").error().code == Code::kInput);
  {
    auto tree = AtomicDirectory::create(dir + "/t", false);
    REQUIRE(tree.ok());
    REQUIRE(write_file(tree->temp_path() + "/x", as_bytes("1")).ok());
  }
  CHECK(path_kind(dir + "/t") == PathKind::kMissing);
  for (int round = 0; round < 2; ++round) {
    auto tree = AtomicDirectory::create(dir + "/t", true);
    REQUIRE(tree.ok());
    REQUIRE(write_file(tree->temp_path() + "/x" + std::to_string(round), as_bytes("1")).ok());
    REQUIRE(tree->commit().ok());
  }
  CHECK(path_kind(dir + "/t/x0") == PathKind::kMissing);
  CHECK(path_kind(dir + "/t/x1") == PathKind::kFile);
  CHECK_FALSE(AtomicDirectory::create(dir + "/t", false).ok());
  CHECK(write_file("/dev/full", as_bytes("x")).error().code == Code::kResource);
  remove_tree(dir);
}

TEST_CASE("safe relative paths") {
  CHECK(is_safe_relative_path("a/b.bin"));
  for (const char* bad : {"", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b"}) CHECK_FALSE(is_safe_relative_path(bad));
}

TEST_CASE("shared work: every item once, one's own first and in order, then the others' from the back") {
  for (int owners : {1, 2, 3, 64, 100}) {
    for (int64_t items : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{7}, int64_t{64}, int64_t{1001}}) {
      auto share = std::make_unique<WorkShare>();
      share->reset(owners, items);
      std::vector<int> hits(static_cast<size_t>(items));
      // The last owner takes everything.
      const int owner = owners - 1;
      std::vector<int64_t> order;
      for (WorkShare::Span span; (span = share->next(owner)).begin < span.end;)
        for (int64_t i = span.begin; i < span.end; ++i) {
          ++hits[static_cast<size_t>(i)];
          order.push_back(i);
        }
      CHECK(std::count(hits.begin(), hits.end(), 1) == items);
      if (owners == 2 && items == 7) CHECK(order == std::vector<int64_t>{3, 4, 5, 6, 2, 1, 0});
    }
  }
  // A quarter of what is left at a time, and at least one.
  auto quarters = std::make_unique<WorkShare>();
  quarters->reset(2, 32);
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (WorkShare::Span span; (span = quarters->next(0, 4)).begin < span.end;) spans.emplace_back(span.begin, span.end);
  REQUIRE(spans.size() == 20);
  CHECK(spans[0] == std::pair<int64_t, int64_t>{0, 4});
  CHECK(spans[1] == std::pair<int64_t, int64_t>{4, 7});
  CHECK(spans[9] == std::pair<int64_t, int64_t>{15, 16});
  CHECK(spans[10] == std::pair<int64_t, int64_t>{28, 32});
  CHECK(spans[19] == std::pair<int64_t, int64_t>{16, 17});
  // More than 2^30 items come in pieces.
  auto share = std::make_unique<WorkShare>();
  const int64_t many = (int64_t{1} << 40) + 3;
  share->reset(2, many);
  const WorkShare::Span first = share->next(0), half = share->next(1);
  CHECK(first.begin == 0);
  CHECK(half.begin > many / 2 - 4096);
  CHECK(half.begin < many / 2 + 4096);
  CHECK(half.end - half.begin > 1);
  CHECK(half.end <= many);
}

TEST_CASE("parallel_for covers every index once at any thread count") {
  for (int threads : {1, 2, 3, 8}) {
    set_thread_count(threads);
    for (int64_t count : {0, 1, 7, 1000, 100003}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      parallel_for(count, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) hits[static_cast<size_t>(i)]++;
      });
      int64_t wrong = 0;
      for (auto& hit : hits) wrong += hit.load() != 1;
      CHECK(wrong == 0);
    }
    CHECK(threads_here() == threads);
    std::atomic<int> nested{0};
    parallel_for(64, 1, [&](int64_t, int64_t) { nested = nested + threads_here() - 1 + thread_count() - threads; });
    CHECK(nested == 0);
    std::atomic<int64_t> sum{0};
    for (int i = 0; i < 2000; ++i)
      parallel_for(64, 1, [&](int64_t begin, int64_t end) {
        parallel_for(end - begin, 1, [&](int64_t b, int64_t e) { sum += e - b; });
      });
    CHECK(sum == 2000 * 64);
  }
  set_thread_count(0);
}

TEST_CASE("whoever works for a caller takes denormals as the caller does") {
  if (kZeroDenormals == 0) return;
  for (int threads : {1, 2, 4}) {
    set_thread_count(threads);
    for (bool zero : {true, false, true, false}) {
      std::atomic<int> vanished{0};
      {
        const ZeroDenormals mode(zero);
        parallel_for(64, 1, [&](int64_t begin, int64_t end) {
          volatile float small = 1e-39f;
          for (int64_t i = begin; i < end; ++i) vanished += small * 2 == 0;
        });
      }
      CHECK(vanished == (zero ? 64 : 0));
    }
  }
  set_thread_count(0);
}
