// MIL text, the language of an .mlmodelc's model.mil (grammar: reference of the compiled format; versions "1.0" and
// "1.3" spell types differently).
#pragma once
#include <string>

#include "lib/base/result.h"
#include "lib/ir/graph.h"

namespace mlt::ir {

struct PrintOptions {
  std::string version = "1.3";  // "1.0" for specification versions up to 8, "1.3" from 9 on
  bool elide_large = false;     // for people: constants of more than 16 elements print as "..." (not parsable)
};
std::string print(const Program& program, const PrintOptions& options);
std::string print(const Type& type, const PrintOptions& options);

// Resolves a file constant to its tensor, or returns an invalid Tensor when the file is missing; an error when the
// record does not fit the type.
using BlobResolver = std::function<Result<Tensor>(const BlobRef&, const Type&)>;
// Parses both versions; errors carry line and column. Nesting, sizes and counts are bounded.
Result<std::unique_ptr<Program>> parse(std::string_view text, const BlobResolver& blobs);

}  // namespace mlt::ir
