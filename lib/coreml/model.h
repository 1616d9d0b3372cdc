// A Core ML model: the message of a .mlmodel file, kept whole (fields this library does not know survive a round
// trip), with its description as plain structs. The body is read by mil_read.h (ML programs), nn_lift.h (neural
// networks) and classic.h (the rest).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/coreml/description.h"

namespace CoreML::Specification {
class Model;
}

namespace mlt::coreml {

// Number of the member of Model.Type; also the type code in compiled models. A number without a name here is possible
// (a model newer than this library): kind_name() is then "type<N>".
enum class ModelKind : int {
  kNone = 0,
  kPipelineClassifier = 200,
  kPipelineRegressor = 201,
  kPipeline = 202,
  kGlmRegressor = 300,
  kSupportVectorRegressor = 301,
  kTreeEnsembleRegressor = 302,
  kNeuralNetworkRegressor = 303,
  kBayesianProbitRegressor = 304,
  kGlmClassifier = 400,
  kSupportVectorClassifier = 401,
  kTreeEnsembleClassifier = 402,
  kNeuralNetworkClassifier = 403,
  kKNearestNeighborsClassifier = 404,
  kNeuralNetwork = 500,
  kItemSimilarityRecommender = 501,
  kMlProgram = 502,
  kCustomModel = 555,
  kLinkedModel = 556,
  kClassConfidenceThresholding = 560,
  kOneHotEncoder = 600,
  kImputer = 601,
  kFeatureVectorizer = 602,
  kDictVectorizer = 603,
  kScaler = 604,
  kCategoricalMapping = 606,
  kNormalizer = 607,
  kArrayFeatureExtractor = 609,
  kNonMaximumSuppression = 610,
  kIdentity = 900,
  kTextClassifier = 2000,
  kWordTagger = 2001,
  kVisionFeaturePrint = 2002,
  kSoundAnalysisPreprocessing = 2003,
  kGazetteer = 2004,
  kWordEmbedding = 2005,
  kAudioFeaturePrint = 2006,
  kSerializedModel = 3000,
};
// "neuralNetworkClassifier", "mlProgram", ...: the field name in the wire format; empty for an unknown number.
std::string_view model_kind_name(ModelKind kind);
bool is_pipeline(ModelKind kind);
bool is_neural_network(ModelKind kind);  // plain, classifier, regressor
bool is_classifier(ModelKind kind);

struct ParseLimits {
  uint64_t max_bytes = uint64_t{2} << 30;  // protobuf's own limit is 2 GiB - 1
  int max_depth = 100;                     // nested messages; each level costs stack
};

// Newest specification version this library knows (iOS 26).
constexpr int kNewestSpecVersion = 10;

// Movable; clone() copies. Not safe to change from one thread while another reads.
class Model {
 public:
  Model();  // no type, specification version 1
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  // kInput when the bytes are no Model message, are truncated, nest too deep or exceed a limit. Memory used is at most
  // about a hundred times the input (empty messages cost two bytes each in a file) and usually little more than it.
  static Result<Model> parse(const Blob& bytes, const ParseLimits& limits = {});
  // Deterministic: fields by number, map entries by key. kResource when larger than 2 GiB.
  Result<Bytes> serialize() const;
  Model clone() const;
  // The bytes parse() was given (empty for a built model and for children): the file itself as long as the model was
  // not changed. Keeps the mapping alive.
  const Blob& source() const;
  bool modified() const;  // a setter or mutable_proto() was called on it

  int spec_version() const;
  void set_spec_version(int version);
  bool updatable() const;
  void set_updatable(bool updatable);
  ModelKind kind() const;
  // Field name of the type: "neuralNetworkClassifier"; "none"; "type4711" for a number unknown here.
  std::string kind_name() const;

  const Description& description() const;
  // Replaces the description. Fields of ModelDescription itself that are unknown here are kept.
  void set_description(Description description);
  const Metadata& metadata() const { return description().metadata; }
  void set_metadata(Metadata metadata);
  // The ModelDescription message as compiled models store it: fields by number, user-defined metadata in file order.
  // always_metadata appends an empty Metadata message when there is none, as compilers of 2025 do.
  Bytes serialize_description(bool always_metadata) const;

  // Class labels of a classifier of any kind, ML programs excepted (theirs are an operand of `classify`). Integer
  // labels as decimal text. Pipelines: the labels of the last child that has some.
  struct ClassLabels {
    bool present = false;
    bool integers = false;
    std::vector<std::string> strings;
    std::vector<int64_t> ints;
    size_t size() const { return integers ? ints.size() : strings.size(); }
    std::vector<std::string> as_text() const;
  };
  ClassLabels class_labels() const;

  // Stages of a pipeline (any of the three kinds), else none. A child shares its parent's storage: a change to it is a
  // change to the parent.
  size_t child_count() const;
  Model child(size_t index) const;  // index < child_count()
  std::vector<Model> children() const;
  // Name of a stage: Pipeline.names, or "model<i>" when not given.
  std::string child_name(size_t index) const;
  // Makes this a pipeline of the given kind of copies of the stages.
  void set_pipeline(ModelKind kind, const std::vector<const Model*>& stages, const std::vector<std::string>& names);

  // For lib/coreml: see model_proto.h.
  struct Storage;
  const CoreML::Specification::Model& proto() const { return *proto_; }
  CoreML::Specification::Model& mutable_proto();

 private:
  Model(std::shared_ptr<Storage> storage, CoreML::Specification::Model* proto);
  void decode();

  std::shared_ptr<Storage> storage_;
  CoreML::Specification::Model* proto_ = nullptr;
  std::unique_ptr<Description> description_;
};

}  // namespace mlt::coreml
