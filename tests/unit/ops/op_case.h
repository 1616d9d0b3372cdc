// Op cases: tests of the op table as text (tests/ops/*.case, grammar in tests/ops/README.md), and the ways to run them.
// A backend is anything that turns a case into outputs; the reference evaluation, the same op inside a program, and
// later the executor with each instruction set and a model's round trip through its files are all backends.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ir/graph.h"
#include "lib/ops/call.h"

namespace mlt::test {

// An input or expected output. Without a value only the type counts.
struct CaseValue {
  ir::Type type;
  ops::RtValue value;  // in the declared element type
};

struct OpCase {
  std::string file, name;
  int line = 0;
  ops::Opset opset = ops::Opset::kCoreML5;
  std::string op;   // the op under test, or
  std::string mil;  // a whole program's MIL text; inputs are then those of its function "main"
  struct Input {
    std::string param;
    std::vector<CaseValue> values;  // several make a tuple
    bool constant = false;          // written as `const`: a constant in a program even where the op takes any value
  };
  std::vector<Input> inputs;
  std::vector<CaseValue> outputs;
  std::optional<std::string> error;  // part of the expected message
  std::optional<double> tolerance;
  std::string place() const { return file + ":" + std::to_string(line) + ": " + name; }
};

// All cases of a text; errors name the line.
Result<std::vector<OpCase>> parse_op_cases(std::string_view text, const std::string& file);
// Every tests/ops/*.case of the source directory, or *.case of MLT_OPCASE_DIR, whose name contains `filter`.
Result<std::vector<OpCase>> load_op_cases(const std::string& filter = {});

// The case as a program: parameters that are constant by signature or by the case become const ops, the others inputs of "main" named
// as the parameter (with _0, _1 ... in a tuple); output types come from inference.
struct CaseProgram {
  std::unique_ptr<ir::Program> program;
  std::map<std::string, ops::RtValue> inputs;  // by name; incomplete when the case gives only types
};
Result<CaseProgram> program_of(const OpCase& op_case);

// The same with the extents of the inputs left open: a program for many shapes, given the case's. Constants stay, and so do programs
// in MIL text.
enum class Open { kNothing, kFirst, kLast, kAll };
std::string open_name(Open open);  // "first extent open"
Result<CaseProgram> program_of(const OpCase& op_case, Open open);
// squeeze: an axis that is not declared as 1 stays, whatever it turns out to be.
inline bool depends_on_declaration(const OpCase& op_case) { return op_case.op == "squeeze"; }

// A program through another form and back, such as a file.
using Trip = std::function<Result<std::unique_ptr<ir::Program>>(const ir::Program&)>;
// Prints, parses, and checks that the copy prints the same.
Trip text_trip(const std::string& version);

struct CaseBackend {
  std::string name;
  // Outputs in their declared element types. Values may be unknown (types only) when the case gives no values.
  std::function<Result<std::vector<CaseValue>>(const OpCase&)> run;
};
CaseBackend reference_backend();  // inference and reference evaluation of the one op
// program_of, perhaps a trip, then op by op, with cond and while_loop.
CaseBackend program_backend(Open open = Open::kNothing);
CaseBackend program_backend(const std::string& name, Trip trip, Open open = Open::kNothing);

// Empty when the backend's answer is the expected one; otherwise what is wrong.
std::string check_case(const OpCase& op_case, const CaseBackend& backend);

}  // namespace mlt::test
