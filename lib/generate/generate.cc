#include "lib/generate/generate.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace mlt {
namespace {

using coreml::ArrayType;

constexpr float kMasked = -65504;

// Copies entries [begin, end) of an axis.
Tensor slice(const Tensor& tensor, size_t axis, int64_t begin, int64_t end) {
  Dims dims = tensor.dims();
  int64_t outer = 1, inner = dtype_bits(tensor.dtype()) / 8;
  for (size_t i = 0; i < axis; ++i) outer *= dims[i];
  for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  int64_t extent = dims[axis], kept = end - begin;
  dims[axis] = kept;
  Tensor out = Tensor::uninitialized(tensor.dtype(), dims);
  for (int64_t o = 0; o < outer; ++o)
    std::memcpy(out.mutable_bytes() + o * kept * inner, tensor.bytes().data() + (o * extent + begin) * inner, static_cast<size_t>(kept * inner));
  return out;
}

Tensor concat(const Tensor& a, const Tensor& b, size_t axis) {
  Dims dims = a.dims();
  int64_t outer = 1, inner = dtype_bits(a.dtype()) / 8;
  for (size_t i = 0; i < axis; ++i) outer *= dims[i];
  for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  int64_t first = a.dims()[axis] * inner, second = b.dims()[axis] * inner;
  dims[axis] += b.dims()[axis];
  Tensor out = Tensor::uninitialized(a.dtype(), dims);
  for (int64_t o = 0; o < outer; ++o) {
    std::memcpy(out.mutable_bytes() + o * (first + second), a.bytes().data() + o * first, static_cast<size_t>(first));
    std::memcpy(out.mutable_bytes() + o * (first + second) + first, b.bytes().data() + o * second, static_cast<size_t>(second));
  }
  return out;
}

// The lesser of two limits, -1 being none.
int64_t lesser(int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); }

}  // namespace

Result<Generator> Generator::create(Predictor& predictor, GenerateOptions options) {
  Generator generator(predictor, std::move(options));
  MLT_TRY(generator.prepare());
  return generator;
}

Status Generator::prepare() {
  MLT_ASSIGN(roles_, find_roles(predictor_->description(), options_.roles));
  MLT_ASSIGN(state_, predictor_->initial_state());
  cached_ = !state_.empty() || !roles_.caches.empty();
  bool masked = false;
  for (const RoleInput& input : roles_.inputs) {
    const ArrayType& array = input.feature.type.array;
    if (input.role != TokenRole::kCausalMask && input.role != TokenRole::kAttentionMask) continue;
    masked = true;
    size_t keys = array.shape.size() - 1;
    if (!mask_of_tokens(array)) context_ = lesser(context_, axis_upper(array, keys));
  }
  if (!cached_) context_ = lesser(context_, axis_upper(roles_.tokens(), roles_.token_axis));
  // States of four axes and more: [.., tokens, channels].
  for (const auto& [name, tensor] : state_)
    if (tensor.rank() >= 4) context_ = lesser(context_, tensor.dims()[static_cast<size_t>(tensor.rank() - 2)]);
  for (const CachePair& pair : roles_.caches) {
    Dims dims = pair.input.type.array.shape;
    if (pair.grows) {
      dims[pair.axis] = pair.shortest;
      filler_ = std::max(filler_, pair.shortest);
    }
    if (pair.longest >= 0) context_ = lesser(context_, pair.longest - pair.shortest * pair.grows + 1);
    MLT_TRY(element_count(dims));
  }
  if (filler_ > 0 && context_ >= 0) context_ = std::max<int64_t>(context_ - filler_, 1);
  if (filler_ > 0 && !masked)
    return unsupported_error("a cache input cannot be empty, and there is no mask input to leave its first entries out",
                             "--mask-input names one; an author allows an extent of 0");
  if (options_.context) context_ = *options_.context;
  return {};
}

