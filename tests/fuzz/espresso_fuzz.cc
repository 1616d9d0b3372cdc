// The layers of compiled neural networks: the text and what it means. Shapes follow behind a zero byte.
#include <cstdint>

#include "lib/container/espresso.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  std::string_view text = as_text(bytes);
  size_t cut = std::min(text.find('\0'), text.size());
  auto network = parse_espresso(bytes.first(cut), cut < size ? bytes.subspan(cut + 1) : ByteSpan());
  if (!network.ok()) return 0;
  // A NeuralNetwork message without layers.
  auto parsed = coreml::Model::parse(Blob(Bytes{std::byte{8}, std::byte{1}, std::byte{0xa2}, std::byte{0x1f}, std::byte{0}}));
  if (!parsed.ok()) return 0;
  // Blobs as large as a layer may ask, up to 4 KiB: their ids say how many bytes they have.
  (void)coreml::read_espresso(*network, [](uint64_t id) -> Result<Blob> {
    if (id > 4096) return input_error("no blob");
    return Blob(Bytes(id));
  }, *parsed);
  return 0;
}
