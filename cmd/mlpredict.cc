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
  app.option("--outputs", o.outputs, "FILE", "write records to FILE, by its extension; '-' is JSON lines on stdout").file();
  app.option("--top-k", o.top_k, "K", "only the K largest entries of class scores").range(1, 1e9);
  app.option("--function", o.function, "NAME", "function of a multi-function model");
  app.option("--feature", o.features, "NAME=VALUE", "outputs of a stage that cannot run here");
  app.option("--fit", o.fit, "HOW", "pictures of another size: stretch, crop, pad, none").choices({"stretch", "crop", "pad", "none"});
  app.option("--expect", o.expect, "FILE", "compare with these outputs; exit 1 when they differ").file();
  app.option("--rtol", o.rtol, "R", "relative tolerance (with --expect: 0.001)").range(0, 1e9);
  app.option("--atol", o.atol, "A", "absolute tolerance (with --expect: 0.00001)").range(0, 1e300);
  app.option("--compare-with", o.compare_with, "OTHER", "find the first op where OTHER differs; exit 1").file();
  app.option("--dump-intermediates", o.dump, "DIR", "write every op's outputs to DIR/NAME.npy").directory();
  app.option("--state-in", o.state_in, "FILE", "states to begin with: npz, safetensors").file();
  app.option("--state-out", o.state_out, "FILE", "write the states after the last record").file();
  app.flag("--strict-fp16", o.strict, "round after every float16 op; warn of overflow and NaN");
  app.flag("--reference", o.reference, "use the reference evaluation, no fast kernels");
  app.option("--on-error", o.on_error, "HOW", "a record that fails: stop, or record the error").choices({"stop", "record"});
  app.option("--shard", o.shard, "I/N", "only records I, I+N, I+2N ... (from 0)");
  app.not_yet("--generate", true);
  app.json_flag("outputs as JSON lines on stdout");
  app.threads_option();
  add_key_options(app, o.keys);
  app.examples("mlpredict model.mlpackage image=@cat.jpg --top-k 3\nmlpredict house.mlmodel --inputs rows.csv --outputs prices.csv");
  return app.run(argc, argv, [&] { return o.compare_with ? run_comparison(o, app.json()) : run_records(o, app.json()); });
}
