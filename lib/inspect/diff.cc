#include "lib/inspect/diff.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "lib/container/metadata_json.h"

namespace mlt::inspect {
namespace {

using coreml::FeatureDescription;
using Kind = Change::Kind;

std::string feature_text(const FeatureDescription& feature) {
  std::string text = coreml::format_type(feature.type);
  if (feature.type.kind == coreml::FeatureKind::kMultiArray ||
      feature.type.kind == coreml::FeatureKind::kState) {
    std::string flexible = shape_flexibility(feature.type.array);
    if (!flexible.empty()) text += ", " + flexible;
  }
  if (feature.type.kind == coreml::FeatureKind::kImage) {
    const auto& image = feature.type.image;
    if (image.flexibility == coreml::Flexibility::kRange)
      text += fmt::format(", width {}...{}, height {}...{}", image.width_range.lower, image.width_range.upper,
                          image.height_range.lower, image.height_range.upper);
    for (const auto& size : image.enumerated_sizes) text += fmt::format(", {} x {}", size.width, size.height);
  }
  return text + (feature.type.optional ? ", optional" : "");
}

void compare_text(const std::string& what, const std::string& a, const std::string& b,
                  std::vector<Change>& out) {
  if (a == b) return;
  out.push_back({a.empty()   ? Kind::kAdded
                 : b.empty() ? Kind::kRemoved
                             : Kind::kChanged,
                 what,
                 "",
                 "",
                 a,
                 b,
                 {}});
}

void compare_features(const std::string& what, const std::vector<FeatureDescription>& a,
                      const std::vector<FeatureDescription>& b, Comparison& out) {
  for (const FeatureDescription& x : a) {
    std::string label = fmt::format("{} \"{}\"", what, x.name);
    const FeatureDescription* y = coreml::find_feature(b, x.name);
    if (y == nullptr) {
      out.interface.push_back({Kind::kRemoved, label, "", "", feature_text(x), "", {}});
      continue;
    }
    if (!(x.type == y->type)) {
      std::string before = feature_text(x), after = feature_text(*y);
      if (before == after) after += ", other defaults";
      out.interface.push_back({Kind::kChanged, label, "", "", before, after, {}});
    }
    compare_text("description of " + label, x.doc, y->doc, out.metadata);
  }
  for (const FeatureDescription& y : b)
    if (coreml::find_feature(a, y.name) == nullptr)
      out.interface.push_back(
          {Kind::kAdded, fmt::format("{} \"{}\"", what, y.name), "", "", "", feature_text(y), {}});
}

void compare_function(const std::string& prefix, const coreml::FunctionDescription& a,
                      const coreml::FunctionDescription& b, Comparison& out) {
  compare_features(prefix + "input", a.inputs, b.inputs, out);
  compare_features(prefix + "output", a.outputs, b.outputs, out);
  compare_features(prefix + "state", a.states, b.states, out);
  compare_text(prefix + "predicted feature", a.predicted_feature_name, b.predicted_feature_name,
               out.interface);
  compare_text(prefix + "predicted probabilities", a.predicted_probabilities_name,
               b.predicted_probabilities_name, out.interface);
}

std::string labels_text(const std::vector<std::string>& labels, size_t first) {
  if (labels.empty()) return "";
  std::string text = fmt::format("{} labels", labels.size());
  return first < labels.size() ? text + fmt::format(", number {} is \"{}\"", first, labels[first]) : text;
}

void compare_descriptions(const Report& a, const Report& b, Comparison& out) {
  const coreml::Description &x = a.description, &y = b.description;
  if (x.functions.empty() && y.functions.empty()) {
    compare_function("", *x.function(), *y.function(), out);
  } else {
    std::vector<std::string> after = y.function_names(), before = x.function_names();
    for (const std::string& name : before) {
      bool kept = std::find(after.begin(), after.end(), name) != after.end();
      if (kept)
        compare_function(name + ": ", *x.function(name), *y.function(name), out);
      else
        out.interface.push_back({Kind::kRemoved, fmt::format("function \"{}\"", name), "", "", "", "", {}});
    }
    for (const std::string& name : after)
      if (std::find(before.begin(), before.end(), name) == before.end())
        out.interface.push_back({Kind::kAdded, fmt::format("function \"{}\"", name), "", "", "", "", {}});
    compare_text("default function", x.default_function_name, y.default_function_name, out.interface);
  }
  compare_features("training input", x.training_inputs, y.training_inputs, out);
  if (a.labels != b.labels) {
    size_t first = 0;
    while (first < a.labels.size() && first < b.labels.size() && a.labels[first] == b.labels[first]) ++first;
    out.interface.push_back({a.labels.empty()   ? Kind::kAdded
                             : b.labels.empty() ? Kind::kRemoved
                                                : Kind::kChanged,
                             "class labels",
                             "",
                             "",
                             labels_text(a.labels, first),
                             labels_text(b.labels, first),
                             {}});
  }
  compare_text("kind", a.kind, b.kind, out.metadata);
  compare_text("specification version", std::to_string(a.spec_version), std::to_string(b.spec_version),
               out.metadata);
  compare_text("updatable", a.updatable ? "yes" : "no", b.updatable ? "yes" : "no", out.metadata);
  compare_text("description", x.metadata.short_description, y.metadata.short_description, out.metadata);
  compare_text("author", x.metadata.author, y.metadata.author, out.metadata);
  compare_text("license", x.metadata.license, y.metadata.license, out.metadata);
  compare_text("version", x.metadata.version, y.metadata.version, out.metadata);
  std::set<std::string> keys;
  for (const auto& [key, value] : x.metadata.user_defined) keys.insert(key);
  for (const auto& [key, value] : y.metadata.user_defined) keys.insert(key);
  for (const std::string& key : keys) {
    const std::string *before = x.metadata.find(key), *after = y.metadata.find(key);
    if (before != nullptr && after != nullptr && *before == *after) continue;
    out.metadata.push_back({before == nullptr  ? Kind::kAdded
                            : after == nullptr ? Kind::kRemoved
                                               : Kind::kChanged,
                            key,
                            "",
                            "",
                            before != nullptr ? *before : "",
                            after != nullptr ? *after : "",
                            {}});
  }
}

// "x = conv_1, strides [1, 1] -> fp32[1, 8, 4, 4]"
std::string node_text(const Node& node, const Unit& unit) {
  std::string text;
  for (const Input& input : node.inputs) {
    if (input.constant >= 0) {
      const Constant& c = unit.constants[static_cast<size_t>(input.constant)];
      text += fmt::format("{}{} {}[{}]", text.empty() ? "" : ", ", input.param, c.storage, dims_text(c.dims));
    } else {
      text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", input.param, input.name);
    }
  }
  for (const auto& [key, value] : node.fields)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, value);
  std::string types;
  for (const Output& output : node.outputs)
    if (!output.type.empty()) types += (types.empty() ? "" : ", ") + output.type;
  return types.empty() ? text : text + " -> " + types;
}

// Lists of a layer that mean the same when they are left out.
bool is_default(const std::string& kind, const std::string& param, const std::string& value) {
  auto all = [&](char digit) {
    return value.find_first_not_of(std::string("[], ") + digit) == std::string::npos;
  };
  if (param == "dilationFactor[]" || param == "stride[]") return all('1');
  if (param.ends_with("EdgeSize")) return all('0');
  return kind == "convolution" && param == "outputShape[]";  // says again what follows from the rest
}

class UnitDiff {
 public:
  UnitDiff(const Unit& a, const Unit& b, Comparison& out)
      : a_(a), b_(b), out_(out), match_(match_nodes(a, b)), back_(b.nodes.size(), -1) {
    for (size_t i = 0; i < match_.size(); ++i)
      if (match_[i] >= 0) back_[static_cast<size_t>(match_[i])] = static_cast<int>(i);
  }

