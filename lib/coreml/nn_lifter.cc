#include "lib/coreml/nn_lifter.h"

#include <algorithm>

#include "lib/ops/call.h"
#include "lib/ops/infer_util.h"

namespace mlt::coreml {

namespace {
constexpr int64_t kFoldLimit = 1 << 16;  // shape arithmetic and small constants; weights are prepared as tensors

ops::OpBuilder builder_of(std::shared_ptr<ir::Program>& program, ir::Function*& function) {
  program = std::make_shared<ir::Program>();
  function = program->add_function("main", std::string(ops::opset_token(ops::Opset::kCoreML8)));
  return ops::OpBuilder(*function, ops::Opset::kCoreML8);
}
}  // namespace

Lifter::Lifter(const Model& model, const LiftOptions& options) : model_(model), options_(options), b_(builder_of(program_, function_)) {
  auto take = [&](const auto& network) {
    layers_ = &network.layers();
    preprocessing_ = &network.preprocessing();
    exact_arrays_ = network.arrayinputshapemapping() == spec::EXACT_ARRAY_MAPPING;
    rank4_images_ = network.imageinputshapemapping() == spec::RANK4_IMAGE_MAPPING;
  };
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: take(model.proto().neuralnetwork()); break;
    case ModelKind::kNeuralNetworkClassifier: take(model.proto().neuralnetworkclassifier()); break;
    case ModelKind::kNeuralNetworkRegressor: take(model.proto().neuralnetworkregressor()); break;
    default: break;
  }
}

Result<Lifter::Blob> Lifter::in(int i) const {
  if (!has_in(i)) return bad("input " + std::to_string(i) + " is missing");
  auto it = blobs_.find(layer_->input(i));
  if (it == blobs_.end()) return bad("input \"" + layer_->input(i) + "\" is produced by no layer before it");
  return it->second;
}

Status Lifter::need(int inputs_min, int inputs_max, int outputs_min, int outputs_max) const {
  if (layer_->input_size() < inputs_min || layer_->input_size() > inputs_max)
    return bad("has " + std::to_string(layer_->input_size()) + " inputs, expected " + std::to_string(inputs_min) +
               (inputs_max == inputs_min ? "" : inputs_max > 1000 ? " or more" : " to " + std::to_string(inputs_max)));
  if (layer_->output_size() < outputs_min || layer_->output_size() > outputs_max)
    return bad("has " + std::to_string(layer_->output_size()) + " outputs, expected " + std::to_string(outputs_min));
  return {};
}

Lifter::V Lifter::view(V value, const Dims& dims) {
  if (value == nullptr || value->type.dims == dims) return value;
  // A view of a view is made from the original.
  V source = value;
  if (value->producer != nullptr && value->producer->kind == "reshape")
    if (V x = value->producer->input("x"); x != nullptr && x->type.is_static()) source = x;
  if (source->type.dims == dims) return source;
  auto [it, fresh] = views_.try_emplace({source, dims}, nullptr);
  if (fresh) it->second = op("reshape", {{"x", source}, {"shape", b_.ints(dims)}});
  return it->second;
}

Dims Lifter::lead(const Dims& dims, size_t keep) { return Dims(dims.begin(), dims.end() - static_cast<std::ptrdiff_t>(std::min(keep, dims.size()))); }

Result<Lifter::V> Lifter::nchw(const Blob& blob) {
  if (blob.rank() < 3) return bad("needs an input of rank 3 or more, got " + dims_text(blob.dims));
  MLT_ASSIGN(Dims dims, fixed(blob));
  int64_t batch = 1;
  for (int64_t d : lead(dims, 3)) batch *= d;
  size_t n = dims.size();
  return view(blob.value, {batch, dims[n - 3], dims[n - 2], dims[n - 1]});
}

Status Lifter::failed() const {
  Status status = b_.status();
  if (!status.ok()) return status;
  return bad("an input value is missing");
}

Status Lifter::out(V value, const Dims& dims, int i) {
  if (value == nullptr) return failed();
  if (i >= layer_->output_size()) return {};  // an optional output that is not asked for
  Blob blob{value, dims, dims.empty()};
  if (blob.single) {
    blob.dims = {1};
    blob.value = view(value, {1});
    if (blob.value == nullptr) return failed();
  }
  const std::string& name = layer_->output(i);
  if (name.empty()) return bad("an output has no name");
  blobs_[name] = std::move(blob);
  written_.insert(name);
  last_output_ = name;
  return {};
}

Status Lifter::out_nchw(const Blob& from, V value, int i) {
  if (value == nullptr) return failed();
  const Dims& got = value->type.dims;
  Dims dims = lead(from.dims, 3);
  dims.insert(dims.end(), got.begin() + 1, got.end());
  return out(value, dims, i);
}

std::vector<Lifter::V> Lifter::ops_of(std::string_view kind, std::vector<ops::Input> inputs) {
  std::string name = layer_ == nullptr ? std::string(kind) : layer_->output_size() > 0 ? layer_->output(0) : layer_->name();
  std::vector<V> values = b_.ops(kind, std::move(inputs), name);
  if (values.empty() || values[0] == nullptr) return {nullptr};
  const ir::Op* made = values[0]->producer;
  if (made == nullptr || !made->blocks.empty()) return values;
  bool constant = !made->args.empty();
  for (const ir::Arg& arg : made->args)
    for (const ir::Operand& operand : arg.operands) constant &= operand.constant_tensor() != nullptr;
  if (!constant) return values;
  auto folded = ops::fold(*made, b_.opset(), kFoldLimit);
  if (!folded.ok() || !folded->has_value()) return values;
  for (size_t i = 0; i < values.size(); ++i) values[i] = b_.constant((**folded)[i]);
  return values;
}

