#include "lib/generate/roles.h"

#include <algorithm>
#include <cctype>
#include <limits>

namespace mlt {
namespace {

using coreml::ArrayType;
using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::Flexibility;

std::string plain(const std::string& name) {
  std::string out;
  for (char c : name)
    if (std::isalnum(static_cast<unsigned char>(c))) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool one_of(const std::string& name, std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), name) != names.end(); }

// Words of a name: at separators, at lower-to-upper case, and between letters and digits.
std::vector<std::string> words(const std::string& name) {
  std::vector<std::string> out;
  char before = '.';
  for (char c : name) {
    auto is = [](char x, int (*test)(int)) { return test(static_cast<unsigned char>(x)) != 0; };
    if (!is(c, std::isalnum)) {
      before = '.';
      continue;
    }
    bool start = before == '.' || (is(before, std::islower) && is(c, std::isupper)) || is(before, std::isdigit) != is(c, std::isdigit);
    if (start) out.emplace_back();
    out.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    before = c;
  }
  return out;
}

// What is left of a cache's name without the words for its direction.
std::string cache_name(const std::string& name) {
  std::string out;
  auto list = words(name);
  for (size_t i = 0; i < list.size(); ++i) {
    if (one_of(list[i], {"past", "present", "prev", "previous", "next", "new", "updated", "update", "in", "out", "input", "output", "cache", "caches", "state",
                         "states", "kv"}))
      continue;
    // "past_key_values.0.key": the first two words name all caches.
    if (list[i] == "key" && i + 1 < list.size() && list[i + 1] == "values") {
      ++i;
      continue;
    }
    out += list[i] + ".";
  }
  return out;
}

bool is_array(const FeatureDescription& feature) { return feature.type.kind == FeatureKind::kMultiArray; }
bool is_integer_array(const FeatureDescription& feature) {
  auto dtype = feature.type.array.dtype();
  return is_array(feature) && dtype && is_integer(*dtype);
}
bool is_position(const std::string& name) {
  return name.find("position") != std::string::npos || one_of(name, {"pos", "posids", "inputpos", "currentpos", "startpos", "start", "offset", "posid", "cachelength",
                                                                     "pastlength", "cachelen", "pastlen", "pastkeyvalueslength", "step"});
}

// The axis of one entry a token: the only flexible one, else the last but one.
size_t cache_axis(const ArrayType& array) {
  for (size_t i = 0; i < array.shape.size(); ++i)
    if (!axis_is_fixed(array, i)) return i;
  return array.shape.size() >= 2 ? array.shape.size() - 2 : 0;
}

}  // namespace

bool axis_is_fixed(const ArrayType& array, size_t axis) {
  if (array.flexibility == Flexibility::kRange && axis < array.shape_range.size())
    return array.shape_range[axis].upper >= 0 && static_cast<uint64_t>(array.shape_range[axis].upper) == array.shape_range[axis].lower;
  if (array.flexibility == Flexibility::kEnumerated)
    for (const auto& shape : array.enumerated_shapes)
      if (axis < shape.size() && shape[axis] != array.shape[axis]) return false;
  return true;
}

namespace {

// Enumerated extents of the axis, the default's among them.
std::vector<int64_t> extents(const ArrayType& array, size_t axis) {
  std::vector<int64_t> out{array.shape[axis]};
  if (array.flexibility == Flexibility::kEnumerated)
    for (const auto& shape : array.enumerated_shapes)
      if (axis < shape.size()) out.push_back(shape[axis]);
  std::sort(out.begin(), out.end());
  return out;
}

bool is_range(const ArrayType& array, size_t axis) { return array.flexibility == Flexibility::kRange && axis < array.shape_range.size(); }

}  // namespace