  void run() {
    signature();
    // In the order of the second model, with what went away where it was.
    size_t next = 0;
    auto removed_until = [&](size_t end) {
      for (; next < end; ++next)
        if (match_[next] < 0)
          out_.graph.push_back({Kind::kRemoved,
                                a_.nodes[next].kind,
                                a_.nodes[next].name,
                                a_.place,
                                node_text(a_.nodes[next], a_),
                                "",
                                {}});
    };
    for (size_t j = 0; j < back_.size(); ++j) {
      if (back_[j] < 0) {
        out_.graph.push_back(
            {Kind::kAdded, b_.nodes[j].kind, b_.nodes[j].name, b_.place, "", node_text(b_.nodes[j], b_), {}});
        continue;
      }
      auto i = static_cast<size_t>(back_[j]);
      removed_until(i);
      next = std::max(next, i + 1);
      compare_pair(i, j);
    }
    removed_until(match_.size());
  }

 private:
  void signature() {
    std::vector<std::string> details;
    for (size_t k = 0; k < std::max(a_.inputs.size(), b_.inputs.size()); ++k) {
      std::string x = k < a_.inputs.size() ? a_.inputs[k].first + ": " + a_.inputs[k].second : "none";
      std::string y = k < b_.inputs.size() ? b_.inputs[k].first + ": " + b_.inputs[k].second : "none";
      if (x != y) details.push_back(fmt::format("input {}: {} -> {}", k, x, y));
    }
    for (size_t k = 0; k < std::max(a_.outputs.size(), b_.outputs.size()); ++k) {
      const Input* x = k < a_.outputs.size() ? &a_.outputs[k] : nullptr;
      const Input* y = k < b_.outputs.size() ? &b_.outputs[k] : nullptr;
      std::string name = x != nullptr ? x->name : "none", after = y != nullptr ? y->name : "none";
      if (x == nullptr || y == nullptr || name != after || !same_source(*x, *y)) {
        if (name == after) after += " (made by another operation)";
        details.push_back(fmt::format("output {}: {} -> {}", k, name, after));
      } else if (x->constant >= 0) {
        constants(*x, *y, "output", a_.place);
      }
    }
    if (!details.empty())
      out_.graph.push_back({Kind::kChanged, "signature", a_.function != nullptr ? a_.function->name : "",
                            a_.place, "", "", std::move(details)});
  }

