// How well a digit classifier reads the MNIST test images, and how fast.
//
//   mnist_accuracy IMAGES LABELS MODEL...     IMAGES, LABELS: IDX files, uncompressed
//
// One line a model: accuracy in percent, images a second, and the scaling of the pixels that it was measured with. Which
// scaling a model was trained on is often not in its file, so the usual ones are tried on the first 1000 images and the
// best is used for all. The model has one input (a picture or an array of 784 numbers) and gives a class label or one
// array of ten scores. One image a prediction, on all cores unless MLT_THREADS says otherwise. Exit status 1 when a model
// cannot be run.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "lib/base/threads.h"
#include "lib/container/open.h"
#include "lib/runtime/predictor.h"

using namespace mlt;

namespace {

constexpr int kSide = 28;
constexpr int64_t kPixels = kSide * kSide;

struct Digits {
  Blob images, labels;
  int64_t count = 0;
  const uint8_t* image(int64_t i) const { return reinterpret_cast<const uint8_t*>(images.bytes().data()) + 16 + i * kPixels; }
  int label(int64_t i) const { return static_cast<int>(labels.bytes()[static_cast<size_t>(8 + i)]); }
};

// The IDX layout: a magic number and the extents, big-endian, then the bytes.
Result<Digits> read_digits(const std::string& images, const std::string& labels) {
  Digits digits;
  MLT_ASSIGN(digits.images, map_file(images));
  MLT_ASSIGN(digits.labels, map_file(labels));
  digits.count = (static_cast<int64_t>(digits.images.bytes().size()) - 16) / kPixels;
  if (digits.count <= 0 || static_cast<int64_t>(digits.labels.bytes().size()) != digits.count + 8) return input_error("not a pair of MNIST files");
  return digits;
}

struct Scaling {
  const char* name;
  double scale, bias;
};
// Pixels 0..255 times scale plus bias.
constexpr Scaling kScalings[] = {
    {"0..255", 1, 0},
    {"0..1", 1 / 255.0, 0},
    {"(x/255 - 0.1307) / 0.3081", 1 / 255.0 / 0.3081, -0.1307 / 0.3081},
    {"-1..1", 2 / 255.0, -1},
    {"-0.5..0.5", 1 / 255.0, -0.5},
    {"255..0", -1, 255},
    {"1..0", -1 / 255.0, 1},
};

class Classifier {
 public:
  static Result<Classifier> create(const std::string& path) {
    Classifier c;
    MLT_ASSIGN(OpenedModel model, open_model(path));
    MLT_ASSIGN(c.predictor_, Predictor::create(model));
    const auto& inputs = c.predictor_->description().inputs;
    if (inputs.size() != 1) return unsupported_error("the model has not one input");
    c.input_ = inputs[0];
    int64_t elements = 1;
    for (int64_t d : c.input_.type.array.shape) elements *= d;
    if (c.input_.type.kind != coreml::FeatureKind::kImage && elements != kPixels) return unsupported_error("the input is no picture of 28 x 28");
    return c;
  }
  bool takes_pictures() const { return input_.type.kind == coreml::FeatureKind::kImage; }

  Result<int> classify(const uint8_t* pixels, const Scaling& scaling) {
    FeatureMap features;
    if (takes_pictures()) {
      Image image{kSide, kSide, 1, PixelOrder::kGray, Tensor::uninitialized(DType::kU8, {kSide, kSide, 1})};
      uint8_t* out = image.pixels.mutable_data<uint8_t>();
      for (int64_t i = 0; i < kPixels; ++i) out[i] = scaling.scale < 0 ? static_cast<uint8_t>(255 - pixels[i]) : pixels[i];
      features[input_.name] = std::move(image);
    } else {
      Tensor array = Tensor::uninitialized(DType::kF32, input_.type.array.shape);
      float* out = array.mutable_data<float>();
      for (int64_t i = 0; i < kPixels; ++i) out[i] = static_cast<float>(pixels[i] * scaling.scale + scaling.bias);
      features[input_.name] = std::move(array);
    }
    MLT_ASSIGN(FeatureMap answer, predictor_->predict(features));
    for (const auto& [name, value] : answer) {
      if (const int64_t* label = std::get_if<int64_t>(&value)) return static_cast<int>(*label);
      if (const std::string* label = std::get_if<std::string>(&value)) return std::atoi(label->c_str());
    }
    for (const auto& [name, value] : answer) {
      const Tensor* scores = std::get_if<Tensor>(&value);
      if (!scores || scores->size() != 10) continue;
      MLT_ASSIGN(std::vector<double> numbers, feature_numbers(answer, name));
      return static_cast<int>(std::max_element(numbers.begin(), numbers.end()) - numbers.begin());
    }
    return unsupported_error("the model gives no label and no ten scores");
  }

  // Right answers among the first `count` images.
  Result<int64_t> right(const Digits& digits, int64_t count, const Scaling& scaling) {
    int64_t right = 0;
    for (int64_t i = 0; i < count; ++i) {
      MLT_ASSIGN(int label, classify(digits.image(i), scaling));
      right += label == digits.label(i);
    }
    return right;
  }

 private:
  std::unique_ptr<Predictor> predictor_;
  coreml::FeatureDescription input_;
};

Status report(const std::string& path, const Digits& digits) {
  MLT_ASSIGN(Classifier classifier, Classifier::create(path));
  const Scaling* best = nullptr;
  int64_t most = -1;
  for (const Scaling& scaling : kScalings) {
    // The model scales pictures itself; only black on white is another question.
    if (classifier.takes_pictures() && std::abs(scaling.scale) != 1) continue;
    MLT_ASSIGN(int64_t right, classifier.right(digits, std::min<int64_t>(1000, digits.count), scaling));
    if (right > most) most = right, best = &scaling;
  }
  auto start = std::chrono::steady_clock::now();
  MLT_ASSIGN(int64_t right, classifier.right(digits, digits.count, *best));
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{:.2f} % {:.0f} images/s {} {}\n", 100.0 * static_cast<double>(right) / static_cast<double>(digits.count), static_cast<double>(digits.count) / seconds,
             classifier.takes_pictures() ? (best->scale < 0 ? "picture, inverted" : "picture") : best->name, path);
  std::fflush(stdout);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: mnist_accuracy IMAGES LABELS MODEL...\n");
    return 2;
  }
  if (const char* threads = std::getenv("MLT_THREADS")) set_thread_count(std::atoi(threads));
  auto digits = read_digits(argv[1], argv[2]);
  if (!digits) {
    fmt::print(stderr, "mnist_accuracy: error: {}\n", digits.error().to_string());
    return 1;
  }
  bool failed = false;
  for (int i = 3; i < argc; ++i) {
    Status status = report(argv[i], *digits);
    if (status.ok()) continue;
    fmt::print(stderr, "mnist_accuracy: error: {}: {}\n", argv[i], status.error().to_string());
    failed = true;
  }
  return failed ? 1 : 0;
}
