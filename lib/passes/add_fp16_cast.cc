// Turns float32 computation into float16: every op that may be float16 gets float16 inputs, its float results become
// float16, and casts stand where float32 remains: at the function's interface, at ops that know float32 only, and around
// control flow.
//
// One walk in order. For a value that exists in both types, `half` and `full` give its other form; a cast is made once per
// block, at its first use.
//
// Constants: what float16 cannot hold keeps its op in float32 (with a warning), except stand-ins for infinity (beyond
// 1e9, as masks have), which become the largest float16; a value that would vanish becomes the smallest float16, so that
// an epsilon still keeps a divisor from zero.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "lib/base/threads.h"
#include "lib/kernels/convert.h"
#include "lib/ops/call.h"
#include "lib/passes/pattern.h"
#include "lib/tensor/deferred.h"
#include "lib/tensor/spill.h"

namespace mlt::passes {
namespace {

constexpr float kLargest = 65504, kInfinityStandIn = 1e9f, kSmallest = 0x1p-24f;

// Ops whose float values are positions or counts: float16 has too few digits for them.
bool keeps_float32(const ir::Op& op) {
  static const std::unordered_set<std::string_view> kKinds = {"range_1d", "resample", "crop_resize", "classify", "affine", "make_list", "list_read",
                                                              "list_write", "list_gather", "list_scatter", "list_length", "read_state", "while_loop", "cond", "cast", "identity_list"};
  return kKinds.contains(op.kind) || !op.blocks.empty() || op.kind.starts_with("constexpr_");
}

constexpr int64_t kBlock = 4096;  // elements on the way from one form to the other

// Calls f(values, begin, count) for blocks of a float32 tensor's elements, on several threads.
template <typename F>
void for_blocks(const Tensor& t, const F& f) {
  int64_t piece = t.deferred() ? std::max(t.deferred()->piece(), kBlock) : kBlock, pieces = (t.size() + piece - 1) / piece;
  parallel_for(pieces, std::max<int64_t>(1, (1 << 18) / piece), [&](int64_t from, int64_t to) {
    std::vector<float> block(static_cast<size_t>(std::min(piece, t.size())));
    for (int64_t p = from; p < to; ++p) {
      int64_t begin = p * piece, end = std::min(t.size(), begin + piece);
      read_elements(t, begin, end, reinterpret_cast<std::byte*>(block.data()));
      f(block.data(), begin, end - begin);
    }
  });
}

class Half : public Deferred {
 public:
  explicit Half(Tensor source) : source_(std::move(source)) {}
  int64_t piece() const override { return source_.deferred() ? std::max(source_.deferred()->piece(), kBlock) : kBlock; }
  void produce(int64_t begin, int64_t end, std::byte* out) const override {
    int64_t step = piece();
    std::vector<float> block(static_cast<size_t>(std::min(step, end - begin)));
    std::vector<uint16_t> half(block.size());
    for (int64_t at = begin; at < end; at += step) {
      int64_t n = std::min(step, end - at);
      read_elements(source_, at, at + n, reinterpret_cast<std::byte*>(block.data()));
      constants_to_half(block.data(), half.data(), n);
      std::memcpy(out + 2 * (at - begin), half.data(), 2 * static_cast<size_t>(n));
    }
  }
  void release() const override { release_pages(source_); }

 private:
  Tensor source_;
};

class Caster {
 public:
  Caster(ir::Function& function, Context& context) : function_(function), context_(context) {}

  Result<size_t> run() {
    count_uses(*function_.body);
    MLT_TRY(block(*function_.body));
    // Outputs stay float32, under their names.
    ir::Block& body = *function_.body;
    for (V& output : body.outputs) {
      if (!made_half_.contains(output)) continue;
      std::string name = output->name;
      output->name = function_.unique_name(name + "_fp16");
      rename_op(output);
      ops::OpBuilder b(function_, context_.opset, &body);
      V full = b.op("cast", {{"x", output}, {"dtype", b.string("fp32")}});
      MLT_TRY(b.status());
      full->name = name;
      rename_op(full);
      output = full;
    }
    function_.erase_dead_ops();
    return changes_;
  }

 private:
  struct Scope {
    ir::Block* block;
    std::unordered_map<const ir::Value*, V> half, full;
  };

  void count_uses(const ir::Block& block) {
    for (const auto& op : block.ops) {
      for (const ir::Arg& arg : op->args)
        for (const ir::Operand& operand : arg.operands)
          if (operand.value) ++uses_[operand.value];
      for (const auto& nested : op->blocks) count_uses(*nested);
    }
    for (const ir::Value* output : block.outputs) ++uses_[output];
  }

  static void rename_op(V v) {
    if (v->producer && v->producer->outputs.size() == 1)
      v->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(v->name));
  }

  V find(const ir::Value* v, std::unordered_map<const ir::Value*, V> Scope::*which) const {
    for (const Scope& s : scopes_)
      if (auto it = (s.*which).find(v); it != (s.*which).end()) return it->second;
    return nullptr;
  }

