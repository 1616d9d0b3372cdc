// The model's interface: graph inputs and outputs <-> Core ML features.
#include <algorithm>

#include "lib/convert/onnx/lowering.h"

namespace mlt::foreign::onnx {
namespace {

// Bound for axes that the source leaves open. Core ML refuses programs whose axes are unbounded.
constexpr int64_t kOpenUpper = 4096;

coreml::ArrayDataType array_type(DType dtype) { return *coreml::to_array_data_type(dtype); }

}  // namespace

void Driver::bind_input(const ValueInfo& info) {
  const InputOption* option = nullptr;
  for (const InputOption& o : options_.inputs)
    if (o.name == info.name) option = &o;
  Node stand_in;
  stand_in.op_type = "input";
  stand_in.name = info.name;
  stand_in.outputs = {info.name};
  try {
    if (info.kind != ValueInfo::Kind::kTensor) unsupported("inputs that are sequences, maps or optionals");
    if (!info.known_dtype) unsupported("inputs of this element type");
    if (info.dtype == DType::kString) unsupported("string inputs");
    define(info.name, bind_feature(info, option));
  } catch (const LowerError& failure) {
    if (failure.error.code == Code::kUsage) throw;
    report(stand_in, failure.error);
    poison(stand_in);
  }
}

Val Driver::bind_feature(const ValueInfo& info, const InputOption* option) {
  auto usage = [&](const std::string& message, std::string hint = {}) {
    throw LowerError{usage_error("input \"" + info.name + "\": " + message, std::move(hint))};
  };
  Lower& l = *lower_;
  Val v;
  v.type = info.dtype;
  std::vector<Extent> extents;
  if (option && option->shape) {
    extents = *option->shape;
    if (info.has_shape && extents.size() != info.dims.size())
      usage("the model declares rank " + std::to_string(info.dims.size()) + ", the given shape has rank " + std::to_string(extents.size()));
    for (size_t i = 0; i < extents.size() && info.has_shape; ++i)
      if (info.dims[i].extent > 0 && (!extents[i].fixed() || extents[i].lower != info.dims[i].extent))
        usage("axis " + std::to_string(i) + " is fixed at " + std::to_string(info.dims[i].extent) + " in the model");
  } else if (!info.has_shape && !(option && option->value)) {
    usage("its shape is not in the model", "give it with --input " + info.name + ",shape=...");
  } else {
    for (size_t i = 0; i < info.dims.size(); ++i) {
      Extent e;
      if (info.dims[i].extent >= 0) {
        e.lower = e.upper = info.dims[i].extent;
      } else {
        std::string what = "input \"" + info.name + "\": axis " + std::to_string(i) + (info.dims[i].symbol.empty() ? "" : " (\"" + info.dims[i].symbol + "\")");
        if (i != 0) e.upper = kOpenUpper;
        if (!(option && option->value))
          warn(what + " is open; converted as " + (i == 0 ? "1" : "1.." + std::to_string(kOpenUpper)) + "; set it with --input " + info.name + ",shape=...");
      }
      extents.push_back(e);
    }
  }
  Dims dims;
  for (const Extent& e : extents) dims.push_back(e.fixed() ? e.lower : ir::kUnknown);

  if (option && option->value) {
    for (int64_t& d : dims)
      if (d < 0) d = 1;
    int64_t count = take(element_count(dims));
    const auto& given = *option->value;
    if (given.size() != 1 && static_cast<int64_t>(given.size()) != count) usage("value has " + std::to_string(given.size()) + " numbers, " + std::to_string(count) + " needed");
    Tensor tensor = Tensor::uninitialized(DType::kF64, dims);
    for (int64_t i = 0; i < count; ++i) tensor.mutable_data<double>()[i] = given[given.size() == 1 ? 0 : static_cast<size_t>(i)];
    v.value = l.constant(convert(tensor, mil_dtype(info.dtype)));
    return v;
  }

  coreml::FeatureDescription feature;
  feature.name = function_->unique_name(info.name);
  DType inner = mil_dtype(info.dtype), dtype = inner == DType::kBool ? DType::kI32 : inner;
  if (option && option->dtype) dtype = *option->dtype;
  if (option && option->image) {
    bool gray = option->color == coreml::ColorSpace::kGrayscale;
    int64_t channels = gray ? 1 : 3;
    size_t rank = dims.size();
    if (inner != DType::kF32 && inner != DType::kI32) usage("element type " + std::string(dtype_name(info.dtype)) + " cannot be an image");
    if (rank != 3 && rank != 4) usage("an image needs rank 3 or 4, this input has rank " + std::to_string(rank));
    size_t base = rank - 3;
    bool first = dims[base] == channels, last = dims[base + 2] == channels;
    if (!first && !last) usage("no axis of " + dims_text(dims) + " has " + std::to_string(channels) + " channels", gray ? "use color=RGB for colour images" : "use color=GRAY for images of one channel");
    if (base == 1 && dims[0] != 1) usage("an image input has batch 1, this one " + dims_text(dims), "set shape=1x...");
    const Extent &h = extents[base + (first ? 1 : 0)], &w = extents[base + (first ? 2 : 1)];
    Dims nchw = {1, channels, h.fixed() ? h.lower : ir::kUnknown, w.fixed() ? w.lower : ir::kUnknown};
    V x = function_->add_input(feature.name, ir::Type::tensor(DType::kF32, nchw));
    feature.type = coreml::FeatureType::image_of(w.choices.empty() ? w.lower : w.choices[0], h.choices.empty() ? h.lower : h.choices[0], option->color);
    if (!h.fixed() || !w.fixed()) {
      if (!h.choices.empty() || !w.choices.empty()) {
        auto list = [](const Extent& e) { return e.choices.empty() ? std::vector<int64_t>{e.lower} : e.choices; };
        feature.type.image.flexibility = coreml::Flexibility::kEnumerated;
        for (int64_t hh : list(h))
          for (int64_t ww : list(w)) feature.type.image.enumerated_sizes.push_back({static_cast<uint64_t>(ww), static_cast<uint64_t>(hh)});
      } else {
        feature.type.image.flexibility = coreml::Flexibility::kRange;
        feature.type.image.width_range = {static_cast<uint64_t>(w.lower), w.upper};
        feature.type.image.height_range = {static_cast<uint64_t>(h.lower), h.upper};
      }
    }
    if (option->scale != 1) x = l.mul(x, option->scale);
    bool biased = std::any_of(option->bias.begin(), option->bias.end(), [](float b) { return b != 0; });
    if (biased) {
      if (option->bias.size() != 1 && static_cast<int64_t>(option->bias.size()) != channels) usage("bias has " + std::to_string(option->bias.size()) + " numbers, 1 or " + std::to_string(channels) + " needed");
      std::vector<float> bias = option->bias;
      if (bias.size() == 1) x = l.add(x, bias[0]);
      else x = l.add(x, l.constant(Tensor::from<float>({1, channels, 1, 1}, bias)));
    }
    if (!first) x = l.transpose(x, {0, 2, 3, 1});
    if (base == 0) x = l.squeeze(x, {0});
    v.value = l.cast(x, inner);
    result_.inputs.push_back(std::move(feature));
    return v;
  }

  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kI32) usage("a feature of type " + std::string(dtype_name(dtype)));
  bool scalar = dims.empty();
  Dims shape = scalar ? Dims{1} : dims;
  if (shape.size() > 5) unsupported("inputs of rank " + std::to_string(shape.size()) + " (Core ML allows 5)");
  V x = function_->add_input(feature.name, ir::Type::tensor(dtype, shape));
  std::vector<int64_t> defaults;
  for (const Extent& e : extents) defaults.push_back(e.choices.empty() ? e.lower : e.choices[0]);
  if (scalar) defaults = {1};
  feature.type = coreml::FeatureType::multi_array(array_type(dtype), defaults);
  bool choices = false, ranges = false;
  for (const Extent& e : extents) {
    choices = choices || !e.choices.empty();
    ranges = ranges || (e.choices.empty() && !e.fixed());
  }
  if (choices && ranges) usage("enumerated and ranged axes cannot be combined");
  if (ranges) {
    feature.type.array.flexibility = coreml::Flexibility::kRange;
    for (const Extent& e : extents) feature.type.array.shape_range.push_back({static_cast<uint64_t>(e.lower), e.upper});
  } else if (choices) {
    feature.type.array.flexibility = coreml::Flexibility::kEnumerated;
    std::vector<std::vector<int64_t>> shapes = {{}};
    for (const Extent& e : extents) {
      std::vector<std::vector<int64_t>> longer;
      for (const auto& s : shapes)
        for (int64_t c : e.choices.empty() ? std::vector<int64_t>{e.lower} : e.choices) {
          longer.push_back(s);
          longer.back().push_back(c);
        }
      shapes = std::move(longer);
      if (shapes.size() > 128) usage("more than 128 enumerated shapes (Core ML's limit)");
    }
    feature.type.array.enumerated_shapes = std::move(shapes);
  }
  if (scalar) x = l.squeeze(x, {0});
  v.value = l.cast(x, inner);
  result_.inputs.push_back(std::move(feature));
  return v;
}

