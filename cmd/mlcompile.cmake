mlt_tool(mlcompile SOURCES mlcompile_apple.cc mlcompile_other.cc mlcompile_prepare.cc DEPS cli container codegen runtime)
# Build systems that call Apple's compiler find it under its name.
add_custom_command(TARGET mlcompile POST_BUILD
  COMMAND ${CMAKE_COMMAND} -E create_symlink mlcompile ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/coremlcompiler)
install(FILES ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/coremlcompiler DESTINATION ${CMAKE_INSTALL_BINDIR})
