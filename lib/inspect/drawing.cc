#include "lib/inspect/drawing.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>

#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

// Parts of a name: "encoder/layer_0/attn" is encoder, layer, 0, attn.
std::vector<std::string_view> tokens(std::string_view name) {
  std::vector<std::string_view> out;
  size_t start = 0;
  for (size_t i = 0; i <= name.size(); ++i)
    if (i == name.size() || name[i] == '/' || name[i] == '_' || name[i] == '.' || name[i] == ':') {
      if (i > start) out.push_back(name.substr(start, i - start));
      start = i + 1;
    }
  return out;
}

struct Group {
  size_t begin = 0, end = 0;  // into the list of top nodes
  size_t depth = 0;           // tokens that all share
  size_t size() const { return end - begin; }
};

// Cuts [begin, end) where few values are alive, as between the blocks of a network, into pieces of `shortest` to three
// times as many; live[i]: values that what lies before i hands over. Returns the cuts, both ends included.
std::vector<size_t> waists(const std::vector<int>& live, size_t begin, size_t end, size_t shortest) {
  size_t n = end - begin, longest = 3 * shortest;
  if (n < 2 * shortest) return {begin, end};
  constexpr int64_t kNone = INT64_MAX;
  int least = *std::min_element(live.begin() + static_cast<std::ptrdiff_t>(begin) + 1,
                                live.begin() + static_cast<std::ptrdiff_t>(end));
  std::vector<int64_t> cost(n + 1, kNone);
  std::vector<size_t> from(n + 1, 0);
  cost[0] = 0;
  for (size_t i = shortest; i <= n; ++i) {
    for (size_t length = shortest; length <= std::min(longest, i); ++length)
      if (cost[i - length] < cost[i]) cost[i] = cost[i - length], from[i] = i - length;
    if (cost[i] != kNone && i < n) cost[i] += live[begin + i] - least;
  }
  std::vector<size_t> cuts{end};
  for (size_t i = n; i > 0; i = from[i]) cuts.push_back(begin + from[i]);
  std::reverse(cuts.begin(), cuts.end());
  return cuts;
}

// Cuts [0, n) into at most `most` runs of shared beginnings, the largest first cut again.
std::vector<Group> runs_of(const std::vector<std::vector<std::string_view>>& names, const std::vector<int>& live,
                           size_t most) {
  auto split = [&](const Group& group) {
    std::vector<Group> out;
    for (size_t i = group.begin; i < group.end; ++i) {
      auto part = [&](size_t k) {
        return group.depth < names[k].size() ? names[k][group.depth] : std::string_view();
      };
      if (!out.empty() && part(i) == part(i - 1) && !part(i).empty())
        out.back().end = i + 1;
      else
        out.push_back({i, i + 1, group.depth + 1});
    }
    return out;
  };
  std::vector<Group> groups{{0, names.size(), 0}};
  std::set<std::pair<size_t, size_t>> whole;  // groups that cannot be cut within the limit
  while (true) {
    size_t best = groups.size();
    for (size_t g = 0; g < groups.size(); ++g)
      if (groups[g].size() > 1 && groups[g].depth < 40 && !whole.contains({groups[g].begin, groups[g].end}) &&
          (best == groups.size() || groups[g].size() > groups[best].size()))
        best = g;
    if (best == groups.size()) break;
    std::vector<Group> parts = split(groups[best]);
    if (parts.size() == 1) {
      groups[best] = parts[0];
      continue;
    }
    if (groups.size() + parts.size() - 1 > most) {
      whole.emplace(groups[best].begin, groups[best].end);
      continue;
    }
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(best));
    groups.insert(groups.begin() + static_cast<std::ptrdiff_t>(best), parts.begin(), parts.end());
  }
  // Names that say nothing leave large groups: pieces of several operations while there is room.
  size_t room = most > groups.size() ? most - groups.size() : 0;
  size_t limit = std::max<size_t>(4, 2 * names.size() / std::max<size_t>(most, 1));
  std::vector<Group> out;
  for (const Group& group : groups) {
    if (group.size() <= limit || room == 0) {
      out.push_back(group);
      continue;
    }
    size_t shortest = std::max((group.size() + room) / (room + 1), limit / 2);
    std::vector<size_t> cuts = waists(live, group.begin, group.end, shortest);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) out.push_back({cuts[c], cuts[c + 1], group.depth});
    room -= std::min(room, cuts.size() - 2);
  }
  return out;
}

