// gru, lstm, rnn. Inputs of all steps are multiplied at once; only the recurrent product runs step by step.
//
// With direction "reverse" the outputs are in the order of computation (the first is that of the last input); the
// backward half of a bidirectional lstm is in the order of the inputs (source: coremltools' op tests).
#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/reference_gemm.h"

namespace mlt::ops {
namespace {

struct Activation {
  float (*function)(float) = nullptr;
  float operator()(float v) const { return function(v); }
};

float sigmoid(float v) { return 1.0f / (1.0f + std::exp(-v)); }

// All at their default parameters; scaled_tanh's are 1 and 1, so that it is tanh.
Result<Activation> activation_from_name(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (name == "tanh" || name == "scaled_tanh") return Activation{[](float v) { return std::tanh(v); }};
  if (name == "sigmoid") return Activation{sigmoid};
  if (name == "hard_sigmoid" || name == "sigmoid_hard")
    return Activation{[](float v) { return std::min(std::max(0.2f * v + 0.5f, 0.0f), 1.0f); }};
  if (name == "relu") return Activation{[](float v) { return v > 0 || std::isnan(v) ? v : 0.0f; }};
  if (name == "linear") return Activation{[](float v) { return v; }};
  return input_error("unknown activation \"" + name + "\"");
}

enum class Direction { kForward, kReverse, kBidirectional };

Result<Direction> direction_of(Call& call, bool bidirectional_allowed) {
  std::string name = call.str("direction");
  if (call.failed()) return *call.error();
  if (name == "forward") return Direction::kForward;
  if (name == "reverse") return Direction::kReverse;
  if (name == "bidirectional" && bidirectional_allowed) return Direction::kBidirectional;
  return input_error("unknown direction \"" + name + "\"");
}

struct RecurrentShape {
  int64_t steps = 0, batch = 0, inputs = 0, hidden = 0, directions = 1;
  Direction direction = Direction::kForward;
  bool sequence = false;
};

Status check_weights(const Dims& ih, const Dims& hh, int64_t gates, const RecurrentShape& shape) {
  if (ih.size() != 2 || hh.size() != 2) return input_error("weight_ih and weight_hh must have rank 2");
  if (!extents_agree(hh[1], shape.hidden) || (hh[0] >= 0 && hh[0] / gates != shape.hidden) || (hh[0] >= 0 && hh[0] % gates != 0) ||
      (ih[0] >= 0 && (ih[0] / gates != shape.hidden || ih[0] % gates != 0)) || !extents_agree(ih[1], shape.inputs))
    return input_error("weight_ih " + dims_text(ih) + " and weight_hh " + dims_text(hh) + " do not fit " + std::to_string(gates) +
                       " gates, hidden size " + std::to_string(shape.hidden) + " and input size " + std::to_string(shape.inputs));
  return {};
}

// coremltools' converter gives packed sequences as many rows of initial state as there are steps. Where all are the same
// it does not matter which of them are the batch's.
bool rows_are_same(const Tensor* t) {
  if (t == nullptr || t->rank() != 2 || t->dtype() != DType::kF32 || t->dims()[0] < 1) return false;
  const float* values = t->data<float>();
  const int64_t width = t->dims()[1];
  for (int64_t i = width; i < t->size(); ++i)
    if (values[i] != values[i - width]) return false;
  return true;
}

// `dims` gives the extents of a parameter: those of its type or of its value.
template <typename DimsOf>
Result<RecurrentShape> recurrent_shape(Call& call, int64_t gates, DimsOf dims) {
  RecurrentShape shape;
  MLT_ASSIGN(shape.direction, direction_of(call, gates == 4));
  shape.sequence = call.flag("output_sequence");
  if (call.failed()) return *call.error();
  shape.directions = shape.direction == Direction::kBidirectional ? 2 : 1;
  Dims x = dims("x"), hh = dims("weight_hh");
  if (call.failed()) return *call.error();
  if (x.size() != 3) return input_error("x must have rank 3 (steps, batch, inputs), not " + std::to_string(x.size()));
  if (hh.size() != 2 || hh[1] < 1) return input_error("weight_hh must have rank 2 and a known hidden size");
  shape.steps = x[0], shape.batch = x[1], shape.inputs = x[2], shape.hidden = hh[1];
  MLT_TRY(check_weights(dims("weight_ih"), hh, gates, shape));
  if (shape.directions == 2) {
    if (!call.has("weight_ih_back") || !call.has("weight_hh_back"))
      return input_error("a bidirectional lstm needs weight_ih_back and weight_hh_back");
    MLT_TRY(check_weights(dims("weight_ih_back"), dims("weight_hh_back"), gates, shape));
  }
  auto check_vector = [&](std::string_view name, int64_t count) -> Status {
    if (call.info().param(name) == nullptr || !call.has(name)) return {};
    Dims d = dims(name);
    if (d.size() != 1 || !extents_agree(d[0], count * shape.hidden))
      return input_error(std::string(name) + " " + dims_text(d) + " must have " + std::to_string(count * shape.hidden) + " values");
    return {};
  };
  for (std::string_view name : {"bias", "bias_back", "input_bias"}) MLT_TRY(check_vector(name, gates));
  for (std::string_view name : {"peephole", "peephole_back"}) MLT_TRY(check_vector(name, 3));
  for (std::string_view name : {"initial_h", "initial_c"}) {
    if (call.info().param(name) == nullptr) continue;
    Dims d = dims(name);
    const bool rows = d.size() == 2 && (extents_agree(d[0], shape.batch) || (d[0] > shape.batch && rows_are_same(call.value(name))));
    if (!rows || !extents_agree(d[1], shape.directions * shape.hidden))
      return input_error(std::string(name) + " " + dims_text(d) + " must be [batch, " + std::to_string(shape.directions * shape.hidden) + "]");
  }
  for (std::string_view name : {"activation", "recurrent_activation", "cell_activation"}) {
    if (call.info().param(name) == nullptr) continue;
    MLT_ASSIGN([[maybe_unused]] Activation activation, activation_from_name(call.str(name)));
  }
  if (call.failed()) return *call.error();
  return shape;
}

template <int64_t kGates, size_t kOutputs>
Result<std::vector<ir::Type>> infer_recurrent(Call& call) {
  MLT_ASSIGN(RecurrentShape s, recurrent_shape(call, kGates, [&](std::string_view name) { return call.type(name).dims; }));
  DType dtype = call.type("x").dtype;
  int64_t width = s.directions * s.hidden;
  std::vector<ir::Type> types{ir::Type::tensor(dtype, {s.sequence ? s.steps : 1, s.batch, width})};
  while (types.size() < kOutputs) types.push_back(ir::Type::tensor(dtype, {s.batch, width}));
  return types;
}

Result<RecurrentShape> shape_of_values(Call& call, int64_t gates) {
  MLT_ASSIGN(RecurrentShape s, recurrent_shape(call, gates, [&](std::string_view name) { return call.tensor(name).dims(); }));
  if (s.steps < 1) return input_error("a recurrent op needs at least one step");
  MLT_TRY(element_count({s.steps, s.batch, 2 * gates * s.hidden}));
  return s;
}

// Values of an optional vector, zero when it is absent.
std::vector<float> vector_or_zero(Call& call, std::string_view name, int64_t count) {
  if (call.info().param(name) == nullptr || !call.has(name)) return std::vector<float>(static_cast<size_t>(count), 0.0f);
  return call.floats(name);
}

// x times transpose(weight) plus bias for all steps: [steps * batch, gates * hidden].
std::vector<float> project(const Tensor& x, const Tensor& weight, const std::vector<float>& bias) {
  int64_t rows = x.dims()[0] * x.dims()[1], inputs = x.dims()[2], width = weight.dims()[0];
  std::vector<float> out(static_cast<size_t>(rows * width));
  for (int64_t r = 0; r < rows; ++r) std::copy(bias.begin(), bias.end(), out.begin() + r * width);
  reference_gemm(rows, width, inputs, {x.data<float>(), inputs, 1}, {weight.data<float>(), 1, inputs}, out.data(), width, true);
  return out;
}

// [rows, cols] to [cols, rows], so that the step's product reads it in order.
std::vector<float> transposed(const float* from, int64_t rows, int64_t cols) {
  std::vector<float> out(static_cast<size_t>(rows * cols));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) out[static_cast<size_t>(c * rows + r)] = from[r * cols + c];
  return out;
}

// Where the state of one direction lies in the outputs, and in which order steps run.
struct Track {
  const RecurrentShape& shape;
  int64_t offset;    // in the last axis of outputs and initial states
  bool backward;     // runs from the last step to the first
  bool input_order;  // output row t belongs to input t

