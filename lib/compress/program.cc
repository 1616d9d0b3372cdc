// ML programs: constants become constexpr ops of the function's opset. Which constants, along which axes and under which
// names follows coremltools (optimize/coreml/_quantization_passes.py and optimize/_utils.py).
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <set>

#include "lib/base/mapped.h"
#include "lib/compress/parts.h"
#include "lib/compress/weight.h"
#include "lib/coreml/mil_write.h"
#include "lib/ops/call.h"

namespace mlt::compress {
namespace {

using ops::Opset;

bool is_constexpr(const ir::Op& op) { return op.kind.starts_with("constexpr_"); }

ir::LiteralPtr share(ir::Literal literal) { return std::make_shared<const ir::Literal>(std::move(literal)); }

// A constant to compress, and then what takes its place.
struct Job {
  ir::Function* function = nullptr;
  ir::Op* op = nullptr;
  Opset opset{};
  WeightUse use;
  const Recipe* recipe = nullptr;
  bool keep = false;  // stays; the report says why
  WeightReport report;
  std::vector<Part> parts;  // the result; none: the constant stays
};

// The axes of output and input channels for a weight used by these ops; -1 when they disagree.
WeightUse use_of(const ir::Value& value, const std::vector<ir::Op*>& users) {
  int rank = value.type.rank();
  std::set<int> outputs, inputs;
  WeightUse use;
  use.structured = !users.empty();
  for (const ir::Op* op : users) {
    int output = 0, input = 1;
    if (op->kind == "conv_transpose") {
      std::swap(output, input);
    } else if (op->kind == "matmul") {
      bool is_y = op->input("y") == &value;
      const ir::Operand* flag = op->operand(is_y ? "transpose_y" : "transpose_x");
      const Tensor* tensor = flag != nullptr ? flag->constant_tensor() : nullptr;
      bool transposed = tensor != nullptr && tensor->size() == 1 && to_ints(*tensor)[0] != 0;
      output = is_y == transposed ? rank - 2 : rank - 1;
      input = is_y == transposed ? rank - 1 : rank - 2;
    }
    if (op->kind == "conv" || op->kind == "conv_transpose") {
      const ir::Operand* groups = op->operand("groups");
      const Tensor* tensor = groups != nullptr ? groups->constant_tensor() : nullptr;
      if (tensor != nullptr && tensor->size() == 1) use.conv_groups = std::max<int64_t>(use.conv_groups, to_ints(*tensor)[0]);
    }
    use.structured = use.structured && (op->kind == "conv" || op->kind == "linear") && op->input("weight") == &value;
    outputs.insert(std::clamp(output, 0, rank - 1));
    inputs.insert(std::clamp(input, 0, rank - 1));
  }
  use.output_axis = outputs.size() > 1 ? -1 : outputs.empty() ? 0 : *outputs.begin();
  use.input_axis = inputs.size() > 1 ? -1 : inputs.empty() ? 1 : *inputs.begin();
  return use;
}

// Why a constant is left as it is, or nothing.
std::string reason_to_keep(const ir::Value& value, const ir::Users& users, const Config& config, const Recipe* recipe) {
  const auto& list = users.of(&value);
  if (std::any_of(list.begin(), list.end(), [](const ir::Op* op) { return is_constexpr(*op); })) return "part of a compressed weight";
  if (users.is_block_output(&value)) return "an output";
  if (list.empty()) return "not used";
  if (!config.selects(weight_names(value, list))) return "not selected";
  if (value.type.rank() < 2) return "a vector";
  if (recipe == nullptr) return "its ops have different settings";
  if (recipe->none()) return "no method given for it";
  int64_t threshold = recipe->threshold.value_or(recipe->float16 ? 0 : 2048);
  if (value.constant_tensor()->size() <= threshold) return fmt::format("{} elements or fewer", threshold);
  if (recipe->float16 && value.type.dtype == DType::kF16) return "stored as fp16";
  return "";
}

void compute(Job& job) {
  const Tensor& tensor = *job.op->output()->constant_tensor();
  job.report.bytes_before = job.report.bytes_after = static_cast<uint64_t>(tensor.nbytes());
  Encoded encoded = encode(tensor, *job.recipe, job.use, job.opset);
  forget_mapped(tensor.bytes());
  job.report.form = std::move(encoded.form);
  job.report.distance = encoded.distance;
  job.report.changed = !encoded.parts.empty();
  job.parts = std::move(encoded.parts);
  if (!job.report.changed) return;
  job.report.bytes_after = 0;
  for (const Part& part : job.parts)
    for (const auto& [name, value] : part.constants)
      if (value.dtype() != DType::kString) job.report.bytes_after += static_cast<uint64_t>(value.nbytes());
}

// Puts the constexpr ops in the constant's place; the last one keeps its output. Returns how many came before it.
size_t apply(Job& job, ir::Block& block, size_t position) {
  std::string base = job.op->output()->name;
  std::vector<ir::Op*> made;
  for (size_t i = 0; i < job.parts.size(); ++i) {
    Part& part = job.parts[i];
    bool last = i + 1 == job.parts.size();
    ir::Op& op = last ? *block.ops[position + i] : *block.insert(position + i, part.kind);
    std::string name = job.function->unique_name(base + part.suffix);
    op.kind = part.kind;
    op.attributes.clear();
    op.attributes["name"] = share(ir::Literal::string(name));
    if (last) op.output()->name = name;
    for (size_t k = 0; !last && k < part.outputs.size(); ++k)
      op.add_output(part.outputs.size() == 1 ? name : job.function->unique_name(name + (k == 0 ? "_mask" : "_nonzero_data")), part.outputs[k]);
    for (auto& [parameter, tensor] : part.constants) {
      ir::LiteralPtr literal = share(ir::Literal::of(std::move(tensor)));
      if (job.opset >= Opset::kCoreML8) op.set(parameter, ir::Operand(std::move(literal)));
      else op.attributes[parameter] = std::move(literal);
    }
    for (const Part::Link& link : part.links) op.set(link.parameter, ir::Operand(made[link.part]->output(link.output)));
    made.push_back(&op);
  }
  job.parts.clear();
  return made.size() - 1;
}

// Moves literals to the sink: they keep their type and a reference, and let go of their tensor.
class Mover {
 public:
  Mover(coreml::WeightSink& sink, int spec_version) : sink_(sink), spec_version_(spec_version) {}

