// Control flow, sequences and optionals. Conditions and trip counts known at conversion time disappear: branches are
// inlined, loops unrolled. Otherwise MIL's cond and while_loop take over. Sequences and optionals exist only at conversion
// time: MIL has no such values.
#include <algorithm>

#include "lib/convert/onnx/helpers.h"
#include "lib/ops/call.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int64_t kMaxUnroll = 4096;

std::optional<bool> known_flag(V v) {
  const Tensor* t = Lower::known(v);
  if (t == nullptr || t->size() != 1) return std::nullopt;
  return to_ints(*t)[0] != 0;
}

V as_scalar(Lower& l, V v) {
  if (Lower::rank(v) == 0) return v;
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < Lower::rank(v); ++i) axes.push_back(i);
  return l.squeeze(v, axes);
}

// Values a block hands out must be made in the block.
void finish_block(Ctx& c, ir::Block* block, const std::vector<Val>& values, const std::vector<ir::Type>* want) {
  c.l.push_block(block);
  try {
    for (size_t i = 0; i < values.size(); ++i) {
      const Val& v = values[i];
      if (v.value == nullptr) unsupported("sequences or optionals out of a branch");
      V y = v.value;
      if (want && (*want)[i].dtype != Lower::dtype(y)) unsupported("branches that differ in element type");
      bool inside = y->producer != nullptr && y->producer->parent == block && !y->producer->is_const();
      if (!inside) {
        ir::Op* op = block->append("identity");
        op->set("x", y);
        ir::Value* made = op->add_output(c.l.function().unique_name("branch_out"), y->type);
        op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(made->name));
        y = made;
      }
      block->outputs.push_back(y);
    }
  } catch (const LowerError&) {
    c.l.pop_block();
    throw;
  }
  c.l.pop_block();
}

std::vector<V> finish_op(Ctx& c, ir::Op* op, std::string_view name) {
  auto types = take(ops::infer_types(*op, c.l.opset()));
  std::vector<V> outputs;
  for (size_t i = 0; i < types.size(); ++i) outputs.push_back(op->add_output(c.l.function().unique_name(std::string(name) + "_" + std::to_string(i)), types[i]));
  op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(c.l.function().unique_name(name)));
  return outputs;
}

void if_op(Ctx& c) {
  V cond = c.in(0);
  auto then_graph = c.graph("then_branch"), else_graph = c.graph("else_branch");
  if (auto flag = known_flag(cond)) {
    std::vector<Val> outputs = c.driver().inline_graph(*flag ? *then_graph : *else_graph, {});
    for (size_t i = 0; i < outputs.size(); ++i) c.out(i, outputs[i]);
    return;
  }
  cond = as_scalar(c.l, cond);
  // The op goes after what its branches use; blocks are filled first, then the op is placed.
  ir::Op* op = c.l.block()->append("cond");
  op->set("pred", cond);
  try {
    std::vector<Val> first, second;
    op->blocks.push_back(std::make_unique<ir::Block>(op));
    first = c.driver().lower_block(*then_graph, {}, op->blocks[0].get());
    op->blocks.push_back(std::make_unique<ir::Block>(op));
    second = c.driver().lower_block(*else_graph, {}, op->blocks[1].get());
    if (first.size() != second.size()) bad_input("branches differ in their number of outputs");
    finish_block(c, op->blocks[0].get(), first, nullptr);
    std::vector<ir::Type> types;
    for (V v : op->blocks[0]->outputs) types.push_back(v->type);
    finish_block(c, op->blocks[1].get(), second, &types);
    auto outputs = finish_op(c, op, "cond");
    for (size_t i = 0; i < outputs.size(); ++i) c.out(i, outputs[i], first[i].type);
  } catch (const LowerError&) {
    auto& list = c.l.block()->ops;
    list.erase(std::find_if(list.begin(), list.end(), [&](const auto& o) { return o.get() == op; }));
    throw;
  }
}

