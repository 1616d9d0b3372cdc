#include "lib/cli/model_input.h"

#include "lib/cli/io.h"

namespace mlt::cli {

Result<OpenedModel> read_model(const std::string& path, const KeyOptions& keys, OpenOptions options) {
  if (!options.unseal) options.unseal = unsealer(keys);
  if (!is_standard(path)) return open_model(path, options);
  MLT_ASSIGN(Blob bytes, read_input(path));
  return open_memory(bytes, input_name(path), options);
}

namespace {
Result<Blob> unseal_all(const Unsealer& unseal, const Blob& sealed) {
  MLT_ASSIGN(auto content, unseal(sealed));
  return content->read(0, content->size());
}
}  // namespace

Result<Blob> read_plain(const std::string& path, const KeyOptions& keys) {
  MLT_ASSIGN(Blob bytes, read_input(path));
  auto unseal = unsealer(keys);
  // Compressed before sealing is the usual order, a sealed file in a .zst the odd one; a third layer is
  // nobody's.
  for (int layer = 0; layer < 3; ++layer) {
    FileKind kind = detect_bytes(bytes.bytes());
    Result<Blob> inner = bytes;
    if (kind == FileKind::kAge)
      inner = unseal_all(unseal, bytes);
    else if (kind == FileKind::kZstd)
      inner = decompress_zstd(bytes, OpenOptions{}.max_decompressed);
    else
      return bytes;
    if (!inner.ok()) return std::move(inner).in(input_name(path));
    bytes = std::move(*inner);
  }
  return input_error("sealed or compressed too many times over").in_path(input_name(path));
}

}  // namespace mlt::cli
