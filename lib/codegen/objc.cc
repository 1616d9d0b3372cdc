// The classes that Xcode makes for Objective-C: names and signatures are its own, the text is ours. Compiled with ARC.
#include "lib/codegen/interface.h"

namespace mlt::codegen {
namespace {

using coreml::FeatureKind;

bool is_number(const Feature& f) { return f.type.kind == FeatureKind::kInt64 || f.type.kind == FeatureKind::kDouble; }
bool is_image(const Feature& f) { return f.type.kind == FeatureKind::kImage; }

// The type, ready to be followed by a name.
std::string type_name(const Feature& f) {
  switch (f.type.kind) {
    case FeatureKind::kInt64: return f.type.optional ? "NSNumber *" : "int64_t ";
    case FeatureKind::kDouble: return f.type.optional ? "NSNumber *" : "double ";
    case FeatureKind::kString: return "NSString *";
    case FeatureKind::kImage: return "CVPixelBufferRef ";
    case FeatureKind::kDictionary: return f.type.element == FeatureKind::kInt64 ? "NSDictionary<NSNumber *, NSNumber *> *" : "NSDictionary<NSString *, NSNumber *> *";
    case FeatureKind::kSequence: return "MLSequence *";
    default: return "MLMultiArray *";
  }
}

std::string parameter_type(const Feature& f) {
  std::string type = type_name(f);
  while (type.ends_with(' ')) type.pop_back();
  return f.type.optional ? (is_image(f) ? "_Nullable " + type : "nullable " + type) : type;
}

std::string property(const Feature& f) {
  std::string attributes = is_image(f) ? "readwrite, nonatomic" : is_number(f) && !f.type.optional ? "readwrite, nonatomic" : "readwrite, nonatomic, strong";
  if (f.type.optional) attributes += ", nullable";
  return "@property (" + attributes + ") " + type_name(f) + f.id + ";\n";
}

// As an Objective-C string literal.
std::string literal(const std::string& text) { return "@" + quoted(text); }

std::string to_value(const Feature& f) {
  std::string self = "self." + f.id;
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "[MLFeatureValue featureValueWithInt64:" + self + (f.type.optional ? ".longLongValue]" : "]");
    case FeatureKind::kDouble: return "[MLFeatureValue featureValueWithDouble:" + self + (f.type.optional ? ".doubleValue]" : "]");
    case FeatureKind::kString: return "[MLFeatureValue featureValueWithString:" + self + "]";
    case FeatureKind::kImage: return "[MLFeatureValue featureValueWithPixelBuffer:" + self + "]";
    case FeatureKind::kDictionary: return "[MLFeatureValue featureValueWithDictionary:" + self + " error:nil]";
    case FeatureKind::kSequence: return "[MLFeatureValue featureValueWithSequence:" + self + "]";
    default: return "[MLFeatureValue featureValueWithMultiArray:" + self + "]";
  }
}

std::string from_value(const Feature& f) {
  std::string value = "[features featureValueForName:" + literal(f.name) + "]";
  switch (f.type.kind) {
    case FeatureKind::kInt64: return value + ".int64Value";
    case FeatureKind::kDouble: return value + ".doubleValue";
    case FeatureKind::kString: return value + ".stringValue";
    case FeatureKind::kImage: return "(CVPixelBufferRef)" + value + ".imageBufferValue";
    case FeatureKind::kDictionary: return "(" + type_name(f) + ")" + value + ".dictionaryValue";
    case FeatureKind::kSequence: return "(MLSequence *)" + value + ".sequenceValue";
    default: return "(MLMultiArray *)" + value + ".multiArrayValue";
  }
}

// "initWithX:(T)x y:(T)y": the parts of a selector, the first name after `start`.
std::string selector(const std::string& start, const std::vector<Feature>& features) {
  std::string out = start;
  for (size_t i = 0; i < features.size(); ++i)
    out += (i == 0 ? capitalized(features[i].id) : " " + features[i].id) + ":(" + parameter_type(features[i]) + ")" + features[i].id;
  return out;
}
std::string call(const std::string& start, const std::vector<Feature>& features, const std::string& prefix = "") {
  std::string out = start;
  for (size_t i = 0; i < features.size(); ++i) out += (i == 0 ? capitalized(features[i].id) : " " + features[i].id) + ":" + prefix + features[i].id;
  return out;
}
std::string init_start(const std::vector<Feature>& features) { return features.empty() ? "init" : "initWith"; }

std::string api(const Interface& m) {
  if (m.systems.empty()) return "";
  std::string out = "API_AVAILABLE(";
  for (size_t i = 0; i < m.systems.size(); ++i) {
    const auto& [name, version] = m.systems[i];
    out += (i == 0 ? "" : ", ") + (name == "macOS" ? "macos" : name == "iOS" ? "ios" : name == "tvOS" ? "tvos" : name == "watchOS" ? "watchos" : std::string("visionos")) + "(" + version + ")";
  }
  return out + ") ";
}

constexpr char kRecordHeader[] = R"(/// $ABOUT$
$API$__attribute__((visibility("hidden")))
@interface $CLASS$ : NSObject<MLFeatureProvider>
$PROPERTIES$$HIDDEN$- (instancetype)$INIT$ NS_DESIGNATED_INITIALIZER;
@end

)";

