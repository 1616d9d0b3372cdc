#include "lib/tensor/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>

#include "lib/base/float16.h"
#include "lib/base/threads.h"
#include "lib/tensor/deferred.h"

namespace mlt {
namespace {

constexpr std::align_val_t kAlignment{64};

float float8_to_float(uint8_t bits, bool e4m3) {
  float sign = (bits & 0x80) ? -1.0f : 1.0f;
  if (e4m3) {  // E4M3FN: no infinities, 0x7f is NaN, bias 7
    int exponent = (bits >> 3) & 15, mantissa = bits & 7;
    if (exponent == 15 && mantissa == 7) return std::numeric_limits<float>::quiet_NaN();
    return exponent == 0 ? sign * std::ldexp(static_cast<float>(mantissa), -9)
                         : sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  }
  return half_to_float(static_cast<uint16_t>(bits << 8));  // E5M2 is the upper byte of a half
}

// Reads any numeric dtype as double or int64 (whichever is exact), element by element.
struct Reader {
  DType dtype;
  const std::byte* data;
  const std::vector<uint8_t>* unpacked;  // for sub-byte types

  template <typename T>
  T at(int64_t i) const {
    T value;
    std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }
  double as_double(int64_t i) const {
    switch (dtype) {
      case DType::kF16: return half_to_float(at<uint16_t>(i));
      case DType::kF32: return at<float>(i);
      case DType::kF64: return at<double>(i);
      case DType::kBF16: return bfloat16_to_float(at<uint16_t>(i));
      case DType::kF8E4M3FN: return float8_to_float(at<uint8_t>(i), true);
      case DType::kF8E5M2: return float8_to_float(at<uint8_t>(i), false);
      case DType::kU64: return static_cast<double>(at<uint64_t>(i));
      default: return static_cast<double>(as_int(i));
    }
  }
  int64_t as_int(int64_t i) const {
    switch (dtype) {
      case DType::kBool: return at<uint8_t>(i) != 0;
      case DType::kI8: return at<int8_t>(i);
      case DType::kI16: return at<int16_t>(i);
      case DType::kI32: return at<int32_t>(i);
      case DType::kI64: return at<int64_t>(i);
      case DType::kU8: return at<uint8_t>(i);
      case DType::kU16: return at<uint16_t>(i);
      case DType::kU32: return at<uint32_t>(i);
      case DType::kU64: return static_cast<int64_t>(at<uint64_t>(i));
      case DType::kI4: return static_cast<int8_t>((*unpacked)[static_cast<size_t>(i)]);
      case DType::kU1: case DType::kU2: case DType::kU3: case DType::kU4: case DType::kU6:
        return (*unpacked)[static_cast<size_t>(i)];
      default: {
        double value = as_double(i);
        if (std::isnan(value)) return 0;
        if (value >= 9.2233720368547758e18) return std::numeric_limits<int64_t>::max();
        if (value <= -9.2233720368547758e18) return std::numeric_limits<int64_t>::min();
        return static_cast<int64_t>(value);
      }
    }
  }
};

template <typename T>
T saturate_or_wrap(const Reader& in, int64_t i) {
  int64_t value = in.as_int(i);
  if (is_float(in.dtype))
    value = std::clamp<int64_t>(value, std::numeric_limits<T>::min(),
                                sizeof(T) == 8 ? std::numeric_limits<int64_t>::max()
                                               : static_cast<int64_t>(std::numeric_limits<T>::max()));
  return static_cast<T>(value);
}

template <typename T, typename F>
void fill(Tensor& out, F&& f) {
  T* data = out.mutable_data<T>();
  for (int64_t i = 0; i < out.size(); ++i) data[i] = f(i);
}

}  // namespace

Result<int64_t> element_count(const Dims& dims) {
  uint64_t count = 1;
  for (int64_t d : dims) {
    if (d < 0) return input_error("negative or unknown extent in shape " + dims_text(dims));
    if (!checked_mul(count, static_cast<uint64_t>(d), &count) || count > (uint64_t{1} << 48))
      return input_error("shape " + dims_text(dims) + " is too large");
  }
  return static_cast<int64_t>(count);
}

int64_t storage_bytes(DType dtype, int64_t count) { return (count * dtype_bits(dtype) + 7) / 8; }

std::string dims_text(const Dims& dims, std::string_view separator) {
  if (dims.empty()) return "scalar";
  std::string text;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i) text += separator;
    text += dims[i] < 0 ? std::string("?") : std::to_string(dims[i]);
  }
  return text;
}

