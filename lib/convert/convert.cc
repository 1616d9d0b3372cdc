#include "lib/convert/convert.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <regex>
#include <utility>

#include "lib/convert/states.h"
#include "lib/coreml/mil_write.h"
#include "lib/ops/builder.h"
#include "lib/passes/pipeline.h"

namespace mlt::foreign {
namespace {

constexpr ops::Opset kOpsets[] = {ops::Opset::kCoreML5, ops::Opset::kCoreML6, ops::Opset::kCoreML7, ops::Opset::kCoreML8, ops::Opset::kCoreML9};

bool newer_might_do(const std::vector<Unsupported>& list) {
  return std::any_of(list.begin(), list.end(), [](const Unsupported& u) { return u.newer_opset; });
}

coreml::FeatureDescription* feature(std::vector<coreml::FeatureDescription>& list, std::string_view name) {
  for (auto& f : list)
    if (f.name == name) return &f;
  return nullptr;
}

Status rename_outputs(Converted& c, const Request& request) {
  ir::Function& main = *c.program->functions[0];
  size_t next = 0;
  for (const auto& [from, to] : request.output_names) {
    ir::Value* value = nullptr;
    if (c.labels && !from.empty() && ir::sanitized_identifier(from) == c.labels->label_name) {
      c.labels->label_name = to;
      continue;
    }
    if (from.empty()) {
      if (next >= main.body->outputs.size()) return usage_error("more output names than the model has outputs");
      value = main.body->outputs[next++];
    } else {
      std::string name = ir::sanitized_identifier(from);
      for (ir::Value* v : main.body->outputs)
        if (v->name == from || v->name == name) value = v;
      if (value == nullptr) {
        std::string names;
        for (ir::Value* v : main.body->outputs) names += (names.empty() ? "" : ", ") + v->name;
        return usage_error("the model has no output \"" + from + "\"", "its outputs are: " + names);
      }
    }
    if (ir::sanitized_identifier(to) != to) return usage_error("output name \"" + to + "\" is no identifier", "use letters, digits and underscores");
    if (value->name == to) continue;
    std::string fresh = main.unique_name(to);
    if (fresh != to) {  // an inner value has the name: it moves
      bool taken = main.find_input(to) != nullptr;
      for (ir::Value* v : main.body->outputs) taken = taken || v->name == to;
      if (taken) return usage_error("the name \"" + to + "\" is taken by another input or output");
      main.for_each_op([&, &to = to](ir::Op& op) {
        for (auto& v : op.outputs)
          if (v->name == to) v->name = fresh;
      });
    }
    if (c.labels && c.labels->dictionary_name == value->name) c.labels->dictionary_name = to;
    if (c.labels && c.labels->probabilities == value->name) c.labels->probabilities = to;
    if (auto* f = feature(c.outputs, value->name)) f->name = to;
    value->name = to;
    if (value->producer && value->producer->outputs.size() == 1) value->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(to));
  }
  return {};
}

// classify(probabilities, labels) takes the place of the probabilities among the outputs.
Status add_classifier(Converted& c, const Labels& labels, ops::Opset opset) {
  ir::Function& main = *c.program->functions[0];
  ir::Block& body = *main.body;
  auto is_candidate = [](const ir::Value* v) { return v->type.is_tensor() && is_float(v->type.dtype); };
  ir::Value* probabilities = nullptr;
  for (ir::Value* v : body.outputs)
    if (labels.probabilities.empty() ? is_candidate(v) : v->name == labels.probabilities || v->name == ir::sanitized_identifier(labels.probabilities)) probabilities = v;
  if (probabilities == nullptr) return usage_error(labels.probabilities.empty() ? "the model has no output of probabilities" : "the model has no output \"" + labels.probabilities + "\"");
  std::string output_name = probabilities->name;
  int64_t n = static_cast<int64_t>(labels.strings.empty() ? labels.ints.size() : labels.strings.size());
  if (!probabilities->type.is_static()) return unsupported_error("class labels need an output of known extents");
  MLT_ASSIGN(int64_t count, element_count(probabilities->type.dims));
  if (count != n) return usage_error(std::to_string(n) + " class labels, but output \"" + probabilities->name + "\" has " + std::to_string(count) + " values");
  ir::Op* list = body.append("const");
  DType dtype = labels.strings.empty() ? DType::kI64 : DType::kString;
  ir::Literal literal;
  literal.type = ir::Type::list(ir::Type::tensor(dtype), n);
  for (int64_t i = 0; i < n; ++i) {
    if (dtype == DType::kString) literal.items.push_back(ir::Literal::string(labels.strings[static_cast<size_t>(i)]));
    else literal.items.push_back(ir::Literal::of(Tensor::scalar(labels.ints[static_cast<size_t>(i)])));
  }
  ir::Value* classes = list->add_output(main.unique_name("classes"), literal.type);
  list->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(classes->name));
  list->attributes["val"] = std::make_shared<ir::Literal>(std::move(literal));
  ops::OpBuilder b(main, opset, &body);
  ir::Value* input = probabilities;
  if (input->type.dtype != DType::kF32) input = b.op("cast", {{"x", input}, {"dtype", b.string("fp32")}});
  if (input && input->type.rank() > 1) input = b.op("reshape", {{"x", input}, {"shape", b.ints({n})}}, probabilities->name + "_flat");
  auto outputs = b.ops("classify", {{"probabilities", input}, {"classes", classes}}, "classify");
  MLT_TRY(b.status());
  if (probabilities->name == labels.dictionary_name) {
    probabilities->name = main.unique_name(probabilities->name + "_values");
    if (probabilities->producer && probabilities->producer->outputs.size() == 1) probabilities->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(probabilities->name));
  }
  auto name = [&](const std::string& wish) {  // names that the source gave to its outputs count as taken before they are
    bool used = main.find_input(wish) != nullptr;
    main.for_each_op([&](ir::Op& op) {
      for (const auto& v : op.outputs) used = used || v->name == wish;
    });
    return used ? main.unique_name(wish) : wish;
  };
  outputs[0]->name = name(labels.label_name.empty() ? "classLabel" : labels.label_name);
  outputs[1]->name = name(labels.dictionary_name.empty() ? "classLabel_probs" : labels.dictionary_name);
  std::erase(body.outputs, probabilities);
  std::erase_if(c.outputs, [&](const auto& f) { return f.name == output_name; });
  body.outputs.push_back(outputs[0]);
  body.outputs.push_back(outputs[1]);
  coreml::FeatureDescription label, dictionary;
  label.name = outputs[0]->name;
  label.type = dtype == DType::kString ? coreml::FeatureType::string() : coreml::FeatureType::int64();
  dictionary.name = outputs[1]->name;
  dictionary.type = coreml::FeatureType::dictionary(dtype == DType::kString ? coreml::FeatureKind::kString : coreml::FeatureKind::kInt64);
  c.outputs.push_back(std::move(label));
  c.outputs.push_back(std::move(dictionary));
  return {};
}

