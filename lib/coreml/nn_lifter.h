// The working state of a lift, shared by the nn_lift_*.cc files. Internal to lib/coreml.
//
// A blob is what the network calls a tensor: extents as the layers see them ([sequence, batch, channel, height, width]
// in the legacy mapping) over an IR value whose own extents may differ but hold the same elements in the same order.
// Convolutions leave rank 4, inner products rank 2; reshapes are made only where a layer needs other extents.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/coreml/nn_lift.h"
#include "lib/coreml/nn_weights.h"
#include "lib/ops/builder.h"

namespace mlt::coreml {

class Lifter {
 public:
  using V = ir::Value*;
  using Layer = spec::NeuralNetworkLayer;
  struct Blob {
    V value = nullptr;
    Dims dims;
    bool single = false;  // a layer left no axes; networks have no scalars, and dims is {1}
    int rank() const { return static_cast<int>(dims.size()); }
  };

  Lifter(const Model& model, const LiftOptions& options);
  Result<LiftedNetwork> run();

 private:
  // nn_lift.cc
  Status inputs(LiftedNetwork& net);
  Result<Dims> blob_dims(const FeatureDescription& feature, const Dims& given) const;
  Status preprocess(const FeatureDescription& feature, Blob& blob);
  Status outputs(LiftedNetwork& net);
  using Sequence = std::vector<const Layer*>;
  static Sequence sequence(const google::protobuf::RepeatedPtrField<Layer>& list);
  Status layers(const Sequence& list);
  Status layers(const google::protobuf::RepeatedPtrField<Layer>& list) { return layers(sequence(list)); }
  Status layer(const Layer& l);
  Status dispatch(const Layer& l);

  // nn_lifter.cc: blobs and ops.
  Result<Blob> in(int i = 0) const;
  bool has_in(int i) const { return i < layer_->input_size() && !layer_->input(i).empty(); }
  Status need(int inputs_min, int inputs_max, int outputs_min, int outputs_max) const;
  V view(V value, const Dims& dims);                          // reshape, or the value itself
  V plain(const Blob& blob) { return view(blob.value, blob.dims); }  // with the blob's extents
  Result<V> nchw(const Blob& blob);                           // [batch, C, H, W], rank >= 3 (leading extents merged)
  Status out(V value, const Dims& dims, int i = 0);           // defines the layer's i-th output
  Status out(V value, int i = 0) { return value == nullptr ? failed() : out(value, value->type.dims, i); }
  Status out_nchw(const Blob& from, V value, int i = 0);      // leading extents of `from`, then value's C, H, W
  Status failed() const;                                      // the builder's error
  V op(std::string_view kind, std::vector<ops::Input> inputs);
  std::vector<V> ops_of(std::string_view kind, std::vector<ops::Input> inputs);
  Status unary(std::string_view kind, std::vector<ops::Input> more = {});
  Result<Blob> binary(std::string_view kind, const Blob& a, const Blob& b);
  Status broadcast_binary(std::string_view kind, bool from_bool = false);
  Status compare(std::string_view kind, float alpha);
  V to_int(V value) { return op("cast", {{"x", value}, {"dtype", b_.string("int32")}}); }
  V to_float(V value) { return op("cast", {{"x", value}, {"dtype", b_.string("fp32")}}); }
  V to_bool(V value) { return op("not_equal", {{"x", value}, {"y", b_.f32(0)}}); }
  V wrap_indices(V indices, int64_t extent);  // negative ones count from the end
  Result<V> broadcast_to(const Blob& blob, const Dims& dims);
  Result<std::vector<int64_t>> constant_ints(const Blob& blob, const char* what) const;
  Result<Dims> fixed(const Blob& blob) const;  // the blob's extents, all known
  Result<int64_t> axis_of(int64_t axis, int rank) const;
  static Dims lead(const Dims& dims, size_t keep);  // without the last `keep` extents
  V weights(const Tensor& tensor, const char* suffix);
  Result<V> weight(const spec::WeightParams& params, const Dims& dims, const char* suffix, int channel_axis = 0);
  Error bad(std::string message) const { return input_error(std::move(message)); }

  // nn_lift_spatial.cc
  Status convolution(const spec::ConvolutionLayerParams& p);
  Status deconvolution(const spec::ConvolutionLayerParams& p, const Blob& x);
  Status pooling(const spec::PoolingLayerParams& p);
  Status convolution3d(const spec::Convolution3DLayerParams& p);
  Status pooling3d(const spec::Pooling3DLayerParams& p);
  Status global_pooling3d(const spec::GlobalPooling3DLayerParams& p);
  Status padding(const spec::PaddingLayerParams& p);
  Status crop(const spec::CropLayerParams& p);
  Status upsample(const spec::UpsampleLayerParams& p);
  Status resize_bilinear(const spec::ResizeBilinearLayerParams& p);
  Status crop_resize(const spec::CropResizeLayerParams& p);
  Status reorganize(const spec::ReorganizeDataLayerParams& p);

