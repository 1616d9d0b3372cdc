#include "tests/differential/random_program.h"

#include <cmath>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

constexpr ops::Opset kOpset = ops::Opset::kCoreML8;
constexpr double kChange = 1e-6;                // relative, of the inputs
constexpr double kRounding = 2e-7;              // relative, of what every op makes
constexpr double kGreatestAmplification = 300;  // of the change, relative to the result's greatest element
constexpr double kLeast = 1e-2, kMost = 1e3;    // greatest element; smaller ones are mostly what cancellation left

double greatest(const Tensor& t) {
  double most = 0;
  for (int64_t i = 0; i < t.size(); ++i) {
    const double x = std::abs(t.data<float>()[i]);
    if (!(x <= 1e30)) return INFINITY;
    most = std::max(most, x);
  }
  return most;
}

// What roundings may do to each element.
void disturb(Tensor& t, Random& random) {
  if (t.dtype() != DType::kF32) return;
  t = t.clone();
  for (int64_t i = 0; i < t.size(); ++i) {
    float& x = t.mutable_data<float>()[i];
    x = static_cast<float>(x * (1 + (random.chance(0.5) ? kRounding : -kRounding)));
  }
}

}  // namespace

uint64_t Random::next() {
  uint64_t z = state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

ProgramMaker::ProgramMaker(uint64_t seed, const Limits& how_much) : random(seed), limits(how_much) {
  function->name = "main";
  function->opset = std::string(ops::opset_token(kOpset));
}

ops::OpBuilder ProgramMaker::b() { return ops::OpBuilder(*function, kOpset); }

ir::Value* ProgramMaker::noise(Dims dims, float lo, float hi) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = random.uniform(lo, hi);
  return b().constant(std::move(t));
}

ir::Value* ProgramMaker::weights(Dims dims, int64_t fan) {
  const float size = std::sqrt(3.0f / static_cast<float>(std::max<int64_t>(fan, 1)));
  if (random.chance(compressed_))
    if (ir::Value* v = compressed_weights(*this, dims, size)) return v;
  return noise(std::move(dims), -size, size);
}

void ProgramMaker::add_input() {
  static const std::vector<Dims> kinds{{1, 3, 24, 24}, {1, 16, 14, 14}, {2, 8, 9, 11}, {1, 32, 7, 7}, {1, 24, 20, 13}, {1, 48, 1, 1}, {1, 12, 30},
                                       {1, 16, 64},    {2, 10, 24},     {1, 7, 48},    {5, 32},       {1, 64},         {3, 4, 6},    {1, 4, 5, 6, 7},
                                       {17},           {1, 8, 3, 8, 8}, {12, 1, 16},   {1, 33, 8, 8}, {1, 64, 6, 10},  {1, 49, 32},     {1, 3, 33, 40}};
  Dims dims = random.of(kinds);
  Tensor t = Tensor::uninitialized(DType::kF32, dims), changed = Tensor::uninitialized(DType::kF32, dims);
  for (int64_t i = 0; i < t.size(); ++i) {
    const float x = random.uniform(-1, 1);
    t.mutable_data<float>()[i] = x;
    changed.mutable_data<float>()[i] = static_cast<float>(x * (1 + (random.chance(0.5) ? kChange : -kChange)));
  }
  ir::Value* v = function->add_input("x" + std::to_string(inputs.size()), ir::Type::tensor(DType::kF32, dims));
  values_[v] = {t, nullptr};
  changed_[v] = {changed, nullptr};
  inputs.push_back(std::move(t));
  live_.push_back({v, true});
}

bool ProgramMaker::evaluate(ir::Op& op) {
  if (!reference::run_op(op, kOpset, values_).ok() || !reference::run_op(op, kOpset, changed_).ok()) return false;
  for (const auto& output : op.outputs) {
    if (op.kind != "const" && !op.kind.starts_with("constexpr_")) disturb(changed_.at(output.get()).tensor, random);
    const Tensor& value = values_.at(output.get()).tensor;
    if (value.dims() != output->type.dims || value.size() == 0) return false;
    const bool floats = value.dtype() == DType::kF32;
    const double most = floats ? greatest(value) : 0;
    if (floats && (most < kLeast || most > kMost)) return false;
    if (sensitivity(output.get()) > kChange * kGreatestAmplification * most) return false;
  }
  return true;
}

