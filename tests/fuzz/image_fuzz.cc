// Pictures: what decodes can be brought to any size and order, and is written as a PNG that decodes to the same pixels.
#include <cstdint>
#include <cstdlib>

#include "lib/runtime/image.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto image = decode_image({reinterpret_cast<const std::byte*>(data), size});
  if (!image.ok()) return 0;
  if (int64_t{image->width} * image->height > 1 << 20) return 0;  // decoding it was the test; the rest would only be slow
  for (Fit fit : {Fit::kStretch, Fit::kCrop, Fit::kPad, Fit::kRefuse}) (void)fit_image(*image, 5, 3, fit);
  (void)with_order(*image, PixelOrder::kBgr);
  (void)with_order(*image, PixelOrder::kGray);
  auto png = encode_png(*image);
  if (!png.ok()) return 0;
  auto again = decode_image(*png);
  if (!again.ok() || again->width != image->width || again->height != image->height) std::abort();
  return 0;
}
