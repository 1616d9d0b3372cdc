// The classes that Xcode makes for Swift: names and signatures are its own, the text is ours.
#include "lib/codegen/interface.h"

namespace mlt::codegen {
namespace {

using coreml::ArrayDataType;
using coreml::FeatureKind;

std::string type_name(const Feature& f) {
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "Int64";
    case FeatureKind::kDouble: return "Double";
    case FeatureKind::kString: return "String";
    case FeatureKind::kImage: return "CVPixelBuffer";
    case FeatureKind::kDictionary: return f.type.element == FeatureKind::kInt64 ? "[Int64 : Double]" : "[String : Double]";
    case FeatureKind::kSequence: return "MLSequence";
    default: return "MLMultiArray";
  }
}

// An MLFeatureValue of the Swift expression `value`.
std::string to_value(const Feature& f, const std::string& value) {
  switch (f.type.kind) {
    case FeatureKind::kInt64: return "MLFeatureValue(int64: " + value + ")";
    case FeatureKind::kDouble: return "MLFeatureValue(double: " + value + ")";
    case FeatureKind::kString: return "MLFeatureValue(string: " + value + ")";
    case FeatureKind::kImage: return "MLFeatureValue(pixelBuffer: " + value + ")";
    case FeatureKind::kDictionary: return "try! MLFeatureValue(dictionary: " + value + " as [AnyHashable : NSNumber])";
    case FeatureKind::kSequence: return "MLFeatureValue(sequence: " + value + ")";
    default: return "MLFeatureValue(multiArray: " + value + ")";
  }
}

std::string from_value(const Feature& f) {
  std::string value = "provider.featureValue(for: " + quoted(f.name, true) + ")!";
  switch (f.type.kind) {
    case FeatureKind::kInt64: return value + ".int64Value";
    case FeatureKind::kDouble: return value + ".doubleValue";
    case FeatureKind::kString: return value + ".stringValue";
    case FeatureKind::kImage: return value + ".imageBufferValue!";
    case FeatureKind::kDictionary: return value + ".dictionaryValue as! " + type_name(f);
    case FeatureKind::kSequence: return value + ".sequenceValue!";
    default: return value + ".multiArrayValue!";
  }
}

// Element type of an MLShapedArray; empty where Swift has none.
std::string scalar(const Feature& f) {
  if (f.type.kind != FeatureKind::kMultiArray) return "";
  switch (f.type.array.data_type) {
    case ArrayDataType::kFloat16: return "Float16";
    case ArrayDataType::kFloat32: return "Float";
    case ArrayDataType::kDouble: case ArrayDataType::kInvalid: return "Double";
    case ArrayDataType::kInt32: return "Int32";
    default: return "";
  }
}

// Marks what follows as there only where MLShapedArray of these elements is.
std::string shaped_guard(bool half, int spec_version) {
  if (half)
    return "    #if (os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64)\n"
           "    @available(macOS, unavailable)\n"
           "    @available(macCatalyst, unavailable)\n"
           "    #else\n"
           "    @available(macOS 15.0, iOS 16.0, tvOS 16.0, watchOS 9.0, visionOS 1.0, *)\n"
           "    #endif\n";
  return spec_version < 6 ? "    @available(macOS 12.0, iOS 15.0, tvOS 15.0, watchOS 8.0, visionOS 1.0, *)\n" : "";
}

std::string pixel_format(const Feature& f) {
  switch (f.type.image.color_space) {
    case coreml::ColorSpace::kGrayscale: return "kCVPixelFormatType_OneComponent8";
    case coreml::ColorSpace::kGrayscaleFloat16: return "kCVPixelFormatType_OneComponent16Half";
    default: return "kCVPixelFormatType_32ARGB";
  }
}

std::string parameter(const Feature& f) { return f.id + ": " + type_name(f) + (f.type.optional ? "? = nil" : ""); }
std::string pass(const Feature& f) { return f.id + ": " + f.id; }

std::string available(const Interface& m) {
  if (m.systems.empty()) return "";
  return "@available(" + join(m.systems, ", ", [](const auto& s) { return s.first + " " + s.second; }) + ", *)\n";
}

std::string shaped_parameters(const Interface& m) {
  return join(m.inputs, ", ", [](const Feature& f) { return scalar(f).empty() ? parameter(f) : f.id + ": MLShapedArray<" + scalar(f) + ">" + (f.type.optional ? "?" : ""); });
}
std::string shaped_pass(const Interface& m) {
  return join(m.inputs, ", ", [](const Feature& f) {
    if (scalar(f).empty()) return pass(f);
    return f.id + ": " + (f.type.optional ? f.id + ".map { MLMultiArray($0) }" : "MLMultiArray(" + f.id + ")");
  });
}

struct Traits {
  bool shaped = false, half = false, images = false;
  std::string pub, base, objc;
};

Traits traits_of(const Interface& m) {
  Traits t;
  for (const Feature& f : m.inputs) {
    t.shaped |= !scalar(f).empty();
    t.half |= scalar(f) == "Float16";
    t.images |= f.type.kind == FeatureKind::kImage;
  }
  if (m.options.public_access) t.pub = "public ";
  if (m.options.global_module) t.base = "NSObject, ";
  return t;
}

std::string objc_name(const Interface& m, const std::string& suffix) {
  return m.options.global_module ? "@objc(" + m.class_name + suffix + ") " : "";
}

// MLFeatureValue(cgImage:...) or (imageAt:...) as a pixel buffer of the input's size.
std::string load_image(const Feature& f, const std::string& label) {
  return "try MLFeatureValue(" + label + ": " + f.id + ", pixelsWide: " + std::to_string(f.type.image.width) + ", pixelsHigh: " +
         std::to_string(f.type.image.height) + ", pixelFormatType: " + pixel_format(f) + ", options: nil).imageBufferValue!";
}

std::string image_conveniences(const Interface& m, const Traits& t) {
  std::string guard = m.spec_version < 4 ? "    @available(macOS 10.15, iOS 13.0, tvOS 13.0, watchOS 6.0, visionOS 1.0, *)\n" : "";
  std::string out;
  for (bool url : {false, true}) {
    auto label = [&](const Feature& f) { return f.id + (url ? "At" : "With"); };
    auto parameters = join(m.inputs, ", ", [&](const Feature& f) {
      if (f.type.kind != FeatureKind::kImage) return parameter(f);
      return label(f) + " " + f.id + ": " + (url ? "URL" : "CGImage");
    });
    auto passed = join(m.inputs, ", ", [&](const Feature& f) {
      return f.type.kind == FeatureKind::kImage ? f.id + ": " + load_image(f, url ? "imageAt" : "cgImage") : pass(f);
    });
    out += fill("\n$GUARD$    $PUB$convenience init($PARAMETERS$) throws {\n        self.init($PASS$)\n    }\n",
                {{"GUARD", guard}, {"PUB", t.pub}, {"PARAMETERS", parameters}, {"PASS", passed}});
  }
  for (const Feature& f : m.inputs) {
    if (f.type.kind != FeatureKind::kImage) continue;
    for (bool url : {false, true})
      out += fill("\n$GUARD$    $PUB$func set$CAP$(with $ID$: $TYPE$) throws {\n        self.$ID$ = $LOAD$\n    }\n",
                  {{"GUARD", guard}, {"PUB", t.pub}, {"CAP", capitalized(f.id)}, {"ID", f.id}, {"TYPE", url ? "URL" : "CGImage"}, {"LOAD", load_image(f, url ? "imageAt" : "cgImage")}});
  }
  return out;
}

std::string input_class(const Interface& m, const Traits& t) {
  std::string out = "/// What a prediction of " + m.class_name + " takes.\n" + available(m);
  out += fill("$OBJC$$PUB$class $CLASS$Input : $BASE$MLFeatureProvider {\n",
              {{"OBJC", objc_name(m, "Input")}, {"PUB", t.pub}, {"CLASS", m.class_name}, {"BASE", t.base}});
  for (const Feature& f : m.inputs)
    out += "    /// " + f.about + "\n    " + t.pub + "var " + f.id + ": " + type_name(f) + (f.type.optional ? "?" : "") + "\n\n";
  bool optionals = false;
  for (const Feature& f : m.inputs) optionals |= f.type.optional;
  out += "    " + t.pub + "var featureNames: Set<String> {\n";
  if (optionals) {
    // A feature without a value is not given to the model at all.
    out += "        var names: Set<String> = [" + join(m.inputs, ", ", [](const Feature& f) { return quoted(f.name, true); }) + "]\n";
    for (const Feature& f : m.inputs)
      if (f.type.optional) out += "        if " + f.id + " == nil { names.remove(" + quoted(f.name, true) + ") }\n";
    out += "        return names\n";
  } else {
    out += "        [" + join(m.inputs, ", ", [](const Feature& f) { return quoted(f.name, true); }) + "]\n";
  }
  out += "    }\n\n    " + t.pub + "func featureValue(for featureName: String) -> MLFeatureValue? {\n        switch featureName {\n";
  for (const Feature& f : m.inputs)
    out += "        case " + quoted(f.name, true) + ": return " + (f.type.optional ? f.id + ".map { " + to_value(f, "$0") + " }" : to_value(f, f.id)) + "\n";
  out += "        default: return nil\n        }\n    }\n\n";
  out += "    " + t.pub + "init(" + join(m.inputs, ", ", parameter) + ") {\n";
  for (const Feature& f : m.inputs) out += "        self." + f.id + " = " + f.id + "\n";
  out += "    }\n";
  if (t.images) out += image_conveniences(m, t);
  if (t.shaped)
    out += fill("\n$GUARD$    $PUB$convenience init($PARAMETERS$) {\n        self.init($PASS$)\n    }\n",
                {{"GUARD", shaped_guard(t.half, m.spec_version)}, {"PUB", t.pub}, {"PARAMETERS", shaped_parameters(m)}, {"PASS", shaped_pass(m)}});
  return out + "}\n";
}

std::string output_class(const Interface& m, const Traits& t) {
  std::string out = "/// What a prediction of " + m.class_name + " gives.\n" + available(m);
  out += fill("$OBJC$$PUB$class $CLASS$Output : $BASE$MLFeatureProvider {\n    private let provider: MLFeatureProvider\n\n",
              {{"OBJC", objc_name(m, "Output")}, {"PUB", t.pub}, {"CLASS", m.class_name}, {"BASE", t.base}});
  for (const Feature& f : m.outputs) {
    out += "    /// " + f.about + "\n    " + t.pub + "var " + f.id + ": " + type_name(f) + " {\n        " + from_value(f) + "\n    }\n\n";
    if (!scalar(f).empty())
      out += fill("    /// $ABOUT$\n$GUARD$    $PUB$var $ID$ShapedArray: MLShapedArray<$SCALAR$> {\n        MLShapedArray<$SCALAR$>($ID$)\n    }\n\n",
                  {{"ABOUT", f.about}, {"GUARD", shaped_guard(scalar(f) == "Float16", m.spec_version)}, {"PUB", t.pub}, {"ID", f.id}, {"SCALAR", scalar(f)}});
  }
  out += fill(
      "    $PUB$var featureNames: Set<String> {\n        provider.featureNames\n    }\n\n"
      "    $PUB$func featureValue(for featureName: String) -> MLFeatureValue? {\n        provider.featureValue(for: featureName)\n    }\n\n"
      "    $PUB$init($PARAMETERS$) {\n        provider = try! MLDictionaryFeatureProvider(dictionary: [$VALUES$])\n    }\n\n"
      "    $PUB$init(features: MLFeatureProvider) {\n        provider = features\n    }\n}\n",
      {{"PUB", t.pub},
       {"PARAMETERS", join(m.outputs, ", ", [](const Feature& f) { return f.id + ": " + type_name(f); })},
       {"VALUES", join(m.outputs, ", ", [](const Feature& f) { return quoted(f.name, true) + " : " + to_value(f, f.id); })}});
  return out;
}

constexpr char kModelClass[] = R"($OBJC$$PUB$class $CLASS$$BASE$ {
    $PUB$let model: MLModel