double ProgramMaker::sensitivity(const ir::Value* v) const {
  const Tensor &x = values_.at(v).tensor, &y = changed_.at(v).tensor;
  double most = 0;
  if (x.dtype() != DType::kF32) return std::equal(x.bytes().begin(), x.bytes().end(), y.bytes().begin()) ? 0 : INFINITY;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(static_cast<double>(x.data<float>()[i]) - y.data<float>()[i]);
    most = std::max(most, std::isfinite(difference) ? difference : INFINITY);
  }
  return most;
}

std::vector<ir::Value*> ProgramMaker::ops(std::string_view kind, std::vector<ops::Input> args) {
  for (const ops::Input& arg : args)
    for (const ir::Value* v : arg.values)
      if (v == nullptr) return {};
  const size_t before = function->body->ops.size();
  auto builder = b();
  auto results = builder.ops(kind, std::move(args));
  bool good = builder.ok();
  for (const ir::Value* v : results)
    if (good) {
      auto count = element_count(v->type.dims);
      good = v->type.is_tensor() && count.ok() && *count <= limits.elements;
    }
  good = good && evaluate(*function->body->ops.back());
  if (good) return results;
  while (function->body->ops.size() > before) {
    for (const auto& output : function->body->ops.back()->outputs) values_.erase(output.get()), changed_.erase(output.get());
    function->body->ops.pop_back();
  }
  return {};
}

ir::Value* ProgramMaker::op(std::string_view kind, std::vector<ops::Input> args, double multiplications) {
  if (multiplications > limits.multiplications) return nullptr;
  auto results = ops(kind, std::move(args));
  return results.size() == 1 ? results[0] : nullptr;
}

bool ProgramMaker::keep(ir::Value* v, bool exact) {
  if (v == nullptr) return false;
  live_.push_back({v, exact});
  return true;
}

Live ProgramMaker::pick_where(const std::function<bool(const Live&)>& fits) {
  std::vector<Live> found;
  for (const Live& l : live_)
    if (fits(l)) found.push_back(l);
  if (found.empty()) return {nullptr, false};
  size_t back = 0;
  while (back + 1 < found.size() && random.chance(0.4)) ++back;
  return found[found.size() - 1 - back];
}
Live ProgramMaker::pick(size_t rank) {
  return pick_where([&](const Live& l) { return l.value->type.dtype == DType::kF32 && (rank == 0 || l.rank() == rank); });
}
Live ProgramMaker::pick_same(const Live& like) {
  return pick_where([&](const Live& l) { return l.value != like.value && l.value->type.dtype == DType::kF32 && l.dims() == like.dims(); });
}

void ProgramMaker::make() {
  std::vector<Addition> additions;
  for (auto list : {image_additions(), sequence_additions(), movement_additions(), pointwise_additions(), indexed_additions()})
    additions.insert(additions.end(), list.begin(), list.end());
  if (random.chance(0.3)) compressed_ = random.chance(0.5) ? 1 : 0.3;
  if (random.chance(0.2))
    for (const Addition& a : coded_additions()) additions.push_back(a);
  // Each program has its own taste, so that long runs of related ops come up.
  std::vector<int> upto;
  int total = 0;
  for (const Addition& a : additions) upto.push_back(total += a.weight * (random.chance(0.6) ? 1 : 0) * static_cast<int>(random.range(1, 4)));
  if (total == 0) upto.back() = total = 1;
  for (int64_t n = random.range(1, 2); n > 0; --n) add_input();
  int64_t added = 0;
  for (int64_t tries = 0; added < limits.steps && tries < 8 * limits.steps; ++tries) {
    const int64_t at = random.range(0, total - 1);
    size_t i = 0;
    while (upto[i] <= at) ++i;
    added += additions[i].add(*this) ? 1 : 0;
  }
  const ir::Users users(*function);
  for (const Live& l : live_)
    if (l.value->producer != nullptr && l.value->type.dtype == DType::kF32 && (users.count(l.value) == 0 || random.chance(0.1)))
      function->body->outputs.push_back(l.value);
}

}  // namespace mlt::differential
