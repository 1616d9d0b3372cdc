// What the inputs and outputs of a causal language model are for. Found by name, shape and type; every guess can be
// overridden. Names are compared in lower case without anything that is not a letter or digit.
//
//   tokens          input_ids, token(s), token_ids, input_token(s), ids; else the only integer array that is left
//   logits          logits, lm_logits, anything with "logits"; else the only array output that is left
//   positions       a name with "position" or "pos", or past/cache length, offset, start: the positions of the tokens that
//                   are fed, or, where there is one element for several tokens, that of the first
//   causal mask     a name with "mask" and three axes or more, [..., queries, keys]: 0 and -65504 in floats (minus infinity
//                   for float16 arithmetic), 1 and 0 in integers
//   attention mask  a name with "mask" and at most two axes, [.., keys]: 1 where there is a token
//   update mask     "update_mask": 1 at the position of the token, along its longest axis
//   token types     token_type_ids: 0
//   caches          arrays in, arrays out, whose names are equal without the words past, present, previous, next, new,
//                   updated, in, out, input, output, cache, states: past_key_values.0.key and present.0.key
//
// Anything else must be optional or be given a value that stays the same.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"

namespace mlt {

struct RoleOptions {
  std::optional<std::string> tokens, logits, mask, position;
  std::vector<std::pair<std::string, std::string>> caches;  // input, output
  FeatureMap constants;                                     // inputs with a value of the caller's
};

enum class TokenRole { kTokens, kPositions, kCausalMask, kAttentionMask, kUpdateMask, kZeros };

struct RoleInput {
  coreml::FeatureDescription feature;
  TokenRole role;
};

struct CachePair {
  coreml::FeatureDescription input;
  std::string output;
  size_t axis = 0;        // the one that holds one entry for each token
  bool grows = false;     // its extent is flexible
  int64_t shortest = 0;   // least extent that the model takes
  int64_t longest = -1;   // -1: no limit
};

struct GenerationRoles {
  std::vector<RoleInput> inputs;  // tokens first
  std::string logits;
  std::vector<CachePair> caches;
  size_t token_axis = 0;
  const coreml::ArrayType& tokens() const { return inputs[0].feature.type.array; }
};

// kUnsupported with everything that could not be understood; kUsage for an option that names nothing.
Result<GenerationRoles> find_roles(const coreml::FunctionDescription& function, const RoleOptions& options);

// Extents that a described array allows on an axis; at_least and at_most give the nearest allowed one, or -1.
bool axis_allows(const coreml::ArrayType& array, size_t axis, int64_t extent);
bool axis_is_fixed(const coreml::ArrayType& array, size_t axis);
int64_t axis_lower(const coreml::ArrayType& array, size_t axis);
int64_t axis_upper(const coreml::ArrayType& array, size_t axis);  // -1: unbounded
int64_t axis_at_least(const coreml::ArrayType& array, size_t axis, int64_t extent);
int64_t axis_at_most(const coreml::ArrayType& array, size_t axis, int64_t extent);  // -1: none

}  // namespace mlt
