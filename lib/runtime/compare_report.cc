#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/runtime/compare.h"

namespace mlt {
namespace {

using Json = nlohmann::ordered_json;

std::string number(double x) { return std::isfinite(x) ? fmt::format("{:.3g}", x) : "not finite"; }
std::string decibels(double x) { return std::isinf(x) ? (x > 0 ? "equal" : "none") : fmt::format("{:.1f}", x); }
std::string types(const ComparedValue& v) {
  std::string text(dtype_name(v.dtype));
  return v.dtype == v.other_dtype ? text : text + " " + std::string(dtype_name(v.other_dtype));
}

std::string plural(size_t n, std::string_view what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json entry(const ComparedValue& v) {
  Json out = {{"name", v.name}, {"other_name", v.other_name}};
  if (!v.kind.empty()) {
    out["op"] = v.op;
    out["type"] = v.kind;
    out["other_type"] = v.other_kind;
    out["position"] = v.position;
  }
  out["dtype"] = dtype_name(v.dtype);
  out["other_dtype"] = dtype_name(v.other_dtype);
  out["values"] = v.values;
  out["outside"] = v.outside;
  out["psnr"] = finite(v.psnr());
  out["max_abs"] = finite(v.max_abs);
  out["max_rel"] = finite(v.max_rel);
  out["agrees"] = v.agrees;
  return out;
}

}  // namespace

std::string comparison_text(const Comparison& c) {
  std::vector<std::array<std::string, 7>> lines{{"value", "op", "type", "values", "PSNR dB", "max error", "relative"}};
  auto add = [&](const ComparedValue& v, std::string name) {
    lines.push_back({std::move(name), v.kind, types(v), std::to_string(v.values), decibels(v.psnr()), number(v.max_abs), number(v.max_rel)});
    if (!v.agrees) lines.back()[6] += "  differs";
  };
  for (const ComparedValue& v : c.ops) add(v, v.name);
  for (const ComparedValue& v : c.outputs) add(v, "output " + v.name);
  std::array<size_t, 7> widths{};
  for (const auto& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  std::string text;
  for (const auto& line : lines) {
    std::string row = fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>{}}  {:>{}}  {:>{}}  {}", line[0], widths[0], line[1], widths[1], line[2], widths[2], line[3], widths[3],
                                  line[4], widths[4], line[5], widths[5], line[6]);
    text += row + "\n";
  }
  text += "\n";
  for (const std::string& finding : c.findings) text += finding + "\n";
  if (c.ops.empty()) {
    text += fmt::format("no value is shared ({} in the first model, {} in the second): only outputs are compared\n", c.first_values, c.second_values);
  } else {
    text += fmt::format("{} shared ({} in the first model, {} in the second){}\n", plural(c.ops.size(), "value"), c.first_values, c.second_values,
                        c.other_shapes == 0 ? "" : fmt::format(", {} more by name, of another size", c.other_shapes));
  }
  if (const ComparedValue* v = c.first_diverging())
    text += fmt::format("first diverging op: {} ({}), op {} of {}: {} of {} off, max error {}\n", v->op, v->kind, v->position, c.steps, v->outside,
                        plural(static_cast<size_t>(v->values), "value"), number(v->max_abs));
  return text + (c.agree() ? "agrees\n" : "differs\n");
}

std::string comparison_json(const Comparison& c, const std::string& first, const std::string& second) {
  Json out = {{"schema", "mlpredict-compare"}, {"schema_version", 1}, {"models", {first, second}}, {"records", c.records}, {"agree", c.agree()}};
  out["values"] = {c.first_values, c.second_values};
  out["shared"] = c.ops.size();
  out["other_shapes"] = c.other_shapes;
  out["ops"] = Json::array();
  out["outputs"] = Json::array();
  for (const ComparedValue& v : c.ops) out["ops"].push_back(entry(v));
  for (const ComparedValue& v : c.outputs) out["outputs"].push_back(entry(v));
  out["findings"] = c.findings;
  const ComparedValue* diverging = c.first_diverging();
  out["first_diverging"] = diverging != nullptr ? entry(*diverging) : Json(nullptr);
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace mlt
