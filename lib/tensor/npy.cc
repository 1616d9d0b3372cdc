#include "lib/tensor/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace mlt {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// The header is a Python dict literal; only its three keys matter.
std::string_view value_after(std::string_view header, std::string_view key) {
  size_t at = header.find("'" + std::string(key) + "'");
  if (at == header.npos) return {};
  at = header.find(':', at);
  if (at == header.npos) return {};
  header.remove_prefix(at + 1);
  size_t start = header.find_first_not_of(' ');
  return start == header.npos ? std::string_view{} : header.substr(start);
}

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | ((c >> 18) & 7));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

std::optional<DType> dtype_of_descr(std::string_view descr) {
  if (descr.size() < 3 || descr[0] == '>') return std::nullopt;
  std::string_view type = descr.substr(1);
  if (type == "f2") return DType::kF16;
  if (type == "f4") return DType::kF32;
  if (type == "f8") return DType::kF64;
  if (type == "i1") return DType::kI8;
  if (type == "i2") return DType::kI16;
  if (type == "i4") return DType::kI32;
  if (type == "i8") return DType::kI64;
  if (type == "u1") return DType::kU8;
  if (type == "u2") return DType::kU16;
  if (type == "u4") return DType::kU32;
  if (type == "u8") return DType::kU64;
  if (type == "b1") return DType::kBool;
  return std::nullopt;
}

struct Header {
  std::string_view descr;
  bool fortran = false;
  Dims dims;
};

Result<Header> read_header(ByteReader& reader) {
  auto magic = reader.take(6);
  if (!magic || as_text(*magic) != kMagic) return input_error("not a .npy file");
  MLT_ASSIGN(uint8_t major, reader.read<uint8_t>());
  MLT_TRY(reader.read<uint8_t>());
  uint64_t header_size = 0;
  if (major == 1) {
    MLT_ASSIGN(uint16_t size, reader.read<uint16_t>());
    header_size = size;
  } else if (major == 2 || major == 3) {
    MLT_ASSIGN(uint32_t size, reader.read<uint32_t>());
    header_size = size;
  } else {
    return unsupported_error(".npy version " + std::to_string(major));
  }
  MLT_ASSIGN(ByteSpan raw, reader.take(header_size));
  std::string_view header = as_text(raw);

  std::string_view descr = value_after(header, "descr");
  if (descr.empty() || (descr[0] != '\'' && descr[0] != '"')) return unsupported_error("structured .npy array");
  descr = descr.substr(1, descr.find(descr[0], 1) - 1);
  Header out;
  out.descr = descr;
  out.fortran = value_after(header, "fortran_order").starts_with("True");
  std::string_view shape = value_after(header, "shape");
  size_t close = shape.find(')');
  if (!shape.starts_with("(") || close == shape.npos) return input_error("bad .npy header");
  shape = shape.substr(1, close - 1);
  while (!shape.empty()) {
    size_t start = shape.find_first_of("0123456789");
    if (start == shape.npos) break;
    int64_t extent = 0;
    auto [end, error] = std::from_chars(shape.data() + start, shape.data() + shape.size(), extent);
    if (error != std::errc() || out.dims.size() == 32) return input_error("bad .npy shape");
    out.dims.push_back(extent);
    shape.remove_prefix(static_cast<size_t>(end - shape.data()));
  }
  return out;
}

}  // namespace