    /// The compiled model beside this class in its bundle.
    $PUB$class var urlOfModelInThisBundle : URL {
        Bundle(for: self).url(forResource: $RESOURCE$, withExtension: "mlmodelc")!
    }

    $PUB$init(model: MLModel) {
        self.model = model
    }

    $PUB$convenience init(configuration: MLModelConfiguration = MLModelConfiguration()) throws {
        try self.init(contentsOf: type(of: self).urlOfModelInThisBundle, configuration: configuration)
    }

    /// modelURL: of an .mlmodelc directory.
    $PUB$convenience init(contentsOf modelURL: URL) throws {
        try self.init(model: MLModel(contentsOf: modelURL))
    }

    $PUB$convenience init(contentsOf modelURL: URL, configuration: MLModelConfiguration) throws {
        try self.init(model: MLModel(contentsOf: modelURL, configuration: configuration))
    }

$LOADGUARD$    $PUB$class func load(configuration: MLModelConfiguration = MLModelConfiguration(), completionHandler handler: @escaping (Swift.Result<$CLASS$, Error>) -> Void) {
        load(contentsOf: self.urlOfModelInThisBundle, configuration: configuration, completionHandler: handler)
    }

$ASYNCGUARD$    $PUB$class func load(configuration: MLModelConfiguration = MLModelConfiguration()) async throws -> $CLASS$ {
        try await load(contentsOf: self.urlOfModelInThisBundle, configuration: configuration)
    }

$LOADGUARD$    $PUB$class func load(contentsOf modelURL: URL, configuration: MLModelConfiguration = MLModelConfiguration(), completionHandler handler: @escaping (Swift.Result<$CLASS$, Error>) -> Void) {
        MLModel.load(contentsOf: modelURL, configuration: configuration) { result in
            handler(result.map { loaded in $CLASS$(model: loaded) })
        }
    }

$ASYNCGUARD$    $PUB$class func load(contentsOf modelURL: URL, configuration: MLModelConfiguration = MLModelConfiguration()) async throws -> $CLASS$ {
        $CLASS$(model: try await MLModel.load(contentsOf: modelURL, configuration: configuration))
    }
)";

