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

namespace {
using Json = nlohmann::ordered_json;

Json as_json(const Report& report) {
  const auto& [method, weights, notes, warnings, sections] = report;
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
  root["total"] = {{"weights", weights.size()}, {"changed", report.changed()}, {"elements_changed", elements},
                   {"bytes_before", report.bytes_before()}, {"bytes_after", report.bytes_after()}};
  for (const auto& [name, text] : sections) root[name] = Json::parse(text, nullptr, false);
  root["notes"] = notes;
  root["warnings"] = warnings;
  return root;
}

std::string escaped(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump(-1, ' ', false, Json::error_handler_t::replace), out;
  for (char c : text) {
    if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '&') out += "&amp;";
    else if (c == '"') out += "&quot;";
    else out += c;
  }
  return out;
}

// An array of objects as a table, an object as one row after the other.
void add_html(const std::string& title, const Json& value, std::string* out) {
  *out += "<h2>" + escaped(title) + "</h2>\n";
  if (value.is_array() && !value.empty() && value.front().is_object()) {
    std::vector<std::string> columns;
    for (const Json& row : value)
      for (const auto& [key, cell] : row.items())
        if (std::find(columns.begin(), columns.end(), key) == columns.end()) columns.push_back(key);
    *out += "<table><thead><tr>";
    for (const std::string& column : columns) *out += "<th>" + escaped(column) + "</th>";
    *out += "</tr></thead><tbody>\n";
    for (const Json& row : value) {
      *out += "<tr>";
      for (const std::string& column : columns) {
        bool number = row.contains(column) && row[column].is_number();
        *out += std::string(number ? "<td class=n>" : "<td>") + (row.contains(column) ? escaped(row[column]) : "") + "</td>";
      }
      *out += "</tr>\n";
    }
    *out += "</tbody></table>\n";
  } else if (value.is_array()) {
    *out += "<ul>";
    for (const Json& item : value) *out += "<li>" + escaped(item) + "</li>";
    *out += "</ul>\n";
  } else if (value.is_object()) {
    *out += "<dl>";
    for (const auto& [key, item] : value.items())
      if (!item.is_array() && !item.is_object()) *out += "<dt>" + escaped(key) + "</dt><dd>" + escaped(item) + "</dd>";
    *out += "</dl>\n";
    for (const auto& [key, item] : value.items())
      if ((item.is_array() && !item.empty()) || item.is_object()) add_html(title + ": " + key, item, out);
  }
}
}  // namespace

std::string Report::json() const {
  // Names may hold bytes that are no UTF-8.
  return as_json(*this).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string Report::html() const {
  Json root = as_json(*this);
  std::string out =
      "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>mlquantize: " + escaped(method) + "</title>\n<style>\n"
      "body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#222}table{border-collapse:collapse}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left}"
      "td.n{text-align:right;font-variant-numeric:tabular-nums}dt{float:left;clear:left;width:14em;color:#666}dd{margin-left:14em}\n"
      "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}}\n</style></head><body>\n<h1>" + escaped(method) + "</h1>\n";
  add_html("total", root["total"], &out);
  for (const auto& [name, text] : sections) add_html(name, root[name], &out);
  for (const char* list : {"notes", "warnings"})
    if (!root[list].empty()) add_html(list, root[list], &out);
  add_html("weights", root["weights"], &out);
  return out + "</body></html>\n";
}

}  // namespace mlt::compress
