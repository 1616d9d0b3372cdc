// mlpredict: run any Core ML model on this machine; records in, records out.
#include "cmd/mlpredict.h"
#include "lib/cli/app.h"

using namespace mlt;

int main(int argc, char** argv) {
  cli::App app("mlpredict", "run a Core ML model");
  PredictArguments o;
  app.usage("[options] MODEL [NAME=VALUE ...]");
  app.positional(o.model, "MODEL", "model to run; '-' is stdin").file();
  app.positional(o.values, "NAME=VALUE", "inputs: number, text, JSON, or @FILE (npy, image, json, txt)").optional();
  app.option("--inputs", o.inputs, "FILE", "records from FILE: npz, safetensors, jsonl, csv; '-' is stdin").file();
  app.flag("--batch", o.batch, "split the first axis of --inputs arrays into records");
  app.option("-o,--outputs", o.outputs, "FILE", "write records to FILE, by its extension; '-' is JSON lines on stdout").file();
  app.option("--top-k", o.top_k, "K", "only the K largest entries of class scores").range(1, 1e9);
  app.option("--function", o.function, "NAME", "function of a multi-function model");
  app.option("--feature", o.features, "NAME=VALUE", "outputs of a stage that cannot run here");
  app.option("--fit", o.fit, "HOW", "pictures of another size: stretch, crop, pad, none").choices({"stretch", "crop", "pad", "none"});
  app.option("--expect", o.expect, "FILE", "compare with these outputs; exit 1 when they differ").file();
  app.option("--rtol", o.rtol, "R", "relative tolerance (with --expect: 0.001)").range(0, 1e9);
  app.option("--atol", o.atol, "A", "absolute tolerance (with --expect: 0.00001)").range(0, 1e300);
  app.option("--compare-with", o.compare_with, "OTHER", "find the first op where OTHER differs; exit 1").file();
  app.option("--dump-intermediates", o.dump, "DIR", "write every op's outputs to DIR/NAME.npy").directory();
  app.flag("--allow-plaintext", o.allow_plaintext, "dump the intermediates of a sealed model too");
  app.option("--state-in", o.state_in, "FILE", "states to begin with: npz, safetensors").file();
  app.option("--state-out", o.state_out, "FILE", "write the states after the last record").file();
  app.flag("--strict-fp16", o.strict, "round after every float16 op; warn of overflow and NaN");
  app.option("--bf16", o.bf16, "WHEN", "multiply in bfloat16: never, fast, always").choices({"never", "fast", "always"});
  app.flag("--reference", o.reference, "use the reference evaluation, no fast kernels");
  app.option("--on-error", o.on_error, "HOW", "a record that fails: stop, or record the error").choices({"stop", "record"});
  app.option("--shard", o.shard, "I/N", "only records I, I+N, I+2N ... (from 0)");
  GenerateArguments& g = o.generate;
  app.option("--generate", g.tokens, "N", "up to N tokens from a causal language model").range(1, 1e9);
  // What only --generate uses.
  std::vector<cli::Option*> of_generation;
  auto also = [&](cli::Option& option) { of_generation.push_back(&option); };
  also(app.option("--prompt", g.prompt, "TEXT", "text to go on with; '-' is stdin, @FILE a file").file());
  also(app.option("--prompt-ids", g.prompt_ids, "IDS", "token ids to go on with: 1,2,3"));
  also(app.option("--tokenizer", g.tokenizer, "FILE", "tokenizer.json, or a SentencePiece model").file());
  also(app.option("--stop", g.stop, "TOKEN", "a token, by id or name, that ends the text"));
  also(app.option("--temperature", g.temperature, "T", "sample; without it the best token is taken").range(0, 1e6));
  also(app.option("--sample-top-k", g.top_k, "K", "sample from the K best tokens").range(1, 1e9));
  also(app.option("--top-p", g.top_p, "P", "sample from the best tokens of probability P together").range(0, 1));
  also(app.option("--seed", g.seed, "S", "of sampling (0)"));
  also(app.option("--context", g.context, "N", "most tokens that the model can hold").range(1, 1e9));
  also(app.option("--cache", g.cache, "INPUT=OUTPUT", "an output that is the next token's input"));
  also(app.option("--tokens-input", g.tokens_input, "NAME", "input that takes the tokens"));
  also(app.option("--logits-output", g.logits_output, "NAME", "output with the scores of all tokens"));
  also(app.option("--mask-input", g.mask_input, "NAME", "input that takes the attention mask"));
  also(app.option("--position-input", g.position_input, "NAME", "input that takes the tokens' positions"));
  also(app.flag("--timings", g.timings, "seconds and tokens per second in the JSON"));
  app.json_flag("outputs as JSON on stdout");
  app.threads_option();
  add_key_options(app, o.keys);
  app.examples("mlpredict model.mlpackage image=@cat.jpg --top-k 3\nmlpredict house.mlmodel --inputs rows.csv --outputs prices.csv");
  return app.run(argc, argv, [&]() -> Result<int> {
    if (g.tokens) return run_generation(o, app.json());
    for (const cli::Option* option : of_generation)
      if (option->given()) return usage_error(option->name() + " is for --generate");
    return o.compare_with ? run_comparison(o, app.json()) : run_records(o, app.json());
  });
}
