// Every form of a compressed weight: the ops that are made give back the values that were measured.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "lib/base/float16.h"
#include "lib/compress/prune.h"
#include "lib/compress/vector_kmeans.h"
#include "lib/compress/weight.h"
#include "lib/ir/graph.h"
#include "lib/ops/call.h"

namespace {

using namespace mlt;
using namespace mlt::compress;
using ops::Opset;

Tensor weight_of(const Dims& dims, DType dtype, int seed) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(std::sin(static_cast<float>(i * (seed + 3)) * 0.7f) * (0.2f + 0.01f * static_cast<float>(i % 37)));
  return convert(Tensor::from(dims, values), dtype);
}

// The parts as ops of a function, folded to the last one's value.
std::vector<float> expand(const Encoded& encoded, Opset opset) {
  ir::Program program;
  ir::Function* f = program.add_function("main", std::string(ops::opset_token(opset)));
  std::vector<std::vector<Tensor>> made;
  std::vector<float> last;
  for (const Part& part : encoded.parts) {
    ir::Op* op = f->body->append(part.kind);
    for (const auto& [name, tensor] : part.constants) {
      auto literal = std::make_shared<const ir::Literal>(ir::Literal::of(tensor));
      if (opset >= Opset::kCoreML8) op->set(name, ir::Operand(literal));
      else op->attributes[name] = literal;
    }
    for (const Part::Link& link : part.links) op->set(link.parameter, ir::Operand(std::make_shared<const ir::Literal>(ir::Literal::of(made[link.part][link.output]))));
    for (size_t i = 0; i < part.outputs.size(); ++i) op->add_output("v" + std::to_string(made.size()) + "_" + std::to_string(i), part.outputs[i]);
    auto types = ops::infer_types(*op, opset);
    if (!types.ok()) MESSAGE(part.kind, ": ", types.error().to_string());
    REQUIRE(types.ok());
    for (size_t i = 0; i < types->size(); ++i) CHECK((*types)[i].dims == part.outputs[i].dims);
    auto folded = ops::fold(*op, opset);
    if (!folded.ok()) MESSAGE(part.kind, ": ", folded.error().to_string());
    REQUIRE(folded.ok());
    REQUIRE(folded->has_value());
    made.push_back(**folded);
    last = to_floats((**folded)[0]);
  }
  return last;
}

std::vector<Recipe> recipes() {
  std::vector<Recipe> list;
  for (int bits : {4, 8})
    for (bool is_signed : {false, true})
      for (bool symmetric : {false, true})
        for (const auto& [per, block] : {std::pair(Linear::Per::kTensor, std::vector<int64_t>{32}), {Linear::Per::kChannel, {32}}, {Linear::Per::kBlock, {4}}, {Linear::Per::kBlock, {3, 2}}}) {
          Linear linear{.bits = bits, .is_signed = is_signed, .symmetric = symmetric, .per = per, .block = block};
          list.push_back({.linear = linear});
          list.push_back({.prune = Prune{.sparsity = 0.6}, .linear = linear});
        }
  for (int bits : {1, 2, 3, 4, 6, 8}) list.push_back({.palette = Palette{.bits = bits}});
  for (const Palette& palette : {Palette{.bits = 2}, Palette{.mode = Palette::Mode::kUniform, .bits = 3}, Palette{.group = 2}, Palette{.bits = 3, .vector = 2}, Palette{.bits = 2, .group = 6, .vector = 3},
                                 Palette{.bits = 3, .channel_scale = true}, Palette{.group = 3, .channel_scale = true}, Palette{.bits = 2, .group = 4, .axis = 1}, Palette{.bits = 4, .group = 4, .vector = 2, .channel_scale = true},
                                 Palette{.mode = Palette::Mode::kCustom, .table = {-0.3f, -0.1f, 0.1f, 0.3f}}}) {
    list.push_back({.palette = palette});
    list.push_back({.palette = palette, .linear = Linear{.per = Linear::Per::kTensor}});
    list.push_back({.palette = palette, .linear = Linear{.is_signed = false, .symmetric = false, .per = Linear::Per::kTensor}});
    list.push_back({.prune = Prune{.sparsity = 0.5}, .palette = palette});
    list.push_back({.prune = Prune{.kind = Prune::Kind::kPattern, .n = 2, .m = 4, .dim = 1}, .palette = palette, .linear = Linear{.per = Linear::Per::kTensor}});
  }
  list.push_back({.prune = Prune{.sparsity = 0.75}});
  list.push_back({.prune = Prune{.sparsity = 0.5, .block = 2}});
  list.push_back({.prune = Prune{.kind = Prune::Kind::kThreshold, .threshold = 0.2, .minimum_sparsity = 0.1}});
  return list;
}

