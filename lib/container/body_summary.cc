// Histograms and precisions of metadata.json (reference mlmodelc.md sections 3.5 and 3.6).
#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>

#include "lib/container/metadata_json.h"
#include "lib/coreml/nn_layers.h"

namespace mlt {
namespace {

constexpr unsigned k16 = 1, k17 = 2, k18 = 4;

struct Versions {
  std::string_view op;
  unsigned seen;  // opsets with a definition of their own
};
// Which ops have versioned definitions. The iOS 16 and 17 columns are observed for the ops that the reference lists;
// other ops follow their family, and in iOS 18 (where relu is the only op seen) arithmetic follows relu.
constexpr Versions kVersions[] = {
    {"add", k16 | k17 | k18}, {"sub", k16 | k17 | k18}, {"mul", k16 | k17 | k18}, {"real_div", k16 | k17 | k18},
    {"floor_div", k16 | k17 | k18}, {"mod", k16 | k17 | k18}, {"pow", k16 | k17 | k18}, {"maximum", k16 | k17 | k18},
    {"minimum", k16 | k17 | k18}, {"equal", k16 | k17 | k18}, {"not_equal", k16 | k17 | k18}, {"less", k16 | k17 | k18},
    {"less_equal", k16 | k17 | k18}, {"greater", k16 | k17 | k18}, {"greater_equal", k16 | k17 | k18},
    {"logical_and", k16 | k17 | k18}, {"logical_or", k16 | k17 | k18}, {"logical_xor", k16 | k17 | k18},
    {"logical_not", k16 | k17 | k18}, {"abs", k16 | k17 | k18}, {"ceil", k16 | k17 | k18}, {"clip", k16 | k17 | k18},
    {"cos", k16 | k17 | k18}, {"erf", k16 | k17 | k18}, {"exp", k16 | k17 | k18}, {"exp2", k16 | k17 | k18},
    {"floor", k16 | k17 | k18}, {"inverse", k16 | k17 | k18}, {"log", k16 | k17 | k18}, {"round", k16 | k17 | k18},
    {"rsqrt", k16 | k17 | k18}, {"sign", k16 | k17 | k18}, {"sin", k16 | k17 | k18}, {"sqrt", k16 | k17 | k18},
    {"square", k16 | k17 | k18}, {"tan", k16 | k17 | k18}, {"threshold", k16 | k17 | k18}, {"cast", k17 | k18},
    {"conv", k16 | k17 | k18}, {"conv_transpose", k16 | k17 | k18}, {"linear", k16 | k17 | k18}, {"matmul", k16 | k17 | k18},
    {"einsum", k16 | k17 | k18}, {"batch_norm", k16 | k17 | k18}, {"instance_norm", k16 | k17 | k18},
    {"layer_norm", k16 | k17 | k18}, {"l2_norm", k16 | k17 | k18}, {"local_response_norm", k16 | k17 | k18},
    {"lstm", k16 | k17 | k18}, {"gru", k16 | k17 | k18}, {"rnn", k16 | k17 | k18}, {"avg_pool", k16 | k17 | k18},
    {"max_pool", k16 | k17 | k18}, {"l2_pool", k16 | k17 | k18},
    {"elu", k16 | k18}, {"gelu", k16 | k18}, {"leaky_relu", k16 | k18}, {"prelu", k16 | k18}, {"relu", k16 | k18},
    {"relu6", k16 | k18}, {"sigmoid", k16 | k18}, {"sigmoid_hard", k16 | k18}, {"silu", k16 | k18}, {"softmax", k16 | k18},
    {"softplus", k16 | k18}, {"softsign", k16 | k18}, {"tanh", k16 | k18}, {"scaled_tanh", k16 | k18},
    {"reduce_l1_norm", k16 | k18}, {"reduce_l2_norm", k16 | k18}, {"reduce_log_sum", k16 | k18},
    {"reduce_log_sum_exp", k16 | k18}, {"reduce_max", k16 | k18}, {"reduce_mean", k16 | k18}, {"reduce_min", k16 | k18},
    {"reduce_prod", k16 | k18}, {"reduce_sum", k16 | k18}, {"reduce_sum_square", k16 | k18},
    {"reduce_argmax", k16 | k17 | k18}, {"reduce_argmin", k16 | k17 | k18},
    {"constexpr_affine_dequantize", k16}, {"constexpr_cast", k16}, {"constexpr_lut_to_dense", k16 | k18},
    {"constexpr_sparse_to_dense", k16 | k18}, {"constexpr_blockwise_shift_scale", k18}, {"constexpr_lut_to_sparse", k18},
    {"constexpr_sparse_blockwise_shift_scale", k18},
    {"reshape", k16 | k17 | k18}, {"reshape_like", k16 | k17}, {"concat", k17 | k18}, {"expand_dims", k17 | k18},
    {"squeeze", k17 | k18}, {"transpose", k17 | k18}, {"slice_by_index", k17 | k18}, {"slice_by_size", k17 | k18},
    {"slice_update", k18}, {"reverse", k17}, {"reverse_sequence", k17}, {"gather", k17 | k18}, {"gather_along_axis", k17 | k18},
    {"gather_nd", k17 | k18}, {"scatter", k17 | k18}, {"scatter_along_axis", k17 | k18}, {"scatter_nd", k17 | k18},
    {"topk", k17 | k18}, {"argsort", k17}, {"non_maximum_suppression", k17}, {"resample", k17}, {"resize", k17},
    {"crop_resize", k17}, {"quantize", k17}, {"dequantize", k17}, {"scaled_dot_product_attention", k18},
    {"read_state", k18}, {"write_state", k18},
};

std::string camel_case(std::string_view name) {
  std::string out;
  bool up = false;
  for (char c : name) {
    if (c == '_') {
      up = true;
      continue;
    }
    out += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    up = false;
  }
  return out;
}

std::string type_label(DType dtype) {
  switch (dtype) {
    case DType::kF16: return "Float16";
    case DType::kF32: return "Float32";
    case DType::kF64: return "Float64";
    case DType::kBF16: return "BFloat16";
    case DType::kF8E4M3FN: return "Float8E4M3FN";
    case DType::kF8E5M2: return "Float8E5M2";
    default: break;
  }
  std::string name(dtype_name(dtype));  // "int8", "uint4"
  if (name.starts_with("uint")) return "UInt" + name.substr(4);
  if (name.starts_with("int")) return "Int" + name.substr(3);
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

std::string join(const std::set<std::string>& labels) {
  if (labels.empty()) return {};
  if (labels.size() == 1) return *labels.begin();
  std::string text;
  for (const std::string& label : labels) text += (text.empty() ? "Mixed (" : ", ") + label;
  return text + ")";
}

class Summary {
 public:
  void add(const ir::Function& function) {
    function.for_each_op([&](const ir::Op& op) { this->op(op, function.opset); });
  }
  BodySummary take() {
    return {std::move(operations_), {}, join(compute_), join(storage_)};
  }

 private:
  void op(const ir::Op& op, std::string_view opset) {
    bool constexpr_op = op.kind.starts_with("constexpr_");
    if (op.is_const() || constexpr_op) storage(op);
    if (op.is_const()) return;
    std::string key = histogram_key(op.kind, opset);
    auto it = rows_.find(key);
    if (it == rows_.end()) {
      rows_.emplace(key, operations_.size());
      operations_.emplace_back(std::move(key), 1);
    } else {
      ++operations_[it->second].second;
    }
    for (const auto& output : op.outputs) compute(output->type);
    if (constexpr_op) return;  // its operands are storage, not arithmetic
    for (const ir::Arg& arg : op.args)
      for (const ir::Operand& operand : arg.operands) compute(operand.type());
  }
  void compute(const ir::Type& type) {
    for (const ir::Type& param : type.params) compute(param);
    if (type.is_tensor() && type.dtype != DType::kBool && type.dtype != DType::kString) compute_.insert(type_label(type.dtype));
  }
  void storage(const ir::Op& op) {
    for (const auto& [key, value] : op.attributes) {
      if (value == nullptr || !value->blob) continue;
      // Packed codes of a palette (opsets before iOS 18) count as the palette, below.
      if (op.kind == "constexpr_lut_to_dense" && key == "indices") continue;
      storage_.insert(type_label(value->type.dtype));
    }
    if (op.kind == "constexpr_lut_to_dense") {
      int64_t entries = 0;
      if (auto lut = op.attributes.find("lut"); lut != op.attributes.end() && lut->second) entries = extent_product(lut->second->type);
      else if (const ir::Operand* operand = op.operand("lut")) entries = extent_product(operand->type());
      if (entries > 0) storage_.insert(fmt::format("Palettized ({} bits)", std::bit_width(static_cast<uint64_t>(entries - 1))));
    }
    if (op.kind == "constexpr_sparse_to_dense") storage_.insert("Sparse");
  }
  static int64_t extent_product(const ir::Type& type) {
    auto count = type.is_static() ? element_count(type.dims) : Result<int64_t>(int64_t{0});
    return count.ok() ? *count : 0;
  }

  Histogram operations_;
  std::map<std::string, size_t> rows_;
  std::set<std::string> compute_, storage_;
};

}  // namespace

std::string histogram_key(std::string_view op, std::string_view opset) {
  unsigned have = opset == "CoreML5" ? 0 : opset == "CoreML6" ? k16 : opset == "CoreML7" ? k16 | k17 : k16 | k17 | k18;
  std::string name = camel_case(op);
  for (const Versions& row : kVersions) {
    if (row.op != op) continue;
    unsigned known = row.seen & have;
    if (known & k18) return "Ios18." + name;
    if (known & k17) return "Ios17." + name;
    if (known & k16) return "Ios16." + name;
    break;
  }
  if (!name.empty() && name[0] >= 'a' && name[0] <= 'z') name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

BodySummary summarize(const ir::Function& function) {
  Summary summary;
  summary.add(function);
  return summary.take();
}

BodySummary summarize(const ir::Program& program) {
  Summary summary;
  for (const auto& function : program.functions) summary.add(*function);
  return summary.take();
}

std::vector<std::string> program_class_labels(const ir::Program& program) {
  std::vector<std::string> labels;
  for (const auto& function : program.functions)
    function->for_each_op([&](const ir::Op& op) {
      const ir::Operand* classes = op.kind == "classify" && labels.empty() ? op.operand("classes") : nullptr;
      const ir::Literal* literal = classes != nullptr ? classes->constant() : nullptr;
      if (literal == nullptr) return;
      auto add = [&](const Tensor& tensor) {
        if (!tensor.valid()) return;
        if (tensor.dtype() == DType::kString) labels.insert(labels.end(), tensor.strings().begin(), tensor.strings().end());
        else for (int64_t value : to_ints(tensor)) labels.push_back(std::to_string(value));
      };
      add(literal->tensor);
      for (const ir::Literal& item : literal->items) add(item.tensor);
    });
  return labels;
}

BodySummary summarize_network(const coreml::Model& model) {
  BodySummary out;
  std::map<std::string, int64_t> counts;
  for (const coreml::NnLayer& layer : coreml::nn_layers(model)) ++counts[layer.histogram_name];
  out.layers.assign(counts.begin(), counts.end());
  out.compute_precision = "Float16";  // in every sample, whatever the weights
  bool f32 = false, f16 = false;
  std::set<std::string> other;
  for (const coreml::NnWeight& weight : coreml::nn_weights(model)) {
    if (weight.storage == "float32") f32 = true;
    else if (weight.storage == "float16") f16 = true;
    else other.insert(weight.storage);
  }
  // Unlike those of programs, not sorted: "Mixed (Float32, Float16)".
  std::vector<std::string> labels;
  if (f32) labels.emplace_back("Float32");
  if (f16) labels.emplace_back("Float16");
  labels.insert(labels.end(), other.begin(), other.end());
  for (const std::string& label : labels) out.storage_precision += (out.storage_precision.empty() ? "" : ", ") + label;
  if (labels.size() > 1) out.storage_precision = "Mixed (" + out.storage_precision + ")";
  return out;
}

}  // namespace mlt
