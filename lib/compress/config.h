// What to do to which weights.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ops/op_def.h"

namespace mlt::compress {

// A POSIX extended regular expression that is searched for, as grep -E does.
class Pattern {
 public:
  // kUsage when the text is no regular expression.
  static Result<Pattern> compile(const std::string& text);
  bool matches(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

enum class Method {
  kFloat16,     // half-precision storage; the model computes as before
  kLinear,      // 8-bit codes with scales and zero points
  kPalette,     // codes into a table of 2^bits values, found by k-means
  kDecompress,  // plain constants again
};

struct Config {
  Method method = Method::kLinear;

  // kLinear
  bool is_signed = true;   // int8 or uint8
  bool symmetric = true;   // range symmetric to zero
  bool per_channel = true; // a scale for each output channel

  // kPalette: 1, 2, 3, 4, 6 or 8
  int bits = 4;

  // Weights of at most so many elements stay as they are. Not used by kDecompress.
  int64_t threshold = 2048;
  // A weight is meant when `only` is empty or one of it matches one of the weight's names, and none of `skip` does. Its
  // names: its own and those of the ops that use it; in neural networks "layer", "layer/weight".
  std::vector<Pattern> only = {}, skip = {};
  bool selects(const std::vector<std::string>& names) const;

  // ML programs: raise the opset to this one first. Without it the opset is only raised when compressed constants need
  // CoreML6 and the program has none of them yet.
  std::optional<ops::Opset> target = {};
};

}  // namespace mlt::compress
