// Images at another size: nearest and linear resampling by the same grids as the reference, and blocks of space that become
// channels or come from them.
#include <algorithm>

#include "lib/kernels/nhwc.h"
#include "lib/kernels/resize.h"
#include "lib/kernels/sample.h"
#include "lib/kernels/transpose.h"
#include "lib/ops/image_resizing_eval.h"
#include "lib/runtime/lower_resampling.h"

namespace mlt {
namespace {

std::optional<ops::Sampling> sampling_of(Lowering& l) {
  const bool named = l.call.info().param("sampling_mode") != nullptr;
  if (named && !l.call.known("sampling_mode")) return l.refuse("the sampling mode is not constant");
  auto sampling = ops::sampling_from_name(named ? l.call.str("sampling_mode") : "DEFAULT");
  if (!sampling) return l.refuse("sampling mode");
  return *sampling;
}

std::optional<Lowered> lower_resampling(Lowering& l) {
  auto r = resampling(l);
  if (!r) return std::nullopt;
  const int x = l.in("x"), out = l.out();
  const Dims& xd = l.type(x).dims;
  int64_t planes = 1;
  for (size_t i = 0; i + 2 < xd.size(); ++i) planes *= xd[i];
  Lowered lowered;
  lowered.kernel = r->linear ? "linear" : "nearest";
  lowered.run = [=, r = std::move(*r)](RunContext& c) {
    (r.linear ? resize_linear : resize_nearest)(c.f32(x), c.f32_out(out), planes, r.y, r.x);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_resampling_nhwc(Lowering& l) {
  auto r = resampling(l);
  if (!r) return std::nullopt;
  const int x = l.in("x"), out = l.out();
  Lowered lowered;
  lowered.kernel = r->linear ? "nhwc linear" : "nhwc nearest";
  lowered.run = [x, out, batch = l.type(x).dims[0], channels = l.type(x).dims[1], in_pitch = l.pitch(x), pitch = l.pitch(out), r = std::move(*r)](RunContext& c) {
    if (r.linear) {
      resize_linear_nhwc(c.f32(x), in_pitch, c.f32_out(out), pitch, batch, channels, r.y, r.x);
    } else {
      pick_pixels_nhwc(c.f32(x), in_pitch, c.f32_out(out), pitch, batch, r.y.in, r.x.in, channels, r.y.low.data(), r.y.out(), r.x.low.data(), r.x.out());
    }
    return Status();
  };
  return lowered;
}

// [N, C b b, H, W] <-> [N, C, H b, W b] as a permutation of the six axes; `block_first` says whether the block's place runs
// slower than the channel within the many channels.
std::optional<Lowered> block_shuffle(Lowering& l, std::string_view size, bool to_space, bool block_first) {
  const int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.is_constant(x) || l.type(x).dims.size() != 4) return l.refuse("not a float tensor of rank 4");
  const int64_t b = l.call.i64(size);
  const Dims& deep = l.type(to_space ? x : out).dims;
  if (b < 1 || deep[1] % (b * b) != 0) return l.refuse("block size");
  const int64_t n = deep[0], channels = deep[1] / (b * b), h = deep[2], w = deep[3];
  Dims shape;
  std::vector<int64_t> perm;
  if (to_space) {
    shape = block_first ? Dims{n, b, b, channels, h, w} : Dims{n, channels, b, b, h, w};
    perm = block_first ? std::vector<int64_t>{0, 3, 4, 1, 5, 2} : std::vector<int64_t>{0, 1, 4, 2, 5, 3};
  } else {
    shape = {n, channels, h, b, w, b};
    perm = block_first ? std::vector<int64_t>{0, 3, 5, 1, 2, 4} : std::vector<int64_t>{0, 1, 3, 5, 2, 4};
  }
  Lowered lowered;
  lowered.kernel = "permutation";
  lowered.run = [=](RunContext& c) {
    transpose(c.tensor(x).bytes().data(), c.out(out).mutable_bytes(), shape, perm, sizeof(float));
    return Status();
  };
  return lowered;
}
std::optional<Lowered> lower_depth_to_space(Lowering& l) { return block_shuffle(l, "block_size", true, true); }
std::optional<Lowered> lower_space_to_depth(Lowering& l) { return block_shuffle(l, "block_size", false, true); }
std::optional<Lowered> lower_pixel_shuffle(Lowering& l) { return block_shuffle(l, "upscale_factor", true, false); }
std::optional<Lowered> lower_pixel_unshuffle(Lowering& l) { return block_shuffle(l, "downscale_factor", false, false); }

std::optional<Lowered> lower_resample(Lowering& l) {
  const int x = l.in("x"), coordinates = l.in("coordinates"), out = l.out();
  if (!l.is_float(x) || l.type(x).dims.size() != 4 || l.type(coordinates).dims.size() != 4) return l.refuse("not a float tensor of rank 4");
  const auto rule = ops::resample_rule(l.call);
  if (!rule) return l.refuse("sampling");
  const Dims &xd = l.type(x).dims, &od = l.type(out).dims;
  SampleShape shape{xd[0], xd[1], xd[2], xd[3], od[2] * od[3], rule->nearest, rule->value};
  if (shape.height < 1 || shape.width < 1 || shape.height * shape.width > INT32_MAX) return l.refuse("extents");
  l.keep_constant(x);
  l.keep_constant(coordinates);
  const bool whole = !l.is_float(coordinates);
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=, rule = *rule](RunContext& c) {
    const Tensor& points = c.tensor(coordinates);
    sample_planes(shape, c.f32(x), [&](int64_t image, int64_t first, int64_t n, double* rows, double* columns) {
      const int64_t at = 2 * (image * shape.points + first);
      for (int64_t i = 0; i < n; ++i) {
        const auto coordinate = [&](int64_t k) { return whole ? static_cast<double>(points.data<int32_t>()[at + 2 * i + k]) : static_cast<double>(points.data<float>()[at + 2 * i + k]); };
        rows[i] = ops::fold_coordinate(rule.to_pixel(coordinate(1), shape.height), shape.height, rule.border);
        columns[i] = ops::fold_coordinate(rule.to_pixel(coordinate(0), shape.width), shape.width, rule.border);
      }
    }, c.f32_out(out));
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"upsample_nearest_neighbor", "nearest", lower_resampling},
    {"upsample_bilinear", "linear", lower_resampling},
    {"resize_nearest_neighbor", "nearest", lower_resampling},
    {"resize_bilinear", "linear", lower_resampling},
    {"resize", "resampling", lower_resampling},
    {"resample", "simd", lower_resample},
    {"depth_to_space", "permutation", lower_depth_to_space},
    {"space_to_depth", "permutation", lower_space_to_depth},
    {"pixel_shuffle", "permutation", lower_pixel_shuffle},
    {"pixel_unshuffle", "permutation", lower_pixel_unshuffle},
};

constexpr LowerRow kChannelsLast[] = {
    {"upsample_nearest_neighbor", "nhwc nearest", lower_resampling_nhwc},
    {"upsample_bilinear", "nhwc linear", lower_resampling_nhwc},
    {"resize_nearest_neighbor", "nhwc nearest", lower_resampling_nhwc},
    {"resize_bilinear", "nhwc linear", lower_resampling_nhwc},
    {"resize", "nhwc resampling", lower_resampling_nhwc},
};

}  // namespace

std::optional<Resampling> resampling(Lowering& l) {
  const std::string& kind = l.node().op->kind;
  const int x = l.in("x"), out = l.out();
  if (x < 0 || !l.is_float(x) || l.is_constant(x)) return l.refuse("not a float tensor");
  const Dims &xd = l.type(x).dims, &od = l.type(out).dims;
  const size_t rank = xd.size();
  if (rank < 2 || od.size() != rank || !l.type(x).is_static() || !l.type(out).is_static()) return l.refuse("extents");
  for (size_t i = 0; i < rank; ++i)
    if (xd[i] == 0 || od[i] == 0 || (i + 2 < rank && xd[i] != od[i])) return l.refuse("extents");
  const int64_t in_h = xd[rank - 2], in_w = xd[rank - 1], out_h = od[rank - 2], out_w = od[rank - 1];

  if (kind == "upsample_nearest_neighbor" || kind == "resize_nearest_neighbor") {
    const auto rule = kind == "upsample_nearest_neighbor" ? ops::nearest_by_corner : ops::nearest_by_center;
    return Resampling{false, ResizeAxis::nearest(in_h, rule(in_h, out_h)), ResizeAxis::nearest(in_w, rule(in_w, out_w))};
  }
  std::optional<ops::Sampling> sampling;
  if (kind == "upsample_bilinear") {
    const bool align = l.call.flag("align_corners");
    const bool half = l.call.info().param("half_pixel_centers") != nullptr && l.call.has("half_pixel_centers") ? l.call.flag("half_pixel_centers") : !align;
    sampling = align ? ops::Sampling::kStrictAlignCorners : half ? ops::Sampling::kUnalignCorners : ops::Sampling::kDefault;
  } else {
    sampling = sampling_of(l);
    if (!sampling) return std::nullopt;
  }
  if (kind == "resize") {
    if (!l.call.known("interpolation_mode") || l.call.str("interpolation_mode") != "LINEAR") return l.refuse("interpolation mode");
    if (!l.call.known("resized_dims") || l.call.i64("resized_dims") != 2) return l.refuse("resizes other axes than the last two");
  }
  return Resampling{true, ResizeAxis::linear(in_h, ops::sample_grid(*sampling, static_cast<double>(in_h - 1), out_h)),
                    ResizeAxis::linear(in_w, ops::sample_grid(*sampling, static_cast<double>(in_w - 1), out_w))};
}

std::span<const LowerRow> resampling_lowerings() { return kRows; }
std::span<const LowerRow> channels_last_resampling_lowerings() { return kChannelsLast; }

}  // namespace mlt
