// Layout in layers: a node lies one layer below the lowest of its producers; edges that pass layers get a
// bend in each, so that they run around the boxes; neighbours pull on each other from side to side until they
// lie below one another.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "lib/inspect/drawing.h"
#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

constexpr double kHeight = 46, kGapX = 18, kGapY = 34, kBend = 14, kMargin = 16, kCharacter = 6.6;
constexpr size_t kMostBends = 40000;

struct Item {
  int node = -1;  // -1: a bend
  double x = 0, width = kBend;
  std::vector<int> up, down;
};

struct Layout {
  std::vector<Item> items;
  std::vector<std::vector<int>> layers;
  std::vector<int> layer_of;            // by item
  std::vector<std::vector<int>> paths;  // by edge: items from end to end
  double width = 0, height = 0;
};

size_t letters(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}
std::string shortened(const std::string& text, size_t most) {
  std::string plain = clean(text, 4000);
  if (letters(plain) <= most) return plain;
  // The end of a name tells more than its middle.
  size_t head = most / 2 - 1, tail = most - head - 1;
  std::vector<size_t> starts;
  for (size_t i = 0; i < plain.size(); ++i)
    if ((static_cast<unsigned char>(plain[i]) & 0xc0) != 0x80) starts.push_back(i);
  return plain.substr(0, starts[head]) + "…" + plain.substr(starts[starts.size() - tail]);
}
constexpr size_t kMostLetters = 34;

// What stands beside a box: "⇠ mask", at most three lines.
std::vector<std::string> beside(const DrawnNode& node) {
  std::vector<std::string> out;
  for (size_t i = 0; i < node.also.size() && i < 3; ++i) {
    if (i == 2 && node.also.size() > 3) out.push_back(fmt::format("and {} more", node.also.size() - 2));
    else out.push_back("⇠ " + shortened(node.also[i], 22));
  }
  return out;
}

double box_width(const DrawnNode& node) {
  size_t most =
      std::max({letters(shortened(node.title, kMostLetters)), letters(shortened(node.name, kMostLetters)),
                letters(shortened(node.detail, kMostLetters)), size_t{6}});
  return static_cast<double>(most) * kCharacter + 18;
}

// With room on both sides for what stands on the right, so that edges meet the middle of the box.
double width_of(const DrawnNode& node) {
  size_t most = 0;
  for (const std::string& line : beside(node)) most = std::max(most, letters(line));
  return box_width(node) + (most > 0 ? 2 * (static_cast<double>(most) * kCharacter * 0.9 + 6) : 0);
}

Layout lay_out(const Drawing& drawing) {
  Layout l;
  size_t n = drawing.nodes.size();
  std::vector<int> level(n, 0);
  // Edges go forward in the order of the nodes, terminals of stages excepted: those are producers only.
  std::vector<std::vector<int>> out(n);
  std::vector<int> waiting(n, 0);
  for (const DrawnEdge& e : drawing.edges) {
    out[static_cast<size_t>(e.from)].push_back(e.to);
    ++waiting[static_cast<size_t>(e.to)];
  }
  std::vector<int> ready;
  for (size_t i = n; i-- > 0;)
    if (waiting[i] == 0) ready.push_back(static_cast<int>(i));
  while (!ready.empty()) {
    int at = ready.back();
    ready.pop_back();
    for (int to : out[static_cast<size_t>(at)]) {
      level[static_cast<size_t>(to)] =
          std::max(level[static_cast<size_t>(to)], level[static_cast<size_t>(at)] + 1);
      if (--waiting[static_cast<size_t>(to)] == 0) ready.push_back(to);
    }
  }
  // A producer without producers of its own lies just above its first user.
  std::vector<int> nearest(n, -1);
  std::vector<bool> fed(n, false);
  for (const DrawnEdge& e : drawing.edges) {
    int& best = nearest[static_cast<size_t>(e.from)];
    best = best < 0 ? level[static_cast<size_t>(e.to)] : std::min(best, level[static_cast<size_t>(e.to)]);
    fed[static_cast<size_t>(e.to)] = true;
  }
  for (size_t i = 0; i < n; ++i)
    if (!fed[i] && nearest[i] > 0) level[i] = nearest[i] - 1;
  int deepest = 0;
  for (int v : level) deepest = std::max(deepest, v);
  l.layers.resize(static_cast<size_t>(deepest) + 1);
  for (size_t i = 0; i < n; ++i) {
    Item item;
    item.node = static_cast<int>(i);
    item.width = width_of(drawing.nodes[i]);
    l.layers[static_cast<size_t>(level[i])].push_back(static_cast<int>(i));
    l.items.push_back(std::move(item));
    l.layer_of.push_back(level[i]);
  }
  size_t bends = 0;
  for (const DrawnEdge& e : drawing.edges)
    bends += static_cast<size_t>(
        std::max(0, level[static_cast<size_t>(e.to)] - level[static_cast<size_t>(e.from)] - 1));
  bool bend = bends <= kMostBends;
  for (const DrawnEdge& e : drawing.edges) {
    std::vector<int> path{e.from};
    for (int k = level[static_cast<size_t>(e.from)] + 1; bend && k < level[static_cast<size_t>(e.to)]; ++k) {
      auto at = static_cast<int>(l.items.size());
      l.items.emplace_back();
      l.layer_of.push_back(k);
      l.layers[static_cast<size_t>(k)].push_back(at);
      path.push_back(at);
    }
    path.push_back(e.to);
    for (size_t k = 1; k < path.size(); ++k) {
      l.items[static_cast<size_t>(path[k - 1])].down.push_back(path[k]);
      l.items[static_cast<size_t>(path[k])].up.push_back(path[k - 1]);
    }
    l.paths.push_back(std::move(path));
  }
  return l;
}

