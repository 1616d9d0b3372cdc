# Facade over CMake and Ninja. `make` builds the tools into build/bin and the libraries into build/lib.
BUILD ?= build
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
export CMAKE_BUILD_PARALLEL_LEVEL = $(JOBS)

.PHONY: all deps demo test check conformance conformance-coremltools bench fuzz asan format lint install deb clean

all: deps
	cmake -S . -B $(BUILD) -G Ninja $(CMAKE_FLAGS)
	cmake --build $(BUILD)

# Installs what is missing, and says what; does nothing when everything is there.
deps:
	@scripts/install-deps

# The main job, from a foreign model to an answer, on the model in testdata/demo.
demo: all
	@scripts/demo $(BUILD)/bin

test: deps
	cmake -S . -B $(BUILD) -G Ninja $(CMAKE_FLAGS)
	cmake --build $(BUILD)
	cd $(BUILD) && ctest --output-on-failure

check: test

# Other people's suites and models against ours; skips, with a message, what is not there. MLT_PYTHON: a Python with
# scikit-learn, xgboost, lightgbm and libsvm, for models that they write.
conformance: all
	python3 scripts/check-readme --build $(BUILD)
	scripts/corpus-report $(BUILD)/bin
	scripts/conformance $(BUILD)
	scripts/conformance-learners $(BUILD)
	$(BUILD)/tests/long_run 100000
	$(BUILD)/tests/random_programs --count 30000
	$(or $(MLT_PYTHON),python3) scripts/conformance-classic $(BUILD)/bin
	$(or $(MLT_PYTHON),python3) scripts/conformance-quantize --build $(BUILD)
	$(or $(MLT_PYTHON),python3) scripts/conformance-pairs $(BUILD)/bin
	$(or $(MLT_PYTHON),python3) scripts/conformance-networks $(BUILD)

# coremltools' own tests, predictions served by libmltools (needs Python; CONFORMANCE_VENV names an environment to use,
# otherwise one is made in the build directory). Hours for everything: see the script's options.
CONFORMANCE_FLAGS ?=
conformance-coremltools: all
	scripts/conformance-coremltools --build $(BUILD) $(CONFORMANCE_FLAGS)
	$(or $(MLT_PYTHON),python3) scripts/conformance-pytorch --library $(BUILD)/lib/libmltools.so

# Ours against ONNX Runtime, interleaved (MLT_PYTHON: a Python with onnxruntime, onnx and numpy; see BENCHMARKS.md). MODELS: a
# folder of ONNX files, such as scripts/make-zoo writes, to compare as well, with ncnn and OpenVINO too where that Python has them.
BENCH_PYTHON = $(or $(MLT_PYTHON),python3)
bench: all
	@if $(BENCH_PYTHON) -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then \
	  set -e; \
	  for script in bench.py bench_transformers.py bench_int8.py bench-load bench-growth; do echo "scripts/$$script"; $(BENCH_PYTHON) scripts/$$script $(BUILD); done; \
	  for script in $(if $(MODELS),bench_zoo.py "bench_peers.py ncnn" "bench_peers.py openvino"); do echo "scripts/$$script"; $(BENCH_PYTHON) scripts/$$script $(BUILD) --models $(MODELS); done; \
	else echo "bench: skipped: $(BENCH_PYTHON) has no numpy, onnx and onnxruntime (MLT_PYTHON names another Python)"; fi
	$(BENCH_PYTHON) scripts/bench-classic $(BUILD)
	$(BENCH_PYTHON) scripts/bench-convert $(BUILD)
	python3 scripts/bench-crypt --build $(BUILD)

# libFuzzer, one target per reader, FUZZ_SECONDS each.
FUZZ_SECONDS ?= 60
fuzz: deps
	CC=clang CXX=clang++ cmake -S . -B build-fuzz -G Ninja -DMLT_FUZZ=ON -DMLT_SANITIZE=address,undefined
	cmake --build build-fuzz --target fuzzers
	scripts/fuzz build-fuzz $(FUZZ_SECONDS)

# g++: clang takes two to four times as long for the kernels. Not: programs that are built without the sanitizer and load the
# library, and memory that must not grow, which freed memory does that the sanitizer keeps.
asan: deps
	CC=gcc CXX=g++ cmake -S . -B build-asan -G Ninja -DMLT_SANITIZE=address,undefined
	cmake --build build-asan
	cd build-asan && ctest --output-on-failure -E '^(install|codegen|conformance.long_run)$$'

format:
	git ls-files '*.cc' '*.h' | xargs clang-format -i

lint: all
	scripts/check-layers
	git ls-files 'lib/*.cc' 'cmd/*.cc' | xargs clang-tidy -p $(BUILD) --quiet

install: all
	cmake --install $(BUILD)

# A Debian package, and smoke tests of it: dpkg takes it, every tool runs from it, and it leaves nothing behind.
deb: all
	cd $(BUILD) && cpack -G DEB
	scripts/test-deb $(BUILD)/mltools_*.deb

clean:
	rm -rf build build-fuzz build-asan
