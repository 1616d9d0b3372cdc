// Inference over real compiled programs: what Apple's compiler wrote as each op's type is what the table infers.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "lib/ir/text.h"
#include "lib/ops/call.h"
#include "tests/unit/corpus.h"

using namespace mlt;

TEST_CASE("inference agrees with the declared types of compiled programs") {
  for (const std::string& path : test::corpus_files("mlmodelc", ".mlmodelc")) {
    std::ifstream in(path + "/model.mil");
    if (!in) continue;
    std::stringstream text;
    text << in.rdbuf();
    auto program = ir::parse(text.str(), [](const ir::BlobRef&, const ir::Type&) -> Result<Tensor> { return Tensor(); });
    REQUIRE_MESSAGE(program.ok(), path);
    int64_t ops = 0;
    for (const auto& function : (*program)->functions) {
      auto opset = ops::opset_from_token(function->opset);
      REQUIRE(opset.has_value());
      const ir::Function& seen = *function;
      seen.for_each_op([&](const ir::Op& op) {
        if (op.is_const()) return;
        ++ops;
        auto types = ops::infer_types(op, *opset);
        if (!types) {
          FAIL_CHECK(path << ": " << op.name() << " (" << op.kind << "): " << types.error().to_string());
          return;
        }
        CHECK_MESSAGE(types->size() == op.outputs.size(), path, ": ", op.name());
        for (size_t i = 0; i < types->size() && i < op.outputs.size(); ++i)
          CHECK_MESSAGE(compatible(op.output(i)->type, (*types)[i]), path, ": ", op.name(), " (", op.kind, ") is declared ",
                        op.output(i)->type.to_string(), ", inferred ", (*types)[i].to_string());
      });
    }
    CHECK(ops > 0);
    MESSAGE(std::filesystem::path(path).filename().string(), ": ", ops, " ops");
  }
}
