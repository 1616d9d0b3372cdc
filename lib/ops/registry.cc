// Parses a row's signature once, when it is first asked for, and answers lookups.
#include <algorithm>
#include <cctype>
#include <mutex>
#include <string>

#include "lib/ops/families.h"
#include "lib/ops/op_def.h"

namespace mlt::ops {
namespace {

constexpr std::span<const OpDef> (*kFamilies[])() = {
    activation_ops,    classify_ops,   compression_ops, control_flow_ops,   conv_ops,      elementwise_binary_ops,
    elementwise_unary_ops, image_resizing_ops, image_sampling_ops, linear_ops, normalization_ops, pool_ops, quantization_ops,
    random_ops,        recurrent_ops,  reduction_ops,   scatter_gather_ops, state_ops,     tensor_operation_ops,
    tensor_transformation_ops, transformer_ops, legacy_nn_ops,
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Splits at top-level separators: those inside quotes or brackets belong to a default value.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  int depth = 0;
  bool quoted = false;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == separator && depth == 0 && !quoted)) {
      std::string_view part = trim(text.substr(start, i - start));
      if (!part.empty()) parts.push_back(part);
      start = i + 1;
      continue;
    }
    if (text[i] == '"') quoted = !quoted;
    if (text[i] == '[') ++depth;
    if (text[i] == ']') --depth;
  }
  return parts;
}

bool parse_dtypes(std::string_view text, char separator, std::vector<DType>* out) {
  for (std::string_view name : split(text, separator)) {
    auto dtype = dtype_from_name(name);
    if (!dtype) return false;
    out->push_back(*dtype);
  }
  return !out->empty();
}

// "T: fp16 fp32; U: int32" -> the list of one letter.
bool domain_dtypes(std::string_view domains, char letter, std::vector<DType>* out) {
  for (std::string_view one : split(domains, ';'))
    if (one.size() > 2 && one[0] == letter && one[1] == ':') return parse_dtypes(one.substr(2), ' ', out);
  return false;
}

std::optional<std::string> parse_signature(const OpDef& def, OpInfo* info) {
  info->def = &def;
  size_t arrow = def.signature.find("->");
  if (arrow == std::string_view::npos) return "no '->' in the signature";
  for (std::string_view text : split(def.signature.substr(0, arrow), ',')) {
    Param param;
    size_t colon = text.find(':');
    if (colon == std::string_view::npos) return "no ':' in \"" + std::string(text) + "\"";
    std::string_view name = trim(text.substr(0, colon)), rest = trim(text.substr(colon + 1));
    for (; !name.empty() && (name.back() == '?' || name.back() == '*'); name.remove_suffix(1))
      (name.back() == '?' ? param.optional : param.variadic) = true;
    param.name = name;
    size_t equals = rest.find('=');
    if (equals != std::string_view::npos) {
      param.default_text = trim(rest.substr(equals + 1));
      param.optional = true;
      rest = trim(rest.substr(0, equals));
    }
    if (rest.starts_with("const ")) {
      param.is_const = true;
      rest = trim(rest.substr(6));
    }
    param.kind = "tensor";
    if (rest == "list" || rest == "state" || rest == "any" || rest == "dict") {
      param.kind = rest;
    } else if (rest.size() == 1 && std::isupper(static_cast<unsigned char>(rest[0]))) {
      param.domain = rest[0];
      if (!domain_dtypes(def.domains, rest[0], &param.dtypes)) return "domain " + std::string(rest) + " is not declared";
    } else if (!parse_dtypes(rest, '|', &param.dtypes)) {
      return "unknown types \"" + std::string(rest) + "\"";
    }
    info->params.push_back(std::move(param));
  }
  std::string_view outputs = trim(def.signature.substr(arrow + 2));
  if (outputs == "*") {
    info->variadic_outputs = true;
  } else {
    info->outputs = split(outputs, ',');
  }
  return std::nullopt;
}