Dims row_major_strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Tensor Tensor::uninitialized(DType dtype, Dims dims) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  auto count = element_count(dims);
  assert(count.ok());
  tensor.size_ = *count;
  tensor.dims_ = std::move(dims);
  tensor.writable_ = true;
  if (dtype == DType::kString) {
    tensor.strings_ = std::make_shared<std::vector<std::string>>(static_cast<size_t>(tensor.size_));
    return tensor;
  }
  auto size = static_cast<size_t>(std::max<int64_t>(storage_bytes(dtype, tensor.size_), 1));
  auto* data = static_cast<std::byte*>(::operator new(size, kAlignment));
  tensor.data_ = data;
  tensor.owner_ = std::shared_ptr<const void>(data, [](std::byte* p) { ::operator delete(p, kAlignment); });
  return tensor;
}

Tensor Tensor::zeros(DType dtype, Dims dims) {
  Tensor tensor = uninitialized(dtype, std::move(dims));
  if (dtype != DType::kString) std::memset(tensor.data_, 0, static_cast<size_t>(tensor.nbytes()));
  return tensor;
}

Result<Tensor> Tensor::from_blob(DType dtype, Dims dims, const Blob& blob) {
  if (dtype == DType::kString) return input_error("strings cannot be mapped");
  MLT_ASSIGN(int64_t count, element_count(dims));
  int64_t expected = storage_bytes(dtype, count);
  if (static_cast<uint64_t>(expected) != blob.size())
    return input_error("tensor " + std::string(dtype_name(dtype)) + " " + dims_text(dims) + " needs " + std::to_string(expected) +
                       " bytes, " + std::to_string(blob.size()) + " given");
  size_t element = std::max(1, dtype_bits(dtype) / 8);
  if (blob.size() == 0 || reinterpret_cast<uintptr_t>(blob.bytes().data()) % element != 0) {
    Tensor copy = uninitialized(dtype, std::move(dims));
    // What is large comes from a file, and waits for its pages.
    parallel_for(static_cast<int64_t>(blob.size()), int64_t{1} << 22, [&](int64_t begin, int64_t end) {
      std::memcpy(copy.data_ + begin, blob.bytes().data() + begin, static_cast<size_t>(end - begin));
    });
    return copy;
  }
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.dims_ = std::move(dims);
  tensor.size_ = count;
  tensor.data_ = const_cast<std::byte*>(blob.bytes().data());  // writable_ stays false
  tensor.owner_ = blob.owner();
  return tensor;
}

struct Tensor::Later {
  std::shared_ptr<const Deferred> source;
  int64_t elements = 0, bytes = 0;
  mutable std::once_flag once;
  mutable std::byte* made = nullptr;
  ~Later() {
    if (made) ::operator delete(made, kAlignment);
  }
};

Tensor Tensor::deferred(DType dtype, Dims dims, std::shared_ptr<const Deferred> source) {
  assert(dtype != DType::kString && dtype_bits(dtype) % 8 == 0);
  Tensor tensor;
  tensor.dtype_ = dtype;
  auto count = element_count(dims);
  assert(count.ok());
  tensor.size_ = *count;
  tensor.dims_ = std::move(dims);
  auto later = std::make_shared<Later>();
  later->source = std::move(source);
  later->elements = tensor.size_;
  later->bytes = tensor.nbytes();
  tensor.later_ = later.get();
  tensor.owner_ = std::move(later);
  return tensor;
}

const Deferred* Tensor::deferred() const { return later_ ? later_->source.get() : nullptr; }

const std::byte* Tensor::made() const {
  std::call_once(later_->once, [&] {
    later_->made = static_cast<std::byte*>(::operator new(static_cast<size_t>(std::max<int64_t>(later_->bytes, 1)), kAlignment));
    int64_t piece = std::max<int64_t>(later_->source->piece(), 1), pieces = (later_->elements + piece - 1) / piece, width = dtype_bits(dtype_) / 8;
    parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      int64_t from = begin * piece, to = std::min(later_->elements, end * piece);
      later_->source->produce(from, to, later_->made + from * width);
    });
    later_->source->release();
  });
  return later_->made;
}

