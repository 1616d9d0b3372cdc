# A model against its compiled form; run by scripts/corpus-report.
add_executable(compiled_check ${CMAKE_CURRENT_LIST_DIR}/compiled_check.cc)
set_target_properties(compiled_check PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_compile_options(compiled_check PRIVATE ${MLT_WARNINGS})
target_link_libraries(compiled_check PRIVATE mlt_profile mlt_runtime fmt::fmt)
