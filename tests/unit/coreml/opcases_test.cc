// Every op case through the wire format, and its program as text before and after.
#include <doctest/doctest.h>

#include <cstdlib>

#include "lib/coreml/mil_read.h"
#include "lib/coreml/mil_write.h"
#include "lib/ir/text.h"
#include "tests/unit/coreml/memory_weights.h"
#include "tests/unit/ops/op_case.h"

using namespace mlt;
using namespace mlt::coreml;
using namespace mlt::test;

namespace {

// Through the bytes of a file and, when there is `weights`, of its weight file.
Result<std::unique_ptr<ir::Program>> wire_trip(const ir::Program& program, MemoryWeights* weights) {
  Model model;
  model.set_spec_version(kNewestSpecVersion);
  MLT_TRY(store_program(model, program, weights));
  MLT_ASSIGN(Bytes bytes, model.serialize());
  MLT_ASSIGN(Model read, Model::parse(Blob(std::move(bytes))));
  MLT_ASSIGN(auto copy, load_program(read, weights));
  if (weights != nullptr) return copy;  // its text names places in the file now
  std::string before = ir::print(program, {}), after = ir::print(*copy, {});
  if (before != after) return input_error("prints differently after the round trip:\n" + before + "\n" + after);
  return copy;
}

}  // namespace

TEST_CASE("every op case is the same after a round trip through the wire format") {
  const char* filter = std::getenv("MLT_OPCASES");
  auto cases = load_op_cases(filter ? filter : "");
  REQUIRE(cases.ok());
  CHECK(cases->size() > 0);
  for (bool in_file : {false, true}) {
    MemoryWeights weights;
    CaseBackend backend = program_backend(in_file ? "wire and weight file" : "wire",
                                          [&](const ir::Program& program) { return wire_trip(program, in_file ? &weights : nullptr); });
    for (const OpCase& one : *cases) {
      std::string wrong = check_case(one, backend);
      CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend.name, "]: ", wrong);
    }
    CHECK((weights.blobs.size() > 10) == in_file);
  }
}
