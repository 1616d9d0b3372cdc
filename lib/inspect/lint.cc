#include "lib/inspect/lint.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

constexpr double kFloat16Max = 65504;

struct Context {
  const Subject& subject;
  const Report& report;
  const std::vector<Unit>& units;
  const LintOptions& options;
  std::vector<LintFinding>& out;
  std::string_view rule;
  Level level;
  size_t count = 0;

  void add(const std::string& place, const std::string& kind, const std::string& name, std::string message) {
    add(level, place, kind, name, std::move(message));
  }
  void add(Level as, const std::string& place, const std::string& kind, const std::string& name,
           std::string message) {
    if (++count <= options.most_per_rule)
      out.push_back({std::string(rule), as, place, kind, name, std::move(message)});
  }
  void node(const Unit& unit, const Node& node, std::string message) {
    add(unit.place, node.kind, node.name, std::move(message));
  }
  void each_node(const std::function<void(const Unit&, const Node&)>& visit) const {
    for (const Unit& unit : units)
      for (const Node& n : unit.nodes) visit(unit, n);
  }
  void each_constant(const std::function<void(const Unit&, const Constant&)>& visit) const {
    for (const Unit& unit : units)
      for (const Constant& c : unit.constants) visit(unit, c);
  }
};

bool named(const std::string& kind, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), kind) != names.end();
}

// Sizes of the finite values, and how many there are of the others.
struct Extremes {
  double greatest = 0;
  int64_t nan = 0, infinite = 0, zero = 0, total = 0;
};
Extremes extremes(const Tensor& tensor) {
  Extremes e;
  e.total = tensor.size();
  Tensor values = convert(tensor, DType::kF32);
  const float* data = values.data<float>();
  for (int64_t i = 0; i < values.size(); ++i) {
    if (std::isnan(data[i]))
      ++e.nan;
    else if (std::isinf(data[i]))
      ++e.infinite;
    else
      e.greatest = std::max(e.greatest, static_cast<double>(std::fabs(data[i])));
    e.zero += data[i] == 0;
  }
  return e;
}
bool readable_floats(const Constant& c, Result<Tensor>& values) {
  return !c.missing && (values = c.values()).ok() && values->valid() &&
         (values->dtype() == DType::kF16 || values->dtype() == DType::kF32) && values->size() > 0;
}

void not_finite(Context& c) {
  c.each_constant([&](const Unit& unit, const Constant& constant) {
    Result<Tensor> values = input_error("");
    if (!readable_floats(constant, values)) return;
    Extremes e = extremes(*values);
    if (e.nan > 0)
      c.add(Level::kError, unit.place, "constant", constant.name,
            fmt::format("{} of {} values are NaN", e.nan, e.total));
    else if (e.infinite > 0)
      c.add(unit.place, "constant", constant.name,
            fmt::format("{} of {} values are infinite{}", e.infinite, e.total,
                        constant.storage == "fp16" || constant.storage == "float16"
                            ? ", as those that overflow float16 become"
                            : ""));
  });
}

void float16_overflow(Context& c) {
  for (const Unit& unit : c.units) {
    // Float32 programs are computed in float16 where the app lets Core ML choose.
    for (const Constant& constant : unit.constants) {
      Result<Tensor> values = input_error("");
      if (constant.storage == "fp16" || constant.storage == "float16" || !readable_floats(constant, values) ||
          !named(unit.kind,
                 {"mlProgram", "neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"}))
        continue;
      Extremes e = extremes(*values);
      if (e.greatest > kFloat16Max)
        c.add(unit.place, "constant", constant.name,
              fmt::format("{:.6g} does not fit float16, in which GPUs and the Neural Engine compute",
                          e.greatest));
    }
    for (const Node& node : unit.nodes)
      if (node.op != nullptr)
        for (const ir::Arg& arg : node.op->args)
          for (const ir::Operand& operand : arg.operands) {
            const Tensor* value = operand.constant_tensor();
            if (value == nullptr || value->dtype() != DType::kF32 || value->size() == 0 ||
                value->size() >= 10)
              continue;
            Extremes e = extremes(*value);
            if (e.greatest > kFloat16Max)
              c.node(
                  unit, node,
                  fmt::format("{} = {:.6g} does not fit float16, in which GPUs and the Neural Engine compute",
                              arg.name, e.greatest));
          }
  }
}

