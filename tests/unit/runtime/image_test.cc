#include "lib/runtime/image.h"

#include <doctest/doctest.h>

#include "lib/runtime/predictor.h"

using namespace mlt;

namespace {

Image gradient(int width, int height, PixelOrder order) {
  Image image;
  image.width = width;
  image.height = height;
  image.order = order;
  image.channels = order == PixelOrder::kGray ? 1 : 3;
  image.pixels = Tensor::uninitialized(DType::kU8, {height, width, image.channels});
  for (int64_t i = 0; i < image.pixels.size(); ++i) image.pixels.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i * 7);
  return image;
}

}  // namespace

TEST_CASE("PNG round trip keeps every pixel") {
  for (PixelOrder order : {PixelOrder::kGray, PixelOrder::kRgb}) {
    Image image = gradient(13, 5, order);
    auto png = encode_png(image);
    REQUIRE(png.ok());
    CHECK(looks_like_image(*png));
    auto back = decode_image(*png);
    REQUIRE(back.ok());
    CHECK(same_bytes(back->pixels, image.pixels));
    for (size_t cut = 0; cut < png->size() - 12; cut += 3) {
      auto damaged = decode_image(ByteSpan(png->data(), cut));
      if (!damaged) CHECK(damaged.error().code == Code::kInput);
    }
  }
}

TEST_CASE("colour orders and luma") {
  Image rgb = gradient(2, 1, PixelOrder::kRgb);
  Image bgr = with_order(rgb, PixelOrder::kBgr);
  CHECK(bgr.pixels.data<uint8_t>()[0] == rgb.pixels.data<uint8_t>()[2]);
  CHECK(same_bytes(with_order(bgr, PixelOrder::kRgb).pixels, rgb.pixels));
  Image gray = with_order(rgb, PixelOrder::kGray);
  CHECK(gray.pixels.data<uint8_t>()[1] == 27);  // 0.299 * 21 + 0.587 * 28 + 0.114 * 35 = 26.7
}

TEST_CASE("planar floats and back") {
  Image image = gradient(4, 3, PixelOrder::kRgb);
  Tensor planar = image_to_planar(image);
  CHECK(planar.dims() == Dims{1, 3, 3, 4});
  CHECK(planar.data<float>()[12] == static_cast<float>(image.pixels.data<uint8_t>()[1]));
  auto back = planar_to_image(planar, coreml::ColorSpace::kRgb);
  REQUIRE(back.ok());
  CHECK(same_bytes(back->pixels, image.pixels));
  Tensor wild = Tensor::from<float>({1, 1, 1, 3}, {-5, 300, 127.5f});
  auto clamped = planar_to_image(wild, coreml::ColorSpace::kGrayscale);
  REQUIRE(clamped.ok());
  CHECK(to_ints(clamped->pixels) == std::vector<int64_t>{0, 255, 128});
  CHECK_FALSE(planar_to_image(wild, coreml::ColorSpace::kRgb).ok());
}

TEST_CASE("fitting pictures") {
  Image image = gradient(8, 4, PixelOrder::kGray);
  for (Fit fit : {Fit::kStretch, Fit::kCrop, Fit::kPad}) {
    auto fitted = fit_image(image, 4, 4, fit);
    REQUIRE(fitted.ok());
    CHECK(fitted->width == 4);
    CHECK(fitted->height == 4);
  }
  CHECK_FALSE(fit_image(image, 4, 4, Fit::kRefuse).ok());
  CHECK(fit_image(image, 8, 4, Fit::kRefuse).ok());
  auto padded = fit_image(image, 4, 4, Fit::kPad);
  CHECK(padded->pixels.data<uint8_t>()[0] == 0);  // a black band above
}

TEST_CASE("features are checked against the description") {
  coreml::FeatureDescription array{"x", "", coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, {1, 3})};
  CHECK(conform_feature(FeatureValue(Tensor::zeros(DType::kF32, {3})), array, Fit::kStretch).ok());
  auto wrong = conform_feature(FeatureValue(Tensor::zeros(DType::kF32, {4})), array, Fit::kStretch);
  REQUIRE_FALSE(wrong.ok());
  CHECK(wrong.error().message == "input \"x\": expected 1x3, got 4");
  array.type.array.flexibility = coreml::Flexibility::kRange;
  array.type.array.shape_range = {{1, 1}, {1, 8}};
  CHECK(conform_feature(FeatureValue(Tensor::zeros(DType::kF32, {1, 8})), array, Fit::kStretch).ok());
  CHECK(conform_feature(FeatureValue(Tensor::zeros(DType::kF32, {1, 9})), array, Fit::kStretch).error().message == "input \"x\": expected 1x1..8, got 1x9");
  coreml::FeatureDescription number{"n", "", coreml::FeatureType::int64()};
  CHECK(std::get<int64_t>(*conform_feature(FeatureValue(2.0), number, Fit::kStretch)) == 2);
  CHECK_FALSE(conform_feature(FeatureValue(2.5), number, Fit::kStretch).ok());
  CHECK_FALSE(missing_feature(number).ok());
}
