mlt_tool(mlpredict SOURCES mlpredict_arguments.cc mlpredict_compare.cc mlpredict_records.cc DEPS cli runtime)
