#include "lib/convert/xgboost/ubjson.h"

#include <algorithm>
#include <cstring>

namespace mlt::foreign::xgboost {
namespace {

struct Failure {
  const char* what;
};

class Reader {
 public:
  explicit Reader(ByteSpan bytes) : bytes_(bytes) {}
  nlohmann::json run() {
    nlohmann::json out = value(marker(), 0);
    return out;
  }

 private:
  uint8_t byte() {
    if (at_ >= bytes_.size()) throw Failure{"ends too early"};
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  uint8_t peek() {
    if (at_ >= bytes_.size()) throw Failure{"ends too early"};
    return static_cast<uint8_t>(bytes_[at_]);
  }
  char marker() {
    char m = static_cast<char>(byte());
    while (m == 'N') m = static_cast<char>(byte());
    return m;
  }
  template <typename T>
  T big() {
    if (bytes_.size() - at_ < sizeof(T)) throw Failure{"ends too early"};
    std::byte raw[sizeof(T)] = {};
    std::reverse_copy(bytes_.begin() + static_cast<std::ptrdiff_t>(at_), bytes_.begin() + static_cast<std::ptrdiff_t>(at_ + sizeof(T)), raw);
    at_ += sizeof(T);
    T out;
    std::memcpy(&out, raw, sizeof(T));
    return out;
  }
  static size_t size_of(char type) {
    switch (type) {
      case 'i':
      case 'U':
      case 'C': return 1;
      case 'I': return 2;
      case 'l':
      case 'd': return 4;
      case 'L':
      case 'D': return 8;
      default: return 0;
    }
  }
  uint64_t count() {
    nlohmann::json n = value(marker(), 0);
    if (!n.is_number_integer() || n.get<int64_t>() < 0) throw Failure{"a count is damaged"};
    return static_cast<uint64_t>(n.get<int64_t>());
  }
  std::string text() {
    uint64_t n = count();
    if (n > bytes_.size() - at_) throw Failure{"ends too early"};
    std::string out(as_text(bytes_.subspan(at_, n)));
    at_ += n;
    return out;
  }
  nlohmann::json value(char type, int depth) {
    if (depth > 64) throw Failure{"nests too deep"};
    switch (type) {
      case 'Z': return nullptr;
      case 'T': return true;
      case 'F': return false;
      case 'i': return static_cast<int64_t>(big<int8_t>());
      case 'U': return static_cast<int64_t>(big<uint8_t>());
      case 'I': return static_cast<int64_t>(big<int16_t>());
      case 'l': return static_cast<int64_t>(big<int32_t>());
      case 'L': return big<int64_t>();
      case 'd': return static_cast<double>(big<float>());
      case 'D': return big<double>();
      case 'C': return std::string(1, static_cast<char>(byte()));
      case 'S':
      case 'H': return text();
      case '[': return array(depth);
      case '{': return object(depth);
      default: throw Failure{"unknown type"};
    }
  }
  nlohmann::json array(int depth) {
    nlohmann::json out = nlohmann::json::array();
    char type = 0;
    if (peek() == '$') {
      byte();
      type = static_cast<char>(byte());
      if (size_of(type) == 0) throw Failure{"an array of a type without a size"};
      if (peek() != '#') throw Failure{"a typed array without a count"};
    }
    if (peek() == '#') {
      byte();
      uint64_t n = count();
      if (n > (bytes_.size() - at_) / std::max<size_t>(1, type ? size_of(type) : 1)) throw Failure{"ends too early"};
      for (uint64_t i = 0; i < n; ++i) out.push_back(value(type ? type : marker(), depth + 1));
      return out;
    }
    for (char m = marker(); m != ']'; m = marker()) out.push_back(value(m, depth + 1));
    return out;
  }
  nlohmann::json object(int depth) {
    nlohmann::json out = nlohmann::json::object();
    if (peek() == '$') throw Failure{"a typed object"};
    if (peek() == '#') {
      byte();
      uint64_t n = count();
      if (n > bytes_.size() - at_) throw Failure{"ends too early"};
      for (uint64_t i = 0; i < n; ++i) {
        std::string key = text();
        out[key] = value(marker(), depth + 1);
      }
      return out;
    }
    while (peek() == 'N') byte();
    while (peek() != '}') {
      std::string key = text();
      out[key] = value(marker(), depth + 1);
      while (peek() == 'N') byte();
    }
    byte();
    return out;
  }

  ByteSpan bytes_;
  size_t at_ = 0;
};

}  // namespace

Result<nlohmann::json> read_ubjson(ByteSpan bytes) {
  try {
    return Reader(bytes).run();
  } catch (const Failure& f) {
    return input_error(std::string("UBJSON: ") + f.what);
  }
}

}  // namespace mlt::foreign::xgboost