  // Whether every float32 operand may be float16 and every constant fits.
  bool may_be_half(const ir::Op& op) {
    if (keeps_float32(op) || (context_.keep_float32 && context_.keep_float32(op))) return false;
    const ops::OpInfo* info = ops::find_op(op.kind, context_.opset);
    if (info == nullptr) return false;
    bool any = false;
    if (op.kind == "quantize" || op.kind == "dequantize") {
      const ir::Arg* scale = op.find("scale");
      const Tensor* t = scale && scale->operands.size() == 1 ? scale->operands[0].constant_tensor() : nullptr;
      if (t && t->dtype() == DType::kF32 && !fits_normal(*t)) return false;
    }
    for (const ir::Arg& arg : op.args) {
      const ops::Param* param = info->param(arg.name);
      if (param == nullptr) return false;
      for (const ir::Operand& operand : arg.operands) {
        const ir::Type& type = operand.type();
        if (!type.is_tensor()) return false;
        bool now_half = operand.value && made_half_.contains(operand.value);
        if (type.dtype != DType::kF32 && !now_half) continue;
        any = true;
        if (!param->dtypes.empty() && std::find(param->dtypes.begin(), param->dtypes.end(), DType::kF16) == param->dtypes.end()) return false;
        const Tensor* constant = operand.constant_tensor();
        if (constant == nullptr || constant->dtype() != DType::kF32) continue;
        if (!fits_half(*constant, operand.value)) {
          context_.warnings.push_back("op " + std::string(op.name()) + " stays in float32: its constant " + std::to_string(first_beyond(*constant)) + " does not fit float16");
          return false;
        }
      }
    }
    return any;
  }

  // No element between the largest half and what stands for infinity.
  bool fits_half(const Tensor& t, const ir::Value* v) {
    if (t.size() < (1 << 12)) return !any_magnitude(t.data<float>(), t.size(), kLargest, kInfinityStandIn);
    auto [known, fresh] = fits_.emplace(v, true);
    if (v != nullptr && !fresh) return known->second;
    Tensor look = t;
    for (int i = 0; i < 8 && look.deferred(); ++i) {
      auto exact = look.deferred()->exact_source();
      if (exact && exact->dtype() == DType::kF16) return known->second = true;
      auto shuffled = look.deferred()->shuffled();
      if (!shuffled) break;
      look = *shuffled;
    }
    std::atomic<bool> beyond{false};
    for_blocks(look, [&](const float* values, int64_t, int64_t n) {
      if (!beyond.load(std::memory_order_relaxed) && any_magnitude(values, n, kLargest, kInfinityStandIn)) beyond.store(true, std::memory_order_relaxed);
    });
    release_pages(look);
    return known->second = !beyond.load();
  }
  static float first_beyond(const Tensor& t) {
    const float* v = t.data<float>();
    for (int64_t i = 0; i < t.size(); ++i)
      if (std::abs(v[i]) > kLargest && std::abs(v[i]) <= kInfinityStandIn) return v[i];
    return 0;
  }

  static Tensor half_tensor(const Tensor& t) {
    Tensor out = Tensor::uninitialized(DType::kF16, t.dims());
    uint16_t* to = out.mutable_data<uint16_t>();
    if (t.size() > 16) {
      for_blocks(t, [&](const float* values, int64_t begin, int64_t n) { constants_to_half(values, to + begin, n); });
      return out;
    }
    Tensor kept = t.clone();
    float* v = kept.mutable_data<float>();
    for (int64_t i = 0; i < t.size(); ++i)
      if (v[i] != 0 && std::abs(v[i]) < kSmallest) v[i] = std::copysign(kSmallest, v[i]);
    constants_to_half(v, to, t.size());
    return out;
  }

  // The float16 form of a large constant; the float32 one goes away with its only use. One that waits in a file is
  // converted when it is written; of the others, what is beyond the first 512 MB lies in a file until then.
  Tensor large_half(V v, const Tensor& t) {
    Tensor half;
    auto exact = t.deferred() ? t.deferred()->exact_source() : std::nullopt;
    if (exact && exact->dtype() == DType::kF16) {
      half = exact->reshaped(t.dims());
    } else if (waits_in_file(t)) {
      half = Tensor::deferred(DType::kF16, t.dims(), std::make_shared<Half>(t));
    } else {
      half = half_tensor(t);
      release_pages(t);
      if (half_bytes_ + half.nbytes() > (int64_t{512} << 20)) half = spilled(half);
      else half_bytes_ += half.nbytes();
    }
    if (uses_.at(v) == 1 && v->producer->is_const()) spent_.push_back(v->producer);
    return half;
  }

  // A compressed constant is half when its scale is, unless the scale would lose digits.
  static const Tensor* half_scale(const ir::Op* op) {
    if (op == nullptr || (op->kind != "constexpr_affine_dequantize" && op->kind != "constexpr_blockwise_shift_scale")) return nullptr;
    const ir::Arg* arg = op->find("scale");
    const Tensor* scale = arg && arg->operands.size() == 1 ? arg->operands[0].constant_tensor() : nullptr;
    if (scale == nullptr || scale->dtype() != DType::kF32) return nullptr;
    return fits_normal(*scale) ? scale : nullptr;
  }
  static bool fits_normal(const Tensor& t) {
    const float* v = t.data<float>();
    for (int64_t i = 0; i < t.size(); ++i)
      if (v[i] != 0 && (!(std::abs(v[i]) <= kLargest) || std::abs(v[i]) < 0x1p-14f)) return false;
    return true;
  }