  // nn_lift_legacy.cc
  Result<V> activate(const spec::ActivationParams& p, const Blob& x);
  Status activation(const spec::ActivationParams& p);
  Status inner_product(const spec::InnerProductLayerParams& p);
  Status embedding(const spec::EmbeddingLayerParams& p);
  Status batchnorm(const spec::BatchnormLayerParams& p);
  Status mvn(const spec::MeanVarianceNormalizeLayerParams& p);
  Status l2normalize(const spec::L2NormalizeLayerParams& p);
  Status softmax();
  Status lrn(const spec::LRNLayerParams& p);
  Status unary_function(const spec::UnaryFunctionLayerParams& p);
  Status elementwise(std::string_view kind, float alpha, bool average = false);
  Status scale(const spec::ScaleLayerParams& p);
  Status bias(const spec::BiasLayerParams& p);
  Result<V> channel_shaped(const spec::WeightParams& w, const google::protobuf::RepeatedField<uint64_t>& shape, const char* suffix);
  Status dot(const spec::DotProductLayerParams& p);
  Status reduce(const spec::ReduceLayerParams& p);
  Status load_constant(const google::protobuf::RepeatedField<uint64_t>& shape, const spec::WeightParams& data, bool legacy);
  Status reshape(const spec::ReshapeLayerParams& p);
  Status flatten(const spec::FlattenLayerParams& p);
  Status permute(const spec::PermuteLayerParams& p);
  Status concat(const spec::ConcatLayerParams& p);
  Status split(const spec::SplitLayerParams& p);
  Status sequence_repeat(const spec::SequenceRepeatLayerParams& p);
  Status slice(const spec::SliceLayerParams& p);

  // nn_lift_recurrent.cc
  struct Cell;
  Status simple_recurrent(const spec::SimpleRecurrentLayerParams& p);
  Status gru(const spec::GRULayerParams& p);
  Status lstm(const spec::UniDirectionalLSTMLayerParams& p);
  Status bi_lstm(const spec::BiDirectionalLSTMLayerParams& p);
  Result<V> state(int index, int64_t batch, int64_t hidden);
  Result<V> activate_clipped(const spec::ActivationParams& p, V x);

  // nn_lift_nd.cc, nn_lift_shape.cc
  Status nd_layer(const Layer& l, bool& known);
  Status shape_layer(const Layer& l, bool& known);
  Status batched_matmul(const spec::BatchedMatMulLayerParams& p);
  Status embedding_nd(const spec::EmbeddingNDLayerParams& p);
  Status layer_norm(const spec::LayerNormalizationLayerParams& p);
  Status arg_reduce(std::string_view kind, int64_t axis, bool remove);
  Status reduce_nd(std::string_view kind, const google::protobuf::RepeatedField<int64_t>& axes, bool keep, bool all);
  Status top_k(const spec::TopKLayerParams& p);
  Status top_k_of(const Blob& x, const Blob& k, const spec::TopKLayerParams& p);
  Status scatter(std::string_view kind, int mode, std::optional<int64_t> axis);
  Status triangular(int64_t lower, int64_t upper, bool use_lower, bool use_upper);
  Status nms(const spec::NonMaximumSuppressionLayerParams& p);
  Status slice_nd(std::vector<int64_t> begin, std::vector<bool> begin_mask, std::vector<int64_t> end, std::vector<bool> end_mask,
                  std::vector<int64_t> stride, std::vector<bool> squeeze);
  Status slice_dynamic(const spec::SliceDynamicLayerParams& p);
  Status reshape_to(const Blob& x, std::vector<int64_t> target, bool zero_keeps);
  Status constant_pad(const spec::ConstantPaddingLayerParams& p);
  Status fill(const Dims& dims, float value);
  Status random_layer(const Layer& l, bool& known);
  Result<V> shape_value(const Blob& shape);

  // nn_lift_control.cc
  Lifter(Lifter& outer, ir::Block* block);  // lifts an inner network into a block
  Status branch(const spec::BranchLayerParams& p, const Sequence& rest = {});
  Status loop(const spec::LoopLayerParams& p);
  Status leave_iteration(const Layer& l);
  Status loop_body(const spec::LoopLayerParams& p);
  Result<V> truth(const Blob& blob);  // a scalar's absolute value above 1e-6
  Result<std::map<std::string, Blob>> loop_variables(const spec::LoopLayerParams& p);
  Status enter_loop(Lifter& inner, ir::Block* block, const std::map<std::string, Blob>& variables);

  const Model& model_;
  const LiftOptions& options_;
  std::shared_ptr<ir::Program> program_;
  ir::Function* function_ = nullptr;
  ops::OpBuilder b_;
  const Layer* layer_ = nullptr;
  bool exact_arrays_ = false, rank4_images_ = false;
  const google::protobuf::RepeatedPtrField<Layer>* layers_ = nullptr;
  const google::protobuf::RepeatedPtrField<spec::NeuralNetworkPreprocessing>* preprocessing_ = nullptr;
  std::map<std::string, Blob> blobs_;
  std::set<std::string> written_;  // names of blobs that layers lifted here have defined
  std::string last_output_;
  const spec::LoopLayerParams* loop_ = nullptr;  // the innermost loop whose body is lifted
  int depth_ = 0;                                // of blocks
  std::shared_ptr<int64_t> budget_ = std::make_shared<int64_t>(1 << 19);  // layers that may still be lifted, copies counted
  std::map<std::pair<V, Dims>, V> views_;
};

}  // namespace mlt::coreml
