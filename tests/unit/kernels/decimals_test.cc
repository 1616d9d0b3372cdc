#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "lib/kernels/decimals.h"
#include "lib/kernels/target.h"

using namespace mlt;

namespace {

const std::string kBehind = ",1234567.1234567,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9";
const std::string kFarBehind = kBehind + kBehind + kBehind;  // texts are read differently near their end

// How far a text is read on each target, each value that of strtod.
void check_before(const std::string& behind, const std::string& text, int64_t count, int64_t most) {
  const std::string whole = text + behind;
  for (const std::string& name : kernel_targets()) {
    INFO(name);
    INFO(text);
    REQUIRE(select_kernel_target(name));
    std::vector<double> values(static_cast<size_t>(count), -1);
    const char* stop = nullptr;
    int64_t done = read_decimals(whole.data(), whole.data() + whole.size(), count, values.data(), &stop);
    CHECK(done >= 0);
    CHECK(done <= most);
    const char* p = whole.data();
    for (int64_t i = 0; i < done; ++i) {
      char* end = nullptr;
      double expected = std::strtod(p, &end);
      CHECK(std::memcmp(&values[static_cast<size_t>(i)], &expected, sizeof expected) == 0);
      CHECK((*end == ',' || (i + 1 == count && (*end == '\n' || *end == '\r'))));
      if (i + 1 == done) CHECK(stop == end);
      p = end + 1;
    }
  }
  select_kernel_target("");
}
void check(const std::string& text, int64_t count, int64_t most) {
  check_before(kBehind, text, count, most);
  check_before(kFarBehind, text, count, most);
}

}  // namespace

TEST_CASE("decimals: what is read is what strtod reads, the rest is left") {
  for (const char* text : {"0", "-0", "-0.0", "7", "12345678", "1.5", "-0.25", "12345678.123456", "0.0000000000001", "-0.000000000001", "-12345678", "99999999.999999"}) check(text, 1, 1);
  for (const char* text : {"", "-", ".5", "5.", "--1", "+1", " 1", "1 ", "1e5", "1.5E3", "nan", "inf", "0x1", "123456789", "12345678.1234567", "-1234567.1234567", "-123456789", "1.5.5", "1:5", "\xff", "1\xb0", "\"1\""})
    check(text, 1, 0);
  check("1.5\n", 1, 1);
  check("1.5\r\n", 1, 1);
  check("1.5\n2.5", 2, 0);
  check("1.5,2.5\n", 2, 2);
  check("1.5,,2.5", 3, 1);
  std::mt19937_64 rng(4);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    int64_t count = 1 + static_cast<int64_t>(rng() % 5);
    for (int64_t i = 0; i < count; ++i) {
      char number[64];
      std::snprintf(number, sizeof number, "%.*f", static_cast<int>(rng() % 9), static_cast<double>(static_cast<int64_t>(rng() >> (rng() % 64))) / 1e6);
      text += (i ? "," : "") + std::string(number);
    }
    check(text, count, count);
  }
}

TEST_CASE("decimals: long lines, and where one of their numbers is unusual") {
  std::mt19937_64 rng(5);
  for (int64_t count : {20, 100, 255, 256, 257, 600}) {
    std::vector<std::string> numbers;
    for (int64_t i = 0; i < count; ++i) {
      char number[64];
      std::snprintf(number, sizeof number, "%.*f", static_cast<int>(rng() % 7), static_cast<double>(static_cast<int64_t>(rng() >> (rng() % 64))) / 1e13);
      numbers.emplace_back(number);
    }
    for (int64_t odd : {int64_t{-1}, int64_t{0}, count / 2, count - 1}) {
      for (const char* what : {"nan", "", "1e5", " 1", "\"1\"", "1\n2"}) {
        std::string text;
        for (int64_t i = 0; i < count; ++i) text += (i ? "," : "") + (i == odd ? std::string(what) : numbers[static_cast<size_t>(i)]);
        // A line that ends too early: its last number may not be read.
        for (const std::string& name : kernel_targets()) {
          REQUIRE(select_kernel_target(name));
          std::vector<double> values(static_cast<size_t>(count));
          const char* stop = nullptr;
          const std::string whole = text + "\n" + kFarBehind;
          int64_t done = read_decimals(whole.data(), whole.data() + whole.size(), count, values.data(), &stop);
          int64_t limit = odd < 0 ? count : odd + (what == std::string("1\n2") && odd + 1 == count ? 1 : 0);
          CHECK(done <= limit);
          if (name == "avx2" || name == "avx512") CHECK(done == limit);
          const char* p = whole.data();
          int wrong = 0;
          for (int64_t i = 0; i < done; ++i) {
            char* end = nullptr;
            wrong += values[static_cast<size_t>(i)] != std::strtod(p, &end);
            if (i + 1 == done) CHECK(stop == end);
            p = end + 1;
          }
          CHECK(wrong == 0);
        }
      }
    }
  }
  select_kernel_target("");
}

TEST_CASE("decimals: nothing behind the end is read") {
  const std::string text = "1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,10.5,11.5,12.5";
  for (size_t length = 0; length <= text.size(); ++length) {
    std::vector<char> exact(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length));
    double values[12];
    const char* stop = nullptr;
    int64_t done = read_decimals(exact.data(), exact.data() + exact.size(), 12, values, &stop);
    CHECK(done * 4 <= static_cast<int64_t>(length));
    for (int64_t i = 0; i < done; ++i) CHECK(values[i] == static_cast<double>(i) + 1.5);
  }
}