class Table {
 public:
  Table() {
    for (auto family : kFamilies)
      for (const OpDef& def : family()) rows_.emplace_back().def = &def;
    std::stable_sort(rows_.begin(), rows_.end(), [](const OpInfo& a, const OpInfo& b) {
      return a.def->name != b.def->name ? a.def->name < b.def->name : a.def->since < b.def->since;
    });
    parsed_ = std::vector<Once>(rows_.size());
  }
  // Rows as they are: of each only `def` is there before parse().
  const std::vector<OpInfo>& rows() const { return rows_; }
  const OpInfo* parse(size_t i) {
    std::call_once(parsed_[i].flag, [&] { parsed_[i].problem = parse_signature(*rows_[i].def, &rows_[i]); });
    return &rows_[i];
  }
  std::vector<std::string> problems() {
    std::vector<std::string> all;
    for (size_t i = 0; i < rows_.size(); ++i) {
      const OpDef& def = *parse(i)->def;
      auto report = [&](const std::string& what) { all.push_back(std::string(def.name) + " (" + std::string(opset_token(def.since)) + "): " + what); };
      if (parsed_[i].problem) report(*parsed_[i].problem);
      if (def.doc.empty()) report("no doc");
      if (def.infer == nullptr) report("no infer");
      if (i > 0 && def.name == rows_[i - 1].def->name && def.since == rows_[i - 1].def->since) report("two rows for one opset");
    }
    return all;
  }

 private:
  struct Once {
    std::once_flag flag;
    std::optional<std::string> problem;
  };
  std::vector<OpInfo> rows_;
  std::vector<Once> parsed_;
};

Table& table() {
  static Table t;
  return t;
}

}  // namespace

std::optional<Opset> opset_from_token(std::string_view token) {
  if (token == "CoreML3" || token == "CoreML4" || token == "CoreML5" || token == "ios13" || token == "ios14" || token == "ios15")
    return Opset::kCoreML5;
  if (token == "CoreML6" || token == "ios16") return Opset::kCoreML6;
  if (token == "CoreML7" || token == "ios17") return Opset::kCoreML7;
  if (token == "CoreML8" || token == "ios18") return Opset::kCoreML8;
  if (token == "CoreML9" || token == "ios19" || token == "ios26") return Opset::kCoreML9;
  return std::nullopt;
}

std::string_view opset_token(Opset opset) {
  switch (opset) {
    case Opset::kCoreML5: return "CoreML5";
    case Opset::kCoreML6: return "CoreML6";
    case Opset::kCoreML7: return "CoreML7";
    case Opset::kCoreML8: return "CoreML8";
    case Opset::kCoreML9: return "CoreML9";
  }
  return "CoreML5";
}

std::string_view opset_text_token(Opset opset) {
  switch (opset) {
    case Opset::kCoreML5: return "ios15";
    case Opset::kCoreML6: return "ios16";
    case Opset::kCoreML7: return "ios17";
    case Opset::kCoreML8: return "ios18";
    case Opset::kCoreML9: return "ios26";
  }
  return "ios15";
}

const Param* OpInfo::param(std::string_view name) const {
  for (const Param& p : params)
    if (p.name == name) return &p;
  return nullptr;
}

const OpInfo* find_op(std::string_view name, Opset opset) {
  const auto& rows = table().rows();
  auto it = std::lower_bound(rows.begin(), rows.end(), name, [](const OpInfo& row, std::string_view n) { return row.def->name < n; });
  auto best = rows.end();
  for (; it != rows.end() && it->def->name == name; ++it)
    if (it->def->since <= opset) best = it;
  return best == rows.end() ? nullptr : table().parse(static_cast<size_t>(best - rows.begin()));
}

std::span<const OpInfo> all_ops() {
  for (size_t i = 0; i < table().rows().size(); ++i) table().parse(i);
  return table().rows();
}
std::vector<std::string> check_table() { return table().problems(); }

}  // namespace mlt::ops
