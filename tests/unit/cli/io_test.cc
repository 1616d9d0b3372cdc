#include "lib/cli/io.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

using namespace mlt;
namespace fs = std::filesystem;

namespace {

struct Scratch {
  std::string path;
  Scratch() {
    std::string name = (fs::temp_directory_path() / "mlt-io-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Scratch() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
};

}  // namespace

TEST_CASE("an output appears complete or not at all") {
  Scratch dir;
  {
    auto output = cli::Output::plan(dir / "a", cli::Content::kBinary, {});
    REQUIRE(output.ok());
    REQUIRE(fs::is_empty(dir.path));  // opened lazily
    REQUIRE(output->write(std::string_view("half")).ok());
  }
  CHECK(fs::is_empty(dir.path));
  auto output = cli::Output::plan(dir / "a", cli::Content::kBinary, {});
  REQUIRE(output->write(std::string_view("whole")).ok());
  CHECK_FALSE(fs::exists(dir / "a"));
  REQUIRE(output->finish().ok());
  auto bytes = cli::read_input(dir / "a");
  REQUIRE(bytes.ok());
  CHECK(bytes->text() == "whole");
}

TEST_CASE("an output may not be an input") {
  Scratch dir;
  REQUIRE(write_file(dir / "m", as_bytes("x")).ok());
  fs::create_hard_link(dir / "m", dir / "same");
  fs::create_symlink("m", dir / "link");
  CHECK_FALSE(cli::check_output(dir / "m", cli::Content::kText, {dir / "m"}).ok());
  CHECK_FALSE(cli::check_output(dir / "same", cli::Content::kText, {"other", dir / "m"}).ok());
  CHECK_FALSE(cli::check_output(dir / "link", cli::Content::kText, {dir / "m"}).ok());
  CHECK(cli::check_output(dir / "new", cli::Content::kText, {dir / "m"}).ok());
  CHECK(cli::check_output(dir / "m", cli::Content::kText, {dir / "gone"}).ok());
}

TEST_CASE("a missing input is an input error") {
  auto bytes = cli::read_input("/nonexistent/m");
  REQUIRE_FALSE(bytes.ok());
  CHECK(bytes.error().code == Code::kInput);
}

TEST_CASE("stdin is read once") {
  CHECK(cli::claim_stdin().ok());
  CHECK(cli::claim_stdin().error().code == Code::kUsage);
}