void unused_weight(Context& c) {
  for (const Unit& unit : c.units) {
    if (unit.function == nullptr) continue;
    ir::Users users(*unit.function);
    unit.function->for_each_op([&](const ir::Op& op) {
      if (!(op.is_const() || op.kind.starts_with("constexpr_")) || op.outputs.size() != 1 ||
          users.count(op.output()) > 0)
        return;
      auto count =
          op.output()->type.is_static() ? element_count(op.output()->type.dims) : Result<int64_t>(int64_t{0});
      if (count.ok() && *count >= 10)
        c.add(unit.place, "constant", op.output()->name,
              fmt::format("no operation uses these {} values", *count));
    });
  }
}

void dead_operation(Context& c) {
  for (const Unit& unit : c.units) {
    if (unit.function == nullptr) continue;
    ir::Users users(*unit.function);
    for (const Node& node : unit.nodes) {
      if (node.op == nullptr || node.op->outputs.empty() ||
          node.kind.find("write_state") != std::string::npos)
        continue;
      bool used = std::any_of(node.op->outputs.begin(), node.op->outputs.end(),
                              [&](const auto& value) { return users.count(value.get()) > 0; });
      if (!used) c.node(unit, node, "its result is not used");
    }
  }
}

void duplicate_constant(Context& c) {
  for (const Unit& unit : c.units) {
    std::map<std::pair<std::string, Dims>, std::vector<const Constant*>> forms;
    for (const Constant& constant : unit.constants)
      if (constant.bytes >= c.options.duplicate && !constant.missing && !constant.stored().empty())
        forms[{constant.storage, constant.dims}].push_back(&constant);
    for (const auto& [form, list] : forms) {
      std::map<std::string_view, const Constant*> seen;
      for (const Constant* constant : list) {
        auto [it, fresh] = seen.try_emplace(as_text(constant->stored()), constant);
        // The same place in a weight file is stored once.
        if (!fresh && it->second->stored().data() != constant->stored().data())
          c.add(unit.place, "constant", constant->name,
                fmt::format("the same {} as {}, stored twice", size_text(constant->bytes), it->second->name));
      }
    }
  }
}

std::vector<int64_t> permutation(const ir::Op& op) {
  const ir::Operand* perm = op.operand("perm");
  std::vector<int64_t> out;
  if (perm == nullptr || perm->constant_tensor() == nullptr) return out;
  out = to_ints(*perm->constant_tensor());
  for (int64_t& p : out) p += p < 0 ? static_cast<int64_t>(out.size()) : 0;
  return out;
}

void cancelling_transposes(Context& c) {
  c.each_node([&](const Unit& unit, const Node& node) {
    if (node.op == nullptr || node.kind != "transpose") return;
    const ir::Value* x = node.op->input("x");
    if (x == nullptr || x->producer == nullptr || x->producer->kind != "transpose") return;
    std::vector<int64_t> first = permutation(*x->producer), second = permutation(*node.op);
    if (first.empty() || first.size() != second.size()) return;
    for (size_t i = 0; i < second.size(); ++i)
      if (second[i] < 0 || static_cast<size_t>(second[i]) >= first.size() ||
          first[static_cast<size_t>(second[i])] != static_cast<int64_t>(i))
        return;
    c.node(unit, node, fmt::format("undoes {}", x->producer->name()));
  });
}

