// The input's products for many steps are one matrix product; what remains per step is the hidden state's product and
// the gates, elementwise.
#include "lib/kernels/recurrent.h"

#include <algorithm>
#include <cstring>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"

namespace mlt {
namespace {

// Steps whose input products are held at once.
constexpr int64_t kSteps = 128;
constexpr int64_t kMostWeights = int64_t{1} << 34;

Status check(const RecurrentShape& s) {
  if (s.input < 1 || s.hidden < 1 || s.hidden > kMostWeights / 16 / std::max(s.input, s.hidden))
    return usage_error("recurrent layer of impossible size");
  return {};
}

// Blocks of `rows` by `columns` weights in the order asked for.
template <size_t N>
Status reorder(const float* from, int64_t rows, int64_t columns, const std::array<int, N>& order, AlignedBuffer* to) {
  if (!to->reset(static_cast<size_t>(rows * columns) * N * sizeof(float))) return resource_error("out of memory for weights");
  const int64_t block = rows * columns;
  for (size_t i = 0; i < N; ++i) {
    float* o = to->data() + static_cast<int64_t>(i) * block;
    if (from != nullptr) {
      std::memcpy(o, from + order[i] * block, static_cast<size_t>(block) * sizeof(float));
    } else {
      std::fill_n(o, block, 0.0f);
    }
  }
  return {};
}

template <size_t N>
bool valid(const std::array<int, N>& order) {
  unsigned seen = 0;
  for (int i : order) {
    if (i < 0 || i >= static_cast<int>(N)) return false;
    seen |= 1u << i;
  }
  return seen == (1u << N) - 1;
}

size_t floats(int64_t n) { return align_up(static_cast<size_t>(n) * sizeof(float)) / sizeof(float); }

// body(position of the step in the sequence, its input product) for every step in order, `width` products wide.
template <typename Body>
void each_step(const PackedWeights& w, const float* bias, int64_t steps, int64_t batch, int64_t input, int64_t width,
               const float* x, bool reverse, float* products, const Body& body) noexcept {
  for (int64_t from = 0; from < steps; from += kSteps) {
    const int64_t n = std::min(kSteps, steps - from);
    const int64_t first = reverse ? steps - from - n : from;
    w.run(n * batch, x + first * batch * input, input, products, width, bias);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = reverse ? n - 1 - i : i;
      body(first + at, products + at * batch * width);
    }
  }
}

void write_rows(const float* h, int64_t batch, int64_t hidden, float* y, int64_t row) {
  if (y == nullptr) return;
  for (int64_t b = 0; b < batch; ++b) std::memcpy(y + b * row, h + b * hidden, static_cast<size_t>(hidden) * sizeof(float));
}

}  // namespace

Result<LstmPlan> LstmPlan::create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                  const float* peephole, const std::array<int, 4>& order, const Activation& gate,
                                  const Activation& cell, const Activation& output, float clip) {
  MLT_TRY(check(shape));
  if (!valid(order)) return usage_error("lstm: gate order is not a permutation");
  LstmPlan p;
  p.shape_ = shape;
  AlignedBuffer blocks;
  MLT_TRY(reorder(w, shape.hidden, shape.input, order, &blocks));
  MLT_ASSIGN(p.w_, PackedWeights::pack(4 * shape.hidden, shape.input, blocks.data()));
  MLT_TRY(reorder(r, shape.hidden, shape.hidden, order, &blocks));
  MLT_ASSIGN(p.r_, PackedWeights::pack(4 * shape.hidden, shape.hidden, blocks.data()));
  MLT_TRY(reorder(bias, shape.hidden, 1, order, &p.bias_));
  p.has_peephole_ = peephole != nullptr;
  if (p.has_peephole_) MLT_TRY(reorder(peephole, shape.hidden, 1, std::array<int, 3>{0, 1, 2}, &p.peephole_));
  p.gate_ = gate;
  p.cell_ = cell;
  p.output_ = output;
  p.clip_ = clip;
  return p;
}

