// Branches and loops. A network's layers write blobs by name, also from inside a branch or a loop body, and may write
// one again; the program has values that are written once. So what an inner network writes leaves its block as an
// output, and what a loop writes is carried from one iteration to the next.
#include <algorithm>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {

Lifter::Lifter(Lifter& outer, ir::Block* block)
    : model_(outer.model_), options_(outer.options_), program_(outer.program_), function_(outer.function_), b_(*outer.function_, ops::Opset::kCoreML8, block),
      layer_(outer.layer_), exact_arrays_(outer.exact_arrays_), rank4_images_(outer.rank4_images_), blobs_(outer.blobs_),
      loop_(outer.loop_), depth_(outer.depth_ + 1), budget_(outer.budget_) {}

namespace {

constexpr int kMaxDepth = 32;        // of nested blocks
const char* const kBroken = "\nbroken";  // blob that a loop's body sets to 1 when it breaks; no layer can name it

void set_name(ir::Op* op, const std::string& name) { op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(name)); }

// Whether a network may leave the iteration it is in.
bool leaves(const google::protobuf::RepeatedPtrField<spec::NeuralNetworkLayer>& list) {
  using L = spec::NeuralNetworkLayer;
  return std::any_of(list.begin(), list.end(), [](const L& l) {
    return l.layer_case() == L::kLoopBreak || l.layer_case() == L::kLoopContinue ||
           (l.layer_case() == L::kBranch && (leaves(l.branch().ifbranch().layers()) || leaves(l.branch().elsebranch().layers())));
  });
}

}  // namespace

Lifter::Sequence Lifter::sequence(const google::protobuf::RepeatedPtrField<Layer>& list) {
  Sequence out;
  for (const Layer& l : list) out.push_back(&l);
  return out;
}

// What follows a branch that may leave the loop's iteration belongs to the branch that stays.
Status Lifter::layers(const Sequence& list) {
  for (size_t i = 0; i < list.size(); ++i) {
    const Layer& l = *list[i];
    if (l.layer_case() == Layer::kLoopBreak || l.layer_case() == Layer::kLoopContinue) return leave_iteration(l);
    if (l.layer_case() == Layer::kBranch && (leaves(l.branch().ifbranch().layers()) || leaves(l.branch().elsebranch().layers()))) {
      const Layer* outer = layer_;
      layer_ = &l;
      Status status = branch(l.branch(), Sequence(list.begin() + static_cast<std::ptrdiff_t>(i) + 1, list.end()));
      layer_ = outer;
      return std::move(status).in("layer \"" + l.name() + "\" (branch)");
    }
    MLT_TRY(layer(l));
  }
  return {};
}

Status Lifter::leave_iteration(const Layer& l) {
  if (loop_ == nullptr) return bad("\"" + l.name() + "\" is outside of a loop");
  if (l.layer_case() == Layer::kLoopContinue) return layers(loop_->conditionnetwork().layers());
  blobs_[kBroken] = {b_.constant(Tensor::from<float>({1}, std::vector<float>{1.0f})), {1}};
  written_.insert(kBroken);
  return {};
}

Result<Lifter::V> Lifter::truth(const Blob& blob) {
  MLT_ASSIGN(Dims dims, fixed(blob));
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count != 1) return bad("a condition must be one number, got " + dims_text(dims));
  V value = op("greater", {{"x", op("abs", {{"x", view(blob.value, {})}})}, {"y", b_.f32(1e-6)}});
  if (value == nullptr) return failed().error();
  return value;
}

