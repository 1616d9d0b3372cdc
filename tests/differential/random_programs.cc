// Random programs, each run by the executor (fused and not, on one thread and on two, twice) and compared with the op
// table's evaluation. What may differ is a rounding: a few hundred-thousandths of the greatest element, or a multiple
// of what changes in the last digits make. Threads and repetition may change no bit.
//
//   random_programs [--seed N] [--count N] [--steps N] [--keep FILE] [--kernels] [--show]
//
// A program that fails is cut down to the output and the ops that it takes, and printed (--keep: written to FILE, with
// all constants). Exit status 1 when one failed.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>

#include "lib/base/threads.h"
#include "lib/ir/text.h"
#include "lib/passes/pipeline.h"
#include "lib/runtime/executor.h"
#include "tests/differential/random_program.h"

using namespace mlt;
using differential::ProgramMaker;

namespace {

bool same_bits(const Tensor& x, const Tensor& y) {
  return x.dims() == y.dims() && x.nbytes() == y.nbytes() && std::memcmp(x.bytes().data(), y.bytes().data(), x.bytes().size()) == 0;
}

// What is wrong with an output of a value, or nothing.
std::optional<std::string> difference(const ProgramMaker& maker, const ir::Value* value, const Tensor& got) {
  const Tensor& want = maker.expected(value);
  if (want.dims() != got.dims()) return fmt::format("shape {}, expected {}", dims_text(got.dims()), dims_text(want.dims()));
  double most = 0, worst = 0, squares = 0;
  int64_t where = 0;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double w = want.data<float>()[i], difference = std::abs(got.data<float>()[i] - w);
    most = std::max(most, std::abs(w));
    squares += difference * difference;
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference, where = i;
  }
  const double allowed = maker.coarse ? 0.3 * most : 3e-5 * most + 30 * maker.sensitivity(value);
  if (maker.coarse && squares > 9e-4 * most * most * static_cast<double>(want.size()))
    return fmt::format("root mean square of the difference {:.3g}, greatest {:.3g}", std::sqrt(squares / static_cast<double>(want.size())), most);
  if (worst <= allowed) return std::nullopt;
  return fmt::format("element {} of {}: {}, expected {}; greatest {:.3g}, allowed {:.1e}", where, want.size(), got.data<float>()[where], want.data<float>()[where], most, allowed);
}

using Kernels = std::map<std::string, int64_t>;  // how many steps ran by each

// Runs the function with the given body outputs in every way; what is wrong, or nothing.
std::optional<std::string> check(ProgramMaker& maker, std::vector<ir::Value*> outputs, Kernels* kernels = nullptr) {
  maker.function->body->outputs = std::move(outputs);
  const auto& wanted = maker.function->body->outputs;
  for (bool fuse : {true, false}) {
    std::vector<Tensor> first;
    for (int threads : {1, 2}) {
      set_thread_count(threads);
      auto executor = Executor::create(*maker.function, maker.function, {.fuse = fuse});
      if (!executor) return "no plan: " + executor.error().to_string();
      for (int turn = 0; turn < 2; ++turn) {
        const std::string way = fmt::format("{}, {} thread(s), run {}: ", fuse ? "fused" : "not fused", threads, turn + 1);
        auto got = (*executor)->run(maker.inputs);
        if (!got) return way + got.error().to_string();
        for (size_t i = 0; i < wanted.size(); ++i) {
          const Tensor& tensor = (*got)[i].tensor;
          if (first.size() <= i) {
            if (auto wrong = difference(maker, wanted[i], tensor)) return way + wanted[i]->name + ": " + *wrong;
            first.push_back(tensor.clone());
          } else if (!same_bits(first[i], tensor)) {
            return way + wanted[i]->name + ": not the bits of the first run";
          }
        }
      }
      if (kernels != nullptr && fuse && threads == 1)
        for (const StepInfo& step : (*executor)->last_plan()->steps) ++(*kernels)[step.kernel + (step.kernel == "reference" ? " " + step.kind : "")];
    }
  }
  return std::nullopt;
}

