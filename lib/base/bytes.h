// Bounds-checked little-endian reading and writing. Every length is checked before it is used: the bytes of a model
// are hostile.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace mlt {

static_assert(std::endian::native == std::endian::little, "big-endian hosts are not supported");

using ByteSpan = std::span<const std::byte>;
using Bytes = std::vector<std::byte>;

inline ByteSpan as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// a * b and a + b, or false when the result does not fit 64 bits.
[[nodiscard]] inline bool checked_mul(uint64_t a, uint64_t b, uint64_t* out) { return !__builtin_mul_overflow(a, b, out); }
[[nodiscard]] inline bool checked_add(uint64_t a, uint64_t b, uint64_t* out) { return !__builtin_add_overflow(a, b, out); }

class ByteReader {
 public:
  explicit ByteReader(ByteSpan data) : data_(data) {}
  size_t offset() const { return offset_; }
  size_t remaining() const { return data_.size() - offset_; }
  bool done() const { return remaining() == 0; }

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  Result<T> read() {
    MLT_ASSIGN(ByteSpan raw, take(sizeof(T)));
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  Result<ByteSpan> take(uint64_t size);
  // A u64 length followed by that many bytes.
  Result<std::string> read_string64();
  Status seek(uint64_t offset);

 private:
  ByteSpan data_;
  size_t offset_ = 0;
};

class ByteWriter {
 public:
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void write(const T& value) {
    append(std::as_bytes(std::span(&value, 1)));
  }
  void append(ByteSpan bytes) { data_.insert(data_.end(), bytes.begin(), bytes.end()); }
  void append(std::string_view text) { append(as_bytes(text)); }
  void write_string64(std::string_view text) {
    write<uint64_t>(text.size());
    append(text);
  }
  void pad_to(size_t alignment) { data_.resize((data_.size() + alignment - 1) / alignment * alignment); }
  size_t size() const { return data_.size(); }
  Bytes& data() { return data_; }
  const Bytes& data() const { return data_; }
  Bytes release() { return std::move(data_); }

 private:
  Bytes data_;
};

}  // namespace mlt