// A mask that is as long as the tokens that are fed says nothing of those before them.
bool Generator::mask_of_tokens(const ArrayType& array) const {
  size_t keys = array.shape.size() - 1;
  return cached_ && axis_is_fixed(array, keys) && axis_is_fixed(roles_.tokens(), roles_.token_axis) && array.shape[keys] == roles_.tokens().shape[roles_.token_axis];
}

Result<Tensor> Generator::input_value(const RoleInput& input, const std::vector<int64_t>& sequence, size_t from, size_t n, size_t extent) const {
  const ArrayType& array = input.feature.type.array;
  Dims dims = array.shape;
  auto past = static_cast<int64_t>(from), fed = static_cast<int64_t>(n), total = past + fed;
  auto size_of = [&]() -> Result<Tensor> {
    MLT_ASSIGN(int64_t count, element_count(dims));
    return Tensor::zeros(DType::kF32, dims).reshaped({count});
  };
  auto finish = [&](Tensor values) { return convert(values.reshaped(dims), array.dtype().value_or(DType::kF64)); };
  // The position that each key column stands for; -1 for none.
  auto columns = [&](size_t axis) {
    int64_t natural = roles_.caches.empty() ? (cached_ ? total : static_cast<int64_t>(extent)) : filler_ + total;
    int64_t count = axis_is_fixed(array, axis) ? array.shape[axis] : natural;
    // A fixed cache followed by the tokens that are fed: what is known stands at its end.
    bool follows = false;
    for (const CachePair& pair : roles_.caches) follows = follows || (!pair.grows && count == pair.input.type.array.shape[pair.axis] + fed);
    std::vector<int64_t> positions(static_cast<size_t>(count), -1);
    for (int64_t i = 0; i < count; ++i) {
      int64_t position = follows ? total - count + i : i - filler_;
      if (mask_of_tokens(array)) position = past + i;
      if (position >= 0 && position < total) positions[static_cast<size_t>(i)] = position;
    }
    dims[axis] = count;
    return positions;
  };
  switch (input.role) {
    case TokenRole::kTokens: {
      dims[roles_.token_axis] = static_cast<int64_t>(extent);
      std::vector<int64_t> ids(extent, 0);
      std::copy(sequence.begin() + past, sequence.begin() + total, ids.begin());
      return convert(Tensor::from<int64_t>(dims, ids), array.dtype().value_or(DType::kF64));
    }
    case TokenRole::kPositions: {
      for (size_t i = 0; i < dims.size(); ++i)
        if (!axis_is_fixed(array, i)) dims[i] = static_cast<int64_t>(extent);
      MLT_ASSIGN(Tensor values, size_of());
      for (int64_t i = 0; i < values.size(); ++i) values.mutable_data<float>()[i] = static_cast<float>(past + i);
      return finish(values);
    }
    case TokenRole::kZeros: {
      for (size_t i = 0; i < dims.size(); ++i)
        if (!axis_is_fixed(array, i)) dims[i] = static_cast<int64_t>(extent);
      MLT_ASSIGN(Tensor values, size_of());
      return finish(values);
    }
    case TokenRole::kUpdateMask: {
      auto longest = static_cast<size_t>(std::max_element(dims.begin(), dims.end()) - dims.begin());
      MLT_ASSIGN(Tensor values, size_of());
      if (values.size() != dims[longest]) return unsupported_error("input \"" + input.feature.name + "\": an update mask of one axis is understood, not " + dims_text(dims));
      for (int64_t i = past; i < std::min(total, values.size()); ++i) values.mutable_data<float>()[i] = 1;
      return finish(values);
    }
    case TokenRole::kAttentionMask: {
      auto positions = columns(dims.size() - 1);
      for (size_t i = 0; i + 1 < dims.size(); ++i)
        if (dims[i] != 1) return unsupported_error("input \"" + input.feature.name + "\": an attention mask has one row, not " + dims_text(dims));
      MLT_ASSIGN(Tensor values, size_of());
      for (size_t i = 0; i < positions.size(); ++i) values.mutable_data<float>()[i] = positions[i] >= 0 ? 1 : 0;
      return finish(values);
    }
    case TokenRole::kCausalMask: {
      auto positions = columns(dims.size() - 1);
      size_t rows = dims.size() - 2;
      if (!axis_is_fixed(array, rows)) dims[rows] = static_cast<int64_t>(extent);
      for (size_t i = 0; i < rows; ++i)
        if (dims[i] != 1) return unsupported_error("input \"" + input.feature.name + "\": a causal mask is [1, .., queries, keys], not " + dims_text(dims));
      MLT_ASSIGN(Tensor values, size_of());
      bool additive = is_float(array.dtype().value_or(DType::kF64));
      float* out = values.mutable_data<float>();
      for (int64_t q = 0; q < dims[rows]; ++q)
        for (int64_t position : positions) {
          bool seen = position >= 0 && position <= past + q;
          *out++ = additive ? (seen ? 0 : kMasked) : (seen ? 1 : 0);
        }
      return finish(values);
    }
  }
  return input_error("input \"" + input.feature.name + "\" has no role");
}