size_t LstmPlan::scratch_bytes(int64_t steps, int64_t batch) const {
  const int64_t h = shape_.hidden;
  return (floats(std::min(steps, kSteps) * batch * 4 * h) + floats(batch * 4 * h)) * sizeof(float) + kSlack;
}

void LstmPlan::run(int64_t steps, int64_t batch, const float* x, float* h, float* c, float* y, int64_t y_step,
                   int64_t y_row, bool reverse, void* scratch, float* all_c) const noexcept {
  const int64_t n = shape_.hidden;
  const ElementwiseTarget& ew = elementwise_target();
  auto* products = static_cast<float*>(scratch);
  float* gates = products + floats(std::min(steps, kSteps) * batch * 4 * n);
  const float* peep = has_peephole_ ? peephole_.data() : nullptr;
  each_step(w_, bias_.data(), steps, batch, shape_.input, 4 * n, x, reverse, products, [&](int64_t t, const float* xs) {
    r_.run(batch, h, n, gates, 4 * n, nullptr, {}, xs, 4 * n);
    for (int64_t b = 0; b < batch; ++b) {
      float *i = gates + b * 4 * n, *f = i + n, *o = f + n, *g = o + n, *cell = c + b * n, *hidden = h + b * n;
      if (peep != nullptr)
        for (int64_t j = 0; j < n; ++j) {
          i[j] += peep[j] * cell[j];
          f[j] += peep[n + j] * cell[j];
        }
      ew.unary(gate_.op, i, i, peep != nullptr ? 2 * n : 3 * n, gate_.a, gate_.b);
      ew.unary(cell_.op, g, g, n, cell_.a, cell_.b);
      for (int64_t j = 0; j < n; ++j) cell[j] = f[j] * cell[j] + i[j] * g[j];
      if (clip_ > 0)
        for (int64_t j = 0; j < n; ++j) cell[j] = cell[j] < -clip_ ? -clip_ : cell[j] > clip_ ? clip_ : cell[j];
      if (peep != nullptr) {
        for (int64_t j = 0; j < n; ++j) o[j] += peep[2 * n + j] * cell[j];
        ew.unary(gate_.op, o, o, n, gate_.a, gate_.b);
      }
      ew.unary(output_.op, cell, hidden, n, output_.a, output_.b);
      for (int64_t j = 0; j < n; ++j) hidden[j] *= o[j];
    }
    write_rows(h, batch, n, y != nullptr ? y + t * y_step : nullptr, y_row);
    write_rows(c, batch, n, all_c != nullptr ? all_c + t * y_step : nullptr, y_row);
  });
}

Result<GruPlan> GruPlan::create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                const float* recurrent_bias, const std::array<int, 3>& order, bool reset_after,
                                const Activation& gate, const Activation& activation) {
  MLT_TRY(check(shape));
  if (!valid(order)) return usage_error("gru: gate order is not a permutation");
  GruPlan p;
  p.shape_ = shape;
  p.reset_after_ = reset_after;
  p.gate_ = gate;
  p.activation_ = activation;
  AlignedBuffer blocks;
  MLT_TRY(reorder(w, shape.hidden, shape.input, order, &blocks));
  MLT_ASSIGN(p.w_, PackedWeights::pack(3 * shape.hidden, shape.input, blocks.data()));
  MLT_TRY(reorder(r, shape.hidden, shape.hidden, order, &blocks));
  MLT_ASSIGN(p.r_, PackedWeights::pack(2 * shape.hidden, shape.hidden, blocks.data()));
  MLT_ASSIGN(p.rn_, PackedWeights::pack(shape.hidden, shape.hidden, blocks.data() + 2 * shape.hidden * shape.hidden));
  MLT_TRY(reorder(bias, shape.hidden, 1, order, &p.bias_));
  MLT_TRY(reorder(recurrent_bias, shape.hidden, 1, order, &p.recurrent_bias_));
  return p;
}

