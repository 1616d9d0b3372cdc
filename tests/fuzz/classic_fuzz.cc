// A classic model and made-up features: the first eight bytes choose the features, the rest is the model. Where the
// model predicts many rows at once, each must have the answer of its record.
#include <cmath>
#include <cstring>
#include <limits>

#include "lib/container/open.h"
#include "lib/coreml/classic.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

namespace {

using namespace mlt;

struct Random {
  uint64_t state;
  uint64_t next() { return state = state * 6364136223846793005u + 1442695040888963407u, state >> 33; }
  double number() {
    switch (next() % 8) {
      case 0: return std::numeric_limits<double>::quiet_NaN();
      case 1: return std::numeric_limits<double>::infinity();
      case 2: return static_cast<double>(next() % 5);
      default: return static_cast<double>(static_cast<float>(static_cast<double>(next()) / 1e9 - 1));
    }
  }
  std::string word() { return std::string(1, static_cast<char>('a' + next() % 4)); }
};

bool fill(const std::vector<coreml::FeatureDescription>& features, Random& random, FeatureMap& out, std::vector<float>& row) {
  for (const auto& feature : features) {
    bool ints = feature.type.element == coreml::FeatureKind::kInt64;
    switch (feature.type.kind) {
      case coreml::FeatureKind::kInt64: out[feature.name] = static_cast<int64_t>(random.next() % 7) - 2; break;
      case coreml::FeatureKind::kDouble: {
        double value = random.number();
        out[feature.name] = value;
        row.push_back(static_cast<float>(value));
        break;
      }
      case coreml::FeatureKind::kString: out[feature.name] = random.word(); break;
      case coreml::FeatureKind::kMultiArray: {
        auto count = element_count(feature.type.array.shape);
        if (!count.ok() || *count > 1 << 14) return false;
        Tensor tensor = Tensor::uninitialized(DType::kF64, feature.type.array.shape);
        for (int64_t i = 0; i < *count; ++i) {
          tensor.mutable_data<double>()[i] = random.number();
          row.push_back(static_cast<float>(tensor.data<double>()[i]));
        }
        out[feature.name] = std::move(tensor);
        break;
      }
      case coreml::FeatureKind::kDictionary:
        if (ints) out[feature.name] = IntDict{{static_cast<int64_t>(random.next() % 5) - 1, random.number()}, {2, 1.0}};
        else out[feature.name] = StringDict{{random.word(), random.number()}};
        break;
      case coreml::FeatureKind::kSequence:
        if (ints) out[feature.name] = IntList{static_cast<int64_t>(random.next() % 5)};
        else out[feature.name] = StringList{random.word()};
        break;
      default: return false;
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  Random random{};
  std::memcpy(&random.state, data, 8);
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto model = open_memory(Blob(Bytes(bytes + 8, bytes + size)), "fuzz");
  if (!model.ok() || !coreml::is_classic(model->model.kind())) return 0;
  PredictOptions options;
  options.exec.max_bytes = size_t{1} << 20;
  options.exec.max_iterations = 100;
  auto predictor = Predictor::create(*model, options);
  if (!predictor.ok()) return 0;
  constexpr int64_t kRows = 3;
  std::vector<float> rows;
  std::vector<std::string> answers;
  for (int64_t i = 0; i < kRows; ++i) {
    FeatureMap record;
    if (!fill((*predictor)->description().inputs, random, record, rows)) return 0;
    auto answer = (*predictor)->predict(record);
    answers.push_back(answer.ok() ? to_json(*answer) : "");
  }
  const RowPlan* plan = (*predictor)->row_plan();
  if (plan == nullptr) return 0;
  Rows given;
  given.f32 = rows.data();
  given.count = kRows;
  given.stride = plan->width;
  if (static_cast<int64_t>(rows.size()) != kRows * plan->width) __builtin_trap();
  auto batch = (*predictor)->predict_rows(given);
  for (int64_t i = 0; i < kRows; ++i)
    if (!batch.ok() || to_json(batch->record(i)) != answers[static_cast<size_t>(i)]) __builtin_trap();
  return 0;
}
