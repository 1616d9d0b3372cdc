// Random programs whose answers are known: op by op a program grows from a seed, and each op is evaluated by the op
// table as it is added, and once more with inputs and every op's result changed in the last digits. An op that does not
// infer, takes too long, leaves what float32 holds well, or makes much of the small changes is taken out again; what
// stays is a program on which any correct evaluation agrees closely.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/ops/builder.h"
#include "tests/conformance/reference.h"

namespace mlt::differential {

// SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  int64_t range(int64_t lo, int64_t hi) { return lo + static_cast<int64_t>(next() % static_cast<uint64_t>(hi - lo + 1)); }
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1p-53 < p; }
  float uniform(float lo, float hi) { return lo + (hi - lo) * static_cast<float>(next() >> 40) * 0x1p-24f; }
  template <class T>
  const T& of(const std::vector<T>& list) { return list[static_cast<size_t>(range(0, static_cast<int64_t>(list.size()) - 1))]; }

 private:
  uint64_t state_;
};

// A value that later ops may read. Exact: every correct evaluation gives the same bits, so that it may be compared,
// sorted or rounded.
struct Live {
  ir::Value* value;
  bool exact;
  const Dims& dims() const { return value->type.dims; }
  size_t rank() const { return dims().size(); }
};

struct Limits {
  int64_t elements = 1 << 15;    // of one value
  double multiplications = 6e6;  // of one op
  int64_t steps = 14;            // additions to the program, each an op or a pattern of several
};

class ProgramMaker {
 public:
  ProgramMaker(uint64_t seed, const Limits& limits);
  // Adds ops until the limits are reached; the outputs are all values that nothing reads, and some that are read.
  void make();

  std::shared_ptr<ir::Function> function = std::make_shared<ir::Function>();
  std::vector<Tensor> inputs;
  Random random;
  Limits limits;
  // Values were rounded to codes: where a sum lies between two, either is right, and everything behind it follows.
  bool coarse = false;

  const Tensor& expected(const ir::Value* v) const { return values_.at(v).tensor; }
  // The greatest difference that the changes make to a value.
  double sensitivity(const ir::Value* v) const;

  // For additions. An op over given operands, or null when it was taken out again; constants are made by const_*.
  ir::Value* op(std::string_view kind, std::vector<ops::Input> args, double multiplications = 0);
  std::vector<ir::Value*> ops(std::string_view kind, std::vector<ops::Input> args);
  ir::Value* noise(Dims dims, float lo = -1, float hi = 1);   // a constant
  // A constant that keeps the size of what it multiplies; in some programs in compressed forms.
  ir::Value* weights(Dims dims, int64_t fan);
  ops::OpBuilder b();
  // Makes a value available to later additions; false when it is null.
  bool keep(ir::Value* v, bool exact = false);
  // A live value of the given rank (0: any), the latest ones most often; a null value when there is none.
  Live pick(size_t rank = 0);
  // Another live value of the same shape; a null value when there is none.
  Live pick_same(const Live& like);
  const std::vector<Live>& live() const { return live_; }

 private:
  Live pick_where(const std::function<bool(const Live&)>& fits);
  bool evaluate(ir::Op& op);
  void add_input();

  std::vector<Live> live_;
  double compressed_ = 0;  // share of weights
  reference::Values values_, changed_;
};

// One way to go on: an op or a pattern of ops, over live values. False when it did not fit.
struct Addition {
  std::string_view name;
  int weight;
  bool (*add)(ProgramMaker&);
};
std::vector<Addition> image_additions();      // convolutions, pooling, resampling and what surrounds them
std::vector<Addition> sequence_additions();   // products, norms, attention, recurrent layers
std::vector<Addition> movement_additions();   // what moves values about
std::vector<Addition> pointwise_additions();  // functions of single elements, and reductions
std::vector<Addition> indexed_additions();    // gathers, scatters, windows, coordinates
std::vector<Addition> coded_additions();      // products and what surrounds them in codes of eight bits

}  // namespace mlt::differential
