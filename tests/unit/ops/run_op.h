// Runs one op of the table on values, for tests that compute their inputs.
#pragma once
#include <string_view>
#include <utility>
#include <vector>

#include "lib/ops/call.h"

namespace mlt::test {

// Parameters may repeat: their tensors make a tuple. Outputs are in their declared element types.
inline Result<std::vector<Tensor>> run_op(std::string_view name, std::vector<std::pair<std::string_view, Tensor>> inputs,
                                          ops::Opset opset = ops::Opset::kCoreML9) {
  const ops::OpInfo* info = ops::find_op(name, opset);
  if (info == nullptr) return input_error("no op \"" + std::string(name) + "\"");
  ops::Call call(*info, nullptr);
  for (size_t i = 0; i < inputs.size();) {
    std::vector<ops::Item> items;
    size_t first = i;
    for (; i < inputs.size() && inputs[i].first == inputs[first].first; ++i)
      items.push_back({ir::Type::of(inputs[i].second), {inputs[i].second, nullptr}});
    call.bind(inputs[first].first, std::move(items));
  }
  MLT_TRY(ops::evaluate(call));
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < call.outputs().size(); ++i)
    outputs.push_back(convert(call.outputs()[i].tensor, call.out_types()[i].dtype));
  return outputs;
}

}  // namespace mlt::test