// Puts a layer's items in their order without overlap, as near as that allows to where they want to be (least squares, by
// pooling neighbours that would overlap). Bends make way for boxes.
void place(Layout& l, const std::vector<int>& layer, const std::vector<double>& wish) {
  struct Pool {
    double sum, weight;
    size_t count;
    double mean() const { return sum / weight; }
  };
  std::vector<Pool> pools;
  std::vector<double> offset(layer.size(), 0);
  for (size_t k = 0; k < layer.size(); ++k) {
    const Item& item = l.items[static_cast<size_t>(layer[k])];
    if (k > 0) offset[k] = offset[k - 1] + (l.items[static_cast<size_t>(layer[k - 1])].width + item.width) / 2 + kGapX;
    double weight = item.node >= 0 ? 1 : 0.02;
    pools.push_back({weight * (wish[k] - offset[k]), weight, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      Pool last = pools.back();
      pools.pop_back();
      pools.back() = {pools.back().sum + last.sum, pools.back().weight + last.weight, pools.back().count + last.count};
    }
  }
  size_t k = 0;
  for (const Pool& pool : pools)
    for (size_t i = 0; i < pool.count; ++i, ++k) l.items[static_cast<size_t>(layer[k])].x = pool.mean() + offset[k];
}

void arrange(Layout& l) {
  for (auto& layer : l.layers) {
    double x = 0;
    for (int i : layer) {
      Item& item = l.items[static_cast<size_t>(i)];
      item.x = x + item.width / 2;
      x += item.width + kGapX;
    }
    for (int i : layer) l.items[static_cast<size_t>(i)].x -= x / 2;
  }
  auto centre = [&](const Item& item, bool upward, bool* any) {
    const std::vector<int>& list = upward ? item.up : item.down;
    // Between boxes, edges that only pass count little: otherwise every one of them would push the boxes aside.
    double sum = 0, weight = 0;
    for (int i : list) {
      const Item& other = l.items[static_cast<size_t>(i)];
      double w = item.node >= 0 && other.node < 0 ? 0.02 : 1;
      sum += w * other.x;
      weight += w;
    }
    *any = !list.empty();
    return list.empty() ? item.x : sum / weight;
  };
  int sweeps = l.items.size() > 20000 ? 4 : 12;
  for (int sweep = 0; sweep < sweeps; ++sweep) {
    bool upward = sweep % 2 == 0;
    for (size_t step = 0; step < l.layers.size(); ++step) {
      auto& layer = l.layers[upward ? step : l.layers.size() - 1 - step];
      std::vector<std::pair<double, int>> wishes;
      for (int i : layer) {
        bool any = false;
        wishes.emplace_back(centre(l.items[static_cast<size_t>(i)], upward, &any), i);
      }
      if (sweep < sweeps / 2)
        std::stable_sort(wishes.begin(), wishes.end(),
                         [](const auto& a, const auto& b) { return a.first < b.first; });
      std::vector<double> wish;
      for (size_t k = 0; k < wishes.size(); ++k) layer[k] = wishes[k].second, wish.push_back(wishes[k].first);
      place(l, layer, wish);
    }
  }
  double least = 0, most = 0;
  bool first = true;
  for (const Item& item : l.items) {
    least = first ? item.x - item.width / 2 : std::min(least, item.x - item.width / 2);
    most = first ? item.x + item.width / 2 : std::max(most, item.x + item.width / 2);
    first = false;
  }
  for (Item& item : l.items) item.x -= least;
  l.width = most - least;
  l.height = static_cast<double>(l.layers.size()) * (kHeight + kGapY) - kGapY;
}

const char* colour(const std::string& family) {
  constexpr std::pair<const char*, const char*> kColours[] = {
      {"conv", "#cfe3fb"},  {"linear", "#d5d7fb"},   {"activation", "#fbdcd0"}, {"norm", "#d8f0d2"},
      {"pool", "#d0f0ee"},  {"shape", "#eeeeee"},    {"control", "#f6d5ee"},    {"elementwise", "#fbf2cc"},
      {"group", "#ffffff"}, {"terminal", "#e4efe9"}, {"other", "#f4f4f4"}};
  for (const auto& [name, value] : kColours)
    if (family == name) return value;
  return "#f4f4f4";
}

void draw(const Drawing& drawing, const Layout& l, double x0, double y0, size_t index, std::string& out) {
  auto y_of = [&](int item) {
    return y0 + static_cast<double>(l.layer_of[static_cast<size_t>(item)]) * (kHeight + kGapY);
  };
  out += "<g class=\"edges\" fill=\"none\" stroke=\"#8a94a0\" stroke-width=\"1.2\">\n";
  for (size_t e = 0; e < l.paths.size(); ++e) {
    const std::vector<int>& path = l.paths[e];
    auto x_of = [&](int item) { return x0 + l.items[static_cast<size_t>(item)].x; };
    double x = x_of(path[0]), y = y_of(path[0]) + kHeight;
    std::string d = fmt::format("M{:.1f} {:.1f}", x, y);
    for (size_t k = 1; k < path.size(); ++k) {
      bool last = k + 1 == path.size();
      double nx = x_of(path[k]), ny = y_of(path[k]);
      d += fmt::format(" C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}", x, (y + ny) / 2, nx, (y + ny) / 2, nx,
                       ny);
      if (!last) d += fmt::format(" V{:.1f}", ny + kHeight);
      x = nx, y = ny + kHeight;
    }
    out += fmt::format("<path d=\"{}\" marker-end=\"url(#arrow)\"><title>{}</title></path>\n", d,
                       escaped(clean(drawing.edges[e].label)));
  }
  out += "</g>\n";
  for (size_t i = 0; i < drawing.nodes.size(); ++i) {
    const DrawnNode& n = drawing.nodes[i];
    const Item& item = l.items[i];
    bool terminal = n.shape == DrawnNode::Shape::kInput || n.shape == DrawnNode::Shape::kOutput,
         group = n.shape == DrawnNode::Shape::kGroup;
    double width = box_width(n), left = x0 + item.x - width / 2, top = y_of(static_cast<int>(i)), middle = x0 + item.x;
    out +=
        fmt::format("<g class=\"node\" data-unit=\"{}\" data-first=\"{}\" data-last=\"{}\"><title>{}</title>",
                    index, n.members.empty() ? -1 : n.members.front(),
                    n.members.empty() ? -1 : n.members.back(), escaped(n.hint));
    if (group)
      out += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\" rx=\"6\" fill=\"#ffffff\" "
          "stroke=\"#6b7683\"/>",
          left + 4, top + 4, width, kHeight);
    out += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\" rx=\"{}\" fill=\"{}\" "
        "stroke=\"#6b7683\"/>",
        left, top, width, kHeight, terminal ? 23 : 6, colour(n.family));
    constexpr const char* kPale = " fill=\"#56606b\"";
    std::vector<std::pair<std::string, const char*>> lines{{n.title, " font-weight=\"bold\""}};
    if (!n.name.empty() && n.name != n.title) lines.emplace_back(n.name, "");
    if (!n.detail.empty()) lines.emplace_back(n.detail, kPale);
    double y = top + kHeight / 2 + 4 - 6.5 * static_cast<double>(lines.size() - 1);
    for (const auto& [text, style] : lines) {
      out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\"{}>{}</text>", middle, y, style,
                         escaped(shortened(text, kMostLetters)));
      y += 13;
    }
    std::vector<std::string> notes = beside(n);
    y = top + kHeight / 2 + 4 - 6 * static_cast<double>(notes.size() - 1);
    for (const std::string& note : notes) {
      out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"start\" font-size=\"10\"{}>{}</text>", left + width + (group ? 8 : 4), y, kPale, escaped(note));
      y += 12;
    }
    out += "</g>\n";
  }
}

}  // namespace