// Float features become float16: parameters change type, outputs lose their last cast.
Status float16_interface(Converted& c, ops::Opset opset) {
  ir::Function& main = *c.program->functions[0];
  ops::OpBuilder b(main, opset);
  b.set_position(0);
  std::unordered_map<const ir::Value*, ir::Value*> replacement;
  std::vector<std::pair<ir::Op*, ir::Value*>> casts;
  for (auto& input : main.inputs) {
    auto* f = feature(c.inputs, input->name);
    if (f == nullptr || f->type.kind != coreml::FeatureKind::kMultiArray || input->type.dtype != DType::kF32) continue;
    input->type.dtype = DType::kF16;
    f->type.array.data_type = coreml::ArrayDataType::kFloat16;
    ir::Value* full = b.op("cast", {{"x", input.get()}, {"dtype", b.string("fp32")}}, input->name + "_to_fp32");
    MLT_TRY(b.status());
    replacement[input.get()] = full;
    casts.emplace_back(full->producer, input.get());
  }
  main.replace_all_uses(replacement);
  for (auto& [cast, input] : casts) cast->set("x", input);
  ops::OpBuilder end(main, opset);
  for (ir::Value*& output : main.body->outputs) {
    auto* f = feature(c.outputs, output->name);
    if (f == nullptr || f->type.kind != coreml::FeatureKind::kMultiArray || output->type.dtype != DType::kF32) continue;
    f->type.array.data_type = coreml::ArrayDataType::kFloat16;
    std::string name = output->name;
    output->name = main.unique_name(name + "_fp32");
    ir::Value* half = end.op("cast", {{"x", output}, {"dtype", end.string("fp16")}});
    MLT_TRY(end.status());
    half->name = name;
    half->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(name));
    output = half;
  }
  return {};
}

}  // namespace