std::string type_of(const Node& node) { return node.outputs.empty() ? "" : node.outputs[0].type; }

std::string hint_of(const Node& node, const Unit& unit) {
  std::string text = node.kind + " " + node.name;
  for (const Input& input : node.inputs) {
    text += "\n" + input.param + " = ";
    if (input.constant < 0)
      text += input.name;
    else
      text += fmt::format("{}[{}]", unit.constants[static_cast<size_t>(input.constant)].storage,
                          dims_text(unit.constants[static_cast<size_t>(input.constant)].dims));
  }
  for (const auto& [key, value] : node.fields) text += "\n" + key + " = " + clean(value, 80);
  for (const Output& output : node.outputs)
    text += "\n-> " + output.name + (output.type.empty() ? "" : ": " + output.type);
  return text;
}

// "4 conv, 1 matmul, 3 add, ...": what computes much comes first.
std::string histogram(const std::vector<int>& members, const Unit& unit) {
  std::map<std::string, int> counts;
  for (int m : members) ++counts[unit.nodes[static_cast<size_t>(m)].kind];
  std::vector<std::pair<std::string, int>> order(counts.begin(), counts.end());
  auto light = [](const std::string& kind) {
    std::string family = family_of(kind);
    return family != "conv" && family != "linear" && family != "control";
  };
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return std::pair(light(a.first), -a.second) < std::pair(light(b.first), -b.second);
  });
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(order.size(), 3); ++i)
    text += fmt::format("{}{} {}", i ? ", " : "", order[i].second, order[i].first);
  return text + (order.size() > 3 ? ", ..." : "");
}

// For every place between two operations of the top level: how many of those before it have users behind it.
std::vector<int> live_values(const Unit& unit, const std::vector<int>& top_of, const std::vector<int>& tops) {
  std::vector<int> place(unit.nodes.size(), -1), last(tops.size(), -1), live(tops.size() + 1, 0);
  for (size_t i = 0; i < tops.size(); ++i) place[static_cast<size_t>(tops[i])] = static_cast<int>(i);
  auto place_of = [&](int node) { return place[static_cast<size_t>(top_of[static_cast<size_t>(node)])]; };
  for (size_t i = 0; i < unit.nodes.size(); ++i)
    for (const Input& input : unit.nodes[i].inputs) {
      int from = input.constant < 0 && input.producer >= 0 ? place_of(input.producer) : -1;
      if (from >= 0) last[static_cast<size_t>(from)] = std::max(last[static_cast<size_t>(from)], place_of(static_cast<int>(i)));
    }
  for (size_t from = 0; from < last.size(); ++from)
    if (last[from] > static_cast<int>(from)) ++live[from + 1], --live[static_cast<size_t>(last[from]) + 1];
  for (size_t i = 1; i < live.size(); ++i) live[i] += live[i - 1];
  return live;
}

// Edges that would cross the whole drawing again and again become names beside the user: those of a value that many far
// places use, as a mask is, and those of a place that collects from everywhere.
void refer_to_far(Drawing& drawing) {
  constexpr int kMany = 4, kFar = 3;
  size_t n = drawing.nodes.size();
  std::vector<int> level(n, 0);
  std::vector<std::vector<int>> users(n);
  for (const DrawnEdge& e : drawing.edges) users[static_cast<size_t>(e.from)].push_back(e.to);
  // Inputs that were found late have greater numbers than their users, and no producers.
  for (size_t pass = 0; pass < 2; ++pass)
    for (size_t i = 0; i < n; ++i)
      for (int to : users[i]) level[static_cast<size_t>(to)] = std::max(level[static_cast<size_t>(to)], level[i] + 1);
  std::vector<int> first(n, INT32_MAX), last(n, 0);  // levels of the nearest user and the nearest source
  for (const DrawnEdge& e : drawing.edges) {
    auto from = static_cast<size_t>(e.from), to = static_cast<size_t>(e.to);
    first[from] = std::min(first[from], level[to]);
    last[to] = std::max(last[to], level[from]);
  }
  auto far_user = [&](const DrawnEdge& e) { return level[static_cast<size_t>(e.to)] > first[static_cast<size_t>(e.from)] + kFar; };
  auto far_source = [&](const DrawnEdge& e) { return level[static_cast<size_t>(e.from)] + kFar < last[static_cast<size_t>(e.to)]; };
  std::vector<int> leaving(n, 0), arriving(n, 0);
  for (const DrawnEdge& e : drawing.edges) {
    leaving[static_cast<size_t>(e.from)] += far_user(e);
    arriving[static_cast<size_t>(e.to)] += far_source(e);
  }
  std::erase_if(drawing.edges, [&](const DrawnEdge& e) {
    const DrawnNode& source = drawing.nodes[static_cast<size_t>(e.from)];
    DrawnNode& user = drawing.nodes[static_cast<size_t>(e.to)];
    if (!(leaving[static_cast<size_t>(e.from)] >= kMany && far_user(e)) && !(arriving[static_cast<size_t>(e.to)] >= kMany && far_source(e))) return false;
    user.also.push_back(source.shape == DrawnNode::Shape::kOperation && !source.name.empty() ? source.name : source.title);
    return true;
  });
  for (DrawnNode& node : drawing.nodes)
    for (size_t i = 0; i < node.also.size(); ++i) node.hint += (i == 0 ? "\nalso from " : ", ") + node.also[i];
}

