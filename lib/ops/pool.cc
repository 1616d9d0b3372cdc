// avg_pool, max_pool, l2_pool over 1 to 3 spatial axes.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "lib/base/threads.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

struct PoolShape {
  Dims out_dims;
  std::vector<Window> windows;
};

// The rule for ceil_mode is Caffe's: a window that would start beyond the input and its leading padding is dropped, but
// only when there is padding (source: PoolingLayerParams in NeuralNetwork.proto).
int64_t pool_extent(const Window& w, int64_t in, bool ceil_mode) {
  int64_t total = w.pad_before + w.pad_after, span = in + total - w.kernel + (ceil_mode ? w.stride - 1 : 0);
  if (span < 0) return 0;
  int64_t out = span / w.stride + 1;
  if (ceil_mode && total > 0 && 2 * (out - 1) * w.stride >= 2 * in + total) --out;
  return out;
}

Result<PoolShape> pool_shape(Call& call, const Dims& x) {
  MLT_TRY(check_extents(x));
  if (x.size() < 3 || x.size() > 5) return input_error("x must have rank 3, 4 or 5, not " + std::to_string(x.size()));
  size_t rank = x.size() - 2;
  std::string name = call.str("pad_type");
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::vector<int64_t> kernel = call.ints("kernel_sizes");
  auto strides = call.has("strides") ? call.ints("strides") : std::vector<int64_t>(rank, 1);
  auto pad = call.has("pad") ? call.ints("pad") : std::vector<int64_t>(2 * rank, 0);
  bool ceil_mode = call.flag("ceil_mode");
  if (call.failed()) return *call.error();
  MLT_ASSIGN(PadType pad_type, pad_type_from_name(name));
  if (ceil_mode) {
    if (rank > 2) return input_error("ceil_mode is defined for one or two spatial axes only");
    if (pad_type == PadType::kSame) return input_error("ceil_mode must be false with pad_type \"same\"");
    for (size_t i = 0; i + 1 < pad.size(); i += 2)
      if (pad[i] != pad[i + 1]) return input_error("ceil_mode needs symmetric padding");
  }
  PoolShape shape{{x[0], x[1]}, {}};
  MLT_ASSIGN(shape.windows, make_windows(pad_type, Dims(x.begin() + 2, x.end()), kernel, strides, std::vector<int64_t>(rank, 1), pad));
  for (size_t i = 0; i < rank; ++i) {
    int64_t out = x[2 + i] < 0 ? ir::kUnknown : pool_extent(shape.windows[i], x[2 + i], ceil_mode);
    if (out == 0)
      return input_error("spatial axis " + std::to_string(i) + " of x " + dims_text(x) + " is smaller than the kernel");
    shape.out_dims.push_back(out);
  }
  return shape;
}

Result<std::vector<ir::Type>> infer_pool(Call& call) {
  MLT_ASSIGN(PoolShape shape, pool_shape(call, call.type("x").dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("x").dtype, shape.out_dims)};
}

Result<std::vector<ir::Type>> infer_l2_pool(Call& call) {
  if (call.type("x").rank() > 4) return input_error("l2_pool takes one or two spatial axes");
  return infer_pool(call);
}

// Calls window(first index, one past the last, padded extent) for one output position along one axis.
struct Range {
  int64_t begin, end, padded;  // inside the input; elements including those in the padding
};
Range range_of(const Window& w, int64_t out, int64_t in) {
  int64_t start = out * w.stride - w.pad_before, stop = std::min(start + w.kernel, in + w.pad_after);
  return {std::max<int64_t>(start, 0), std::min(stop, in), stop - start};
}

