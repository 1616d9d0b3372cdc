#include "lib/coreml/model.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <climits>
#include <string>

#include "lib/coreml/description_proto.h"
#include "lib/coreml/model_proto.h"
#include "lib/coreml/wire.h"

namespace mlt::coreml {
namespace {

struct KindName {
  ModelKind kind;
  const char* name;
};
constexpr KindName kKindNames[] = {
    {ModelKind::kPipelineClassifier, "pipelineClassifier"},
    {ModelKind::kPipelineRegressor, "pipelineRegressor"},
    {ModelKind::kPipeline, "pipeline"},
    {ModelKind::kGlmRegressor, "glmRegressor"},
    {ModelKind::kSupportVectorRegressor, "supportVectorRegressor"},
    {ModelKind::kTreeEnsembleRegressor, "treeEnsembleRegressor"},
    {ModelKind::kNeuralNetworkRegressor, "neuralNetworkRegressor"},
    {ModelKind::kBayesianProbitRegressor, "bayesianProbitRegressor"},
    {ModelKind::kGlmClassifier, "glmClassifier"},
    {ModelKind::kSupportVectorClassifier, "supportVectorClassifier"},
    {ModelKind::kTreeEnsembleClassifier, "treeEnsembleClassifier"},
    {ModelKind::kNeuralNetworkClassifier, "neuralNetworkClassifier"},
    {ModelKind::kKNearestNeighborsClassifier, "kNearestNeighborsClassifier"},
    {ModelKind::kNeuralNetwork, "neuralNetwork"},
    {ModelKind::kItemSimilarityRecommender, "itemSimilarityRecommender"},
    {ModelKind::kMlProgram, "mlProgram"},
    {ModelKind::kCustomModel, "customModel"},
    {ModelKind::kLinkedModel, "linkedModel"},
    {ModelKind::kClassConfidenceThresholding, "classConfidenceThresholding"},
    {ModelKind::kOneHotEncoder, "oneHotEncoder"},
    {ModelKind::kImputer, "imputer"},
    {ModelKind::kFeatureVectorizer, "featureVectorizer"},
    {ModelKind::kDictVectorizer, "dictVectorizer"},
    {ModelKind::kScaler, "scaler"},
    {ModelKind::kCategoricalMapping, "categoricalMapping"},
    {ModelKind::kNormalizer, "normalizer"},
    {ModelKind::kArrayFeatureExtractor, "arrayFeatureExtractor"},
    {ModelKind::kNonMaximumSuppression, "nonMaximumSuppression"},
    {ModelKind::kIdentity, "identity"},
    {ModelKind::kTextClassifier, "textClassifier"},
    {ModelKind::kWordTagger, "wordTagger"},
    {ModelKind::kVisionFeaturePrint, "visionFeaturePrint"},
    {ModelKind::kSoundAnalysisPreprocessing, "soundAnalysisPreprocessing"},
    {ModelKind::kGazetteer, "gazetteer"},
    {ModelKind::kWordEmbedding, "wordEmbedding"},
    {ModelKind::kAudioFeaturePrint, "audioFeaturePrint"},
    {ModelKind::kSerializedModel, "serializedModel"},
};

const spec::Pipeline* pipeline_of(const spec::Model& model) {
  switch (model.Type_case()) {
    case spec::Model::kPipelineClassifier: return &model.pipelineclassifier().pipeline();
    case spec::Model::kPipelineRegressor: return &model.pipelineregressor().pipeline();
    case spec::Model::kPipeline: return &model.pipeline();
    default: return nullptr;
  }
}

template <typename Message>
Bytes serialize_message(const Message& message) {
  Bytes bytes(message.ByteSizeLong());
  google::protobuf::io::ArrayOutputStream array(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedOutputStream out(&array);
  out.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&out);
  return bytes;
}

// protobuf only says no. The outermost fields, which a truncation cuts, can say more.
Error why_not_a_model(ByteSpan bytes) {
  WireReader reader(bytes);
  std::string last;
  for (WireField field; true;) {
    auto more = reader.next(&field);
    if (!more.ok()) return input_error("damaged or truncated model: " + more.error().message);
    if (!*more) break;
    std::string_view name = model_kind_name(static_cast<ModelKind>(field.number));
    if (field.number == 2) last = "description";
    if (!name.empty()) last = name;
  }
  return input_error("damaged model" + (last.empty() ? std::string() : ": its " + last + " cannot be read, or nests too deep"));
}

}  // namespace

std::string_view model_kind_name(ModelKind kind) {
  for (const KindName& entry : kKindNames)
    if (entry.kind == kind) return entry.name;
  return {};
}

bool is_pipeline(ModelKind kind) {
  return kind == ModelKind::kPipeline || kind == ModelKind::kPipelineClassifier || kind == ModelKind::kPipelineRegressor;
}

bool is_neural_network(ModelKind kind) {
  return kind == ModelKind::kNeuralNetwork || kind == ModelKind::kNeuralNetworkClassifier ||
         kind == ModelKind::kNeuralNetworkRegressor;
}

bool is_classifier(ModelKind kind) {
  switch (kind) {
    case ModelKind::kPipelineClassifier:
    case ModelKind::kGlmClassifier:
    case ModelKind::kSupportVectorClassifier:
    case ModelKind::kTreeEnsembleClassifier:
    case ModelKind::kNeuralNetworkClassifier:
    case ModelKind::kKNearestNeighborsClassifier:
    case ModelKind::kTextClassifier: return true;
    default: return false;
  }
}

struct Model::Storage {
  google::protobuf::Arena arena;
  Blob source;
  bool modified = false;

