# Many predictions at changing shapes; `make conformance` runs all, a test only some.
add_executable(long_run ${CMAKE_CURRENT_LIST_DIR}/long_run.cc)
set_target_properties(long_run PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_compile_options(long_run PRIVATE ${MLT_WARNINGS})
target_link_libraries(long_run PRIVATE mlt_runtime fmt::fmt)
add_test(NAME conformance.long_run COMMAND long_run 3000)