// base: the number of the unit's first operation.
Drawing draw(const Unit& unit, const Report& report, size_t most, size_t base) {
  Drawing out;
  out.title = unit.place;
  // What lies in blocks is drawn as part of the operation around them.
  std::vector<int> top_of(unit.nodes.size()), tops;
  for (size_t i = 0; i < unit.nodes.size(); ++i) {
    int parent = unit.nodes[i].parent;
    top_of[i] = parent >= 0 ? top_of[static_cast<size_t>(parent)] : static_cast<int>(i);
    bool header = unit.function == nullptr && i == 0 && unit.nodes.size() > 1;  // the network's own fields
    if (parent < 0 && !header) tops.push_back(static_cast<int>(i));
  }
  std::vector<std::vector<std::string_view>> names;
  for (int t : tops) names.push_back(tokens(unit.nodes[static_cast<size_t>(t)].name));
  std::vector<Group> groups;
  if (most == 0 || tops.size() <= most)
    for (size_t i = 0; i < tops.size(); ++i) groups.push_back({i, i + 1, 0});
  else
    groups = runs_of(names, live_values(unit, top_of, tops), most);

  std::vector<int> drawn(unit.nodes.size(), -1);
  auto terminal = [&](DrawnNode::Shape shape, const std::string& name, const std::string& type) {
    DrawnNode node;
    node.shape = shape;
    node.title = name;
    node.detail = type;
    node.hint = name + "\n" + type;
    node.family = "terminal";
    out.nodes.push_back(std::move(node));
    return static_cast<int>(out.nodes.size()) - 1;
  };
  std::map<std::string, int> inputs;
  auto interface = report.description.function();
  if (unit.function != nullptr) {
    for (const auto& [name, type] : unit.inputs)
      inputs[name] = terminal(DrawnNode::Shape::kInput, name, type);
  } else if (interface && unit.place.empty()) {
    for (const auto& feature : interface->inputs)
      inputs[feature.name] =
          terminal(DrawnNode::Shape::kInput, feature.name, coreml::format_type(feature.type));
  }

  for (const Group& group : groups) {
    DrawnNode node;
    for (size_t i = group.begin; i < group.end; ++i) node.members.push_back(tops[i]);
    const Node& last = unit.nodes[static_cast<size_t>(node.members.back())];
    if (group.size() == 1) {
      node.title = last.kind;
      node.name = last.name;
      node.detail = type_of(last);
      node.hint = hint_of(last, unit);
      node.family = family_of(last.kind);
    } else {
      node.shape = DrawnNode::Shape::kGroup;
      std::string prefix;
      for (size_t k = 0; k < group.depth && k < names[group.begin].size(); ++k)
        prefix += (k ? "_" : "") + std::string(names[group.begin][k]);
      const Node& first = unit.nodes[static_cast<size_t>(node.members[0])];
      std::string kinds = histogram(node.members, unit), type = type_of(last);
      node.title = prefix.empty() ? fmt::format("{} to {}", base + static_cast<size_t>(node.members[0]), base + static_cast<size_t>(node.members.back())) : prefix;
      node.name = fmt::format("{} operations", group.size()) + (type.empty() ? "" : " → " + type);
      node.detail = kinds;
      node.family = "group";
      node.hint = fmt::format("{}\n{}: {}\n{} ... {}", node.title, node.name, kinds, first.name, last.name);
    }
    for (int m : node.members) drawn[static_cast<size_t>(m)] = static_cast<int>(out.nodes.size());
    out.nodes.push_back(std::move(node));
  }
  std::vector<int> inside(out.nodes.size(), 0);
  for (size_t i = 0; i < unit.nodes.size(); ++i)
    if (top_of[i] != static_cast<int>(i)) {
      drawn[i] = drawn[static_cast<size_t>(top_of[i])];
      if (drawn[i] >= 0) ++inside[static_cast<size_t>(drawn[i])];
    }
  for (size_t i = 0; i < out.nodes.size(); ++i)
    if (inside[i] > 0) out.nodes[i].name += fmt::format(" (+{} inside)", inside[i]);

  std::set<std::pair<int, int>> seen;
  auto edge = [&](int from, int to, const std::string& label) {
    if (from >= 0 && to >= 0 && from < to && seen.emplace(from, to).second)
      out.edges.push_back({from, to, label});
  };
  for (size_t i = 0; i < unit.nodes.size(); ++i)
    for (const Input& input : unit.nodes[i].inputs) {
      if (input.constant >= 0) continue;
      if (input.producer >= 0) {
        const Node& from = unit.nodes[static_cast<size_t>(input.producer)];
        edge(drawn[static_cast<size_t>(input.producer)], drawn[i],
             static_cast<size_t>(input.output) < from.outputs.size()
                 ? from.outputs[static_cast<size_t>(input.output)].type
                 : "");
      } else if (auto it = inputs.find(input.name); it != inputs.end()) {
        edge(it->second, drawn[i], "");
      } else if (unit.nodes[i].parent < 0 && unit.function == nullptr) {
        // An input of a stage, which only its layers name.
        int node = terminal(DrawnNode::Shape::kInput, input.name, "");
        inputs[input.name] = node;
        if (drawn[i] >= 0) out.edges.push_back({node, drawn[i], ""});
      }
    }
  if (unit.function != nullptr) {
    for (const Input& output : unit.outputs) {
      int node = terminal(DrawnNode::Shape::kOutput, output.name, "");
      if (output.producer >= 0) edge(drawn[static_cast<size_t>(output.producer)], node, "");
    }
  } else if (interface && unit.place.empty()) {
    std::map<std::string, int> made;
    for (size_t i = 0; i < unit.nodes.size(); ++i)
      for (const Output& output : unit.nodes[i].outputs) made[output.name] = drawn[i];
    bool alone = groups.size() == 1;
    if (alone)
      for (const auto& [name, node] : inputs) edge(node, drawn[static_cast<size_t>(tops[0])], "");
    for (const auto& feature : interface->outputs) {
      int node = terminal(DrawnNode::Shape::kOutput, feature.name, coreml::format_type(feature.type));
      if (auto it = made.find(feature.name); it != made.end())
        edge(it->second, node, "");
      else if (alone)
        edge(drawn[static_cast<size_t>(tops[0])], node, "");
    }
  }
  refer_to_far(out);
  return out;
}

}  // namespace

