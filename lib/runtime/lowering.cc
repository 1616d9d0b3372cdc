// What lowering functions may ask of a plan.
#include <algorithm>

#include "lib/runtime/layout.h"
#include "lib/runtime/plan.h"

namespace mlt {

const Dims& Lowering::dims(int id) const {
  const Dims& dims = type(id).dims;
  if (!node_.channels_last) return dims;
  auto [it, added] = bytes_dims_.try_emplace(id);
  if (added) it->second = channels_last_dims(dims);
  return it->second;
}
int64_t Lowering::pitch(int id) const {
  const PlanValue& v = plan_.values[static_cast<size_t>(id)];
  return v.pitch > 0 ? v.pitch : v.type.dims[1];
}
const ir::Type& Lowering::type(int id) const { return plan_.values[static_cast<size_t>(id)].type; }
bool Lowering::is_float(int id) const { return type(id).is_tensor() && mlt::is_float(type(id).dtype); }
int Lowering::element_bytes(int id) const { return dtype_bits(compute_dtype(type(id).dtype)) / 8; }
bool Lowering::is_constant(int id) const { return id >= 0 && plan_.values[static_cast<size_t>(id)].is_constant; }
Tensor Lowering::constant(int id) const {
  if (!is_constant(id)) return {};
  Tensor stored = plan_.materialize(id, false);
  return stored.valid() ? to_compute(stored) : stored;
}
Tensor Lowering::stored_constant(int id) const { return is_constant(id) ? plan_.materialize(id, false) : Tensor(); }
DType Lowering::stored_dtype(int id) const {
  const PlanValue& v = plan_.values[static_cast<size_t>(id)];
  return v.constant.valid() ? v.constant.dtype() : v.type.dtype;
}
std::shared_ptr<CompressedWeight> Lowering::compressed(int id) const {
  if (!is_constant(id) || plan_.values[static_cast<size_t>(id)].deferred == nullptr) return nullptr;
  return compressed_weight(*plan_.values[static_cast<size_t>(id)].deferred);
}
void Lowering::keep_constant(int id) {
  if (is_constant(id)) plan_.keep(id);
}
PackedName Lowering::packed_name(int id) const {
  const PlanValue& v = plan_.values[static_cast<size_t>(id)];
  // Values that have no producer with a name, and those that a fold made, are not told apart by their names.
  PackedName name{nullptr, {}, &plan_.packed_memory_};
  if (plan_.options_.packed == nullptr || v.value == nullptr || v.value->producer == nullptr || v.value->name.empty()) return name;
  if (!v.value->producer->is_const() && !v.value->producer->kind.starts_with("constexpr_")) return name;
  name.forms = plan_.options_.packed.get();
  name.name = plan_.function_->name + "\n" + v.value->name;
  return name;
}

std::shared_ptr<void>* Lowering::prepared_place(int id, const std::string& form) { return plan_.prepared_place(id, form); }

const ExecOptions& Lowering::options() const { return plan_.options_; }

int64_t Lowering::only_handed_out(int id) const {
  const auto i = static_cast<size_t>(id);
  return i < plan_.handed_out_.size() ? std::max<int64_t>(plan_.handed_out_[i], 0) : 0;
}

bool Lowering::make_inside_output(int id, int64_t offset) {
  const int out = node_.outs[0], part = plan_.root(id);
  PlanValue &inner = plan_.values[static_cast<size_t>(part)], &outer = plan_.values[static_cast<size_t>(out)];
  auto bytes = [](const PlanValue& v) { return storage_bytes(held_dtype(v), *element_count(v.type.dims)); };
  // Only what a step of this plan makes for itself, as a whole: inputs come from outside, and a part of something else
  // lies there.
  if (plan_.options_.keep_all || part == plan_.root(out) || inner.is_constant || inner.dynamic || outer.dynamic || !inner.type.is_static()) return false;
  if (std::find(plan_.input_ids.begin(), plan_.input_ids.end(), part) != plan_.input_ids.end()) return false;
  if (plan_.offset_in_root(id) != 0 || bytes(inner) != bytes(plan_.values[static_cast<size_t>(id)]) || offset % 64 != 0) return false;
  inner.alias_of = out;
  inner.alias_offset = offset;
  return true;
}

}  // namespace mlt
