// Runs tests/ops/*.case on the backends that need only the op table. MLT_OPCASES=substring narrows to matching files.
#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#include "tests/unit/ops/op_case.h"

using namespace mlt;
using namespace mlt::test;

TEST_CASE("every op case gives its expected outputs or error") {
  const char* filter = std::getenv("MLT_OPCASES");
  auto cases = load_op_cases(filter ? filter : "");
  REQUIRE_MESSAGE(cases.ok(), (cases.ok() ? "" : cases.error().to_string()));
  CHECK(cases->size() > 0);
  for (const CaseBackend& backend : {reference_backend(), program_backend()})
    for (const OpCase& one : *cases) {
      if (!one.mil.empty() && backend.name == "reference") continue;
      std::string wrong = check_case(one, backend);
      CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend.name, "]: ", wrong);
    }
}

TEST_CASE("every row of the op table has a case that succeeds and one that fails") {
  if (std::getenv("MLT_OPCASES") || std::getenv("MLT_OPCASE_DIR")) return;
  auto cases = load_op_cases();
  REQUIRE(cases.ok());
  std::set<const ops::OpInfo*> succeeds, fails;
  for (const OpCase& one : *cases) {
    if (!one.op.empty()) (one.error ? fails : succeeds).insert(ops::find_op(one.op, one.opset));
    auto made = one.mil.empty() ? Result<CaseProgram>(input_error("")) : program_of(one);
    if (made)
      made->program->find("main")->for_each_op([&](const ir::Op& op) { (one.error ? fails : succeeds).insert(ops::find_op(op.kind, one.opset)); });
  }
  for (const ops::OpInfo& info : ops::all_ops()) {
    if (!info.def->core) continue;
    std::string row = std::string(info.def->name) + " (" + std::string(ops::opset_token(info.def->since)) + ")";
    CHECK_MESSAGE(succeeds.contains(&info), row, " has no case in tests/ops");
    // Nothing can go wrong with these beyond a missing operand.
    bool cannot_fail = info.def->name == "identity" || info.def->name == "list_length" || info.def->name == "shape";
    if (!cannot_fail) CHECK_MESSAGE(fails.contains(&info), row, " has no case that expects an error in tests/ops");
  }
}

TEST_CASE("the case runner notices wrong values, types and errors") {
  auto wrong_of = [](const std::string& text) {
    auto cases = parse_op_cases(text, "inline");
    if (!cases) return cases.error().message;
    return check_case((*cases)[0], reference_backend());
  };
  const std::string head = "case c\nop relu\nin x fp32[2] -1 2\n";
  CHECK(wrong_of(head + "out fp32[2] 0 2\n").empty());
  CHECK(wrong_of(head + "out fp32[2] 0 2.1\n") == "output 0: element 1 is 2.000000, expected 2.100000");
  CHECK(wrong_of(head + "out fp16[2] 0 2\n") == "output 0: type fp32[2], expected fp16[2]");
  CHECK(wrong_of(head + "out fp32[3]\n") == "output 0: type fp32[2], expected fp32[3]");
  CHECK(wrong_of(head + "error no such thing\n") == "expected the error \"no such thing\"");
  CHECK(wrong_of("case c\nop relu\nin x fp32[3] 1\nout fp32[3]\n") == "inline:3: too few values: 3 wanted");
  CHECK(wrong_of("case c\nop relu\nin x fp32[1] 1 2\nout fp32[1]\n") == "inline:3: \"2\" is one value too many");
}