void loop_op(Ctx& c) {
  auto body = c.graph("body");
  size_t states = c.inputs() > 2 ? c.inputs() - 2 : 0;
  if (body->inputs.size() != states + 2 || body->outputs.size() < states + 1) bad_input("the body does not fit the loop");
  size_t scans = body->outputs.size() - states - 1;
  std::vector<Val> state;
  for (size_t i = 0; i < states; ++i) state.push_back(c.val(i + 2));
  V count = c.opt(0), cond = c.opt(1);
  std::optional<int64_t> trips;
  if (count && Lower::known(count)) trips = to_ints(*Lower::known(count))[0];
  std::optional<bool> go = cond ? known_flag(cond) : std::optional<bool>(true);
  // Unrolled as long as the condition is known.
  if (go && (!count || trips)) {
    std::vector<std::vector<V>> scanned(scans);
    int64_t i = 0;
    bool stuck = false;
    std::vector<Val> before = state;
    for (; *go && (!trips || i < *trips); ++i) {
      if (i >= kMaxUnroll) unsupported("more than " + std::to_string(kMaxUnroll) + " iterations");
      Val index, flag;
      index.value = c.l.i32(i);
      index.type = DType::kI64;
      flag.value = c.l.boolean(true);
      flag.type = DType::kBool;
      std::vector<Val> inputs = {index, flag};
      inputs.insert(inputs.end(), state.begin(), state.end());
      std::vector<Val> outputs = c.driver().inline_graph(*body, inputs);
      auto next = known_flag(outputs[0].value);
      if (!next) {
        stuck = true;
        break;
      }
      go = next;
      for (size_t k = 0; k < states; ++k) state[k] = outputs[k + 1];
      for (size_t k = 0; k < scans; ++k) {
        if (outputs[states + 1 + k].value == nullptr) unsupported("scanned sequences");
        scanned[k].push_back(outputs[states + 1 + k].value);
      }
    }
    if (!stuck) {
      for (size_t k = 0; k < states; ++k) c.out(k, state[k]);
      for (size_t k = 0; k < scans; ++k) {
        if (scanned[k].empty()) unsupported("a loop that never runs and still scans");
        bool flag = Lower::dtype(scanned[k][0]) == DType::kBool;
        if (flag)
          for (V& v : scanned[k]) v = c.l.cast(v, DType::kI32);
        V y = c.l.stack(scanned[k], 0);
        c.out(states + k, flag ? c.l.cast(y, DType::kBool) : y);
      }
      return;
    }
    if (i > 0) unsupported("a condition that depends on data after some iterations");
    state = before;
  }
  if (scans > 0) unsupported("scanned outputs of a loop whose number of iterations is not known");
  for (const Val& v : state)
    if (v.value == nullptr) unsupported("sequences as loop state");
  // while_loop(counter, condition, states...)
  ir::Op* op = c.l.block()->append("while_loop");
  try {
    V start = c.l.i32(0), flag = cond ? as_scalar(c.l, cond) : c.l.boolean(true);
    // The op must follow the values just made.
    auto& list = c.l.block()->ops;
    auto at = std::find_if(list.begin(), list.end(), [&](const auto& o) { return o.get() == op; });
    std::rotate(at, at + 1, list.end());
    std::vector<V> initial = {start, flag};
    for (const Val& v : state) initial.push_back(v.value);
    std::vector<ir::Operand> operands(initial.begin(), initial.end());
    op->set("loop_vars", operands);
    for (const char* which : {"cond", "body"}) {
      op->blocks.push_back(std::make_unique<ir::Block>(op));
      for (V v : initial) op->blocks.back()->add_input(c.l.function().unique_name(std::string(which) + "_var"), v->type);
    }
    ir::Block *test = op->blocks[0].get(), *run = op->blocks[1].get();
    c.l.push_block(test);
    V keep = test->inputs[1].get();
    V more = count ? c.l.op("logical_and", {{"x", keep}, {"y", c.l.binary("less", test->inputs[0].get(), as_scalar(c.l, count))}}) : c.l.op("logical_and", {{"x", keep}, {"y", keep}});
    c.l.pop_block();
    test->outputs.push_back(more);
    std::vector<Val> inputs(states + 2);
    inputs[0].value = run->inputs[0].get();
    inputs[0].type = DType::kI64;
    inputs[1].value = run->inputs[1].get();
    inputs[1].type = DType::kBool;
    for (size_t k = 0; k < states; ++k) {
      inputs[k + 2].value = run->inputs[k + 2].get();
      inputs[k + 2].type = state[k].type;
    }
    std::vector<Val> outputs = c.driver().lower_block(*body, inputs, run);
    c.l.push_block(run);
    Val index;
    index.type = DType::kI64;
    index.value = c.l.add(run->inputs[0].get(), c.l.i32(1));
    outputs[0].value = as_scalar(c.l, outputs[0].value);
    c.l.pop_block();
    outputs.insert(outputs.begin(), index);
    std::vector<ir::Type> types;
    for (V v : initial) types.push_back(v->type);
    finish_block(c, run, outputs, &types);
    auto results = finish_op(c, op, "while_loop");
    for (size_t k = 0; k < states; ++k) c.out(k, results[k + 2], state[k].type);
  } catch (const LowerError&) {
    auto& list = c.l.block()->ops;
    auto found = std::find_if(list.begin(), list.end(), [&](const auto& o) { return o.get() == op; });
    if (found != list.end()) list.erase(found);
    throw;
  }
}

