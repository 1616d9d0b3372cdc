// Whole models: what becomes of the graph, the opset and the weight file.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cmath>

#include "lib/compress/compress.h"
#include "lib/container/open.h"
#include "lib/container/program.h"
#include "lib/container/weight_blob.h"
#include "lib/coreml/mil_read.h"
#include "lib/ir/verify.h"
#include "lib/ops/call.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using namespace mlt::compress;

// y = x W (50x60) b, gathered rows of a table (used twice), a transposed product, a vector, and a weight too small.
std::string program_text(const std::string& opset, const std::string& dtype) {
  auto tensor = [&](int rows, int columns, int seed) {
    std::string text = "[";
    for (int r = 0; r < rows; ++r) {
      text += r == 0 ? "[" : ", [";
      for (int c = 0; c < columns; ++c) text += fmt::format("{}{}", c == 0 ? "" : ", ", (r * 31 + c * 17 + seed) % 101 * 0.03125 - 1.5);
      text += "]";
    }
    return text + "]";
  };
  auto constant = [&](const std::string& name, int rows, int columns) {
    std::string type = fmt::format("tensor<{}, [{}, {}]>", dtype, rows, columns);
    return fmt::format("{} {} = const()[name = string(\"{}\"), val = {}({})];\n", type, name, name, type, tensor(rows, columns, rows));
  };
  std::string t = dtype;
  return "program(1.3) { func main<" + opset + ">(tensor<" + t + ", [1, 50]> x) {\n" + constant("w", 50, 60) + constant("v", 70, 60) + constant("small", 70, 2) +
         "bool yes = const()[name = string(\"yes\"), val = bool(true)];\n"
         "bool no = const()[name = string(\"no\"), val = bool(false)];\n"
         "tensor<" + t + ", [1, 60]> a = matmul(x = x, y = w, transpose_x = no, transpose_y = no)[name = string(\"first\")];\n"
         "tensor<" + t + ", [1, 70]> b = matmul(x = a, y = v, transpose_x = no, transpose_y = yes)[name = string(\"second\")];\n"
         "tensor<" + t + ", [1, 2]> y = matmul(x = b, y = small, transpose_x = no, transpose_y = no)[name = string(\"third\")];\n"
         "} -> (y); }";
}

struct Outcome {
  Report report;
  std::unique_ptr<ir::Program> program;
  int spec_version = 0;
  uint64_t weight_bytes = 0;
  Blob weights;
};

class OneFile : public coreml::WeightSource {
 public:
  explicit OneFile(BlobFile file) : file_(std::move(file)) {}
  Result<WeightBlob> read(std::string_view, uint64_t offset) const override { return file_.read(offset); }
  bool has(std::string_view) const override { return true; }

 private:
  BlobFile file_;
};

Result<Outcome> run(OpenedModel& model, const Config& config) {
  MLT_TRY(complete_mil_text(model));
  MLT_ASSIGN(auto programs, load_programs(model));
  MLT_ASSIGN(auto writer, BlobWriter::create_temporary());
  Outcome out;
  MLT_ASSIGN(out.report, compress::compress(model.model, programs, config, writer.get()));
  out.weight_bytes = writer->bytes();
  MLT_ASSIGN(out.weights, writer->finish());
  MLT_ASSIGN(BlobFile file, BlobFile::open(out.weights));
  OneFile source(std::move(file));
  out.spec_version = model.model.spec_version();
  if (model.model.kind() == coreml::ModelKind::kMlProgram) {
    MLT_ASSIGN(out.program, coreml::load_program(model.model, &source));
  }
  return out;
}

Result<Outcome> run(const std::string& text, const Config& config) {
  Bytes bytes(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end());
  MLT_ASSIGN(OpenedModel model, open_memory(Blob(std::move(bytes)), "test"));
  return run(model, config);
}

std::vector<const ir::Op*> ops_of(const ir::Program& program, std::string_view kind) {
  std::vector<const ir::Op*> found;
  program.functions[0]->for_each_op([&](const ir::Op& op) {
    if (op.kind == kind) found.push_back(&op);
  });
  return found;
}