  Result<V> to_half(V v, size_t* position) {
    if (made_half_.contains(v)) return v;
    if (V known = find(v, &Scope::half)) return known;
    Scope& scope = scopes_.back();
    ops::OpBuilder b(function_, context_.opset, scope.block);
    b.set_position(*position);
    V half;
    if (const Tensor* t = v->constant_tensor()) {
      half = b.constant(t->nbytes() < (1 << 18) ? half_tensor(*t) : large_half(v, *t), v->name + "_to_fp16");
    } else if (const Tensor* scale = half_scale(v->producer)) {
      std::vector<ops::Input> inputs;
      for (const ir::Arg& arg : v->producer->args) {
        const Tensor* own = arg.operands[0].constant_tensor();
        bool widened = arg.name == "scale" || (arg.name == "offset" && own && own->dtype() == DType::kF32);
        V given = arg.operands[0].value;
        inputs.push_back({arg.name, widened ? b.constant(half_tensor(arg.name == "scale" ? *scale : *own)) : given ? given : b.constant(*own)});
      }
      half = b.op(v->producer->kind, inputs, v->name + "_to_fp16");
    } else {
      half = b.op("cast", {{"x", v}, {"dtype", b.string("fp16")}}, v->name + "_to_fp16");
    }
    MLT_TRY(b.status());
    *position = b.position();
    scope.half[v] = half;
    ++changes_;
    return half;
  }

  Result<V> to_full(V v, size_t* position) {
    if (!made_half_.contains(v)) return v;
    if (V known = find(v, &Scope::full)) return known;
    Scope& scope = scopes_.back();
    ops::OpBuilder b(function_, context_.opset, scope.block);
    b.set_position(*position);
    V full = b.op("cast", {{"x", v}, {"dtype", b.string("fp32")}}, v->name + "_to_fp32");
    MLT_TRY(b.status());
    *position = b.position();
    scope.full[v] = full;
    return full;
  }

  Status block(ir::Block& block) {
    scopes_.push_back({&block, {}, {}});
    for (size_t i = 0; i < block.ops.size(); ++i) {
      ir::Op* op = block.ops[i].get();
      if (op->is_const()) continue;
      bool half = may_be_half(*op);
      for (ir::Arg& arg : op->args)
        for (ir::Operand& operand : arg.operands) {
          if (operand.value == nullptr) {
            if (half && operand.literal && operand.literal->type.is_tensor() && operand.literal->type.dtype == DType::kF32 && operand.literal->tensor.valid())
              operand.literal = std::make_shared<ir::Literal>(ir::Literal::of(half_tensor(operand.literal->tensor)));
            continue;
          }
          if (!operand.value->type.is_tensor()) continue;
          if (half && operand.value->type.dtype == DType::kF32) {
            MLT_ASSIGN(operand.value, to_half(operand.value, &i));
            for (ir::Op* spent : spent_) spent->attributes["val"] = std::make_shared<ir::Literal>(ir::Literal::of(Tensor::scalar(0.0f)));
            spent_.clear();
          } else if (!half) {
            MLT_ASSIGN(operand.value, to_full(operand.value, &i));
          }
        }
      for (auto& nested : op->blocks) {
        MLT_TRY(this->block(*nested));
      }
      if (!half) continue;
      auto types = ops::infer_types(*op, context_.opset);
      if (!types) return std::move(types.error()).in_path("op " + std::string(op->name()) + " (" + op->kind + ")");
      for (size_t k = 0; k < types->size() && k < op->outputs.size(); ++k) {
        V out = op->outputs[k].get();
        if (out->type.is_tensor() && out->type.dtype == DType::kF32 && (*types)[k].dtype == DType::kF16) {
          out->type.dtype = DType::kF16;
          made_half_.insert(out);
          ++changes_;
        }
      }
    }
    if (block.parent != nullptr) {  // control flow hands out float32
      size_t end = block.ops.size();
      for (V& output : block.outputs) {
        MLT_ASSIGN(output, to_full(output, &end));
      }
    }
    scopes_.pop_back();
    return {};
  }

  ir::Function& function_;
  Context& context_;
  std::vector<Scope> scopes_;
  std::unordered_set<const ir::Value*> made_half_;
  size_t changes_ = 0;
  std::unordered_map<const ir::Value*, size_t> uses_;
  std::unordered_map<const ir::Value*, bool> fits_;  // of large constants
  std::vector<ir::Op*> spent_;  // constants whose float32 nobody needs any more
  int64_t half_bytes_ = 0;
};

}  // namespace

Result<size_t> add_fp16_cast(ir::Function& function, Context& context) { return Caster(function, context).run(); }

}  // namespace mlt::passes