std::string record_header(const Interface& m, const std::string& suffix, const std::vector<Feature>& features, const std::string& about) {
  std::string properties;
  for (const Feature& f : features) properties += "/// " + f.about + "\n" + property(f);
  return fill(kRecordHeader, {{"ABOUT", about},
                              {"API", api(m)},
                              {"CLASS", m.class_name + suffix},
                              {"PROPERTIES", properties},
                              {"HIDDEN", features.empty() ? "" : "- (instancetype)init NS_UNAVAILABLE;\n"},
                              {"INIT", selector(init_start(features), features)}});
}

// A class of properties that is an MLFeatureProvider.
std::string record_source(const Interface& m, const std::string& suffix, const std::vector<Feature>& features) {
  std::string out = "@implementation " + m.class_name + suffix + "\n\n- (instancetype)" + selector(init_start(features), features) + " {\n    self = [super init];\n    if (self) {\n";
  bool optionals = false, images = false;
  for (const Feature& f : features) {
    out += "        _" + f.id + " = " + f.id + ";\n";
    if (is_image(f)) out += "        CVPixelBufferRetain(_" + f.id + ");\n";
    optionals |= f.type.optional;
    images |= is_image(f);
  }
  out += "    }\n    return self;\n}\n\n";
  if (images) {
    out += "- (void)dealloc {\n";
    for (const Feature& f : features)
      if (is_image(f)) out += "    CVPixelBufferRelease(_" + f.id + ");\n";
    out += "}\n\n";
    for (const Feature& f : features)
      if (is_image(f))
        out += fill("- (void)set$CAP$:(CVPixelBufferRef)$ID$ {\n    CVPixelBufferRetain($ID$);\n    CVPixelBufferRelease(_$ID$);\n    _$ID$ = $ID$;\n}\n\n",
                    {{"CAP", capitalized(f.id)}, {"ID", f.id}});
  }
  out += "- (NSSet<NSString *> *)featureNames {\n";
  std::string names = "@[" + join(features, ", ", [](const Feature& f) { return literal(f.name); }) + "]";
  if (optionals) {
    out += "    NSMutableSet<NSString *> *names = [NSMutableSet setWithArray:" + names + "];\n";
    for (const Feature& f : features)
      if (f.type.optional) out += "    if (!self." + f.id + ") { [names removeObject:" + literal(f.name) + "]; }\n";
    out += "    return names;\n";
  } else {
    out += "    return [NSSet setWithArray:" + names + "];\n";
  }
  out += "}\n\n- (nullable MLFeatureValue *)featureValueForName:(NSString *)featureName {\n";
  for (const Feature& f : features)
    out += "    if ([featureName isEqualToString:" + literal(f.name) + "]) {\n        return " + (f.type.optional ? "self." + f.id + " ? " + to_value(f) + " : nil" : to_value(f)) + ";\n    }\n";
  return out + "    return nil;\n}\n\n@end\n\n";
}

constexpr char kModelHeader[] = R"(/// $ABOUT$
$API$__attribute__((visibility("hidden")))
@interface $CLASS$ : NSObject
@property (readonly, nonatomic, nullable) MLModel *model;

/// The compiled model beside this class in its bundle; nil when it is not there.
+ (nullable NSURL *)URLOfModelInThisBundle;

- (instancetype)initWithMLModel:(MLModel *)model NS_DESIGNATED_INITIALIZER;
- (nullable instancetype)init;
- (nullable instancetype)initWithConfiguration:(MLModelConfiguration *)configuration error:(NSError * _Nullable __autoreleasing * _Nullable)error;
- (nullable instancetype)initWithContentsOfURL:(NSURL *)modelURL error:(NSError * _Nullable __autoreleasing * _Nullable)error;
- (nullable instancetype)initWithContentsOfURL:(NSURL *)modelURL configuration:(MLModelConfiguration *)configuration error:(NSError * _Nullable __autoreleasing * _Nullable)error;
+ (void)loadWithConfiguration:(MLModelConfiguration *)configuration completionHandler:(void (^)($CLASS$ * _Nullable model, NSError * _Nullable error))handler$LOADAPI$;
+ (void)loadContentsOfURL:(NSURL *)modelURL configuration:(MLModelConfiguration *)configuration completionHandler:(void (^)($CLASS$ * _Nullable model, NSError * _Nullable error))handler$LOADAPI$;
)";

