// --compare-with: the same records through two models.
#include "cmd/mlpredict.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/runtime/compare.h"

namespace mlt {

Result<int> run_comparison(const PredictArguments& o, bool json) {
  const std::pair<bool, const char*> others[] = {{o.outputs.has_value(), "--outputs"}, {o.expect.has_value(), "--expect"}, {o.top_k.has_value(), "--top-k"},
                                                 {o.dump.has_value(), "--dump-intermediates"}, {o.state_in.has_value(), "--state-in"},
                                                 {o.state_out.has_value(), "--state-out"}, {o.on_error != "stop", "--on-error record"}};
  for (const auto& [given, name] : others)
    if (given) return usage_error("--compare-with and " + std::string(name) + " exclude each other");
  MLT_ASSIGN(PredictOptions options, predict_options(o));
  MLT_ASSIGN(OpenedModel first, cli::read_model(o.model, o.keys));
  MLT_ASSIGN(OpenedModel second, cli::read_model(*o.compare_with, o.keys));
  MLT_ASSIGN(auto comparer, ModelComparer::create(first, second, options, {o.rtol, o.atol}));
  MLT_ASSIGN(auto shard, parse_shard(o));
  MLT_ASSIGN(auto records, open_records(o, comparer->first()));
  for (int64_t index = 0;; ++index) {
    auto record = records->next();
    if (!record) return o.inputs ? std::move(record).error().in_path(cli::input_name(*o.inputs)) : std::move(record).error();
    if (!*record) break;
    if (index % shard.second == shard.first) MLT_TRY(comparer->add(**record).in("record " + std::to_string(index)));
  }
  if (comparer->result().records == 0) return input_error("there are no records to compare on");
  std::string text = json ? comparison_json(comparer->result(), o.model, *o.compare_with) : comparison_text(comparer->result());
  MLT_TRY(write_fd(1, as_bytes(text), "stdout"));
  return comparer->result().agree() ? 0 : exit_status(Code::kNegative);
}

}  // namespace mlt
