// What to do to which weights. Defaults are those of coremltools' optimize.coreml configurations.
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
  // Matches this text and no other.
  static Pattern exactly(std::string text);
  bool matches(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
  std::string exact_;
};

// Codes with scales, and zero points unless symmetric to code 0.
struct Linear {
  int bits = 8;           // ML programs: 4 or 8; networks: 1 to 8
  bool is_signed = true;  // networks store unsigned codes whichever is given
  bool symmetric = true;  // range symmetric to zero
  enum class Per { kTensor, kChannel, kBlock } per = Per::kChannel;
  // kBlock: one number, of input channels in a block, which then has one output channel; or the extent of a block on
  // every axis, 0 for the whole axis.
  std::vector<int64_t> block = {32};
  bool dynamic = false;   // networks: products of int8 with activations quantized at run time
  bool operator==(const Linear&) const = default;
};

// Codes into tables of 2^bits values.
struct Palette {
  enum class Mode {
    kKMeans,   // least squared error
    kUniform,  // evenly spaced from the smallest to the largest weight
    kUnique,   // lossless: as few bits as hold the distinct values; a weight with more than 256 stays
    kCustom,   // the given table
  } mode = Mode::kKMeans;
  int bits = 4;  // 1, 2, 3, 4, 6, 8; networks: 1 to 8. Not of kUnique; kCustom: from the table
  int64_t group = 0;               // a table for so many channels; 0: one for all
  std::optional<int> axis = {};         // of the channels, when it is not to be guessed from the op
  int vector = 1;                  // so many neighbours along the channel axis share a code
  bool channel_scale = false;      // channels are scaled to [-1, 1] before
  std::vector<float> table = {};   // kCustom: 2^bits values
  bool operator==(const Palette&) const = default;
};

// Some values become zero and are not stored.
struct Prune {
  enum class Kind { kSparsity, kThreshold, kPattern } kind = Kind::kSparsity;
  double sparsity = 0;           // kSparsity: share of the smallest magnitudes
  int64_t block = 1;             // kSparsity: zeroed in blocks of so many channels along dim
  double threshold = 1e-12;      // kThreshold: magnitudes up to it
  double minimum_sparsity = 0.5; // kThreshold: a weight with a smaller share of zeros stays
  int n = 0, m = 0;              // kPattern: n zeros in every m along dim
  int dim = 0;                   // 0: output channels, 1: input channels
  bool operator==(const Prune&) const = default;
};

// What becomes of one weight. Several: joint compression (pruned, then codes for what is left; the values of a palette
// quantized).
struct Recipe {
  bool float16 = false;  // half-precision storage; the model computes as before
  std::optional<Prune> prune = {};
  std::optional<Palette> palette = {};
  std::optional<Linear> linear = {};
  // Weights of at most so many elements stay as they are. Not given: as coremltools does, 2048 in ML programs and 0 in
  // networks; half precision loses little, so there always 0.
  std::optional<int64_t> threshold = {};
  bool none() const { return !float16 && !prune && !palette && !linear; }
  bool operator==(const Recipe&) const = default;
};

// An exception: the recipe for ops of a kind, or for weights by name.
struct Rule {
  std::string op_kind;          // "conv"; empty: by name
  std::optional<Pattern> name;
  Recipe recipe;                // none(): stays as it is
};

struct Config {
  Recipe recipe = {};
  // The first that matches one of the weight's own names; else, of every user, the first by its name, the first by its
  // kind, or `recipe`.
  std::vector<Rule> rules = {};
  bool decompress = false;  // plain constants again; no recipes then

  // A weight is meant when `only` is empty or one of it matches one of the weight's names, and none of `skip` does. Its
  // names: its own and those of the ops that use it; in neural networks "layer", "layer/weight".
  std::vector<Pattern> only = {}, skip = {};
  bool selects(const std::vector<std::string>& names) const;
  // For a weight of this name with these users; null when they have different recipes.
  struct User {
    std::string name, kind;
  };
  const Recipe* recipe_for(const std::vector<std::string>& names, const std::vector<User>& users) const;

  // ML programs: raise the opset to this one first. Without it the opset is only raised when compressed constants need
  // CoreML6 and the program has none of them yet.
  std::optional<ops::Opset> target = {};
};

// "linear int8 symmetric per channel", for people.
std::string describe(const Recipe& recipe);
std::string describe(const Config& config);

}  // namespace mlt::compress