void dynamic_shape(Context& c) {
  std::set<std::string> seen;
  auto features = [&](const std::vector<coreml::FeatureDescription>& list) {
    for (const auto& feature : list) {
      const auto& array = feature.type.array;
      const auto& image = feature.type.image;
      bool open = false;
      if (feature.type.kind == coreml::FeatureKind::kMultiArray &&
          array.flexibility == coreml::Flexibility::kRange)
        open = std::any_of(array.shape_range.begin(), array.shape_range.end(),
                           [](const auto& r) { return r.upper < 0; });
      if (feature.type.kind == coreml::FeatureKind::kImage &&
          image.flexibility == coreml::Flexibility::kRange)
        open = image.width_range.upper < 0 || image.height_range.upper < 0;
      if (open && seen.insert(feature.name).second)
        c.add("", "input", feature.name,
              "its shape has no upper bound: memory cannot be planned, and the Neural Engine is not used; "
              "give bounds or enumerate shapes");
    }
  };
  for (const std::string& name : c.report.description.function_names())
    if (auto function = c.report.description.function(name)) features(function->inputs);
  c.each_node([&](const Unit& unit, const Node& node) {
    if (named(node.kind, {"non_zero", "whereNonZero"}))
      c.node(unit, node, "the extents of its result depend on values: what follows cannot be planned");
  });
}

void large_blob(Context& c) {
  std::map<std::string, uint64_t> files;
  for (const Weight& weight : list_weights(c.subject)) {
    if (weight.bytes > c.options.large_blob)
      c.add("", "constant", weight.name, fmt::format("{} in one tensor", size_text(weight.bytes)));
    if (!weight.shares && weight.place != "model")
      files[weight.place.substr(0, weight.place.rfind(':'))] += weight.bytes;
  }
  for (const auto& [file, bytes] : files)
    if (bytes > c.options.large_blob)
      c.add("", "file", file,
            fmt::format(
                "{} of weights in one file, more than {}: iPhones may refuse to load it; split the model",
                size_text(bytes), size_text(c.options.large_blob)));
}

void missing_weights(Context& c) {
  for (const std::string& file : c.report.missing_files)
    c.add("", "file", file, "the model names this weight file, and it is not there");
}

void missing_metadata(Context& c) {
  const coreml::Metadata& m = c.report.description.metadata;
  std::string lacks;
  for (const auto& [name, value] : {std::pair{"description", &m.short_description},
                                    {"author", &m.author},
                                    {"license", &m.license},
                                    {"version", &m.version}})
    if (value->empty()) lacks += (lacks.empty() ? "" : ", ") + std::string(name);
  if (!lacks.empty()) c.add("", "", "", "no " + lacks + ": mlconvert --metadata sets them");
}

void undocumented_feature(Context& c) {
  auto interface = c.report.description.function();
  if (!interface) return;
  for (const auto& feature : interface->inputs)
    if (feature.doc.empty()) c.add("", "input", feature.name, "has no description");
  for (const auto& feature : interface->outputs)
    if (feature.doc.empty()) c.add("", "output", feature.name, "has no description");
}

