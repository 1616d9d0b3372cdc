// What mlpredict's command line says, and its three ways of running: records, comparison, generation. Internal to
// cmd/mlpredict*.cc.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/model_input.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

namespace mlt {

struct GenerateArguments {
  std::optional<int64_t> tokens, context, top_k;
  std::optional<double> temperature, top_p;
  std::optional<uint64_t> seed;
  std::optional<std::string> prompt, prompt_ids, tokenizer, tokens_input, logits_output, mask_input, position_input;
  std::vector<std::string> stop, cache;
  bool timings = false;
};

struct PredictArguments {
  std::string model;
  std::vector<std::string> values, features;
  std::optional<std::string> inputs, outputs, expect, dump, function, shard, state_in, state_out, compare_with;
  std::string fit = "stretch", on_error = "stop";
  std::optional<int> top_k;
  std::optional<double> rtol, atol;
  std::string bf16 = "never";
  bool batch = false, strict = false, reference = false, allow_plaintext = false;
  cli::KeyOptions keys;
  GenerateArguments generate;
};

Result<PredictOptions> predict_options(const PredictArguments& arguments);
// The records that NAME=VALUE arguments or --inputs give.
Result<std::unique_ptr<RecordReader>> open_records(const PredictArguments& arguments, const Predictor& predictor);
Result<std::pair<int64_t, int64_t>> parse_shard(const PredictArguments& arguments);
// Says where float16 was not enough: the first op, and with -v the later ones.
void warn_of_precision(Predictor& predictor);

// Each returns the exit status.
Result<int> run_records(const PredictArguments& arguments, bool json);
Result<int> run_comparison(const PredictArguments& arguments, bool json);
Result<int> run_generation(const PredictArguments& arguments, bool json);

}  // namespace mlt
