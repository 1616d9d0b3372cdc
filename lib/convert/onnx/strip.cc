// Field numbers: onnx.proto. ModelProto.graph 7, GraphProto.initializer 5, TensorProto.raw_data 9.
#include "lib/convert/onnx/strip.h"

#include "lib/base/mapped.h"
#include "lib/coreml/wire.h"

namespace mlt::foreign::onnx {
namespace {

constexpr size_t kSmall = 4096;             // bytes that may as well be parsed
constexpr size_t kPassed = size_t{4} << 20;  // bytes after which those behind are let go

// The fields of one message, one after the other.
class Fields {
 public:
  explicit Fields(ByteSpan message) : message_(message) {}

  bool next() {
    start_ = at_;
    uint64_t tag = 0, length = 0;
    if (!varint(&tag) || tag >> 3 == 0 || tag > UINT32_MAX) return false;
    number_ = static_cast<uint32_t>(tag >> 3);
    wire_ = static_cast<uint32_t>(tag & 7);
    switch (wire_) {
      case 0: return varint(&length);
      case 1: return skip(8);
      case 2:
        if (!varint(&length) || length > message_.size() - at_) return false;
        content_ = message_.subspan(at_, static_cast<size_t>(length));
        return skip(length);
      case 5: return skip(4);
      default: return false;  // groups: no exporter writes them
    }
  }
  bool done() const { return at_ == message_.size(); }
  bool is(uint32_t number) const { return number_ == number && wire_ == 2; }
  uint32_t number() const { return number_; }
  ByteSpan content() const { return content_; }
  ByteSpan whole() const { return message_.subspan(start_, at_ - start_); }

 private:
  bool varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at_ < message_.size(); shift += 7) {
      auto byte = std::to_integer<uint64_t>(message_[at_++]);
      *value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool skip(uint64_t size) {
    if (size > message_.size() - at_) return false;
    at_ += static_cast<size_t>(size);
    return true;
  }

  ByteSpan message_, content_;
  size_t at_ = 0, start_ = 0;
  uint32_t number_ = 0, wire_ = 0;
};

void append(Bytes& out, ByteSpan bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

// The tensor without raw data, which goes to *raw; false when there is nothing to gain.
bool strip_tensor(ByteSpan tensor, Bytes* out, ByteSpan* raw) {
  if (tensor.size() < kSmall) return false;
  Fields fields(tensor);
  while (!fields.done()) {
    if (!fields.next()) return false;
    if (fields.number() == 9) {
      if (!fields.is(9) || raw->data() != nullptr) return false;
      *raw = fields.content();
    } else {
      append(*out, fields.whole());
    }
  }
  return raw->size() >= kSmall;
}

bool strip_graph(ByteSpan graph, Bytes* out, std::vector<ByteSpan>* raw) {
  Fields fields(graph);
  const std::byte* kept = graph.data();
  while (!fields.done()) {
    if (!fields.next()) return false;
    // A look at one byte of a mapped file brings a neighbourhood of pages into memory: half the weights in the end.
    const std::byte* here = fields.whole().data();
    if (static_cast<size_t>(here - kept) >= kPassed) {
      forget_mapped(ByteSpan(kept, static_cast<size_t>(here - kept)));
      kept = here;
    }
    if (!fields.is(5)) {
      append(*out, fields.whole());
      continue;
    }
    Bytes tensor;
    ByteSpan data;
    bool taken = strip_tensor(fields.content(), &tensor, &data);
    raw->push_back(taken ? data : ByteSpan());
    if (taken) coreml::put_bytes_field(out, 5, tensor);
    else append(*out, fields.whole());
  }
  return true;
}

}  // namespace

std::optional<Stripped> strip_weights(ByteSpan model) {
  Stripped out;
  Fields fields(model);
  while (!fields.done()) {
    if (!fields.next()) return std::nullopt;
    if (!fields.is(7)) {
      append(out.message, fields.whole());
      continue;
    }
    Bytes graph;
    if (!strip_graph(fields.content(), &graph, &out.raw)) return std::nullopt;
    coreml::put_bytes_field(&out.message, 7, graph);
  }
  return out;
}

}  // namespace mlt::foreign::onnx