  int64_t step(int64_t i) const { return backward ? shape.steps - 1 - i : i; }
  int64_t width() const { return shape.directions * shape.hidden; }
  std::vector<float> state(const Tensor& initial) const {
    std::vector<float> values(static_cast<size_t>(shape.batch * shape.hidden));
    for (int64_t b = 0; b < shape.batch; ++b)
      std::copy_n(initial.data<float>() + b * width() + offset, shape.hidden, values.begin() + b * shape.hidden);
    return values;
  }
  void store(const std::vector<float>& state, float* to) const {
    for (int64_t b = 0; b < shape.batch; ++b) std::copy_n(state.begin() + b * shape.hidden, shape.hidden, to + b * width() + offset);
  }
  // After the i-th step: writes the row of the sequence, if one is due.
  void emit(int64_t i, const std::vector<float>& h, float* y) const {
    if (shape.sequence) {
      store(h, y + (input_order ? step(i) : i) * shape.batch * width());
    } else if (i == shape.steps - 1) {
      store(h, y);
    }
  }
};

Status eval_rnn(Call& call) {
  MLT_ASSIGN(RecurrentShape s, shape_of_values(call, 1));
  MLT_ASSIGN(Activation activation, activation_from_name(call.str("activation")));
  std::vector<float> bias = vector_or_zero(call, "bias", s.hidden);
  const Tensor& x = call.tensor("x");
  std::vector<float> input = project(x, call.tensor("weight_ih"), bias);
  std::vector<float> weight = transposed(call.tensor("weight_hh").data<float>(), s.hidden, s.hidden);
  Track track{s, 0, s.direction == Direction::kReverse, false};
  std::vector<float> h = track.state(call.tensor("initial_h"));
  float* y = output(call, 0, {s.sequence ? s.steps : 1, s.batch, s.hidden}).mutable_data<float>();
  float* last = output(call, 1, {s.batch, s.hidden}).mutable_data<float>();
  for (int64_t i = 0; i < s.steps; ++i) {
    float* sum = input.data() + track.step(i) * s.batch * s.hidden;
    reference_gemm(s.batch, s.hidden, s.hidden, {h.data(), s.hidden, 1}, {weight.data(), s.hidden, 1}, sum, s.hidden, true);
    for (size_t j = 0; j < h.size(); ++j) h[j] = activation(sum[j]);
    track.emit(i, h, y);
  }
  track.store(h, last);
  return {};
}

// Gates in the order reset, output, update. Unless reset_after, the reset gate scales the state before the product.
Status eval_gru(Call& call) {
  MLT_ASSIGN(RecurrentShape s, shape_of_values(call, 3));
  MLT_ASSIGN(Activation outer, activation_from_name(call.str("activation")));
  MLT_ASSIGN(Activation gate, activation_from_name(call.str("recurrent_activation")));
  bool reset_after = call.info().param("reset_after") != nullptr && call.flag("reset_after");
  int64_t hidden = s.hidden, width = 3 * hidden;
  std::vector<float> bias = vector_or_zero(call, "bias", width), input_bias = vector_or_zero(call, "input_bias", width);
  // The output gate's recurrent bias lies inside the reset product when reset_after.
  for (int64_t j = 0; j < width; ++j)
    if (!reset_after || j < hidden || j >= 2 * hidden) input_bias[static_cast<size_t>(j)] += bias[static_cast<size_t>(j)];
  if (call.failed()) return {};
  std::vector<float> input = project(call.tensor("x"), call.tensor("weight_ih"), input_bias);
  std::vector<float> weight = transposed(call.tensor("weight_hh").data<float>(), width, hidden);
  Track track{s, 0, s.direction == Direction::kReverse, false};
  std::vector<float> h = track.state(call.tensor("initial_h"));
  float* y = output(call, 0, {s.sequence ? s.steps : 1, s.batch, hidden}).mutable_data<float>();
  float* last = output(call, 1, {s.batch, hidden}).mutable_data<float>();
  std::vector<float> product(static_cast<size_t>(s.batch * width)), reset(h.size());
  for (int64_t i = 0; i < s.steps; ++i) {
    float* sum = input.data() + track.step(i) * s.batch * width;
    reference_gemm(s.batch, width, hidden, {h.data(), hidden, 1}, {weight.data(), width, 1}, product.data(), width);
    auto at = [&](int64_t b, int64_t g, int64_t j) { return b * width + g * hidden + j; };
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t j = 0; j < hidden; ++j) {
        float r = gate(sum[at(b, 0, j)] + product[static_cast<size_t>(at(b, 0, j))]);
        size_t p = static_cast<size_t>(b * hidden + j), o = static_cast<size_t>(at(b, 1, j));
        reset[p] = r * h[p];
        if (reset_after) product[o] = r * (product[o] + bias[static_cast<size_t>(hidden + j)]);
      }
    if (!reset_after)
      reference_gemm(s.batch, hidden, hidden, {reset.data(), hidden, 1}, {weight.data() + hidden, width, 1}, product.data() + hidden, width);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t j = 0; j < hidden; ++j) {
        float o = outer(sum[at(b, 1, j)] + product[static_cast<size_t>(at(b, 1, j))]);
        float z = gate(sum[at(b, 2, j)] + product[static_cast<size_t>(at(b, 2, j))]);
        size_t p = static_cast<size_t>(b * hidden + j);
        h[p] = (1.0f - z) * o + z * h[p];
      }
    track.emit(i, h, y);
  }
  track.store(h, last);
  return {};
}