Tensor Tensor::window(DType dtype, Dims dims, std::byte* data, std::shared_ptr<void> owner) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  auto count = element_count(dims);
  assert(count.ok());
  tensor.size_ = *count;
  tensor.dims_ = std::move(dims);
  tensor.data_ = data;
  tensor.owner_ = std::move(owner);
  tensor.writable_ = true;
  return tensor;
}

Tensor Tensor::ints(const std::vector<int64_t>& values) {
  Tensor tensor = uninitialized(DType::kI32, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) tensor.mutable_data<int32_t>()[i] = static_cast<int32_t>(values[i]);
  return tensor;
}

Tensor Tensor::string(std::string value) { return of_strings({}, {std::move(value)}); }

Tensor Tensor::of_strings(Dims dims, std::vector<std::string> values) {
  Tensor tensor = uninitialized(DType::kString, std::move(dims));
  assert(values.size() == static_cast<size_t>(tensor.size_));
  *tensor.strings_ = std::move(values);
  return tensor;
}

Tensor Tensor::clone() const {
  if (dtype_ == DType::kString) return of_strings(dims_, *strings_);
  Tensor copy = uninitialized(dtype_, dims_);
  if (size_ > 0) std::memcpy(copy.data_, address(), static_cast<size_t>(nbytes()));
  return copy;
}

Tensor Tensor::reshaped(Dims dims) const {
  Tensor other = *this;
  assert(element_count(dims).ok() && *element_count(dims) == size_);
  other.dims_ = std::move(dims);
  return other;
}

Tensor convert(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype || !tensor.valid()) return tensor;
  assert(tensor.dtype() != DType::kString && dtype != DType::kString);
  Tensor out = Tensor::uninitialized(dtype, tensor.dims());
  std::vector<uint8_t> unpacked;
  if (is_sub_byte(tensor.dtype())) unpacked = unpack_bits(tensor.dtype(), tensor.bytes(), tensor.size());
  Reader in{tensor.dtype(), tensor.bytes().data(), &unpacked};
  switch (dtype) {
    case DType::kF32:
      if (tensor.dtype() == DType::kF16) {
        const uint16_t* source = tensor.data<uint16_t>();
        float* data = out.mutable_data<float>();
        parallel_for(out.size(), 1 << 15, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) data[i] = half_to_float(source[i]);
        });
      } else {
        fill<float>(out, [&](int64_t i) { return static_cast<float>(in.as_double(i)); });
      }
      break;
    case DType::kF64: fill<double>(out, [&](int64_t i) { return in.as_double(i); }); break;
    case DType::kF16: fill<uint16_t>(out, [&](int64_t i) { return float_to_half(static_cast<float>(in.as_double(i))); }); break;
    case DType::kBF16: fill<uint16_t>(out, [&](int64_t i) { return float_to_bfloat16(static_cast<float>(in.as_double(i))); }); break;
    case DType::kBool: fill<uint8_t>(out, [&](int64_t i) { return static_cast<uint8_t>(in.as_double(i) != 0); }); break;
    case DType::kI8: fill<int8_t>(out, [&](int64_t i) { return saturate_or_wrap<int8_t>(in, i); }); break;
    case DType::kI16: fill<int16_t>(out, [&](int64_t i) { return saturate_or_wrap<int16_t>(in, i); }); break;
    case DType::kI32: fill<int32_t>(out, [&](int64_t i) { return saturate_or_wrap<int32_t>(in, i); }); break;
    case DType::kI64: fill<int64_t>(out, [&](int64_t i) { return saturate_or_wrap<int64_t>(in, i); }); break;
    case DType::kU8: fill<uint8_t>(out, [&](int64_t i) { return saturate_or_wrap<uint8_t>(in, i); }); break;
    case DType::kU16: fill<uint16_t>(out, [&](int64_t i) { return saturate_or_wrap<uint16_t>(in, i); }); break;
    case DType::kU32: fill<uint32_t>(out, [&](int64_t i) { return saturate_or_wrap<uint32_t>(in, i); }); break;
    case DType::kU64: fill<uint64_t>(out, [&](int64_t i) { return static_cast<uint64_t>(in.as_int(i)); }); break;
    case DType::kF8E4M3FN: case DType::kF8E5M2: {
      // Nearest of the 256 values; rare enough to search.
      bool e4m3 = dtype == DType::kF8E4M3FN;
      fill<uint8_t>(out, [&](int64_t i) {
        double value = in.as_double(i), best = std::numeric_limits<double>::infinity();
        uint8_t code = 0x7f;
        for (int c = 0; c < 256 && !std::isnan(value); ++c) {
          double distance = std::abs(float8_to_float(static_cast<uint8_t>(c), e4m3) - value);
          if (distance < best || (distance == best && (c & 1) == 0)) best = distance, code = static_cast<uint8_t>(c);
        }
        return code;
      });
      break;
    }
    default: {
      std::vector<uint8_t> values(static_cast<size_t>(tensor.size()));
      int bits = dtype_bits(dtype);
      int64_t low = dtype == DType::kI4 ? -8 : 0, high = dtype == DType::kI4 ? 7 : (int64_t{1} << bits) - 1;
      for (int64_t i = 0; i < tensor.size(); ++i) {
        int64_t value = in.as_int(i);
        if (is_float(tensor.dtype())) value = std::clamp(value, low, high);
        values[static_cast<size_t>(i)] = static_cast<uint8_t>(value);
      }
      Bytes packed = pack_bits(dtype, values);
      if (!packed.empty()) std::memcpy(out.mutable_bytes(), packed.data(), packed.size());
    }
  }
  return out;
}

