# add_coreml_model(TARGET MODEL [NAME name] [CLASS class] [LANGUAGE c++|swift|objc|none] [ARCHIVE] [DESTINATION directory])
#
# Compiles MODEL (.mlmodel, .mlpackage, .mil, an archive of these) when TARGET is built, to NAME.mlmodelc (with ARCHIVE:
# NAME.mlarchive) in DESTINATION (CMAKE_CURRENT_BINARY_DIR); NAME is the model's. With LANGUAGE c++, the default, TARGET can
# include NAME.hpp, whose class is CLASS (NAME), and is linked to mltools::mltools; with swift and objc the generated files
# become sources of TARGET; with none there is no class. The path of the compiled model is appended to the target's property
# COREML_MODELS. Outputs that would not change are left alone, and what depends on them is not built again.
function(add_coreml_model target model)
  cmake_parse_arguments(PARSE_ARGV 2 M "ARCHIVE" "NAME;CLASS;LANGUAGE;DESTINATION" "")
  if(M_UNPARSED_ARGUMENTS OR M_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "add_coreml_model: wrong arguments: ${M_UNPARSED_ARGUMENTS} ${M_KEYWORDS_MISSING_VALUES}")
  endif()
  if(NOT TARGET ${target})
    message(FATAL_ERROR "add_coreml_model: there is no target ${target}")
  endif()
  get_filename_component(source "${model}" ABSOLUTE)
  get_filename_component(base "${model}" NAME_WE)
  if(NOT M_NAME)
    set(M_NAME "${base}")
  endif()
  if(NOT M_CLASS)
    set(M_CLASS "${M_NAME}")
  endif()
  if(NOT M_LANGUAGE)
    set(M_LANGUAGE "c++")
  endif()
  if(NOT M_DESTINATION)
    set(M_DESTINATION "${CMAKE_CURRENT_BINARY_DIR}")
  endif()
  get_filename_component(M_DESTINATION "${M_DESTINATION}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_BINARY_DIR}")
  file(MAKE_DIRECTORY "${M_DESTINATION}")

  set(extension mlmodelc)
  if(M_ARCHIVE)
    set(extension mlarchive)
  endif()
  set(compiled "${M_DESTINATION}/${M_NAME}.${extension}")
  set(work "${CMAKE_CURRENT_BINARY_DIR}/${target}.coreml")
  file(MAKE_DIRECTORY "${work}")
  # The dependency file names the files of a package, whose directory says nothing of changes in them.
  add_custom_command(OUTPUT "${compiled}"
    COMMAND mltools::mlcompile --depfile "${work}/${M_NAME}.${extension}.d" -o "${compiled}" "${source}"
    DEPENDS "${source}" mltools::mlcompile DEPFILE "${work}/${M_NAME}.${extension}.d"
    COMMENT "Compiling Core ML model ${M_NAME}" VERBATIM)
  set(outputs "${compiled}")

  string(TOLOWER "${M_LANGUAGE}" language)
  if(language STREQUAL "c++")
    set(files "${work}/${M_NAME}.hpp")
  elseif(language STREQUAL "swift")
    set(files "${work}/${M_NAME}.swift")
  elseif(language STREQUAL "objc")
    set(files "${work}/${M_NAME}.h" "${work}/${M_NAME}.m")
  elseif(NOT language STREQUAL "none")
    message(FATAL_ERROR "add_coreml_model: LANGUAGE ${M_LANGUAGE}: c++, swift, objc or none expected")
  endif()
  if(files)
    list(GET files 0 first)
    add_custom_command(OUTPUT ${files}
      COMMAND mltools::mlcompile --generate ${language} --class "${M_CLASS}" --depfile "${work}/${M_NAME}.source.d" -o "${first}" "${source}"
      DEPENDS "${source}" mltools::mlcompile DEPFILE "${work}/${M_NAME}.source.d"
      COMMENT "Generating a class for Core ML model ${M_NAME}" VERBATIM)
    list(APPEND outputs ${files})
    target_include_directories(${target} PRIVATE "${work}")
    if(language STREQUAL "c++")
      target_link_libraries(${target} PRIVATE mltools::mltools)
    endif()
  endif()
  target_sources(${target} PRIVATE ${outputs})
  set_property(TARGET ${target} APPEND PROPERTY COREML_MODELS "${compiled}")
endfunction()
