// A plan: the steps that compute a function for one set of input shapes, and where every value lies. Internal to
// lib/runtime.
//
// Values are numbered; a number is an index into Plan::values (what is known) and Plan::regs (the tensor at run time).
// A step's kernel is a closure that reads and writes regs by number.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/packed_forms.h"
#include "lib/runtime/compressed.h"
#include "lib/runtime/executor.h"

namespace mlt {

struct AttentionPlan;
struct BlockPlan;
struct MaximaPlan;
struct Int8Plan;
struct ShufflePlan;

struct PlanValue {
  const ir::Value* value = nullptr;  // null for literals bound in place
  ir::Type type;                     // concrete where static
  Tensor constant;                   // as stored; valid when the value is known at plan time
  bool is_constant = false;
  // A constexpr op that was not evaluated, because its reader may take the weights as they are stored. `constant` is
  // then not valid until Plan::materialize makes it.
  std::shared_ptr<ops::Call> deferred{};
  bool dynamic = false;              // lives outside the arena: a list, or extents known only at run time
  int alias_of = -1;                 // lies in that value's bytes: a view of it, or a part of a concat that is made there
  int64_t alias_offset = 0;          // bytes from that value's
  bool channels_last = false;        // an image [N, C, H, W] whose bytes are [N, H, W, C]
  int64_t pitch = 0;                 // of such an image made inside a concatenation: floats from pixel to pixel
  bool codes = false;                // of eight bits, held as uint8: see int8_plan.h
  int users = 0;                     // nodes that read it, plus one for each time it is an output
};

// What the arena holds of a value.
inline DType held_dtype(const PlanValue& v) { return v.codes ? DType::kU8 : compute_dtype(v.type.dtype); }

// Where float16 was not enough, in strict mode.
struct PrecisionFinding {
  std::string op, text;
};

struct RunContext {
  std::vector<ops::RtValue>& regs;
  std::byte* scratch;
  StateTensors* state;
  std::vector<PrecisionFinding>* findings;
  const float* f32(int id) const { return regs[static_cast<size_t>(id)].tensor.data<float>(); }
  const uint8_t* codes(int id) const { return regs[static_cast<size_t>(id)].tensor.data<uint8_t>(); }
  uint8_t* codes_out(int id) const { return regs[static_cast<size_t>(id)].tensor.mutable_data<uint8_t>(); }
  float* f32_out(int id) const { return regs[static_cast<size_t>(id)].tensor.mutable_data<float>(); }
  const Tensor& tensor(int id) const { return regs[static_cast<size_t>(id)].tensor; }
  Tensor& out(int id) const { return regs[static_cast<size_t>(id)].tensor; }
};
using KernelFn = std::function<Status(RunContext&)>;

// One op (later a fused group) waiting for a kernel.
struct Node {
  Node(const ir::Op* node_op, ops::Call node_call) : op(node_op), call(std::move(node_call)) {}
  const ir::Op* op;
  ops::Call call;  // bound with concrete types and known values
  struct Source {
    std::string_view param;
    size_t index;
    int id;
  };
  std::vector<Source> sources;
  std::vector<int> outs;
  bool eager = false;  // cannot use the arena: see Executor
  bool channels_last = false;  // reads and makes its images so: see layout.h

  // Fusion.
  bool dead = false;  // absorbed by another node
  std::optional<Activation> act;
  int residual = -1;
  std::vector<const ir::Op*> fused;
  std::shared_ptr<const Int8Plan> int8;  // works on codes of eight bits
  std::string int8_refusal;              // reads what could be codes, and why it does not
  std::shared_ptr<const BlockPlan> block;  // convolutions as one: see block_plan.h
  std::shared_ptr<const MaximaPlan> maxima;  // of a convolution whose results are only pooled: see block_plan.h
  enum class Turn : uint8_t { kNone, kToImage, kFromImage };
  Turn turn = Turn::kNone;  // makes an image of what is [N, H, W, C] in other extents, or that of an image
  std::shared_ptr<const ShufflePlan> shuffle;  // a group that is a channel shuffle; its source is the image
  std::unique_ptr<Node> twin;  // runs beside this one; its sources and results come behind this one's: see recurrent_plan.h
  std::shared_ptr<const AttentionPlan> attention;  // a group that is attention; its sources are the dense values it reads