  Storage() : arena(options()) {}
  static google::protobuf::ArenaOptions options() {
    google::protobuf::ArenaOptions options;
    options.start_block_size = 4096;
    options.max_block_size = 1 << 20;
    return options;
  }
};

Model::Model() : storage_(std::make_shared<Storage>()) {
  proto_ = google::protobuf::Arena::CreateMessage<spec::Model>(&storage_->arena);
  proto_->set_specificationversion(1);
  storage_->modified = true;
  decode();
}
Model::Model(std::shared_ptr<Storage> storage, spec::Model* proto) : storage_(std::move(storage)), proto_(proto) {
  decode();
}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

void Model::decode() { description_ = std::make_unique<Description>(decode_description(proto_->description())); }

Result<Model> Model::parse(const Blob& bytes, const ParseLimits& limits) {
  if (bytes.size() > limits.max_bytes || bytes.size() > INT_MAX)
    return input_error("model message of " + std::to_string(bytes.size()) + " bytes is larger than the limit");
  if (bytes.size() == 0) return input_error("model is empty");
  // A library must not print; protobuf's own log would.
  [[maybe_unused]] static const bool quiet = (google::protobuf::SetLogHandler(nullptr), true);

  auto storage = std::make_shared<Storage>();
  storage->source = bytes;
  auto* proto = google::protobuf::Arena::CreateMessage<spec::Model>(&storage->arena);
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.bytes().data()),
                                            static_cast<int>(bytes.size()));
  in.SetRecursionLimit(limits.max_depth);
  if (!proto->ParseFromCodedStream(&in) || !in.ConsumedEntireMessage()) return why_not_a_model(bytes.bytes());

  Model model(std::move(storage), proto);
  // Model.description = 2. A repeated field 2 would be merged; order by the first occurrence of a key.
  Bytes all;
  ByteSpan description;
  WireReader reader(bytes.bytes());
  for (WireField field; true;) {
    auto more = reader.next(&field);
    if (!more.ok() || !*more) break;
    if (field.number != 2 || field.type != WireType::kBytes) continue;
    if (description.empty()) {
      description = field.bytes;
    } else {
      if (all.empty()) all.assign(description.begin(), description.end());
      all.insert(all.end(), field.bytes.begin(), field.bytes.end());
    }
  }
  restore_user_order(all.empty() ? description : ByteSpan(all), &model.description_->metadata);
  return model;
}

Result<Bytes> Model::serialize() const {
  if (proto_->ByteSizeLong() > INT_MAX) return resource_error("model message would be larger than 2 GiB");
  return serialize_message(*proto_);
}

Model Model::clone() const {
  auto storage = std::make_shared<Storage>();
  auto* proto = google::protobuf::Arena::CreateMessage<spec::Model>(&storage->arena);
  proto->CopyFrom(*proto_);
  storage->modified = true;
  Model copy(std::move(storage), proto);
  *copy.description_ = *description_;
  return copy;
}

const Blob& Model::source() const { return storage_->source; }
bool Model::modified() const { return storage_->modified; }

int Model::spec_version() const { return proto_->specificationversion(); }
void Model::set_spec_version(int version) { mutable_proto().set_specificationversion(version); }
bool Model::updatable() const { return proto_->isupdatable(); }
void Model::set_updatable(bool updatable) { mutable_proto().set_isupdatable(updatable); }

ModelKind Model::kind() const {
  if (proto_->Type_case() != spec::Model::TYPE_NOT_SET) return static_cast<ModelKind>(proto_->Type_case());
  // A type newer than our proto files lands in the unknown fields, which a proto3 lite message shows only this way.
  Bytes bytes = serialize_message(*proto_);
  WireReader reader(bytes);
  for (WireField field; true;) {
    auto more = reader.next(&field);
    if (!more.ok() || !*more) return ModelKind::kNone;
    if (field.number >= 200 && field.type == WireType::kBytes) return static_cast<ModelKind>(field.number);
  }
}

std::string Model::kind_name() const {
  ModelKind type = kind();
  if (type == ModelKind::kNone) return "none";
  std::string_view name = model_kind_name(type);
  return name.empty() ? "type" + std::to_string(static_cast<int>(type)) : std::string(name);
}

const Description& Model::description() const { return *description_; }

void Model::set_description(Description description) {
  encode_description(description, mutable_proto().mutable_description());
  *description_ = std::move(description);
}