// The values a constant or a constexpr op stands for.
std::vector<float> values_of(const ir::Function& function, const ir::Op& op) {
  if (const Tensor* tensor = op.output()->constant_tensor()) return to_floats(*tensor);
  auto folded = ops::fold(op, *ops::opset_from_token(function.opset));
  REQUIRE(folded.ok());
  REQUIRE(folded->has_value());
  return to_floats((**folded)[0]);
}

const ir::Op* weight_of(const ir::Program& program, const std::string& op_name, const std::string& param) {
  const ir::Op* found = nullptr;
  program.functions[0]->for_each_op([&](const ir::Op& op) {
    if (op.name() == op_name && op.input(param) != nullptr) found = op.input(param)->producer;
  });
  return found;
}

TEST_CASE("every method and opset: valid programs whose weights are near the originals, and what the report says") {
  for (const char* opset : {"ios15", "ios16", "ios17", "ios18"})
    for (const char* dtype : {"fp16", "fp32"}) {
      std::string text = program_text(opset, dtype);
      CAPTURE(opset);
      CAPTURE(dtype);
      OpenedModel original = *open_memory(Blob(Bytes(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end())), "test");
      auto before = *load_program(original);
      std::vector<Config> configs;
      for (bool is_signed : {false, true})
        for (bool symmetric : {false, true})
          for (bool per_channel : {false, true}) configs.push_back({.recipe = {.linear = Linear{.is_signed = is_signed, .symmetric = symmetric, .per = per_channel ? Linear::Per::kChannel : Linear::Per::kTensor}}});
      for (int bits : {1, 2, 4, 6, 8}) configs.push_back({.recipe = {.palette = Palette{.bits = bits}}});
      if (std::string(opset) == "ios18") configs.push_back({.recipe = {.palette = Palette{.bits = 3}}});
      if (std::string(dtype) == "fp32") configs.push_back({.recipe = {.float16 = true, .threshold = 2048}});
      for (const Config& config : configs) {
        CAPTURE(describe(config));
        auto out = run(text, config);
        if (!out.ok()) MESSAGE(out.error().to_string());
        REQUIRE(out.ok());
        CHECK(ir::verify(*out->program).empty());
        const ir::Function& function = *out->program->functions[0];
        bool raised = std::string(opset) == "ios15";
        CHECK(function.opset == (raised ? "CoreML6" : std::string(ops::opset_token(*ops::opset_from_token(opset)))));
        CHECK(out->report.notes.size() == (raised ? 1 : 0));
        CHECK(out->report.changed() == 2);
        CHECK(out->report.bytes_after() < out->report.bytes_before());
        REQUIRE(out->report.weights.size() == 3);
        CHECK(out->report.weights[2].name == "small");
        CHECK_FALSE(out->report.weights[2].changed);
        // Nothing but the compressed bytes is in the file (64 for each record, padding, the small weight).
        CHECK(out->weight_bytes < out->report.bytes_after() + 16 * 128);
        for (size_t i = 0; i < 2; ++i) {
          const WeightReport& w = out->report.weights[i];
          const ir::Op* now = weight_of(*out->program, i == 0 ? "first" : "second", "y");
          const ir::Op* then = weight_of(*before, i == 0 ? "first" : "second", "y");
          REQUIRE((now != nullptr && then != nullptr));
          CHECK(now->kind.starts_with("constexpr_"));
          CHECK(now->output()->name.starts_with(then->output()->name));
          CHECK(now->output()->type == then->output()->type);
          auto a = values_of(function, *now), b = values_of(*before->functions[0], *then);
          double max = 0, sum = 0;
          for (size_t k = 0; k < a.size(); ++k) {
            double d = std::abs(static_cast<double>(a[k]) - static_cast<double>(b[k]));
            max = std::max(max, d);
            sum += d;
          }
          CHECK(w.distance.max == doctest::Approx(max).epsilon(1e-3));
          CHECK(w.distance.mean == doctest::Approx(sum / static_cast<double>(a.size())).epsilon(1e-3));
          if (!config.recipe.palette) CHECK(max < 0.013);
          else CHECK(max < 3.2 / (1 << config.recipe.palette->bits));
          CHECK(w.bytes_after < w.bytes_before);
        }
      }
    }
}

