// Runs ONNX's backend tests: folders that hold model.onnx and test_data_set_N/{input,output}_K.pb.
//
//   onnx_backend [-v] [--table] [--float16] [--reference] DIR...     DIR is a test, or holds tests at any depth
//
// --table: Markdown by operator instead (what scripts/onnx-report shows).
//
// Each model is converted, run by the executor (with --reference: by the op table's evaluation, op by op), and compared with the recorded outputs at the
// tolerance of ONNX's own runner (rtol 1e-3). Prints passed, failed and unsupported, each unsupported reason once, and the
// worst deviation among the passed. Exit status 1 when something failed.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "lib/convert/convert.h"
#include "lib/convert/onnx/model.h"
#include "lib/runtime/executor.h"
#include "tests/conformance/reference.h"

using namespace mlt;
namespace fs = std::filesystem;

namespace {

struct Outcome {
  enum { kPassed, kFailed, kUnsupported } kind = kPassed;
  std::string detail;
  double worst = 0;
  std::string op = {};  // what the test is about
};

// The operator that a test is about: the one its name holds, or the first.
std::string subject(const foreign::onnx::Graph& graph, const std::string& test) {
  auto plain = [](std::string_view text) {
    std::string out;
    for (char c : text)
      if (std::isalnum(static_cast<unsigned char>(c))) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
  };
  std::string name = plain(test), best;
  for (const auto& node : graph.nodes) {
    std::string op = (node.domain.empty() ? "" : node.domain + ".") + node.op_type;
    if (name.find(plain(node.op_type)) != std::string::npos && node.op_type.size() > best.size()) best = op;
  }
  if (best.empty() && !graph.nodes.empty()) best = (graph.nodes[0].domain.empty() ? "" : graph.nodes[0].domain + ".") + graph.nodes[0].op_type;
  return best.empty() ? "(none)" : best;
}

// Whether a reason is that Core ML has no such type, value or randomness, so that no conversion could be right.
bool beyond_core_ml(const std::string& reason) {
  for (const char* part : {"element type", "string inputs", "sequence", "optional inputs", "of rank 6", "of rank 7", "rounding to fp8", "quantization to fp8",
                           "random results", "Dropout: training", "values beyond float32", "ImageDecoder", "ai.onnx.preview.training"})
    if (reason.find(part) != std::string::npos) return true;
  return false;
}

Outcome failed(std::string detail) { return {Outcome::kFailed, std::move(detail), 0}; }

// Largest |a - b| / (atol + rtol |b|); above 1 is a failure.
double deviation(const Tensor& got, const Tensor& want, double rtol, double atol) {
  std::vector<double> a = to_doubles(got), b = to_doubles(want);
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(b[i]) && std::isnan(a[i])) continue;
    if (a[i] == b[i]) continue;
    double d = std::abs(a[i] - b[i]) / (atol + rtol * std::abs(b[i]));
    worst = std::max(worst, std::isnan(d) ? INFINITY : d);
  }
  return worst;
}

Result<std::vector<ops::RtValue>> execute(const ir::Function& function, const std::vector<Tensor>& inputs) {
  MLT_ASSIGN(auto executor, Executor::create(function, nullptr));
  return executor->run(inputs);
}

