mlt_tool(mlcompile DEPS cli container)