  Status attributes(ir::Attributes& attributes, bool large) {
    for (auto& [key, literal] : attributes) {
      MLT_TRY(move(literal, large).in("attribute " + key));
    }
    return {};
  }

  Status op(ir::Op& op) {
    bool large = op.is_const() || is_constexpr(op);
    MLT_TRY(attributes(op.attributes, large));
    for (ir::Arg& arg : op.args)
      for (ir::Operand& operand : arg.operands)
        if (operand.literal) MLT_TRY(move(operand.literal, large).in("parameter " + arg.name));
    return {};
  }

 private:
  Status move(ir::LiteralPtr& literal, bool large) {
    if (literal == nullptr) return {};
    if (!literal->type.is_tensor()) {
      if (!has_reference(*literal)) return {};
      ir::Literal copy = *literal;
      MLT_TRY(inlined(copy));
      literal = share(std::move(copy));
      return {};
    }
    if (!literal->tensor.valid())
      return input_error(literal->blob ? fmt::format("its weights ({}) are missing", literal->blob->file) : "a constant without a value");
    const Tensor& tensor = literal->tensor;
    if (!(large || literal->blob) || !coreml::belongs_in_weight_file(tensor.dtype(), tensor.size(), spec_version_)) {
      if (!literal->blob) return {};
      ir::Literal copy = *literal;
      copy.blob.reset();
      literal = share(std::move(copy));
      return {};
    }
    MLT_ASSIGN(uint64_t offset, sink_.add(tensor.dtype(), static_cast<uint64_t>(tensor.size()), tensor.bytes()));
    forget_mapped(tensor.bytes());
    ir::Literal moved;
    moved.type = literal->type;
    moved.blob = ir::BlobRef{sink_.file_name(), offset};
    literal = share(std::move(moved));
    return {};
  }

  static bool has_reference(const ir::Literal& literal) {
    return literal.blob || std::any_of(literal.items.begin(), literal.items.end(), has_reference);
  }