void scan_op(Ctx& c) {
  auto body = c.graph("body");
  int64_t scan_inputs = c.i64("num_scan_inputs", 0);
  size_t base = 0;
  if (c.version() < 9) {  // an optional length per batch entry, and a batch axis
    if (c.opt(0)) unsupported("sequence_lens of Scan-8");
    base = 1;
  }
  size_t n = c.inputs() - base, m = static_cast<size_t>(scan_inputs), states = n - m;
  if (m == 0 || m > n || body->inputs.size() != n || body->outputs.size() < states) bad_input("the body does not fit the scan");
  size_t scans = body->outputs.size() - states;
  auto list = [&](std::string_view name, size_t size) {
    auto v = c.ints(name).value_or(std::vector<int64_t>(size, 0));
    if (v.size() != size) bad_input(std::string(name) + " does not fit the scan");
    return v;
  };
  bool v8 = c.version() < 9;
  auto in_axes = v8 ? std::vector<int64_t>(m, 1) : list("scan_input_axes", m);
  auto in_dirs = list(v8 ? "directions" : "scan_input_directions", m);
  auto out_axes = v8 ? std::vector<int64_t>(scans, 0) : list("scan_output_axes", scans);
  auto out_dirs = v8 ? std::vector<int64_t>(scans, 0) : list("scan_output_directions", scans);
  int64_t batches = v8 ? c.known_dims(c.in(base))[0] : 1, steps = -1;
  for (size_t k = 0; k < m; ++k) {
    V x = c.in(base + states + k);
    in_axes[k] = Lower::axis_of(in_axes[k], Lower::rank(x));
    int64_t extent = Lower::dims(x)[static_cast<size_t>(in_axes[k])];
    if (extent < 0) unsupported("a scan of unknown length", "give fixed input shapes with --input NAME,shape=...");
    if (steps >= 0 && steps != extent) bad_input("scanned inputs differ in length");
    steps = extent;
  }
  if (steps > kMaxUnroll) unsupported("more than " + std::to_string(kMaxUnroll) + " iterations");
  if (steps == 0) unsupported("a scan over nothing");
  std::vector<std::vector<V>> batch_results(states + scans);
  std::vector<DType> types(states + scans, DType::kF32);
  for (int64_t b = 0; b < batches; ++b) {
    auto entry = [&](V v) { return v8 ? c.l.squeeze(c.l.slice(v, 0, b, b + 1), {0}) : v; };
    std::vector<Val> state;
    for (size_t k = 0; k < states; ++k) {
      Val v = c.val(base + k);
      if (v.value) v.value = entry(v.value);
      state.push_back(v);
    }
    std::vector<std::vector<V>> scanned(scans);
    for (int64_t t = 0; t < steps; ++t) {
      std::vector<Val> inputs = state;
      for (size_t k = 0; k < m; ++k) {
        Val v = c.val(base + states + k);
        int64_t axis = in_axes[k] - (v8 ? 1 : 0), at = in_dirs[k] ? steps - 1 - t : t;
        v.value = c.l.squeeze(c.l.slice(entry(v.value), axis, at, at + 1), {axis});
        inputs.push_back(v);
      }
      std::vector<Val> outputs = c.driver().inline_graph(*body, inputs);
      for (size_t k = 0; k < states; ++k) state[k] = outputs[k];
      for (size_t k = 0; k < scans; ++k) {
        if (outputs[states + k].value == nullptr) unsupported("scanned sequences");
        scanned[k].push_back(outputs[states + k].value);
        types[states + k] = outputs[states + k].type;
      }
    }
    for (size_t k = 0; k < states; ++k) {
      if (state[k].value == nullptr) unsupported("sequences as scan state");
      batch_results[k].push_back(state[k].value);
      types[k] = state[k].type;
    }
    for (size_t k = 0; k < scans; ++k) {
      if (out_dirs[k]) std::reverse(scanned[k].begin(), scanned[k].end());
      int64_t axis = Lower::axis_of(out_axes[k], Lower::rank(scanned[k][0]) + 1);
      batch_results[states + k].push_back(c.l.stack(scanned[k], axis));
    }
  }
  for (size_t k = 0; k < states + scans; ++k) c.out(k, v8 ? c.l.stack(batch_results[k], 0) : batch_results[k][0], types[k]);
}

