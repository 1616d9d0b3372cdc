#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>

#include "lib/base/file.h"
#include "lib/ir/text.h"
#include "lib/ir/text_tokens.h"

using namespace mlt;
using namespace mlt::ir;

namespace {

constexpr const char* kProgram10 = R"(program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "1"}, {"k\"\\", "v"}})]
{
    func main<ios16>(tensor<int32, [1]> length, tensor<fp32, [1, ?]> x) [FlexibleShapeInformation = tuple<tuple<tensor<string, []>, dict<tensor<string, []>, tensor<int32, [?]>>>, tuple<tensor<string, []>, dict<tensor<string, []>, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 1]}}), ("RangeDims", {{"x", [[1, 1], [1, 2048]]}})))] {
            tensor<fp16, [2, 2]> h = const()[name = tensor<string, []>("h"), val = tensor<fp16, [2, 2]>([[0x1p-24, -0x0p+0], [inf, 0x1.f0cp-1]])];
            tensor<bool, [3]> m = const()[name = tensor<string, []>("m"), val = tensor<bool, [3]>([true, false, true])];
            tensor<fp32, [257, 1, 512]> w = const()[name = tensor<string, []>("w"), val = tensor<fp32, [257, 1, 512]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp32, [1, ?]> c = concat(axis = tensor<int32, []>(1), interleave = tensor<bool, []>(false), values = (x, x));
            tensor<fp32, []> a, tensor<int32, [1, 2]> b = split(x = c)[name = tensor<string, []>("s")];
        } -> (b, c);
}
)";

constexpr const char* kProgram13 = R"(program(1.3)
{
    func main<ios18>(state<tensor<fp16, [2]>> s, tensor<fp16, [2]> x) {
            tensor<fp16, [2]> r = read_state(input = s)[name = string("r")];
            tensor<fp16, [2]> y = add(x = r, y = x);
            write_state(data = y, input = s)[name = string("w")];
            tensor<int4, [5]> q = const()[name = string("q"), val = tensor<int4, [5]>([-8, 7, 0, 1, -1])];
            tensor<uint3, [2, 0]> e = const()[name = string("e"), val = tensor<uint3, [2, 0]>([[], []])];
            uint64 big = const()[val = uint64(18446744073709551615)];
            bool p = const()[val = bool(true)];
            tensor<fp16, [2]> z = cond(pred = p)[name = string("z")] {
                block() {
                        tensor<fp16, [2]> t = relu(x = y);
                    } -> (t);
                block() {
                    } -> (x);
            };
            int32 i0 = const()[val = int32(0)];
            int32 i, tensor<fp16, [2]> v = while_loop(loop_vars = (i0, z)) {
                block(int32 i_1, tensor<fp16, [2]> v_1) {
                        bool less = less(x = i_1, y = int32(3));
                    } -> (less);
                block(int32 i_2, tensor<fp16, [2]> v_2) [note = string("body")] {
                        int32 next = add(x = i_2, y = int32(1));
                    } -> (next, v_2);
            };
            tensor<fp32, *> u = mystery(a = (), "odd name" = v);
        } -> (u);
    func second<ios26>() {
        } -> ();
}
)";

std::string trimmed(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text);
}

std::string corpus() {
  if (const char* set = std::getenv("MLT_CORPUS")) return set;
  return std::string(MLT_SOURCE_DIR) + "/../shared/corpus";
}

std::string error_of(std::string_view text) {
  auto result = parse(text, {});
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == Code::kInput);
  return result.error().message;
}

std::string in_function(std::string_view body) {
  return "program(1.3)\n{\n func main<ios17>(fp32 x) {\n" + std::string(body) + "\n } -> (x);\n}";
}

}  // namespace

TEST_CASE("hexadecimal floats have the fewest digits and no subnormal form") {
  CHECK(hex_float(1) == "0x1p+0");
  CHECK(hex_float(3) == "0x1.8p+1");
  CHECK(hex_float(-0.0) == "-0x0p+0");
  CHECK(hex_float(0.97f) == "0x1.f0a3d8p-1");
  CHECK(hex_float(std::ldexp(1, -149)) == "0x1p-149");
  CHECK(hex_float(std::numeric_limits<double>::denorm_min()) == "0x1p-1074");
  CHECK(hex_float(-std::numeric_limits<double>::infinity()) == "-inf");
  CHECK(hex_float(std::nan("")) == "nan");
}