void Model::set_metadata(Metadata metadata) {
  description_->metadata = std::move(metadata);
  description_->has_metadata = true;
  encode_metadata(description_->metadata, mutable_proto().mutable_description()->mutable_metadata());
}

Bytes Model::serialize_description(bool always_metadata) const {
  // Everything but metadata (the highest known number, 100) by protobuf, then metadata with the map (100 too) in our
  // order.
  google::protobuf::Arena arena;
  auto* rest = google::protobuf::Arena::CreateMessage<spec::ModelDescription>(&arena);
  rest->CopyFrom(proto_->description());
  rest->clear_metadata();
  Bytes out = serialize_message(*rest);
  if (proto_->description().has_metadata()) {
    auto* fixed = google::protobuf::Arena::CreateMessage<spec::Metadata>(&arena);
    fixed->CopyFrom(proto_->description().metadata());
    fixed->clear_userdefined();
    Bytes metadata = serialize_message(*fixed);
    for (const auto& [key, value] : description_->metadata.user_defined) {
      Bytes entry;
      put_bytes_field(&entry, 1, as_bytes(key));
      put_bytes_field(&entry, 2, as_bytes(value));
      put_bytes_field(&metadata, 100, entry);
    }
    put_bytes_field(&out, 100, metadata);
  } else if (always_metadata) {
    put_bytes_field(&out, 100, {});
  }
  return out;
}

std::vector<std::string> Model::ClassLabels::as_text() const {
  if (!integers) return strings;
  std::vector<std::string> text;
  for (int64_t value : ints) text.push_back(std::to_string(value));
  return text;
}

Model::ClassLabels Model::class_labels() const {
  ClassLabels labels;
  auto take = [&](const auto& classifier) {
    using Classifier = std::remove_cvref_t<decltype(classifier)>;
    if (classifier.ClassLabels_case() == Classifier::CLASSLABELS_NOT_SET) return;
    labels.present = true;
    const auto& strings = classifier.stringclasslabels().vector();
    labels.strings.assign(strings.begin(), strings.end());
    if constexpr (requires { classifier.int64classlabels(); }) {
      labels.integers = classifier.has_int64classlabels();
      const auto& ints = classifier.int64classlabels().vector();
      labels.ints.assign(ints.begin(), ints.end());
    }
  };
  switch (proto_->Type_case()) {
    case spec::Model::kGlmClassifier: take(proto_->glmclassifier()); break;
    case spec::Model::kSupportVectorClassifier: take(proto_->supportvectorclassifier()); break;
    case spec::Model::kTreeEnsembleClassifier: take(proto_->treeensembleclassifier()); break;
    case spec::Model::kNeuralNetworkClassifier: take(proto_->neuralnetworkclassifier()); break;
    case spec::Model::kKNearestNeighborsClassifier: take(proto_->knearestneighborsclassifier()); break;
    case spec::Model::kTextClassifier: take(proto_->textclassifier()); break;
    default:
      for (size_t i = child_count(); i-- > 0 && !labels.present;) labels = child(i).class_labels();
  }
  return labels;
}

size_t Model::child_count() const {
  const spec::Pipeline* pipeline = pipeline_of(*proto_);
  return pipeline ? static_cast<size_t>(pipeline->models_size()) : 0;
}

Model Model::child(size_t index) const {
  const spec::Model& model = pipeline_of(*proto_)->models(static_cast<int>(index));
  // Shares our storage, whose arena owns it; the storage is not const, only this view of it is.
  Model view(storage_, const_cast<spec::Model*>(&model));
  restore_user_order(serialize_message(model.description()), &view.description_->metadata);
  return view;
}

std::vector<Model> Model::children() const {
  std::vector<Model> all;
  for (size_t i = 0; i < child_count(); i++) all.push_back(child(i));
  return all;
}

std::string Model::child_name(size_t index) const {
  const spec::Pipeline* pipeline = pipeline_of(*proto_);
  if (index < static_cast<size_t>(pipeline->names_size())) return pipeline->names(static_cast<int>(index));
  return "model" + std::to_string(index);
}

void Model::set_pipeline(ModelKind kind, const std::vector<const Model*>& stages,
                         const std::vector<std::string>& names) {
  spec::Pipeline* pipeline = nullptr;
  // A stage may be part of the present pipeline, so the new one is filled before it takes the old one's place.
  auto* fresh = google::protobuf::Arena::CreateMessage<spec::Pipeline>(&storage_->arena);
  for (const Model* stage : stages) fresh->add_models()->CopyFrom(stage->proto());
  for (const std::string& name : names) fresh->add_names(name);
  spec::Model& proto = mutable_proto();
  if (kind == ModelKind::kPipelineClassifier) pipeline = proto.mutable_pipelineclassifier()->mutable_pipeline();
  else if (kind == ModelKind::kPipelineRegressor) pipeline = proto.mutable_pipelineregressor()->mutable_pipeline();
  else pipeline = proto.mutable_pipeline();
  pipeline->Swap(fresh);
}

spec::Model& Model::mutable_proto() {
  storage_->modified = true;
  return *proto_;
}

}  // namespace mlt::coreml