constexpr char kHeaderPredictions[] = R"(
- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input error:(NSError * _Nullable __autoreleasing * _Nullable)error;
- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error;
- (void)predictionFromFeatures:($CLASS$Input *)input completionHandler:(void (^)($CLASS$Output * _Nullable output, NSError * _Nullable error))completionHandler$ASYNCAPI$;
- (void)predictionFromFeatures:($CLASS$Input *)input options:(MLPredictionOptions *)options completionHandler:(void (^)($CLASS$Output * _Nullable output, NSError * _Nullable error))completionHandler$ASYNCAPI$;
$CONVENIENCE$- (nullable NSArray<$CLASS$Output *> *)predictionsFromInputs:(NSArray<$CLASS$Input *> *)inputArray options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error;
@end
)";

constexpr char kHeaderStates[] = R"(
/// Keeps, between predictions, $STATES$.
- (MLState *)newState;
- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input usingState:(MLState *)state error:(NSError * _Nullable __autoreleasing * _Nullable)error;
- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input usingState:(MLState *)state options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error;
@end
)";

constexpr char kModelSource[] = R"(@implementation $CLASS$

static $CLASS$Output *$CLASS$_output(id<MLFeatureProvider> features) {
    return $MAKE$;
}

+ (nullable NSURL *)URLOfModelInThisBundle {
    NSString *path = [[NSBundle bundleForClass:[self class]] pathForResource:$RESOURCE$ ofType:@"mlmodelc"];
    return path ? [NSURL fileURLWithPath:path] : nil;
}

- (instancetype)initWithMLModel:(MLModel *)model {
    if (!model) { return nil; }
    self = [super init];
    if (self) { _model = model; }
    return self;
}

- (nullable instancetype)init {
    NSURL *url = [[self class] URLOfModelInThisBundle];
    return url ? [self initWithContentsOfURL:url error:nil] : nil;
}

- (nullable instancetype)initWithConfiguration:(MLModelConfiguration *)configuration error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    return [self initWithContentsOfURL:(NSURL * _Nonnull)[[self class] URLOfModelInThisBundle] configuration:configuration error:error];
}

- (nullable instancetype)initWithContentsOfURL:(NSURL *)modelURL error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    MLModel *model = [MLModel modelWithContentsOfURL:modelURL error:error];
    return model ? [self initWithMLModel:model] : nil;
}

- (nullable instancetype)initWithContentsOfURL:(NSURL *)modelURL configuration:(MLModelConfiguration *)configuration error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    MLModel *model = [MLModel modelWithContentsOfURL:modelURL configuration:configuration error:error];
    return model ? [self initWithMLModel:model] : nil;
}

+ (void)loadWithConfiguration:(MLModelConfiguration *)configuration completionHandler:(void (^)($CLASS$ * _Nullable model, NSError * _Nullable error))handler {
    [self loadContentsOfURL:(NSURL * _Nonnull)[self URLOfModelInThisBundle] configuration:configuration completionHandler:handler];
}

+ (void)loadContentsOfURL:(NSURL *)modelURL configuration:(MLModelConfiguration *)configuration completionHandler:(void (^)($CLASS$ * _Nullable model, NSError * _Nullable error))handler {
    [MLModel loadContentsOfURL:modelURL configuration:configuration completionHandler:^(MLModel *loaded, NSError *error) {
        handler(loaded ? [[$CLASS$ alloc] initWithMLModel:loaded] : nil, error);
    }];
}
)";

constexpr char kSourcePredictions[] = R"(
- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    return [self predictionFromFeatures:input options:[[MLPredictionOptions alloc] init] error:error];
}

- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    id<MLFeatureProvider> features = [self.model predictionFromFeatures:input options:options error:error];
    return features ? $CLASS$_output(features) : nil;
}

- (void)predictionFromFeatures:($CLASS$Input *)input completionHandler:(void (^)($CLASS$Output * _Nullable output, NSError * _Nullable error))completionHandler {
    [self.model predictionFromFeatures:input completionHandler:^(id<MLFeatureProvider> features, NSError *error) {
        completionHandler(features ? $CLASS$_output(features) : nil, error);
    }];
}

