// Resizing, cropping and resampling of the last two axes. Grids and interpolation are in image_resizing_eval.cc.
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

Status check_image(const Dims& x) {
  MLT_TRY(check_extents(x));
  if (x.size() < 3) return input_error("x must have rank 3 or more, not " + std::to_string(x.size()));
  return {};
}

Dims with_last_two(Dims dims, int64_t height, int64_t width) {
  dims[dims.size() - 2] = height;
  dims[dims.size() - 1] = width;
  return dims;
}

// --- upsample_*: extents grow by factors, int32 or fp32 ---

Result<int64_t> scaled(Call& call, std::string_view factor_name, int64_t extent) {
  bool is_float_factor = call.has(factor_name) && is_float(call.type(factor_name).dtype);
  float factor = static_cast<float>(call.f64(factor_name));
  if (call.failed()) return *call.error();
  if (!(factor > 0) || factor > 1e6f) return input_error(std::string(factor_name) + " must be positive and not huge");
  if (extent < 0) return ir::kUnknown;
  int64_t out = is_float_factor ? static_cast<int64_t>(std::floor(factor * static_cast<float>(extent))) : static_cast<int64_t>(factor) * extent;
  MLT_TRY(check_target(out));
  return out;
}

Result<Dims> upsampled_dims(Call& call, const Dims& x) {
  MLT_TRY(check_image(x));
  MLT_ASSIGN(int64_t height, scaled(call, "scale_factor_height", x[x.size() - 2]));
  MLT_ASSIGN(int64_t width, scaled(call, "scale_factor_width", x.back()));
  return with_last_two(x, height, width);
}

Result<std::vector<ir::Type>> infer_upsample(Call& call) {
  MLT_ASSIGN(Dims dims, upsampled_dims(call, call.type("x").dims));
  if (call.info().param("align_corners") != nullptr && call.flag("align_corners") && call.has("half_pixel_centers") &&
      call.flag("half_pixel_centers"))
    return input_error("align_corners and half_pixel_centers cannot both be true");
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

Status eval_upsample_nearest(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, upsampled_dims(call, x.dims()));
  MLT_TRY(element_count(dims));
  size_t rank = dims.size();
  MLT_TRY(check_source(x.dims(), rank - 2));
  std::vector<std::vector<int64_t>> sources(rank);
  for (size_t a = rank - 2; a < rank; ++a) sources[a] = nearest_by_corner(x.dims()[a], dims[a]);
  call.set_out(0, gather_axes(x, sources));
  return {};
}

// Linear interpolation of the last two axes to `dims`.
Status resize_last_two(Call& call, const Tensor& x, const Dims& dims, Sampling sampling) {
  MLT_TRY(element_count(dims));
  size_t rank = dims.size();
  MLT_TRY(check_source(x.dims(), rank - 2));
  std::vector<std::vector<double>> grids(rank);
  for (size_t a = rank - 2; a < rank; ++a) grids[a] = sample_grid(sampling, static_cast<double>(x.dims()[a] - 1), dims[a]);
  call.set_out(0, interpolate_linear(x, grids));
  return {};
}

Status eval_upsample_bilinear(Call& call) {
  const Tensor& x = call.tensor("x");
  bool align = call.flag("align_corners");
  bool half = call.info().param("half_pixel_centers") != nullptr && call.has("half_pixel_centers") ? call.flag("half_pixel_centers") : !align;
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, upsampled_dims(call, x.dims()));
  return resize_last_two(call, x, dims, align ? Sampling::kStrictAlignCorners : half ? Sampling::kUnalignCorners : Sampling::kDefault);
}

// --- resize_bilinear, resize_nearest_neighbor: target extents ---

Result<Dims> resized_dims(Call& call, const Dims& x) {
  MLT_TRY(check_image(x));
  int64_t height = call.i64("target_size_height"), width = call.i64("target_size_width");
  if (call.failed()) return *call.error();
  MLT_TRY(check_target(height));
  MLT_TRY(check_target(width));
  return with_last_two(x, height, width);
}

Result<std::vector<ir::Type>> infer_resize_last_two(Call& call) {
  MLT_ASSIGN(Dims dims, resized_dims(call, call.type("x").dims));
  if (call.info().param("sampling_mode") != nullptr) MLT_TRY(sampling_from_name(call.str("sampling_mode")));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

Status eval_resize_bilinear(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed()) return {};
  MLT_ASSIGN(Sampling sampling, sampling_from_name(call.str("sampling_mode")));
  MLT_ASSIGN(Dims dims, resized_dims(call, x.dims()));
  return resize_last_two(call, x, dims, sampling);
}

