// The table of frontends. A new format is one row here, one folder beside onnx/.
#include "lib/convert/frontend.h"
#include "lib/convert/onnx/convert.h"
#include "lib/convert/onnx/lowering.h"

namespace mlt::foreign {

const std::vector<Frontend>& frontends() {
  static const std::vector<Frontend> table = {
      {"onnx", onnx::looks_like_onnx, onnx::convert_onnx},
  };
  return table;
}

Result<const Frontend*> find_frontend(const std::string& name, ByteSpan bytes) {
  for (const Frontend& f : frontends())
    if (name.empty() ? f.detect(bytes) : f.name == name) return &f;
  if (name.empty()) return input_error("the source's format is not recognised", "name it with --from");
  return unsupported_error("no converter from \"" + name + "\"");
}

std::vector<Coverage> coverage() {
  std::vector<Coverage> list;
  for (const onnx::Row* row : onnx::all_rows()) {
    Coverage c;
    c.frontend = "onnx";
    c.op = row->domain.empty() ? std::string(row->op) : std::string(row->domain) + "." + std::string(row->op);
    c.note = std::string(row->note);
    list.push_back(std::move(c));
  }
  return list;
}

std::string describe(const std::vector<Unsupported>& unsupported) {
  constexpr size_t kNamed = 8;
  std::string text;
  for (const Unsupported& u : unsupported) {
    text += u.op + ": " + std::to_string(u.nodes.size()) + (u.nodes.size() == 1 ? " node (" : " nodes (");
    for (size_t i = 0; i < u.nodes.size() && i < kNamed; ++i) text += (i ? ", " : "") + u.nodes[i];
    if (u.nodes.size() > kNamed) text += ", ...";
    text += "): " + u.reason + "\n";
  }
  return text;
}

}  // namespace mlt::foreign
