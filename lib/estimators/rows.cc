#include "lib/estimators/rows.h"

#include "lib/estimators/estimator.h"

namespace mlt {

FeatureMap FeatureBatch::record(int64_t i) const {
  FeatureMap out;
  for (const Column& column : columns) {
    const double* values = column.values.data() + i * column.width;
    FeatureValue& value = out[column.name];
    switch (column.kind) {
      case Kind::kDouble: value = values[0]; break;
      case Kind::kArray:
        value = convert(Tensor::from<double>(column.shape, std::vector<double>(values, values + column.width)), column.dtype);
        break;
      case Kind::kLabel: value = column.labels->at(column.indices[static_cast<size_t>(i)]); break;
      case Kind::kDict:
        if (column.labels->integers) {
          IntDict dict;
          for (size_t k = 0; k < column.order.size(); ++k) dict.emplace_hint(dict.end(), column.labels->ints[column.order[k]], values[k]);
          value = std::move(dict);
        } else {
          StringDict dict;
          for (size_t k = 0; k < column.order.size(); ++k) dict.emplace_hint(dict.end(), column.labels->strings[column.order[k]], values[k]);
          value = std::move(dict);
        }
        break;
    }
  }
  return out;
}

std::vector<std::pair<std::string, Tensor>> FeatureBatch::arrays(bool keys_once) const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const Column& column : columns) {
    switch (column.kind) {
      case Kind::kDouble: out.emplace_back(column.name, Tensor::from<double>({count}, column.values)); break;
      case Kind::kArray: {
        Dims dims = column.shape;
        dims.insert(dims.begin(), count);
        out.emplace_back(column.name, convert(Tensor::from<double>(dims, column.values), column.dtype));
        break;
      }
      case Kind::kLabel:
        if (column.labels->integers) {
          Tensor tensor = Tensor::uninitialized(DType::kI64, {count});
          for (size_t i = 0; i < column.indices.size(); ++i) tensor.mutable_data<int64_t>()[i] = column.labels->ints[column.indices[i]];
          out.emplace_back(column.name, std::move(tensor));
        } else {
          std::vector<std::string> texts;
          texts.reserve(column.indices.size());
          for (uint32_t index : column.indices) texts.push_back(column.labels->strings[index]);
          out.emplace_back(column.name, Tensor::of_strings({count}, std::move(texts)));
        }
        break;
      case Kind::kDict: {
        out.emplace_back(column.name, Tensor::from<double>({count, column.width}, column.values));
        int64_t times = keys_once ? 1 : count;
        Dims dims = keys_once ? Dims{column.width} : Dims{count, column.width};
        if (column.labels->integers) {
          Tensor keys = Tensor::uninitialized(DType::kI64, dims);
          for (int64_t i = 0; i < times * column.width; ++i)
            keys.mutable_data<int64_t>()[i] = column.labels->ints[column.order[static_cast<size_t>(i % column.width)]];
          out.emplace_back(column.name + ".keys", std::move(keys));
        } else {
          std::vector<std::string> keys;
          keys.reserve(static_cast<size_t>(times * column.width));
          for (int64_t i = 0; i < times * column.width; ++i) keys.push_back(column.labels->strings[column.order[static_cast<size_t>(i % column.width)]]);
          out.emplace_back(column.name + ".keys", Tensor::of_strings(dims, std::move(keys)));
        }
        break;
      }
    }
  }
  return out;
}

}  // namespace mlt
