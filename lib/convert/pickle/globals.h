// Which names of a pickle are data. Internal to lib/convert/pickle.
#pragma once
#include <string_view>

namespace mlt::foreign::pickle {

enum class Trust {
  kRefused,      // runs code whatever one does with it: os.system, builtins.eval
  kName,         // may be named and instantiated as inert data, not called
  kConstructor,  // may also be "called": an object of this class with these arguments
};
Trust trust(std::string_view module, std::string_view name);

}  // namespace mlt::foreign::pickle
