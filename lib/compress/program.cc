// ML programs: constants become constexpr ops of the function's opset. Which constants, along which axis and under which
// names follows coremltools (optimize/coreml/_quantization_passes.py and optimize/_utils.py).
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "lib/base/float16.h"
#include "lib/compress/linear.h"
#include "lib/compress/palettize.h"
#include "lib/compress/parts.h"
#include "lib/coreml/mil_write.h"
#include "lib/ops/call.h"

namespace mlt::compress {
namespace {

using ops::Opset;

bool is_constexpr(const ir::Op& op) { return op.kind.starts_with("constexpr_"); }

ir::LiteralPtr share(ir::Literal literal) { return std::make_shared<const ir::Literal>(std::move(literal)); }

// A tensor of bytes that are in its storage form already.
Tensor tensor_of(DType dtype, Dims dims, ByteSpan bytes) {
  Tensor tensor = Tensor::uninitialized(dtype, std::move(dims));
  std::copy(bytes.begin(), bytes.end(), tensor.mutable_bytes());
  return tensor;
}
Tensor tensor_of(DType dtype, Dims dims, const std::vector<uint8_t>& bytes) { return tensor_of(dtype, std::move(dims), std::as_bytes(std::span(bytes))); }
Tensor tensor_of(DType dtype, Dims dims, const std::vector<float>& values) { return convert(Tensor::from(std::move(dims), values), dtype); }

// A constant to compress, and then what takes its place.
struct Job {
  ir::Function* function = nullptr;
  ir::Op* op = nullptr;
  Opset opset{};
  int axis = -1;  // kLinear: of the scales
  bool keep = false;  // stays; the report says why
  WeightReport report;
  // The result; without parameters, the constant stays.
  std::string kind, suffix;
  std::vector<std::pair<std::string, Tensor>> parameters;
};

// The axis of output channels for a weight used by these ops; nothing when they disagree.
std::optional<int> channel_axis(const ir::Value& value, const std::vector<ir::Op*>& users) {
  int rank = value.type.rank();
  std::set<int> axes;
  for (const ir::Op* op : users) {
    int axis = 0;
    if (op->kind == "conv_transpose") {
      axis = 1;
    } else if (op->kind == "matmul") {
      bool is_y = op->input("y") == &value;
      const ir::Operand* flag = op->operand(is_y ? "transpose_y" : "transpose_x");
      const Tensor* tensor = flag != nullptr ? flag->constant_tensor() : nullptr;
      bool transposed = tensor != nullptr && tensor->size() == 1 && to_ints(*tensor)[0] != 0;
      axis = is_y == transposed ? rank - 2 : rank - 1;
    }
    axes.insert(axis);
  }
  if (axes.size() != 1) return std::nullopt;
  return std::clamp(*axes.begin(), 0, rank - 1);
}

// Why a constant is left as it is, or nothing.
std::string reason_to_keep(const ir::Value& value, const ir::Users& users, const Config& config) {
  const auto& list = users.of(&value);
  if (std::any_of(list.begin(), list.end(), [](const ir::Op* op) { return is_constexpr(*op); })) return "part of a compressed weight";
  if (users.is_block_output(&value)) return "an output";
  if (list.empty()) return "not used";
  if (!config.selects(weight_names(value, list))) return "not selected";
  if (value.type.rank() < 2) return "a vector";
  if (value.constant_tensor()->size() <= config.threshold) return fmt::format("{} elements or fewer", config.threshold);
  if (config.method == Method::kFloat16 && value.type.dtype == DType::kF16) return "stored as fp16";
  if (config.method == Method::kLinear && config.per_channel && !channel_axis(value, list)) return "its ops disagree about output channels";
  return "";
}

void compute_linear(Job& job, std::span<const float> values, const Config& config) {
  const ir::Type& type = job.op->output()->type;
  LinearOptions options{.is_signed = config.is_signed, .symmetric = config.symmetric, .axis = config.per_channel ? job.axis : -1, .half = type.dtype == DType::kF16};
  LinearCodes result = quantize_linear(values, type.dims, options);
  job.report.distance = result.distance;
  job.report.form = fmt::format("{}int8 {}, {} scale{}", config.is_signed ? "" : "u", config.symmetric ? "symmetric" : "asymmetric", result.scale.size(), result.scale.size() == 1 ? "" : "s");
  job.suffix = "_quantized";
  DType dtype = config.is_signed ? DType::kI8 : DType::kU8;
  Tensor data = tensor_of(dtype, type.dims, result.codes);
  auto scales = static_cast<int64_t>(result.scale.size());
  if (job.opset >= Opset::kCoreML8) {
    Dims dims(type.dims.size(), 1);
    if (options.axis >= 0) dims[static_cast<size_t>(options.axis)] = scales;
    job.kind = "constexpr_blockwise_shift_scale";
    job.parameters = {{"data", data}, {"scale", tensor_of(type.dtype, dims, result.scale)}};
    if (result.has_zero_point) job.parameters.emplace_back("offset", tensor_of(dtype, dims, result.zero_point));
    return;
  }
  Dims dims = scales == 1 ? Dims{} : Dims{scales};
  job.kind = "constexpr_affine_dequantize";
  job.parameters = {{"quantized_data", data},
                    {"zero_point", tensor_of(dtype, dims, result.zero_point)},
                    {"scale", tensor_of(type.dtype, dims, result.scale)},
                    {"axis", Tensor::scalar<int32_t>(scales == 1 ? 0 : options.axis)}};
}

void compute_palette(Job& job, std::span<const float> values, const Config& config) {
  const ir::Type& type = job.op->output()->type;
  Palette result = palettize(values, config.bits, type.dtype == DType::kF16);
  job.report.distance = result.distance;
  job.report.form = fmt::format("{}-bit palette", config.bits);
  job.suffix = "_palettized";
  job.kind = "constexpr_lut_to_dense";
  DType dtype = dtype_from_name(fmt::format("uint{}", config.bits)).value_or(DType::kU8);
  Bytes packed = is_sub_byte(dtype) ? pack_bits(dtype, result.codes) : Bytes(std::as_bytes(std::span(result.codes)).begin(), std::as_bytes(std::span(result.codes)).end());
  auto entries = static_cast<int64_t>(result.table.size());
  if (job.opset >= Opset::kCoreML8) {
    Dims dims(type.dims.size() + 2, 1);
    dims[type.dims.size()] = entries;
    job.parameters = {{"indices", tensor_of(dtype, type.dims, packed)}, {"lut", tensor_of(type.dtype, dims, result.table)}};
    return;
  }
  std::vector<uint32_t> shape(type.dims.begin(), type.dims.end());
  job.parameters = {{"indices", tensor_of(DType::kU8, {static_cast<int64_t>(packed.size())}, packed)},
                    {"lut", tensor_of(type.dtype, {entries}, result.table)},
                    {"shape", Tensor::from(Dims{static_cast<int64_t>(shape.size())}, shape)}};
}

void compute(Job& job, const Config& config) {
  const Tensor& tensor = *job.op->output()->constant_tensor();
  job.report.bytes_before = job.report.bytes_after = static_cast<uint64_t>(tensor.nbytes());
  Tensor floats = convert(tensor, DType::kF32);
  std::span<const float> values = floats.span<float>();
  auto keep = [&](const char* why) { job.report.form = why; };
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::abs(v) <= kLargest; })) return keep(kBeyond);
  switch (config.method) {
    case Method::kLinear: compute_linear(job, values, config); break;
    case Method::kPalette: compute_palette(job, values, config); break;
    case Method::kFloat16: {
      if (std::any_of(values.begin(), values.end(), [](float v) { return std::isinf(round_to_half(v)); })) return keep("too large for float16");
      job.report.form = "fp16";
      job.report.distance = measure(values, [&](size_t i) { return round_to_half(values[i]); });
      job.kind = "constexpr_cast";
      job.suffix = "_to_fp16";
      job.parameters = {{"source_val", convert(tensor, DType::kF16)}, {"output_dtype", Tensor::string("fp32")}};
      break;
    }
    case Method::kDecompress: return;
  }
  job.report.changed = true;
  job.report.bytes_after = 0;
  for (const auto& [name, value] : job.parameters)
    if (value.dtype() != DType::kString) job.report.bytes_after += static_cast<uint64_t>(value.nbytes());
}

