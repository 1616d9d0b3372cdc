// --generate: tokens from a causal language model, shown as they come.
#include <chrono>
#include <nlohmann/json.hpp>

#include "cmd/mlpredict.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/generate/generate.h"
#include "lib/text/tokenizer.h"

namespace mlt {
namespace {

Result<std::vector<int64_t>> parse_ids(const std::string& text) {
  std::vector<int64_t> ids;
  for (size_t at = 0; at <= text.size();) {
    size_t end = std::min(text.find_first_of(", \n", at), text.size());
    if (end > at) {
      auto id = cli::parse_integer(text.substr(at, end - at));
      if (!id) return usage_error("--prompt-ids takes numbers, for example 1,2,3");
      ids.push_back(*id);
    }
    at = end + 1;
  }
  return ids;
}

Result<std::vector<int64_t>> prompt_ids(const GenerateArguments& g, const Tokenizer* tokenizer) {
  if (g.prompt_ids) return parse_ids(*g.prompt_ids);
  std::string text = *g.prompt;
  if (text == "-" || text.starts_with('@')) {
    MLT_ASSIGN(Blob file, cli::read_input(text == "-" ? text : text.substr(1)));
    text = std::string(as_text(file.bytes()));
  }
  return tokenizer->encode(text).in("the prompt");
}

Result<GenerateOptions> generate_options(const PredictArguments& o, const Tokenizer* tokenizer, const Predictor& predictor) {
  const GenerateArguments& g = o.generate;
  GenerateOptions options;
  options.max_tokens = *g.tokens;
  options.context = g.context;
  if (tokenizer != nullptr) options.stop = tokenizer->end_ids();
  for (const std::string& stop : g.stop) {
    auto id = cli::parse_integer(stop);
    auto named = tokenizer != nullptr ? tokenizer->id_of(stop) : std::nullopt;
    if (!id && !named) return usage_error("--stop: \"" + stop + "\" is no id" + (tokenizer != nullptr ? " and no token" : ""));
    options.stop.push_back(id ? *id : *named);
  }
  if (!g.temperature && (g.top_k || g.top_p || g.seed)) return usage_error("--sample-top-k, --top-p and --seed are for sampling", "--temperature 1 turns it on");
  options.sampling = {g.temperature.value_or(0), g.top_k.value_or(0), g.top_p.value_or(1), g.seed.value_or(0)};
  options.roles.tokens = g.tokens_input;
  options.roles.logits = g.logits_output;
  options.roles.mask = g.mask_input;
  options.roles.position = g.position_input;
  for (const std::string& pair : g.cache) {
    size_t equals = pair.find('=');
    if (equals == std::string::npos) return usage_error("--cache takes INPUT=OUTPUT");
    options.roles.caches.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  MLT_ASSIGN(options.roles.constants, parse_record(o.values, predictor.description().inputs, cli::read_input));
  return options;
}

}  // namespace

Result<int> run_generation(const PredictArguments& o, bool json) {
  const GenerateArguments& g = o.generate;
  const std::pair<bool, const char*> others[] = {{o.outputs.has_value(), "--outputs"}, {o.inputs.has_value(), "--inputs"}, {o.expect.has_value(), "--expect"},
                                                 {o.top_k.has_value(), "--top-k (--sample-top-k?)"}, {o.dump.has_value(), "--dump-intermediates"},
                                                 {o.state_in.has_value(), "--state-in"}, {o.state_out.has_value(), "--state-out"}, {o.batch, "--batch"},
                                                 {o.shard.has_value(), "--shard"}, {o.compare_with.has_value(), "--compare-with"},
                                                 {o.rtol.has_value(), "--rtol"}, {o.atol.has_value(), "--atol"}, {o.on_error != "stop", "--on-error record"}};
  for (const auto& [given, name] : others)
    if (given) return usage_error("--generate and " + std::string(name) + " exclude each other");
  if (g.prompt.has_value() == g.prompt_ids.has_value()) return usage_error("--generate needs either --prompt or --prompt-ids");
  if (g.prompt && !g.tokenizer) return usage_error("--prompt needs --tokenizer", "a tokenizer.json, or a SentencePiece .model; --prompt-ids needs none");
  if (g.timings && !json) return usage_error("--timings adds to --json");
  std::unique_ptr<Tokenizer> tokenizer;
  if (g.tokenizer) {
    MLT_ASSIGN(Blob file, map_file(*g.tokenizer));
    auto opened = open_tokenizer(file);
    if (!opened) return std::move(opened).error().in_path(*g.tokenizer);
    tokenizer = std::move(*opened);
  }
  MLT_ASSIGN(PredictOptions options, predict_options(o));
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));
  MLT_ASSIGN(GenerateOptions how, generate_options(o, tokenizer.get(), *predictor));
  MLT_ASSIGN(Generator generator, Generator::create(*predictor, std::move(how)));
  MLT_ASSIGN(std::vector<int64_t> prompt, prompt_ids(g, tokenizer.get()));

  std::optional<StreamDecoder> decoder;
  if (tokenizer) decoder.emplace(*tokenizer);
  std::string text;
  bool first = true, warned = false;
  auto show = [&](const std::string& piece) -> Status {
    text += piece;
    return json || piece.empty() ? Status() : write_fd(1, as_bytes(piece), "stdout");
  };
  using Clock = std::chrono::steady_clock;
  auto start = Clock::now(), first_token = start;
  auto generated = generator.run(prompt, [&](int64_t id) -> Status {
    if (first) first_token = Clock::now();
    if (!warned && o.strict)
      for (Executor* executor : predictor->executors()) warned = warned || !executor->precision_findings().empty();
    if (warned && o.strict && first) warn_of_precision(*predictor);
    std::string piece = decoder ? decoder->push(id) : (first ? "" : " ") + std::to_string(id);
    first = false;
    return show(piece);
  });
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  double after_first = std::chrono::duration<double>(Clock::now() - first_token).count();
  if (decoder) MLT_TRY(show(decoder->finish()));
  if (!json && !text.empty()) MLT_TRY(write_fd(1, as_bytes("\n"), "stdout"));
  if (!generated) return std::move(generated).error().in_path(o.model);
  const char* ends[] = {"length", "stop", "context"};
  const char* end = ends[static_cast<int>(generated->end)];
  if (!json) {
    if (generated->end == Generation::End::kContext) cli::print_warning("the model's context is full: " + std::to_string(generator.context()) + " tokens");
    return 0;
  }
  nlohmann::ordered_json out = {{"schema", "mlpredict-generate"}, {"schema_version", 1}, {"prompt_ids", prompt}, {"ids", generated->ids}};
  if (tokenizer) out["text"] = text;
  out["end"] = end;
  if (g.timings) {
    out["seconds"] = seconds;
    auto later = static_cast<double>(generated->ids.size()) - 1;
    if (later > 0) out["tokens_per_second"] = later / after_first;
  }
  MLT_TRY(write_fd(1, as_bytes(out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"), "stdout"));
  return 0;
}

}  // namespace mlt
