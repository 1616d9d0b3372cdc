#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/unit/ops/op_case.h"

namespace mlt::test {
namespace {

// Words of a line: quoted strings (with their quotes), "type[dims]" kept whole, everything else split at blanks and commas.
std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  int depth = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (quoted) {
      if (c == '\\' && i + 1 < line.size()) {
        word += line[++i] == 'n' ? '\n' : line[i];
      } else if (c == '"') {
        quoted = false;
        words.push_back(word);
        word.clear();
      } else {
        word += c;
      }
      continue;
    }
    if (c == '"') {
      quoted = true;
      word = "\"";
      continue;
    }
    if (c == '#' && depth == 0) break;
    if (c == '[') ++depth;
    if (c == ']') --depth;
    if ((c == ' ' || c == '\t' || c == ',') && depth == 0) {
      if (!word.empty()) words.push_back(word);
      word.clear();
    } else if (c != ' ') {
      word += c;
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// The generator of `random SEED LOW HIGH`: element i is a hash of seed and i, so that a script can repeat it.
double hashed_unit(uint64_t seed, uint64_t i) {
  uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15ull + (i + 1) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return static_cast<double>((z ^ (z >> 31)) >> 40) / static_cast<double>(1 << 24);
}

struct Parser {
  const std::vector<std::string>& words;
  size_t at = 0;

  bool done() const { return at >= words.size(); }

  static Result<double> number(const std::string& word) {
    if (word == "true") return 1.0;
    if (word == "false") return 0.0;
    char* end = nullptr;
    double value = std::strtod(word.c_str(), &end);
    if (end == word.c_str() || *end != '\0') return input_error("\"" + word + "\" is not a number");
    return value;
  }

  // "fp32[2, _, ?]": `open` is the axis written "_", whose extent comes from the number of values.
  static Result<ir::Type> type_of(const std::string& word, int* open) {
    size_t bracket = word.find('[');
    auto dtype = dtype_from_name(word.substr(0, bracket));
    if (!dtype) return input_error("\"" + word + "\" is not a type");
    ir::Type type = ir::Type::tensor(*dtype);
    *open = -1;
    if (bracket == std::string::npos) return type;
    std::string dims = word.substr(bracket + 1, word.size() - bracket - 2);
    if (word.back() != ']') return input_error("\"" + word + "\" lacks a closing bracket");
    if (dims == "...") return ir::Type::unranked(*dtype);
    std::stringstream stream(dims);
    for (std::string one; std::getline(stream, one, ',');) {
      if (one == "_") *open = type.rank();
      type.dims.push_back(one == "?" || one == "_" ? ir::kUnknown : std::atoll(one.c_str()));
    }
    return type;
  }

  Result<Tensor> tensor(ir::Type& type, int open, int64_t known_count) {
    DType dtype = type.dtype;
    std::string first = words[at];
    bool generated = first == "iota" || first == "random" || first == "fill";
    int64_t count = known_count;
    if (open >= 0) {
      int64_t others = 1;
      for (int i = 0; i < type.rank(); ++i)
        if (i != open) others *= type.dims[static_cast<size_t>(i)];
      if (generated || others < 1) return input_error("\"_\" needs values written out");
      type.dims[static_cast<size_t>(open)] = static_cast<int64_t>(words.size() - at) / others;
    }
    if (known_count < 0) {
      MLT_ASSIGN(count, element_count(type.dims));
    }
    if (dtype == DType::kString) {
      std::vector<std::string> strings;
      for (; !done() && static_cast<int64_t>(strings.size()) < count; ++at) {
        if (words[at][0] != '"') return input_error("a string is written in quotes");
        strings.push_back(words[at].substr(1));
      }
      if (static_cast<int64_t>(strings.size()) != count) return input_error("too few strings");
      return Tensor::of_strings(type.dims, std::move(strings));
    }
    std::vector<double> values(static_cast<size_t>(count));
    if (generated) {
      std::vector<double> arguments;
      for (++at; !done(); ++at) {
        MLT_ASSIGN(double argument, number(words[at]));
        arguments.push_back(argument);
      }
      arguments.resize(3);
      for (size_t i = 0; i < values.size(); ++i) {
        double index = static_cast<double>(i);
        if (first == "fill") values[i] = arguments[0];
        if (first == "iota") values[i] = arguments[0] + arguments[1] * index;
        if (first == "random")
          values[i] = arguments[1] + (arguments[2] - arguments[1]) * hashed_unit(static_cast<uint64_t>(arguments[0]), i);
      }
    } else {
      for (double& value : values) {
        if (done()) return input_error("too few values: " + std::to_string(count) + " wanted");
        MLT_ASSIGN(value, number(words[at++]));
      }
    }
    Dims dims = known_count < 0 ? type.dims : Dims{count};
    // Whole numbers of any width pass through fp64 unharmed up to 2^53; floats are rounded once.
    return convert(Tensor::from<double>(std::move(dims), values), dtype);
  }

  Result<CaseValue> value() {
    if (done()) return input_error("a type is missing");
    CaseValue result;
    std::string word = words[at++];
    int open = -1;
    if (word == "dict") {
      if (words.size() - at != 2) return input_error("a dictionary has two types");
      MLT_ASSIGN(ir::Type key, type_of(words[at++], &open));
      MLT_ASSIGN(ir::Type held, type_of(words[at++], &open));
      result.type = ir::Type::dict(std::move(key), std::move(held));
      return result;
    }
    if (word == "state" || word.starts_with("list(")) {
      if (done()) return input_error("an element type is missing");
      MLT_ASSIGN(ir::Type element, type_of(words[at++], &open));
      if (word == "state") {
        result.type = ir::Type::state(element);
        return result;
      }
      std::string length = word.substr(5, word.size() - 6);
      bool dynamic = !length.empty() && length.back() == '?';
      int64_t count = std::atoll(length.c_str());
      result.type = ir::Type::list(element, dynamic ? ir::kUnknown : count);
      if (done() && (count > 0 || length == "?")) return result;
      auto list = std::make_shared<std::vector<Tensor>>();
      for (int64_t i = 0; i < count; ++i) {
        if (done()) return input_error("too few values for the list");
        MLT_ASSIGN(int64_t each, element_count(element.dims));
        MLT_ASSIGN(Tensor one, element.dtype == DType::kString ? tensor(element, -1, -1) : list_element(element, each));
        list->push_back(std::move(one));
      }
      result.value.list = std::move(list);
    } else {
      MLT_ASSIGN(result.type, type_of(word, &open));
      bool empty = result.type.is_static() && element_count(result.type.dims).ok() && *element_count(result.type.dims) == 0;
      if (empty) {
        result.value.tensor = Tensor::zeros(result.type.dtype, result.type.dims);
      } else if (!done()) {
        MLT_ASSIGN(result.value.tensor, tensor(result.type, open, -1));
      }
    }
    if (!done()) return input_error("\"" + words[at] + "\" is one value too many");
    return result;
  }

  Result<Tensor> list_element(ir::Type& element, int64_t count) {
    MLT_ASSIGN(Tensor flat, tensor(element, -1, count));
    return flat.reshaped(element.dims);
  }
};

}  // namespace

Result<std::vector<OpCase>> parse_op_cases(std::string_view text, const std::string& file) {
  // Lines, with indented ones joined to the line they continue.
  std::vector<std::pair<int, std::string>> lines;
  std::vector<OpCase> cases;
  int number = 0;
  bool in_mil = false;
  std::string mil;
  std::stringstream stream{std::string(text)};
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (in_mil) {
      in_mil = line != "end";
      lines.back().second += in_mil ? line + "\n" : "";
    } else if (line == "mil") {
      in_mil = true;
      lines.emplace_back(number, "mil\n");
    } else if (!line.empty() && (line[0] == ' ' || line[0] == '\t') && !lines.empty()) {
      lines.back().second += " " + line.substr(0, line.find(" #"));
    } else if (!line.empty() && line[0] != '#') {
      lines.emplace_back(number, line);
    }
  }
  for (const auto& [at, line] : lines) {
    auto failed = [&, at = at](const std::string& what) { return input_error(file + ":" + std::to_string(at) + ": " + what); };
    std::string key = line.substr(0, line.find_first_of(" \n"));
    std::string rest = line.size() > key.size() ? line.substr(key.size() + 1) : "";
    if (key == "case") {
      OpCase next;
      next.file = file;
      next.line = at;
      next.name = rest;
      cases.push_back(std::move(next));
      continue;
    }
    if (cases.empty()) return failed("a file starts with a case line");
    OpCase& current = cases.back();
    if (key == "mil") {
      current.mil = rest;
      continue;
    }
    if (key == "error") {
      current.error = rest;
      continue;
    }
    std::vector<std::string> words = words_of(rest);
    if (words.empty()) return failed("\"" + key + "\" needs an argument");
    if (key == "opset") {
      auto opset = ops::opset_from_token(words[0]);
      if (!opset) return failed("unknown opset \"" + words[0] + "\"");
      current.opset = *opset;
    } else if (key == "op") {
      current.op = words[0];
    } else if (key == "tol") {
      current.tolerance = std::atof(words[0].c_str());
    } else if (key == "in" || key == "const" || key == "out") {
      Parser parser{words, key == "out" ? size_t{0} : size_t{1}};
      auto value = parser.value();
      if (!value) return failed(value.error().message);
      if (key == "out") {
        current.outputs.push_back(std::move(*value));
      } else if (!current.inputs.empty() && current.inputs.back().param == words[0]) {
        current.inputs.back().values.push_back(std::move(*value));
      } else {
        current.inputs.push_back({words[0], {std::move(*value)}, key == "const"});
      }
    } else {
      return failed("unknown word \"" + key + "\"");
    }
  }
  for (const OpCase& one : cases) {
    if (one.op.empty() == one.mil.empty()) return input_error(one.place() + ": a case has an op or a mil block");
    if (!one.error && one.outputs.empty()) return input_error(one.place() + ": a case expects outputs or an error");
  }
  return cases;
}

Result<std::vector<OpCase>> load_op_cases(const std::string& filter) {
  std::vector<std::filesystem::path> paths;
  const char* elsewhere = std::getenv("MLT_OPCASE_DIR");
  std::string folder = elsewhere ? elsewhere : std::string(MLT_SOURCE_DIR) + "/tests/ops";
  if (!std::filesystem::is_directory(folder)) return input_error("no folder " + folder);
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".case" && entry.path().filename().string().find(filter) != std::string::npos)
      paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<OpCase> all;
  for (const auto& path : paths) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    MLT_ASSIGN(auto cases, parse_op_cases(text.str(), path.filename().string()));
    for (OpCase& one : cases) all.push_back(std::move(one));
  }
  return all;
}

}  // namespace mlt::test
