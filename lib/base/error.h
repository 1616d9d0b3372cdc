// The one error type of the library. An Error says what kind of failure it is (which decides a tool's exit status),
// what happened, where (a chain from the innermost place outwards: op, function, file) and, when there is something
// the user can do, a hint.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace mlt {

// Kinds of failure; exit_status() maps them to the table of the tools' man pages (EXIT STATUS).
enum class Code {
  kNegative,     // 1: the check said no: models differ, tolerance exceeded, regression found
  kUsage,        // 2: wrong command line or wrong argument value
  kInput,        // 3: input missing, unreadable, truncated, corrupt or not of the expected shape
  kUnsupported,  // 4: valid, but not something this program does
  kResource,     // 5: output or resource failure: disk full, closed pipe, limit hit
  kKey,          // 6: key missing or decryption failed
};

struct Error {
  Code code = Code::kInput;
  std::string message;               // lower case, no final period
  std::vector<std::string> context;  // innermost first, e.g. {"op conv_1 (conv)", "function main", "m.mlpackage"}
  std::string hint;                  // may be empty

  // "m.mlpackage: function main: op conv_1 (conv): message"
  std::string to_string() const;
  // Adds an outer place (a file, a function, an op) to the context.
  Error in_path(std::string place) && {
    context.push_back(std::move(place));
    return std::move(*this);
  }
};

int exit_status(Code code);

}  // namespace mlt