Status Lifter::branch(const spec::BranchLayerParams& p, const Sequence& rest) {
  MLT_TRY(need(1, 1, 0, 0));
  MLT_ASSIGN(Blob condition, in());
  MLT_ASSIGN(V taken, truth(condition));
  Sequence if_true = sequence(p.ifbranch().layers()), if_false = sequence(p.elsebranch().layers());
  for (Sequence* part : {&if_true, &if_false}) part->insert(part->end(), rest.begin(), rest.end());
  if (const Tensor* known = taken->constant_tensor()) return layers(*known->data<bool>() ? if_true : if_false);
  if (depth_ >= kMaxDepth) return unsupported_error("branches and loops nest more than " + std::to_string(kMaxDepth) + " deep");

  ir::Op* made = b_.block()->append("cond");
  std::string name = function_->unique_name(layer_->name().empty() ? "branch" : layer_->name());
  set_name(made, name);
  made->set("pred", ir::Operand(taken));
  for (int i = 0; i < 2; ++i) made->blocks.push_back(std::make_unique<ir::Block>(made));
  Lifter yes(*this, made->blocks[0].get()), no(*this, made->blocks[1].get());
  MLT_TRY(yes.layers(if_true));
  MLT_TRY(no.layers(if_false));
  std::set<std::string> written = yes.written_;
  written.insert(no.written_.begin(), no.written_.end());
  for (const std::string& blob_name : written) {
    auto a = yes.blobs_.find(blob_name), b = no.blobs_.find(blob_name);
    if (a == yes.blobs_.end() || b == no.blobs_.end()) {  // known after one of the branches only: nothing may read it
      blobs_.erase(blob_name);
      continue;
    }
    if (a->second.rank() != b->second.rank()) return unsupported_error("\"" + blob_name + "\" has another rank in either branch");
    Dims dims = a->second.dims;
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d] != b->second.dims[d]) dims[d] = ir::kUnknown;
    for (auto [inner, blob, block] : {std::tuple(&yes, &a->second, made->blocks[0].get()), std::tuple(&no, &b->second, made->blocks[1].get())}) {
      V value = inner->b_.op("identity", {{"x", inner->plain(*blob)}});
      if (value == nullptr) return inner->failed();
      block->outputs.push_back(value);
    }
    blobs_[blob_name] = {made->add_output(function_->unique_name(blob_name), ir::Type::tensor(DType::kF32, dims)), dims};
    written_.insert(blob_name);
  }
  if (made->outputs.empty()) return bad("neither branch computes anything that is used");
  return {};
}

// Gives every carried blob an input of the block and lets the inner network see it.
Status Lifter::enter_loop(Lifter& inner, ir::Block* block, const std::map<std::string, Blob>& variables) {
  for (const auto& [name, blob] : variables)
    inner.blobs_[name] = {block->add_input(function_->unique_name(name), ir::Type::tensor(DType::kF32, blob.dims)), blob.dims};
  return {};
}

// One iteration: the body, then the condition network (unless the body breaks).
Status Lifter::loop_body(const spec::LoopLayerParams& p) {
  if (depth_ > kMaxDepth) return unsupported_error("branches and loops nest more than " + std::to_string(kMaxDepth) + " deep");
  loop_ = &p;
  blobs_[kBroken] = {b_.constant(Tensor::zeros(DType::kF32, {1})), {1}};
  Sequence all = sequence(p.bodynetwork().layers());
  for (const Layer& l : p.conditionnetwork().layers()) all.push_back(&l);
  return layers(all);
}

// What the loop writes, with its value before the loop: the blob of that name, or zeros for one that the body defines.
// Extents that an iteration changes are unknown. Found by lifting the body once for nothing.
Result<std::map<std::string, Lifter::Blob>> Lifter::loop_variables(const spec::LoopLayerParams& p) {
  std::map<std::string, Blob> variables;
  for (int round = 0; round < 4; ++round) {
    ir::Op* trial = b_.block()->append("while_loop");
    trial->blocks.push_back(std::make_unique<ir::Block>(trial));
    Lifter inner(*this, trial->blocks[0].get());
    MLT_TRY(enter_loop(inner, trial->blocks[0].get(), variables));
    Status status = inner.loop_body(p);
    inner.written_.erase(kBroken);
    std::map<std::string, Dims> after;
    for (const std::string& name : inner.written_) after[name] = inner.blobs_[name].dims;
    b_.block()->ops.pop_back();
    MLT_TRY(std::move(status));
    bool settled = true;
    for (const auto& [name, dims] : after) {
      auto it = variables.find(name);
      if (it == variables.end()) {
        auto before = blobs_.find(name);
        Blob start = before != blobs_.end() ? before->second : Blob{};
        if (before == blobs_.end()) {
          for (int64_t d : dims)
            if (d < 0) return unsupported_error("the loop defines \"" + name + "\" with a shape that depends on data");
          MLT_TRY(element_count(dims));
          start = {b_.constant(Tensor::zeros(DType::kF32, dims)), dims};
        }
        start.value = plain(start);
        if (start.value == nullptr) return failed().error();
        it = variables.emplace(name, start).first;
        settled = false;
      }
      if (it->second.rank() != static_cast<int>(dims.size())) return unsupported_error("\"" + name + "\" changes its rank in the loop");
      for (size_t d = 0; d < dims.size(); ++d)
        if (it->second.dims[d] != dims[d] && it->second.dims[d] != ir::kUnknown) it->second.dims[d] = ir::kUnknown, settled = false;
    }
    if (settled) return variables;
  }
  return unsupported_error("the shapes in the loop do not settle");
}

