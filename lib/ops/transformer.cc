// scaled_dot_product_attention.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"
#include "lib/ops/reference_gemm.h"

namespace mlt::ops {
namespace {

// query [batch..., l, e], key [batch..., s, e], value [batch..., s, ev], mask broadcast to [batch..., l, s].
Result<Dims> attention_dims(Call& call, const Dims& query, const Dims& key, const Dims& value) {
  size_t rank = query.size();
  if (key.size() != rank || value.size() != rank)
    return input_error("query " + dims_text(query) + ", key " + dims_text(key) + " and value " + dims_text(value) + " must have one rank");
  if (rank < 3) return input_error("query, key and value must have rank 3 or more");
  for (size_t i = 0; i + 2 < rank; ++i)
    if (!extents_agree(query[i], key[i]) || !extents_agree(query[i], value[i]) || !extents_agree(key[i], value[i]))
      return input_error("query " + dims_text(query) + ", key " + dims_text(key) + " and value " + dims_text(value) +
                         " must have the same batch extents");
  if (!extents_agree(query[rank - 1], key[rank - 1])) return input_error("query and key must have the same embedding extent");
  if (!extents_agree(key[rank - 2], value[rank - 2])) return input_error("key and value must have the same sequence length");
  if (call.has("attn_mask")) {
    const Dims& mask = dims_of(call, "attn_mask");
    Dims scores(query.begin(), query.end() - 1);
    scores.push_back(key[rank - 2]);
    if (mask.empty() || mask.size() > rank || !extents_agree(mask.back(), key[rank - 2]))
      return input_error("attn_mask " + dims_text(mask) + " must end with the sequence length of key " + dims_text(key));
    MLT_ASSIGN(Dims joined, broadcast(scores, mask));
    for (size_t i = 0; i < rank; ++i)
      if (!extents_agree(joined[i], scores[i])) return input_error("attn_mask " + dims_text(mask) + " does not broadcast to " + dims_text(scores));
  }
  Dims out(query.begin(), query.end() - 1);
  out.push_back(value[rank - 1]);
  return out;
}

Result<std::vector<ir::Type>> infer_attention(Call& call) {
  MLT_ASSIGN(Dims out, attention_dims(call, call.type("query").dims, call.type("key").dims, call.type("value").dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("query").dtype, out)};
}

// softmax in place over a row that has been shifted and masked.
void softmax(float* row, int64_t count) {
  float top = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < count; ++i) top = row[i] > top || std::isnan(row[i]) ? row[i] : top;
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += row[i] = std::exp(row[i] - top);
  for (int64_t i = 0; i < count; ++i) row[i] /= sum;
}

Status eval_attention(Call& call) {
  const Tensor &query = call.tensor("query"), &key = call.tensor("key"), &value = call.tensor("value");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, attention_dims(call, query.dims(), key.dims(), value.dims()));
  MLT_TRY(element_count(dims));
  size_t rank = dims.size();
  int64_t l = query.dims()[rank - 2], e = query.dims()[rank - 1], s = key.dims()[rank - 2], ev = value.dims()[rank - 1];
  int64_t batches = product(dims, 0, rank - 2);
  // The mask as floats to add: false means minus infinity.
  Tensor mask;
  Dims mask_strides;
  if (call.has("attn_mask")) {
    const Tensor& given = call.tensor("attn_mask");
    if (call.failed()) return {};
    mask = convert(given, DType::kF32);
    if (given.dtype() == DType::kBool) {
      mask = mask.clone();
      for (int64_t i = 0; i < mask.size(); ++i)
        mask.mutable_data<float>()[i] = given.data<bool>()[i] ? 0.0f : -std::numeric_limits<float>::infinity();
    }
    Dims scores(dims.begin(), dims.end() - 1);
    scores.push_back(s);
    mask_strides = broadcast_strides(mask.dims(), scores);
  }
  float* out = output(call, 0, dims).mutable_data<float>();
  float scale = 1.0f / std::sqrt(static_cast<float>(e));
  constexpr int64_t kRows = 64;  // rows of scores kept at once
  int64_t blocks = (l + kRows - 1) / kRows;
  parallel_for(batches * blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scores(static_cast<size_t>(std::min(kRows, l) * s));
    for (int64_t task = begin; task < end; ++task) {
      int64_t b = task / blocks, first = task % blocks * kRows, rows = std::min(kRows, l - first);
      reference_gemm(rows, s, e, {query.data<float>() + (b * l + first) * e, e, 1}, {key.data<float>() + b * s * e, 1, e}, scores.data(), s);
      int64_t mask_start = 0, rest = b;
      for (size_t d = rank - 2; mask.valid() && d-- > 0;) {
        mask_start += rest % dims[d] * mask_strides[d];
        rest /= dims[d];
      }
      for (int64_t r = 0; r < rows; ++r) {
        float* row = scores.data() + r * s;
        for (int64_t i = 0; i < s; ++i) row[i] *= scale;
        if (mask.valid()) {
          const float* add = mask.data<float>() + mask_start + (first + r) * mask_strides[rank - 2];
          for (int64_t i = 0; i < s; ++i) row[i] += add[i * mask_strides[rank - 1]];
        }
        softmax(row, s);
      }
      reference_gemm(rows, ev, s, {scores.data(), s, 1}, {value.data<float>() + b * s * ev, ev, 1}, out + (b * l + first) * ev, ev);
    }
  });
  return {};
}

constexpr OpDef kOps[] = {
    {.name = "scaled_dot_product_attention",
     .since = Opset::kCoreML8,
     .signature = "query: T, key: T, value: T, attn_mask?: M -> y",
     .domains = "T: fp16 fp32; M: bool fp16 fp32",
     .infer = infer_attention,
     .eval = eval_attention,
     .exactness = Exactness::kApproximate,
     .doc = "softmax(query * transpose(key) / sqrt(e) + mask) * value. A bool mask lets true take part; a float mask is "
            "added to the scores."},
};

}  // namespace

std::span<const OpDef> transformer_ops() { return kOps; }

}  // namespace mlt::ops