Status eval_resize_nearest(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, resized_dims(call, x.dims()));
  MLT_TRY(element_count(dims));
  size_t rank = dims.size();
  MLT_TRY(check_source(x.dims(), rank - 2));
  std::vector<std::vector<int64_t>> sources(rank);
  for (size_t a = rank - 2; a < rank; ++a) sources[a] = nearest_by_center(x.dims()[a], dims[a]);
  call.set_out(0, gather_axes(x, sources));
  return {};
}

// --- resize: any number of trailing axes, target shape perhaps only known at run time ---

Result<Dims> resize_dims(Call& call, const Dims& x) {
  MLT_TRY(check_extents(x));
  const Dims& shape = dims_of(call, "shape");
  int64_t count = call.i64("resized_dims"), rank = static_cast<int64_t>(x.size());
  if (call.failed()) return *call.error();
  if (shape.size() != 1) return input_error("shape must have rank 1");
  if (count < 0 || count > rank || (shape[0] >= 0 && count > shape[0]))
    return input_error("resized_dims " + std::to_string(count) + " is more than the extents of shape or x");
  if (shape[0] > rank) return input_error("shape must not have more extents than x");
  std::string mode = call.str("interpolation_mode");
  if (!call.failed() && mode != "LINEAR" && mode != "NEAREST_NEIGHBOR") return input_error("unknown interpolation_mode \"" + mode + "\"");
  std::string sampling = call.str("sampling_mode");
  if (call.failed()) return *call.error();
  MLT_TRY(sampling_from_name(sampling));
  auto target = known_ints(call, "shape");
  Dims out = x;
  for (int64_t i = 0; i < count; ++i) {
    int64_t& extent = out[static_cast<size_t>(rank - count + i)];
    if (!target) {
      extent = ir::kUnknown;
    } else if (int64_t wanted = (*target)[target->size() - static_cast<size_t>(count - i)]; wanted != 0) {
      MLT_TRY(check_target(wanted));
      extent = wanted;
    }
  }
  return out;
}

Result<std::vector<ir::Type>> infer_resize(Call& call) {
  MLT_ASSIGN(Dims dims, resize_dims(call, call.type("x").dims));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

Status eval_resize(Call& call) {
  const Tensor& x = call.tensor("x");
  call.tensor("shape");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, resize_dims(call, x.dims()));
  MLT_TRY(element_count(dims));
  MLT_ASSIGN(Sampling sampling, sampling_from_name(call.str("sampling_mode")));
  size_t rank = dims.size(), first = rank - static_cast<size_t>(call.i64("resized_dims"));
  MLT_TRY(check_source(x.dims(), first));
  if (call.str("interpolation_mode") == "LINEAR") {
    std::vector<std::vector<double>> grids(rank);
    for (size_t a = first; a < rank; ++a) grids[a] = sample_grid(sampling, static_cast<double>(x.dims()[a] - 1), dims[a]);
    call.set_out(0, convert(interpolate_linear(convert(x, DType::kF32), grids), x.dtype()));
    return {};
  }
  std::vector<std::vector<int64_t>> sources(rank);
  for (size_t a = first; a < rank; ++a) {
    // The default grid samples at the centers of pixels here (as TensorFlow's half_pixel_centers, which coremltools maps to it).
    if (sampling == Sampling::kDefault || sampling == Sampling::kUnalignCorners) {
      sources[a] = nearest_by_center(x.dims()[a], dims[a]);
    } else {
      for (double v : sample_grid(sampling, static_cast<double>(x.dims()[a] - 1), dims[a]))
        sources[a].push_back(std::min(static_cast<int64_t>(v + 0.5), x.dims()[a] - 1));
    }
  }
  call.set_out(0, gather_axes(x, sources));
  return {};
}

// --- crop ---

Result<Dims> crop_dims(Call& call, const Dims& x, std::vector<int64_t>* height, std::vector<int64_t>* width) {
  MLT_TRY(check_image(x));
  *height = call.ints("crop_height");
  *width = call.ints("crop_width");
  if (call.failed()) return *call.error();
  if (height->size() != 2 || width->size() != 2) return input_error("crop_height and crop_width must have two values");
  Dims out = x;
  for (auto [amounts, axis] : {std::pair{height, x.size() - 2}, std::pair{width, x.size() - 1}}) {
    if ((*amounts)[0] < 0 || (*amounts)[1] < 0) return input_error("amounts to crop must not be negative");
    if (x[axis] < 0) continue;
    out[axis] -= (*amounts)[0] + (*amounts)[1];
    if (out[axis] < 0) return input_error("more is cropped than x " + dims_text(x) + " has");
  }
  return out;
}