  bool same_source(const Input& x, const Input& y) const {
    if ((x.constant >= 0) != (y.constant >= 0)) return false;
    if (x.constant >= 0) return true;
    if (x.producer < 0 || y.producer < 0) return x.producer < 0 && y.producer < 0 && x.name == y.name;
    return match_[static_cast<size_t>(x.producer)] == y.producer && x.output == y.output;
  }
  // One of the two comes from an operation that has no counterpart: told as added or removed already.
  bool explained(const Input& x, const Input& y) const {
    return (x.producer >= 0 && match_[static_cast<size_t>(x.producer)] < 0) ||
           (y.producer >= 0 && back_[static_cast<size_t>(y.producer)] < 0);
  }
  std::string source_text(const Input& x, const Unit& unit) const {
    if (x.constant < 0) return x.name;
    const Constant& c = unit.constants[static_cast<size_t>(x.constant)];
    return fmt::format("constant {}[{}]", c.storage, dims_text(c.dims));
  }

  void compare_pair(size_t i, size_t j) {
    const Node &x = a_.nodes[i], &y = b_.nodes[j];
    std::vector<std::string> details;
    // A parameter may be a field on one side (small) and a constant or a value on the other.
    std::map<std::string, std::string> fields_a(x.fields.begin(), x.fields.end()),
        fields_b(y.fields.begin(), y.fields.end());
    std::map<std::string, const Input*> inputs_a, inputs_b;
    for (const Input& in : x.inputs) inputs_a[in.param] = &in;
    for (const Input& in : y.inputs) inputs_b[in.param] = &in;
    std::set<std::string> params;
    for (const auto* fields : {&fields_a, &fields_b})
      for (const auto& [key, value] : *fields) params.insert(key);
    for (const auto* inputs : {&inputs_a, &inputs_b})
      for (const auto& [key, value] : *inputs) params.insert(key);
    for (const std::string& param : params) {
      auto in_a = inputs_a.find(param), in_b = inputs_b.find(param);
      if (in_a != inputs_a.end() && in_b != inputs_b.end()) {
        if (!same_source(*in_a->second, *in_b->second)) {
          std::string before = source_text(*in_a->second, a_), after = source_text(*in_b->second, b_);
          if (before == after) after += " (made by another operation)";
          if (!explained(*in_a->second, *in_b->second))
            details.push_back(fmt::format("{}: {} -> {}", param, before, after));
        } else if (in_a->second->constant >= 0) {
          constants(*in_a->second, *in_b->second, x.name, a_.place);
        }
        continue;
      }
      auto text = [&](const auto& fields, const auto& inputs, auto input, const Unit& unit) {
        if (input != inputs.end()) return source_text(*input->second, unit);
        auto field = fields.find(param);
        return field != fields.end() ? field->second : std::string("none");
      };
      std::string before = text(fields_a, inputs_a, in_a, a_), after = text(fields_b, inputs_b, in_b, b_);
      if ((before == "none" && is_default(x.kind, param, after)) ||
          (after == "none" && is_default(x.kind, param, before)))
        continue;
      if (before != after) details.push_back(fmt::format("{}: {} -> {}", param, before, after));
    }
    for (size_t k = 0; k < std::max(x.outputs.size(), y.outputs.size()); ++k) {
      std::string before = k < x.outputs.size() ? x.outputs[k].type : "none",
                  after = k < y.outputs.size() ? y.outputs[k].type : "none";
      if (before.empty() || after.empty() || before == after)
        continue;  // shapes of a network may not be known
      details.push_back(fmt::format("output{}: {} -> {}", x.outputs.size() > 1 ? " " + std::to_string(k) : "",
                                    before, after));
    }
    if (details.empty()) {
      ++out_.same_nodes;
      out_.renamed += x.name != y.name;
    } else {
      out_.graph.push_back({Kind::kChanged, y.kind, x.name == y.name ? y.name : x.name + " -> " + y.name,
                            b_.place, "", "", std::move(details)});
    }
  }