constexpr char kPredictions[] = R"(
    $PUB$func prediction(input: $CLASS$Input) throws -> $CLASS$Output {
        try prediction(input: input, options: MLPredictionOptions())
    }

    $PUB$func prediction(input: $CLASS$Input, options: MLPredictionOptions) throws -> $CLASS$Output {
        $CLASS$Output(features: try model.prediction(from: input, options: options))
    }

    @available(macOS 14.0, iOS 17.0, tvOS 17.0, watchOS 10.0, visionOS 1.0, *)
    $PUB$func prediction(input: $CLASS$Input, options: MLPredictionOptions = MLPredictionOptions()) async throws -> $CLASS$Output {
        $CLASS$Output(features: try await model.prediction(from: input, options: options))
    }

    $PUB$func prediction($PARAMETERS$) throws -> $CLASS$Output {
        try prediction(input: $CLASS$Input($PASS$))
    }
$SHAPED$
    $PUB$func predictions(inputs: [$CLASS$Input], options: MLPredictionOptions = MLPredictionOptions()) throws -> [$CLASS$Output] {
        let outputs = try model.predictions(from: MLArrayBatchProvider(array: inputs), options: options)
        return (0..<outputs.count).map { index in $CLASS$Output(features: outputs.features(at: index)) }
    }
)";

