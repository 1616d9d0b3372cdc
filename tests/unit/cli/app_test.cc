#include "lib/cli/app.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "lib/cli/diag.h"

using namespace mlt;

namespace {

// What a tool with a typical option table saw and answered.
struct Run {
  int status = -1;
  bool ran = false;
  std::string model;
  std::optional<std::string> out;
  std::vector<std::string> rest, only;
  std::optional<int> count;
  double scale = 1;
  bool ops = false;
  std::string mode;
};

Run run(std::vector<std::string> arguments) {
  Run r;
  cli::diag() = {};
  cli::App app("mltest", "a tool of the tests");
  app.positional(r.model, "MODEL", "the model");
  app.positional(r.rest, "NAME=VALUE", "inputs");
  app.option("-o,--output", r.out, "OUT", "output");
  app.option("--only", r.only, "REGEX", "only these");
  app.option("-n,--count", r.count, "N", "how many").range(1, 10);
  app.option("--scale", r.scale, "S", "factor");
  app.option("--mode", r.mode, "MODE", "mode").choices({"fast", "slow"});
  app.flag("-p,--ops", r.ops, "list ops");
  app.not_yet("--html", true);
  app.not_yet("--graph", false);
  app.threads_option();
  arguments.insert(arguments.begin(), "argv0");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  r.status = app.run(static_cast<int>(argv.size()), argv.data(), [&]() -> Status {
    r.ran = true;
    if (r.model == "bad") return input_error("is bad").in_path(r.model);
    if (r.model == "alloc") throw std::bad_alloc();
    if (r.model == "throw") throw std::runtime_error("surprise");
    return {};
  });
  return r;
}

}  // namespace

TEST_CASE("values reach their variables") {
  Run r = run(
      {"m", "-o", "-", "x=[1,2]", "--only=a", "--only", "b", "-n", "3", "--scale", "-1.5e1", "-p", "[3,4]"});
  CHECK(r.status == 0);
  CHECK(r.model == "m");
  CHECK(r.out == "-");
  CHECK(r.rest == std::vector<std::string>{"x=[1,2]", "[3,4]"});
  CHECK(r.only == std::vector<std::string>{"a", "b"});
  CHECK(r.count == 3);
  CHECK(r.scale == -15);
  CHECK(r.ops);
}

TEST_CASE("list values that look like lists stay whole") {
  CHECK(run({"m", "--only", "[a-z]"}).only == std::vector<std::string>{"[a-z]"});
  CHECK(run({"m", "--only=[a,b]"}).only == std::vector<std::string>{"[a,b]"});
}

TEST_CASE("-- ends options") {
  Run r = run({"--", "-m", "--only"});
  CHECK(r.status == 0);
  CHECK(r.model == "-m");
  CHECK(r.rest == std::vector<std::string>{"--only"});
}

TEST_CASE("misuse is exit 2 and the body does not run") {
  std::vector<std::vector<std::string>> cases = {{},
                                                 {"m", "--nope"},
                                                 {"m", "-z"},
                                                 {"m", "-n", "x"},
                                                 {"m", "-n", "11"},
                                                 {"m", "-n", "2.5"},
                                                 {"m", "-n", "99999999999999999999"},
                                                 {"m", "-n"},
                                                 {"m", "--output="},
                                                 {"m", "--mode", "other"},
                                                 {"m", "--ops=5"},
                                                 {"m", "--ops=false"},
                                                 {"m", "-o", "a", "-o", "b"},
                                                 {"m", "--threads", "0"},
                                                 {"m", "--color", "blue"},
                                                 {"m", "--html", "x", "--nope"}};
  for (auto& arguments : cases) {
    Run r = run(arguments);
    CAPTURE(arguments.empty() ? std::string() : arguments.back());
    CHECK(r.status == 2);
    CHECK_FALSE(r.ran);
  }
}

TEST_CASE("planned options are exit 4") {
  CHECK(run({"m", "--html", "x"}).status == 4);
  CHECK(run({"m", "--graph"}).status == 4);
  CHECK(run({"--html=x"}).status == 4);
}

TEST_CASE("errors and exceptions become exit statuses") {
  CHECK(run({"bad"}).status == 3);
  CHECK(run({"alloc"}).status == 5);
  CHECK(run({"throw"}).status == 5);
}

TEST_CASE("printable escapes what could drive a terminal") {
  CHECK(cli::printable("plain \xc3\xa9\n") == "plain \xc3\xa9\n");
  CHECK(cli::printable("\x1b[2J") == "\\x1b[2J");
  CHECK(cli::printable("\xc2\x9b"
                       "2J") == "\\xc2\\x9b2J");
  CHECK(cli::printable("\xff\xed\xa0\x80") == "\\xff\\xed\\xa0\\x80");
  CHECK(cli::printable("cut \xe2\x82") == "cut \\xe2\\x82");
}

TEST_CASE("numbers are whole texts") {
  CHECK(*cli::parse_integer("-12") == -12);
  CHECK_FALSE(cli::parse_integer("").ok());
  CHECK_FALSE(cli::parse_integer("1 ").ok());
  CHECK_FALSE(cli::parse_integer("+1").ok());
  CHECK(*cli::parse_number("1e-3") == 0.001);
  CHECK_FALSE(cli::parse_number("1,5").ok());
}
