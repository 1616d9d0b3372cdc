#include "lib/profile/variants.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "lib/base/threads.h"
#include "lib/kernels/gemm.h"

namespace mlt {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The thread count of the process, put back at the end.
struct ThreadCount {
  int before = thread_count();
  ~ThreadCount() { set_thread_count(before); }
};

Result<Dims> parse_dims(std::string_view text) {
  Dims out;
  while (true) {
    size_t end = text.find('x');
    std::string_view part = text.substr(0, end);
    int64_t value = 0;
    auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || stop != part.data() + part.size() || value < 1 || value > (int64_t{1} << 31))
      return input_error("no shape");
    out.push_back(value);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  MLT_TRY(element_count(out));
  return out;
}

struct Timed {
  std::vector<double> samples;
  double first = 0;
};
Result<Timed> timed(const std::function<Status()>& predict, const MeasureOptions& measure) {
  Timed out;
  auto start = Clock::now();
  MLT_TRY(predict());
  out.first = since(start);
  auto begin = Clock::now();
  while (static_cast<int>(out.samples.size()) < measure.runs &&
         (out.samples.size() < 3 || since(begin) < measure.max_seconds)) {
    start = Clock::now();
    MLT_TRY(predict());
    out.samples.push_back(since(start));
  }
  return out;
}

void fill(SweepPoint& point, Timed timed, double items) {
  point.first = timed.first;
  point.predict = percentiles(timed.samples);
  point.p50 = bootstrap(timed.samples, {0.5})[0];
  point.per_second = point.predict.p50 > 0 ? items / point.predict.p50 : 0;
}

// The array with `n` along its first axis.
Tensor with_batch(const Tensor& value, int64_t n) {
  Dims dims = value.dims();
  dims[0] = n;
  if (value.dims()[0] != 1 || dtype_bits(value.dtype()) < 8 || value.dtype() == DType::kString)
    return Tensor::zeros(value.dtype(), dims);
  Tensor out = Tensor::uninitialized(value.dtype(), dims);
  auto bytes = static_cast<size_t>(value.nbytes());
  for (int64_t i = 0; i < n; ++i)
    std::memcpy(out.mutable_bytes() + static_cast<size_t>(i) * bytes, value.bytes().data(), bytes);
  return out;
}

Status sweep_point(Predictor& predictor, const FeatureMap& inputs, const SweepAxis& axis, const Dims& value,
                   const MeasureOptions& measure, SweepPoint& point) {
  MLT_ASSIGN(StateTensors state, predictor.initial_state());
  FeatureMap given = inputs;
  if (axis.name == "threads") {
    set_thread_count(static_cast<int>(value[0]));
  } else if (axis.name == "batch") {
    const RowPlan* plan = predictor.row_plan();
    if (plan != nullptr && plan->width > 0) {
      MLT_TRY(element_count({value[0], plan->width}));
      std::vector<double> numbers(static_cast<size_t>(value[0] * plan->width), 0.0);
      Rows rows;
      rows.f64 = numbers.data();
      rows.count = value[0];
      rows.stride = plan->width;
      MLT_ASSIGN(Timed result, timed(
                                   [&]() -> Status {
                                     MLT_TRY(predictor.predict_rows(rows));
                                     return {};
                                   },
                                   measure));
      fill(point, std::move(result), static_cast<double>(value[0]));
      return {};
    }
    bool any = false;
    for (const auto& feature : predictor.description().inputs) {
      auto it = given.find(feature.name);
      if (it == given.end() || feature.type.kind != coreml::FeatureKind::kMultiArray ||
          feature.type.array.flexibility == coreml::Flexibility::kFixed)
        continue;
      auto* tensor = std::get_if<Tensor>(&it->second);
      if (tensor == nullptr || tensor->rank() == 0) continue;
      *tensor = with_batch(*tensor, value[0]);
      any = true;
    }
    if (!any) return unsupported_error("the shapes of the model's inputs are fixed");
  } else {
    const coreml::FeatureDescription* feature =
        coreml::find_feature(predictor.description().inputs, axis.name);
    if (feature == nullptr)
      return usage_error(fmt::format("--sweep: the model has no input \"{}\"", axis.name));
    if (feature->type.kind != coreml::FeatureKind::kMultiArray)
      return unsupported_error(fmt::format("input \"{}\" is no array", axis.name));
    given[axis.name] = Tensor::zeros(feature->type.array.dtype().value_or(DType::kF64), value);
  }
  MLT_ASSIGN(Timed result, timed(
                               [&]() -> Status {
                                 MLT_TRY(predictor.predict(given, &state));
                                 return {};
                               },
                               measure));
  fill(point, std::move(result), axis.name == "batch" ? static_cast<double>(value[0]) : 1);
  return {};
}

}  // namespace