Status Generator::follow(CachePair& pair, Tensor& cache, const Tensor& output, int64_t n) const {
  std::string place = "cache \"" + pair.input.name + "\": output \"" + pair.output + "\" is " + dims_text(output.dims());
  if (output.rank() != cache.rank()) return input_error(place + ", the input " + dims_text(cache.dims()));
  for (size_t i = 0; i < cache.dims().size(); ++i)
    if (i != pair.axis && output.dims()[i] != cache.dims()[i]) return input_error(place + ", the input " + dims_text(cache.dims()));
  int64_t before = cache.dims()[pair.axis], after = output.dims()[pair.axis];
  Tensor next = convert(output, cache.dtype());
  if (after == before + n || (after == before && !pair.grows)) {
    cache = std::move(next);
  } else if (after == n) {
    cache = concat(cache, next, pair.axis);
  } else {
    return unsupported_error(place + " after " + std::to_string(n) + " tokens and a cache of " + std::to_string(before), "one that grows, or keeps its size, is understood");
  }
  int64_t extent = cache.dims()[pair.axis];
  int64_t limit = pair.grows ? pair.longest : before;
  if (limit >= 0 && extent > limit) cache = slice(cache, pair.axis, extent - limit, extent);
  return {};
}

Result<std::vector<float>> Generator::feed(const std::vector<int64_t>& sequence, size_t from, size_t n) {
  int64_t extent = axis_at_least(roles_.tokens(), roles_.token_axis, static_cast<int64_t>(n));
  if (extent < 0 || (cached_ && extent != static_cast<int64_t>(n))) return unsupported_error("the model takes no piece of " + std::to_string(n) + " tokens");
  FeatureMap inputs = options_.roles.constants;
  for (const RoleInput& input : roles_.inputs) {
    MLT_ASSIGN(Tensor value, input_value(input, sequence, from, n, static_cast<size_t>(extent)));
    inputs[input.feature.name] = std::move(value);
  }
  for (size_t i = 0; i < roles_.caches.size(); ++i) inputs[roles_.caches[i].input.name] = caches_[i];
  MLT_ASSIGN(FeatureMap outputs, predictor_->predict(inputs, &state_));
  for (size_t i = 0; i < roles_.caches.size(); ++i) {
    const auto* output = std::get_if<Tensor>(&outputs[roles_.caches[i].output]);
    if (output == nullptr) return input_error("output \"" + roles_.caches[i].output + "\" is no array");
    MLT_TRY(follow(roles_.caches[i], caches_[i], *output, static_cast<int64_t>(n)));
  }
  const auto* logits = std::get_if<Tensor>(&outputs[roles_.logits]);
  if (logits == nullptr || logits->size() == 0) return input_error("output \"" + roles_.logits + "\" is no array of scores");
  // [.., rows, vocabulary] or [.., vocabulary, 1, 1]; one row, or one for each token that went in.
  Dims dims = logits->dims();
  while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
  int64_t vocabulary = dims.back(), rows = logits->size() / vocabulary;
  if (rows != 1 && rows != extent)
    return unsupported_error("output \"" + roles_.logits + "\" is " + dims_text(logits->dims()) + " for " + std::to_string(extent) + " tokens");
  std::vector<float> all = to_floats(*logits);
  auto row = all.begin() + static_cast<std::ptrdiff_t>(rows == 1 ? 0 : (static_cast<int64_t>(n) - 1) * vocabulary);
  if (rows == 1 && extent != static_cast<int64_t>(n))
    return unsupported_error("output \"" + roles_.logits + "\" has the scores of the last of " + std::to_string(extent) + " tokens, and only " + std::to_string(n) + " are there");
  return std::vector<float>(row, row + static_cast<std::ptrdiff_t>(vocabulary));
}