TEST_CASE("scales run along the output channels") {
  Config config{.recipe = {.linear = Linear{}}};
  auto out = *run(program_text("ios16", "fp32"), config);
  auto axis = [&](const std::string& op) { return to_ints(weight_of(*out.program, op, "y")->attributes.at("axis")->tensor)[0]; };
  auto scales = [&](const std::string& op) { return weight_of(*out.program, op, "y")->attributes.at("scale")->tensor.size(); };
  CHECK(axis("first") == 1);
  CHECK(scales("first") == 60);
  CHECK(axis("second") == 0);
  CHECK(scales("second") == 70);
  auto newer = *run(program_text("ios18", "fp32"), config);
  CHECK(weight_of(*newer.program, "first", "y")->operand("scale")->literal->type.dims == Dims{1, 60});
  CHECK(weight_of(*newer.program, "second", "y")->operand("scale")->literal->type.dims == Dims{70, 1});
  CHECK(weight_of(*newer.program, "second", "y")->operand("offset") == nullptr);
}

TEST_CASE("selection by name of the weight or of its op, and by size") {
  auto changed = [](Config config) {
    std::string names;
    auto out = run(program_text("ios16", "fp16"), config);
    REQUIRE(out.ok());
    for (const auto& w : out->report.weights)
      if (w.changed) names += w.name + " ";
    return names;
  };
  Config config{.recipe = {.linear = Linear{}}};
  CHECK(changed(config) == "w v ");
  config.recipe.threshold = 2999;
  CHECK(changed(config) == "w v ");
  config.recipe.threshold = 3000;
  CHECK(changed(config) == "v ");
  config.recipe.threshold = 0;
  CHECK(changed(config) == "w v small ");
  config.only = {*Pattern::compile("^(first|small)$")};
  CHECK(changed(config) == "w small ");
  config.skip = {*Pattern::compile("^w")};
  CHECK(changed(config) == "small ");
  CHECK_FALSE(Pattern::compile("(").ok());
}

TEST_CASE("three-bit palettes need CoreML8, given by a target") {
  Config config{.recipe = {.palette = Palette{.bits = 3}}};
  auto refused = run(program_text("ios16", "fp16"), config);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::kUnsupported);
  config.target = ops::Opset::kCoreML8;
  auto out = *run(program_text("ios16", "fp16"), config);
  CHECK(out.spec_version == 9);
  CHECK(out.program->functions[0]->opset == "CoreML8");
  CHECK(ops_of(*out.program, "constexpr_lut_to_dense").size() == 2);
}

TEST_CASE("decompression leaves plain constants, wherever they came from") {
  for (const char* opset : {"ios16", "ios18"}) {
    CAPTURE(opset);
    std::string text = program_text(opset, "fp32");
    OpenedModel model = *open_memory(Blob(Bytes(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end())), "test");
    auto packed = *run(model, {.recipe = {.palette = Palette{}}});
    std::vector<float> wanted = values_of(*packed.program->functions[0], *weight_of(*packed.program, "second", "y"));
    OpenedModel again;
    again.kind = FileKind::kModel;
    again.model = model.model.clone();
    again.weights = std::make_shared<OneFile>(*BlobFile::open(packed.weights));
    auto plain = *run(again, {.decompress = true});
    CHECK(plain.report.changed() == 2);
    plain.program->functions[0]->for_each_op([](const ir::Op& op) { CHECK_FALSE(op.kind.starts_with("constexpr_")); });
    CHECK(weight_of(*plain.program, "second", "y")->is_const());
    CHECK(values_of(*plain.program->functions[0], *weight_of(*plain.program, "second", "y")) == wanted);
  }
}

