#include "lib/compress/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace mlt::compress {
namespace {

// Six digits: enough to compare, and the same on every machine.
double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  double unit = std::pow(10.0, 5 - std::floor(std::log10(std::abs(value))));
  return std::isfinite(unit) ? std::round(value * unit) / unit : value;
}

}  // namespace

uint64_t Report::bytes_before() const {
  uint64_t sum = 0;
  for (const auto& w : weights) sum += w.bytes_before;
  return sum;
}

uint64_t Report::bytes_after() const {
  uint64_t sum = 0;
  for (const auto& w : weights) sum += w.bytes_after;
  return sum;
}

size_t Report::changed() const {
  return static_cast<size_t>(std::count_if(weights.begin(), weights.end(), [](const WeightReport& w) { return w.changed; }));
}

std::string Report::json() const {
  using Json = nlohmann::ordered_json;
  Json root = {{"schema", "mltools.quantize"}, {"version", 1}, {"method", method}};
  Json list = Json::array();
  int64_t elements = 0;
  for (const WeightReport& w : weights) {
    Json item;
    if (!w.stage.empty()) item["stage"] = w.stage;
    if (!w.function.empty()) item["function"] = w.function;
    item["name"] = w.name;
    item["used_by"] = w.used_by;
    item["shape"] = w.dims;
    item["elements"] = w.elements;
    item["changed"] = w.changed;
    item[w.changed ? "form" : "reason"] = w.form;
    item["bytes_before"] = w.bytes_before;
    item["bytes_after"] = w.bytes_after;
    if (w.changed) {
      elements += w.elements;
      item["max_error"] = rounded(w.distance.max);
      item["mean_error"] = rounded(w.distance.mean);
      item["psnr_db"] = w.distance.psnr ? Json(std::round(*w.distance.psnr * 100) / 100) : Json(nullptr);
    }
    list.push_back(std::move(item));
  }
  root["weights"] = std::move(list);
  root["total"] = {{"weights", weights.size()}, {"changed", changed()}, {"elements_changed", elements},
                   {"bytes_before", bytes_before()}, {"bytes_after", bytes_after()}};
  root["notes"] = notes;
  root["warnings"] = warnings;
  // Names may hold bytes that are no UTF-8.
  return root.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mlt::compress
