#include "lib/base/error.h"

namespace mlt {

std::string Error::to_string() const {
  std::string text;
  for (auto it = context.rbegin(); it != context.rend(); ++it) {
    text += *it;
    text += ": ";
  }
  return text + message;
}

int exit_status(Code code) {
  switch (code) {
    case Code::kNegative: return 1;
    case Code::kUsage: return 2;
    case Code::kInput: return 3;
    case Code::kUnsupported: return 4;
    case Code::kResource: return 5;
    case Code::kKey: return 6;
  }
  return 5;
}

}  // namespace mlt