TEST_CASE("print(parse(text)) is the text, in both versions") {
  auto first = parse(kProgram10, {});
  REQUIRE_MESSAGE(first.ok(), first.error().to_string());
  CHECK(print(**first, {.version = "1.0"}) == trimmed(kProgram10));
  auto second = parse(kProgram13, {});
  REQUIRE_MESSAGE(second.ok(), second.error().to_string());
  CHECK(print(**second, {.version = "1.3"}) == trimmed(kProgram13));
  // The other spelling holds the same program.
  auto other = parse(print(**second, {.version = "1.0"}), {});
  REQUIRE_MESSAGE(other.ok(), other.error().to_string());
  CHECK(print(**other, {.version = "1.3"}) == trimmed(kProgram13));
}

TEST_CASE("what the parser makes of a program") {
  auto parsed = parse(kProgram13, {});
  REQUIRE(parsed.ok());
  const Program& program = **parsed;
  REQUIRE(program.functions.size() == 2);
  const Function& main = *program.functions[0];
  CHECK(main.opset == "CoreML8");
  CHECK(program.functions[1]->opset == "CoreML9");
  CHECK(main.inputs[0]->type == Type::state(Type::tensor(DType::kF16, {2})));
  const Op& write = *main.body->ops[2];
  CHECK(write.kind == "write_state");
  CHECK(write.outputs.empty());
  CHECK(write.input("data") == main.body->ops[1]->output());
  const Value* q = main.body->ops[3]->output();
  CHECK(to_ints(*q->constant_tensor()) == std::vector<int64_t>{-8, 7, 0, 1, -1});
  const Op& loop = *main.body->ops[9];
  CHECK(loop.blocks.size() == 2);
  CHECK(loop.blocks[1]->attributes.at("note")->text() == "body");
  CHECK(loop.find("loop_vars")->operands.size() == 2);
  CHECK(main.body->ops[10]->find("a")->operands.empty());
  CHECK_FALSE(main.body->ops[10]->output()->type.ranked);
}

TEST_CASE("file constants go through the resolver") {
  std::vector<BlobRef> asked;
  auto parsed = parse(kProgram10, [&](const BlobRef& ref, const Type& type) -> Result<Tensor> {
    asked.push_back(ref);
    return Tensor::zeros(type.dtype, type.dims);
  });
  REQUIRE(parsed.ok());
  REQUIRE(asked.size() == 1);
  CHECK(asked[0] == BlobRef{"@model_path/weights/weight.bin", 64});
  const Value* w = (*parsed)->functions[0]->body->ops[2]->output();
  REQUIRE(w->constant_tensor() != nullptr);
  CHECK(w->constant_tensor()->dims() == Dims{257, 1, 512});
  auto failing = parse(kProgram10, [](const BlobRef&, const Type&) -> Result<Tensor> { return input_error("damaged"); });
  REQUIRE_FALSE(failing.ok());
  CHECK(failing.error().message == "damaged");
}

TEST_CASE("every half and many floats survive print and parse") {
  Program program;
  Function* f = program.add_function("main", "CoreML7");
  Op* half = f->body->append("const");
  std::vector<uint16_t> bits;
  for (uint32_t b = 0; b < 0x10000; ++b)
    if ((b & 0x7c00) != 0x7c00 || (b & 0x3ff) == 0) bits.push_back(static_cast<uint16_t>(b));
  Tensor halves = Tensor::uninitialized(DType::kF16, {static_cast<int64_t>(bits.size())});
  std::copy(bits.begin(), bits.end(), halves.mutable_data<uint16_t>());
  half->attributes["val"] = std::make_shared<const Literal>(Literal::of(halves));
  half->add_output("h", Type::of(halves));
  std::mt19937_64 random(1);
  std::vector<float> floats;
  std::vector<double> doubles;
  while (floats.size() < 20000) {
    uint64_t word = random();
    auto single = std::bit_cast<float>(static_cast<uint32_t>(word));
    auto wide = std::bit_cast<double>(word);
    if (std::isnan(single) || std::isnan(wide)) continue;
    floats.push_back(single);
    doubles.push_back(wide);
  }
  floats[0] = std::numeric_limits<float>::denorm_min();
  doubles[0] = std::numeric_limits<double>::denorm_min();
  int64_t n = static_cast<int64_t>(floats.size());
  for (const Tensor& tensor : {Tensor::from<float>({n}, floats), Tensor::from<double>({n}, doubles)}) {
    Op* op = f->body->append("const");
    op->attributes["val"] = std::make_shared<const Literal>(Literal::of(tensor));
    op->add_output("v" + std::string(dtype_name(tensor.dtype())), Type::of(tensor));
  }
  auto again = parse(print(program, {}), {});
  REQUIRE_MESSAGE(again.ok(), again.error().to_string());
  for (size_t i = 0; i < 3; ++i)
    CHECK(same_bytes(*(*again)->functions[0]->body->ops[i]->output()->constant_tensor(), *f->body->ops[i]->output()->constant_tensor()));
}