- (void)predictionFromFeatures:($CLASS$Input *)input options:(MLPredictionOptions *)options completionHandler:(void (^)($CLASS$Output * _Nullable output, NSError * _Nullable error))completionHandler {
    [self.model predictionFromFeatures:input options:options completionHandler:^(id<MLFeatureProvider> features, NSError *error) {
        completionHandler(features ? $CLASS$_output(features) : nil, error);
    }];
}
$CONVENIENCE$
- (nullable NSArray<$CLASS$Output *> *)predictionsFromInputs:(NSArray<$CLASS$Input *> *)inputArray options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    id<MLBatchProvider> inputs = [[MLArrayBatchProvider alloc] initWithFeatureProviderArray:inputArray];
    id<MLBatchProvider> outputs = [self.model predictionsFromBatch:inputs options:options error:error];
    if (!outputs) { return nil; }
    NSMutableArray<$CLASS$Output *> *results = [NSMutableArray arrayWithCapacity:(NSUInteger)outputs.count];
    for (NSInteger i = 0; i < outputs.count; i++) {
        [results addObject:$CLASS$_output([outputs featuresAtIndex:i])];
    }
    return results;
}

@end
)";

constexpr char kSourceStates[] = R"(
- (MLState *)newState {
    return [self.model newState];
}

- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input usingState:(MLState *)state error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    return [self predictionFromFeatures:input usingState:state options:[[MLPredictionOptions alloc] init] error:error];
}

- (nullable $CLASS$Output *)predictionFromFeatures:($CLASS$Input *)input usingState:(MLState *)state options:(MLPredictionOptions *)options error:(NSError * _Nullable __autoreleasing * _Nullable)error {
    id<MLFeatureProvider> features = [self.model predictionFromFeatures:input usingState:state options:options error:error];
    return features ? $CLASS$_output(features) : nil;
}

@end
)";

constexpr char kError[] = " error:(NSError * _Nullable __autoreleasing * _Nullable)error";

std::string banner(const Interface& m, const char* extension) {
  return "//\n// " + one_line(m.file) + extension + "\n//\n// Made from a Core ML model by mlcompile; changes are lost when it is made again.\n//\n\n";
}

}  // namespace

std::string objc_header(const Interface& m) {
  std::string out = banner(m, ".h") + "#import <Foundation/Foundation.h>\n#import <CoreML/CoreML.h>\n#include <stdint.h>\n\nNS_ASSUME_NONNULL_BEGIN\n\n";
  out += record_header(m, "Input", m.inputs, "What a prediction of " + m.class_name + " takes.");
  out += record_header(m, "Output", m.outputs, "What a prediction of " + m.class_name + " gives.");
  std::string about = m.about.empty() ? "Loads the model and predicts." : m.about;
  if (!m.functions.empty()) about += "\n/// Its functions are " + join(m.functions, ", ", one_line) + "; this class uses the default one.";
  out += fill(kModelHeader, {{"ABOUT", about},
                             {"API", api(m)},
                             {"CLASS", m.class_name},
                             {"LOADAPI", m.spec_version < 5 ? " API_AVAILABLE(macos(11.0), ios(14.0), tvos(14.0), watchos(7.0), visionos(1.0))" : ""}});
  std::string convenience;
  if (!m.inputs.empty()) convenience = "- (nullable " + m.class_name + "Output *)" + selector("predictionFrom", m.inputs) + kError + ";\n";
  if (!m.states.empty())
    out += fill(kHeaderStates, {{"STATES", join(m.states, ", ", [](const Feature& f) { return f.about; })}, {"CLASS", m.class_name}});
  else
    out += fill(kHeaderPredictions, {{"CLASS", m.class_name}, {"ASYNCAPI", " API_AVAILABLE(macos(14.0), ios(17.0), tvos(17.0), watchos(10.0), visionos(1.0))"}, {"CONVENIENCE", convenience}});
  return out + "\nNS_ASSUME_NONNULL_END\n";
}

std::string objc_source(const Interface& m) {
  std::string out = banner(m, ".m");
  out += "#if !__has_feature(objc_arc)\n#error This file needs automatic reference counting: -fobjc-arc\n#endif\n\n#import " + quoted(m.file + ".h") + "\n\n";
  out += record_source(m, "Input", m.inputs) + record_source(m, "Output", m.outputs);
  std::string make = "[[" + m.class_name + "Output alloc] " + init_start(m.outputs);
  for (size_t i = 0; i < m.outputs.size(); ++i) make += (i == 0 ? capitalized(m.outputs[i].id) : " " + m.outputs[i].id) + ":" + from_value(m.outputs[i]);
  out += fill(kModelSource, {{"CLASS", m.class_name}, {"MAKE", make + "]"}, {"RESOURCE", literal(m.resource)}});
  std::string convenience;
  if (!m.inputs.empty())
    convenience = "\n- (nullable " + m.class_name + "Output *)" + selector("predictionFrom", m.inputs) + kError + " {\n    return [self predictionFromFeatures:[[" +
                  m.class_name + "Input alloc] " + call("initWith", m.inputs) + "] error:error];\n}\n";
  out += fill(m.states.empty() ? kSourcePredictions : kSourceStates, {{"CLASS", m.class_name}, {"CONVENIENCE", convenience}});
  return out;
}

}  // namespace mlt::codegen
