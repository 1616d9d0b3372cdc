mlt_tool(mlpredict DEPS cli runtime)
