// Models whose data or weights only Apple's systems interpret: what can be checked is the interface around them.
#include <fmt/core.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

using Kind = FeatureKind;

void check_word_tagger(const spec::CoreMLModels::WordTagger& tagger, const Description& description, Checker& check) {
  check.features("input", description.inputs, 1, {Kind::kString});
  check.features("output", description.outputs, 4, {Kind::kSequence});
  struct Output {
    const char* what;
    const std::string& name;
    Kind element;
  };
  size_t named = 0;
  for (const Output& output : {Output{"tags", tagger.tokentagsoutputfeaturename(), Kind::kString},
                               {"tokens", tagger.tokensoutputfeaturename(), Kind::kString},
                               {"locations", tagger.tokenlocationsoutputfeaturename(), Kind::kInt64},
                               {"lengths", tagger.tokenlengthsoutputfeaturename(), Kind::kInt64}}) {
    if (output.name.empty()) continue;
    named++;
    const FeatureDescription* found = find_feature(description.outputs, output.name);
    if (!found) check.error(fmt::format("output \"{}\" ({}) is not in the description", output.name, output.what));
    else if (found->type.element != output.element)
      check.error(fmt::format("output \"{}\" ({}) must be a sequence of {}", output.name, output.what,
                              feature_kind_name(output.element)));
  }
  check.require(!tagger.tokentagsoutputfeaturename().empty(), "name of the output for tags is missing");
  check.require(named == description.outputs.size(), "description has outputs that the tagger does not make");
  check.require(tagger.revision() > 0, "revision is missing");
  check.require(tagger.has_stringtags() && tagger.stringtags().vector_size() > 0, "has no tags");
  check.require(!tagger.modelparameterdata().empty(), "has no parameter data");
}

void check_vision(const spec::CoreMLModels::VisionFeaturePrint& print, const Description& description, Checker& check) {
  using Print = spec::CoreMLModels::VisionFeaturePrint;
  check.features("input", description.inputs, 1, {Kind::kImage});
  switch (print.VisionFeaturePrintType_case()) {
    case Print::kScene:
      check.require(print.scene().version() == 1 || print.scene().version() == 2, "unknown version of the scene print");
      check.features("output", description.outputs, 1, {Kind::kMultiArray});
      break;
    case Print::kObjects:
      check.require(print.objects().version() == 1, "unknown version of the object print");
      check.require(print.objects().output_size() == 2, "an object print has two outputs");
      check.features("output", description.outputs, 2, {Kind::kMultiArray});
      for (const FeatureDescription& output : description.outputs) {
        const auto& names = print.objects().output();
        if (std::find(names.begin(), names.end(), output.name) == names.end())
          check.error(fmt::format("output \"{}\" is not one of the print's", output.name));
      }
      break;
    case Print::VISIONFEATUREPRINTTYPE_NOT_SET: check.error("kind of print is not stated"); break;
  }
}

// Samples to log-mel frames of VGGish: 15,600 float32 samples to [1, 96, 64].
void check_sound(const spec::CoreMLModels::SoundAnalysisPreprocessing& sound, const Description& description, Checker& check) {
  check.features("input", description.inputs, 1, {Kind::kMultiArray});
  check.features("output", description.outputs, 1, {Kind::kMultiArray});
  if (!check.require(sound.has_vggish(), "kind of preprocessing is not stated")) return;
  if (description.inputs.size() != 1 || description.outputs.size() != 1) return;
  const ArrayType& in = description.inputs[0].type.array;
  const ArrayType& out = description.outputs[0].type.array;
  check.require(in.shape == std::vector<int64_t>{15600}, "input must have the shape 15600");
  check.require(in.data_type == ArrayDataType::kFloat32, "input must be float32");
  check.require(out.shape == std::vector<int64_t>{1, 96, 64}, "output must have the shape 1x96x64");
  check.require(out.data_type == ArrayDataType::kFloat32, "output must be float32");
}

}  // namespace

void check_apple_model(const Model& model, Checker& check) {
  const spec::Model& proto = model.proto();
  const Description& description = model.description();
  auto text_in = [&](Kind out) {
    check.features("input", description.inputs, 1, {Kind::kString});
    check.features("output", description.outputs, 1, {out});
  };
  switch (model.kind()) {
    case ModelKind::kTextClassifier: {
      const auto& text = proto.textclassifier();
      text_in(Kind::kString);
      check.require(text.revision() > 0, "revision is missing");
      check.require(text.stringclasslabels().vector_size() > 0, "has no class labels");
      check.require(!text.modelparameterdata().empty(), "has no parameter data");
      return;
    }
    case ModelKind::kGazetteer: {
      const auto& gazetteer = proto.gazetteer();
      text_in(Kind::kString);
      check.require(gazetteer.revision() >= 2, "revision must be 2 or more");
      check.require(gazetteer.stringclasslabels().vector_size() > 0, "has no class labels");
      check.require(!gazetteer.modelparameterdata().empty(), "has no parameter data");
      return;
    }
    case ModelKind::kWordEmbedding:
      text_in(Kind::kMultiArray);
      check.require(proto.wordembedding().revision() >= 2, "revision must be 2 or more");
      check.require(!proto.wordembedding().modelparameterdata().empty(), "has no parameter data");
      return;
    case ModelKind::kWordTagger: return check_word_tagger(proto.wordtagger(), description, check);
    case ModelKind::kVisionFeaturePrint: return check_vision(proto.visionfeatureprint(), description, check);
    case ModelKind::kAudioFeaturePrint:
      check.features("input", description.inputs, 1, {Kind::kMultiArray});
      check.features("output", description.outputs, 1, {Kind::kMultiArray});
      if (check.require(proto.audiofeatureprint().has_sound(), "kind of print is not stated"))
        check.require(proto.audiofeatureprint().sound().version() == 1, "unknown version of the sound print");
      return;
    case ModelKind::kSoundAnalysisPreprocessing:
      return check_sound(proto.soundanalysispreprocessing(), description, check);
    default: return;
  }
}

}  // namespace mlt::coreml
