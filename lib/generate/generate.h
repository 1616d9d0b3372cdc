// Text from a causal language model, token by token: with states, with caches that go in and out, or with neither.
//
// Prompt and generated tokens are fed in the largest pieces that the model's shapes allow. With states the model writes
// its cache itself. A cache input is followed by the output of the last run: kept whole when it has grown by the tokens
// that were fed or has the input's fixed extent; appended when it holds those tokens alone; cut to its last entries when
// it is longer than the input may be. A cache that cannot be empty begins with the least extent of zeros, which masks
// leave out; such a model needs a mask. Without any cache the whole sequence is fed each time; shapes that are longer
// are filled up behind it.
#pragma once
#include <functional>

#include "lib/generate/roles.h"
#include "lib/generate/sample.h"
#include "lib/runtime/predictor.h"

namespace mlt {

struct GenerateOptions {
  int64_t max_tokens = 0;
  std::vector<int64_t> stop;           // ends the text; not part of it
  std::optional<int64_t> context;      // most tokens in all; else what shapes of states, caches and masks allow
  SamplingOptions sampling;
  RoleOptions roles;
};

struct Generation {
  std::vector<int64_t> ids;
  enum class End { kLength, kStop, kContext } end = End::kLength;
  size_t prompt_tokens = 0;
};

class Generator {
 public:
  // kUnsupported with reasons when the model is not one of the known forms.
  static Result<Generator> create(Predictor& predictor, GenerateOptions options);
  // `emit` sees each token as soon as it is chosen; its error ends the run. kInput for an empty prompt, one longer than the
  // context, and ids beyond the model's vocabulary.
  Result<Generation> run(const std::vector<int64_t>& prompt, const std::function<Status(int64_t)>& emit);
  const GenerationRoles& roles() const { return roles_; }
  int64_t context() const { return context_; }  // -1: no limit known

 private:
  Generator(Predictor& predictor, GenerateOptions options) : predictor_(&predictor), options_(std::move(options)) {}
  Status prepare();
  // Feeds tokens [from, from + n) of the sequence; scores of the last.
  Result<std::vector<float>> feed(const std::vector<int64_t>& sequence, size_t from, size_t n);
  Result<Tensor> input_value(const RoleInput& input, const std::vector<int64_t>& sequence, size_t from, size_t n, size_t extent) const;
  bool mask_of_tokens(const coreml::ArrayType& array) const;
  Status follow(CachePair& pair, Tensor& cache, const Tensor& output, int64_t n) const;

  Predictor* predictor_;
  GenerateOptions options_;
  GenerationRoles roles_;
  bool cached_ = false;  // states or caches: tokens are fed once
  int64_t context_ = -1;
  int64_t filler_ = 0;   // entries at the head of caches that stand for nothing
  StateTensors state_;
  std::vector<Tensor> caches_;
};

}  // namespace mlt
