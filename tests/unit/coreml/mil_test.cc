#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "lib/coreml/mil_read.h"
#include "lib/coreml/mil_write.h"
#include "lib/ir/verify.h"
#include "tests/unit/coreml/memory_weights.h"
#include "tests/unit/corpus.h"

using namespace mlt;
using namespace mlt::coreml;
using mlt::test::MemoryWeights;

namespace {

std::unique_ptr<ir::Program> text(std::string_view source, const WeightSource* weights = nullptr) {
  auto parsed = ir::parse(source, blob_resolver(weights));
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().to_string());
  return std::move(*parsed);
}

// A constant of every element type, every kind of value, nested blocks, several functions.
constexpr const char* kEverything = R"(program(1.3)
[buildInfo = dict<string, string>({{"a", "b"}}), list = list<tensor<int32, [2]>, ?>([[1, 2], [3, 4]]), t = tuple<string, fp16>(("s", 0x1p-24))]
{
    func main<ios18>(state<tensor<fp16, [2]>> s, tensor<fp32, [1, ?]> x) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>>((("DefaultShapes", {{"x", [1, 1]}})))] {
            fp16 c0 = const()[name = string("c0"), val = fp16(0x1.8p+1)];
            tensor<fp32, [2]> c1 = const()[val = tensor<fp32, [2]>([inf, -0x1p-149])];
            fp64 c2 = const()[val = fp64(0x1.999999999999ap-4)];
            bf16 c3 = const()[val = bf16(0x1p+0)];
            tensor<int4, [3]> c4 = const()[val = tensor<int4, [3]>([-8, 7, 1])];
            tensor<int8, [2]> c5 = const()[val = tensor<int8, [2]>([-128, 127])];
            int16 c6 = const()[val = int16(-32768)];
            int32 c7 = const()[val = int32(-2147483648)];
            int64 c8 = const()[val = int64(-9223372036854775808)];
            tensor<uint1, [9]> c9 = const()[val = tensor<uint1, [9]>([1, 0, 1, 1, 0, 0, 0, 0, 1])];
            tensor<uint2, [3]> c10 = const()[val = tensor<uint2, [3]>([3, 2, 1])];
            tensor<uint3, [5]> c11 = const()[val = tensor<uint3, [5]>([1, 2, 3, 4, 5])];
            tensor<uint4, [3]> c12 = const()[val = tensor<uint4, [3]>([1, 2, 15])];
            tensor<uint6, [3]> c13 = const()[val = tensor<uint6, [3]>([63, 1, 2])];
            uint8 c14 = const()[val = uint8(255)];
            uint16 c15 = const()[val = uint16(65535)];
            uint32 c16 = const()[val = uint32(4294967295)];
            uint64 c17 = const()[val = uint64(18446744073709551615)];
            tensor<bool, [2]> c18 = const()[val = tensor<bool, [2]>([true, false])];
            tensor<string, [2]> c19 = const()[val = tensor<string, [2]>(["", "q\"\\"])];
            tensor<fp16, [0, 3]> c20 = const()[val = tensor<fp16, [0, 3]>([])];
            fp8e4m3fn c21 = const()[val = fp8e4m3fn(0x1.cp+8)];
            tensor<fp16, [2]> r = read_state(input = s);
            write_state(data = r, input = s);
            tensor<fp32, *> u = mystery(a = (), b = (x, c1, int32(7)));
            bool p = const()[val = bool(true)];
            tensor<fp16, [2]> z = cond(pred = p)[name = string("z")] {
                block() {
                        tensor<fp16, [2]> t = relu(x = r);
                    } -> (t);
                block() [note = string("else")] {
                    } -> (r);
            };
            fp16 i = while_loop(loop_vars = c0) {
                block(fp16 j) {
                        bool l = less(x = j, y = c0);
                    } -> (l);
                block(fp16 k) {
                        fp16 n = add(x = k, y = c0);
                    } -> (n);
            };
        } -> (z, i);
    func other<ios17>(tensor<fp32, [...]> y) {
        } -> (y);
})";

Model stored(const ir::Program& program, WeightSink* sink, int spec_version = 9, const StoreOptions& options = {}) {
  Model model;
  model.set_spec_version(spec_version);
  auto status = store_program(model, program, sink, options);
  REQUIRE_MESSAGE(status.ok(), status.error().to_string());
  return model;
}

std::unique_ptr<ir::Program> loaded(const Model& model, const WeightSource* weights = nullptr) {
  // Through bytes, as a file would.
  auto parsed = Model::parse(Blob(*model.serialize()));
  REQUIRE(parsed.ok());
  auto program = load_program(*parsed, weights);
  REQUIRE_MESSAGE(program.ok(), program.error().to_string());
  return std::move(*program);
}

}  // namespace