Status Lifter::loop(const spec::LoopLayerParams& p) {
  MLT_TRY(need(0, 1, 0, 0));
  bool conditional = p.has_conditionnetwork() && !p.conditionvar().empty();
  V most = nullptr;
  if (has_in(0)) {
    MLT_ASSIGN(Blob given, in());
    most = to_int(view(given.value, {}));
    if (most == nullptr) return failed();
  } else if (p.maxloopiterations() > 0 || !conditional) {
    most = b_.i32(static_cast<int64_t>(std::min<uint64_t>(p.maxloopiterations(), INT32_MAX)));
  }
  // while (condition and iteration < most) { body; condition network }, the condition network once before.
  auto condition_of = [&](Lifter& lift) -> Result<V> {
    if (!conditional) return lift.b_.boolean(true);
    auto it = lift.blobs_.find(p.conditionvar());
    if (it == lift.blobs_.end()) return bad("the condition network does not compute \"" + p.conditionvar() + "\"");
    MLT_ASSIGN(V value, lift.truth(it->second));
    return lift.b_.op("identity", {{"x", value}});
  };
  MLT_TRY(layers(p.conditionnetwork().layers()));
  MLT_ASSIGN(V start, condition_of(*this));
  MLT_ASSIGN(auto variables, loop_variables(p));
  if (start == nullptr) return failed();

  V zero = b_.i32(0);
  if (zero == nullptr) return failed();
  ir::Op* made = b_.block()->append("while_loop");
  std::string name = function_->unique_name(layer_->name().empty() ? "loop" : layer_->name());
  set_name(made, name);
  for (int i = 0; i < 2; ++i) made->blocks.push_back(std::make_unique<ir::Block>(made));
  std::vector<ir::Operand> starts{ir::Operand(zero), ir::Operand(start)};
  for (const auto& [blob_name, blob] : variables) starts.emplace_back(blob.value);
  made->set("loop_vars", std::move(starts));

  ir::Type count_type = ir::Type::tensor(DType::kI32), flag_type = ir::Type::tensor(DType::kBool);
  auto counters = [&](ir::Block* block) {
    V count = block->add_input(function_->unique_name(name + "_i"), count_type);
    V flag = block->add_input(function_->unique_name(name + "_go"), flag_type);
    return std::pair(count, flag);
  };
  ir::Block *test = made->blocks[0].get(), *body = made->blocks[1].get();
  {
    auto [i, go] = counters(test);
    Lifter inner(*this, test);
    MLT_TRY(enter_loop(inner, test, variables));
    V more = most == nullptr ? inner.b_.op("identity", {{"x", go}}) : inner.b_.op("logical_and", {{"x", go}, {"y", inner.b_.op("less", {{"x", i}, {"y", most}})}});
    if (more == nullptr) return inner.failed();
    test->outputs.push_back(more);
  }
  auto [i, go] = counters(body);
  Lifter inner(*this, body);
  MLT_TRY(enter_loop(inner, body, variables));
  MLT_TRY(inner.loop_body(p));
  V next = inner.b_.op("add", {{"x", i}, {"y", inner.b_.i32(1)}});
  MLT_ASSIGN(V again, condition_of(inner));
  MLT_ASSIGN(V broken, inner.truth(inner.blobs_[kBroken]));
  if (broken->constant_tensor() == nullptr || *broken->constant_tensor()->data<bool>())
    again = inner.b_.op("logical_and", {{"x", again}, {"y", inner.b_.op("logical_not", {{"x", broken}})}});
  if (next == nullptr || again == nullptr) return inner.failed();
  body->outputs = {next, again};
  made->add_output(function_->unique_name(name + "_count"), count_type);
  made->add_output(function_->unique_name(name + "_end"), flag_type);
  for (const auto& [blob_name, blob] : variables) {
    V value = inner.b_.op("identity", {{"x", inner.plain(inner.blobs_[blob_name])}});
    if (value == nullptr) return inner.failed();
    body->outputs.push_back(value);
    blobs_[blob_name] = {made->add_output(function_->unique_name(blob_name), ir::Type::tensor(DType::kF32, blob.dims)), blob.dims};
    written_.insert(blob_name);
  }
  return {};
}

}  // namespace mlt::coreml
