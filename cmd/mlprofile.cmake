mlt_tool(mlprofile SOURCES mlprofile_allocations.cc DEPS cli profile)