Result<std::vector<ir::Type>> infer_crop(Call& call) {
  std::vector<int64_t> height, width;
  MLT_ASSIGN(Dims dims, crop_dims(call, call.type("x").dims, &height, &width));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

Status eval_crop(Call& call) {
  const Tensor& x = call.tensor("x");
  if (call.failed()) return {};
  std::vector<int64_t> height, width;
  MLT_ASSIGN(Dims dims, crop_dims(call, x.dims(), &height, &width));
  size_t rank = dims.size();
  Tensor& out = output(call, 0, dims);
  int64_t planes = product(dims, 0, rank - 2), h = x.dims()[rank - 2], w = x.dims()[rank - 1];
  float* to = out.mutable_data<float>();
  for (int64_t p = 0; p < planes; ++p)
    for (int64_t r = 0; r < dims[rank - 2]; ++r, to += dims[rank - 1])
      std::copy_n(x.data<float>() + (p * h + r + height[0]) * w + width[0], dims[rank - 1], to);
  return {};
}

// --- crop_resize ---

struct BoxMode {
  bool center = false, width_first = false;
};
Result<BoxMode> box_mode_from_name(const std::string& name) {
  if (name == "CORNERS_HEIGHT_FIRST") return BoxMode{false, false};
  if (name == "CORNERS_WIDTH_FIRST") return BoxMode{false, true};
  if (name == "CENTER_SIZE_HEIGHT_FIRST") return BoxMode{true, false};
  if (name == "CENTER_SIZE_WIDTH_FIRST") return BoxMode{true, true};
  return input_error("unknown box_coordinate_mode \"" + name + "\"");
}

bool has_boxes(Call& call) { return call.info().param("boxes") != nullptr; }

// Up to CoreML6 boxes are roi [n, 1, 4 or 5, 1, 1], a leading fifth value being the image; later boxes [n, 4].
Result<Dims> crop_resize_dims(Call& call, const Dims& x) {
  MLT_TRY(check_extents(x));
  if (x.size() != 4) return input_error("x must have rank 4, not " + std::to_string(x.size()));
  int64_t height = call.i64("target_height"), width = call.i64("target_width");
  std::string box_mode = call.str("box_coordinate_mode"), sampling = call.str("sampling_mode");
  bool normalized = call.flag("normalized_coordinates");
  if (call.failed()) return *call.error();
  MLT_TRY(check_target(height));
  MLT_TRY(check_target(width));
  MLT_TRY(box_mode_from_name(box_mode));
  MLT_TRY(sampling_from_name(sampling));
  if (!has_boxes(call)) {
    const Dims& roi = dims_of(call, "roi");
    if (roi.size() != 5) return input_error("roi must have rank 5, not " + std::to_string(roi.size()));
    if (!extents_agree(roi[1], 1) || (roi[2] >= 0 && roi[2] != 4 && roi[2] != 5) || !extents_agree(roi[3], 1) || !extents_agree(roi[4], 1))
      return input_error("roi " + dims_text(roi) + " must be [n, 1, 4, 1, 1] or [n, 1, 5, 1, 1]");
    // With five values each box names its image and the second extent is 1; files declare the batch there all the same,
    // so that a batch of more than one is left open.
    int64_t batch = roi[2] == 4 ? x[0] : x[0] == 1 ? 1 : ir::kUnknown;
    return Dims{roi[0], batch, x[1], height, width};
  }
  const Dims& boxes = dims_of(call, "boxes");
  if (boxes.size() != 2 || !extents_agree(boxes[1], 4)) return input_error("boxes " + dims_text(boxes) + " must be [n, 4]");
  if (normalized && !is_float(call.type("boxes").dtype)) return input_error("boxes in normalized coordinates must be floats");
  if (call.has("box_indices")) {
    const Dims& indices = dims_of(call, "box_indices");
    if (indices.size() != 1 || !extents_agree(indices[0], boxes[0]))
      return input_error("box_indices " + dims_text(indices) + " must have one value for each box");
    if (auto known = known_ints(call, "box_indices"); known && x[0] >= 0)
      for (int64_t index : *known)
        if (index < 0 || index >= x[0]) return input_error("box index " + std::to_string(index) + " is beyond the batch of x");
  } else if (boxes[0] >= 0 && x[0] >= 0 && boxes[0] > x[0]) {
    return input_error("there are more boxes than images, and no box_indices");
  }
  return Dims{boxes[0], x[1], height, width};
}

Result<std::vector<ir::Type>> infer_crop_resize(Call& call) {
  MLT_ASSIGN(Dims dims, crop_resize_dims(call, call.type("x").dims));
  return std::vector{ir::Type::tensor(call.type("x").dtype, dims)};
}

// One crop of all channels of an image.
struct Crop {
  int64_t image;
  std::vector<double> rows, columns;
};

// Positions of one axis of a box: the grid over its length, mirrored when the box is inverted.
std::vector<double> box_grid(Sampling sampling, double start, double end, int64_t n) {
  double length = std::abs(end - start);
  if (!std::isfinite(length)) return std::vector<double>(static_cast<size_t>(n), -1.0);
  std::vector<double> grid = sample_grid(sampling, length, n);
  for (double& v : grid) v = length == 0 ? start : start * (1 - v / length) + end * (v / length);
  return grid;
}

Status eval_crop_resize(Call& call) {
  const Tensor& x = call.tensor("x");
  bool flat = has_boxes(call);
  const Tensor& boxes = call.tensor(flat ? "boxes" : "roi");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, crop_resize_dims(call, x.dims()));
  MLT_ASSIGN(BoxMode mode, box_mode_from_name(call.str("box_coordinate_mode")));
  MLT_ASSIGN(Sampling sampling, sampling_from_name(call.str("sampling_mode")));
  double scale = call.f64("spatial_scale");
  bool normalized = call.flag("normalized_coordinates");
  float pad_value = call.info().param("pad_value") != nullptr ? static_cast<float>(call.f64("pad_value")) : 0.0f;
  if (call.failed()) return {};
  MLT_TRY(check_source(x.dims(), 2));
  int64_t count = boxes.dims()[0], values = boxes.dims()[flat ? 1 : 2], batch = x.dims()[0], channels = x.dims()[1];
  int64_t h = x.dims()[2], w = x.dims()[3], out_h = dims[dims.size() - 2], out_w = dims.back();
  std::vector<int64_t> indices;
  if (flat && call.has("box_indices")) indices = call.ints("box_indices");
  std::vector<double> coordinates = to_doubles(boxes);
  std::vector<Crop> crops;
  for (int64_t i = 0; i < count; ++i) {
    const double* box = coordinates.data() + i * values;
    int64_t image = -1;  // all of the batch
    if (values == 5) {
      if (!(*box >= 0 && *box < static_cast<double>(batch))) return input_error("an image index of roi is beyond the batch of x");
      image = static_cast<int64_t>(*box++);
    } else if (flat) {
      image = indices.empty() ? i : indices[static_cast<size_t>(i)];
      if (image < 0 || image >= batch) return input_error("box index " + std::to_string(image) + " is beyond the batch of x");
    }
    double first[2] = {box[0], box[1]}, second[2] = {box[2], box[3]};
    if (mode.width_first) std::swap(first[0], first[1]), std::swap(second[0], second[1]);
    std::vector<double> grids[2];
    for (int a = 0; a < 2; ++a) {
      double start = mode.center ? first[a] - second[a] / 2 : first[a], end = mode.center ? first[a] + second[a] / 2 : second[a];
      double factor = scale * (normalized ? static_cast<double>((a == 0 ? h : w) - 1) : 1.0);
      grids[a] = box_grid(sampling, start * factor, end * factor, a == 0 ? out_h : out_w);
    }
    for (int64_t b = image < 0 ? 0 : image; b < (image < 0 ? batch : image + 1); ++b) crops.push_back({b, grids[0], grids[1]});
  }
  if (!flat) dims[1] = values == 5 ? 1 : batch;
  MLT_TRY(element_count(dims));
  float* to = output(call, 0, dims).mutable_data<float>();
  // A point outside the image is padding as a whole; it is not blended with the border.
  double last_row = static_cast<double>(h - 1), last_column = static_cast<double>(w - 1);
  parallel_for(static_cast<int64_t>(crops.size()) * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Crop& crop = crops[static_cast<size_t>(i / channels)];
      PixelSampler image{x.data<float>() + (crop.image * channels + i % channels) * h * w, h, w, Border::kClamp, pad_value};
      float* target = to + i * out_h * out_w;
      for (double row : crop.rows)
        for (double column : crop.columns)
          *target++ = row >= 0 && row <= last_row && column >= 0 && column <= last_column ? sample_bilinear(image, row, column) : pad_value;
    }
  });
  return {};
}

