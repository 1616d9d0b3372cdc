#include "lib/runtime/image.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wtype-limits"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#endif
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_PSD
#define STBI_NO_PIC
#define STBI_MAX_DIMENSIONS 65536
#include <stb/stb_image.h>
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#include <stb/stb_image_resize.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace mlt {
namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 26;

Image make(int width, int height, int channels, PixelOrder order) {
  Image image;
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.order = order;
  image.pixels = Tensor::uninitialized(DType::kU8, {height, width, channels});
  return image;
}

}  // namespace

Result<Image> decode_image(ByteSpan file) {
  int width = 0, height = 0, channels = 0;
  if (file.size() > (size_t{1} << 30)) return input_error("image file is too large");
  const auto* data = reinterpret_cast<const stbi_uc*>(file.data());
  int size = static_cast<int>(file.size());
  if (!stbi_info_from_memory(data, size, &width, &height, &channels))
    return input_error("not a PNG, JPEG, BMP, GIF or PNM image");
  if (int64_t{width} * height > kMaxPixels) return input_error("image has more than 67 million pixels");
  int wanted = channels <= 2 ? 1 : 3;
  stbi_uc* pixels = stbi_load_from_memory(data, size, &width, &height, &channels, wanted);
  if (pixels == nullptr) return input_error(std::string("cannot decode the image: ") + stbi_failure_reason());
  Image image = make(width, height, wanted, wanted == 1 ? PixelOrder::kGray : PixelOrder::kRgb);
  std::memcpy(image.pixels.mutable_bytes(), pixels, static_cast<size_t>(image.pixels.nbytes()));
  stbi_image_free(pixels);
  return image;
}

bool looks_like_image(ByteSpan file) {
  int width, height, channels;
  return file.size() < (size_t{1} << 30) &&
         stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(file.data()), static_cast<int>(file.size()), &width, &height, &channels) != 0;
}

Result<Bytes> encode_png(const Image& given) {
  Image image = given;
  if (image.pixels.dtype() != DType::kU8) {
    Tensor bytes = Tensor::uninitialized(DType::kU8, image.pixels.dims());
    std::vector<float> values = to_floats(image.pixels);
    for (size_t i = 0; i < values.size(); ++i) bytes.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(values[i]), 0.0f, 255.0f));
    image.pixels = bytes;
  }
  if (image.order == PixelOrder::kBgr) image = with_order(image, PixelOrder::kRgb);
  Bytes out;
  auto sink = [](void* context, void* data, int size) {
    auto* bytes = static_cast<Bytes*>(context);
    const auto* begin = static_cast<const std::byte*>(data);
    bytes->insert(bytes->end(), begin, begin + size);
  };
  if (!stbi_write_png_to_func(sink, &out, image.width, image.height, image.channels, image.pixels.data<uint8_t>(), image.width * image.channels))
    return resource_error("cannot encode the image");
  return out;
}

std::optional<Fit> fit_from_name(std::string_view name) {
  if (name == "stretch") return Fit::kStretch;
  if (name == "crop") return Fit::kCrop;
  if (name == "pad") return Fit::kPad;
  if (name == "none") return Fit::kRefuse;
  return std::nullopt;
}

Result<Image> fit_image(const Image& image, int width, int height, Fit fit) {
  if (image.width == width && image.height == height) return image;
  if (width <= 0 || height <= 0 || int64_t{width} * height > kMaxPixels) return input_error("image size " + std::to_string(width) + "x" + std::to_string(height) + " is out of range");
  if (fit == Fit::kRefuse)
    return input_error("image is " + std::to_string(image.width) + "x" + std::to_string(image.height) + ", the model takes " +
                       std::to_string(width) + "x" + std::to_string(height));
  if (image.pixels.dtype() != DType::kU8) return unsupported_error("only 8-bit images can be resized");
  // The part of the source that is shown, and where in the target it goes.
  double scale_x = static_cast<double>(width) / image.width, scale_y = static_cast<double>(height) / image.height;
  int from_w = image.width, from_h = image.height, to_w = width, to_h = height;
  if (fit == Fit::kCrop) {
    double scale = std::max(scale_x, scale_y);
    from_w = std::clamp(static_cast<int>(std::lround(width / scale)), 1, image.width);
    from_h = std::clamp(static_cast<int>(std::lround(height / scale)), 1, image.height);
  } else if (fit == Fit::kPad) {
    double scale = std::min(scale_x, scale_y);
    to_w = std::clamp(static_cast<int>(std::lround(image.width * scale)), 1, width);
    to_h = std::clamp(static_cast<int>(std::lround(image.height * scale)), 1, height);
  }
  const uint8_t* source = image.pixels.data<uint8_t>() +
                          (int64_t{(image.height - from_h) / 2} * image.width + (image.width - from_w) / 2) * image.channels;
  Image out = make(width, height, image.channels, image.order);
  if (to_w != width || to_h != height) std::memset(out.pixels.mutable_bytes(), 0, static_cast<size_t>(out.pixels.nbytes()));
  uint8_t* target = out.pixels.mutable_data<uint8_t>() + (int64_t{(height - to_h) / 2} * width + (width - to_w) / 2) * image.channels;
  if (!stbir_resize_uint8(source, from_w, from_h, image.width * image.channels, target, to_w, to_h, width * image.channels, image.channels))
    return resource_error("cannot resize the image");
  return out;
}

