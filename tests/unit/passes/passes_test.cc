// Every file of tests/passes/<pass>/ holds a program, a line "---", and the program after the pass. Both are run and must
// agree. With MLT_UPDATE set, the second part is rewritten (review the diff).
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "lib/ir/text.h"
#include "lib/ir/verify.h"
#include "lib/passes/pipeline.h"
#include "tests/conformance/reference.h"

using namespace mlt;
namespace fs = std::filesystem;

namespace {

const ir::PrintOptions kPrint{.version = "1.3"};

std::unique_ptr<ir::Program> parsed(const std::string& text) {
  auto program = ir::parse(text, [](const ir::BlobRef&, const ir::Type&) -> Result<Tensor> { return Tensor(); });
  REQUIRE_MESSAGE(program.ok(), program.error().to_string());
  return std::move(*program);
}

// A spread of small values, the same every time.
std::vector<Tensor> inputs_of(const ir::Function& f) {
  std::vector<Tensor> inputs;
  for (const auto& input : f.inputs) {
    Tensor t = Tensor::uninitialized(DType::kF32, input->type.dims);
    for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = static_cast<float>((i * 7 + 3) % 11 - 5) * 0.375f;
    inputs.push_back(std::move(t));
  }
  return inputs;
}

}  // namespace

TEST_CASE("passes do what their cases show and keep the answers") {
  fs::path root = fs::path(MLT_SOURCE_DIR) / "tests/passes";
  size_t cases = 0;
  for (const passes::Pass& pass : passes::all_passes()) {
    fs::path dir = root / std::string(pass.name);
    CHECK_MESSAGE(fs::is_directory(dir), "no cases for " << pass.name);
    if (!fs::is_directory(dir)) continue;
    for (const auto& entry : fs::directory_iterator(dir)) {
      std::ifstream in(entry.path());
      std::stringstream all;
      all << in.rdbuf();
      std::string text = all.str();
      CAPTURE(entry.path().string());
      size_t line = text.find("\n---\n");
      REQUIRE(line != std::string::npos);
      std::string before = text.substr(0, line + 1), after = text.substr(line + 5);
      auto original = parsed(before), program = parsed(before);
      passes::Context context;
      auto status = passes::run(*program, {std::string(pass.name)}, context);
      REQUIRE_MESSAGE(status.ok(), status.error().to_string());
      auto problems = ir::verify(*program);
      CHECK_MESSAGE(problems.empty(), (problems.empty() ? "" : problems[0].to_string()));
      std::string got = ir::print(*program, kPrint);
      if (!got.ends_with('\n')) got += '\n';
      if (std::getenv("MLT_UPDATE")) {
        std::ofstream(entry.path()) << before << "---\n" << got;
      } else {
        CHECK(got == after);
      }
      // Same interface, same answers.
      const ir::Function &a = *original->functions[0], &b = *program->functions[0];
      REQUIRE(a.body->outputs.size() == b.body->outputs.size());
      bool half = pass.name == "add_fp16_cast";
      auto want = reference::run(a, inputs_of(a)), have = reference::run(b, inputs_of(b));
      REQUIRE_MESSAGE(want.ok(), want.error().to_string());
      REQUIRE_MESSAGE(have.ok(), have.error().to_string());
      for (size_t i = 0; i < want->size(); ++i) {
        CHECK(a.body->outputs[i]->name == b.body->outputs[i]->name);
        CHECK(a.body->outputs[i]->type == b.body->outputs[i]->type);
        std::vector<float> x = to_floats((*want)[i].tensor), y = to_floats((*have)[i].tensor);
        REQUIRE(x.size() == y.size());
        for (size_t k = 0; k < x.size(); ++k) CHECK(std::abs(x[k] - y[k]) <= (half ? 2e-3 : 2e-6) * (1 + std::abs(x[k])));
      }
      ++cases;
    }
  }
  CHECK(cases > 20);
}

TEST_CASE("the pipeline names passes that exist") {
  for (bool float16 : {false, true})
    for (const std::string& name : passes::conversion_pipeline(float16)) CHECK(passes::find_pass(name) != nullptr);
  ir::Program empty;
  passes::Context context;
  auto status = passes::run(empty, {"no_such_pass"}, context);
  REQUIRE(!status.ok());
  CHECK(status.error().code == Code::kUsage);
}

TEST_CASE("a constant float16 cannot hold is told") {
  auto program = parsed(
      "program(1.3)\n{\n    func main<ios15>(tensor<fp32, [2]> x) {\n"
      "            fp32 k = const()[name = string(\"k\"), val = fp32(100000)];\n"
      "            tensor<fp32, [2]> y = mul(x = x, y = k)[name = string(\"y\")];\n        } -> (y);\n}\n");
  passes::Context context;
  REQUIRE(passes::run(*program, {"add_fp16_cast"}, context).ok());
  REQUIRE(context.warnings.size() == 1);
  CHECK(context.warnings[0].find("does not fit float16") != std::string::npos);
}