// bind: small integer and float inputs become constants, for operators that insist (shapes, axes, trip counts).
Outcome run_case(const fs::path& dir, bool float16, bool by_reference, bool bind, std::string* op) {
  if (dir.filename().string().find("bernoulli") != std::string::npos) return {Outcome::kUnsupported, "random results", 0};
  auto bytes = map_file((dir / "model.onnx").string());
  if (!bytes) return failed(bytes.error().to_string());
  foreign::Request request;
  request.float16 = float16;
  auto source = foreign::onnx::read_model(*bytes, dir.string());
  std::string about = source ? subject(source->graph, dir.filename().string()) : "(element types)";
  if (!source) return source.error().code == Code::kUnsupported ? Outcome{Outcome::kUnsupported, source.error().message, 0} : failed(source.error().to_string());
  *op = about;
  std::vector<const foreign::onnx::ValueInfo*> inputs;
  for (const auto& info : source->graph.inputs)
    if (!source->graph.initializers.contains(info.name)) inputs.push_back(&info);

  Outcome outcome;
  bool any = false;
  for (int set = 0;; ++set) {
    fs::path data = dir / ("test_data_set_" + std::to_string(set));
    if (!fs::is_directory(data)) break;
    any = true;
    // Inputs fix the extents that the model leaves open, and are constants where an operator insists.
    std::vector<Tensor> tensors;
    request.inputs.clear();
    for (size_t i = 0; i < inputs.size(); ++i) {
      auto file = map_file((data / ("input_" + std::to_string(i) + ".pb")).string());
      if (!file) return failed(file.error().to_string());
      if (inputs[i]->kind != foreign::onnx::ValueInfo::Kind::kTensor) return {Outcome::kUnsupported, "sequence or optional inputs", 0};
      auto tensor = foreign::onnx::read_tensor(*file);
      if (!tensor) return tensor.error().code == Code::kUnsupported ? Outcome{Outcome::kUnsupported, tensor.error().message, 0} : failed(tensor.error().to_string());
      foreign::InputOption option;
      option.name = inputs[i]->name;
      std::vector<foreign::Extent> shape;
      for (int64_t d : tensor->dims()) {
        foreign::Extent e;
        e.lower = e.upper = d;
        shape.push_back(e);
      }
      option.shape = std::move(shape);
      request.inputs.push_back(std::move(option));
      tensors.push_back(std::move(*tensor));
    }
    if (bind) {
      for (size_t i = 0; i < tensors.size(); ++i) {
        if (tensors[i].dtype() == DType::kString || (tensors[i].size() == 0 && tensors[i].rank() != 1) || (is_float(tensors[i].dtype()) && tensors[i].size() > 16)) continue;
        if (tensors[i].rank() > 1 || (inputs.size() == 1 && (tensors[i].rank() > 0 || is_float(tensors[i].dtype())))) continue;
        request.inputs[i].value = to_doubles(tensors[i]);
      }
    }
    std::vector<foreign::Unsupported> problems;
    auto conversion = foreign::convert_source(*bytes, (dir / "model.onnx").string(), request, &problems);
    if (!conversion) return conversion.error().code == Code::kUnsupported ? Outcome{Outcome::kUnsupported, conversion.error().message, 0} : failed("convert: " + conversion.error().to_string());
    if (!problems.empty()) {
      std::string text;
      for (const auto& u : problems) text += (text.empty() ? "" : "; ") + u.op + ": " + u.reason;
      return {Outcome::kUnsupported, text, 0};
    }
    const ir::Function& main = *conversion->converted.program->functions[0];
    std::vector<Tensor> given;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (request.inputs[i].value) continue;
      Tensor t = tensors[i].rank() == 0 ? tensors[i].reshaped({1}) : tensors[i];
      given.push_back(std::move(t));
    }
    auto got = by_reference ? reference::run(main, given) : execute(main, given);
    if (!got) return failed("run: " + got.error().to_string());
    for (size_t i = 0; i < got->size(); ++i) {
      auto file = map_file((data / ("output_" + std::to_string(i) + ".pb")).string());
      if (!file) return failed(file.error().to_string());
      auto want = foreign::onnx::read_tensor(*file);
      if (!want) return failed(want.error().to_string());
      Dims dims = want->rank() == 0 ? Dims{1} : want->dims();
      const Tensor& have = (*got)[i].tensor;
      if (have.dims() != dims) return failed("output " + std::to_string(i) + ": extents " + dims_text(have.dims()) + ", want " + dims_text(dims));
      bool half = want->dtype() == DType::kF16 || want->dtype() == DType::kBF16 || float16;
      if (want->dtype() == DType::kF64)
        for (double v : to_doubles(*want))
          if (std::isfinite(v) && std::abs(v) > 3.4e38) return {Outcome::kUnsupported, "values beyond float32", 0};
      double d = deviation(have, *want, half ? 1e-2 : 1e-3, half ? 1e-2 : 1e-5);
      if (d > 1) {
        std::vector<double> a = to_doubles(have), b = to_doubles(*want);
        size_t at = 0;
        while (at < a.size() && (a[at] == b[at] || (std::isnan(a[at]) && std::isnan(b[at])) || std::abs(a[at] - b[at]) <= 1e-5 + 1e-3 * std::abs(b[at]))) ++at;
        return failed(fmt::format("output {}: off by {:.3g} tolerances; element {}: got {}, want {}", i, d, at, at < a.size() ? a[at] : 0, at < b.size() ? b[at] : 0));
      }
      outcome.worst = std::max(outcome.worst, d);
    }
  }
  if (!any) return {Outcome::kUnsupported, "no test data", 0};
  return outcome;
}