int spec_version(ops::Opset opset) { return static_cast<int>(opset); }

Result<ops::Opset> target_from_text(const std::string& text) {
  std::string lower;
  for (char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  struct Row {
    const char *ios, *macos, *coreml, *spec;
    ops::Opset opset;
  };
  static constexpr Row kRows[] = {
      {"ios15", "macos12", "coreml5", "6", ops::Opset::kCoreML5}, {"ios16", "macos13", "coreml6", "7", ops::Opset::kCoreML6},
      {"ios17", "macos14", "coreml7", "8", ops::Opset::kCoreML7}, {"ios18", "macos15", "coreml8", "9", ops::Opset::kCoreML8},
      {"ios26", "macos26", "coreml9", "10", ops::Opset::kCoreML9},
  };
  for (const Row& row : kRows)
    if (lower == row.ios || lower == row.macos || lower == row.coreml || lower == row.spec) return row.opset;
  if (lower == "ios13" || lower == "ios14" || lower == "4" || lower == "5") return unsupported_error("ML programs need iOS15", "use --target iOS15 or newer");
  return usage_error("unknown target \"" + text + "\"", "iOS15, iOS16, iOS17, iOS18, iOS26, or a specification version 6 to 10");
}

Result<Conversion> convert_source(const Blob& bytes, const std::string& path, const Request& request, std::vector<Unsupported>* check) {
  MLT_ASSIGN(const Frontend* frontend, find_frontend(request.from, bytes.bytes()));
  Conversion out;
  // 1. Lower, for the oldest target that can express the model.
  std::optional<Converted> first;
  for (ops::Opset opset : kOpsets) {
    if (request.target && *request.target != opset) continue;
    if (!request.target && request.float16_io && opset < ops::Opset::kCoreML6) continue;
    if (!request.target && !request.states.empty() && opset < ops::Opset::kCoreML8) continue;
    Options options;
    options.opset = opset;
    options.inputs = request.inputs;
    options.fixed_target = request.target.has_value();
    MLT_ASSIGN(out.converted, frontend->convert(bytes, path, options));
    out.opset = opset;
    if (out.converted.unsupported.empty()) break;
    bool retry = newer_might_do(out.converted.unsupported) && !request.target && opset != ops::Opset::kCoreML9;
    if (!retry) break;
  }
  Converted& c = out.converted;
  if (!c.unsupported.empty()) {
    if (check) {
      *check = c.unsupported;
      return out;
    }
    std::string list = describe(c.unsupported);
    if (!list.empty()) list.pop_back();
    return unsupported_error("the model cannot be converted:\n" + list);
  }
  c.program->functions[0]->erase_dead_ops();
  MLT_TRY(finish_conversion(out, request));
  return out;
}

namespace {

// By kind or name, the whole of it; a pattern on an enormous name is no match rather than an exception.
bool matches(const ir::Op& op, const std::regex& rule) {
  try {
    return std::regex_match(op.kind, rule) || std::regex_match(std::string(op.name()), rule);
  } catch (const std::regex_error&) {
    return false;
  }
}

}  // namespace

Status finish_conversion(Conversion& out, const Request& request) {
  Converted& c = out.converted;
  if (request.stop_after == "lower") {
    out.complete = false;
    return {};
  }
  // 2. Interface.
  MLT_TRY(make_states(c, request.states, out.opset));
  if (request.float16_io) {
    if (out.opset < ops::Opset::kCoreML6) return usage_error("float16 features need iOS16", "use --target iOS16 or newer");
    MLT_TRY(float16_interface(c, out.opset));
  }
  // 3. Passes.
  bool float16 = request.float16;
  if (float16 && !c.keep_float32.empty()) {
    c.warnings.push_back("computing in float32: " + c.keep_float32);
    float16 = false;
  }
  std::vector<std::string> names = request.passes ? *request.passes : passes::conversion_pipeline(float16);
  if (!request.stop_after.empty() && request.stop_after != "passes") {
    auto last = std::find(names.begin(), names.end(), request.stop_after);
    if (last == names.end()) return usage_error("no stage or pass \"" + request.stop_after + "\" to stop after", "stages: lower, passes, or a pass that runs");
    names.erase(last + 1, names.end());
    out.complete = false;
  }
  if (request.stop_after == "passes") out.complete = false;
  passes::Context context;
  context.opset = out.opset;
  std::vector<std::regex> rules;
  for (const std::string& text : request.keep_float32) {
    try {
      rules.emplace_back(text, std::regex::ECMAScript | std::regex::nosubs | std::regex::optimize);
    } catch (const std::regex_error& error) {
      return usage_error("\"" + text + "\" is no regular expression: " + error.what());
    }
  }
  std::vector<bool> used(rules.size());
  if (!rules.empty())
    context.keep_float32 = [&](const ir::Op& op) {
      bool any = false;
      for (size_t i = 0; i < rules.size(); ++i) {
        if (!matches(op, rules[i])) continue;
        used[i] = any = true;
      }
      return any;
    };
  MLT_TRY(passes::run(*c.program, names, context, request.after_pass));
  for (size_t i = 0; i < rules.size(); ++i)
    if (!used[i]) c.warnings.push_back("no operation that could be float16 matches \"" + request.keep_float32[i] + "\"");
  c.warnings.insert(c.warnings.end(), context.warnings.begin(), context.warnings.end());
  // 4. Names and labels.
  MLT_TRY(rename_outputs(c, request));
  if (request.labels && c.labels) return usage_error("--class-labels: the model has class labels of its own");
  if (request.labels) MLT_TRY(add_classifier(c, *request.labels, out.opset));
  if (c.labels) MLT_TRY(add_classifier(c, *c.labels, out.opset));
  return {};
}

Result<coreml::Model> make_model(const Conversion& conversion, const Request& request) {
  coreml::Model model;
  model.set_spec_version(spec_version(conversion.opset));
  coreml::Description d;
  d.inputs = conversion.converted.inputs;
  d.outputs = conversion.converted.outputs;
  d.states = conversion.converted.states;
  if (request.labels || conversion.converted.labels) {
    d.predicted_feature_name = "classLabel";
    d.predicted_probabilities_name = "classLabel_probs";
    for (const auto& f : d.outputs) {
      if (f.type.kind == coreml::FeatureKind::kString || f.type.kind == coreml::FeatureKind::kInt64) d.predicted_feature_name = f.name;
      if (f.type.kind == coreml::FeatureKind::kDictionary) d.predicted_probabilities_name = f.name;
    }
  }
  d.metadata = request.metadata;
  if (d.metadata.short_description.empty()) d.metadata.short_description = conversion.converted.source.description;
  d.has_metadata = true;
  model.set_description(std::move(d));
  return model;
}

bool has_file_weights(const ir::Program& program, int version) {
  bool any = false;
  for (const auto& function : program.functions)
    std::as_const(*function).for_each_op([&](const ir::Op& op) {
      auto check = [&](const ir::Literal& literal) {
        any = any || (literal.type.is_tensor() && literal.tensor.valid() && literal.tensor.dtype() != DType::kString &&
                      coreml::belongs_in_weight_file(literal.tensor.dtype(), literal.tensor.size(), version));
      };
      for (const auto& [name, literal] : op.attributes) check(*literal);
      for (const ir::Arg& arg : op.args)
        for (const ir::Operand& operand : arg.operands)
          if (operand.literal) check(*operand.literal);
    });
  return any;
}

namespace {

Result<int64_t> number(std::string_view text) {
  int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value <= 0 || value > (int64_t{1} << 31))
    return usage_error("\"" + std::string(text) + "\" is no extent");
  return value;
}

Result<std::vector<Extent>> parse_shape(std::string_view text) {
  std::vector<Extent> extents;
  size_t at = 0;
  while (at <= text.size()) {
    Extent e;
    if (at < text.size() && text[at] == '{') {
      size_t close = text.find('}', at);
      if (close == std::string_view::npos) return usage_error("a { without } in shape \"" + std::string(text) + "\"");
      std::string_view inner = text.substr(at + 1, close - at - 1);
      while (true) {
        size_t comma = inner.find(',');
        MLT_ASSIGN(int64_t value, number(inner.substr(0, comma)));
        e.choices.push_back(value);
        if (comma == std::string_view::npos) break;
        inner.remove_prefix(comma + 1);
      }
      e.lower = *std::min_element(e.choices.begin(), e.choices.end());
      e.upper = *std::max_element(e.choices.begin(), e.choices.end());
      at = close + 1;
    } else {
      size_t end = text.find('x', at);
      std::string_view one = text.substr(at, end == std::string_view::npos ? end : end - at);
      size_t dots = one.find("..");
      MLT_ASSIGN(e.lower, number(one.substr(0, dots)));
      e.upper = e.lower;
      if (dots != std::string_view::npos) {
        MLT_ASSIGN(e.upper, number(one.substr(dots + 2)));
        if (e.upper < e.lower) return usage_error("an empty range in shape \"" + std::string(text) + "\"");
      }
      at += one.size();
    }
    extents.push_back(std::move(e));
    if (at == text.size()) return extents;
    if (text[at] != 'x') return usage_error("shape \"" + std::string(text) + "\": expected x after an extent");
    ++at;
  }
  return usage_error("shape \"" + std::string(text) + "\" ends with x");
}

Result<double> real(const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0) return usage_error("\"" + text + "\" is no number");
  return value;
}

}  // namespace