void Driver::bind_outputs() {
  std::set<V> taken;
  std::vector<size_t> labels;
  for (size_t i = 0; i < model_.graph.outputs.size(); ++i) {
    const std::string& source = model_.graph.outputs[i].name;
    Node stand_in;
    stand_in.op_type = "output";
    stand_in.name = source;
    try {
      Val v = lookup(source);
      if (v.poisoned) continue;
      if (v.sequence) unsupported("sequences as outputs");
      if (v.none) unsupported("optionals as outputs");
      if (v.strings && v.value == nullptr) {
        labels.push_back(i);
        continue;
      }
      if (v.strings) zipped_.emplace_back(output_names_[i], v.strings);
      V y = v.value;
      if (Lower::dtype(y) == DType::kString) unsupported("string outputs");
      if (Lower::dtype(y) == DType::kBool) y = lower_->cast(y, DType::kI32);
      if (Lower::rank(y) == 0) y = lower_->expand_dims(y, {0});
      if (y->producer == nullptr || y->producer->is_const() || !taken.insert(y).second) {
        // An output must be an op's result, and its own.
        std::vector<V> made;
        ir::Op* op = function_->body->append("identity");
        op->set("x", y);
        y = op->add_output(output_names_[i], y->type);
        op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(output_names_[i]));
        taken.insert(y);
      }
      y->name = output_names_[i];
      if (y->producer->outputs.size() == 1) y->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(y->name));
      function_->body->outputs.push_back(y);
      coreml::FeatureDescription feature;
      feature.name = y->name;
      std::vector<int64_t> shape;
      if (Lower::is_static(y)) shape = Lower::dims(y);
      feature.type = coreml::FeatureType::multi_array(array_type(Lower::dtype(y)), shape);
      result_.outputs.push_back(std::move(feature));
    } catch (const LowerError& failure) {
      report(stand_in, failure.error);
    }
  }
  for (size_t i : labels) {
    Node stand_in;
    stand_in.op_type = "output";
    stand_in.name = model_.graph.outputs[i].name;
    try {
      bind_label(output_names_[i], *lookup(stand_in.name).strings);
    } catch (const LowerError& failure) {
      report(stand_in, failure.error);
    }
  }
  for (const auto& [name, zipped] : zipped_)
    if (!result_.labels || result_.labels->probabilities != name) warn("ZipMap: the output \"" + name + "\" is an array of probabilities, not a sequence of maps; use --class-labels for a dictionary");
}

}  // namespace mlt::foreign::onnx