std::vector<float> to_floats(const Tensor& tensor) {
  Tensor t = convert(tensor, DType::kF32);
  return {t.data<float>(), t.data<float>() + t.size()};
}
std::vector<int64_t> to_ints(const Tensor& tensor) {
  Tensor t = convert(tensor, DType::kI64);
  return {t.data<int64_t>(), t.data<int64_t>() + t.size()};
}
std::vector<double> to_doubles(const Tensor& tensor) {
  Tensor t = convert(tensor, DType::kF64);
  return {t.data<double>(), t.data<double>() + t.size()};
}

std::vector<uint8_t> unpack_bits(DType dtype, ByteSpan packed, int64_t count) {
  int bits = dtype_bits(dtype);
  std::vector<uint8_t> values(static_cast<size_t>(count));
  assert(packed.size() >= static_cast<size_t>(storage_bytes(dtype, count)));
  for (size_t i = 0; i < values.size(); ++i) {
    size_t bit = i * static_cast<size_t>(bits);
    unsigned window = std::to_integer<unsigned>(packed[bit / 8]);
    if (bit % 8 + static_cast<size_t>(bits) > 8) window |= std::to_integer<unsigned>(packed[bit / 8 + 1]) << 8;
    unsigned value = (window >> (bit % 8)) & ((1u << bits) - 1);
    if (dtype == DType::kI4 && value >= 8) value |= 0xf0;
    values[i] = static_cast<uint8_t>(value);
  }
  return values;
}

Bytes pack_bits(DType dtype, std::span<const uint8_t> values) {
  int bits = dtype_bits(dtype);
  Bytes packed(static_cast<size_t>(storage_bytes(dtype, static_cast<int64_t>(values.size()))));
  for (size_t i = 0; i < values.size(); ++i) {
    size_t bit = i * static_cast<size_t>(bits);
    unsigned value = (values[i] & ((1u << bits) - 1)) << (bit % 8);
    packed[bit / 8] |= static_cast<std::byte>(value & 0xff);
    if (value > 0xff) packed[bit / 8 + 1] |= static_cast<std::byte>(value >> 8);
  }
  return packed;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.valid() != b.valid()) return false;
  if (!a.valid()) return true;
  if (a.dtype() != b.dtype() || a.dims() != b.dims()) return false;
  if (a.dtype() == DType::kString) return a.strings() == b.strings();
  if ((a.deferred() || b.deferred()) && a.size() > 0) {
    if (a.later_ == b.later_) return true;
    int64_t piece = std::max(a.deferred() ? a.deferred()->piece() : 1, b.deferred() ? b.deferred()->piece() : 1), width = dtype_bits(a.dtype()) / 8;
    Bytes left(static_cast<size_t>(piece * width)), right(left.size());
    for (int64_t at = 0; at < a.size(); at += piece) {
      int64_t end = std::min(a.size(), at + piece);
      read_elements(a, at, end, left.data());
      read_elements(b, at, end, right.data());
      if (std::memcmp(left.data(), right.data(), static_cast<size_t>((end - at) * width)) != 0) return false;
    }
    return true;
  }
  return a.size() == 0 || std::memcmp(a.bytes().data(), b.bytes().data(), static_cast<size_t>(a.nbytes())) == 0;
}

}  // namespace mlt