Outcome run_test(const fs::path& dir, bool float16, bool by_reference, bool bind) {
  std::string op = "(element types)";
  Outcome outcome = run_case(dir, float16, by_reference, bind, &op);
  outcome.op = op;
  return outcome;
}

struct Line {
  size_t counts[4] = {0, 0, 0, 0};  // passed, failed, unsupported, beyond Core ML
  std::string reason;
};
void print_table(const std::map<std::string, Line>& table) {
  Line sum;
  fmt::print("| operator | passed | failed | unsupported | not Core ML's types | reason |\n|---|---|---|---|---|---|\n");
  for (const auto& [op, line] : table) {
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", op, line.counts[0], line.counts[1], line.counts[2], line.counts[3], line.reason);
    for (size_t i = 0; i < 4; ++i) sum.counts[i] += line.counts[i];
  }
  size_t expressible = sum.counts[0] + sum.counts[1] + sum.counts[2];
  fmt::print("| **all** | {} | {} | {} | {} | {:.1f} % of what Core ML's types can express |\n", sum.counts[0], sum.counts[1], sum.counts[2], sum.counts[3],
             expressible ? 100.0 * static_cast<double>(sum.counts[0]) / static_cast<double>(expressible) : 0.0);
}

}  // namespace

int main(int argc, char** argv) {
  bool verbose = false, markdown = false, float16 = false, by_reference = false;
  std::vector<fs::path> tests;
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    if (arg == "-v") verbose = true;
    else if (arg == "--table") markdown = true;
    else if (arg == "--float16") float16 = true;
    else if (arg == "--reference") by_reference = true;
    else if (fs::exists(fs::path(arg) / "model.onnx")) tests.emplace_back(arg);
    else if (fs::is_directory(arg)) {
      for (const auto& entry : fs::recursive_directory_iterator(arg))
        if (entry.path().filename() == "model.onnx") tests.push_back(entry.path().parent_path());
    } else {
      fmt::print(stderr, "onnx_backend: error: {}: no such folder\n", arg);
      return 2;
    }
  }
  std::sort(tests.begin(), tests.end());
  size_t counts[3] = {0, 0, 0};
  std::map<std::string, size_t> reasons;
  std::map<std::string, Line> table;
  double worst = 0;
  std::string worst_name;
  for (const fs::path& test : tests) {
    Outcome o = run_test(test, float16, by_reference, false);
    if (o.kind == Outcome::kUnsupported || o.detail.starts_with("run: ")) o = run_test(test, float16, by_reference, true);
    ++counts[o.kind];
    std::string name = test.filename().string();
    if (markdown) {
      Line& line = table[o.op];
      ++line.counts[o.kind == Outcome::kUnsupported && beyond_core_ml(o.detail) ? 3 : o.kind];
      if (o.kind != Outcome::kPassed && line.reason.find(o.detail) == std::string::npos && line.reason.size() < 200) line.reason += (line.reason.empty() ? "" : "; ") + o.detail;
      continue;
    }
    if (o.kind == Outcome::kFailed) fmt::print("FAILED {}: {}\n", name, o.detail);
    if (o.kind == Outcome::kUnsupported) ++reasons[o.detail];
    if (verbose && o.kind != Outcome::kFailed) fmt::print("{} {} {}\n", o.kind == Outcome::kPassed ? "passed" : "unsupported", name, o.detail);
    if (o.kind == Outcome::kPassed && o.worst > worst) {
      worst = o.worst;
      worst_name = name;
    }
    std::fflush(stdout);
  }
  if (markdown) {
    print_table(table);
    return counts[1] == 0 ? 0 : 1;
  }
  for (const auto& [reason, count] : reasons) fmt::print("unsupported {:4}  {}\n", count, reason);
  fmt::print("passed {}, failed {}, unsupported {} of {}\n", counts[0], counts[1], counts[2], tests.size());
  if (!worst_name.empty()) fmt::print("largest deviation among the passed: {:.3g} of the tolerance ({})\n", worst, worst_name);
  return counts[1] == 0 ? 0 : 1;
}