std::string family_of(const std::string& kind) {
  static const std::pair<const char*, std::vector<std::string_view>> kFamilies[] = {
      {"conv", {"conv", "conv_transpose", "convolution", "convolution3d"}},
      {"linear",
       {"linear", "matmul", "einsum", "innerProduct", "batchedMatmul", "scaled_dot_product_attention", "lstm",
        "gru", "rnn", "uniDirectionalLSTM", "biDirectionalLSTM", "simpleRecurrent"}},
      {"activation",
       {"activation",
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "sigmoid",
        "sigmoid_hard",
        "tanh",
        "gelu",
        "silu",
        "elu",
        "softplus",
        "softplus_parametric",
        "softsign",
        "clamped_relu",
        "linear_activation",
        "scaled_tanh",
        "thresholded_relu",
        "softmax",
        "softmaxND",
        "clip"}},
      {"norm",
       {"batch_norm", "batchnorm", "instance_norm", "layer_norm", "layerNormalization", "l2_norm",
        "l2normalize", "local_response_norm", "lrn", "mvn"}},
      {"pool",
       {"avg_pool", "max_pool", "l2_pool", "pooling", "pooling3d", "globalPooling3d", "upsample",
        "resize_bilinear", "resizeBilinear", "upsample_nearest_neighbor", "upsample_bilinear", "resize"}},
      {"control",
       {"cond", "while_loop", "branch", "loop", "read_state", "coreml_update_state", "custom", "classify"}},
      {"elementwise",
       {"add",
        "sub",
        "mul",
        "real_div",
        "pow",
        "sqrt",
        "rsqrt",
        "exp",
        "log",
        "square",
        "abs",
        "maximum",
        "minimum",
        "multiply",
        "unary",
        "scale",
        "bias",
        "addBroadcastable",
        "multiplyBroadcastable",
        "subtractBroadcastable",
        "divideBroadcastable",
        "cast",
        "select",
        "greater",
        "less",
        "equal",
        "logical_and",
        "logical_or",
        "logical_not"}},
  };
  for (const auto& [family, kinds] : kFamilies)
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return family;
  for (std::string_view part :
       {"reshape", "transpose", "concat", "slice", "split", "squeeze", "expand_dims", "expandDims", "permute",
        "flatten", "gather", "scatter", "pad", "tile", "stack", "crop", "shape", "depth"})
    if (kind.find(part) != std::string::npos) return "shape";
  return "other";
}

