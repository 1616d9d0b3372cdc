mlt_tool(mlencrypt DEPS cli crypt)
target_link_libraries(mlencrypt PRIVATE nlohmann_json::nlohmann_json)