Result<SweepAxis> parse_sweep(const std::string& text) {
  SweepAxis axis;
  size_t equals = text.find('=');
  auto bad = [&] {
    return usage_error("cannot read the sweep \"" + text + "\"",
                       "write it as threads=1,2,4, batch=1,8 or INPUT=1x3x224x224,1x3x320x320");
  };
  if (equals == 0 || equals == std::string::npos) return bad();
  axis.name = text.substr(0, equals);
  for (size_t at = equals + 1;;) {
    size_t end = text.find(',', at);
    axis.texts.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    auto dims = parse_dims(axis.texts.back());
    bool number = axis.name == "threads" || axis.name == "batch";
    if (!dims.ok() || (number && dims->size() != 1) || (axis.name == "threads" && (*dims)[0] > 4096))
      return bad();
    axis.values.push_back(std::move(*dims));
    if (end == std::string::npos) break;
    at = end + 1;
  }
  return axis;
}

Result<std::vector<SweepPoint>> sweep(const OpenedModel& model, const PredictOptions& options,
                                      const InputsOf& inputs_of, const std::vector<SweepAxis>& axes,
                                      const MeasureOptions& measure) {
  std::vector<SweepPoint> out;
  if (axes.empty()) return out;
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));
  MLT_ASSIGN(FeatureMap given, inputs_of(predictor->description()));
  MLT_ASSIGN(FeatureMap inputs, complete_inputs(predictor->description(), std::move(given)));
  for (const SweepAxis& axis : axes)
    for (size_t i = 0; i < axis.values.size(); ++i) {
      ThreadCount restore;
      SweepPoint point;
      point.axis = axis.name;
      point.value = axis.texts[i];
      Status status = sweep_point(*predictor, inputs, axis, axis.values[i], measure, point);
      if (!status.ok()) {
        if (status.error().code == Code::kUsage) return status.error();
        point.refused = status.error().message;
      }
      out.push_back(std::move(point));
    }
  return out;
}

bool evict_page_cache(const std::string& path) {
  auto evict = [](const std::string& file) {
    int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool done = ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    ::close(fd);
    return done;
  };
  if (path_kind(path) == PathKind::kFile) return evict(path);
  if (path_kind(path) != PathKind::kDirectory) return false;
  bool all = true;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error))
    if (it->is_regular_file(error)) all &= evict(it->path().string());
  return all && !error;
}

Result<ColdStart> measure_cold(const std::function<Result<OpenedModel>()>& open,
                               const std::function<bool()>& evict, const PredictOptions& options,
                               const InputsOf& inputs_of, int runs) {
  ColdStart cold;
  cold.runs = runs;
  cold.evicted = true;
  std::vector<double> opens, loads, firsts, totals;
  for (int i = 0; i < runs; ++i) {
    cold.evicted &= evict();
    auto start = Clock::now();
    MLT_ASSIGN(OpenedModel model, open());
    opens.push_back(since(start));
    start = Clock::now();
    MLT_ASSIGN(auto predictor, Predictor::create(model, options));
    loads.push_back(since(start));
    MLT_ASSIGN(FeatureMap given, inputs_of(predictor->description()));
    MLT_ASSIGN(FeatureMap inputs, complete_inputs(predictor->description(), std::move(given)));
    MLT_ASSIGN(StateTensors state, predictor->initial_state());
    start = Clock::now();
    MLT_TRY(predictor->predict(inputs, &state));
    firsts.push_back(since(start));
    totals.push_back(opens.back() + loads.back() + firsts.back());
  }
  cold.open = percentiles(opens).p50;
  cold.load = percentiles(loads).p50;
  cold.first = percentiles(firsts).p50;
  cold.total = percentiles(totals);
  cold.total_p50 = bootstrap(totals, {0.5})[0];
  return cold;
}