bool axis_allows(const ArrayType& array, size_t axis, int64_t extent) { return axis_at_least(array, axis, extent) == extent; }
int64_t axis_lower(const ArrayType& array, size_t axis) {
  return is_range(array, axis) ? static_cast<int64_t>(std::min<uint64_t>(array.shape_range[axis].lower, std::numeric_limits<int32_t>::max())) : extents(array, axis).front();
}
int64_t axis_upper(const ArrayType& array, size_t axis) { return is_range(array, axis) ? array.shape_range[axis].upper : extents(array, axis).back(); }

int64_t axis_at_least(const ArrayType& array, size_t axis, int64_t extent) {
  if (is_range(array, axis)) {
    int64_t found = std::max(extent, axis_lower(array, axis));
    return axis_upper(array, axis) < 0 || found <= axis_upper(array, axis) ? found : -1;
  }
  for (int64_t e : extents(array, axis))
    if (e >= extent) return e;
  return -1;
}

int64_t axis_at_most(const ArrayType& array, size_t axis, int64_t extent) {
  if (is_range(array, axis)) {
    int64_t found = axis_upper(array, axis) < 0 ? extent : std::min(extent, axis_upper(array, axis));
    return found >= axis_lower(array, axis) ? found : -1;
  }
  int64_t found = -1;
  for (int64_t e : extents(array, axis))
    if (e <= extent) found = e;
  return found;
}

