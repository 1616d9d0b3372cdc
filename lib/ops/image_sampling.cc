// Sampling of images at given points: affine and resample. Borders are in image_resizing_eval.cc.
#include <algorithm>
#include <cctype>
#include <cmath>

#include "lib/base/threads.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/image_resizing_eval.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

Result<Border> border_from_name(const std::string& name) {
  if (name == "constant") return Border::kConstant;
  if (name == "border") return Border::kClamp;
  if (name == "reflection") return Border::kReflect;
  if (name == "symmetric") return Border::kSymmetric;
  return input_error("unknown padding_mode \"" + name + "\"");
}

using Coordinates = ResampleRule::Coordinates;
Result<Coordinates> coordinates_from_name(const std::string& name) {
  if (name == "unnormalized") return Coordinates::kPixels;
  if (name == "normalized_minus_one_to_one") return Coordinates::kMinusOneToOne;
  if (name == "normalized_zero_to_one") return Coordinates::kZeroToOne;
  return input_error("unknown coordinates_mode \"" + name + "\"");
}

Result<Dims> affine_dims(Call& call, const Dims& x) {
  MLT_TRY(check_extents(x));
  const Dims& matrix = dims_of(call, "transform_matrix");
  if (x.size() != 4) return input_error("x must have rank 4, not " + std::to_string(x.size()));
  if (matrix.size() != 2 || !extents_agree(matrix[1], 6) || (matrix[0] >= 0 && matrix[0] != 1 && !extents_agree(matrix[0], x[0])))
    return input_error("transform_matrix " + dims_text(matrix) + " must be [1 or batch, 6]");
  int64_t height = call.i64("output_height"), width = call.i64("output_width");
  std::string sampling = lower(call.str("sampling_mode")), padding = lower(call.str("padding_mode")), mode = lower(call.str("coordinates_mode"));
  double padding_value = call.f64("padding_value");
  if (call.failed()) return *call.error();
  MLT_TRY(check_target(height));
  MLT_TRY(check_target(width));
  if (sampling != "bilinear") return unsupported_error("affine with sampling_mode \"" + sampling + "\"");
  if (mode != "normalized_minus_one_to_one") return unsupported_error("affine with coordinates_mode \"" + mode + "\"");
  if (padding != "constant" || padding_value != 0) return unsupported_error("affine with padding other than constant 0");
  return Dims{x[0], x[1], height, width};
}

Result<std::vector<ir::Type>> infer_affine(Call& call) {
  MLT_ASSIGN(Dims dims, affine_dims(call, call.type("x").dims));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

// The i-th of n points of an output axis in [-1, 1].
double output_point(int64_t i, int64_t n, bool align_corners) {
  double at = static_cast<double>(i), count = static_cast<double>(n);
  if (!align_corners) return (2 * at + 1) / count - 1;
  return n > 1 ? 2 * at / (count - 1) - 1 : 0.0;
}

Status eval_affine(Call& call) {
  const Tensor &x = call.tensor("x"), &matrix = call.tensor("transform_matrix");
  bool align = call.flag("align_corners");
  if (call.failed()) return {};
  const ResampleRule rule{Border::kConstant, Coordinates::kMinusOneToOne, align, false, 0};
  MLT_ASSIGN(Dims dims, affine_dims(call, x.dims()));
  MLT_TRY(element_count(dims));
  MLT_TRY(check_source(x.dims(), 2));
  std::vector<double> m = to_doubles(matrix);
  int64_t channels = dims[1], h = x.dims()[2], w = x.dims()[3];
  float* to = output(call, 0, dims).mutable_data<float>();
  parallel_for(dims[0] * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double* t = m.data() + (matrix.dims()[0] == 1 ? 0 : i / channels * 6);
      PixelSampler image{x.data<float>() + i * h * w, h, w, Border::kConstant, 0.0f};
      float* target = to + i * dims[2] * dims[3];
      for (int64_t r = 0; r < dims[2]; ++r)
        for (int64_t c = 0; c < dims[3]; ++c) {
          double u = output_point(c, dims[3], align), v = output_point(r, dims[2], align);
          double column = rule.to_pixel(t[0] * u + t[1] * v + t[2], w);
          double row = rule.to_pixel(t[3] * u + t[4] * v + t[5], h);
          *target++ = sample_bilinear(image, row, column);
        }
    }
  });
  return {};
}

Result<Dims> resample_dims(Call& call, const Dims& x) {
  MLT_TRY(check_extents(x));
  const Dims& coordinates = dims_of(call, "coordinates");
  if (x.size() != 4 || coordinates.size() != 4) return input_error("x and coordinates must have rank 4");
  if (!extents_agree(x[0], coordinates[0])) return input_error("x and coordinates must have the same batch extent");
  if (!extents_agree(coordinates[3], 2)) return input_error("the last extent of coordinates " + dims_text(coordinates) + " must be 2");
  std::string sampling = lower(call.str("sampling_mode")), padding = lower(call.str("padding_mode")), mode = lower(call.str("coordinates_mode"));
  if (call.failed()) return *call.error();
  if (sampling != "bilinear" && sampling != "nearest") return input_error("unknown sampling_mode \"" + sampling + "\"");
  MLT_TRY(border_from_name(padding));
  MLT_TRY(coordinates_from_name(mode));
  return Dims{x[0], x[1], coordinates[1], coordinates[2]};
}