Result<std::vector<Contender>> compare_models(const std::vector<const OpenedModel*>& models,
                                              const PredictOptions& options, const InputsOf& inputs_of,
                                              const MeasureOptions& measure) {
  struct Running {
    std::unique_ptr<Predictor> predictor;
    FeatureMap inputs;
    StateTensors state;
    std::vector<double> samples;
  };
  std::vector<Running> running;
  std::vector<Contender> out;
  for (const OpenedModel* model : models) {
    Running r;
    Contender c;
    c.name = model->name;
    auto start = Clock::now();
    auto predictor = Predictor::create(*model, options);
    if (!predictor.ok()) return predictor.error();
    r.predictor = std::move(*predictor);
    c.load = since(start);
    MLT_ASSIGN(FeatureMap given, inputs_of(r.predictor->description()));
    MLT_ASSIGN(r.inputs, complete_inputs(r.predictor->description(), std::move(given)).in(model->origin));
    MLT_ASSIGN(r.state, r.predictor->initial_state());
    start = Clock::now();
    auto answer = r.predictor->predict(r.inputs, &r.state);
    if (!answer.ok()) return answer.error();
    c.first = since(start);
    running.push_back(std::move(r));
    out.push_back(std::move(c));
  }
  auto begin = Clock::now();
  for (int run = 0; run < measure.runs && (run < 3 || since(begin) < measure.max_seconds); ++run)
    for (Running& r : running) {
      auto start = Clock::now();
      MLT_TRY(r.predictor->predict(r.inputs, &r.state));
      r.samples.push_back(since(start));
    }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].predict = percentiles(running[i].samples);
    out[i].p50 = bootstrap(running[i].samples, {0.5})[0];
    out[i].ratio = out[0].predict.p50 > 0 ? out[i].predict.p50 / out[0].predict.p50 : 0;
    out[i].ratio_interval =
        i == 0 ? Interval{1, 1} : bootstrap_ratio(running[i].samples, running[0].samples, 0.5);
  }
  return out;
}

Peaks measure_peaks() {
  Peaks peaks;
  constexpr int64_t kSize = 512;
  std::vector<float> a(kSize * kSize, 0.5f), c(kSize * kSize);
  if (auto packed = PackedWeights::pack(kSize, kSize, a.data()); packed.ok()) {
    double best = 1e9;
    auto begin = Clock::now();
    for (int i = 0; i < 200 && (i < 3 || since(begin) < 0.1); ++i) {
      auto start = Clock::now();
      packed->run(kSize, a.data(), kSize, c.data(), kSize);
      best = std::min(best, since(start));
    }
    peaks.flops = 2.0 * kSize * kSize * kSize / best;
  }
  // Reading is what inference does most: from memory, and from what every core has beside it.
  auto bandwidth = [](size_t words_per_thread, int passes) {
    auto threads = static_cast<size_t>(thread_count());
    std::vector<uint64_t> memory(words_per_thread * threads, 1);
    std::atomic<uint64_t> sink{0};
    double best = 1e9;
    auto begin = Clock::now();
    for (int i = 0; i < 100 && (i < 3 || since(begin) < 0.1); ++i) {
      auto start = Clock::now();
      parallel_for(static_cast<int64_t>(threads), 1, [&](int64_t from, int64_t to) {
        for (int64_t t = from; t < to; ++t) {
          const uint64_t* data = memory.data() + static_cast<size_t>(t) * words_per_thread;
          uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
          for (int pass = 0; pass < passes; ++pass)
            for (size_t k = 0; k + 4 <= words_per_thread; k += 4)
              s0 += data[k], s1 += data[k + 1], s2 += data[k + 2], s3 += data[k + 3];
          sink.fetch_add(s0 + s1 + s2 + s3, std::memory_order_relaxed);
        }
      });
      best = std::min(best, since(start));
    }
    return sink.load() > 0 ? 8.0 * static_cast<double>(words_per_thread * threads) * passes / best : 0.0;
  };
  peaks.bytes = bandwidth(size_t{4} << 20, 1);
  peaks.cache_bytes = std::max(peaks.bytes, bandwidth(size_t{16} << 10, 64));
  peaks.cache_size = std::max(
      peaks.cache_size, static_cast<double>(std::max(0L, sysconf(_SC_LEVEL2_CACHE_SIZE))) * thread_count());
  return peaks;
}

}  // namespace mlt
