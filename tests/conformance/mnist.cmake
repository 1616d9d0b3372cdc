# MNIST accuracy and speed of a model; run by scripts/corpus-report when the images are there.
add_executable(mnist_accuracy ${CMAKE_CURRENT_LIST_DIR}/mnist_accuracy.cc)
set_target_properties(mnist_accuracy PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_compile_options(mnist_accuracy PRIVATE ${MLT_WARNINGS})
target_link_libraries(mnist_accuracy PRIVATE mlt_runtime fmt::fmt)
