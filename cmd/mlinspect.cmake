mlt_tool(mlinspect DEPS cli inspect)
