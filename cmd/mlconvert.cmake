mlt_tool(mlconvert SOURCES mlconvert_check.cc mlconvert_learner.cc mlconvert_model.cc mlconvert_options.cc DEPS cli convert container coreml passes)