void deprecated_op(Context& c) {
  // Layers of five axes whose later forms take any rank (source: NeuralNetwork.proto of specification 4), and
  // operations that a later opset replaces.
  static constexpr std::pair<std::string_view, std::string_view> kReplaced[] = {
      {"reshape", "reshapeStatic"},
      {"flatten", "flattenTo2D"},
      {"permute", "transpose"},
      {"concat", "concatND"},
      {"split", "splitND"},
      {"slice", "sliceStatic"},
      {"sequenceRepeat", "tile"},
      {"softmax", "softmaxND"},
      {"loadConstant", "loadConstantND"},
      {"embedding", "embeddingND"},
      {"padding", "constantPad"},
      {"reduce", "reduceSum and its like"},
      {"add", "addBroadcastable"},
      {"multiply", "multiplyBroadcastable"},
      {"max", "maxBroadcastable"},
      {"min", "minBroadcastable"}};
  std::map<std::pair<std::string, std::string>, std::pair<int64_t, const Node*>> found;
  for (const Unit& unit : c.units) {
    if (unit.function != nullptr || !unit.kind.starts_with("neuralNetwork") || c.report.spec_version < 4)
      continue;
    for (const Node& node : unit.nodes)
      for (const auto& [old, now] : kReplaced)
        if (node.kind == old) {
          auto& entry = found[{unit.place, std::string(now)}];
          if (entry.first++ == 0) entry.second = &node;
        }
  }
  for (const auto& [key, entry] : found)
    c.add(key.first, entry.second->kind, entry.second->name,
          fmt::format("{} of five axes, which {} replaces{}", entry.second->kind, key.second,
                      entry.first > 1 ? fmt::format(" ({} of them)", entry.first) : ""));
}

void cpu_only_op(Context& c) {
  c.each_node([&](const Unit& unit, const Node& node) {
    bool likely = named(node.kind, {"non_zero",
                                    "non_maximum_suppression",
                                    "while_loop",
                                    "cond",
                                    "list_gather",
                                    "list_scatter",
                                    "list_read",
                                    "list_write",
                                    "make_list",
                                    "argsort",
                                    "multinomial",
                                    "custom",
                                    "whereNonZero",
                                    "NonMaximumSuppression",
                                    "branch",
                                    "loop",
                                    "gru",
                                    "simpleRecurrent",
                                    "uniDirectionalLSTM",
                                    "biDirectionalLSTM",
                                    "lstm",
                                    "rnn"}) ||
                  node.kind.starts_with("random_") ||
                  (node.kind.starts_with("random") && unit.function == nullptr) ||
                  node.kind.starts_with("scatter");
    if (likely) c.node(unit, node, "heuristic: usually runs on the CPU, so that data goes back and forth");
  });
}

void nondeterministic_op(Context& c) {
  c.each_node([&](const Unit& unit, const Node& node) {
    if (!node.kind.starts_with("random") && node.kind != "multinomial" &&
        node.kind != "categoricalDistribution")
      return;
    for (const auto& [key, value] : node.fields)
      if (key == "seed" && value != "-1") return;
    c.node(unit, node, "draws other numbers at every run: it has no seed");
  });
}

void dead_scale(Context& c) {
  for (const Unit& unit : c.units) {
    if (unit.function == nullptr) {
      c.each_constant([&](const Unit& of, const Constant& constant) {
        if (&of != &unit || !constant.storage.starts_with("linear")) return;
        auto values = constant.values();
        if (!values.ok() || values->size() == 0 || !is_float(values->dtype())) return;
        Extremes e = extremes(*values);
        if (e.zero == e.total)
          c.add(unit.place, "constant", constant.name, "all its values are zero after dequantization");
      });
      continue;
    }
    unit.function->for_each_op([&](const ir::Op& op) {
      if (!named(op.kind, {"constexpr_affine_dequantize", "constexpr_blockwise_shift_scale", "quantize",
                           "dequantize"}))
        return;
      const Tensor* scale = nullptr;
      if (const ir::Operand* operand = op.operand("scale"))
        scale = operand->constant_tensor();
      else if (auto it = op.attributes.find("scale"); it != op.attributes.end())
        scale = &it->second->tensor;
      if (scale == nullptr || !scale->valid() || scale->size() == 0 || !is_float(scale->dtype())) return;
      Extremes e = extremes(*scale);
      if (e.zero + e.nan + e.infinite > 0)
        c.add(unit.place, op.kind, std::string(op.name()),
              fmt::format("{} of {} scales are {}: what they stand for is lost", e.zero + e.nan + e.infinite,
                          e.total, e.nan + e.infinite > 0 ? "zero or not finite" : "zero"));
    });
  }
}

