#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "lib/coreml/mil_read.h"
#include "lib/coreml/nn_layers.h"
#include "lib/inspect/inspect.h"

namespace mlt::inspect {
namespace {

constexpr int64_t kSmallest = 10;  // elements; shorter constants are arguments, not weights

// Calls visit(weight, literal) for what a program stores: constants of some size, and parameters of constexpr ops.
void program_weights(const ir::Program& program, const std::string& prefix, const std::function<void(Weight, const ir::Literal&)>& visit) {
  for (const auto& function : program.functions) {
    std::string before = program.functions.size() > 1 ? prefix + function->name + "/" : prefix;
    function->for_each_op([&](const ir::Op& op) {
      bool expression = op.kind.starts_with("constexpr_");
      if (!op.is_const() && !expression) return;
      auto add = [&](const std::string& key, const ir::Literal* value) {
        if (value == nullptr || !value->type.is_static() || value->type.dtype == DType::kString || value->type.dtype == DType::kBool) return;
        auto count = element_count(value->type.dims);
        if (!count.ok() || (!value->blob && *count < kSmallest)) return;
        std::string name(op.outputs.empty() ? op.name() : std::string_view(op.outputs[0]->name));
        Weight weight;
        weight.name = before + name + (expression ? "." + key : "");
        weight.storage = dtype_name(value->type.dtype);
        weight.place = value->blob ? fmt::format("{}:{}", value->blob->file, value->blob->offset) : "model";
        weight.dims = value->type.dims;
        weight.elements = *count;
        weight.bytes = static_cast<uint64_t>(storage_bytes(value->type.dtype, *count));
        weight.missing = !value->tensor.valid();
        weight.floats = is_float(value->type.dtype);
        visit(std::move(weight), *value);
      };
      // Attributes up to CoreML7, inputs from CoreML8 on.
      for (const auto& [key, value] : op.attributes) add(key, value.get());
      if (!expression) return;
      for (const ir::Arg& arg : op.args)
        for (const ir::Operand& operand : arg.operands) add(arg.name, operand.literal.get());
    });
  }
}

// Calls visit(weight, values) for everything stored, in order.
using Values = std::function<Result<Tensor>()>;
void each_weight(const Subject& subject, const std::function<void(Weight, const Values&)>& visit) {
  std::set<std::pair<std::string, std::string>> files;  // stage and place
  auto visit_program = [&](const ir::Program& program, const std::string& prefix) {
    program_weights(program, prefix, [&](Weight weight, const ir::Literal& literal) {
      weight.shares = literal.blob && !files.emplace(subject.opened.compiled ? prefix : "", weight.place).second;
      bool missing = weight.missing;
      std::string place = weight.place;
      visit(std::move(weight), [&literal, missing, place]() -> Result<Tensor> {
        if (missing) return input_error(fmt::format("its values ({}) are missing", place));
        return literal.tensor;
      });
    });
  };
  auto visit_network = [&](const coreml::Model& model, const std::string& prefix) {
    std::vector<coreml::NnWeight> weights = coreml::nn_weights(model);
    for (size_t i = 0; i < weights.size(); ++i) {
      Weight weight;
      weight.name = prefix + weights[i].name;
      weight.storage = weights[i].storage;
      weight.place = "model";
      weight.dims = weights[i].dims;
      auto count = element_count(weight.dims);
      weight.elements = count.ok() ? *count : 0;
      weight.bytes = weights[i].bytes;
      weight.floats = weights[i].storage != "raw";
      visit(std::move(weight), [&model, i] { return coreml::nn_weight_values(model, i); });
    }
  };
  std::function<void(const coreml::Model&, const std::string&)> visit_networks = [&](const coreml::Model& model, const std::string& prefix) {
    if (coreml::is_neural_network(model.kind())) visit_network(model, prefix);
    for (size_t i = 0; i < model.child_count(); ++i) visit_networks(model.child(i), fmt::format("{}{}/", prefix, i));
  };
  bool pipeline = coreml::is_pipeline(subject.opened.model.kind());
  for (size_t i = 0; i < subject.programs.size(); ++i)
    if (subject.programs[i] != nullptr) visit_program(*subject.programs[i], pipeline ? fmt::format("{}/", i) : "");
  visit_networks(subject.opened.model, "");
}

// How alike two names are: length of their longest common part.
size_t common_part(std::string_view a, std::string_view b) {
  size_t best = 0;
  std::vector<size_t> row(b.size() + 1), next(b.size() + 1);
  for (char x : a) {
    for (size_t j = 0; j < b.size(); ++j) {
      next[j + 1] = x == b[j] ? row[j] + 1 : 0;
      best = std::max(best, next[j + 1]);
    }
    row.swap(next);
  }
  return best;
}

}  // namespace

std::vector<Weight> list_weights(const Subject& subject, bool with_statistics) {
  std::vector<Weight> out;
  each_weight(subject, [&](Weight weight, const Values& values) {
    if (with_statistics && weight.floats && !weight.missing)
      if (auto tensor = values(); tensor.ok()) weight.statistics = statistics(*tensor);
    out.push_back(std::move(weight));
  });
  return out;
}

Result<Tensor> weight_values(const Subject& subject, std::string_view name) {
  std::optional<Result<Tensor>> found;
  std::vector<std::pair<size_t, std::string>> near;
  each_weight(subject, [&](Weight weight, const Values& values) {
    if (found) return;
    if (weight.name == name) found.emplace(values().in(fmt::format("weight {}", name)));
    else if (near.size() < 10000 && weight.name.size() < 200) near.emplace_back(common_part(name.substr(0, 200), weight.name), weight.name);
  });
  if (found) return std::move(*found);
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string hint;
  for (size_t i = 0; i < std::min<size_t>(near.size(), 3); ++i) hint += (i ? ", " : "like it are: ") + near[i].second;
  return usage_error(fmt::format("no weight is named \"{}\"", name), hint.empty() ? "the model has no weights that can be listed" : hint);
}

std::optional<Statistics> statistics(const Tensor& tensor) {
  if (!tensor.valid() || !is_float(tensor.dtype()) || tensor.size() == 0) return std::nullopt;
  Tensor values = convert(tensor, DType::kF32);
  const float* data = values.data<float>();
  Statistics out;
  double sum = 0, squares = 0;
  out.min = std::numeric_limits<double>::infinity();
  out.max = -out.min;
  for (int64_t i = 0; i < values.size(); ++i) {
    double value = data[i];
    if (!std::isfinite(value)) {
      ++out.not_finite;
      continue;
    }
    out.min = std::min(out.min, value);
    out.max = std::max(out.max, value);
    sum += value;
    squares += value * value;
    out.zeros += value == 0;
  }
  int64_t finite = values.size() - out.not_finite;
  if (finite == 0) return Statistics{0, 0, 0, 0, 0, out.not_finite};
  out.mean = sum / static_cast<double>(finite);
  out.deviation = std::sqrt(std::max(0.0, squares / static_cast<double>(finite) - out.mean * out.mean));
  return out;
}

}  // namespace mlt::inspect