// Puts the constexpr op in the constant's place.
void apply(Job& job) {
  ir::Op& op = *job.op;
  std::string name = job.function->unique_name(op.output()->name + job.suffix);
  op.kind = job.kind;
  op.attributes.clear();
  op.attributes["name"] = share(ir::Literal::string(name));
  op.output()->name = name;
  for (auto& [parameter, tensor] : job.parameters) {
    ir::LiteralPtr literal = share(ir::Literal::of(std::move(tensor)));
    if (job.opset >= Opset::kCoreML8) {
      op.set(parameter, ir::Operand(std::move(literal)));
    } else {
      op.attributes[parameter] = std::move(literal);
    }
  }
  job.parameters.clear();
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
    job.report.form = reason_to_keep(*op.output(), users, config);
    job.keep = !job.report.form.empty();
    job.axis = channel_axis(*op.output(), list).value_or(-1);
    jobs.push_back(std::move(job));
  });
  return jobs;
}

// Computes jobs on all threads, a few ahead of where they are needed: so many at once that threads are busy, so few
// that memory stays small.
class Queue {
 public:
  Queue(std::vector<Job> jobs, const Config& config) : jobs_(std::move(jobs)), config_(config) {}

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
    if (batch.size() == 1) return compute(*batch[0], config_);  // has all threads to itself
    parallel_for(static_cast<int64_t>(batch.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) compute(*batch[static_cast<size_t>(i)], config_);
    });
  }

  std::vector<Job> jobs_;
  const Config& config_;
  size_t next_ = 0, ready_ = 0;
};