  void constants(const Input& x, const Input& y, const std::string& node, const std::string& place) {
    if (!compared_.emplace(x.constant, y.constant).second) return;
    const Constant &before = a_.constants[static_cast<size_t>(x.constant)],
                   &after = b_.constants[static_cast<size_t>(y.constant)];
    ++out_.weight_pairs;
    WeightChange change{before.name, after.name, node,         place,       before.storage, after.storage,
                        before.dims, after.dims, before.bytes, after.bytes, std::nullopt,   ""};
    bool form = before.storage == after.storage && before.dims == after.dims;
    ByteSpan p = before.stored(), q = after.stored();
    if (form && !p.empty() && p.size() == q.size() &&
        (p.data() == q.data() || std::equal(p.begin(), p.end(), q.begin())))
      return;
    if (before.missing || after.missing) {
      ++missing_;
      if (before.missing != after.missing || !form)
        change.note = before.missing ? "its values are missing before" : "its values are missing after";
      if (missing_ == 1)
        out_.notes.push_back(
            fmt::format("weights whose files are missing are compared by type and shape only{}",
                        place.empty() ? "" : " (" + place + ")"));
      if (form) return;
      out_.weights.push_back(std::move(change));
      return;
    }
    if (before.dims != after.dims) {
      out_.weights.push_back(std::move(change));
      return;
    }
    auto u = before.values(), v = after.values();
    if (!u.ok() || !v.ok()) {
      // Values that cannot be computed are not known to be equal.
      change.note = "cannot be compared: " + (u.ok() ? v.error() : u.error()).to_string();
      out_.weights.push_back(std::move(change));
      return;
    }
    bool text_a = u->dtype() == DType::kString, text_b = v->dtype() == DType::kString;
    if (text_a || text_b) {
      if (text_a && text_b && u->strings() == v->strings()) return;
      int64_t differ = 0;
      for (size_t k = 0; text_a && text_b && k < u->strings().size() && k < v->strings().size(); ++k)
        differ += u->strings()[k] != v->strings()[k];
      change.note =
          text_a && text_b ? fmt::format("{} of {} texts differ", differ, u->size()) : "text on one side";
    } else if (u->size() == v->size()) {
      change.distance = distance(*u, *v);
      // Integers beyond 2^53 differ in bytes that a double does not have.
      bool beyond = !p.empty() && !q.empty() && !is_float(u->dtype());
      if (form && change.distance->changed == 0 && !beyond) return;
      if (form && change.distance->changed == 0) change.note = "large integers differ";
    }
    out_.weights.push_back(std::move(change));
  }

  const Unit &a_, &b_;
  Comparison& out_;
  std::vector<int> match_, back_;
  std::set<std::pair<int, int>> compared_;
  int64_t missing_ = 0;
};

Totals totals_of(const Report& report, const std::vector<Unit>& units) {
  Totals t;
  for (const Unit& unit : units) {
    t.nodes += static_cast<int64_t>(unit.nodes.size());
    for (const Node& node : unit.nodes) {
      t.flops += node.cost.flops;
      t.bytes += node.cost.bytes;
      t.unknown +=
          std::any_of(node.outputs.begin(), node.outputs.end(), [](const Output& o) { return !o.known; });
    }
    t.weights += static_cast<int64_t>(unit.constants.size());
  }
  t.weight_bytes = report.weight_bytes;
  if (t.weight_bytes == 0)
    for (const Unit& unit : units)
      for (const Constant& c : unit.constants) t.weight_bytes += c.bytes;
  return t;
}

Status check_read(const std::vector<Unit>& units, const std::string& file) {
  std::string reasons;
  for (const Unit& unit : units)
    if (!unit.unread.empty())
      reasons += (reasons.empty() ? "" : "; ") + (unit.place.empty() ? "" : unit.place + ": ") + unit.unread;
  if (!reasons.empty()) return unsupported_error("cannot be compared: " + reasons).in_path(file);
  return {};
}

}  // namespace

