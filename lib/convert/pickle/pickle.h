// Python pickles (protocols 0 to 5) and joblib files as data. Nothing is imported and nothing is called: a global is a
// name, an object is its class's name, its constructor's arguments and its state. NumPy arrays, scalars and element types
// become arrays. What only running code could rebuild is refused by name.
// Sources: Lib/pickletools.py of CPython (opcodes), numpy's __reduce__ methods, joblib/numpy_pickle.py.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt::foreign::pickle {

using Ref = uint32_t;

enum class Kind : uint8_t { kNone, kBool, kInt, kBigInt, kFloat, kText, kBytes, kList, kTuple, kDict, kSet, kClass, kObject, kDtype, kArray };

// A NumPy element type. kind: b i u f c O S U V M m.
struct ElementType {
  struct Field {
    std::string name;
    std::shared_ptr<const ElementType> type;
    uint64_t offset = 0;
  };
  char kind = 'V';
  uint64_t size = 0;  // bytes
  bool big_endian = false;
  std::vector<Field> fields;
};

struct Array {
  std::shared_ptr<const ElementType> type;
  Dims dims;
  bool fortran = false;
  ByteSpan data;             // count * size bytes; empty for objects
  std::vector<Ref> objects;  // type 'O', in memory order
  int64_t count = 0;
};

struct Value {
  Kind kind = Kind::kNone;
  int64_t integer = 0;       // kBool, kInt
  double number = 0;         // kFloat
  std::string_view text;     // kText (UTF-8), kBytes, kClass ("module.name"), kBigInt (raw)
  std::vector<Ref> items;    // kList, kTuple, kSet; kDict: key, value, ...; kObject: constructor arguments
  Ref cls = 0, state = 0;    // kObject; state 0: none
  std::shared_ptr<Array> array;
  std::shared_ptr<const ElementType> type;  // kDtype
};

class Document {
 public:
  // Decompresses joblib's zlib, gzip, lzma and xz files. kInput: damaged, or "refused: the pickle would run os.system".
  // kUnsupported: bz2 and lz4 compression, arrays in files of their own (joblib before 0.10), buffers out of band.
  static Result<Document> read(const Blob& bytes);
  const Value& operator[](Ref ref) const { return values_[ref]; }
  Ref root() const { return root_; }

 private:
  friend class Reader;
  Blob source_;
  std::deque<Value> values_;
  std::deque<std::string> strings_;
  Ref root_ = 0;
};

bool looks_like_pickle(ByteSpan bytes);  // also: compressed joblib files

// A place in a document, for reading models: what is not there or not of the kind asked for is thrown as a LearnError
// ("attribute coef_ of LogisticRegression: ...").
class Node {
 public:
  Node() = default;
  Node(const Document& document, Ref ref, std::string where = {}) : document_(&document), ref_(ref), where_(std::move(where)) {}
  explicit operator bool() const { return document_ != nullptr && value().kind != Kind::kNone; }
  bool present() const { return document_ != nullptr; }  // None counts as present
  const Value& value() const { return (*document_)[ref_]; }
  Kind kind() const { return document_ ? value().kind : Kind::kNone; }
  const std::string& where() const { return where_; }

  // Objects. class_name() is "sklearn.tree._classes.DecisionTreeClassifier", short_class() its last part; of a class
  // itself, its own name. Empty for anything else.
  std::string class_name() const;
  std::string short_class() const;
  Node attr(std::string_view name) const;      // or an absent node
  Node need(std::string_view name) const;      // or a LearnError
  Node first_of(std::initializer_list<std::string_view> names) const;
  Node argument(size_t i) const;
  std::vector<std::string> attributes() const;

  // Scalars; NumPy scalars and arrays of one element count.
  bool is_text() const { return kind() == Kind::kText || kind() == Kind::kBytes; }
  bool is_number() const;
  bool boolean(bool otherwise) const;
  int64_t integer() const;
  double number() const;
  std::string text() const;

  // Sequences: lists, tuples, arrays (of any rank: row by row).
  bool is_sequence() const;
  size_t size() const;
  Node at(size_t i) const;  // not for numeric arrays
  std::vector<Node> list() const;
  std::vector<double> numbers() const;
  std::vector<int64_t> integers() const;
  std::vector<std::string> texts() const;
  Dims shape() const;  // of an array; a sequence has one axis
  char element_kind() const;  // of an array, else 0
  std::vector<double> column(std::string_view field) const;  // of a structured array
  bool has_column(std::string_view field) const;
  Node get(std::string_view key) const;  // of a dictionary
  std::vector<std::pair<Node, Node>> entries() const;

  [[noreturn]] void fail(const std::string& what) const;  // kInput

 private:
  Node with(Ref ref, std::string where) const { return {*document_, ref, std::move(where)}; }
  const Array& array() const;

  const Document* document_ = nullptr;
  Ref ref_ = 0;
  std::string where_;
};

}  // namespace mlt::foreign::pickle
