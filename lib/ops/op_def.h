// The one op table. Each operation of MIL is one OpDef row in its family's file: name, opset, signature, type and
// shape inference, reference evaluation, exactness, doc. Everything else (verifier, constant folding, executor's
// fallback, oracle for fast kernels, converters' builder, documentation) reads the row.
//
//   {.name = "clamped_relu", .since = Opset::kCoreML5, .signature = "x: T, alpha: const T, beta: const T -> y",
//    .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval_clamped_relu,
//    .doc = "min(beta, x) where x >= 0, otherwise min(beta, alpha * x)."},
//
// Signature grammar:  param {", " param} " -> " outputs
//   param   := name ["?"] ["*"] ":" ["const"] types ["=" default]
//   types   := domain letter declared in `domains`, or dtype names joined by "|", or "list", "state", "any", "dict"
//   "?"     the parameter may be absent (a default implies it); "*" a tuple of operands
//   default := number | true | false | "text" | [numbers]
//   outputs := names joined by ", ", or "*" when their number depends on the op
// A later opset's version of an op is another row of the same name with a later `since`.
#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ir/graph.h"

namespace mlt::ops {

class Call;

// Named by MIL's tokens; the value is the specification version that introduces it. CoreML3 and CoreML4 programs use
// the CoreML5 rows.
enum class Opset : int { kCoreML5 = 6, kCoreML6 = 7, kCoreML7 = 8, kCoreML8 = 9, kCoreML9 = 10 };
std::optional<Opset> opset_from_token(std::string_view token);  // "CoreML7" or "ios17"
std::string_view opset_token(Opset opset);                      // "CoreML7"
std::string_view opset_text_token(Opset opset);                 // "ios17", as in MIL text

// How closely another implementation must agree: exact values, rounding of a few last bits, or a chain of roundings.
enum class Exactness : uint8_t { kExact, kRounding, kApproximate, kRandom };

// Infers output types from the input types and known values: returns one Type per output. Extents may be unknown.
using InferFn = Result<std::vector<ir::Type>> (*)(Call&);
// Computes the outputs from inputs that are all present. See Call for what it sees.
using EvalFn = Status (*)(Call&);

struct OpDef {
  std::string_view name;
  Opset since = Opset::kCoreML5;
  std::string_view signature;
  std::string_view domains = {};
  InferFn infer = nullptr;
  EvalFn eval = nullptr;  // null only for control flow and state, which the executor itself runs
  Exactness exactness = Exactness::kRounding;
  bool raw_inputs = false;  // eval sees inputs in their stored element type instead of the compute type
  bool reads_types_only = false;  // eval needs no value of an operand whose type is static (shape, fill_like)
  bool core = true;         // false: not MIL; a layer of NeuralNetwork that MIL has no word for (legacy_nn.cc)
  std::string_view doc = {};
};

struct Param {
  std::string_view name;
  bool is_const = false, optional = false, variadic = false;
  char domain = 0;             // 'T' when the types are a domain's
  std::vector<DType> dtypes;   // allowed element types; empty for list, state, any, dict
  std::string_view kind;       // "tensor", "list", "state", "any", "dict"
  std::string_view default_text;
};

// A row with its signature parsed.
struct OpInfo {
  const OpDef* def = nullptr;
  std::vector<Param> params;
  std::vector<std::string_view> outputs;
  bool variadic_outputs = false;
  const Param* param(std::string_view name) const;
};

// The newest version of `name` not newer than `opset`; null when there is none.
const OpInfo* find_op(std::string_view name, Opset opset);
// All rows, sorted by name and opset.
std::span<const OpInfo> all_ops();
// Problems in the table itself (bad signature, missing doc or infer, duplicate row); a unit test wants none.
std::vector<std::string> check_table();

}  // namespace mlt::ops
