// Pictures in and out: decoding and encoding (PNG, JPEG, BMP, PNM through stb), size and colour, and the planar floats
// that models compute on.
#pragma once
#include <optional>
#include <string>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"

namespace mlt {

// Decodes PNG, JPEG, BMP, PGM, PPM or GIF; alpha is dropped, 16-bit channels become 8-bit. Gray files stay gray. kInput
// when the bytes are none of these or the picture has more than 2^26 pixels.
Result<Image> decode_image(ByteSpan file);
bool looks_like_image(ByteSpan file);
Result<Bytes> encode_png(const Image& image);

// How a picture of another size is brought to the model's size: stretch both axes, crop the centre of the picture
// scaled to cover, pad the picture scaled to fit with black, or refuse.
enum class Fit { kStretch, kCrop, kPad, kRefuse };
std::optional<Fit> fit_from_name(std::string_view name);  // "stretch", "crop", "pad", "none"
Result<Image> fit_image(const Image& image, int width, int height, Fit fit);

// uint8 pixels in another order. Gray from colour by ITU-R BT.601 luma (0.299 R + 0.587 G + 0.114 B, rounded).
Image with_order(const Image& image, PixelOrder order);
std::optional<PixelOrder> pixel_order(coreml::ColorSpace space);

// [1, channels, height, width] floats, 0..255 for uint8 pixels, in the image's own channel order.
Tensor image_to_planar(const Image& image);
// From [.., channels, height, width] (leading extents 1) floats: rounded to nearest and clamped to 0..255, or kept as
// float16 for GRAYSCALE_FLOAT16.
Result<Image> planar_to_image(const Tensor& planar, coreml::ColorSpace space);

}  // namespace mlt