TEST_CASE("what the ops give back is what was measured, in every form and opset") {
  for (DType dtype : {DType::kF16, DType::kF32})
    for (const Dims& dims : {Dims{12, 8}, Dims{12, 8, 3, 1}}) {
      Tensor weight = weight_of(dims, dtype, 5);
      std::vector<float> original = to_floats(weight);
      for (const Recipe& recipe : recipes()) {
        if (recipe.linear && recipe.linear->block.size() > 1 && recipe.linear->block.size() != dims.size()) continue;
        for (Opset opset : {Opset::kCoreML6, Opset::kCoreML8}) {
          if (opset < needed_opset(recipe)) continue;
          CAPTURE(describe(recipe));
          CAPTURE(dims_text(dims));
          Encoded encoded = encode(weight, recipe, {.structured = true}, opset);
          CAPTURE(encoded.form);
          REQUIRE(!encoded.parts.empty());
          std::vector<float> values = expand(encoded, opset);
          REQUIRE(values.size() == original.size());
          double worst = 0, squares = 0;
          for (size_t i = 0; i < values.size(); ++i) {
            double d = std::abs(static_cast<double>(values[i]) - static_cast<double>(original[i]));
            worst = std::max(worst, d);
            squares += d * d;
          }
          CHECK(encoded.distance.max == doctest::Approx(worst));
          CHECK(encoded.distance.squared == doctest::Approx(squares / static_cast<double>(values.size())));
          CHECK(worst < 0.6);
        }
      }
    }
}

TEST_CASE("what does not suit a weight leaves it, and says why") {
  Tensor weight = weight_of({6, 10}, DType::kF32, 1);
  auto form = [&](const Recipe& recipe, const WeightUse& use = {.structured = true}) {
    Encoded encoded = encode(weight, recipe, use, Opset::kCoreML8);
    CHECK(encoded.parts.empty());
    return encoded.form;
  };
  CHECK(form({.linear = Linear{.per = Linear::Per::kBlock, .block = {4}}}) == "10 on axis 1 is not divisible by blocks of 4");
  CHECK(form({.linear = Linear{.per = Linear::Per::kBlock, .block = {1, 2, 3}}}) == "blocks of 3 axes do not suit 6x10");
  CHECK(form({.linear = Linear{}}, {.output_axis = -1}) == "its ops disagree about output channels");
  CHECK(form({.palette = Palette{.group = 4}}) == "6 channels are not divisible by groups of 4");
  CHECK(form({.palette = Palette{.group = 3, .vector = 2}}) == "groups of 3 channels are not divisible by vectors of 2");
  CHECK(form({.palette = Palette{.vector = 2}}, {.conv_groups = 2}) == "3 channels of a convolution's group are not divisible by vectors of 2");
  CHECK(form({.prune = Prune{.sparsity = 1}}) == "nothing of it would be left");
  CHECK(form({.prune = Prune{.sparsity = 0.5, .block = 4}}) == "blocks of 4 are more than half of 6 channels");
  CHECK(form({.prune = Prune{.sparsity = 0.5, .block = 2}}, {}) == "blocks and patterns are for weights of conv and linear");
  CHECK(form({.prune = Prune{.kind = Prune::Kind::kThreshold, .threshold = 1e-9}}).starts_with("only 0"));
}

