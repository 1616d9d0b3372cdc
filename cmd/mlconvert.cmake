mlt_tool(mlconvert SOURCES mlconvert_learner.cc mlconvert_model.cc DEPS cli convert container coreml passes)