TEST_CASE("decimal numbers round once") {
  auto parsed = parse(in_function("fp16 a = const()[val = fp16(1.00048828125001)]; fp32 b = const()[val = fp32(0.1)]; fp16 c = const()[val = fp16(1.00048828125)];"), {});
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().to_string());
  auto& ops = (*parsed)->functions[0]->body->ops;
  CHECK(*ops[0]->output()->constant_tensor()->data<uint16_t>() == 0x3c01);
  CHECK(*ops[1]->output()->constant_tensor()->data<float>() == 0.1f);
  CHECK(*ops[2]->output()->constant_tensor()->data<uint16_t>() == 0x3c00);
}

TEST_CASE("errors say where") {
  CHECK(error_of("") == "MIL text 1:1: expected 'program', found the end of the text");
  CHECK(error_of("program(1.3)\n{\n  func f<ios17>(fp33 x)") == "MIL text 3:17: unknown type 'fp33'");
  CHECK(error_of(in_function("fp32 y = relu(x = z);")) == "MIL text 4:19: 'z' is not defined here");
  CHECK(error_of(in_function("fp32 x = relu(x = x);")) == "MIL text 4:6: 'x' is defined twice");
  CHECK(error_of(in_function("fp32 y = relu(x = x, x = x);")) == "MIL text 4:22: parameter 'x' given twice");
  CHECK(error_of(in_function("tensor<fp32, [2]> y = const()[val = tensor<fp32, [2]>([1, 2, 3])];")).find("3 elements along axis 0, expected 2") != std::string::npos);
  CHECK(error_of(in_function("tensor<fp32, [-1]> y")).find("negative extent") != std::string::npos);
  CHECK(error_of(in_function("int8 y = const()[val = int8(128)];")).find("number out of range") != std::string::npos);
  CHECK(error_of(in_function("uint3 y = const()[val = uint3(8)];")).find("number out of range") != std::string::npos);
  CHECK(error_of(in_function("string y = const()[val = string(\"abc")).find("string without an end") != std::string::npos);
  CHECK(error_of(in_function("fp32 y = relu(x = x)[a = fp32(1), a = fp32(2)];")).find("attribute 'a' given twice") != std::string::npos);
  CHECK(error_of(in_function("") + "}").find("text after the end") != std::string::npos);
}

TEST_CASE("hostile text ends in an error, quickly") {
  std::string deep(100000, '<');
  for (size_t i = 0; i < deep.size(); i += 5) deep.replace(i, 5, "list<");
  CHECK(error_of(in_function(deep)).find("types nest too deep") != std::string::npos);
  std::string blocks;
  for (int i = 0; i < 10000; ++i) blocks += "fp32 y = cond() { block() {";
  CHECK(error_of(in_function(blocks)).find("blocks nest too deep") != std::string::npos);
  std::string blobs;
  for (int i = 0; i < 10000; ++i) blobs += "fp32(BLOBFILE(path = ";
  CHECK(error_of(in_function("fp32 y = const()[val = " + blobs)).find("BLOBFILE within BLOBFILE") != std::string::npos);
  CHECK(error_of(in_function("tensor<fp32, [4000000000, 4000000000]> y = const()[val = tensor<fp32, [4000000000, 4000000000]>([])];")).find("0 elements along axis 0") != std::string::npos);
  // A good program cut off anywhere, or with one byte changed, is refused or accepted, nothing else.
  std::string whole = trimmed(kProgram13);
  for (size_t cut = 0; cut < whole.size(); ++cut) CHECK_FALSE(parse(std::string_view(whole).substr(0, cut), {}).ok());
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string changed = whole;
    changed[random() % changed.size()] = static_cast<char>(random());
    (void)parse(changed, {}).ok();
  }
}

TEST_CASE("model.mil of compiled models prints again byte for byte") {
  const char* names[] = {"apple__add_model", "FluidInference__Argmax", "FluidInference__TransposeEncoder",
                         "FluidInference__parakeet_eou_preprocessor", "FluidInference__streaming_encoder_1280ms"};
  for (const char* name : names) {
    std::string path = corpus() + "/mlmodelc/" + name + ".mlmodelc/model.mil";
    if (path_kind(path) != PathKind::kFile) {
      MESSAGE("skipped: no ", path);
      continue;
    }
    auto file = map_file(path);
    REQUIRE(file.ok());
    auto program = parse(file->text(), {});
    REQUIRE_MESSAGE(program.ok(), program.error().to_string());
    std::string version(file->text().substr(8, 3));
    CHECK_MESSAGE(print(**program, {.version = version}) == trimmed(file->text()), name);
  }
}