void zero_weight(Context& c) {
  c.each_constant([&](const Unit& unit, const Constant& constant) {
    Result<Tensor> values = input_error("");
    if (constant.dims.size() < 2 ||
        !named(unit.kind,
               {"mlProgram", "neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"}) ||
        !readable_floats(constant, values) || values->size() < 64)
      return;
    if (Extremes e = extremes(*values); e.zero == e.total)
      c.add(unit.place, "constant", constant.name, fmt::format("all {} values are zero", e.total));
  });
}

struct Row {
  LintRuleInfo info;
  void (*check)(Context&);
};
constexpr Row kRules[] = {
    {{"missing-weights", Level::kError, "A weight file that the model names is not there."}, missing_weights},
    {{"not-finite-constant", Level::kWarning, "A constant holds NaN (an error) or infinite values."},
     not_finite},
    {{"float16-overflow", Level::kWarning,
      "A float32 constant is beyond the range of float16, in which GPUs and the Neural Engine compute."},
     float16_overflow},
    {{"dead-scale", Level::kError,
      "A quantization scale is zero or not finite, so that all it stands for is lost."},
     dead_scale},
    {{"zero-weight", Level::kWarning, "A weight is zero throughout."}, zero_weight},
    {{"unused-weight", Level::kWarning, "A stored constant that no operation uses."}, unused_weight},
    {{"dead-operation", Level::kWarning, "The result of an operation is not used."}, dead_operation},
    {{"duplicate-constant", Level::kWarning, "Two constants with the same bytes."}, duplicate_constant},
    {{"cancelling-transposes", Level::kWarning, "A transpose that undoes the one before it."},
     cancelling_transposes},
    {{"dynamic-shape", Level::kWarning, "Shapes without bounds, or that depend on values, defeat planning."},
     dynamic_shape},
    {{"large-blob", Level::kWarning, "More than 2 GiB in a weight file or tensor."}, large_blob},
    {{"nondeterministic-op", Level::kWarning, "An operation that draws random numbers without a seed."},
     nondeterministic_op},
    {{"deprecated-op", Level::kNote, "A layer that a later specification replaces."}, deprecated_op},
    {{"cpu-only-op", Level::kNote, "Heuristic: an operation that devices usually run on the CPU."},
     cpu_only_op},
    {{"missing-metadata", Level::kNote, "No description, author, license or version."}, missing_metadata},
    {{"undocumented-feature", Level::kNote, "An input or output without a description."},
     undocumented_feature},
};

}  // namespace

std::string_view level_name(Level level) {
  return level == Level::kError ? "error" : level == Level::kWarning ? "warning" : "note";
}

std::vector<LintRuleInfo> lint_rules() {
  std::vector<LintRuleInfo> out;
  for (const Row& row : kRules) out.push_back(row.info);
  return out;
}

Result<std::vector<LintFinding>> lint(const Subject& subject, const LintOptions& options) {
  for (const std::string& name : options.ignore)
    if (std::none_of(std::begin(kRules), std::end(kRules),
                     [&](const Row& row) { return row.info.name == name; })) {
      std::string names;
      for (const Row& row : kRules) names += (names.empty() ? "" : ", ") + std::string(row.info.name);
      return usage_error(fmt::format("there is no rule \"{}\"", name), "the rules are " + names);
    }
  std::vector<LintFinding> out;
  Report report = examine(subject);
  std::vector<Unit> units = units_of(subject, false);
  for (const Row& row : kRules) {
    if (std::find(options.ignore.begin(), options.ignore.end(), row.info.name) != options.ignore.end())
      continue;
    Context context{subject, report, units, options, out, row.info.name, row.info.level};
    row.check(context);
    if (context.count > options.most_per_rule)
      out.push_back({std::string(row.info.name), row.info.level, "", "", "",
                     fmt::format("{} more of this rule", context.count - options.most_per_rule)});
  }
  return out;
}

}  // namespace mlt::inspect