#define MLT_CROP_RESIZE_PARAMETERS                                                                                \
  "target_height: const int32 = 1, target_width: const int32 = 1, normalized_coordinates: const bool = false, "   \
  "spatial_scale: const fp32 = 1.0, box_coordinate_mode: const string = \"CORNERS_HEIGHT_FIRST\", "               \
  "sampling_mode: const string = \"DEFAULT\""

constexpr std::string_view kCropResizeDoc =
    "Bilinear crops of x [b, c, h, w]: roi [n, 1, 4, 1, 1] from every image, or [n, 1, 5, 1, 1] with the image first. "
    "Points outside the image get pad_value.";
constexpr std::string_view kUpsampleBilinearDoc =
    "Bilinear interpolation of the last two axes to floor(extent * factor); grids by corners (align_corners), by pixel "
    "centers (half_pixel_centers) or from the first corner.";

constexpr OpDef kOps[] = {
    {.name = "crop",
     .signature = "x: T, crop_height: const int32, crop_width: const int32 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_crop,
     .eval = eval_crop,
     .exactness = Exactness::kExact,
     .doc = "Cuts rows from top and bottom and columns from left and right of the last two axes."},
    {.name = "crop_resize",
     .signature = "x: T, roi: T, " MLT_CROP_RESIZE_PARAMETERS " -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_crop_resize,
     .eval = eval_crop_resize,
     .doc = kCropResizeDoc},
    {.name = "crop_resize",
     .since = Opset::kCoreML6,
     .signature = "x: T, roi: T, " MLT_CROP_RESIZE_PARAMETERS ", pad_value: const T = 0.0 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_crop_resize,
     .eval = eval_crop_resize,
     .doc = kCropResizeDoc},
    {.name = "crop_resize",
     .since = Opset::kCoreML7,
     .signature = "x: T, boxes: B, box_indices?: I, " MLT_CROP_RESIZE_PARAMETERS ", pad_value: const T = 0.0 -> y",
     .domains = "T: fp16 fp32; B: fp16 fp32 uint16; I: uint16 int32",
     .infer = infer_crop_resize,
     .eval = eval_crop_resize,
     .doc = "Bilinear crops of x [b, c, h, w] by boxes [n, 4] of the images box_indices [n] (the i-th of the i-th when "
            "absent). Points outside the image get pad_value."},
    {.name = "resize",
     .since = Opset::kCoreML7,
     .signature = "x: T, shape: U, resized_dims: const uint32, interpolation_mode: const string = \"LINEAR\", "
                  "sampling_mode: const string = \"DEFAULT\" -> y",
     .domains = "T: fp16 fp32 int32; U: int32 int16 uint16 uint32",
     .infer = infer_resize,
     .eval = eval_resize,
     .doc = "Resizes the last resized_dims axes to the last extents of shape (0 keeps x's), linear or nearest neighbor."},
    {.name = "resize_bilinear",
     .signature = "x: T, target_size_height: const int32 = 1, target_size_width: const int32 = 1, "
                  "sampling_mode: const string = \"DEFAULT\" -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_resize_last_two,
     .eval = eval_resize_bilinear,
     .doc = "Bilinear interpolation of the last two axes to target extents; sampling_mode says how the grid is laid."},
    {.name = "resize_nearest_neighbor",
     .signature = "x: T, target_size_height: const int32, target_size_width: const int32 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_resize_last_two,
     .eval = eval_resize_nearest,
     .exactness = Exactness::kExact,
     .doc = "Nearest neighbor, by pixel centers, of the last two axes at target extents."},
    {.name = "upsample_bilinear",
     .signature = "x: T, scale_factor_height: const U = 1, scale_factor_width: const U = 1, align_corners: const bool = true -> y",
     .domains = "T: fp16 fp32; U: int32 fp32",
     .infer = infer_upsample,
     .eval = eval_upsample_bilinear,
     .doc = kUpsampleBilinearDoc},
    {.name = "upsample_bilinear",
     .since = Opset::kCoreML6,
     .signature = "x: T, scale_factor_height: const U = 1, scale_factor_width: const U = 1, align_corners: const bool = true, "
                  "half_pixel_centers?: const bool -> y",
     .domains = "T: fp16 fp32; U: int32 fp32",
     .infer = infer_upsample,
     .eval = eval_upsample_bilinear,
     .doc = kUpsampleBilinearDoc},
    {.name = "upsample_nearest_neighbor",
     .signature = "x: T, scale_factor_height: const U = 1, scale_factor_width: const U = 1 -> y",
     .domains = "T: fp16 fp32; U: fp32 int32",
     .infer = infer_upsample,
     .eval = eval_upsample_nearest,
     .exactness = Exactness::kExact,
     .doc = "Nearest neighbor of the last two axes at floor(extent * factor)."},
};

}  // namespace

std::span<const OpDef> image_resizing_ops() { return kOps; }

}  // namespace mlt::ops