// Reduces every window: `first` starts a window, `step` takes one element, `last` turns the sum and the two counts
// (elements inside the input, elements including padding) into the result.
template <typename Step, typename Last>
Status pool(Call& call, float first, Step step, Last last) {
  const Tensor& x = call.tensor("x");
  if (call.failed()) return {};
  MLT_ASSIGN(PoolShape shape, pool_shape(call, x.dims()));
  MLT_TRY(element_count(shape.out_dims));
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1};
  Window w[3];
  size_t rank = shape.windows.size();
  for (size_t i = 0; i < rank; ++i) {
    in[3 - rank + i] = x.dims()[2 + i];
    out[3 - rank + i] = shape.out_dims[2 + i];
    w[3 - rank + i] = shape.windows[i];
  }
  const float* from = x.data<float>();
  float* to = output(call, 0, shape.out_dims).mutable_data<float>();
  int64_t in_size = in[0] * in[1] * in[2], out_size = out[0] * out[1] * out[2];
  parallel_for(x.dims()[0] * x.dims()[1], 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const float* source = from + plane * in_size;
      float* target = to + plane * out_size;
      for (int64_t od = 0; od < out[0]; ++od) {
        Range d = range_of(w[0], od, in[0]);
        for (int64_t oh = 0; oh < out[1]; ++oh) {
          Range h = range_of(w[1], oh, in[1]);
          for (int64_t ow = 0; ow < out[2]; ++ow) {
            Range r = range_of(w[2], ow, in[2]);
            float value = first;
            for (int64_t id = d.begin; id < d.end; ++id)
              for (int64_t ih = h.begin; ih < h.end; ++ih) {
                const float* row = source + (id * in[1] + ih) * in[2];
                for (int64_t iw = r.begin; iw < r.end; ++iw) value = step(value, row[iw]);
              }
            int64_t inside = std::max<int64_t>(0, d.end - d.begin) * std::max<int64_t>(0, h.end - h.begin) *
                             std::max<int64_t>(0, r.end - r.begin);
            *target++ = last(value, inside, d.padded * h.padded * r.padded);
          }
        }
      }
    }
  });
  return {};
}

Status eval_avg_pool(Call& call) {
  bool exclude = call.flag("exclude_padding_from_average");
  return pool(
      call, 0.0f, [](float sum, float v) { return sum + v; },
      [exclude](float sum, int64_t inside, int64_t padded) {
        int64_t count = exclude ? inside : padded;
        return count > 0 ? sum / static_cast<float>(count) : 0.0f;
      });
}

Status eval_max_pool(Call& call) {
  return pool(
      call, -std::numeric_limits<float>::infinity(), [](float best, float v) { return v > best || std::isnan(v) ? v : best; },
      [](float best, int64_t, int64_t) { return best; });
}

Status eval_l2_pool(Call& call) {
  return pool(
      call, 0.0f, [](float sum, float v) { return sum + v * v; }, [](float sum, int64_t, int64_t) { return std::sqrt(sum); });
}

constexpr OpDef kOps[] = {
    {.name = "avg_pool",
     .signature = "x: T, kernel_sizes: const int32, strides?: const int32, pad_type: const string, pad?: const int32, "
                  "ceil_mode: const bool = false, exclude_padding_from_average: const bool = false -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_pool,
     .eval = eval_avg_pool,
     .doc = "Mean over sliding windows of the spatial axes of x [n, c, d...]. Padding counts as zeros unless "
            "exclude_padding_from_average."},
    {.name = "l2_pool",
     .signature = "x: T, kernel_sizes: const int32, strides?: const int32, pad_type: const string, pad?: const int32, "
                  "ceil_mode: const bool = false -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_l2_pool,
     .eval = eval_l2_pool,
     .doc = "Square root of the sum of squares over sliding windows of one or two spatial axes."},
    {.name = "max_pool",
     .signature = "x: T, kernel_sizes: const int32, strides?: const int32, pad_type: const string, pad?: const int32, "
                  "ceil_mode: const bool = false -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_pool,
     .eval = eval_max_pool,
     .exactness = Exactness::kExact,
     .doc = "Maximum over sliding windows of the spatial axes of x [n, c, d...]; padding never wins, NaN does."},
};

}  // namespace

std::span<const OpDef> pool_ops() { return kOps; }

}  // namespace mlt::ops
