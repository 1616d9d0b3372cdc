#include "lib/coreml/weights.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using namespace mlt::coreml;

Model deconvolution() {
  Model model;
  auto* layer = model.mutable_proto().mutable_neuralnetwork()->add_layers();
  layer->set_name("up");
  auto* p = layer->mutable_convolution();
  p->set_isdeconvolution(true);
  p->set_kernelchannels(2);
  p->set_outputchannels(3);
  p->add_kernelsize(1), p->add_kernelsize(1);
  for (int i = 0; i < 6; i++) p->mutable_weights()->add_floatvalue(static_cast<float>(i));
  return model;
}

TEST_CASE("weights are replaced in every form") {
  Model model = deconvolution();
  NetworkWeights weights = *NetworkWeights::of(model);
  REQUIRE(weights.size() == 1);
  CHECK(weights[0].dims == Dims{2, 3, 1, 1});
  CHECK(weights[0].channel_axis == 1);
  CHECK(weights[0].channels == 3);
  CHECK(weights[0].layer_kind == "convolution");
  CHECK(to_floats(*weights.values(0)) == std::vector<float>{0, 1, 2, 3, 4, 5});

  std::vector<float> half = {0.1f, 1, 2, 3, 4, 65504};
  CHECK(weights.set_float16(0, half).ok());
  CHECK(to_floats(*weights.values(0))[5] == 65504);
  CHECK(model.proto().neuralnetwork().layers(0).convolution().weights().floatvalue_size() == 0);

  std::vector<uint8_t> codes = {0, 1, 2, 3, 4, 5};
  CHECK(weights.set_linear(0, 3, codes, std::vector<float>{1, 10, 100}, std::vector<float>{0, 0, 1}).ok());
  CHECK(to_floats(*weights.values(0)) == std::vector<float>{0, 10, 201, 3, 40, 501});
  CHECK(weights[0].bytes == 3);
  // 000 001 010 011 100 101, most significant bit first.
  CHECK(model.proto().neuralnetwork().layers(0).convolution().weights().rawvalue() == std::string("\x05\x39\x40", 3));

  CHECK(weights.set_palette(0, 3, codes, std::vector<float>{7, 6, 5, 4, 3, 2, 1, 0}).ok());
  CHECK(to_floats(*weights.values(0)) == std::vector<float>{7, 6, 5, 4, 3, 2});
  CHECK(required_spec_version(model) >= 3);

  // What is written is read after a round trip.
  Model again = *Model::parse(Blob(*model.serialize()));
  CHECK(to_floats(*NetworkWeights::of(again)->values(0)) == std::vector<float>{7, 6, 5, 4, 3, 2});

  CHECK_FALSE(weights.set_float32(0, half.size() ? std::vector<float>{1} : half).ok());
  CHECK_FALSE(weights.set_linear(0, 9, codes, std::vector<float>{1}, {}).ok());
  CHECK_FALSE(weights.set_linear(0, 8, codes, std::vector<float>{1, 2}, {}).ok());
  CHECK_FALSE(weights.set_palette(0, 3, codes, std::vector<float>{1, 2}).ok());
}

TEST_CASE("weights of the wrong size are refused") {
  Model model = deconvolution();
  model.mutable_proto().mutable_neuralnetwork()->mutable_layers(0)->mutable_convolution()->set_outputchannels(4);
  auto weights = NetworkWeights::of(model);
  REQUIRE_FALSE(weights.ok());
  CHECK(weights.error().code == Code::kInput);
}

TEST_CASE("every network of the corpus: weights are read, and written as float16 they stay close") {
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    CAPTURE(path);
    Model model = *Model::parse(*map_file(path));
    auto weights = NetworkWeights::of(model);
    if (!weights.ok()) MESSAGE(weights.error().to_string());
    REQUIRE(weights.ok());
    for (size_t i = 0; i < weights->size(); i++) {
      auto values = weights->values(i);
      if ((*weights)[i].storage == WeightStorage::kOpaque) continue;
      REQUIRE(values.ok());
      std::vector<float> before = to_floats(*values);
      REQUIRE(weights->set_float16(i, before).ok());
      std::vector<float> after = to_floats(*weights->values(i));
      for (size_t k = 0; k < before.size(); k += 97)
        CHECK(std::abs(after[k] - before[k]) <= std::abs(before[k]) * 0x1p-10f + 0x1p-24f);
    }
    if (weights->size() > 0) CHECK_FALSE(has_errors(validate(model)));
  }
}

}  // namespace