Result<InputOption> parse_input_option(const std::string& text) {
  // Commas inside braces belong to the shape; parts without "=" continue a list of numbers.
  std::vector<std::string> parts = {""};
  int depth = 0;
  for (char c : text) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (c == ',' && depth == 0) parts.emplace_back();
    else parts.back() += c;
  }
  InputOption option;
  option.name = parts[0];
  if (option.name.empty()) return usage_error("--input \"" + text + "\" names no input", "the form is --input NAME,key=value,...");
  std::vector<double>* list = nullptr;
  std::vector<double> bias;
  bool image_key = false;
  for (size_t i = 1; i < parts.size(); ++i) {
    size_t equals = parts[i].find('=');
    if (equals == std::string::npos) {
      if (list == nullptr) return usage_error("\"" + parts[i] + "\" in --input is no key=value", "keys: shape, type, color, scale, bias, dtype, value");
      MLT_ASSIGN(double value, real(parts[i]));
      list->push_back(value);
      continue;
    }
    list = nullptr;
    std::string key = parts[i].substr(0, equals), value = parts[i].substr(equals + 1);
    if (key == "shape") {
      MLT_ASSIGN(option.shape, parse_shape(value));
    } else if (key == "type") {
      if (value != "image" && value != "tensor") return usage_error("type \"" + value + "\" is neither image nor tensor");
      option.image = value == "image";
    } else if (key == "color") {
      image_key = true;
      if (value == "RGB") option.color = coreml::ColorSpace::kRgb;
      else if (value == "BGR") option.color = coreml::ColorSpace::kBgr;
      else if (value == "GRAY" || value == "GRAYSCALE") option.color = coreml::ColorSpace::kGrayscale;
      else return usage_error("color \"" + value + "\" is none of RGB, BGR, GRAY");
    } else if (key == "scale") {
      image_key = true;
      MLT_ASSIGN(double scale, real(value));
      option.scale = static_cast<float>(scale);
    } else if (key == "bias") {
      image_key = true;
      MLT_ASSIGN(double first, real(value));
      bias = {first};
      list = &bias;
    } else if (key == "dtype") {
      auto dtype = dtype_from_name(value);
      if (!dtype || (*dtype != DType::kF32 && *dtype != DType::kF16 && *dtype != DType::kI32)) return usage_error("dtype \"" + value + "\" is none of float32, float16, int32");
      option.dtype = dtype;
    } else if (key == "value") {
      MLT_ASSIGN(double first, real(value));
      option.value = std::vector<double>{first};
      list = &*option.value;
    } else {
      return usage_error("unknown key \"" + key + "\" in --input", "keys: shape, type, color, scale, bias, dtype, value");
    }
  }
  option.bias.assign(bias.begin(), bias.end());
  if (!option.image && image_key) return usage_error("input \"" + option.name + "\": color, scale and bias are for images", "add type=image");
  if (option.value && (option.image || option.dtype)) return usage_error("input \"" + option.name + "\": a value leaves no feature to describe");
  if (option.image && option.dtype) return usage_error("input \"" + option.name + "\": an image has no dtype");
  return option;
}

}  // namespace mlt::foreign