size_t GruPlan::scratch_bytes(int64_t steps, int64_t batch) const {
  const int64_t h = shape_.hidden;
  return (floats(std::min(steps, kSteps) * batch * 3 * h) + floats(batch * 2 * h) + 2 * floats(batch * h)) * sizeof(float) +
         kSlack;
}

void GruPlan::run(int64_t steps, int64_t batch, const float* x, float* h, float* y, int64_t y_step, int64_t y_row,
                  bool reverse, void* scratch) const noexcept {
  const int64_t n = shape_.hidden;
  const ElementwiseTarget& ew = elementwise_target();
  auto* products = static_cast<float*>(scratch);
  float* gates = products + floats(std::min(steps, kSteps) * batch * 3 * n);  // z, r
  float* candidate = gates + floats(batch * 2 * n);
  float* reset = candidate + floats(batch * n);
  const float* rb = recurrent_bias_.data();
  each_step(w_, bias_.data(), steps, batch, shape_.input, 3 * n, x, reverse, products, [&](int64_t t, const float* xs) {
    r_.run(batch, h, n, gates, 2 * n, rb, {}, xs, 3 * n);
    for (int64_t b = 0; b < batch; ++b) ew.unary(gate_.op, gates + b * 2 * n, gates + b * 2 * n, 2 * n, gate_.a, gate_.b);
    if (reset_after_) {
      rn_.run(batch, h, n, candidate, n, rb + 2 * n);
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t j = 0; j < n; ++j)
          candidate[b * n + j] = xs[b * 3 * n + 2 * n + j] + gates[b * 2 * n + n + j] * candidate[b * n + j];
    } else {
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t j = 0; j < n; ++j) reset[b * n + j] = gates[b * 2 * n + n + j] * h[b * n + j];
      rn_.run(batch, reset, n, candidate, n, rb + 2 * n, {}, xs + 2 * n, 3 * n);
    }
    ew.unary(activation_.op, candidate, candidate, batch * n, activation_.a, activation_.b);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t j = 0; j < n; ++j) {
        const float z = gates[b * 2 * n + j];
        h[b * n + j] = (1 - z) * candidate[b * n + j] + z * h[b * n + j];
      }
    write_rows(h, batch, n, y != nullptr ? y + t * y_step : nullptr, y_row);
  });
}

Result<RnnPlan> RnnPlan::create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                const Activation& activation) {
  MLT_TRY(check(shape));
  RnnPlan p;
  p.shape_ = shape;
  p.activation_ = activation;
  MLT_ASSIGN(p.w_, PackedWeights::pack(shape.hidden, shape.input, w));
  MLT_ASSIGN(p.r_, PackedWeights::pack(shape.hidden, shape.hidden, r));
  MLT_TRY(reorder(bias, shape.hidden, 1, std::array<int, 1>{0}, &p.bias_));
  return p;
}

size_t RnnPlan::scratch_bytes(int64_t steps, int64_t batch) const {
  return (floats(std::min(steps, kSteps) * batch * shape_.hidden) + floats(batch * shape_.hidden)) * sizeof(float) + kSlack;
}

void RnnPlan::run(int64_t steps, int64_t batch, const float* x, float* h, float* y, int64_t y_step, int64_t y_row,
                  bool reverse, void* scratch) const noexcept {
  const int64_t n = shape_.hidden;
  auto* products = static_cast<float*>(scratch);
  float* next = products + floats(std::min(steps, kSteps) * batch * n);
  each_step(w_, bias_.data(), steps, batch, shape_.input, n, x, reverse, products, [&](int64_t t, const float* xs) {
    r_.run(batch, h, n, next, n, nullptr, activation_, xs, n);
    std::memcpy(h, next, static_cast<size_t>(batch * n) * sizeof(float));
    write_rows(h, batch, n, y != nullptr ? y + t * y_step : nullptr, y_row);
  });
}

}  // namespace mlt
