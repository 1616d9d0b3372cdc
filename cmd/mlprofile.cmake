mlt_tool(mlprofile DEPS cli profile)
