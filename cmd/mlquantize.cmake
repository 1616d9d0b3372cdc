mlt_tool(mlquantize SOURCES mlquantize_arguments.cc DEPS cli compress container tune runtime)
