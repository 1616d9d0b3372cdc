// Runs tests/ops/*.case on the backends that need only the op table. MLT_OPCASES=substring narrows to matching files.
#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#include "tests/unit/ops/op_case.h"

using namespace mlt;
using namespace mlt::test;

namespace {

std::vector<OpCase> chosen_cases() {
  const char* filter = std::getenv("MLT_OPCASES");
  auto cases = load_op_cases(filter ? filter : "");
  REQUIRE_MESSAGE(cases.ok(), (cases.ok() ? "" : cases.error().to_string()));
  CHECK(cases->size() > 0);
  return std::move(*cases);
}

bool has_values(const OpCase& one) {
  for (const auto& input : one.inputs)
    for (const CaseValue& value : input.values)
      if (!value.value.known()) return false;
  return true;
}

}  // namespace

TEST_CASE("every op case gives its expected outputs or error") {
  std::vector<OpCase> cases = chosen_cases();
  for (const CaseBackend& backend : {reference_backend(), program_backend()})
    for (const OpCase& one : cases) {
      if (!one.mil.empty() && backend.name == "reference") continue;
      std::string wrong = check_case(one, backend);
      CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend.name, "]: ", wrong);
    }
}

TEST_CASE("every op case is the same after a round trip through MIL text") {
  std::vector<OpCase> cases = chosen_cases();
  for (const char* version : {"1.0", "1.3"}) {
    CaseBackend backend = program_backend(std::string("text ") + version, text_trip(version));
    for (const OpCase& one : cases) {
      std::string wrong = check_case(one, backend);
      CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend.name, "]: ", wrong);
    }
  }
}

// Inference knows less and must not say anything else; what it could not refuse, evaluation must.
TEST_CASE("every op case holds in a program whose extents are open") {
  std::vector<OpCase> cases = chosen_cases();
  for (Open open : {Open::kFirst, Open::kLast, Open::kAll}) {
    CaseBackend backend = program_backend(open);
    for (const OpCase& one : cases) {
      if (!one.mil.empty() || !has_values(one) || depends_on_declaration(one)) continue;
      std::string wrong = one.error && !backend.run(one) ? "" : check_case(one, backend);  // it may be refused for less
      CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend.name, "]: ", wrong);
    }
  }
}

// A version counts as shown to work by a case with values (or, for random numbers, types) and as shown to fail by one in which
// nothing else can be the culprit.
TEST_CASE("every version of every op has a case that succeeds and one that fails") {
  if (std::getenv("MLT_OPCASES") || std::getenv("MLT_OPCASE_DIR")) return;
  std::vector<OpCase> cases = chosen_cases();
  std::set<const ops::OpInfo*> succeeds, fails;
  for (const OpCase& one : cases) {
    if (!one.op.empty()) {
      const ops::OpInfo* info = ops::find_op(one.op, one.opset);
      bool random = info != nullptr && info->def->exactness == ops::Exactness::kRandom;
      bool no_value = info != nullptr && (info->def->eval == nullptr || one.op == "make_list" || one.op == "classify");
      if (one.error) fails.insert(info);
      else if (random || no_value || one.outputs[0].value.known()) succeeds.insert(info);
      continue;
    }
    auto made = program_of(one);
    if (!made) continue;
    made->program->find("main")->for_each_op([&](const ir::Op& op) {
      bool named = one.error && one.name.find(op.kind) != std::string::npos;
      if (!one.error || named) (one.error ? fails : succeeds).insert(ops::find_op(op.kind, one.opset));
    });
  }
  size_t versions = 0;
  for (const ops::OpInfo& info : ops::all_ops()) {
    if (!info.def->core) continue;
    ++versions;
    std::string row = std::string(info.def->name) + " (" + std::string(ops::opset_token(info.def->since)) + ")";
    CHECK_MESSAGE(succeeds.contains(&info), row, " has no case with values in tests/ops");
    CHECK_MESSAGE(fails.contains(&info), row, " has no case that expects an error in tests/ops");
  }
  MESSAGE(versions, " versions of ops: ", cases.size(), " cases, each version with one that succeeds and one that fails");
  // The reference list has 227 versions; const and its symbolic twin are the IR's own, write_state and coreml_update_state are added.
  CHECK(versions == 227);
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
