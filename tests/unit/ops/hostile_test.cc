// Every row of the table under arguments that nobody sane writes: wrong ranks, negative and huge extents and indices,
// missing and surplus elements. Anything may be refused; nothing may crash (run it under the sanitizers).
#include <doctest/doctest.h>

#include <random>

#include "lib/ops/call.h"

using namespace mlt;
using namespace mlt::ops;

namespace {

struct Arguments {
  std::mt19937 random;

  uint32_t below(uint32_t n) { return random() % n; }  // plain modulo: the same on every platform

  int64_t integer() {
    constexpr int64_t kOdd[] = {-2147483648, 2147483647, -1, 0, 1, 2, 3, 65536, -65536, 1 << 20};
    return below(4) == 0 ? kOdd[below(std::size(kOdd))] : static_cast<int64_t>(below(9)) - 3;
  }

  Dims dims() {
    Dims dims;
    for (uint32_t rank = below(6); rank > 0; --rank) dims.push_back(below(8) == 0 ? 0 : below(4) + 1);
    return dims;
  }

  Tensor tensor(DType dtype, const Dims& dims) {
    int64_t count = *element_count(dims);
    if (dtype == DType::kString) {
      constexpr const char* kWords[] = {"", "update", "add", "reflect", "replicate", "fp16", "int8", "uint16", "custom", "same", "valid", "relu",
                                        "tanh", "EXACT", "logits", "bilinear", "DEFAULT", "forward", "bidirectional", "nchw,nwhr->nchr", "constant"};
      std::vector<std::string> words;
      for (int64_t i = 0; i < count; ++i) words.emplace_back(kWords[below(std::size(kWords))]);
      return Tensor::of_strings(dims, std::move(words));
    }
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(is_float(dtype) && below(16) ? below(2000) / 500.0 - 2 : static_cast<double>(integer()));
    return convert(Tensor::from<double>(dims, values), dtype);
  }

  Item item(const Param& param, const Dims& common) {
    if (param.kind == "list") {
      ir::Type element = ir::Type::tensor(below(2) ? DType::kF32 : DType::kString, dims());
      Item item{ir::Type::list(element, below(2) ? ir::kUnknown : 2), {}};
      if (below(2) && element.dtype == DType::kF32) item.value.list = std::make_shared<std::vector<Tensor>>(2, tensor(element.dtype, element.dims));
      return item;
    }
    if (param.kind == "state") return {ir::Type::state(ir::Type::tensor(DType::kF16, dims())), {}};
    DType dtype = param.dtypes.empty() ? DType::kF32 : param.dtypes[below(static_cast<uint32_t>(param.dtypes.size()))];
    if (param.domain != 0 && below(8) != 0) dtype = param.dtypes[0];
    Dims extents = param.is_const ? (below(2) ? Dims{} : Dims{static_cast<int64_t>(below(7))}) : below(2) ? common : dims();
    Item item{ir::Type::tensor(dtype, extents), {}};
    if (below(12) == 0 && !param.is_const) {
      for (int64_t& d : item.type.dims)
        if (below(2)) d = below(3) ? ir::kUnknown : 2147483647;
      if (below(6) == 0) item.type = ir::Type::unranked(dtype);
    } else if (below(12) != 0) {
      item.value.tensor = tensor(dtype, extents);
    }
    return item;
  }
};

}  // namespace

TEST_CASE("hostile arguments are refused, never fatal") {
  constexpr int64_t kMost = 1 << 16;
  int64_t evaluated = 0, tried = 0;
  for (const OpInfo& info : all_ops()) {
    Arguments arguments{std::mt19937(static_cast<uint32_t>(&info - all_ops().data()))};
    CAPTURE(info.def->name);
    for (int round = 0; round < 1500; ++round) {
      ++tried;
      Call call(info, nullptr);
      Dims common = arguments.dims();
      bool values = true;
      for (const Param& param : info.params) {
        if (param.optional && arguments.below(2)) continue;
        std::vector<Item> items;
        for (uint32_t n = param.variadic ? arguments.below(4) : 1; n > 0; --n) items.push_back(arguments.item(param, common));
        for (const Item& item : items) values = values && item.value.known();
        call.bind(param.name, std::move(items));
      }
      if (!infer(call) || !values || info.def->eval == nullptr) continue;
      bool small = true;
      for (const ir::Type& type : call.out_types()) small = small && (!type.is_static() || *element_count(type.dims) <= kMost);
      if (!small) continue;
      if (!evaluate(call)) continue;
      ++evaluated;
      for (size_t i = 0; i < call.out_count(); ++i) {
        const Tensor& out = call.outputs()[i].tensor;
        if (!out.valid()) continue;
        CHECK(out.dtype() == (info.def->raw_inputs ? out.dtype() : compute_dtype(call.out_type(i).dtype)));
        CHECK(compatible(call.out_type(i), ir::Type::tensor(call.out_type(i).dtype, out.dims())));
      }
    }
  }
  MESSAGE(evaluated, " of ", tried, " calls were valid");
  CHECK(evaluated > 1000);
}
