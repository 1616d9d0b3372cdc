// Where the values of a plan lie: one arena, inputs that stay where the caller has them, and results that are handed out.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/runtime/plan.h"

namespace mlt {

// Inputs that nothing binds to a place, nor reads past.
void Plan::find_lent(const std::vector<int>& storage) {
  constexpr int64_t kLarge = 1 << 16;
  if (options_.keep_all || options_.strict_fp16) return;  // those write to views
  std::vector<bool> fixed(values.size(), false);
  for (const Step& step : steps)
    for (int id : step.ins)
      if (!step.reads_anywhere) fixed[static_cast<size_t>(storage[static_cast<size_t>(id)])] = true;
  for (size_t i = 0; i < input_ids.size(); ++i) {
    const int id = input_ids[i];
    const PlanValue& v = values[static_cast<size_t>(id)];
    if (fixed[static_cast<size_t>(id)] || v.users == 0 || !v.type.is_tensor() || v.type.dtype == DType::kString) continue;
    if (storage_bytes(compute_dtype(v.type.dtype), *element_count(v.type.dims)) < kLarge) continue;
    Lent lent{id, {}};
    for (size_t j = 0; j < values.size(); ++j)
      if (storage[j] == id && static_cast<int>(j) != id) lent.views.emplace_back(static_cast<int>(j), offset_in_root(static_cast<int>(j)));
    lent_.emplace(i, std::move(lent));
  }
}

// Results that nothing binds to a place: neither a step that wants more than their bytes, nor another value that shares
// them in place.
void Plan::find_outside(const std::vector<int>& storage, const std::vector<bool>& shared) {
  constexpr int64_t kLarge = 1 << 16;
  if (options_.keep_all || options_.strict_fp16) return;
  std::vector<bool> fixed = shared;
  for (const Step& step : steps) {
    for (int id : step.ins)
      if (!step.reads_anywhere) fixed[static_cast<size_t>(storage[static_cast<size_t>(id)])] = true;
    for (int id : step.outs)
      if (!step.writes_anywhere) fixed[static_cast<size_t>(storage[static_cast<size_t>(id)])] = true;
  }
  for (int id : input_ids) fixed[static_cast<size_t>(storage[static_cast<size_t>(id)])] = true;
  std::unordered_map<int, int> outputs;
  for (int id : output_ids) ++outputs[storage[static_cast<size_t>(id)]];
  auto bytes_of = [&](size_t id) { return storage_bytes(held_dtype(values[id]), *element_count(values[id].type.dims)); };
  outside_.resize(output_ids.size());
  for (size_t i = 0; i < output_ids.size(); ++i) {
    const int id = output_ids[i], r = storage[static_cast<size_t>(id)];
    const PlanValue &v = values[static_cast<size_t>(r)], &made = values[static_cast<size_t>(id)];
    if (fixed[static_cast<size_t>(r)] || outputs[r] != 1 || v.is_constant || v.dynamic || !v.type.is_static() || !made.type.is_static()) continue;
    if (v.type.dtype == DType::kString || !regs[static_cast<size_t>(r)].tensor.valid() || held_dtype(v) != held_dtype(made)) continue;
    if (offset_in_root(id) != 0 || bytes_of(static_cast<size_t>(r)) != bytes_of(static_cast<size_t>(id)) || bytes_of(static_cast<size_t>(r)) < kLarge) continue;
    Lent& lent = outside_[i];
    lent.id = id;
    for (size_t j = 0; j < values.size(); ++j)
      if (storage[j] == r && regs[j].tensor.valid()) {
        lent.views.emplace_back(static_cast<int>(j), offset_in_root(static_cast<int>(j)));
        lent.home.push_back(regs[j].tensor);
      }
  }
}

// The same memory as in the last run costs no new windows.
void Plan::move_views(Lent& lent, std::byte* to) {
  if (lent.at != to || lent.windows.size() != lent.views.size()) {
    lent.windows.clear();
    for (auto [id, offset] : lent.views) {
      const PlanValue& v = values[static_cast<size_t>(id)];
      lent.windows.push_back(Tensor::window(held_dtype(v), v.type.dims, to + offset, nullptr));
    }
    lent.at = to;
  }
  for (size_t i = 0; i < lent.views.size(); ++i) regs[static_cast<size_t>(lent.views[i].first)].tensor = lent.windows[i];
  lent.active = true;
}

bool Plan::lend_input(size_t input, const Tensor& value) {
  auto it = lent_.find(input);
  if (it == lent_.end()) return false;
  // Nobody writes through these windows: lent values are no operand that a step may take over.
  move_views(it->second, const_cast<std::byte*>(value.bytes().data()));
  regs[static_cast<size_t>(it->second.id)].tensor = value;
  return true;
}

bool Plan::lend_output(size_t output, Tensor& place) {
  if (!makes_outside(output)) return false;
  Lent& lent = outside_[output];
  const PlanValue& v = values[static_cast<size_t>(lent.id)];
  std::byte* to = place.mutable_bytes();
  if (to == nullptr || place.dtype() != held_dtype(v) || place.size() != *element_count(v.type.dims)) return false;
  if (reinterpret_cast<uintptr_t>(to) % 4 != 0) return false;
  move_views(lent, to);
  return true;
}

void Plan::release() {
  const Tensor none;  // assigned as a copy, which leaves the extents' memory for the next run
  for (auto& [input, lent] : lent_) {
    if (!lent.active) continue;
    regs[static_cast<size_t>(lent.id)].tensor = none;
    for (auto [id, offset] : lent.views) regs[static_cast<size_t>(id)].tensor = none;
    lent.active = false;
  }
  for (Lent& lent : outside_) {
    if (!lent.active) continue;
    for (size_t i = 0; i < lent.views.size(); ++i) regs[static_cast<size_t>(lent.views[i].first)].tensor = lent.home[i];
    lent.active = false;
  }
}

// A large result's memory is kept for the next one: new pages cost more than the copy.
Tensor& Plan::result_place(size_t output) {
  const Tensor& value = regs[static_cast<size_t>(output_ids[output])].tensor;
  if (results_.size() < output_ids.size()) results_.resize(output_ids.size());
  Tensor& kept = results_[output];
  // One owner is the plan, the other the blob asked.
  if (!kept.valid() || kept.dims() != value.dims() || kept.dtype() != value.dtype() || kept.blob().owner().use_count() > 2)
    kept = Tensor::uninitialized(value.dtype(), value.dims());
  return kept;
}

Tensor Plan::result_copy(size_t output, const Tensor& value) {
  constexpr int64_t kLarge = 1 << 16;
  if (value.dtype() == DType::kString || value.nbytes() < kLarge) return value.clone();
  Tensor& kept = result_place(output);
  std::memcpy(kept.mutable_bytes(), value.bytes().data(), value.bytes().size());
  return kept;
}

// Gives every static value a place in one arena: values whose lifetimes (step of definition to step of last use) do
// not overlap share bytes. Largest first, each at the lowest offset that is free during its life; a value whose kernel
// can work in place takes over its input's bytes when nobody reads them afterwards.
void Plan::place() {
  struct Buffer {
    int id;
    int64_t bytes;
    int first, last;
    int64_t offset = -1;
  };
  size_t n = values.size();
  std::vector<int> first(n, -2), last(n, -2), storage(n);
  for (size_t i = 0; i < n; ++i) storage[i] = root(static_cast<int>(i));
  int end = static_cast<int>(steps.size());
  for (int id : input_ids) first[static_cast<size_t>(storage[static_cast<size_t>(id)])] = -1;
  for (int s = 0; s < end; ++s) {
    for (int id : steps[static_cast<size_t>(s)].outs) {
      auto r = static_cast<size_t>(storage[static_cast<size_t>(id)]);
      if (first[r] == -2) first[r] = s;
      last[r] = std::max(last[r], s);
    }
    for (int id : steps[static_cast<size_t>(s)].ins) {
      auto r = static_cast<size_t>(storage[static_cast<size_t>(id)]);
      last[r] = std::max(last[r], s);
    }
  }
  std::vector<bool> is_output(n, false);
  for (int id : output_ids) {
    auto r = static_cast<size_t>(storage[static_cast<size_t>(id)]);
    last[r] = end;
    is_output[r] = true;
  }
  if (options_.keep_all) std::fill(last.begin(), last.end(), end);

  find_lent(storage);
  std::vector<bool> is_lent(n, false);
  for (const auto& [input, lent] : lent_) is_lent[static_cast<size_t>(lent.id)] = true;
  auto arena_value = [&](size_t r) {
    const PlanValue& v = values[r];
    if (is_lent[r]) return false;
    return !v.is_constant && !v.dynamic && v.type.is_static() && v.type.dtype != DType::kString && first[r] != -2;
  };
  // In place: union of storage, walked in step order so that chains work.
  std::vector<int> merged(n);
  for (size_t i = 0; i < n; ++i) merged[i] = static_cast<int>(i);
  auto find = [&](int id) {
    while (merged[static_cast<size_t>(id)] != id) id = merged[static_cast<size_t>(id)];
    return id;
  };
  auto bytes_of = [&](int id) {
    const PlanValue& v = values[static_cast<size_t>(id)];
    return storage_bytes(held_dtype(v), *element_count(v.type.dims));
  };
  if (!options_.keep_all)
    for (int s = 0; s < end; ++s) {
      if (steps[static_cast<size_t>(s)].outs.size() != 1) continue;
      int out = storage[static_cast<size_t>(steps[static_cast<size_t>(s)].outs[0])];
      if (!arena_value(static_cast<size_t>(out)) || first[static_cast<size_t>(out)] != s) continue;
      for (int candidate : in_place_[static_cast<size_t>(s)]) {
        int in = find(storage[static_cast<size_t>(candidate)]);
        if (!arena_value(static_cast<size_t>(in)) || last[static_cast<size_t>(in)] != s || bytes_of(in) != bytes_of(out) || bytes_of(candidate) != bytes_of(out))
          continue;
        // The same bytes may be read by another operand of this step, which is fine only when it is this operand.
        int reads = 0;
        for (int id : steps[static_cast<size_t>(s)].ins) reads += find(storage[static_cast<size_t>(id)]) == in;
        if (reads != 1) continue;
        merged[static_cast<size_t>(out)] = in;
        last[static_cast<size_t>(in)] = last[static_cast<size_t>(out)];
        break;
      }
    }

  std::vector<Buffer> buffers;
  for (size_t i = 0; i < n; ++i)
    if (static_cast<size_t>(storage[i]) == i && merged[i] == static_cast<int>(i) && arena_value(i))
      buffers.push_back({static_cast<int>(i), static_cast<int64_t>(align_up(static_cast<size_t>(bytes_of(static_cast<int>(i))) + kAlignment)),
                         first[i], std::max(last[i], first[i])});
  std::vector<size_t> order(buffers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<size_t> placed;  // sorted by offset
  int64_t total = 0;
  for (size_t index : order) {
    Buffer& buffer = buffers[index];
    int64_t offset = 0;
    for (size_t other_index : placed) {
      const Buffer& other = buffers[other_index];
      if (other.last < buffer.first || other.first > buffer.last) continue;
      if (offset + buffer.bytes <= other.offset) break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    buffer.offset = offset;
    total = std::max(total, offset + buffer.bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), index, [&](size_t a, size_t b) { return buffers[a].offset < buffers[b].offset; }), index);
  }
  info.arena_bytes = align_up(static_cast<size_t>(total));
  size_t needed = info.arena_bytes + align_up(info.scratch_bytes) + kAlignment;
  // The kernel gives out more than there is, and kills whoever uses it: what does not fit is refused here.
  arena_ok_ = needed <= options_.max_bytes && arena_.reset(needed);
  if (!arena_ok_ && !order.empty()) {
    const ir::Value* largest = values[static_cast<size_t>(buffers[order[0]].id)].value;
    bool made = largest != nullptr && largest->producer != nullptr;
    largest_ = made ? op_place(*largest->producer) : largest != nullptr ? "input \"" + largest->name + "\"" : "the program";
  }
  if (!arena_ok_) return;

  std::vector<int64_t> offset_of(n, -1);
  for (const Buffer& buffer : buffers) offset_of[static_cast<size_t>(buffer.id)] = buffer.offset;
  for (size_t i = 0; i < n; ++i) {
    PlanValue& v = values[i];
    if (v.is_constant || v.dynamic || !v.type.is_static()) continue;
    int r = storage[i];
    DType dtype = held_dtype(v);
    if (values[static_cast<size_t>(r)].is_constant) {
      keep(r);
      regs[i].tensor = regs[static_cast<size_t>(r)].tensor.reshaped(v.type.dims);
      continue;
    }
    if (v.type.dtype == DType::kString) {
      regs[i].tensor = Tensor::uninitialized(DType::kString, v.type.dims);
      continue;
    }
    int64_t offset = offset_of[static_cast<size_t>(find(r))];
    if (offset < 0) continue;
    regs[i].tensor = Tensor::window(dtype, v.type.dims, arena_.data<std::byte>() + offset + offset_in_root(static_cast<int>(i)), nullptr);
  }
  for (int id : output_ids) keep(id);
  std::vector<bool> shared(n, false);
  for (size_t i = 0; i < n; ++i) {
    const auto with = static_cast<size_t>(find(static_cast<int>(i)));
    if (with != i) shared[i] = shared[with] = true;
  }
  find_outside(storage, shared);
  // A view of a value outside the arena would be stale; views are only made of arena values and constants.
  for (Step& step : steps) info.steps.push_back(step.info);
}

}  // namespace mlt