Lifter::V Lifter::op(std::string_view kind, std::vector<ops::Input> inputs) { return ops_of(kind, std::move(inputs))[0]; }

Status Lifter::unary(std::string_view kind, std::vector<ops::Input> more) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  more.insert(more.begin(), ops::Input("x", x.value));
  return out(op(kind, std::move(more)), x.dims);
}

Result<Lifter::Blob> Lifter::binary(std::string_view kind, const Blob& a, const Blob& b) {
  Blob result;
  if (a.dims == b.dims && a.value->type.dims == b.value->type.dims) {
    result = {op(kind, {{"x", a.value}, {"y", b.value}}), a.dims};
  } else if (a.rank() == b.rank() && a.rank() >= 4 && lead(a.dims, 3) == lead(b.dims, 3) && a.value->type.is_static() && b.value->type.is_static()) {
    MLT_ASSIGN(V x, nchw(a));
    MLT_ASSIGN(V y, nchw(b));
    result.value = op(kind, {{"x", x}, {"y", y}});
    if (result.value == nullptr) return failed().error();
    result.dims = lead(a.dims, 3);
    result.dims.insert(result.dims.end(), result.value->type.dims.begin() + 1, result.value->type.dims.end());
  } else {
    result.value = op(kind, {{"x", plain(a)}, {"y", plain(b)}});
    if (result.value != nullptr) result.dims = result.value->type.dims;
  }
  if (result.value == nullptr) return failed().error();
  return result;
}

// With from_bool the operands are read as truth values and the result is 0 or 1.
Status Lifter::broadcast_binary(std::string_view kind, bool from_bool) {
  MLT_TRY(need(2, 2, 1, 1));
  MLT_ASSIGN(Blob a, in(0));
  MLT_ASSIGN(Blob b, in(1));
  if (from_bool) {
    a.value = to_bool(a.value);
    b.value = to_bool(b.value);
    if (a.value == nullptr || b.value == nullptr) return failed();
  }
  MLT_ASSIGN(Blob y, binary(kind, a, b));
  if (from_bool) y.value = to_float(y.value);
  return out(y.value, y.dims);
}

Status Lifter::compare(std::string_view kind, float alpha) {
  MLT_TRY(need(1, 2, 1, 1));
  MLT_ASSIGN(Blob a, in(0));
  if (layer_->input_size() == 1) return out(to_float(op(kind, {{"x", a.value}, {"y", b_.f32(alpha)}})), a.dims);
  MLT_ASSIGN(Blob b, in(1));
  MLT_ASSIGN(Blob y, binary(kind, a, b));
  return out(to_float(y.value), y.dims);
}

Lifter::V Lifter::wrap_indices(V indices, int64_t extent) {
  V whole = to_int(indices);
  if (extent < 0 || whole == nullptr) return whole;
  return op("select", {{"cond", op("less", {{"x", whole}, {"y", b_.i32(0)}})}, {"a", op("add", {{"x", whole}, {"y", b_.i32(extent)}})}, {"b", whole}});
}

Result<Lifter::V> Lifter::broadcast_to(const Blob& blob, const Dims& dims) {
  MLT_ASSIGN(Dims from, fixed(blob));
  MLT_ASSIGN(Dims joined, ops::broadcast(from, dims));
  if (joined != dims) return bad("cannot broadcast " + dims_text(from) + " to " + dims_text(dims));
  Dims padded(dims.size() - from.size(), 1), reps;
  padded.insert(padded.end(), from.begin(), from.end());
  for (size_t i = 0; i < dims.size(); ++i) reps.push_back(padded[i] == dims[i] ? 1 : dims[i]);
  V value = view(blob.value, padded);
  if (std::all_of(reps.begin(), reps.end(), [](int64_t r) { return r == 1; })) return value;
  return op("tile", {{"x", value}, {"reps", b_.ints(reps)}});
}

Result<std::vector<int64_t>> Lifter::constant_ints(const Blob& blob, const char* what) const {
  const Tensor* tensor = blob.value->constant_tensor();
  if (tensor == nullptr) return unsupported_error(std::string(what) + " depends on data");
  return to_ints(*tensor);
}

Result<Dims> Lifter::fixed(const Blob& blob) const {
  for (int64_t d : blob.dims)
    if (d < 0) return unsupported_error("the shape of its input depends on data");
  return blob.dims;
}

Result<int64_t> Lifter::axis_of(int64_t axis, int rank) const { return ops::normalize_axis(axis, rank); }

Lifter::V Lifter::weights(const Tensor& tensor, const char* suffix) {
  return b_.constant(tensor, (layer_->name().empty() ? std::string("layer") : layer_->name()) + "_" + suffix);
}

Result<Lifter::V> Lifter::weight(const spec::WeightParams& params, const Dims& dims, const char* suffix, int channel_axis) {
  auto tensor = weight_tensor(params, dims, channel_axis);
  if (!tensor) return std::move(tensor).error().in_path(suffix);
  return weights(*tensor, suffix);
}

}  // namespace mlt::coreml
