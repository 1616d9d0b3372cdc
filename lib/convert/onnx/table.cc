// The list of families; each family's file lists its operators.
#include <algorithm>
#include <unordered_map>

#include "lib/convert/onnx/lowering.h"

namespace mlt::foreign::onnx {
namespace {

constexpr std::span<const Row> (*kFamilies[])() = {
    families::elementwise, families::activation, families::shape,        families::indexing,
    families::conv,        families::normalization, families::linear,    families::reduction,
    families::recurrent,   families::quantization,  families::image,     families::control,
    families::signal,      families::attention,     families::loss,      families::classic,
    families::contrib,     families::bits,  families::sampling,
};

}  // namespace

std::vector<const Row*> all_rows() {
  std::vector<const Row*> rows;
  for (auto family : kFamilies)
    for (const Row& row : family()) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(), [](const Row* a, const Row* b) {
    return a->domain != b->domain ? a->domain < b->domain : a->op < b->op;
  });
  return rows;
}

const Row* find_row(std::string_view domain, std::string_view op) {
  static const auto* index = [] {
    auto* map = new std::unordered_map<std::string, const Row*>;
    for (const Row* row : all_rows()) map->emplace(std::string(row->domain) + ":" + std::string(row->op), row);
    return map;
  }();
  auto it = index->find(std::string(domain) + ":" + std::string(op));
  return it == index->end() ? nullptr : it->second;
}

}  // namespace mlt::foreign::onnx
