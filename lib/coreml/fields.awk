# Names of the fields and enumerators of the .proto files, as rows of a C++ table: lib/coreml/fields.cc includes them.
#   {"TreeEnsembleParameters.TreeNode", 1, "treeId", 'v', false, false, ""},
# kind: v varint, b bool, e enumeration, f float, d double, t text, y bytes, m message. Names of types are resolved from
# the inside out, as protobuf does.
function scope(    i, text) {
  text = ""
  for (i = 1; i <= depth; i++) if (names[i] != "") text = text (text == "" ? "" : ".") names[i]
  return text
}
function row(message, number, name, type, repeated, oneof) {
  rows++
  r_message[rows] = message; r_number[rows] = number; r_name[rows] = name
  r_type[rows] = type; r_repeated[rows] = repeated; r_oneof[rows] = oneof
}
function resolve(message, type,    full, n) {
  sub(/^(CoreML\.Specification\.)?(MILSpec\.|CoreMLModels\.)?/, "", type)
  full = message
  while (1) {
    if ((full == "" ? type : full "." type) in known) return full == "" ? type : full "." type
    if (full == "") return type
    if (!match(full, /\.[^.]*$/)) full = ""
    else full = substr(full, 1, RSTART - 1)
  }
}
BEGIN {
  kinds["bool"] = "b"; kinds["float"] = "f"; kinds["double"] = "d"; kinds["string"] = "t"; kinds["bytes"] = "y"
  kinds["int32"] = kinds["int64"] = kinds["uint32"] = kinds["uint64"] = "v"
}
{ sub(/\/\/.*/, "") }
{
  line = $0
  gsub(/[{}]/, " & ", line)
  gsub(/;/, " ; ", line)
  gsub(/=/, " = ", line)
  gsub(/map *< */, "map<", line)
  gsub(/ *, */, ",", line)
  gsub(/ *>/, ">", line)
  n = split(line, words, " ")
  for (w = 1; w <= n; w++) {
    word = words[w]
    if (word == "{") {
      depth++
      what[depth] = statement[1]
      names[depth] = (statement[1] == "message" || statement[1] == "enum") ? statement[2] : ""
      if (names[depth] != "") known[scope()] = statement[1]
      count = 0
    } else if (word == "}") {
      depth--
      count = 0
    } else if (word == ";") {
      if (depth > 0 && what[depth] == "enum" && count >= 3) row(scope(), statement[3], statement[1], "enumerator", 0, 0)
      else if (depth > 0 && (what[depth] == "message" || what[depth] == "oneof") && statement[1] != "reserved" && statement[1] != "option") {
        first = (statement[1] == "repeated" || statement[1] == "optional") ? 2 : 1
        type = statement[first]
        many = statement[1] == "repeated"
        if (type ~ /^map</) {
          many = 1
          split(substr(type, 5, length(type) - 5), parts, ",")
          known[type] = "message"
          if (!(type in maps)) {
            maps[type] = 1
            row(type, 1, "key", parts[1], 0, 0)
            row(type, 2, "value", parts[2], 0, 0)
          }
        }
        row(scope(), statement[first + 3], statement[first + 1], type, many, what[depth] == "oneof")
      }
      count = 0
    } else {
      statement[++count] = word
      if (count == 1) { statement[2] = ""; statement[3] = "" }
    }
  }
}
END {
  for (i = 1; i <= rows; i++) {
    kind = "m"; type = ""
    if (r_type[i] == "enumerator") kind = "#"
    else if (r_type[i] in kinds) kind = kinds[r_type[i]]
    else {
      type = resolve(r_message[i], r_type[i])
      kind = known[type] == "enum" ? "e" : "m"
    }
    printf "{\"%s\", %s, \"%s\", '%s', %s, %s, \"%s\"},\n", r_message[i], r_number[i], r_name[i], kind, r_repeated[i] ? "true" : "false", r_oneof[i] ? "true" : "false", type
  }
}
