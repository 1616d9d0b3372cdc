// Labels, and tables that map numbers and strings. Programs compute with no strings: a tensor of strings is a tensor of
// numbers and the strings that these stand for, until it becomes the label of a classifier.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/classic.h"

namespace mlt::foreign::onnx {
namespace {

// One side of a table.
struct Column {
  std::vector<double> numbers;
  std::vector<std::string> strings;
  bool real = false, text = false;
  size_t size() const { return text ? strings.size() : numbers.size(); }
};

V number_table(Lower& l, const Column& column) {
  if (column.real) return l.floats({column.numbers.begin(), column.numbers.end()});
  std::vector<int64_t> ints;
  for (double v : column.numbers) ints.push_back(static_cast<int64_t>(v));
  return l.ints(ints);
}

// values[i] where the input is keys[i], otherwise the last of `values`, which is one longer.
void map_values(Ctx& c, const Column& keys, const Column& values) {
  Lower& l = c.l;
  size_t n = keys.size();
  if (n == 0 || values.size() != n + 1) bad_input("keys and values do not pair");
  if (n > (size_t{1} << 16)) unsupported("tables of more than 65536 keys");
  for (const Column* side : {&keys, &values})
    for (double v : side->numbers) {
      if (side == &keys && std::isnan(v)) unsupported("a key that is no number");
      if (!side->real && std::abs(v) > 2147483647.0) unsupported("integers beyond 32 bits");
    }
  Val x = c.val(0);
  V index;  // into values
  if (keys.text) {
    if (!x.strings || !x.strings->index) unsupported("strings from outside the model, which programs do not take");
    std::vector<int64_t> at;
    for (const std::string& label : x.strings->labels) at.push_back(std::find(keys.strings.begin(), keys.strings.end(), label) - keys.strings.begin());
    index = l.gather(l.ints(at), x.strings->index, 0);
  } else {
    c.driver().keep_float32("keys are compared exactly");
    V wide = l.expand_dims(keys.real ? c.fin(0) : l.cast(c.in(0), DType::kI32), {Lower::rank(c.in(0))});
    int64_t last = Lower::rank(wide) - 1;
    V where = l.cast(l.binary("equal", wide, number_table(l, keys)), DType::kF32);
    V first = l.op("reduce_argmax", {{"x", where}, {"axis", l.i32(last)}, {"keep_dims", l.boolean(false)}});
    V found = l.binary("greater", l.reduce("reduce_max", where, {last}, false), l.f32(0));
    index = select_broadcast(l, found, first, l.i32(static_cast<int64_t>(n)));
  }
  if (values.text) return c.out(0, coded(index, values.strings));
  c.out(0, l.gather(number_table(l, values), index, 0), values.real ? DType::kF32 : DType::kI64);
}

// Whether each row of p has its greatest where `scores` has it: p comes from it by steps that keep the order.
bool same_order(V p, V scores) {
  for (int steps = 0; p != scores && steps < 16; ++steps) {
    const ir::Op* op = p->producer;
    if (op == nullptr) return false;
    bool keeps = op->kind == "identity" || op->kind == "cast" || op->kind == "reshape" || op->kind == "softmax" || op->kind == "exp";
    if (op->kind == "real_div" && op->input("y")) {  // by a norm of the row
      const ir::Op* by = op->input("y")->producer;
      if (by && by->kind == "select" && by->input("b")) by = by->input("b")->producer;
      keeps = by && (by->kind == "reduce_l1_norm" || by->kind == "reduce_l2_norm");
    }
    if (op->kind == "sub" && op->input("y")) keeps = Lower::rank(op->input("y")) > 0 && Lower::dims(op->input("y")).back() == 1;
    if (!keeps || op->input("x") == nullptr) return false;
    p = op->input("x");
  }
  return p == scores;
}

}  // namespace

Val coded(V index, std::vector<std::string> labels) {
  Val v;
  v.type = DType::kString;
  v.strings = std::make_shared<Strings>(Strings{std::move(labels), index, nullptr});
  return v;
}

bool pass_strings(Ctx& c) {
  if (c.inputs() == 0 || !c.has(0) || !c.node.domain.empty()) return false;
  const std::string& op = c.node.op_type;
  if (op != "Reshape" && op != "Squeeze" && op != "Unsqueeze" && op != "Flatten" && op != "Cast" && op != "Identity") return false;
  Val v = c.val(0);
  if (!v.strings || !v.strings->index) return false;
  if (op == "Cast" && c.i64("to", 0) != 8) return false;
  c.ignore({"allowzero", "axis", "axes", "to", "shape"});
  c.out(0, std::move(v));
  return true;
}

size_t class_count(Ctx& c) {
  size_t most = 0;
  for (const char* name : {"classlabels_ints", "classlabels_int64s"})
    if (auto list = c.ints(name)) most = std::max(most, list->size());
  if (auto list = c.strings("classlabels_strings")) most = std::max(most, list->size());
  return most;
}

void label_output(Ctx& c, V best, size_t classes) {
  if (auto strings = c.strings("classlabels_strings"); strings && !strings->empty()) {
    if (strings->size() != classes) bad_input("labels do not fit the classes");
    return c.out(0, coded(best, std::move(*strings)));
  }
  auto ints = c.ints(c.has_attr("classlabels_ints") ? "classlabels_ints" : "classlabels_int64s");
  if (!ints || ints->size() != classes) bad_input("labels do not fit the classes");
  bool plain = true;
  for (size_t i = 0; i < classes; ++i) plain = plain && (*ints)[i] == static_cast<int64_t>(i);
  c.out(0, plain ? best : c.l.gather(c.l.ints(*ints), best, 0), DType::kI64);
}

void classic_rows::label_encoder(Ctx& c) {
  if (auto classes = c.strings("classes_strings")) {  // version 1: strings to their places, or back
    Column numbers, strings;
    for (size_t i = 0; i < classes->size(); ++i) numbers.numbers.push_back(static_cast<double>(i));
    strings.text = true;
    strings.strings = *classes;
    Val x = c.val(0);
    bool back = !x.strings;
    if (back) strings.strings.push_back(c.str("default_string", "_Unused"));
    else numbers.numbers.push_back(static_cast<double>(c.i64("default_int64", -1)));
    c.ignore({"default_string", "default_int64"});
    return map_values(c, back ? numbers : strings, back ? strings : numbers);
  }
  auto column = [&](const std::string& name) -> Column {
    if (auto list = c.ints(name + "_int64s"); list && !list->empty()) return {{list->begin(), list->end()}, {}, false, false};
    if (auto list = c.floats(name + "_floats"); list && !list->empty()) return {{list->begin(), list->end()}, {}, true, false};
    if (auto list = c.strings(name + "_strings"); list && !list->empty()) return {{}, std::move(*list), false, true};
    const Tensor* t = c.tensor(name + "_tensor");
    if (t == nullptr) bad_input(name + " are missing");
    if (t->dtype() == DType::kString) return {{}, t->strings(), false, true};
    return {to_doubles(*t), {}, is_float(t->dtype()), false};
  };
  Column keys = column("keys"), values = column("values");
  if (keys.size() != values.size()) bad_input("keys and values do not pair");
  const Tensor* otherwise = c.tensor("default_tensor");
  if (otherwise && (otherwise->size() != 1 || (otherwise->dtype() == DType::kString) != values.text)) unsupported("this default_tensor");
  if (values.text) values.strings.push_back(otherwise ? otherwise->strings()[0] : c.str("default_string", "_Unused"));
  else values.numbers.push_back(otherwise ? to_doubles(*otherwise)[0] : values.real ? c.f32("default_float", -0.0f) : static_cast<double>(c.i64("default_int64", -1)));
  c.ignore({"default_int64", "default_float", "default_string"});
  map_values(c, keys, values);
}

void classic_rows::category_mapper(Ctx& c) {
  auto ints = c.ints("cats_int64s");
  auto strings = c.strings("cats_strings");
  if (!ints || !strings || ints->size() != strings->size()) bad_input("cats_int64s and cats_strings do not pair");
  Column numbers{{ints->begin(), ints->end()}, {}, false, false}, texts{{}, *strings, false, true};
  Val x = c.val(0);
  bool back = !x.strings;
  if (back) texts.strings.push_back(c.str("default_string", "_Unused"));
  else numbers.numbers.push_back(static_cast<double>(c.i64("default_int64", -1)));
  c.ignore({"default_string", "default_int64"});
  map_values(c, back ? numbers : texts, back ? texts : numbers);
}

void classic_rows::array_feature_extractor(Ctx& c) {
  V x = c.in(0), indices = c.in(1);
  if (Lower::dtype(x) == DType::kString) {
    const Tensor* labels = Lower::known(x);
    if (labels == nullptr) unsupported("strings");
    return c.out(0, coded(c.l.reshape(indices, {-1}), labels->strings()));
  }
  int64_t rank = Lower::rank(x);
  if (rank == 1) x = c.l.expand_dims(x, {0});
  c.out(0, c.l.gather(x, c.l.reshape(indices, {-1}), Lower::rank(x) - 1), c.type(0));
}

void classic_rows::zip_map(Ctx& c) {
  Val v;
  v.value = c.in(0);
  v.type = DType::kF32;
  auto strings = c.strings("classlabels_strings");
  c.ignore({"classlabels_int64s"});
  if (strings && !strings->empty()) v.strings = std::make_shared<Strings>(Strings{std::move(*strings), nullptr, v.value});
  c.out(0, std::move(v));
}

// Labels become the label of a classifier: of the scores whose greatest they are, or of the numbers themselves.
void Driver::bind_label(const std::string& name, const Strings& strings) {
  Lower& l = *lower_;
  if (result_.labels) unsupported("several outputs of strings");
  V index = strings.index, scores = nullptr;
  int64_t n = static_cast<int64_t>(strings.labels.size());
  if (!Lower::is_static(index) || product(Lower::dims(index), 0, Lower::dims(index).size()) != 1) unsupported("labels of several records", "a classifier has one label: give fixed input shapes with --input NAME,shape=1x...");
  const ir::Op* op = index->producer;
  while (op && (op->kind == "cast" || op->kind == "reshape" || op->kind == "squeeze" || op->kind == "expand_dims" || op->kind == "identity") && op->input("x")) op = op->input("x")->producer;
  if (op && op->kind == "reduce_argmax" && op->input("x") && Lower::is_static(op->input("x")) && product(Lower::dims(op->input("x")), 0, Lower::dims(op->input("x")).size()) == n) scores = op->input("x");
  if (scores == nullptr) scores = l.cast(l.binary("equal", l.reshape(index, {1, 1}), l.reshape(l.index_vector(n), {1, n})), DType::kF32);
  Labels labels;
  labels.strings = strings.labels;
  labels.label_name = ir::sanitized_identifier(name);
  for (const auto& [output, zipped] : zipped_)
    if (same_order(zipped->scores, scores) && zipped->labels == strings.labels) labels.probabilities = labels.dictionary_name = output;
  if (labels.probabilities.empty()) {  // its own
    ir::Op* made = function_->body->append("identity");
    made->set("x", scores);
    V y = made->add_output(function_->unique_name(labels.label_name + "_scores"), scores->type);
    made->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(y->name));
    function_->body->outputs.push_back(y);
    coreml::FeatureDescription feature;
    feature.name = labels.probabilities = y->name;
    feature.type = coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, Lower::dims(y));
    result_.outputs.push_back(std::move(feature));
    labels.dictionary_name = labels.label_name + "_probs";
  }
  result_.labels = std::move(labels);
}

}  // namespace mlt::foreign::onnx