Result<Generation> Generator::run(const std::vector<int64_t>& prompt, const std::function<Status(int64_t)>& emit) {
  if (prompt.empty()) return input_error("the prompt is empty");
  for (int64_t id : prompt)
    if (id < 0 || id > std::numeric_limits<int32_t>::max()) return input_error("token " + std::to_string(id) + " cannot be");
  if (context_ >= 0 && static_cast<int64_t>(prompt.size()) > context_)
    return input_error("the prompt has " + std::to_string(prompt.size()) + " tokens, the model's context " + std::to_string(context_));
  MLT_ASSIGN(state_, predictor_->initial_state());
  caches_.clear();
  for (const CachePair& pair : roles_.caches) {
    Dims dims = pair.input.type.array.shape;
    if (pair.grows) dims[pair.axis] = filler_;
    caches_.push_back(Tensor::zeros(pair.input.type.array.dtype().value_or(DType::kF64), dims));
  }
  Generation out;
  out.prompt_tokens = prompt.size();
  std::vector<int64_t> sequence = prompt;
  Sampler sampler(options_.sampling);
  size_t done = 0;
  while (static_cast<int64_t>(out.ids.size()) < options_.max_tokens) {
    std::vector<float> scores;
    if (cached_) {
      while (done < sequence.size()) {
        int64_t n = axis_at_most(roles_.tokens(), roles_.token_axis, static_cast<int64_t>(sequence.size() - done));
        if (n < 1)
          return unsupported_error("the model takes at least " + std::to_string(axis_lower(roles_.tokens(), roles_.token_axis)) + " tokens at once, " +
                                   std::to_string(sequence.size() - done) + " are left to feed");
        MLT_ASSIGN(scores, feed(sequence, done, static_cast<size_t>(n)));
        done += static_cast<size_t>(n);
      }
    } else {
      MLT_ASSIGN(scores, feed(sequence, 0, sequence.size()));
    }
    for (int64_t id : prompt)
      if (id >= static_cast<int64_t>(scores.size())) return input_error("token " + std::to_string(id) + " is not in the model's vocabulary of " + std::to_string(scores.size()));
    int64_t id = sampler.choose(scores);
    if (id < 0) return input_error("no score is a number", "--strict-fp16 without --generate shows where they are lost");
    if (std::find(options_.stop.begin(), options_.stop.end(), id) != options_.stop.end()) {
      out.end = Generation::End::kStop;
      return out;
    }
    out.ids.push_back(id);
    sequence.push_back(id);
    MLT_TRY(emit(id));
    if (context_ >= 0 && static_cast<int64_t>(sequence.size()) > context_ && static_cast<int64_t>(out.ids.size()) < options_.max_tokens) {
      out.end = Generation::End::kContext;
      return out;
    }
  }
  return out;
}

}  // namespace mlt
