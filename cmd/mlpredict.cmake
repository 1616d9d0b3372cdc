mlt_tool(mlpredict SOURCES mlpredict_arguments.cc mlpredict_compare.cc mlpredict_generate.cc mlpredict_records.cc
  DEPS cli runtime generate text)
target_link_libraries(mlpredict PRIVATE nlohmann_json::nlohmann_json)