  int in(std::string_view param, size_t index = 0) const {
    for (const Source& s : sources)
      if (s.param == param && s.index == index) return s.id;
    return -1;
  }
};

// What a lowering function hands back.
struct Lowered {
  std::string kernel;
  KernelFn run;
  size_t scratch = 0;
  size_t packed = 0;            // bytes of prepared constants it owns
  std::vector<int> in_place{};  // inputs whose bytes output 0 may take over, when nobody reads them later
  bool reads_anywhere = false;  // see Step
  bool writes_anywhere = false;
  bool is_view = false;         // the outputs lie in input in_place[0]; run is not called
  std::vector<int64_t> offsets{};  // of a view: where each output begins, in bytes; none: at 0
};

class Plan;

// Constants as kernels want them, by value and form. They do not depend on the extents of inputs: all plans of a function
// share them, so that a sequence that grows does not prepare the weights anew for each token.
using PreparedConstants = std::map<std::pair<const ir::Value*, std::string>, std::shared_ptr<void>>;

// Everything a lowering function may ask.
class Lowering {
 public:
  Lowering(Plan& plan, Node& node) : call(node.call), plan_(plan), node_(node) {}
  Node& node() { return node_; }
  Plan& plan() { return plan_; }
  int in(std::string_view param, size_t i = 0) const { return node_.in(param, i); }
  int out(size_t i = 0) const { return node_.outs[i]; }
  const ir::Type& type(int id) const;
  // The extents; in a node that works with channels innermost those of the bytes, [N, H, W, C] for every rank up to 4.
  const Dims& dims(int id) const;
  bool is_float(int id) const;  // computed in float32
  int element_bytes(int id) const;  // as computed
  bool is_constant(int id) const;
  // Known value in compute type; empty when not known.
  Tensor constant(int id) const;
  // The same as it is stored.
  Tensor stored_constant(int id) const;
  DType stored_dtype(int id) const;  // its element type, without making it
  // The weights in few bits, or null: then constant() has them.
  std::shared_ptr<CompressedWeight> compressed(int id) const;
  // Makes a constant available to the kernel under its number.
  void keep_constant(int id);
  const ExecOptions& options() const;
  // Floats from pixel to pixel of an image with channels innermost.
  int64_t pitch(int id) const;
  // Has the bytes of `id` made where output 0 has them at this offset. False when they must lie elsewhere, and be copied.
  bool make_inside_output(int id, int64_t offset);
  // Bytes of the largest result that `id` is handed out as or in; 0 when anything else reads it.
  int64_t only_handed_out(int id) const;
  // Where forms of this constant are kept beyond this run, nowhere unless it is a constant of the program as it is, and where
  // those that are made now lie.
  PackedName packed_name(int id) const;
  // A constant's prepared form, made by `make` (a Result<T>) unless another plan of the function has it. `form` names T
  // and everything but the constant that its contents depend on.
  template <typename T, typename Make>
  Result<std::shared_ptr<T>> prepared(int id, const std::string& form, Make&& make) {
    std::shared_ptr<void>* place = prepared_place(id, form);
    if (place != nullptr && *place != nullptr) return std::static_pointer_cast<T>(*place);
    MLT_ASSIGN(T made, make());
    auto shared = std::make_shared<T>(std::move(made));
    if (place != nullptr) *place = shared;
    return shared;
  }
  // Says why this kernel cannot be used, for --explain.
  std::nullopt_t refuse(std::string reason) {
    refusal = std::move(reason);
    return std::nullopt;
  }

