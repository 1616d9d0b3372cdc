#include "lib/convert/pickle/globals.h"

#include <algorithm>
#include <iterator>

namespace mlt::foreign::pickle {
namespace {

template <size_t N>
bool among(const std::string_view (&list)[N], std::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

std::string_view root_of(std::string_view module) { return module.substr(0, module.find('.')); }

// Types whose values are data. Everything else of builtins (eval, exec, getattr, open, ...) is refused.
constexpr std::string_view kBuiltins[] = {"object", "list", "dict",  "tuple", "set",  "frozenset", "bytearray", "bytes",   "complex",  "slice",
                                          "range",  "xrange", "int", "long",  "float", "str",      "unicode",   "bool",    "type",     "NoneType",
                                          "Ellipsis", "NotImplemented", "Exception", "ValueError", "UserWarning", "len", "sum", "min", "max", "abs", "round", "sorted"};
constexpr std::string_view kCallableBuiltins[] = {"object", "list", "dict", "tuple", "set", "frozenset", "bytearray", "bytes", "complex", "slice", "range", "xrange", "int", "float", "str", "bool"};

// Modules whose functions reach the system, an interpreter or other code.
constexpr std::string_view kRefused[] = {
    "os",        "posix",   "nt",      "subprocess", "sys",      "runpy",    "code",       "codeop",    "pty",      "socket",   "shutil",  "ctypes",
    "importlib", "imp",     "pickle",  "_pickle",    "cPickle",  "marshal",  "webbrowser", "timeit",    "pdb",      "bdb",      "cProfile", "profile",
    "platform",  "tempfile", "signal", "threading",  "multiprocessing", "asyncio", "urllib", "urllib2", "http",     "httplib",  "ftplib",  "smtplib",
    "requests",  "commands", "popen2", "operator",   "types",    "inspect",  "gc",         "pip",       "dill",     "cloudpickle", "_posixsubprocess", "ssl",
    "select",    "venv",    "ensurepip", "zipimport", "pkgutil", "pkg_resources", "setuptools", "distutils", "doctest", "unittest", "test", "idlelib", "turtle", "linecache", "fileinput", "glob", "io", "_io", "mmap", "resource", "fcntl", "pdb", "trace", "xmlrpc", "telnetlib", "paramiko", "torch"};

// Libraries whose classes are understood here, or hold nothing but numbers.
constexpr std::string_view kLibraries[] = {"sklearn", "scipy", "joblib", "xgboost", "lightgbm", "pandas", "datetime", "decimal", "fractions", "uuid", "imblearn", "sklearn_pandas", "category_encoders"};

constexpr std::string_view kNumpy[] = {"_reconstruct", "scalar", "_frombuffer", "dtype", "ndarray", "matrix", "RandomState", "Generator", "MT19937", "PCG64", "SeedSequence", "Philox", "SFC64",
                                       "__randomstate_ctor", "__RandomState_ctor", "__generator_ctor", "__bit_generator_ctor", "_ufunc_reconstruct", "poly1d", "_mareconstruct", "MaskedArray"};

bool class_like(std::string_view name) {
  if (size_t dot = name.rfind('.'); dot != std::string_view::npos) name.remove_prefix(dot + 1);
  size_t at = name.find_first_not_of('_');
  return at != std::string_view::npos && name[at] >= 'A' && name[at] <= 'Z';
}

}  // namespace

Trust trust(std::string_view module, std::string_view name) {
  std::string_view root = root_of(module);
  if (root == "builtins" || root == "__builtin__") {
    if (among(kCallableBuiltins, name)) return Trust::kConstructor;
    return among(kBuiltins, name) ? Trust::kName : Trust::kRefused;
  }
  if (among(kRefused, root)) return Trust::kRefused;
  if (root == "copyreg" || root == "copy_reg") return name == "_reconstructor" || name == "__newobj__" || name == "__newobj_ex__" ? Trust::kConstructor : Trust::kRefused;
  if (root == "_codecs" || root == "codecs") return name == "encode" ? Trust::kConstructor : Trust::kRefused;
  if (root == "functools") return name == "partial" ? Trust::kConstructor : Trust::kRefused;
  if (root == "collections") return class_like(name) || name == "defaultdict" || name == "deque" ? Trust::kConstructor : Trust::kName;
  // Compiled losses of scikit-learn 1.2 to 1.6 name their module without its package.
  if (module == "_loss") return name.starts_with("__pyx_unpickle_Cy") || class_like(name) ? Trust::kConstructor : Trust::kName;
  if (root == "array") return name == "array" || name == "_array_reconstructor" ? Trust::kConstructor : Trust::kName;
  if (root == "numpy") {
    if (module.starts_with("numpy.testing") || module.starts_with("numpy.f2py") || module.starts_with("numpy.distutils") || module.starts_with("numpy.ctypeslib")) return Trust::kRefused;
    return among(kNumpy, name) || (module.starts_with("numpy.random") && name.starts_with("__pyx_unpickle_")) ? Trust::kConstructor : Trust::kName;
  }
  if (among(kLibraries, root)) {
    if (root == "joblib" && !class_like(name)) return Trust::kRefused;
    return class_like(name) || name == "newObj" || name.starts_with("__pyx_unpickle_") || root == "datetime" ? Trust::kConstructor : Trust::kName;
  }
  return Trust::kName;
}

}  // namespace mlt::foreign::pickle