  static Status inlined(ir::Literal& literal) {
    if (literal.blob && !literal.tensor.valid()) return input_error(fmt::format("its weights ({}) are missing", literal.blob->file));
    literal.blob.reset();
    for (ir::Literal& item : literal.items) MLT_TRY(inlined(item));
    return {};
  }

  coreml::WeightSink& sink_;
  int spec_version_;
};

// Every float constant that a weight file would hold, in order.
std::vector<Job> find_jobs(ir::Function& function, Opset opset, const Config& config, const std::string& stage) {
  std::vector<Job> jobs;
  ir::Users users(function);
  function.for_each_op([&](ir::Op& op) {
    const Tensor* tensor = op.is_const() && !op.outputs.empty() ? op.output()->constant_tensor() : nullptr;
    if (tensor == nullptr || (tensor->dtype() != DType::kF32 && tensor->dtype() != DType::kF16) || tensor->size() < 10) return;
    const auto& list = users.of(op.output());
    Job job;
    job.function = &function;
    job.op = &op;
    job.opset = opset;
    job.report.stage = stage;
    job.report.function = function.name;
    job.report.name = op.output()->name;
    job.report.used_by = list.empty() ? "" : list.front()->kind;
    job.report.dims = tensor->dims();
    job.report.elements = tensor->size();
    job.report.bytes_before = job.report.bytes_after = static_cast<uint64_t>(tensor->nbytes());
    std::vector<Config::User> named;
    for (const ir::Op* user : list) named.push_back({std::string(user->name()), user->kind});
    job.recipe = config.recipe_for({op.output()->name, std::string(op.name())}, named);
    job.report.form = reason_to_keep(*op.output(), users, config, job.recipe);
    job.keep = !job.report.form.empty();
    job.use = use_of(*op.output(), list);
    jobs.push_back(std::move(job));
  });
  return jobs;
}

// Computes jobs on all threads, a few ahead of where they are needed: so many at once that threads are busy, so few
// that memory stays small.
class Queue {
 public:
  explicit Queue(std::vector<Job> jobs) : jobs_(std::move(jobs)) {}

  // The job of this op when it is the next one, computed.
  Job* take(const ir::Op& op) {
    if (next_ == jobs_.size() || jobs_[next_].op != &op) return nullptr;
    if (next_ == ready_) compute_some();
    return &jobs_[next_++];
  }

 private:
  void compute_some() {
    constexpr int64_t kElements = int64_t{1} << 23;
    std::vector<Job*> batch;
    int64_t elements = 0;
    for (; ready_ < jobs_.size(); ++ready_) {
      Job& job = jobs_[ready_];
      if (job.keep) continue;
      if (!batch.empty() && elements + job.report.elements > kElements) break;
      elements += job.report.elements;
      batch.push_back(&job);
    }
    if (batch.size() == 1) return compute(*batch[0]);  // has all threads to itself
    parallel_for(static_cast<int64_t>(batch.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) compute(*batch[static_cast<size_t>(i)]);
    });
  }

  std::vector<Job> jobs_;
  size_t next_ = 0, ready_ = 0;
};

Result<Opset> opset_of(const ir::Function& function) {
  auto opset = ops::opset_from_token(function.opset);
  if (!opset) return unsupported_error(fmt::format("function {}: unknown opset {}", function.name, function.opset));
  return *opset;
}

// CoreML6 brought compressed constants, CoreML8 most of their forms. needed: by what, and the opset.
Status settle_opset(ir::Program& program, const Config& config, const std::map<std::string, Opset>& needed, Report* report) {
  if (config.target) MLT_TRY(raise_opset(program, *config.target, report));
  if (needed.empty()) return {};
  std::vector<std::string> reasons;
  for (const auto& [what, wanted] : needed) {
    if (wanted <= Opset::kCoreML6) continue;
    for (const auto& function : program.functions) {
      MLT_ASSIGN(Opset opset, opset_of(*function));
      if (opset < wanted) reasons.push_back(fmt::format("{} needs opset {}, and function {} has {}", what, opset_name(wanted), function->name, opset_name(opset)));
    }
  }
  if (!reasons.empty()) return unsupported_error(joined(reasons), "--target iOS18 raises it");
  return raise_opset(program, Opset::kCoreML6, report);
}

// Settings that only neural networks have.
std::vector<std::string> unsuitable(const Recipe& recipe) {
  std::vector<std::string> reasons;
  if (recipe.linear && recipe.linear->dynamic) reasons.emplace_back("int8 products with activations quantized at run time (dynamic) are for neural networks");
  if (recipe.linear && recipe.linear->bits != 4 && recipe.linear->bits != 8) reasons.push_back(fmt::format("linear codes of {} bits are for neural networks; ML programs have 4 and 8", recipe.linear->bits));
  if (recipe.palette && (recipe.palette->bits == 5 || recipe.palette->bits == 7)) reasons.push_back(fmt::format("palettes of {} bits are for neural networks; ML programs have 1, 2, 3, 4, 6 and 8", recipe.palette->bits));
  return reasons;
}

}  // namespace

