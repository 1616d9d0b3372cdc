mlt_tool(mlconvert DEPS cli convert container coreml passes)
