cmake_minimum_required(VERSION 3.18)
# Writes OUT, a header with a hash of all files matching ROOT/lib/<MODULES>/*.{cc,h}: forms of weights that another revision
# of the library prepared are not used. Unchanged contents leave OUT alone.
set(text "")
foreach(module ${MODULES})
  file(GLOB files LIST_DIRECTORIES false "${ROOT}/lib/${module}/*.cc" "${ROOT}/lib/${module}/*.h")
  list(SORT files)
  foreach(file ${files})
    file(SHA256 "${file}" hash)
    string(APPEND text "${hash}\n")
  endforeach()
endforeach()
string(SHA256 hash "${text}")
file(CONFIGURE OUTPUT "${OUT}" CONTENT "#pragma once\ninline constexpr const char* kPackedRevision = \"@hash@\";\n" @ONLY)