Result<Opset> opset_of(const ir::Function& function) {
  auto opset = ops::opset_from_token(function.opset);
  if (!opset) return unsupported_error(fmt::format("function {}: unknown opset {}", function.name, function.opset));
  return *opset;
}

// Three-bit palettes came with CoreML8; everything else with CoreML6.
Status settle_opset(ir::Program& program, const Config& config, bool any, Report* report) {
  if (config.target) return raise_opset(program, *config.target, report);
  if (!any) return {};
  if (config.method == Method::kPalette && config.bits == 3) {
    for (const auto& function : program.functions) {
      MLT_ASSIGN(Opset opset, opset_of(*function));
      if (opset < Opset::kCoreML8)
        return unsupported_error(fmt::format("palettes of 3 bits need opset {}, and function {} has {}", opset_name(Opset::kCoreML8), function->name, opset_name(opset)),
                                 "--target iOS18 raises it; or take 2 or 4 bits");
    }
  }
  return raise_opset(program, Opset::kCoreML6, report);
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
  std::map<const ir::Function*, Expanded> expanded;
  bool any = false;
  for (auto& function : program.functions) {
    MLT_ASSIGN(Opset opset, opset_of(*function));
    if (config.method == Method::kDecompress) {
      MLT_ASSIGN(expanded[function.get()], expand_function(*function, opset, config).in("function " + function->name));
      continue;
    }
    for (const Job& job : find_jobs(*function, opset, config, stage)) any = any || !job.keep;
  }
  MLT_TRY(settle_opset(program, config, any, report));
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
    if (config.method != Method::kDecompress) jobs = find_jobs(*function, opset, config, stage);
    Queue queue(std::move(jobs), config);
    Status status;
    function->for_each_op([&](ir::Op& op) {
      if (!status.ok()) return;
      if (Job* job = queue.take(op)) {
        if (job->report.changed) apply(*job);
        else if (!job->keep) report->warnings.push_back(fmt::format("{}: weight {} stays as it is: {}", place, job->report.name, job->report.form));
        report->weights.push_back(std::move(job->report));
      } else if (auto it = expanded[function.get()].find(&op); it != expanded[function.get()].end()) {
        it->second.stage = stage;
        it->second.function = function->name;
        report->weights.push_back(std::move(it->second));
      }
      status = mover.op(op).in(fmt::format("op {} ({})", op.name(), op.kind)).in(place);
      for (auto& block : op.blocks)
        if (status.ok()) status = mover.attributes(block->attributes, false).in(place);
    });
    MLT_TRY(std::move(status));
    MLT_TRY(mover.attributes(function->body->attributes, false).in(place));
  }
  return {};
}

}  // namespace mlt::compress
