#include <doctest/doctest.h>

#include "lib/ir/text.h"
#include "lib/ir/verify.h"

using namespace mlt;
using namespace mlt::ir;

namespace {

std::unique_ptr<Program> program(std::string_view body) {
  auto parsed = parse("program(1.3) { func main<ios17>(bool p, fp32 x) {" + std::string(body) + "} -> (x); }", {});
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().to_string());
  return std::move(*parsed);
}
bool reports(const Program& p, std::string_view text) {
  for (const Error& error : verify(p))
    if (error.message.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("a well-formed program has no findings") {
  auto p = program(R"(fp32 a = relu(x = x);
    fp32 c = cond(pred = p) { block() { fp32 t = relu(x = a); } -> (t); block() { } -> (x); };
    int32 i0 = const()[val = int32(0)];
    int32 i = while_loop(loop_vars = i0) { block(int32 j) { bool l = less(x = j, y = int32(3)); } -> (l);
                                           block(int32 k) { int32 n = add(x = k, y = int32(1)); } -> (n); };)");
  auto errors = verify(*p);
  CHECK_MESSAGE(errors.empty(), (errors.empty() ? "" : errors[0].to_string()));
}

TEST_CASE("use before definition, and where it is said to be") {
  auto p = program("fp32 a = relu(x = x); fp32 b = relu(x = a);");
  std::swap(p->functions[0]->body->ops[0], p->functions[0]->body->ops[1]);
  auto errors = verify(*p);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].to_string() == "function main: op b (relu): 'a' (parameter 'x') is used before it is defined, or out of its block");
}

TEST_CASE("a value of a nested block is not seen outside") {
  auto p = program("fp32 c = cond(pred = p) { block() { fp32 t = relu(x = x); } -> (t); block() { } -> (x); }; fp32 d = relu(x = c);");
  auto& ops = p->functions[0]->body->ops;
  ops[1]->set("x", Operand(ops[0]->blocks[0]->ops[0]->output()));
  CHECK(reports(*p, "'t' (parameter 'x') is used before it is defined, or out of its block"));
}

TEST_CASE("names, operands, producers") {
  auto p = program("fp32 a = relu(x = x); fp32 b = relu(x = a);");
  auto& ops = p->functions[0]->body->ops;
  ops[1]->outputs[0]->name = "a";
  CHECK(reports(*p, "name 'a' is used twice"));
  ops[1]->args[0].operands[0] = Operand();
  CHECK(reports(*p, "parameter 'x' has no value"));
  ops[1]->outputs[0]->producer = nullptr;
  CHECK(reports(*p, "does not know its producer"));
  ops[1]->args.push_back(ops[1]->args[0]);
  CHECK(reports(*p, "'x' is given twice"));
}

TEST_CASE("constants") {
  auto p = program("fp32 a = const()[val = fp32(1)]; fp32 b = const();");
  CHECK(reports(*p, "a constant without a value"));
  p->functions[0]->body->ops[0]->outputs[0]->type = Type::tensor(DType::kF16);
  CHECK(reports(*p, "output is declared fp16, its value is fp32"));
  auto literal = std::make_shared<Literal>();
  literal->type = Type::tensor(DType::kF16, {2});
  p->functions[0]->body->ops[0]->attributes["val"] = literal;
  CHECK(reports(*p, "'val' has no value"));
  literal->blob = BlobRef{"@model_path/w", 64};
  CHECK_FALSE(reports(*p, "'val' has no value"));
}

TEST_CASE("block arities") {
  CHECK(reports(*program("fp32 c = cond(pred = p) { block() { } -> (x); };"), "1 blocks, expected 2"));
  CHECK(reports(*program("fp32 c = cond(pred = p) { block() { } -> (x); block() { } -> (); };"), "a branch gives 0 values, expected 1"));
  CHECK(reports(*program("fp32 c = cond(pred = p) { block() { } -> (x); block() { } -> (p); };"), "a branch gives bool for 'c', expected fp32"));
  CHECK(reports(*program("fp32 c = while_loop(loop_vars = x) { block(fp32 y) { } -> (y); block(fp32 z) { } -> (z); };"), "the condition does not give one bool"));
}

TEST_CASE("types and functions") {
  auto p = program("");
  p->functions[0]->inputs[0]->type.kind = Type::Kind::kList;
  CHECK(reports(*p, "type of 'p' is incomplete"));
  p->functions[0]->opset.clear();
  CHECK(reports(*p, "function without an opset"));
  p->functions.push_back(clone(*p->functions[0]));
  CHECK(reports(*p, "functions are not sorted by name, or share a name"));
}
