# Rules for make: compiled models and C++ classes from models beside them.
#
#   include /usr/share/mltools/mltools.mk
#   app: main.cc cat.hpp cat.mlmodelc ; c++ -std=c++17 $< $$(pkg-config --cflags --libs mltools) -o $@
#
# Dependencies on the files of a package are kept in *.mlmodelc.d, *.mlarchive.d and *.hpp.d, and read from MLTOOLS_DEPS.
# mlcompile leaves outputs alone that would not change; make then asks it again at the next run.
MLCOMPILE ?= mlcompile
MLCOMPILEFLAGS ?=
MLTOOLS_DEPS ?= $(wildcard *.mlmodelc.d *.mlarchive.d *.hpp.d)

define mltools_rules
%.mlmodelc: %.$(1)
	$$(MLCOMPILE) $$(MLCOMPILEFLAGS) --depfile $$@.d -o $$@ $$<
%.mlarchive: %.$(1)
	$$(MLCOMPILE) $$(MLCOMPILEFLAGS) --depfile $$@.d -o $$@ $$<
%.hpp: %.$(1)
	$$(MLCOMPILE) --generate c++ --depfile $$@.d -o $$@ $$<
endef
$(foreach kind,mlpackage mlmodel mil,$(eval $(call mltools_rules,$(kind))))

-include $(MLTOOLS_DEPS)
