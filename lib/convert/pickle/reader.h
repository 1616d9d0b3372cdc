// Internal: the machine that runs a pickle's instructions. read.cc has those, arrays.cc what NumPy and joblib ask for.
#pragma once
#include <cstring>
#include <unordered_map>

#include "lib/convert/pickle/pickle.h"

namespace mlt::foreign::pickle {

inline constexpr size_t kMaxValues = size_t{1} << 25;
inline constexpr int kMaxNesting = 4;  // pickles inside joblib's arrays of objects
inline constexpr uint64_t kMaxCopies = uint64_t{1} << 26;  // of what one byte of the file can ask to copy again and again

struct Failure {
  Error error;
};
[[noreturn]] inline void fail(std::string what) { throw Failure{input_error("pickle: " + std::move(what))}; }
[[noreturn]] inline void fail_unsupported(std::string what, std::string hint = {}) { throw Failure{unsupported_error(std::move(what), std::move(hint))}; }

class Reader {
 public:
  Reader(Document& document, ByteSpan bytes) : d_(document), bytes_(bytes) { d_.values_.emplace_back(); }  // 0 is None
  Ref run() {
    Ref root = load(0);
    return root;
  }

 private:
  // Bytes.
  uint8_t byte() {
    if (at_ >= bytes_.size()) fail("ends too early");
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  template <typename T>
  T number() {
    T value;
    ByteSpan raw = take(sizeof value);
    std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  ByteSpan take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("ends too early");
    ByteSpan out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }
  std::string_view line() {
    std::string_view rest = as_text(bytes_.subspan(at_));
    size_t end = rest.find('\n');
    if (end == std::string_view::npos) fail("ends too early");
    at_ += end + 1;
    rest = rest.substr(0, end);
    if (rest.ends_with('\r')) rest.remove_suffix(1);
    return rest;
  }

  // Values and the stack.
  Value& at(Ref ref) { return d_.values_[ref]; }
  Ref make(Kind kind) {
    if (d_.values_.size() >= kMaxValues) fail("holds too many values");
    d_.values_.emplace_back().kind = kind;
    return static_cast<Ref>(d_.values_.size() - 1);
  }
  const std::vector<Ref>& copied(const std::vector<Ref>& items) {
    charge(items.size());
    return items;
  }
  void charge(uint64_t count) {
    copies_ += count;
    if (copies_ > kMaxCopies) fail("copies too many values");
  }
  Ref make_text(Kind kind, std::string_view text) {
    Ref ref = make(kind);
    at(ref).text = text;
    return ref;
  }
  std::string_view keep(std::string text) { return d_.strings_.emplace_back(std::move(text)); }
  void push(Ref ref) { stack_.push_back(ref); }
  void push_int(int64_t value) {
    Ref ref = make(Kind::kInt);
    at(ref).integer = value;
    push(ref);
  }
  void push_bool(bool value) {
    Ref ref = make(Kind::kBool);
    at(ref).integer = value;
    push(ref);
  }
  void push_float(double value) {
    Ref ref = make(Kind::kFloat);
    at(ref).number = value;
    push(ref);
  }
  Ref pop() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  Ref top() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    return stack_.back();
  }
  size_t floor() const { return marks_.empty() ? base_ : marks_.back(); }
  std::vector<Ref> pop_to_mark() {
    if (marks_.size() <= mark_base_) fail("no mark on the stack");
    std::vector<Ref> out(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }

  Ref load(int depth);
  void op(uint8_t code, int depth);
  void memoize(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    auto it = memo_.find(key);
    if (it == memo_.end()) fail("refers to a value that is not there");
    push(it->second);
  }
  Ref tuple(std::vector<Ref> items) {
    Ref ref = make(Kind::kTuple);
    at(ref).items = std::move(items);
    return ref;
  }
  void push_long(ByteSpan raw);
  void push_decimal(std::string_view text);
  std::string unescape(std::string_view text);
  std::string unescape_unicode(std::string_view text);

  Ref global(std::string_view module, std::string_view name);
  Ref call(Ref callable, Ref args);
  Ref instance(Ref cls, std::vector<Ref> args);
  void build(int depth);
  void append(Ref target, const std::vector<Ref>& items);
  void set_items(Ref target, const std::vector<Ref>& items);

  std::string_view text_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind != Kind::kText && v.kind != Kind::kBytes) fail("expects a string");
    return v.text;
  }
  int64_t int_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind != Kind::kInt && v.kind != Kind::kBool) fail("expects a whole number");
    return v.integer;
  }
  std::shared_ptr<const ElementType> dtype_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind == Kind::kDtype) return v.type;
    if (v.kind == Kind::kClass && v.text.starts_with("numpy.")) return parse_dtype(v.text.substr(6));
    if (v.kind == Kind::kText || v.kind == Kind::kBytes) return parse_dtype(v.text);
    fail("expects an element type");
  }
  std::shared_ptr<ElementType> parse_dtype(std::string_view text);
  void build_dtype(Ref target, Ref state);
  void build_array(Ref target, Ref state);
  void fill_array(Array& array, Ref data);
  Dims dims_of(Ref ref);
  int64_t count_of(const Dims& dims);
  Ref scalar(const ElementType& type, std::string_view data);
  void read_joblib_array(Ref wrapper, int depth);

  Document& d_;
  ByteSpan bytes_;
  size_t at_ = 0;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;
  size_t base_ = 0, mark_base_ = 0;
  uint64_t copies_ = 0;
  std::unordered_map<uint64_t, Ref> memo_;
};

}  // namespace mlt::foreign::pickle