std::string svg_text(const std::vector<Drawing>& drawings, const std::string& name) {
  std::vector<Layout> layouts;
  double width = 0, height = kMargin;
  for (const Drawing& drawing : drawings) {
    layouts.push_back(lay_out(drawing));
    arrange(layouts.back());
    width = std::max(width, layouts.back().width);
    height += layouts.back().height + kMargin + (drawing.title.empty() ? 0 : 24);
  }
  width += 2 * kMargin;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" width=\"{:.0f}\" "
      "height=\"{:.0f}\" font-family=\"sans-serif\" font-size=\"11\" text-anchor=\"middle\">\n",
      width, height, width, height);
  out += fmt::format(
      "<title>{}</title>\n<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" "
      "markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" "
      "fill=\"#8a94a0\"/></marker></defs>\n",
      escaped(name));
  out += fmt::format("<rect width=\"{:.0f}\" height=\"{:.0f}\" fill=\"#fcfcfc\"/>\n", width, height);
  double y = kMargin;
  for (size_t d = 0; d < drawings.size(); ++d) {
    if (!drawings[d].title.empty()) {
      out += fmt::format(
          "<text x=\"{:.0f}\" y=\"{:.1f}\" text-anchor=\"start\" font-size=\"14\" "
          "font-weight=\"bold\">{}</text>\n",
          kMargin, y + 12, escaped(clean(drawings[d].title)));
      y += 24;
    }
    draw(drawings[d], layouts[d], kMargin + (width - 2 * kMargin - layouts[d].width) / 2, y, d, out);
    y += layouts[d].height + kMargin;
  }
  return out + "</svg>\n";
}

}  // namespace mlt::inspect
