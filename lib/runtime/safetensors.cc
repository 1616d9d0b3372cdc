#include "lib/runtime/safetensors.h"

#include <nlohmann/json.hpp>

namespace mlt {
namespace {

using nlohmann::json;

struct Row {
  const char* name;
  DType dtype;
};
constexpr Row kTypes[] = {{"BOOL", DType::kBool}, {"U8", DType::kU8},   {"I8", DType::kI8},   {"I16", DType::kI16}, {"U16", DType::kU16},
                          {"F16", DType::kF16},   {"BF16", DType::kBF16}, {"I32", DType::kI32}, {"U32", DType::kU32}, {"F32", DType::kF32},
                          {"F64", DType::kF64},   {"I64", DType::kI64}, {"U64", DType::kU64}, {"F8_E4M3", DType::kF8E4M3FN}, {"F8_E5M2", DType::kF8E5M2}};

}  // namespace

bool looks_like_safetensors(ByteSpan file) {
  ByteReader reader(file);
  auto size = reader.read<uint64_t>();
  if (!size || *size < 2 || *size > reader.remaining() || *size > (100u << 20)) return false;
  return as_text(file)[8] == '{';
}

Result<std::map<std::string, Tensor>> read_safetensors(const Blob& file) {
  if (!looks_like_safetensors(file.bytes())) return input_error("not a safetensors file");
  ByteReader reader(file.bytes());
  MLT_ASSIGN(uint64_t size, reader.read<uint64_t>());
  MLT_ASSIGN(ByteSpan raw, reader.take(size));
  json header = json::parse(as_text(raw), nullptr, false);
  if (header.is_discarded() || !header.is_object()) return input_error("safetensors: the header is not valid JSON");
  size_t base = reader.offset();
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    auto bad = [&name = name](const std::string& what) { return input_error("safetensors: tensor \"" + name + "\": " + what); };
    if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
        !entry["shape"].is_array() || !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2)
      return bad("incomplete");
    std::optional<DType> dtype;
    for (const Row& row : kTypes)
      if (entry["dtype"] == row.name) dtype = row.dtype;
    if (!dtype) return bad("element type " + entry["dtype"].get<std::string>() + " is not known");
    Dims dims;
    for (const json& d : entry["shape"]) {
      if (!d.is_number_unsigned()) return bad("bad shape");
      dims.push_back(static_cast<int64_t>(d.get<uint64_t>()));
    }
    const json &from = entry["data_offsets"][0], &to = entry["data_offsets"][1];
    if (!from.is_number_unsigned() || !to.is_number_unsigned()) return bad("bad offsets");
    uint64_t begin = from.get<uint64_t>(), end = to.get<uint64_t>();
    if (begin > end || end > file.size() - base) return bad("data lies outside the file");
    auto tensor = Tensor::from_blob(*dtype, std::move(dims), file.sub(base + begin, end - begin));
    if (!tensor) return bad(tensor.error().message);
    tensors[name] = std::move(*tensor);
  }
  return tensors;
}

Result<Bytes> write_safetensors(const std::map<std::string, Tensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const char* type = nullptr;
    for (const Row& row : kTypes)
      if (row.dtype == tensor.dtype()) type = row.name;
    if (type == nullptr) return unsupported_error("output \"" + name + "\": safetensors has no " + std::string(dtype_name(tensor.dtype())));
    auto bytes = static_cast<uint64_t>(tensor.nbytes());
    header[name] = {{"dtype", type}, {"shape", tensor.dims()}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');
  ByteWriter out;
  out.write<uint64_t>(text.size());
  out.append(text);
  for (const auto& [name, tensor] : tensors) out.append(tensor.bytes());
  return out.release();
}

}  // namespace mlt
