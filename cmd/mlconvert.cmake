mlt_tool(mlconvert DEPS cli convert container coreml passes)
target_sources(mlconvert PRIVATE ${PROJECT_SOURCE_DIR}/cmd/mlconvert_model.cc)