  ops::Call& call;
  std::string refusal;

 private:
  mutable std::map<int, Dims> bytes_dims_;
  std::shared_ptr<void>* prepared_place(int id, const std::string& form);
  Plan& plan_;
  Node& node_;
};

using LowerFn = std::optional<Lowered> (*)(Lowering&);
struct LowerRow {
  std::string_view kind;    // op kind
  std::string_view kernel;  // name for refusals
  LowerFn lower;
};
// The ordered candidates of all op kinds, one table per family file.
std::span<const LowerRow> attention_lowerings();
std::span<const LowerRow> conv_lowerings();
// Of nodes that are several convolutions.
std::span<const LowerRow> block_lowerings();
// Of nodes that turn images.
std::span<const LowerRow> turn_lowerings();
// Of nodes that work on codes of eight bits, whatever their kind.
std::span<const LowerRow> int8_lowerings();
std::span<const LowerRow> matmul_lowerings();
std::span<const LowerRow> elementwise_lowerings();
std::span<const LowerRow> movement_lowerings();
std::span<const LowerRow> indexed_lowerings();
std::span<const LowerRow> resampling_lowerings();
std::span<const LowerRow> reduction_lowerings();
std::span<const LowerRow> recurrent_lowerings();
// Of nodes that work with channels innermost, before those of elementwise functions.
std::span<const LowerRow> channels_last_lowerings();
std::span<const LowerRow> channels_last_resampling_lowerings();
std::span<const LowerRow> channels_last_movement_lowerings();

struct Step {
  StepInfo info;
  bool reads_anywhere = false;   // looks its inputs up at every run, reads nothing behind them, and needs no alignment
  bool writes_anywhere = false;  // likewise its outputs
  bool sums_products = false;    // runs with denormals as zeros (lib/base/float_mode.h)
  KernelFn run;
  std::vector<int> ins, outs;
};

class Plan {
 public:
  static Result<std::unique_ptr<Plan>> build(const ir::Function& function, ops::Opset opset, const std::vector<Dims>& input_dims,
                                             const ExecOptions& options, PreparedConstants* prepared = nullptr);
  std::vector<PlanValue> values;
  std::vector<ops::RtValue> regs;
  std::vector<int> input_ids;   // of inputs that are not states
  std::vector<int> output_ids;
  std::vector<Step> steps;
  PlanInfo info;
  std::vector<PrecisionFinding> findings;  // of folded ops, in strict mode
  Tensor result_copy(size_t output, const Tensor& value);
  // Large inputs that only such steps read as take any memory are read where the caller has them. Says whether this one
  // is, and lends it to the run, until release().
  bool lends(size_t input) const { return lent_.contains(input); }
  bool lend_input(size_t input, const Tensor& value);
  // Large results that only such steps write and read are made where the caller wants them. Says whether this one is; if
  // so, the run makes it there, until release(). False when it must be copied: other element type, or alignment.
  bool lend_output(size_t output, Tensor& place);
  // Nothing of the caller's is used any more.
  void release();
  // Memory of the plan's for a large result that is handed out; valid until the next call.
  Tensor& result_place(size_t output);
  bool makes_outside(size_t output) const { return output < outside_.size() && outside_[output].id >= 0; }
  std::byte* scratch() { return arena_.data<std::byte>() + info.arena_bytes; }

  bool arena_ok() const { return arena_ok_; }
  int id_of(const ir::Value* value) const;
  int root(int id) const;
  // Where `id` begins in its root, in bytes.
  int64_t offset_in_root(int id) const;
  // The value of a constant. Of a deferred one an evaluation, kept when `keep`; not valid when that fails, which the
  // plan then reports.
  Tensor materialize(int id, bool keep);