Image with_order(const Image& image, PixelOrder order) {
  if (image.order == order || image.pixels.dtype() != DType::kU8) return image;
  Image out = make(image.width, image.height, order == PixelOrder::kGray ? 1 : 3, order);
  const uint8_t* in = image.pixels.data<uint8_t>();
  uint8_t* to = out.pixels.mutable_data<uint8_t>();
  int64_t pixels = int64_t{image.width} * image.height;
  for (int64_t i = 0; i < pixels; ++i) {
    if (image.order == PixelOrder::kGray) {
      to[3 * i] = to[3 * i + 1] = to[3 * i + 2] = in[i];
    } else if (order == PixelOrder::kGray) {
      bool rgb = image.order == PixelOrder::kRgb;
      double luma = 0.299 * in[3 * i + (rgb ? 0 : 2)] + 0.587 * in[3 * i + 1] + 0.114 * in[3 * i + (rgb ? 2 : 0)];
      to[i] = static_cast<uint8_t>(std::lround(luma));
    } else {
      to[3 * i] = in[3 * i + 2];
      to[3 * i + 1] = in[3 * i + 1];
      to[3 * i + 2] = in[3 * i];
    }
  }
  return out;
}

std::optional<PixelOrder> pixel_order(coreml::ColorSpace space) {
  switch (space) {
    case coreml::ColorSpace::kGrayscale:
    case coreml::ColorSpace::kGrayscaleFloat16: return PixelOrder::kGray;
    case coreml::ColorSpace::kRgb: return PixelOrder::kRgb;
    case coreml::ColorSpace::kBgr: return PixelOrder::kBgr;
    case coreml::ColorSpace::kInvalid: break;
  }
  return std::nullopt;
}

Tensor image_to_planar(const Image& image) {
  Tensor out = Tensor::uninitialized(DType::kF32, {1, image.channels, image.height, image.width});
  float* to = out.mutable_data<float>();
  int64_t pixels = int64_t{image.width} * image.height;
  Tensor values = image.pixels.dtype() == DType::kU8 ? image.pixels : convert(image.pixels, DType::kF32);
  for (int channel = 0; channel < image.channels; ++channel)
    for (int64_t i = 0; i < pixels; ++i) {
      int64_t at = i * image.channels + channel;
      to[channel * pixels + i] = values.dtype() == DType::kU8 ? static_cast<float>(values.data<uint8_t>()[at]) : values.data<float>()[at];
    }
  return out;
}

Result<Image> planar_to_image(const Tensor& given, coreml::ColorSpace space) {
  auto order = pixel_order(space);
  if (!order) return unsupported_error("image output without a colour space");
  const Dims& dims = given.dims();
  if (dims.size() < 2) return input_error("image output of shape " + dims_text(dims));
  int64_t height = dims[dims.size() - 2], width = dims[dims.size() - 1], channels = dims.size() > 2 ? dims[dims.size() - 3] : 1;
  int64_t expected = *order == PixelOrder::kGray ? 1 : 3;
  if (channels != expected || given.size() != channels * height * width || given.size() > kMaxPixels * 3)
    return input_error("image output of shape " + dims_text(dims) + " where " + std::to_string(expected) + " channels are described");
  Tensor planar = convert(given, DType::kF32);
  const float* in = planar.data<float>();
  Image out = make(static_cast<int>(width), static_cast<int>(height), static_cast<int>(channels), *order);
  int64_t pixels = width * height;
  if (space == coreml::ColorSpace::kGrayscaleFloat16) {
    out.pixels = convert(planar.reshaped({height, width, 1}), DType::kF16);
    return out;
  }
  uint8_t* to = out.pixels.mutable_data<uint8_t>();
  for (int64_t channel = 0; channel < channels; ++channel)
    for (int64_t i = 0; i < pixels; ++i) {
      float value = in[channel * pixels + i];
      to[i * channels + channel] = std::isnan(value) ? uint8_t{0} : static_cast<uint8_t>(std::clamp(std::nearbyint(value), 0.0f, 255.0f));
    }
  return out;
}

}  // namespace mlt