Result<GenerationRoles> find_roles(const coreml::FunctionDescription& function, const RoleOptions& options) {
  GenerationRoles roles;
  std::vector<const FeatureDescription*> inputs, outputs;
  // Inputs need a shape, outputs often state none.
  for (const auto& input : function.inputs) inputs.push_back(&input);
  for (const auto& output : function.outputs) outputs.push_back(&output);
  auto take = [](std::vector<const FeatureDescription*>& from, auto&& test) -> const FeatureDescription* {
    auto it = std::find_if(from.begin(), from.end(), [&](const auto* f) { return is_array(*f) && test(*f); });
    if (it == from.end()) return nullptr;
    const FeatureDescription* found = *it;
    from.erase(it);
    return found;
  };
  auto take_named = [&](std::vector<const FeatureDescription*>& from, const std::string& name, const char* option) -> Result<const FeatureDescription*> {
    if (const auto* found = take(from, [&](const auto& f) { return f.name == name; })) return found;
    return usage_error(std::string(option) + ": the model has no such array \"" + name + "\"");
  };
  std::vector<std::string> problems;

  std::erase_if(inputs, [&](const auto* f) { return options.constants.contains(f->name); });
  auto shaped = [](const FeatureDescription* f) { return f->type.kind != FeatureKind::kMultiArray || !f->type.array.shape.empty(); };
  for (const auto* input : inputs)
    if (!shaped(input)) problems.push_back("input \"" + input->name + "\" states no shape");
  std::erase_if(inputs, [&](const auto* f) { return !shaped(f); });
  const FeatureDescription* tokens = nullptr;
  if (options.tokens) {
    MLT_ASSIGN(tokens, take_named(inputs, *options.tokens, "--tokens-input"));
  }
  std::vector<RoleInput> others;
  auto add_mask = [&](const FeatureDescription& feature) {
    others.push_back({feature, feature.type.array.shape.size() >= 3 ? TokenRole::kCausalMask : TokenRole::kAttentionMask});
  };
  if (options.mask) {
    MLT_ASSIGN(const FeatureDescription* mask, take_named(inputs, *options.mask, "--mask-input"));
    add_mask(*mask);
  }
  if (options.position) {
    MLT_ASSIGN(const FeatureDescription* position, take_named(inputs, *options.position, "--position-input"));
    others.push_back({*position, TokenRole::kPositions});
  }
  if (tokens == nullptr)
    tokens = take(inputs, [](const auto& f) {
      return one_of(plain(f.name), {"inputids", "tokens", "token", "tokenids", "tokenid", "inputtokens", "inputtoken", "ids", "decoderinputids"});
    });
  for (;;) {
    const FeatureDescription* found = take(inputs, [](const auto& f) {
      std::string name = plain(f.name);
      return name.find("mask") != std::string::npos || is_position(name) || name == "tokentypeids";
    });
    if (found == nullptr) break;
    std::string name = plain(found->name);
    if (name.find("updatemask") != std::string::npos) others.push_back({*found, TokenRole::kUpdateMask});
    else if (name.find("mask") != std::string::npos) add_mask(*found);
    else others.push_back({*found, name == "tokentypeids" ? TokenRole::kZeros : TokenRole::kPositions});
  }
  if (tokens == nullptr) {
    auto integers = std::count_if(inputs.begin(), inputs.end(), [](const auto* f) { return is_integer_array(*f); });
    if (integers == 1) tokens = take(inputs, is_integer_array);
    else if (inputs.size() == 1) tokens = take(inputs, [](const auto& f) { return f.type.array.shape.size() <= 2; });
  }
  if (tokens == nullptr) {
    problems.push_back("no input looks like tokens (--tokens-input names it)");
  } else {
    const auto& shape = tokens->type.array.shape;
    for (size_t i = 0; i < shape.size(); ++i)
      if (!axis_is_fixed(tokens->type.array, i) || shape[i] != 1) roles.token_axis = i;
    if (std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d == 1; }) && axis_is_fixed(tokens->type.array, roles.token_axis)) roles.token_axis = shape.size() - 1;
    roles.inputs.push_back({*tokens, TokenRole::kTokens});
  }

  const FeatureDescription* logits = nullptr;
  if (options.logits) {
    MLT_ASSIGN(logits, take_named(outputs, *options.logits, "--logits-output"));
  } else {
    logits = take(outputs, [](const auto& f) { return plain(f.name) == "logits"; });
    if (logits == nullptr) logits = take(outputs, [](const auto& f) { return plain(f.name).find("logits") != std::string::npos; });
  }

  auto add_cache = [&](const FeatureDescription& input, const FeatureDescription& output) {
    CachePair pair;
    pair.input = input;
    pair.output = output.name;
    const ArrayType& array = input.type.array;
    pair.axis = cache_axis(array);
    pair.grows = !axis_is_fixed(array, pair.axis);
    pair.shortest = axis_lower(array, pair.axis);
    pair.longest = axis_upper(array, pair.axis);
    roles.caches.push_back(std::move(pair));
  };
  for (const auto& [in, out] : options.caches) {
    MLT_ASSIGN(const FeatureDescription* input, take_named(inputs, in, "--cache"));
    auto it = std::find_if(outputs.begin(), outputs.end(), [&, name = out](const auto* f) { return f->name == name; });
    if (it == outputs.end()) return usage_error("--cache: the model has no output \"" + out + "\"");
    add_cache(*input, **it);
    outputs.erase(it);
  }
  for (auto it = inputs.begin(); it != inputs.end();) {
    const FeatureDescription& input = **it;
    auto match = std::find_if(outputs.begin(), outputs.end(), [&](const auto* output) {
      return is_array(*output) && is_array(input) && !input.type.array.shape.empty() && input.name != output->name && cache_name(input.name) == cache_name(output->name);
    });
    if (match == outputs.end()) {
      ++it;
      continue;
    }
    add_cache(input, **match);
    outputs.erase(match);
    it = inputs.erase(it);
  }
  if (logits == nullptr && outputs.size() == 1 && is_array(*outputs[0])) logits = outputs[0];
  if (logits == nullptr) problems.push_back("no output looks like logits (--logits-output names it)");
  else roles.logits = logits->name;
  for (const auto* input : inputs)
    if (!input->type.optional)
      problems.push_back("input \"" + input->name + "\" has no role (give it a value, NAME=VALUE, or name its output with --cache)");
  if (!problems.empty()) {
    std::string list;
    for (const auto& problem : problems) list += (list.empty() ? "" : "; ") + problem;
    return unsupported_error("this does not look like a causal language model: " + list);
  }
  roles.inputs.insert(roles.inputs.end(), others.begin(), others.end());
  return roles;
}

}  // namespace mlt
