# ONNX's own backend tests; run by `make conformance` when the suites are there.
add_executable(onnx_backend ${CMAKE_CURRENT_LIST_DIR}/onnx_backend.cc)
set_target_properties(onnx_backend PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_compile_options(onnx_backend PRIVATE ${MLT_WARNINGS})
target_link_libraries(onnx_backend PRIVATE mlt_convert mlt_runtime fmt::fmt)