 private:
  friend class Lowering;
  int add_value(const ir::Value* value, ir::Type type);
  Status add_nodes(const ir::Function& function, const std::vector<Dims>& input_dims);
  Status add_node(const ir::Op& op);
  void set_constant(int id, Tensor tensor);
  void drop_unused();
  void fuse();
  Status lower_all();
  void find_handed_out();
  Status lower_node(Node& node);
  // An image in the other order of bytes, made by a step of its own unless there is one; `op` is who asks.
  int reordered(int id, bool channels_last, const ir::Op* op);
  void order_sources(Node& node, bool channels_last);
  Status lower_reference(Node& node, Step& step);
  Status lower_eager(Node& node, Step& step);
  Status lower_state(Node& node, Step& step);
  void keep(int id);  // makes a constant available in regs
  // Where a constant's prepared form is kept for other plans; null when the constant is not the same in all of them.
  std::shared_ptr<void>* prepared_place(int id, const std::string& form);
  void place();

  const ir::Function* function_ = nullptr;
  PreparedConstants* prepared_ = nullptr;
  ops::Opset opset_{};
  ExecOptions options_;
  std::unordered_map<const ir::Value*, int> ids_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::vector<int>> in_place_;  // per step
  std::vector<int64_t> handed_out_;         // by value: Lowering::only_handed_out, or -1
  std::unordered_map<int, int> reordered_;  // images made in a second order, both ways
  AlignedBuffer arena_;
  PackedMemory packed_memory_;
  // A value that may lie in memory of the caller's.
  struct Lent {
    int id = -1;
    std::vector<std::pair<int, int64_t>> views{};  // values that lie in it, and where, in bytes
    const std::byte* at = nullptr;                 // the memory that the windows were made for
    std::vector<Tensor> windows{};                 // of the views
    std::vector<Tensor> home{};                    // where they lie otherwise
    bool active = false;
  };
  std::unordered_map<size_t, Lent> lent_;  // by input
  std::vector<Lent> outside_;              // by output
  void find_lent(const std::vector<int>& storage);
  void find_outside(const std::vector<int>& storage, const std::vector<bool>& shared);
  void move_views(Lent& lent, std::byte* to);
  std::vector<Tensor> results_;  // handed out earlier, for the next run when nobody holds them any more; by output
  bool arena_ok_ = false;
  size_t folded_bytes_ = 0;
  std::optional<Error> failure_;  // of a deferred evaluation
  std::string largest_;  // the op whose result takes the most of the arena
};

// What an eagerly run op needs from around it.
struct EagerContext {
  ops::Opset opset;
  std::function<ops::RtValue(const ir::Value&)> value_of;  // of values defined outside the op
  StateTensors* state;
  bool strict_fp16;
  size_t max_bytes;
  int64_t max_iterations;
  std::vector<PrecisionFinding>* findings;
};
// Evaluates one op with whatever shapes its inputs have at this moment; the blocks of cond and while_loop are
// interpreted op by op. One result per output.
Result<std::vector<ops::RtValue>> run_eagerly(const ir::Op& op, const EagerContext& context);

bool is_state_op(std::string_view kind);
std::string op_place(const ir::Op& op);  // "op NAME (KIND)", for messages

// kResource when values of these types, in compute types, take more than max_bytes together; kInput when an extent is
// impossible. Types of unknown extent count nothing.
Status check_bytes(const std::vector<ir::Type>& types, size_t max_bytes);

// State ops on a set of states: the name of the one an op means, what it holds, and a rounded copy into it.
Result<std::string> state_name(const ir::Op& op, std::string_view param);
Result<Tensor*> find_state(StateTensors* state, const std::string& name);
Status write_state_tensor(StateTensors* state, const std::string& name, const ir::Type& held, const Tensor& value);
// Rounds float32 contents to float16 precision; returns how many finite values became infinite.
int64_t round_to_half_precision(Tensor& tensor);
// Rounds, and appends a finding when values overflowed or are not a number; an op is noted once.
void round_and_note(Tensor& tensor, std::string_view op, std::string_view kind, std::vector<PrecisionFinding>& findings);

}  // namespace mlt