std::vector<std::string> weight_names(const ir::Value& value, const std::vector<ir::Op*>& users) {
  std::vector<std::string> names{value.name};
  if (value.producer != nullptr) names.emplace_back(value.producer->name());
  for (const ir::Op* op : users) names.emplace_back(op->name());
  return names;
}

Status compress_program(ir::Program& program, const Config& config, coreml::WeightSink& sink, int* spec_version, const std::string& stage, Report* report) {
  // 1. What is to be done, and in which opset.
  std::vector<std::string> reasons = unsuitable(config.recipe);
  for (const Rule& rule : config.rules)
    for (std::string& reason : unsuitable(rule.recipe)) reasons.push_back(std::move(reason));
  if (!reasons.empty()) return unsupported_error(joined(reasons));
  std::map<const ir::Function*, Expanded> expanded;
  std::map<std::string, Opset> needed;
  for (auto& function : program.functions) {
    MLT_ASSIGN(Opset opset, opset_of(*function));
    if (config.decompress) {
      MLT_ASSIGN(expanded[function.get()], expand_function(*function, opset, config).in("function " + function->name));
      continue;
    }
    for (const Job& job : find_jobs(*function, opset, config, stage))
      if (!job.keep) needed.emplace(describe(*job.recipe), needed_opset(*job.recipe));
  }
  MLT_TRY(settle_opset(program, config, needed, report));
  for (auto& function : program.functions) {
    MLT_ASSIGN(Opset opset, opset_of(*function));
    *spec_version = std::max(*spec_version, static_cast<int>(opset));
  }

  // 2. One constant after the other, in order: compressed, written, forgotten.
  Mover mover(sink, *spec_version);
  MLT_TRY(mover.attributes(program.attributes, false));
  for (auto& function : program.functions) {
    std::string place = "function " + function->name;
    MLT_ASSIGN(Opset opset, opset_of(*function));
    MLT_TRY(mover.attributes(function->attributes, false).in(place));
    std::vector<Job> jobs;
    if (!config.decompress) jobs = find_jobs(*function, opset, config, stage);
    Queue queue(std::move(jobs));
    std::function<Status(ir::Block&)> walk = [&](ir::Block& block) -> Status {
      for (size_t i = 0; i < block.ops.size(); ++i) {
        size_t first = i;
        ir::Op* op = block.ops[i].get();
        if (Job* job = queue.take(*op)) {
          if (job->report.changed) i += apply(*job, block, i);
          else if (!job->keep) report->warnings.push_back(fmt::format("{}: weight {} stays as it is: {}", place, job->report.name, job->report.form));
          report->weights.push_back(std::move(job->report));
        } else if (auto it = expanded[function.get()].find(op); it != expanded[function.get()].end()) {
          it->second.stage = stage;
          it->second.function = function->name;
          report->weights.push_back(std::move(it->second));
        }
        for (size_t k = first; k <= i; ++k) {
          ir::Op& moved = *block.ops[k];
          MLT_TRY(mover.op(moved).in(fmt::format("op {} ({})", moved.name(), moved.kind)).in(place));
          for (auto& inner : moved.blocks) {
            MLT_TRY(mover.attributes(inner->attributes, false).in(place));
            MLT_TRY(walk(*inner));
          }
        }
      }
      return {};
    };
    MLT_TRY(walk(*function->body));
    MLT_TRY(mover.attributes(function->body->attributes, false).in(place));
  }
  return {};
}

}  // namespace mlt::compress