std::vector<Drawing> drawings_of(const std::vector<Unit>& units, const Report& report, size_t most_nodes) {
  std::vector<Drawing> out;
  size_t base = 0;
  for (const Unit& unit : units) {
    out.push_back(draw(unit, report, most_nodes, base));
    base += unit.nodes.size();
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    size_t length = c < 0x80                ? 1
                    : c >= 0xc2 && c < 0xe0 ? 2
                    : c >= 0xe0 && c < 0xf0 ? 3
                    : c >= 0xf0 && c < 0xf5 ? 4
                                            : 0;
    bool good = length > 0 && i + length <= text.size();
    uint32_t code = length == 1 ? c : length == 2 ? c & 0x1f : length == 3 ? c & 0x0f : c & 0x07;
    for (size_t k = 1; good && k < length; ++k) {
      auto next = static_cast<unsigned char>(text[i + k]);
      good = (next & 0xc0) == 0x80;
      code = code << 6 | (next & 0x3f);
    }
    if (good && ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)) ||
                 (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff))
      good = false;
    if (good && ((code < 0x20 && code != '\n' && code != '\t') || code == 0x7f)) good = false, length = 1;
    if (!good) {
      out += "\xef\xbf\xbd";
      i += 1;
      continue;
    }
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += text.substr(i, length);
        break;
    }
    i += length;
  }
  return out;
}

std::string dot_text(const std::vector<Drawing>& drawings, const std::string& name) {
  auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (char c : clean(text, 200)) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  };
  std::string out = fmt::format(
      "digraph {} {{\n  rankdir = TB;\n  node [shape = box, style = \"rounded,filled\", fillcolor = white, "
      "fontname = \"sans-serif\", fontsize = 10];\n",
      quoted(name));
  for (size_t d = 0; d < drawings.size(); ++d) {
    const Drawing& drawing = drawings[d];
    bool cluster = drawings.size() > 1;
    if (cluster) out += fmt::format("  subgraph cluster_{} {{\n    label = {};\n", d, quoted(drawing.title));
    for (size_t i = 0; i < drawing.nodes.size(); ++i) {
      const DrawnNode& n = drawing.nodes[i];
      std::string label = quoted(n.title);
      std::string also;
      for (const std::string& source : n.also) also += (also.empty() ? "also from " : ", ") + source;
      for (const std::string* line : std::initializer_list<const std::string*>{&n.name, &n.detail, &also})
        if (!line->empty()) {
          label.pop_back();
          label += "\\n" + quoted(*line).substr(1);
        }
      bool terminal = n.shape == DrawnNode::Shape::kInput || n.shape == DrawnNode::Shape::kOutput;
      out += fmt::format("    n{}_{} [label = {}{}];\n", d, i, label,
                         terminal                              ? ", shape = ellipse"
                         : n.shape == DrawnNode::Shape::kGroup ? ", shape = box3d, style = filled"
                                                               : "");
    }
    for (const DrawnEdge& e : drawing.edges)
      out += fmt::format("    n{}_{} -> n{}_{}{};\n", d, e.from, d, e.to,
                         e.label.empty() ? "" : fmt::format(" [tooltip = {}]", quoted(e.label)));
    if (cluster) out += "  }\n";
  }
  return out + "}\n";
}

}  // namespace mlt::inspect