Result<std::vector<ir::Type>> infer_resample(Call& call) {
  MLT_ASSIGN(Dims dims, resample_dims(call, call.type("x").dims));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

Status eval_resample(Call& call) {
  const Tensor &x = call.tensor("x"), &coordinates = call.tensor("coordinates");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, resample_dims(call, x.dims()));
  MLT_TRY(element_count(dims));
  MLT_ASSIGN(const ResampleRule rule, resample_rule(call));
  auto sample = rule.nearest ? sample_nearest : sample_bilinear;
  Tensor points = convert(coordinates, DType::kF32);
  int64_t channels = dims[1], h = x.dims()[2], w = x.dims()[3], size = dims[2] * dims[3];
  float* to = output(call, 0, dims).mutable_data<float>();
  if (size > 0) MLT_TRY(check_source(x.dims(), 2));
  parallel_for(dims[0] * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      PixelSampler image{x.data<float>() + i * h * w, h, w, rule.border, rule.value};
      const float* point = points.data<float>() + i / channels * size * 2;
      for (int64_t p = 0; p < size; ++p, point += 2)
        to[i * size + p] = sample(image, rule.to_pixel(static_cast<double>(point[1]), h), rule.to_pixel(static_cast<double>(point[0]), w));
    }
  });
  return {};
}

#define MLT_RESAMPLE_SIGNATURE                                                                                    \
  "x: T, coordinates: U, sampling_mode: const string, padding_mode: const string, padding_value: const T, "       \
  "coordinates_mode: const string, align_corners: const bool -> y"

constexpr std::string_view kResampleDoc =
    "Samples x [b, c, h, w] at coordinates [b, h2, w2, (column, row)], bilinear or nearest; outside are padding_value "
    "(constant), the border, or its reflection without (reflection) or with (symmetric) the edge.";

constexpr OpDef kOps[] = {
    {.name = "affine",
     .signature = "x: T, transform_matrix: T, output_height: const int32, output_width: const int32, sampling_mode: const string, "
                  "padding_mode: const string, padding_value: const T, coordinates_mode: const string, align_corners: const bool -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_affine,
     .eval = eval_affine,
     .doc = "Samples x at (a0 u + a1 v + a2, b0 u + b1 v + b2) for output points (u, v) in [-1, 1]; zero outside."},
    {.name = "resample",
     .signature = MLT_RESAMPLE_SIGNATURE,
     .domains = "T: fp16 fp32; U: int32 fp32",
     .infer = infer_resample,
     .eval = eval_resample,
     .doc = kResampleDoc},
    {.name = "resample",
     .since = Opset::kCoreML6,
     .signature = MLT_RESAMPLE_SIGNATURE,
     .domains = "T: fp16 fp32; U: int32 fp16 fp32",
     .infer = infer_resample,
     .eval = eval_resample,
     .doc = kResampleDoc},
    {.name = "resample",
     .since = Opset::kCoreML7,
     .signature = MLT_RESAMPLE_SIGNATURE,
     .domains = "T: fp16 fp32; U: int8 uint8 int16 uint16 int32 fp16 fp32",
     .infer = infer_resample,
     .eval = eval_resample,
     .doc = kResampleDoc},
};

}  // namespace

double ResampleRule::to_pixel(double v, int64_t extent) const {
  if (mode == Coordinates::kPixels) return v;
  if (mode == Coordinates::kMinusOneToOne) v = (v + 1) / 2;
  double n = static_cast<double>(extent);
  return align_corners ? v * (n - 1) : v * n - 0.5;
}

Result<ResampleRule> resample_rule(Call& call) {
  ResampleRule rule;
  rule.align_corners = call.flag("align_corners");
  rule.value = static_cast<float>(call.f64("padding_value"));
  MLT_ASSIGN(rule.border, border_from_name(lower(call.str("padding_mode"))));
  MLT_ASSIGN(rule.mode, coordinates_from_name(lower(call.str("coordinates_mode"))));
  rule.nearest = lower(call.str("sampling_mode")) == "nearest";
  // Where pixels are areas (corners not aligned), the mirror is the edge of the image, as in PyTorch's grid_sample, which
  // becomes this op and against which coremltools tests it.
  if (rule.border == Border::kReflect && !rule.align_corners && rule.mode != Coordinates::kPixels) rule.border = Border::kSymmetric;
  return rule;
}

std::span<const OpDef> image_sampling_ops() { return kOps; }

}  // namespace mlt::ops