TEST_CASE("a program survives the wire format") {
  auto program = text(kEverything);
  Model model = stored(*program, nullptr);
  CHECK(model.kind() == ModelKind::kMlProgram);
  CHECK(ir::print(*loaded(model), {}) == kEverything);
  // With a sink that nothing is large enough for, too.
  MemoryWeights weights;
  CHECK(*stored(*program, &weights).serialize() == *model.serialize());
  CHECK(weights.blobs.empty());
}

TEST_CASE("large constants go to the weight file, once per tensor") {
  auto program = text(R"(program(1.3) { func main<ios17>(tensor<fp16, [10]> x) {
    tensor<fp16, [10]> a = const()[val = tensor<fp16, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
    tensor<fp16, [10]> b = const()[val = tensor<fp16, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
    tensor<int32, [10]> c = const()[val = tensor<int32, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
    tensor<fp16, [9]> d = const()[val = tensor<fp16, [9]>([1, 2, 3, 4, 5, 6, 7, 8, 9])];
    tensor<int4, [11]> e = const()[val = tensor<int4, [11]>([1, 2, 3, 4, 5, 6, 7, -8, -1, 0, 1])];
    tensor<fp16, [10]> q = constexpr_affine_dequantize()[axis = int32(0), quantized_data = tensor<int8, [10]>([1, 2, 3, 4, 5, 6, 7, -8, -1, 0])];
    tensor<fp16, [10]> y = add(x = x, y = tensor<fp16, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    } -> (y); })");
  auto& ops = program->functions[0]->body->ops;
  ops[1]->attributes["val"] = ops[0]->attributes["val"];
  for (int spec_version : {8, 9}) {
    MemoryWeights weights;
    Model model = stored(*program, &weights, spec_version);
    std::vector<DType> types;
    for (const WeightBlob& blob : weights.blobs) types.push_back(blob.dtype);
    if (spec_version == 8) CHECK(types == std::vector{DType::kF16, DType::kI4, DType::kI8});
    else CHECK(types == std::vector{DType::kF16, DType::kI32, DType::kI4, DType::kI8});
    auto again = loaded(model, &weights);
    auto& read = again->functions[0]->body->ops;
    CHECK(read[0]->attributes["val"]->blob == ir::BlobRef{"@model_path/weights/weight.bin", 0});
    CHECK(read[0]->attributes["val"]->blob == read[1]->attributes["val"]->blob);
    CHECK_FALSE(read[3]->attributes["val"]->blob.has_value());
    CHECK(read[5]->attributes["quantized_data"]->blob.has_value());
    for (size_t i = 0; i < 5; ++i) CHECK(same_bytes(*read[i]->output()->constant_tensor(), *ops[i]->output()->constant_tensor()));

    // Written again: by reference when asked, else into the new file.
    Model kept = stored(*again, nullptr, spec_version, {.keep_file_references = true});
    CHECK(*kept.serialize() == *model.serialize());
    MemoryWeights second;
    CHECK(*stored(*again, &second, spec_version).serialize() == *model.serialize());
    CHECK(second.blobs.size() == weights.blobs.size());
  }
}

TEST_CASE("missing and unfit weights") {
  constexpr const char* source = R"(program(1.3) { func main<ios17>(fp16 x) {
    tensor<fp16, [10]> a = const()[val = tensor<fp16, [10]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(0)))];
    } -> (a); })";
  auto program = text(source);
  CHECK(program->functions[0]->body->ops[0]->output()->constant_tensor() == nullptr);
  Model model = stored(*program, nullptr, 8, {.keep_file_references = true});
  CHECK(loaded(model)->functions[0]->body->ops[0]->output()->constant() != nullptr);
  Model other;
  auto refused = store_program(other, *program, nullptr);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().to_string().find("op a (const): attribute val: its weights (@model_path/weights/weight.bin) are missing") != std::string::npos);
  CHECK(other.kind() == ModelKind::kNone);

  MemoryWeights weights;
  auto fails = [&](std::string_view message) {
    auto result = load_program(model, &weights);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == Code::kInput);
    CHECK_MESSAGE(result.error().to_string().find(message) != std::string::npos, result.error().to_string());
  };
  fails("function main: op a (const): attribute val: @model_path/weights/weight.bin at offset 0: no record here");
  weights.blobs.push_back({DType::kF32, 10, Blob(Bytes(40))});
  fails("a blob of fp32, expected fp16[10]");
  weights.blobs[0] = {DType::kF16, 9, Blob(Bytes(18))};
  fails("a blob of 9 elements, fp16[10] needs 10");
  weights.blobs[0] = {DType::kF16, 10, Blob(Bytes(20))};
  CHECK(load_program(model, &weights).ok());
}