// Sequences.
std::vector<Val> sequence(Ctx& c, size_t i) {
  Val v = c.val(i);
  if (!v.sequence) unsupported("a sequence that is not known at conversion time");
  return *v.sequence;
}
void out_sequence(Ctx& c, std::vector<Val> items) {
  Val v;
  v.sequence = std::make_shared<std::vector<Val>>(std::move(items));
  c.out(0, v);
}
size_t position(Ctx& c, size_t input, size_t size, bool insert) {
  int64_t n = static_cast<int64_t>(size), at = c.known(input, "the position")[0];
  if (at < 0) at += n;
  if (at < 0 || at > n - (insert ? 0 : 1)) bad_input("position out of range");
  return static_cast<size_t>(at);
}
void sequence_construct(Ctx& c) {
  std::vector<Val> items;
  for (size_t i = 0; i < c.inputs(); ++i) items.push_back(c.val(i));
  out_sequence(c, items);
}
void sequence_empty(Ctx& c) {
  c.ignore({"dtype"});
  out_sequence(c, {});
}
void sequence_at(Ctx& c) {
  auto items = sequence(c, 0);
  c.out(0, items[position(c, 1, items.size(), false)]);
}
void sequence_insert(Ctx& c) {
  auto items = sequence(c, 0);
  size_t at = c.has(2) ? position(c, 2, items.size(), true) : items.size();
  items.insert(items.begin() + static_cast<int64_t>(at), c.val(1));
  out_sequence(c, items);
}
void sequence_erase(Ctx& c) {
  auto items = sequence(c, 0);
  if (items.empty()) bad_input("nothing to erase");
  size_t at = c.has(1) ? position(c, 1, items.size(), false) : items.size() - 1;
  items.erase(items.begin() + static_cast<int64_t>(at));
  out_sequence(c, items);
}
void sequence_length(Ctx& c) { c.out(0, c.l.i32(static_cast<int64_t>(sequence(c, 0).size())), DType::kI64); }
void split_to_sequence(Ctx& c) {
  V x = c.in(0);
  int64_t axis = c.axis("axis", 0, Lower::rank(x)), extent = Lower::dims(x)[static_cast<size_t>(axis)];
  bool keep = c.i64("keepdims", 1) != 0;
  if (extent < 0) unsupported("a split of an axis of unknown extent");
  std::vector<int64_t> sizes;
  if (c.opt(1)) {
    V given = c.in(1);
    auto values = c.known(1, "split");
    if (Lower::rank(given) == 0) {
      if (values[0] <= 0) bad_input("split must be positive");
      if (extent / values[0] > kMaxUnroll) unsupported("more than " + std::to_string(kMaxUnroll) + " parts");
      for (int64_t at = 0; at < extent; at += values[0]) sizes.push_back(std::min(values[0], extent - at));
    } else {
      sizes = values;
    }
    keep = true;
  } else {
    if (extent > kMaxUnroll) unsupported("more than " + std::to_string(kMaxUnroll) + " parts");
    sizes.assign(static_cast<size_t>(extent), 1);
  }
  std::vector<Val> items;
  int64_t at = 0;
  for (int64_t size : sizes) {
    Val v;
    v.type = c.type(0);
    v.value = c.l.slice(x, axis, at, at + size);
    if (!keep) v.value = c.l.squeeze(v.value, {axis});
    at += size;
    items.push_back(v);
  }
  out_sequence(c, items);
}
void concat_from_sequence(Ctx& c) {
  std::vector<V> values;
  auto items = sequence(c, 0);
  for (const Val& v : items) {
    if (v.value == nullptr) unsupported("sequences of sequences");
    values.push_back(v.value);
  }
  if (values.empty()) unsupported("an empty sequence");
  bool fresh = c.i64("new_axis", 0) != 0;
  int64_t axis = c.axis("axis", 0, Lower::rank(values[0]) + (fresh ? 1 : 0));
  c.out(0, fresh ? c.l.stack(values, axis) : c.l.concat(values, axis), items[0].type);
}
void sequence_map(Ctx& c) {
  auto body = c.graph("body");
  auto items = sequence(c, 0);
  std::vector<std::vector<Val>> results(body->outputs.size());
  for (size_t i = 0; i < items.size(); ++i) {
    std::vector<Val> inputs = {items[i]};
    for (size_t k = 1; k < c.inputs(); ++k) {
      Val v = c.val(k);
      if (v.sequence) {
        if (i >= v.sequence->size()) bad_input("sequences differ in length");
        v = (*v.sequence)[i];
      }
      inputs.push_back(v);
    }
    auto outputs = c.driver().inline_graph(*body, inputs);
    for (size_t k = 0; k < outputs.size(); ++k) results[k].push_back(outputs[k]);
  }
  for (size_t k = 0; k < results.size(); ++k) {
    Val v;
    v.sequence = std::make_shared<std::vector<Val>>(std::move(results[k]));
    c.out(k, v);
  }
}
void optional_op(Ctx& c) {
  c.ignore({"type"});
  if (c.has(0)) return c.out(0, c.val(0));
  Val v;
  v.none = true;
  c.out(0, v);
}
void optional_has(Ctx& c) {
  bool there = c.has(0) && !c.val(0).none;
  c.out(0, c.l.boolean(there), DType::kBool);
}
void optional_get(Ctx& c) {
  Val v = c.val(0);
  if (v.none) bad_input("the optional has no value");
  c.out(0, v);
}

constexpr Row kRows[] = {
    {"ConcatFromSequence", concat_from_sequence}, {"If", if_op}, {"Loop", loop_op, "", "scanned outputs only when unrolled"},
    {"Optional", optional_op}, {"OptionalGetElement", optional_get}, {"OptionalHasElement", optional_has}, {"Scan", scan_op, "", "length known"},
    {"SequenceAt", sequence_at}, {"SequenceConstruct", sequence_construct}, {"SequenceEmpty", sequence_empty}, {"SequenceErase", sequence_erase},
    {"SequenceInsert", sequence_insert}, {"SequenceLength", sequence_length}, {"SequenceMap", sequence_map}, {"SplitToSequence", split_to_sequence},
};

}  // namespace

std::span<const Row> families::control() { return kRows; }

}  // namespace mlt::foreign::onnx
