// The built proto files against the published table of the wire format: every message, field, oneof and enum value.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/coreml/wire.h"

namespace {

using mlt::ByteSpan;
using mlt::coreml::WireField;
using mlt::coreml::WireReader;
using mlt::coreml::WireType;

// Field numbers below are those of descriptor.proto, which is part of protobuf.
std::vector<WireField> fields(ByteSpan message, uint32_t number) {
  std::vector<WireField> all;
  WireReader reader(message);
  WireField field;
  while (true) {
    auto more = reader.next(&field);
    REQUIRE(more.ok());
    if (!*more) return all;
    if (field.number == number) all.push_back(field);
  }
}
std::string text(ByteSpan message, uint32_t number) {
  auto all = fields(message, number);
  return all.empty() ? "" : std::string(mlt::as_text(all.back().bytes));
}
uint64_t number_of(ByteSpan message, uint32_t number, uint64_t absent = 0) {
  auto all = fields(message, number);
  return all.empty() ? absent : all.back().value;
}

struct Built {
  std::set<std::string> messages, enums, oneofs;
  std::map<std::string, std::string> field_rows;  // "message.field" -> "number label type oneof"
  std::map<std::string, uint64_t> enum_values;    // "enum.value"
};

std::string type_name(ByteSpan field) {
  static const std::map<uint64_t, std::string> kNames = {{1, "double"}, {2, "float"},  {3, "int64"},   {4, "uint64"},
                                                         {5, "int32"},  {8, "bool"},   {9, "string"},  {12, "bytes"},
                                                         {13, "uint32"}};
  uint64_t type = number_of(field, 5);
  if (type == 11 || type == 14) return text(field, 6).substr(1);
  return kNames.at(type);
}

void add_enum(Built* built, ByteSpan message, const std::string& scope) {
  std::string name = scope + "." + text(message, 1);
  built->enums.insert(name);
  for (const WireField& value : fields(message, 2))
    built->enum_values[name + "." + text(value.bytes, 1)] = number_of(value.bytes, 2);
}

void add_message(Built* built, ByteSpan message, const std::string& scope) {
  std::string name = scope + "." + text(message, 1);
  built->messages.insert(name);
  std::map<std::string, std::string> maps;  // entry type -> "map<k,v>"
  for (const WireField& nested : fields(message, 3)) {
    auto options = fields(nested.bytes, 7);
    if (!options.empty() && number_of(options[0].bytes, 7) == 1) {
      auto pair = fields(nested.bytes, 2);
      maps[name + "." + text(nested.bytes, 1)] = "map<" + type_name(pair[0].bytes) + "," + type_name(pair[1].bytes) + ">";
    } else {
      add_message(built, nested.bytes, name);
    }
  }
  for (const WireField& nested : fields(message, 4)) add_enum(built, nested.bytes, name);
  auto oneofs = fields(message, 8);
  for (const WireField& oneof : oneofs) built->oneofs.insert(name + "." + text(oneof.bytes, 1));
  for (const WireField& entry : fields(message, 2)) {
    ByteSpan field = entry.bytes;
    std::string type = type_name(field), label = "optional", oneof;
    if (number_of(field, 4) == 3) {
      uint64_t wire = number_of(field, 5);
      bool packable = wire != 9 && wire != 11 && wire != 12;
      label = packable ? "repeated(packed)" : "repeated";
      if (maps.count(type)) label = "map", type = maps[type];
    }
    if (!fields(field, 9).empty()) oneof = text(oneofs.at(number_of(field, 9)).bytes, 1);
    built->field_rows[name + "." + text(field, 1)] =
        std::to_string(number_of(field, 3)) + " " + label + " " + type + " " + oneof;
  }
}

// Quotes only appear around cells that hold commas.
std::vector<std::string> csv_cells(const std::string& line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (char c : line) {
    if (c == '"') quoted = !quoted;
    else if (c == ',' && !quoted) cells.emplace_back();
    else if (c != '\r') cells.back() += c;
  }
  return cells;
}

std::vector<std::vector<std::string>> read_csv(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::vector<std::string>> rows;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) rows.push_back(csv_cells(line));
  return rows;
}

Built read_built() {
  auto file = mlt::map_file(MLT_DESCRIPTOR_SET);
  REQUIRE(file.ok());
  Built built;
  for (const WireField& proto : fields(file->bytes(), 1)) {
    std::string package = text(proto.bytes, 2);
    for (const WireField& message : fields(proto.bytes, 4)) add_message(&built, message.bytes, package);
    for (const WireField& entry : fields(proto.bytes, 5)) add_enum(&built, entry.bytes, package);
  }
  return built;
}

TEST_CASE("the proto files have the totals of the format") {
  Built built = read_built();
  CHECK(built.messages.size() == 339);
  CHECK(built.field_rows.size() == 1029);
  CHECK(built.oneofs.size() == 54);
  CHECK(built.enums.size() == 34);
  CHECK(built.enum_values.size() == 139);
}

TEST_CASE("the proto files equal the wire format table, field by field") {
  std::string reference = std::string(MLT_SOURCE_DIR) + "/../shared/reference";
  if (!std::filesystem::exists(reference + "/wire-format.csv")) {
    MESSAGE("skipped: no wire format table");
    return;
  }
  Built built = read_built();
  std::set<std::string> messages;
  size_t rows = 0;
  for (const auto& cells : read_csv(reference + "/wire-format.csv")) {
    REQUIRE(cells.size() >= 7);
    messages.insert(cells[1]);
    CHECK_MESSAGE(built.messages.count(cells[1]) == 1, cells[1]);
    if (cells[4].empty()) continue;
    rows++;
    std::string key = cells[1] + "." + cells[2];
    CHECK_MESSAGE(built.field_rows[key] == cells[3] + " " + cells[4] + " " + cells[5] + " " + cells[6], key);
  }
  CHECK(messages == built.messages);
  CHECK(rows == built.field_rows.size());
  size_t values = 0;
  for (const auto& cells : read_csv(reference + "/wire-format-enums.csv")) {
    values++;
    std::string key = cells[1] + "." + cells[2];
    REQUIRE_MESSAGE(built.enum_values.count(key) == 1, key);
    CHECK_MESSAGE(std::to_string(built.enum_values[key]) == cells[3], key);
  }
  CHECK(values == built.enum_values.size());
}

}  // namespace