Result<Tensor> read_npy(const Blob& file) {
  ByteReader reader(file.bytes());
  MLT_ASSIGN(Header header, read_header(reader));
  const auto& [descr, fortran, dims] = header;
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (descr.size() > 2 && descr[1] == 'U' && descr[0] != '>') {  // fixed-width UCS-4 strings
    uint64_t width = 0, total = 0;
    std::from_chars(descr.data() + 2, descr.data() + descr.size(), width);
    if (!checked_mul(width * 4, static_cast<uint64_t>(count), &total) || width > (1u << 24)) return input_error("bad .npy string width");
    MLT_ASSIGN(ByteSpan body, reader.take(total));
    std::vector<std::string> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i)
      for (size_t j = 0; j < width; ++j) {
        uint32_t c;
        std::memcpy(&c, body.data() + (i * width + j) * 4, 4);
        if (c == 0) break;
        append_utf8(values[i], c);
      }
    return Tensor::of_strings(dims, std::move(values));
  }

  auto dtype = dtype_of_descr(descr);
  if (!dtype) return unsupported_error(".npy element type " + std::string(descr));
  auto size = static_cast<uint64_t>(storage_bytes(*dtype, count));
  size_t start = reader.offset();
  MLT_TRY(reader.take(size));
  Blob body = file.sub(start, size);
  if (!fortran || dims.size() < 2) return Tensor::from_blob(*dtype, dims, body);

  Dims reversed(dims.rbegin(), dims.rend());
  Tensor out = Tensor::uninitialized(*dtype, dims);
  auto element = static_cast<size_t>(dtype_bits(*dtype) / 8);
  Dims column_major(dims.size(), 1), index(dims.size(), 0);
  for (size_t i = 1; i < dims.size(); ++i) column_major[i] = column_major[i - 1] * dims[i - 1];
  for (int64_t i = 0; i < count; ++i) {
    int64_t source = 0;
    for (size_t d = 0; d < dims.size(); ++d) source += index[d] * column_major[d];
    std::memcpy(out.mutable_bytes() + static_cast<size_t>(i) * element, body.bytes().data() + static_cast<size_t>(source) * element, element);
    for (size_t d = dims.size(); d-- > 0;) {
      if (++index[d] < dims[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

Result<std::optional<RawArray>> find_npy(const Blob& file) {
  ByteReader reader(file.bytes());
  MLT_ASSIGN(Header header, read_header(reader));
  auto dtype = dtype_of_descr(header.descr);
  if (!dtype || (header.fortran && header.dims.size() > 1)) return std::optional<RawArray>();
  MLT_ASSIGN(int64_t count, element_count(header.dims));
  auto size = static_cast<uint64_t>(storage_bytes(*dtype, count));
  size_t start = reader.offset();
  MLT_TRY(reader.take(size));
  return std::optional<RawArray>({*dtype, std::move(header.dims), file.sub(start, size)});
}

Result<Bytes> write_npy(const Tensor& given) {
  Tensor tensor = given;
  switch (given.dtype()) {
    case DType::kBF16: case DType::kF8E4M3FN: case DType::kF8E5M2: tensor = convert(given, DType::kF32); break;
    case DType::kI4: tensor = convert(given, DType::kI8); break;
    case DType::kU1: case DType::kU2: case DType::kU3: case DType::kU4: case DType::kU6: tensor = convert(given, DType::kU8); break;
    default: break;
  }
  std::string descr;
  size_t width = 1;
  switch (tensor.dtype()) {
    case DType::kString:
      for (const std::string& s : tensor.strings()) width = std::max(width, s.size());
      descr = "<U" + std::to_string(width);
      break;
    case DType::kBool: descr = "|b1"; break;
    case DType::kI8: descr = "|i1"; break;
    case DType::kU8: descr = "|u1"; break;
    default:
      descr = std::string("<") + (is_float(tensor.dtype()) ? 'f' : is_signed_integer(tensor.dtype()) ? 'i' : 'u') +
              std::to_string(dtype_bits(tensor.dtype()) / 8);
  }
  std::string shape = "(";
  for (int64_t d : tensor.dims()) shape += std::to_string(d) + ",";
  if (tensor.rank() > 1) shape.pop_back();
  shape += ")";
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  ByteWriter out;
  out.append(kMagic);
  out.write<uint8_t>(1);
  out.write<uint8_t>(0);
  out.write(static_cast<uint16_t>(header.size()));
  out.append(header);
  if (tensor.dtype() != DType::kString) {
    out.append(tensor.bytes());
    return out.release();
  }
  for (const std::string& s : tensor.strings()) {
    size_t written = 0;
    for (size_t i = 0; i < s.size(); ++written) {
      auto lead = static_cast<uint8_t>(s[i]);
      size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
      uint32_t c = length == 1 ? lead : lead & (0xffu >> (length + 1));
      for (size_t k = 1; k < length && i + k < s.size(); ++k) c = (c << 6) | (static_cast<uint8_t>(s[i + k]) & 0x3f);
      i += length;
      out.write(c);
    }
    for (; written < width; ++written) out.write(uint32_t{0});
  }
  return out.release();
}

}  // namespace mlt