struct LstmActivations {
  Activation gate, cell, outer;
  float clip;  // bound of the cell state; infinity for none
};

// Gates in the order input, forget, output, cell; peepholes input, forget, output, the last on the new cell state.
void run_lstm(Call& call, const Track& track, std::string_view suffix, const LstmActivations& act, float* y, float* last_h, float* last_c) {
  const RecurrentShape& s = track.shape;
  int64_t hidden = s.hidden, width = 4 * hidden;
  auto name = [&](std::string_view base) { return std::string(base) + std::string(suffix); };
  std::vector<float> bias = vector_or_zero(call, name("bias"), width), peephole = vector_or_zero(call, name("peephole"), 3 * hidden);
  std::vector<float> input = project(call.tensor("x"), call.tensor(name("weight_ih")), bias);
  std::vector<float> weight = transposed(call.tensor(name("weight_hh")).data<float>(), width, hidden);
  std::vector<float> h = track.state(call.tensor("initial_h")), c = track.state(call.tensor("initial_c"));
  for (int64_t i = 0; i < s.steps; ++i) {
    float* sum = input.data() + track.step(i) * s.batch * width;
    reference_gemm(s.batch, width, hidden, {h.data(), hidden, 1}, {weight.data(), width, 1}, sum, width, true);
    for (int64_t b = 0; b < s.batch; ++b)
      for (int64_t j = 0; j < hidden; ++j) {
        const float* g = sum + b * width + j;
        const float* p = peephole.data() + j;
        float& cell = c[static_cast<size_t>(b * hidden + j)];
        float in = act.gate(g[0] + p[0] * cell), forget = act.gate(g[hidden] + p[hidden] * cell);
        cell = forget * cell + in * act.cell(g[3 * hidden]);
        cell = std::min(std::max(cell, -act.clip), act.clip);
        h[static_cast<size_t>(b * hidden + j)] = act.gate(g[2 * hidden] + p[2 * hidden] * cell) * act.outer(cell);
      }
    track.emit(i, h, y);
  }
  track.store(h, last_h);
  track.store(c, last_c);
}