Distance distance(const Tensor& a, const Tensor& b) {
  Distance d;
  d.elements = a.size();
  double sum = 0, squares_a = 0, squares_b = 0, squares = 0, product = 0;
  // In pieces: expanded to double, a large weight would take four times its size.
  auto add = [&](double x, double y) {
    bool same = x == y || (std::isnan(x) && std::isnan(y));
    d.changed += !same;
    if (!std::isfinite(x) || !std::isfinite(y)) {
      ++d.not_finite;
      return;
    }
    double difference = std::fabs(x - y);
    d.max = std::max(d.max, difference);
    sum += difference;
    squares += difference * difference;
    squares_a += x * x;
    squares_b += y * y;
    product += x * y;
  };
  if (dtype_bits(a.dtype()) <= 32 && dtype_bits(b.dtype()) <= 32 && is_float(a.dtype()) &&
      is_float(b.dtype())) {
    Tensor x = convert(a, DType::kF32), y = convert(b, DType::kF32);
    for (int64_t i = 0; i < x.size(); ++i) add(x.data<float>()[i], y.data<float>()[i]);
  } else {
    std::vector<double> x = to_doubles(a), y = to_doubles(b);
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) add(x[i], y[i]);
  }
  int64_t finite = d.elements - d.not_finite;
  if (finite > 0) d.mean = sum / static_cast<double>(finite);
  d.relative = squares == 0    ? 0
               : squares_a > 0 ? std::sqrt(squares / squares_a)
                               : std::numeric_limits<double>::infinity();
  d.cosine = squares == 0                     ? 1
             : squares_a > 0 && squares_b > 0 ? product / std::sqrt(squares_a) / std::sqrt(squares_b)
                                              : std::numeric_limits<double>::quiet_NaN();
  return d;
}

Result<Comparison> compare(const Subject& before, const Subject& after) {
  Comparison out;
  out.before = before.opened.origin;
  out.after = after.opened.origin;
  std::vector<Unit> a = units_of(before, true), b = units_of(after, true);
  MLT_TRY(check_read(a, out.before));
  MLT_TRY(check_read(b, out.after));
  Report x = examine(before), y = examine(after);
  compare_descriptions(x, y, out);
  for (size_t i = 0; i < std::max(x.stages.size(), y.stages.size()); ++i) {
    std::string stage = fmt::format("stage {}", i);
    std::string p = i < x.stages.size() ? x.stages[i].name : "",
                q = i < y.stages.size() ? y.stages[i].name : "";
    compare_text(stage + " name", p, q, out.metadata);
    if (i < x.stages.size() && i < y.stages.size()) {
      Comparison inner;
      compare_descriptions(x.stages[i], y.stages[i], inner);
      for (auto list : {&Comparison::interface, &Comparison::metadata})
        for (Change& change : inner.*list) {
          change.what = stage + ": " + change.what;
          (out.*list).push_back(std::move(change));
        }
    }
  }
  out.totals[0] = totals_of(x, a);
  out.totals[1] = totals_of(y, b);

  auto unit_text = [](const Unit& unit) { return fmt::format("{}, {} nodes", unit.kind, unit.nodes.size()); };
  std::vector<bool> used(b.size(), false);
  for (const Unit& unit : a) {
    size_t found = b.size();
    for (size_t j = 0; j < b.size() && found == b.size(); ++j)
      if (!used[j] && b[j].place == unit.place) found = j;
    if (found == b.size()) {
      out.graph.push_back(
          {Kind::kRemoved, unit.place.empty() ? "main" : unit.place, "", "", unit_text(unit), "", {}});
      continue;
    }
    used[found] = true;
    UnitDiff(unit, b[found], out).run();
  }
  for (size_t j = 0; j < b.size(); ++j)
    if (!used[j])
      out.graph.push_back(
          {Kind::kAdded, b[j].place.empty() ? "main" : b[j].place, "", "", "", unit_text(b[j]), {}});
  return out;
}

}  // namespace mlt::inspect