constexpr char kStatePredictions[] = R"(
    /// Keeps, between predictions, $STATES$.
    $PUB$func makeState() -> MLState {
        model.makeState()
    }

    $PUB$func prediction(input: $CLASS$Input, using state: MLState, options: MLPredictionOptions = MLPredictionOptions()) throws -> $CLASS$Output {
        $CLASS$Output(features: try model.prediction(from: input, using: state, options: options))
    }

    $PUB$func prediction(input: $CLASS$Input, using state: MLState, options: MLPredictionOptions = MLPredictionOptions()) async throws -> $CLASS$Output {
        $CLASS$Output(features: try await model.prediction(from: input, using: state, options: options))
    }

    $PUB$func prediction($PARAMETERS_$using state: MLState) throws -> $CLASS$Output {
        try prediction(input: $CLASS$Input($PASS$), using: state)
    }
)";

}  // namespace

std::string swift_text(const Interface& m) {
  Traits t = traits_of(m);
  std::string out = "//\n// " + one_line(m.file) + ".swift\n//\n// Made from a Core ML model by mlcompile; changes are lost when it is made again.\n//\n\nimport CoreML\n\n";
  out += input_class(m, t) + "\n" + output_class(m, t) + "\n";
  out += "/// " + (m.about.empty() ? "Loads the model and predicts." : m.about) + "\n";
  if (!m.functions.empty()) out += "/// Its functions are " + join(m.functions, ", ", one_line) + "; this class uses the default one.\n";
  out += available(m);
  out += fill(kModelClass, {{"OBJC", objc_name(m, "")},
                            {"PUB", t.pub},
                            {"CLASS", m.class_name},
                            {"BASE", m.options.global_module ? " : NSObject" : ""},
                            {"RESOURCE", quoted(m.resource, true)},
                            {"LOADGUARD", m.spec_version < 5 ? "    @available(macOS 11.0, iOS 14.0, tvOS 14.0, watchOS 7.0, visionOS 1.0, *)\n" : ""},
                            {"ASYNCGUARD", m.spec_version < 6 ? "    @available(macOS 12.0, iOS 15.0, tvOS 15.0, watchOS 8.0, visionOS 1.0, *)\n" : ""}});
  std::string parameters = join(m.inputs, ", ", parameter), passed = join(m.inputs, ", ", pass), shaped;
  if (t.shaped)
    shaped = fill("\n$GUARD$    $PUB$func prediction($PARAMETERS$) throws -> $CLASS$Output {\n        try prediction(input: $CLASS$Input($PASS$))\n    }\n",
                  {{"GUARD", shaped_guard(t.half, m.spec_version)}, {"PUB", t.pub}, {"PARAMETERS", shaped_parameters(m)}, {"CLASS", m.class_name}, {"PASS", join(m.inputs, ", ", pass)}});
  if (!m.states.empty())
    out += fill(kStatePredictions, {{"PUB", t.pub},
                                    {"CLASS", m.class_name},
                                    {"STATES", join(m.states, ", ", [](const Feature& f) { return f.about; })},
                                    {"PARAMETERS_", parameters.empty() ? "" : parameters + ", "},
                                    {"PASS", passed}});
  else
    out += fill(kPredictions, {{"PUB", t.pub}, {"CLASS", m.class_name}, {"PARAMETERS", parameters}, {"PASS", passed}, {"SHAPED", shaped}});
  return out + "}\n";
}

}  // namespace mlt::codegen