TEST_CASE("unique palettes lose nothing and take as few bits as hold the values") {
  std::vector<float> values;
  for (int i = 0; i < 300; ++i) values.push_back(static_cast<float>(i % 5));
  for (Opset opset : {Opset::kCoreML6, Opset::kCoreML8}) {
    Encoded encoded = encode(Tensor::from(Dims{30, 10}, values), {.palette = Palette{.mode = Palette::Mode::kUnique}}, {}, opset);
    CHECK(encoded.form == (opset == Opset::kCoreML6 ? "4-bit palette" : "3-bit palette"));
    CHECK(encoded.distance.max == 0);
    CHECK(expand(encoded, opset) == values);
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  CHECK(encode(Tensor::from(Dims{30, 10}, values), {.palette = Palette{.mode = Palette::Mode::kUnique}}, {}, Opset::kCoreML8).form == "more than 256 distinct values");
}

// Expected: coremltools' prune_weights on these values.
TEST_CASE("pruning by share, blocks, patterns and threshold") {
  std::vector<float> values = {1, -2, 3, -4, 5, -6, 7, -8};
  CHECK(prune(values, {8}, {.sparsity = 0.5}).kept == std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(prune(values, {8}, {.sparsity = 0.45}).kept == std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(prune(values, {8}, {.sparsity = 0}).count == 8);
  CHECK(prune(values, {4, 2}, {.sparsity = 0.5, .block = 2}).kept == std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(prune(values, {2, 4}, {.sparsity = 0.5, .block = 2, .dim = 1}).kept == std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(prune(values, {2, 4}, {.kind = Prune::Kind::kPattern, .n = 1, .m = 2, .dim = 1}).kept == std::vector<uint8_t>{0, 1, 0, 1, 0, 1, 0, 1});
  CHECK(prune(values, {4, 2}, {.kind = Prune::Kind::kPattern, .n = 1, .m = 2, .dim = 0}).kept == std::vector<uint8_t>{0, 0, 1, 1, 0, 0, 1, 1});
  CHECK(prune(values, {8}, {.kind = Prune::Kind::kThreshold, .threshold = 4}).count == 4);
  CHECK(prune(values, {8}, {.kind = Prune::Kind::kThreshold, .threshold = 3}).refused == "only 0.375 of it would be zero");
  std::vector<float> zeros = {0, 0, 0, 2};
  CHECK(prune(zeros, {4}, {.sparsity = 0}).count == 1);
}

TEST_CASE("vectors: separate groups are found, at any number of threads") {
  std::vector<float> points;
  std::vector<std::vector<float>> heads = {{0, 0}, {5, 0}, {0, 5}, {5, 5}};
  for (int i = 0; i < 60000; ++i) {
    const auto& head = heads[static_cast<size_t>(i * 7 % 4)];
    points.push_back(head[0] + 0.3f * std::sin(static_cast<float>(i)));
    points.push_back(head[1] + 0.3f * std::cos(static_cast<float>(i * 3)));
  }
  set_thread_count(1);
  std::vector<float> one = cluster_vectors(points, 2, 4);
  set_thread_count(5);
  std::vector<float> five = cluster_vectors(points, 2, 4);
  set_thread_count(0);
  CHECK(one == five);
  std::set<std::pair<int, int>> found;
  for (size_t i = 0; i < 4; ++i) found.emplace(static_cast<int>(std::lround(one[2 * i])), static_cast<int>(std::lround(one[2 * i + 1])));
  CHECK(found == std::set<std::pair<int, int>>{{0, 0}, {5, 0}, {0, 5}, {5, 5}});
  CHECK(cluster_vectors(std::vector<float>{1, 2}, 2, 16) == std::vector<float>{1, 2});
  CHECK(nearest_vectors(std::vector<float>{0, 1, 9, 9}, 2, std::vector<float>{0, 0, 8, 8}) == std::vector<uint8_t>{0, 1});
}

TEST_CASE("channels scaled: exact where channels differ by a factor only") {
  std::vector<float> values;
  for (int row = 0; row < 8; ++row)
    for (int i = 0; i < 16; ++i) values.push_back(static_cast<float>(1 << row) * static_cast<float>(i % 4 - 2) / 2);
  Tensor weight = Tensor::from(Dims{8, 16}, values);
  CHECK(encode(weight, {.palette = Palette{.bits = 2, .channel_scale = true}}, {}, Opset::kCoreML8).distance.max == 0);
  CHECK(encode(weight, {.palette = Palette{.bits = 2}}, {}, Opset::kCoreML8).distance.max > 1);
}

}  // namespace