Status eval_lstm(Call& call) {
  MLT_ASSIGN(RecurrentShape s, shape_of_values(call, 4));
  LstmActivations act{};
  MLT_ASSIGN(act.gate, activation_from_name(call.str("recurrent_activation")));
  MLT_ASSIGN(act.cell, activation_from_name(call.str("cell_activation")));
  MLT_ASSIGN(act.outer, activation_from_name(call.str("activation")));
  act.clip = call.has("clip") ? static_cast<float>(call.f64("clip")) : std::numeric_limits<float>::infinity();
  if (call.failed()) return {};
  int64_t width = s.directions * s.hidden;
  float* y = output(call, 0, {s.sequence ? s.steps : 1, s.batch, width}).mutable_data<float>();
  float* last_h = output(call, 1, {s.batch, width}).mutable_data<float>();
  float* last_c = output(call, 2, {s.batch, width}).mutable_data<float>();
  run_lstm(call, {s, 0, s.direction == Direction::kReverse, false}, "", act, y, last_h, last_c);
  if (s.directions == 2) run_lstm(call, {s, s.hidden, true, true}, "_back", act, y, last_h, last_c);
  return {};
}

constexpr std::string_view kGruDoc =
    "Gated recurrent unit over x [steps, batch, inputs]; weights hold the gates reset, output, update. "
    "h' = (1 - z) * o + z * h with o = activation(W_o x + R_o (r * h) + b_o). Outputs the sequence (or last step) and h.";
