// Encoders of categories (source: sklearn/preprocessing/_encoders.py) and dictionaries.
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
using Values = std::vector<std::pair<uint64_t, double>>;

// What a category becomes: a number of outputs, each with a value.
struct Coding {
  std::vector<Values> known;  // by category
  Values unknown;
  uint64_t width = 0;
  bool error_on_unknown = false;
};

bool missing(const Node& category) { return !category || (category.is_number() && std::isnan(category.number())); }

// Steps of a numeric column: exactly the categories, nothing between them.
void number_steps(TreeEnsembleParams& params, uint64_t tree, uint64_t feature, const std::vector<double>& categories, const Coding& coding, uint64_t first) {
  auto shifted = [&](Values v) {
    for (auto& [index, value] : v) index += first;
    return v;
  };
  std::vector<double> bounds;
  std::vector<Values> values{shifted(coding.unknown)};
  Values lost = shifted(coding.unknown);
  for (size_t i = 0; i < categories.size(); ++i) {
    if (std::isnan(categories[i])) {
      lost = shifted(coding.known[i]);
      continue;
    }
    if (!bounds.empty() && categories[i] < bounds.back()) damaged("categories_ do not ascend");
    if (!bounds.empty() && categories[i] == bounds.back()) {  // neighbours in double
      bounds.pop_back();
      values.pop_back();
    }
    bounds.push_back(categories[i]);
    values.push_back(shifted(coding.known[i]));
    bounds.push_back(std::nextafter(categories[i], HUGE_VAL));
    values.push_back(shifted(coding.unknown));
  }
  add_steps(params, tree, feature, bounds, values, lost);
}

// A text column: one-hot over the categories, then a linear map to the codes.
Vec text_code(Context& c, const Data& data, size_t column, const Node& list, const Coding& coding) {
  std::vector<std::string> categories;
  for (const Node& category : list.list()) {
    if (missing(category)) c.a.warn("an empty string stands for a missing value");
    categories.push_back(missing(category) ? "" : category.text());
  }
  Vec hot = c.a.one_hot(c.text_column(data, column), categories, !coding.error_on_unknown);
  bool plain = coding.width == categories.size() && coding.unknown.empty();
  for (size_t i = 0; plain && i < categories.size(); ++i) plain = coding.known[i] == Values{{i, 1.0}};
  if (plain) return hot;
  // Unknown is all zeros: its code is the offset, and a category adds the difference to it.
  LinearParams p;
  p.weights.assign(coding.width, std::vector<double>(categories.size(), 0.0));
  p.offset.assign(coding.width, 0.0);
  for (auto [index, value] : coding.unknown) p.offset[index] = value;
  for (size_t i = 0; i < categories.size(); ++i) {
    for (uint64_t o = 0; o < coding.width; ++o) p.weights[o][i] = -p.offset[o];
    for (auto [index, value] : coding.known[i]) p.weights[index][i] += value;
  }
  return c.a.linear(hot, p);
}

bool has_nan(const Values& values) {
  for (auto [index, value] : values)
    if (std::isnan(value)) return true;
  return false;
}

Data encode(Context& c, const Node& e, const Data& data, const std::vector<Node>& categories, std::vector<Coding>& codings) {
  bool text = false;
  for (const Node& list : categories) text = text || strings(list);
  uint64_t total = 0;
  for (const Coding& coding : codings) total += coding.width;
  if (total == 0) refuse(e.short_class() + " without outputs");
  if (!text) {
    TreeEnsembleParams params;
    params.outputs = total;
    uint64_t first = 0;
    for (size_t i = 0; i < categories.size(); ++i) {
      number_steps(params, i, i, categories[i].numbers(), codings[i], first);
      first += codings[i].width;
    }
    return c.of(c.a.trees(c.vec(data), params));
  }
  std::vector<Vec> parts;
  for (size_t i = 0; i < categories.size(); ++i) {
    if (codings[i].width == 0) continue;
    if (!strings(categories[i])) {
      TreeEnsembleParams params;
      params.outputs = codings[i].width;
      number_steps(params, 0, 0, categories[i].numbers(), codings[i], 0);
      parts.push_back(c.a.trees(c.vec(c.select(data, {i})), params));
      continue;
    }
    bool nan = has_nan(codings[i].unknown);
    for (const Values& v : codings[i].known) nan = nan || has_nan(v);
    if (nan) {  // codes first, then trees that can say NaN
      std::vector<std::pair<std::string, int64_t>> codes;
      std::vector<double> bounds;
      std::vector<Values> values{codings[i].unknown};
      for (const Node& category : categories[i].list()) {
        if (missing(category)) c.a.warn("an empty string stands for a missing value");
        auto code = static_cast<int64_t>(codes.size());
        bounds.push_back(static_cast<double>(code));
        values.push_back(codings[i].known[codes.size()]);
        codes.emplace_back(missing(category) ? "" : category.text(), code);
      }
      TreeEnsembleParams params;
      params.outputs = codings[i].width;
      add_steps(params, 0, 0, bounds, values, {});
      parts.push_back(c.a.trees(c.a.string_codes(c.text_column(data, i), codes, -1), params));
      continue;
    }
    parts.push_back(text_code(c, data, i, categories[i], codings[i]));
  }
  return c.of(c.a.concat(parts));
}