// The passes of a conversion leave the answers; so does writing and reading the text, which takes longer than all else.
std::optional<std::string> check_rewritten(const ProgramMaker& maker, bool with_text) {
  ir::Program program;
  program.functions.push_back(ir::clone(*maker.function));
  passes::Context context;
  context.opset = ops::Opset::kCoreML8;
  for (bool rewritten : {false, true}) {
    if (rewritten)
      if (Status status = passes::run(program, passes::conversion_pipeline(false), context); !status) return "passes: " + status.error().to_string();
    if (!rewritten && !with_text) continue;
    std::shared_ptr<const ir::Program> kept = ir::clone(program);
    if (with_text) {
      auto read = ir::parse(ir::print(program, {}), {});
      if (!read) return "text: " + read.error().to_string();
      kept = std::move(*read);
    }
    auto executor = Executor::create(*kept->functions[0], kept, {});
    if (!executor) return "no plan after passes: " + executor.error().to_string();
    auto got = (*executor)->run(maker.inputs);
    if (!got) return "after passes: " + got.error().to_string();
    for (size_t i = 0; i < got->size(); ++i) {
      const ir::Value* value = maker.function->body->outputs[i];
      if (auto wrong = difference(maker, value, (*got)[i].tensor)) return fmt::format("{}: {}: {}", rewritten ? "passes" : "text", value->name, *wrong);
    }
  }
  return std::nullopt;
}

// The program without what its outputs do not take, as text.
std::string text_of(const ProgramMaker& maker, bool whole) {
  ir::Program program;
  auto function = ir::clone(*maker.function);
  function->erase_dead_ops();
  program.functions.push_back(std::move(function));
  return ir::print(program, {.elide_large = !whole});
}

// Fewest outputs, then the earliest value that is wrong when it is an output beside them.
std::string cut_down(ProgramMaker& maker, std::string wrong) {
  std::vector<ir::Value*> outputs = maker.function->body->outputs;
  for (size_t i = 0; outputs.size() > 1 && i < outputs.size();) {
    auto fewer = outputs;
    fewer.erase(fewer.begin() + static_cast<long>(i));
    if (auto still = check(maker, fewer)) {
      outputs = std::move(fewer);
      wrong = *still;
    } else {
      ++i;
    }
  }
  for (const auto& live : maker.live()) {
    if (live.value->producer == nullptr || live.value->type.dtype != DType::kF32) continue;
    if (auto still = check(maker, {live.value})) {
      outputs = {live.value};
      wrong = *still;
      break;
    }
  }
  maker.function->body->outputs = outputs;
  return wrong;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Random programs against the op table's evaluation");
  uint64_t seed = 1;
  int64_t count = 1000;
  differential::Limits limits;
  std::string keep;
  bool show_kernels = false, show = false;
  app.add_option("--seed", seed, "of the first program");
  app.add_option("--count", count, "programs");
  app.add_option("--steps", limits.steps, "additions to a program");
  app.add_option("--keep", keep, "file for the text of a program that fails");
  app.add_flag("--kernels", show_kernels, "prints how many steps ran by each kernel");
  app.add_flag("--show", show, "prints every program before it runs");
  CLI11_PARSE(app, argc, argv);

  int64_t failed = 0, ops = 0;
  Kernels kernels;
  for (int64_t n = 0; n < count; ++n) {
    ProgramMaker maker(seed + static_cast<uint64_t>(n), limits);
    maker.make();
    if (maker.function->body->outputs.empty()) continue;
    for (const auto& op : maker.function->body->ops) ops += op->is_const() ? 0 : 1;
    if (show) {
      fmt::print("seed {}:\n{}\n", seed + static_cast<uint64_t>(n), text_of(maker, false));
      std::fflush(stdout);
    }
    auto wrong = check(maker, maker.function->body->outputs, &kernels);
    if (!wrong) {
      wrong = check_rewritten(maker, n % 16 == 0);
      if (!wrong) continue;
      ++failed;
      fmt::print("seed {}: {}\n{}\n", seed + static_cast<uint64_t>(n), *wrong, text_of(maker, false));
      continue;
    }
    ++failed;
    fmt::print("seed {}: {}\n", seed + static_cast<uint64_t>(n), *wrong);
    const std::string shorter = cut_down(maker, *wrong);
    fmt::print("cut down: {}\n{}\n", shorter, text_of(maker, false));
    if (!keep.empty()) std::ofstream(keep) << text_of(maker, true);
    std::fflush(stdout);
  }
  if (show_kernels)
    for (const auto& [kernel, steps] : kernels) fmt::print("{:8} {}\n", steps, kernel);
  fmt::print("{} programs of {} ops, {} failed\n", count, ops, failed);
  return failed == 0 ? 0 : 1;
}