constexpr std::string_view kLstmDoc =
    "Long short-term memory over x [steps, batch, inputs]; weights hold the gates input, forget, output, cell. "
    "clip bounds the cell state. Outputs the sequence (or last step), h and c.";
constexpr std::string_view kRnnDoc =
    "h' = activation(weight_ih x + weight_hh h + bias) over x [steps, batch, inputs]. Outputs the sequence (or last step) and h.";

#define MLT_LSTM_SIGNATURE                                                                                              \
  "x: T, initial_h: T, initial_c: T, weight_ih: const T, weight_hh: const T, bias?: const T, peephole?: const T, "      \
  "weight_ih_back?: const T, weight_hh_back?: const T, bias_back?: const T, peephole_back?: const T, "                  \
  "direction: const string = \"forward\", output_sequence: const bool = false, "                                        \
  "recurrent_activation: const string = \"sigmoid\", cell_activation: const string = \"tanh\", "                        \
  "activation: const string = \"tanh\", clip?: const T -> y, h, c"
#define MLT_GRU_PARAMETERS                                                                                              \
  "x: T, initial_h: T, weight_ih: const T, weight_hh: const T, bias?: const T, direction: const string = \"forward\", " \
  "output_sequence: const bool = false, recurrent_activation: const string = \"sigmoid\", "                             \
  "activation: const string = \"tanh\""
#define MLT_RNN_SIGNATURE                                                                                               \
  "x: T, initial_h: T, weight_ih: const T, weight_hh: const T, bias?: const T, direction: const string = \"forward\", " \
  "output_sequence: const bool = false, activation: const string = \"tanh\" -> y, h"

constexpr OpDef kOps[] = {
    {.name = "gru",
     .signature = MLT_GRU_PARAMETERS " -> y, h",
     .domains = "T: fp32",
     .infer = infer_recurrent<3, 2>,
     .eval = eval_gru,
     .exactness = Exactness::kApproximate,
     .doc = kGruDoc},
    {.name = "gru",
     .since = Opset::kCoreML7,
     .signature = MLT_GRU_PARAMETERS " -> y, h",
     .domains = "T: fp16 fp32",
     .infer = infer_recurrent<3, 2>,
     .eval = eval_gru,
     .exactness = Exactness::kApproximate,
     .doc = kGruDoc},
    {.name = "gru",
     .since = Opset::kCoreML8,
     .signature = MLT_GRU_PARAMETERS ", reset_after: const bool = false, input_bias?: const T -> y, h",
     .domains = "T: fp16 fp32",
     .infer = infer_recurrent<3, 2>,
     .eval = eval_gru,
     .exactness = Exactness::kApproximate,
     .doc = "Gated recurrent unit as before; with reset_after the reset gate scales R_o h + b_o instead of h, and "
            "input_bias is added to the input products."},
    {.name = "lstm",
     .signature = MLT_LSTM_SIGNATURE,
     .domains = "T: fp32",
     .infer = infer_recurrent<4, 3>,
     .eval = eval_lstm,
     .exactness = Exactness::kApproximate,
     .doc = kLstmDoc},
    {.name = "lstm",
     .since = Opset::kCoreML7,
     .signature = MLT_LSTM_SIGNATURE,
     .domains = "T: fp16 fp32",
     .infer = infer_recurrent<4, 3>,
     .eval = eval_lstm,
     .exactness = Exactness::kApproximate,
     .doc = kLstmDoc},
    {.name = "rnn",
     .signature = MLT_RNN_SIGNATURE,
     .domains = "T: fp32",
     .infer = infer_recurrent<1, 2>,
     .eval = eval_rnn,
     .exactness = Exactness::kApproximate,
     .doc = kRnnDoc},
    {.name = "rnn",
     .since = Opset::kCoreML7,
     .signature = MLT_RNN_SIGNATURE,
     .domains = "T: fp16 fp32",
     .infer = infer_recurrent<1, 2>,
     .eval = eval_rnn,
     .exactness = Exactness::kApproximate,
     .doc = kRnnDoc},
};

}  // namespace

std::span<const OpDef> recurrent_ops() { return kOps; }

}  // namespace mlt::ops