std::vector<Node> categories_of(const Node& e, const Data& data) {
  auto categories = e.need("categories_").list();
  if (static_cast<int64_t>(categories.size()) != data.width()) e.fail("categories_ does not fit the features");
  return categories;
}

Data one_hot_encoder(Context& c, const Node& e, const Data& data) {
  if (!e.attr("categories_")) refuse("OneHotEncoder of a version before 0.20");
  auto categories = categories_of(e, data);
  std::string unknown = param(e, "handle_unknown", "error");
  Node drop = e.attr("drop_idx_"), groups = e.attr("_default_to_infrequent_mappings");
  Node after = e.attr("_drop_idx_after_grouping");
  if (after.present()) drop = after;
  std::vector<Coding> codings;
  for (size_t i = 0; i < categories.size(); ++i) {
    Coding coding;
    size_t count = categories[i].size();
    std::vector<int64_t> place(count);
    for (size_t k = 0; k < count; ++k) place[k] = static_cast<int64_t>(k);
    bool grouped = false;
    if (groups && e.attr("_infrequent_enabled").boolean(false) && i < groups.size())
      if (Node map = groups.at(i); map) {
        place = map.integers();
        grouped = true;
        if (place.size() != count) e.fail("_default_to_infrequent_mappings does not fit the categories");
      }
    int64_t width = 0;
    for (int64_t p : place) {
      if (p < 0 || static_cast<size_t>(p) >= count) e.fail("_default_to_infrequent_mappings is damaged");
      width = std::max(width, p + 1);
    }
    int64_t dropped = -1;
    if (drop && drop.is_sequence() && i < drop.size()) {
      if (drop.element_kind() == 'O') {
        if (Node d = drop.at(i); d) dropped = d.integer();
      } else {
        dropped = drop.integers()[i];
      }
    }
    auto out = [&](int64_t p) -> Values {
      if (p == dropped) return {};
      return {{static_cast<uint64_t>(dropped >= 0 && p > dropped ? p - 1 : p), 1.0}};
    };
    for (int64_t p : place) coding.known.push_back(out(p));
    coding.width = static_cast<uint64_t>(width - (dropped >= 0 && dropped < width ? 1 : 0));
    coding.error_on_unknown = unknown == "error";
    if ((unknown == "infrequent_if_exist" || unknown == "warn") && grouped) coding.unknown = out(width - 1);  // the last one is the infrequent
    codings.push_back(std::move(coding));
  }
  return encode(c, e, data, categories, codings);
}

Data ordinal_encoder(Context& c, const Node& e, const Data& data) {
  auto categories = categories_of(e, data);
  bool error = param(e, "handle_unknown", "error") == "error";
  Node groups = e.attr("_default_to_infrequent_mappings");
  if (groups && e.attr("_infrequent_enabled").boolean(false))
    for (const Node& map : groups.list())
      if (map) refuse("OrdinalEncoder with infrequent categories");
  double unknown = kNaN, lost = kNaN;
  if (Node n = e.attr("unknown_value"); n) unknown = n.number();
  if (Node n = e.attr("encoded_missing_value"); n) lost = n.number();
  std::vector<Coding> codings;
  for (const Node& list : categories) {
    Coding coding;
    coding.width = 1;
    coding.error_on_unknown = error;
    coding.unknown = {{0, unknown}};
    if (error && strings(list)) coding.unknown = {};
    size_t count = list.size();
    bool objects = list.element_kind() == 'O';
    std::vector<double> numbers = objects || strings(list) ? std::vector<double>{} : list.numbers();
    for (size_t k = 0; k < count; ++k) {
      bool is_missing = objects ? missing(list.at(k)) : k < numbers.size() && std::isnan(numbers[k]);
      coding.known.push_back({{0, is_missing ? lost : static_cast<double>(k)}});
    }
    codings.push_back(std::move(coding));
  }
  return encode(c, e, data, categories, codings);
}

Data dict_vectorizer(Context& c, const Node& e, const Data& data) {
  if (!data.raw || c.names.size() != 1) refuse("DictVectorizer behind another step");
  std::vector<std::string> names = e.first_of({"feature_names_", "_feature_names"}).texts();
  if (names.empty()) e.fail("has no features");
  c.a.input("input", coreml::FeatureType::dictionary(coreml::FeatureKind::kString));
  return c.of(c.a.dictionary("input", names));
}

constexpr Row kRows[] = {
    {"OneHotEncoder", one_hot_encoder, nullptr, nullptr, "of 0.20 and newer"}, {"OrdinalEncoder", ordinal_encoder},
    {"DictVectorizer", dict_vectorizer, nullptr, nullptr, "the first step"},
};

}  // namespace

std::span<const Row> families::encoding() { return kRows; }

}  // namespace mlt::foreign::sklearn
