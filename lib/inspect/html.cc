#include "lib/inspect/html.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "lib/inspect/drawing.h"
#include "lib/inspect/structure.h"
#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

constexpr const char* kStyle = R"css(
body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1240px;padding:16px 24px;color:#20262c;background:#fff}
h1{font-size:24px;margin:8px 0}h2{font-size:17px;margin:28px 0 8px;border-bottom:1px solid #d9dee3}
nav a{margin-right:14px}a{color:#1f5fa8}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:3px 10px 3px 0;vertical-align:top;border-bottom:1px solid #eceff1}
th{font-weight:600;color:#56606b;white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td{overflow-wrap:anywhere}#ops td:nth-child(3){min-width:15em}.kind{white-space:nowrap}.small{color:#56606b;font-size:12px}
.bar{display:inline-block;height:10px;background:#8fb5e3;vertical-align:middle;min-width:1px}
.scroll{max-height:560px;overflow:auto;border:1px solid #d9dee3}.scroll thead th{position:sticky;top:0;background:#f6f8fa;padding-top:6px}
input[type=search]{font:inherit;width:340px;padding:5px 8px;border:1px solid #b8c0c8;border-radius:4px}
button{font:inherit;padding:3px 10px}
#view{border:1px solid #d9dee3;height:620px;overflow:hidden;cursor:grab;touch-action:none;background:#fcfcfc}
#view svg{width:100%;height:100%}#view .node{cursor:pointer}
svg.h rect{fill:#8fb5e3}.labels span{display:inline-block;background:#eef2f5;border-radius:3px;padding:0 6px;margin:2px}
@media (prefers-color-scheme:dark){body{background:#15191d;color:#dde3e8}th,.small{color:#9aa5b0}.scroll thead th{background:#1d2329}td,th{border-color:#262d34}a{color:#7fb2ea}.labels span{background:#242b32}}
)css";

// The page works without it: it searches the list and moves the drawing.
constexpr const char* kScript = R"js(
(function(){
var rows=Array.prototype.slice.call(document.querySelectorAll('#ops tbody tr')),box=document.getElementById('search'),count=document.getElementById('count');
function show(){
 var words=box.value.toLowerCase().split(/\s+/).filter(Boolean),shown=0;
 rows.forEach(function(r){
  var text=r.textContent.toLowerCase(),ok=words.every(function(w){
   var range=/^#(\d+)-(\d+)$/.exec(w);
   if(range){var n=+r.dataset.n;return n>=+range[1]&&n<=+range[2];}
   return text.indexOf(w)>=0;});
  r.hidden=!ok;if(ok)shown++;});
 count.textContent=shown+' of '+rows.length;
}
if(box){
 box.addEventListener('input',show);
 if(location.hash.indexOf('#q=')===0){try{box.value=decodeURIComponent(location.hash.slice(3));}catch(e){}}
 show();
}
var view=document.getElementById('view'),svg=view&&view.querySelector('svg');
if(!svg)return;
var full=svg.viewBox.baseVal,W=full.width,H=full.height,v;
svg.removeAttribute('width');svg.removeAttribute('height');
function put(){svg.setAttribute('viewBox',v.x+' '+v.y+' '+v.w+' '+v.h);}
function scale(){return Math.max(v.w/view.clientWidth,v.h/view.clientHeight);}
function fit(all){
 var w=view.clientWidth,h=view.clientHeight;
 if(all){v={x:0,y:0,w:W,h:H};}
 else{
  var n=svg.querySelector('.node rect'),x=n?n.x.baseVal.value+n.width.baseVal.value/2:W/2;
  if(W<=w)x=W/2;
  v={w:w,h:h,x:x-w/2,y:H<=h?(H-h)/2:0};}
 put();}
function zoom(f,cx,cy){v={x:cx-(cx-v.x)*f,y:cy-(cy-v.y)*f,w:v.w*f,h:v.h*f};put();}
function at(e){var p=svg.createSVGPoint();p.x=e.clientX;p.y=e.clientY;return p.matrixTransform(svg.getScreenCTM().inverse());}
view.addEventListener('wheel',function(e){e.preventDefault();var p=at(e);zoom(e.deltaY>0?1.15:1/1.15,p.x,p.y);},{passive:false});
var drag=null,moved=false;
view.addEventListener('pointerdown',function(e){drag={x:e.clientX,y:e.clientY,vx:v.x,vy:v.y};moved=false;});
window.addEventListener('pointermove',function(e){if(!drag)return;var s=scale();if(Math.abs(e.clientX-drag.x)+Math.abs(e.clientY-drag.y)>4)moved=true;
 v.x=drag.vx-(e.clientX-drag.x)*s;v.y=drag.vy-(e.clientY-drag.y)*s;put();});
window.addEventListener('pointerup',function(){drag=null;});
document.getElementById('in').onclick=function(){zoom(1/1.4,v.x+v.w/2,v.y+v.h/2);};
document.getElementById('out').onclick=function(){zoom(1.4,v.x+v.w/2,v.y+v.h/2);};
document.getElementById('all').onclick=function(){fit(true);};
Array.prototype.forEach.call(svg.querySelectorAll('.node'),function(n){n.addEventListener('click',function(){
 if(moved||!box||+n.dataset.first<0)return;
 var base=+(document.querySelector('#ops tbody tr[data-unit="'+n.dataset.unit+'"]')||{dataset:{n:0,i:0}}).dataset.base||0;
 box.value='#'+(base+ +n.dataset.first)+'-'+(base+ +n.dataset.last);show();document.getElementById('operations').scrollIntoView();});});
fit(false);
})();
)js";

std::string number(double value) { return fmt::format("{:.4g}", value); }

// "21.5 G"
std::string amount(double value) {
  constexpr const char* kUnits[] = {"", " k", " M", " G", " T"};
  size_t unit = 0;
  while (value >= 999.5 && unit < 4) value /= 1000, ++unit;
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

void row(std::string& out, const char* label, const std::string& value) {
  if (!value.empty()) out += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", label, escaped(value));
}

void features(std::string& out, const char* what, const std::vector<coreml::FeatureDescription>& list) {
  for (const auto& f : list)
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}{}</td><td>{}</td></tr>\n", what, escaped(f.name),
                       escaped(coreml::format_type(f.type)), f.type.optional ? ", optional" : "",
                       escaped(f.doc));
}

void summary(std::string& out, const Report& r, double flops) {
  out += "<h2 id=\"summary\">Summary</h2><table>\n";
  row(out, "Kind", fmt::format("{}, specification {}", r.kind, r.spec_version));
  row(out, "Container", r.container + (r.sealed ? ", sealed" : ""));
  row(out, "Runs on", r.available.empty() ? "" : r.available + " and later");
  const coreml::Metadata& m = r.description.metadata;
  row(out, "About", m.short_description);
  row(out, "Author", m.author);
  row(out, "License", m.license);
  row(out, "Version", m.version);
  for (const FunctionInfo& f : r.functions)
    row(out, "Function", fmt::format("{}: {}, opset {}", f.name, plural(f.operations, "operation"), f.opset));
  std::string weights;
  for (const WeightTotal& t : r.weights)
    weights += fmt::format("{}{} {} in {}", weights.empty() ? "" : ", ", size_text(t.bytes), t.storage,
                           plural(t.tensors, "tensor"));
  row(out, "Weights", weights);
  row(out, "Cost", flops > 0 ? amount(flops) + (flops < 999.5 ? " " : "") + "FLOP a prediction" : "");
  for (const auto& [key, value] : m.user_defined) row(out, "Metadata", key + " = " + value);
  for (const std::string& need : r.needs) row(out, "Needs", need);
  for (size_t i = 0; i < r.stages.size(); ++i)
    row(out, "Stage", fmt::format("{}: {} ({})", i, r.stages[i].name, r.stages[i].kind));
  out += "</table>\n";
  auto interface = r.description.function();
  if (interface) {
    out +=
        "<h2 "
        "id=\"interface\">Interface</h2><table><thead><tr><th></th><th>Name</th><th>Type</th><th>About</th></"
        "tr></thead><tbody>\n";
    features(out, "input", interface->inputs);
    features(out, "output", interface->outputs);
    features(out, "state", interface->states);
    features(out, "training", r.description.training_inputs);
    out += "</tbody></table>\n";
  }
  if (!r.labels.empty()) {
    out += fmt::format(
        "<h2 id=\"labels\">Class labels</h2><details{}><summary>{}</summary><p class=\"labels\">",
        r.labels.size() <= 40 ? " open" : "", plural(static_cast<int64_t>(r.labels.size()), "label"));
    for (const std::string& label : r.labels) out += fmt::format("<span>{}</span>", escaped(label));
    out += "</p></details>\n";
  }
}

// How often each operation occurs and what share of the arithmetic it has.
void kinds(std::string& out, const std::vector<Unit>& units, double flops) {
  struct Kind {
    int64_t count = 0;
    double flops = 0;
  };
  std::map<std::string, Kind> table;
  int64_t most = 1;
  for (const Unit& unit : units)
    for (size_t i = unit.function == nullptr && unit.nodes.size() > 1 ? 1 : 0; i < unit.nodes.size();
         ++i) {  // a network's first node is its own fields
      const Node& node = unit.nodes[i];
      Kind& kind = table[node.kind];
      kind.flops += node.cost.flops;
      most = std::max(most, ++kind.count);
    }
  std::vector<std::pair<std::string, Kind>> order(table.begin(), table.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
  out +=
      "<h2 id=\"kinds\">Kinds of operations</h2><table><thead><tr><th>Kind</th><th "
      "class=\"n\">Count</th><th></th><th class=\"n\">FLOP</th><th "
      "class=\"n\">Share</th></tr></thead><tbody>\n";
  for (const auto& [name, kind] : order)
    out += fmt::format(
        "<tr><td class=\"kind\">{}</td><td class=\"n\">{}</td><td><span class=\"bar\" "
        "style=\"width:{}px\"></span></td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
        escaped(name), kind.count, 300 * kind.count / most, kind.flops > 0 ? amount(kind.flops) : "",
        flops > 0 && kind.flops > 0 ? fmt::format("{:.1f} %", 100 * kind.flops / flops) : "");
  out += "</tbody></table>\n";
}

void operations(std::string& out, const std::vector<Unit>& units, double flops) {
  out +=
      "<h2 id=\"operations\">Operations</h2><p><input type=\"search\" id=\"search\" placeholder=\"kind, "
      "name, shape ...\" aria-label=\"search\"> <span id=\"count\" class=\"small\"></span></p>\n"
      "<div class=\"scroll\"><table id=\"ops\"><thead><tr><th "
      "class=\"n\">#</th><th>Kind</th><th>Name</th><th>Inputs and parameters</th><th>Output</th><th "
      "class=\"n\">FLOP</th><th class=\"n\">Share</th></tr></thead><tbody>\n";
  size_t base = 0;
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    for (size_t i = 0; i < unit.nodes.size(); ++i) {
      const Node& node = unit.nodes[i];
      std::string inputs, outputs;
      for (const Input& input : node.inputs) {
        std::string text =
            input.constant < 0
                ? input.name
                : fmt::format("{}[{}]", unit.constants[static_cast<size_t>(input.constant)].storage,
                              dims_text(unit.constants[static_cast<size_t>(input.constant)].dims));
        inputs += (inputs.empty() ? "" : ", ") + input.param + " = " + text;
      }
      for (const auto& [key, value] : node.fields)
        inputs += (inputs.empty() ? "" : ", ") + key + " = " + clean(value, 120);
      for (const Output& output : node.outputs)
        outputs += (outputs.empty() ? "" : ", ") + (output.type.empty() ? output.name : output.type);
      std::string place =
          unit.place.empty() ? "" : fmt::format("<span class=\"small\">{}: </span>", escaped(unit.place));
      std::string share = flops > 0 && node.cost.flops > 0
                              ? fmt::format("{:.1f} % <span class=\"bar\" style=\"width:{:.0f}px\"></span>",
                                            100 * node.cost.flops / flops, 60 * node.cost.flops / flops)
                              : "";
      out += fmt::format(
          "<tr data-n=\"{}\" data-unit=\"{}\" data-base=\"{}\"><td class=\"n\">{}</td><td "
          "class=\"kind\">{}</td><td>{}{}</td><td class=\"small\">{}</td><td class=\"small\">{}</td><td "
          "class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
          base + i, u, base, base + i, escaped(node.kind), place, escaped(node.name),
          escaped(clean(inputs, 1500)), escaped(outputs),
          node.cost.flops > 0 ? amount(node.cost.flops) : "", share);
    }
    base += unit.nodes.size();
  }
  out += "</tbody></table></div>\n";
}

// A histogram of 32 bins between the least and the greatest value.
std::string bars(const Tensor& tensor, const Statistics& s) {
  constexpr size_t kBins = 32;
  std::array<int64_t, kBins> bins{};
  if (!(s.max > s.min)) return "";
  Tensor values = convert(tensor, DType::kF32);
  const float* data = values.data<float>();
  double scale = kBins / (s.max - s.min);
  for (int64_t i = 0; i < values.size(); ++i)
    if (std::isfinite(data[i]))
      ++bins[std::min(kBins - 1, static_cast<size_t>(std::max(0.0, (data[i] - s.min) * scale)))];
  int64_t most = std::max<int64_t>(1, *std::max_element(bins.begin(), bins.end()));
  std::string out = "<svg class=\"h\" width=\"128\" height=\"28\" role=\"img\">";
  for (size_t i = 0; i < kBins; ++i) {
    if (bins[i] == 0) continue;
    double height = std::max(0.7, 28.0 * static_cast<double>(bins[i]) / static_cast<double>(most));
    out += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"3.6\" height=\"{:.1f}\"/>", i * 4, 28 - height,
                       height);
  }
  return out + "</svg>";
}

void weights(std::string& out, const std::vector<Unit>& units) {
  bool any = std::any_of(units.begin(), units.end(), [](const Unit& u) { return !u.constants.empty(); });
  if (!any) return;
  out +=
      "<h2 id=\"weights\">Weights</h2><div class=\"scroll\"><table><thead><tr><th>Name</th><th>Stored "
      "as</th><th>Shape</th><th class=\"n\">Bytes</th><th class=\"n\">Least</th><th class=\"n\">Greatest</th>"
      "<th class=\"n\">Mean</th><th class=\"n\">Deviation</th><th "
      "class=\"n\">Zeros</th><th>Values</th></tr></thead><tbody>\n";
  for (const Unit& unit : units)
    for (const Constant& c : unit.constants) {
      std::string columns = "<td></td><td></td><td></td><td></td><td></td>",
                  name = unit.place.empty() ? c.name : unit.place + ": " + c.name;
      auto values = c.missing ? Result<Tensor>(input_error("missing")) : c.values();
      if (!values.ok()) {
        columns = fmt::format("<td colspan=\"5\" class=\"small\">{}</td>",
                              c.missing ? "missing" : escaped(values.error().message));
      } else if (auto s = statistics(*values)) {
        columns = fmt::format(
            "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
            "class=\"n\">{:.1f} %</td><td>{}{}</td>",
            number(s->min), number(s->max), number(s->mean), number(s->deviation),
            100.0 * static_cast<double>(s->zeros) / static_cast<double>(values->size()), bars(*values, *s),
            s->not_finite > 0 ? fmt::format(" {} not finite", s->not_finite) : "");
      }
      out += fmt::format(
          "<tr><td>{}</td><td class=\"kind\">{}</td><td class=\"kind\">{}</td><td "
          "class=\"n\">{}</td>{}</tr>\n",
          escaped(name), escaped(c.storage), dims_text(c.dims), c.bytes, columns);
    }
  out += "</tbody></table></div>\n";
}

}  // namespace

std::string html_page(const Subject& subject) {
  Report report = examine(subject);
  std::vector<Unit> units = units_of(subject, true);
  double flops = 0;
  for (const Unit& unit : units)
    for (const Node& node : unit.nodes) flops += node.cost.flops;
  std::string title = escaped(clean(report.name));
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  // Should an escape ever be missing: no network, no images, no forms.
  out +=
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n";
  out += fmt::format(
      "<meta name=\"viewport\" "
      "content=\"width=device-width\"><title>{}</title>\n<style>{}</style></head><body>\n<h1>{}</h1>\n",
      title, kStyle, title);
  out += fmt::format(
      "<nav><a href=\"#summary\">Summary</a><a href=\"#interface\">Interface</a>{}<a "
      "href=\"#kinds\">Kinds</a><a href=\"#graph\">Graph</a><a href=\"#operations\">Operations</a><a "
      "href=\"#weights\">Weights</a></nav>\n",
      report.labels.empty() ? "" : "<a href=\"#labels\">Class labels</a>");
  summary(out, report, flops);
  for (const Unit& unit : units)
    if (!unit.unread.empty()) out += fmt::format("<p><b>Not read:</b> {}</p>\n", escaped(unit.unread));
  kinds(out, units, flops);
  out +=
      "<h2 id=\"graph\">Graph</h2><p><button id=\"in\">+</button> <button id=\"out\">&minus;</button> "
      "<button id=\"all\">all</button> <span class=\"small\">wheel: zoom, drag: move, click: show "
      "below</span></p>\n<div id=\"view\">";
  out += svg_text(drawings_of(units, report, 150), report.name);
  out += "</div>\n";
  operations(out, units, flops);
  weights(out, units);
  return out + fmt::format("<script>{}</script>\n</body></html>\n", kScript);
}

}  // namespace mlt::inspect
