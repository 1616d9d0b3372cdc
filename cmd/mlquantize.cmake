mlt_tool(mlquantize DEPS cli compress container)