TEST_CASE("names that sibling blocks share become different ones") {
  auto program = text(R"(program(1.3) { func main<ios17>(bool p, fp16 x) {
    fp16 t_0 = relu(x = x);
    fp16 y = cond(pred = p) { block() { fp16 t = relu(x = x); } -> (t); block() { fp16 u = relu(x = x); fp16 v = relu(x = u); } -> (v); };
    } -> (y); })");
  program->functions[0]->body->ops[1]->blocks[1]->ops[0]->outputs[0]->name = "t";
  auto again = loaded(stored(*program, nullptr));
  CHECK(ir::verify(*again).empty());
  auto& blocks = again->functions[0]->body->ops[1]->blocks;
  CHECK(blocks[0]->ops[0]->output()->name == "t");
  CHECK(blocks[1]->ops[0]->output()->name == "t_1");
  CHECK(blocks[1]->ops[1]->input("x") == blocks[1]->ops[0]->output());
}

TEST_CASE("damaged programs are refused with a place") {
  auto refused = [](const ir::Program& program, std::string_view message) {
    auto result = load_program(stored(program, nullptr), nullptr);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == Code::kInput);
    CHECK_MESSAGE(result.error().to_string() == message, result.error().to_string());
  };
  auto make = [] { return text("program(1.3) { func main<ios17>(fp16 x) { fp16 a = relu(x = x); fp16 b = relu(x = a); tensor<fp16, [2]> c = const()[val = tensor<fp16, [2]>([1, 2])]; } -> (b); }"); };
  auto swapped = make();
  std::swap(swapped->functions[0]->body->ops[0], swapped->functions[0]->body->ops[1]);
  refused(*swapped, "function main: op b (relu): parameter x: 'a' is not defined here");
  auto doubled = make();
  doubled->functions[0]->body->ops[1]->outputs[0]->name = "a";
  refused(*doubled, "function main: op a (relu): 'a' is defined twice");
  auto wrong = make();
  auto literal = std::make_shared<ir::Literal>(*wrong->functions[0]->body->ops[2]->attributes["val"]);
  literal->type.dims = {3};
  wrong->functions[0]->body->ops[2]->attributes["val"] = literal;
  refused(*wrong, "function main: op c (const): attribute val: 4 bytes given, fp16[3] needs 6");
  literal->type.dims = {int64_t{1} << 40, int64_t{1} << 40};
  refused(*wrong, "function main: op c (const): attribute val: shape 1099511627776x1099511627776 is too large");
  CHECK(load_program(Model(), nullptr).error().code == Code::kUsage);
}

TEST_CASE("programs of the corpus: nothing is lost between read and write") {
  for (const char* folder : {"mlpackage", "mlpackage-graph"}) {
    for (const std::string& path : test::corpus_files(folder, ".mlpackage")) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
        if (entry.path().extension() != ".mlmodel") continue;
        auto file = map_file(entry.path().string());
        REQUIRE(file.ok());
        auto model = Model::parse(*file);
        REQUIRE(model.ok());
        std::vector<Model> programs = model->children();
        if (model->kind() == ModelKind::kMlProgram) programs.push_back(std::move(*model));
        for (const Model& original : programs) {
          if (original.kind() != ModelKind::kMlProgram) continue;
          auto program = load_program(original, nullptr);
          REQUIRE_MESSAGE(program.ok(), path, ": ", program.error().to_string());
          auto errors = ir::verify(**program);
          CHECK_MESSAGE(errors.empty(), path, ": ", (errors.empty() ? "" : errors[0].to_string()));
          Model copy = original.clone();
          REQUIRE(store_program(copy, **program, nullptr, {.keep_file_references = true}).ok());
          // The two blocks of coremltools' while_loops share names, which reading makes different.
          bool loops = false;
          for (const auto& f : (*program)->functions) f->for_each_op([&](ir::Op& op) { loops |= op.kind == "while_loop"; });
          if (!loops) CHECK_MESSAGE(*copy.serialize() == *original.serialize(), path);
          else CHECK_MESSAGE(ir::print(*loaded(copy), {}) == ir::print(**program, {}), path);
          for (const char* version : {"1.0", "1.3"}) {
            std::string printed = ir::print(**program, {.version = version});
            auto parsed = ir::parse(printed, {});
            REQUIRE_MESSAGE(parsed.ok(), path, ": ", parsed.error().to_string());
            CHECK(ir::print(**parsed, {.version = version}) == printed);
          }
        }
      }
    }
  }
}