TEST_CASE("chains of constexpr ops are expanded to their end, selected by what they end in") {
  std::string text =
      "program(1.3) { func main<ios18>(tensor<fp16, [2, 4]> x) {\n"
      "tensor<fp16, [1, 1, 4, 1]> lut = constexpr_blockwise_shift_scale(data = tensor<int8, [1, 1, 4, 1]>([[[[1], [2], [3], [4]]]]), scale = tensor<fp16, [1, 1, 1, 1]>([[[[0.5]]]]))[name = string(\"lut\")];\n"
      "tensor<fp16, [2, 4]> w = constexpr_lut_to_dense(indices = tensor<uint2, [2, 4]>([[0, 1, 2, 3], [3, 2, 1, 0]]), lut = lut)[name = string(\"w\")];\n"
      "tensor<fp16, [2, 4]> y = add(x = x, y = w)[name = string(\"sum\")];\n"
      "} -> (y); }";
  auto out = run(text, {.decompress = true});
  if (!out.ok()) MESSAGE(out.error().to_string());
  REQUIRE(out.ok());
  const ir::Op* w = weight_of(*out->program, "sum", "y");
  REQUIRE(w->is_const());
  CHECK(to_floats(*w->output()->constant_tensor()) == std::vector<float>{0.5f, 1, 1.5f, 2, 2, 1.5f, 1, 0.5f});
  CHECK(ops_of(*out->program, "const").size() == 1);
  Config none{.decompress = true};
  none.only = {*Pattern::compile("elsewhere")};
  auto same = *run(text, none);
  CHECK(ops_of(*same.program, "constexpr_lut_to_dense").size() == 1);
  CHECK(ops_of(*same.program, "constexpr_blockwise_shift_scale").size() == 1);
}

TEST_CASE("weights that no code stands for stay as they are, with a warning") {
  std::string text = program_text("ios16", "fp32");
  text.replace(text.find("([[") + 3, text.find(',', text.find("([[")) - text.find("([[") - 3, "inf");
  auto out = *run(text, {.recipe = {.linear = Linear{}}});
  CHECK(out.report.changed() == 1);
  CHECK(out.report.warnings.size() == 1);
}

TEST_CASE("models without weights are refused") {
  coreml::Model model;
  auto refused = compress::compress(model, {}, {.recipe = {.linear = Linear{}}}, nullptr);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::kUnsupported);
}

TEST_CASE("the corpus: packages compress, keep their interface, and give the same bytes at any number of threads") {
  for (const std::string& path : test::corpus_files("mlpackage", ".mlpackage")) {
    CAPTURE(path);
    OpenedModel kind = *open_model(path);
    if (kind.model.kind() != coreml::ModelKind::kMlProgram) continue;
    for (const Config& config : {Config{.recipe = {.linear = Linear{}}}, Config{.recipe = {.palette = Palette{}}}}) {
      Bytes first;
      for (int threads : {1, 3}) {
        set_thread_count(threads);
        OpenedModel model = *open_model(path);
        auto out = run(model, config);
        REQUIRE(out.ok());
        Bytes bytes = *model.model.serialize();
        bytes.insert(bytes.end(), out->weights.bytes().begin(), out->weights.bytes().end());
        if (threads == 1) first = std::move(bytes);
        else CHECK(first == bytes);
        for (const auto& w : out->report.weights)
          if (w.changed) CHECK(w.distance.psnr.value_or(100) > 20);
      }
      set_thread_count(0);
    }
  }
}

TEST_CASE("the corpus: networks compress and decompress, and stay valid") {
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    CAPTURE(path);
    OpenedModel model = *open_model(path);
    if (!coreml::is_neural_network(model.model.kind())) continue;
    for (const Config& config : {Config{.recipe = {.linear = Linear{}}}, Config{.recipe = {.palette = Palette{.bits = 3}}}, Config{.recipe = {.float16 = true}}}) {
      coreml::Model copy = model.model.clone();
      auto report = compress::compress(copy, {}, config, nullptr);
      if (!report.ok()) MESSAGE(report.error().to_string());
      REQUIRE(report.ok());
      auto bytes = copy.serialize();
      REQUIRE(bytes.ok());
      CHECK((report->changed() == 0 || bytes->size() < model.model.serialize()->size()));
      coreml::Model again = *coreml::Model::parse(Blob(std::move(*bytes)));
      auto undone = compress::compress(again, {}, {.decompress = true}, nullptr);
      REQUIRE(undone.ok());
      CHECK(undone->changed() >= report->changed());
    }
  }
}

}  // namespace
