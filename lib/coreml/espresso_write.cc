#include "lib/coreml/espresso_writer.h"

namespace mlt::coreml {

using Layer = spec::NeuralNetworkLayer;

bool EspressoWriter::ranks_are_equal(const Layer& l) const {
  for (const std::string& input : l.input())
    if (dims(input).size() != dims(l.input(0)).size()) return false;
  return true;
}

Status EspressoWriter::one(const Layer& l) {
  bool exact = out_.network.exact_arrays;
  std::string x = l.input_size() > 0 ? l.input(0) : "", y = l.output_size() > 0 ? l.output(0) : "";
  if (y.empty()) return unknown("it has no output");
  switch (l.layer_case()) {
    case Layer::kConvolution: return convolution(l);
    case Layer::kPooling: return pooling(l.pooling(), x, y);
    case Layer::kActivation: return activation(l.activation(), x, y);
    case Layer::kInnerProduct: return inner_product(l);
    case Layer::kBatchnorm: return batchnorm(l.batchnorm(), x, y);
    case Layer::kUnary: return unary(l.unary(), x, y);
    case Layer::kMvn:
      if (!l.mvn().normalizevariance()) return unknown("subtraction of the mean alone is not known");
      set(emit("l2_normalize", l.name(), {x}, {y}),
          {{"normalization_mode", 1}, {"axis", l.mvn().acrosschannels() ? 2 : 1}, {"eps", l.mvn().epsilon() == 0 ? 1e-6f : l.mvn().epsilon()}});
      return {};
    case Layer::kSoftmax: set(emit("softmax", l.name(), {x}, {y}), {{"C", 2}}); return {};
    case Layer::kAdd: case Layer::kAddBroadcastable:
      if (l.input_size() == 1 && l.has_add()) return done(linear(x, 1, l.add().alpha(), y));
      return chain(l, 0, y);
    case Layer::kMultiply: case Layer::kMultiplyBroadcastable:
      if (l.input_size() == 1 && l.has_multiply()) return done(linear(x, l.multiply().alpha(), 0, y));
      return chain(l, 1, y);
    case Layer::kMax: case Layer::kMaxBroadcastable: return chain(l, 2, y);
    case Layer::kMin: case Layer::kMinBroadcastable: return chain(l, 3, y);
    case Layer::kSubtractBroadcastable: return done(sum(x, linear(l.input(1), -1, 0), y));
    case Layer::kAverage: {
      std::string total = step("", "total", y);
      MLT_TRY(chain(l, 0, total));
      return done(linear(total, 1.0f / static_cast<float>(l.input_size()), 0, y));
    }
    case Layer::kClip: {
      std::string low = threshold(x, l.clip().minval());
      return done(linear(threshold(linear(low, -1, 0), -l.clip().maxval()), -1, 0, y));
    }
    case Layer::kScale: {
      MLT_ASSIGN(std::string factor, channel_constant(l.scale().scale(), l.scale().shapescale(), "_constant_in_scale"));
      if (!l.scale().hasbias()) return done(product(x, factor, y));
      MLT_ASSIGN(std::string offset, channel_constant(l.scale().bias(), l.scale().shapebias(), "_constant_in_bias"));
      return done(sum(product(x, factor), offset, y));
    }
    case Layer::kBias: {
      MLT_ASSIGN(std::string offset, channel_constant(l.bias().bias(), l.bias().shape(), "_constant_in_bias"));
      return done(sum(x, offset, y));
    }
    case Layer::kDot: {
      if (l.dot().cosinesimilarity()) return unknown("cosine similarity is not known");
      std::string all = product(x, l.input(1));
      set(emit("reduce", l.name(), {all}, {y}), {{"mode", 0}, {"axis_mode", 4}, {"use_version", 1}});
      return {};
    }
    case Layer::kReduce: return reduce(l.reduce(), x, y);
    case Layer::kPadding: {
      if (!l.padding().has_constant()) return unknown("padding with the input's own values is not known");
      // Zeros around the input of one convolution become that convolution's.
      if (const Layer* next = l.padding().constant().value() == 0 ? follower(y, Layer::kConvolution) : nullptr; next != nullptr && !next->convolution().has_same() && !next->convolution().isdeconvolution()) {
        padded_[y] = &l;
        return {};
      }
      MLT_ASSIGN(auto pad, borders(l.padding().paddingamounts()));
      set(emit("general_padding", l.name(), {x}, {y}), {{"pad_pad_mode", 0}, {"pad_fill_mode", 0}, {"pad_value", l.padding().constant().value()},
          {"pad_t", pad[0]}, {"pad_b", pad[1]}, {"pad_l", pad[2]}, {"pad_r", pad[3]}});
      return {};
    }
    case Layer::kCrop: return crop(l);
    case Layer::kUpsample: return upsample(l.upsample(), x, y);
    case Layer::kLoadConstant: {
      Dims shape(l.loadconstant().shape().begin(), l.loadconstant().shape().end());
      MLT_TRY(constant(l.loadconstant().data(), shape, "", false, y));
      return {};
    }
    case Layer::kLoadConstantND: {
      Dims shape(l.loadconstantnd().shape().begin(), l.loadconstantnd().shape().end());
      MLT_TRY(constant(l.loadconstantnd().data(), shape, "", true, y));
      return {};
    }
    case Layer::kReshape: return reshape(l.reshape(), x, y);
    case Layer::kFlatten:
      set(emit("flatten", l.name(), {x}, {y}), {{"mode", l.flatten().mode() == spec::FlattenLayerParams::CHANNEL_FIRST ? 0 : 1}, {"nd_axis", 0}});
      return {};
    case Layer::kPermute: {
      if (l.permute().axis_size() != 4) return input_error("permute needs 4 axes");
      EspressoLayer& e = emit("transpose", l.name(), {x}, {y});
      constexpr const char* kKeys[] = {"axis_seq", "axis_k", "axis_h", "axis_w"};
      e.fields["axis_n"] = 3.0;
      for (int i = 0; i < 4; ++i) e.fields[kKeys[i]] = l.permute().axis(i) == 0 ? 4.0 : 3.0 - static_cast<double>(l.permute().axis(i));
      return {};
    }
    case Layer::kConcat: {
      bool sequence = l.concat().sequenceconcat();
      EspressoLayer& e = emit(sequence ? "sequence_concat" : "concat", l.name(), Names(l.input().begin(), l.input().end()), {y});
      if (sequence) e.fields["simple_concat"] = 1.0;
      return {};
    }
    case Layer::kConcatND: {
      int64_t rank = static_cast<int64_t>(dims(y).size()), axis = l.concatnd().axis();
      if (axis >= 0) axis -= rank;
      if (axis != -3 || l.concatnd().interleave() || !ranks_are_equal(l)) return unknown("joining along another axis than the channels is not known");
      emit("concat", l.name(), Names(l.input().begin(), l.input().end()), {y});
      return {};
    }
    case Layer::kSplit: return split(l);
    case Layer::kSlice: {
      const auto& p = l.slice();
      if (p.stride() > 1) return unknown("slices with steps are not known");
      int axis = p.axis() == spec::SliceLayerParams::CHANNEL_AXIS ? 2 : p.axis() == spec::SliceLayerParams::HEIGHT_AXIS ? 1 : 0;
      return slice(x, y, axis, p.startindex(), p.endindex());
    }
    case Layer::kGelu:
      if (l.gelu().mode() != spec::GeluLayerParams::EXACT) return unknown("approximations of gelu are not known");
      return done(activate(19, x, y, "gelu"));
    case Layer::kSoftmaxND: set(emit("softmax_nd", l.name(), {x}, {y}), {{"nd_axis", static_cast<double>(l.softmaxnd().axis())}}); return {};
    case Layer::kTanh: return done(linear(activate(3, linear(x, 2, 0), "", "sigmoid"), 2, -1, y));
    case Layer::kReshapeStatic: {
      const auto& target = l.reshapestatic().targetshape();
      if (!exact || target.empty() || target.size() > 5) return unknown("reshapes of this rank are not known");
      EspressoLayer& e = emit("reshape", l.name(), {x}, {y});
      set(e, {{"version", 1}, {"mode", 0}, {"dst_nd_rank", static_cast<double>(target.size())}});
      e.fields["dynamic_shape"] = false;
      constexpr const char* kKeys[] = {"dst_w", "dst_h", "dst_k", "dst_n", "dst_seq"};
      for (int i = 0; i < 5; ++i) {
        int64_t extent = i < target.size() ? target.Get(target.size() - 1 - i) : 1;
        if (extent == 0) return unknown("a reshape that keeps an extent by 0 is not known");
        e.fields[kKeys[i]] = static_cast<double>(extent);
      }
      return {};
    }
    case Layer::kTranspose: {
      const auto& axes = l.transpose().axes();
      int rank = axes.size();
      if (!exact || rank < 1 || rank > 5) return unknown("transpositions of this rank are not known");
      EspressoLayer& e = emit("transpose", l.name(), {x}, {y});
      constexpr const char* kKeys[] = {"axis_w", "axis_h", "axis_k", "axis_n", "axis_seq"};
      for (int i = 0; i < 5; ++i) e.fields[kKeys[i]] = i < rank ? rank - 1 - static_cast<double>(axes.Get(rank - 1 - i)) : i;
      return {};
    }
    case Layer::kSqueeze: case Layer::kExpandDims: {
      bool squeeze = l.has_squeeze();
      const auto& axes = squeeze ? l.squeeze().axes() : l.expanddims().axes();
      if (!exact || axes.empty() || (squeeze && l.squeeze().squeezeall())) return unknown("removing all axes is not known");
      EspressoLayer& e = emit(squeeze ? "squeeze" : "expand_dims", l.name(), {x}, {y});
      set(e, {{"size_of_axes", static_cast<double>(axes.size())}, {"nd_axis", 0}});
      if (squeeze) e.fields["version"] = 1.0;
      for (int i = 0; i < axes.size(); ++i) e.fields["axes_" + std::to_string(i)] = static_cast<double>(axes.Get(i));
      return {};
    }
    case Layer::kBatchedMatmul: return matmul(l);
    case Layer::kCopy: return done(linear(x, 1, 0, y));
    default: return unknown();
  }
}

Result<WrittenEspresso> write_espresso(const Model& model) {
  MLT_ASSIGN(LiftedNetwork lifted, lift_neural_network(model));
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: return EspressoWriter(model, lifted).run(model.proto().neuralnetwork());
    case ModelKind::kNeuralNetworkClassifier: return EspressoWriter(model, lifted).run(model.proto().neuralnetworkclassifier());
    case ModelKind::kNeuralNetworkRegressor: return EspressoWriter(model, lifted).run(model.proto().neuralnetworkregressor());
    default: return usage_error("a " + model.kind_name() + " is no neural network");
  }
}

}  // namespace mlt::coreml
