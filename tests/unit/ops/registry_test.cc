#include "lib/ops/op_def.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/unit/corpus.h"

using namespace mlt;
using namespace mlt::ops;

TEST_CASE("the op table has no problems") {
  for (const std::string& problem : check_table()) FAIL_CHECK(problem);
  CHECK(all_ops().size() > 0);
}

TEST_CASE("lookup takes the newest version that the opset knows") {
  REQUIRE(find_op("topk", Opset::kCoreML5) != nullptr);
  CHECK(find_op("topk", Opset::kCoreML5)->param("sort") == nullptr);
  CHECK(find_op("topk", Opset::kCoreML6)->param("sort") != nullptr);
  CHECK(find_op("topk", Opset::kCoreML9)->param("output_indices_dtype") != nullptr);
  CHECK(find_op("slice_update", Opset::kCoreML7) == nullptr);
  CHECK(find_op("no_such_op", Opset::kCoreML9) == nullptr);
}

namespace {

std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (char c : line) {
    if (c == '"') quoted = !quoted;
    else if (c == ',' && !quoted) fields.emplace_back();
    else fields.back() += c;
  }
  return fields;
}

std::optional<Opset> opset_of(const std::string& name) {
  if (name == "iOS13" || name == "iOS14" || name == "iOS15") return Opset::kCoreML5;
  if (name == "iOS16") return Opset::kCoreML6;
  if (name == "iOS17") return Opset::kCoreML7;
  if (name == "iOS18") return Opset::kCoreML8;
  if (name == "iOS26") return Opset::kCoreML9;
  return std::nullopt;
}

}  // namespace

// Every op version of the reference table: there, with the same parameters, constness, optionality and element types.
TEST_CASE("the op table covers the reference list of MIL ops") {
  std::string path = std::string(MLT_SOURCE_DIR) + "/../shared/reference/mil-ops.csv";
  std::ifstream in(path);
  if (!in) {
    std::fprintf(stderr, "skipped: no %s\n", path.c_str());
    return;
  }
  struct Row {
    std::string name, kind, dtypes;
    bool is_const, optional;
  };
  std::map<std::pair<std::string, Opset>, std::vector<Row>> reference;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    auto f = csv_fields(line);
    REQUIRE(f.size() >= 12);
    auto opset = opset_of(f[2]);
    if (f[1] != "core" || !opset || f[0] == "const" || f[0] == "_const_symbolic") continue;  // const is the IR's own
    auto& rows = reference[{f[0], *opset}];
    if (!f[4].empty() && f[4][0] != '_') rows.push_back({f[4], f[5], f[7], f[8] == "const", f[9] == "optional"});
  }
  CHECK(reference.size() > 200);
  for (const auto& entry : reference) {
    const auto& key = entry.first;
    const auto& rows = entry.second;
    std::string name = key.first + " (" + std::string(opset_token(key.second)) + ")";
    const OpInfo* info = find_op(key.first, key.second);
    if (info == nullptr) {
      FAIL_CHECK(name << " is not in the table");
      continue;
    }
    CHECK_MESSAGE(info->def->since == key.second, name, " is an older version's row");
    CHECK_MESSAGE(info->params.size() == rows.size(), name, " has ", info->params.size(), " parameters, not ", rows.size());
    for (const Row& row : rows) {
      const Param* param = info->param(row.name);
      if (param == nullptr) {
        FAIL_CHECK(name << " has no parameter " << row.name);
        continue;
      }
      CHECK_MESSAGE(param->optional == row.optional, name, " ", row.name, ": optional is ", param->optional);
      if (row.kind != "tensor_or_scalar") continue;
      CHECK_MESSAGE(param->is_const == row.is_const, name, " ", row.name, ": const is ", param->is_const);
      std::set<std::string> wanted, have;
      std::stringstream stream(row.dtypes);
      for (std::string one; std::getline(stream, one, '|');) wanted.insert(one);
      for (DType dtype : param->dtypes) have.insert(std::string(dtype_name(dtype)));
      CHECK_MESSAGE(std::includes(have.begin(), have.end(), wanted.begin(), wanted.end()), name, " ", row.name, ": lacks one of ", row.dtypes);
    }
  }
}
