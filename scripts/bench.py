"""Compares the engine with ONNX Runtime on the same models, inputs and cores, in one interleaved run.

The networks are those of ONNX's own "light" tests (their graphs are real, their weights are a constant), with
pseudo-random weights put in: a constant would make every answer the same and the check below worthless. Ours runs
through the C interface (libmltools.so), a model converted by mlconvert once with float32 and once with float16
weights (the arithmetic is float32 in both). ONNX Runtime runs the ONNX file through an I/O binding.

A turn is a pause (spinning pools come to rest), a prediction that is not counted, and some that are; the engines take
turns. Every counted model's answer is compared with ONNX Runtime's first, and a difference beyond the limit fails
the run.
"""
import argparse
import ctypes
import datetime
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORPUS = os.environ.get("MLT_CORPUS", os.path.join(ROOT, "..", "shared", "corpus"))
LIGHT = ["squeezenet", "shufflenet", "resnet50", "vgg19"]
LIMIT = {"float32": 1e-4, "float16": 2e-2}  # greatest difference over greatest answer
MLT_F32 = 2
# ONNX Runtime's pool keeps spinning on the other cores for 40 to 50 ms after a run.
PAUSE = 0.08


def random_weights(model):
    """Replaces ConstantOfShape of matrices and kernels by He-normal weights; the logits' spread becomes one."""
    graph, rng = model.graph, np.random.default_rng(7)
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "ConstantOfShape"]:
        shape = tuple(int(d) for d in known[node.input[0]])
        if len(shape) > 1:
            weights = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / np.prod(shape[1:])).astype(np.float32)
        else:
            weights = np.full(shape, numpy_helper.to_array(node.attribute[0].t)[0], np.float32)
        graph.node.remove(node)
        graph.initializer.remove(next(t for t in graph.initializer if t.name == node.input[0]))
        for value in [v for v in graph.input if v.name == node.input[0]]:
            graph.input.remove(value)
        graph.initializer.append(numpy_helper.from_array(weights, node.output[0]))
    # Batch normalisation as after training: what it gives has a spread near one.
    tensors = {t.name: t for t in graph.initializer}

    def put(name, array):
        tensors[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))

    for node in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        size = numpy_helper.to_array(tensors[node.input[1]]).shape
        put(node.input[1], rng.uniform(0.5, 1.0, size))
        put(node.input[2], rng.normal(0, 0.1, size))
        put(node.input[3], rng.normal(0, 0.1, size))
        put(node.input[4], rng.uniform(0.8, 1.2, size))
    softmax = [n for n in graph.node if n.op_type == "Softmax"][-1]
    last = [n for n in graph.node if n.op_type in ("Conv", "Gemm")][-1]
    value = onnx.helper.make_tensor_value_info(softmax.input[0], onnx.TensorProto.FLOAT, None)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(value)
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = session.run([softmax.input[0]], {model_input(model)[0]: sample(model_input(model)[1])})[0]
    for name in last.input[1:]:
        put(name, numpy_helper.to_array(tensors[name]) / logits.std())
    return model


def mlp():
    rng, nodes, weights, value = np.random.default_rng(7), [], [], "x"
    sizes = [64, 128, 128, 10]
    for i in range(3):
        w = rng.standard_normal((sizes[i + 1], sizes[i])).astype(np.float32) / np.sqrt(sizes[i]).astype(np.float32)
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(np.zeros(sizes[i + 1], np.float32), f"b{i}")]
        nodes.append(onnx.helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"g{i}"], transB=1))
        nodes.append(onnx.helper.make_node("Relu" if i < 2 else "Softmax", [f"g{i}"], [f"r{i}"]))
        value = f"r{i}"
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(nodes, "mlp", [info("x", 1, [1, 64])], [info(value, 1, [1, 10])], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def model_input(model):
    constants = {t.name for t in model.graph.initializer}
    value = [i for i in model.graph.input if i.name not in constants][0]
    return value.name, [d.dim_value for d in value.type.tensor_type.shape.dim]


def sample(shape):
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("function", ctypes.c_char_p), ("strict_fp16", ctypes.c_int), ("reference", ctypes.c_int),
                ("image_fit", ctypes.c_int), ("reserved", ctypes.c_int), ("bf16", ctypes.c_int)]


class Library:
    def __init__(self, path):
        self.lib = lib = ctypes.CDLL(path)
        lib.mlt_last_error.restype = lib.mlt_version.restype = ctypes.c_char_p
        lib.mlt_features_new.restype = ctypes.c_void_p
        lib.mlt_features_name.restype = ctypes.c_char_p
        lib.mlt_features_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        lib.mlt_features_free.argtypes = [ctypes.c_void_p]
        lib.mlt_model_close.argtypes = [ctypes.c_void_p]
        lib.mlt_binding_new.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        lib.mlt_binding_free.argtypes = [ctypes.c_void_p]
        lib.mlt_binding_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for name in ("mlt_binding_input", "mlt_binding_output"):
            getattr(lib, name).argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        lib.mlt_model_describe.restype = ctypes.c_char_p
        lib.mlt_model_describe.argtypes = [ctypes.c_void_p]
        lib.mlt_model_predict.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        lib.mlt_features_set_array.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        lib.mlt_features_array.argtypes = [ctypes.c_void_p, ctypes.c_char_p] + [ctypes.c_void_p] * 4

    def check(self, status):
        if status != 0:
            sys.exit("bench: " + self.lib.mlt_last_error().decode())


class Ours:
    def __init__(self, library, path, x):
        import json
        self.library, lib = library, library.lib
        self.model = ctypes.c_void_p()
        library.check(lib.mlt_model_open(path.encode(), None, ctypes.byref(self.model)))
        name = json.loads(lib.mlt_model_describe(self.model))["inputs"][0]["name"]
        self.features = ctypes.c_void_p(lib.mlt_features_new())
        shape = (ctypes.c_int64 * x.ndim)(*x.shape)
        library.check(lib.mlt_features_set_array(self.features, name.encode(), MLT_F32, shape, x.ndim, x.ctypes.data))
        self.outputs = ctypes.c_void_p()
        self.out = ctypes.byref(self.outputs)

        # Bound to arrays of ours, as ONNX Runtime's is to its own.
        answer = self.answer()
        output = lib.mlt_features_name(self.outputs, 0)
        self.x, self.y = x, np.empty_like(answer)
        self.binding = ctypes.c_void_p()
        library.check(lib.mlt_binding_new(self.model, ctypes.byref(self.binding)))
        library.check(lib.mlt_binding_input(self.binding, name.encode(), MLT_F32, shape, x.ndim, x.ctypes.data))
        dims = (ctypes.c_int64 * answer.ndim)(*answer.shape)
        library.check(lib.mlt_binding_output(self.binding, output, MLT_F32, dims, answer.ndim, self.y.ctypes.data))
        self.predict()
        if not np.array_equal(answer, self.y):
            sys.exit("bench: a bound prediction gives another answer")

    def predict(self):
        if self.library.lib.mlt_binding_run(self.binding, None) != 0:
            self.library.check(1)

    def answer(self):
        lib = self.library.lib
        if self.outputs:
            lib.mlt_features_free(self.outputs)
        self.library.check(lib.mlt_model_predict(self.model, self.features, None, self.out))
        dtype, rank = ctypes.c_int(), ctypes.c_size_t()
        shape, data = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_void_p()
        self.library.check(lib.mlt_features_array(self.outputs, lib.mlt_features_name(self.outputs, 0), ctypes.byref(dtype),
                                                  ctypes.byref(shape), ctypes.byref(rank), ctypes.byref(data)))
        if dtype.value != MLT_F32:
            sys.exit("bench: the answer is not float32")
        dims = tuple(shape[i] for i in range(rank.value))
        return np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), shape=dims).copy()

    def close(self):
        self.library.lib.mlt_binding_free(self.binding)
        self.library.lib.mlt_features_free(self.outputs)
        self.library.lib.mlt_features_free(self.features)
        self.library.lib.mlt_model_close(self.model)


class Theirs:
    def __init__(self, path, x, threads, profile=False):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_profiling = profile
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input(self.session.get_inputs()[0].name, x)
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def predict(self):
        self.session.run_with_iobinding(self.binding)

    def answer(self):
        self.predict()
        return self.binding.copy_outputs_to_cpu()[0]


def measure(engines, turns, repeats, clock=time.perf_counter):
    """Median milliseconds of each engine: `turns` turns of `repeats` predictions."""
    times = [[] for _ in engines]
    for turn in range(turns):
        for i in range(len(engines)):
            which = (i + turn) % len(engines)  # nobody always follows the same neighbour
            predict = engines[which].predict
            time.sleep(PAUSE)
            predict()
            if repeats > 16:
                start = clock()
                for _ in range(repeats):
                    predict()
                times[which].append((clock() - start) / repeats)
                continue
            for _ in range(repeats):
                start = clock()
                predict()
                times[which].append(clock() - start)
    return [statistics.median(t) * 1e3 for t in times]


def network_arguments(parser, turns):
    """What the scripts take that compare all networks of a folder."""
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    parser.add_argument("--models", required=True, help="folder of ONNX files")
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md")


def network_names(args):
    return [n for n in args.only.split(",") if n] or sorted(f[:-5] for f in os.listdir(args.models) if f.endswith(".onnx"))


def converted(build, onnx_path, folder):
    """Our package of an ONNX file, in float32."""
    package = os.path.join(folder, os.path.basename(onnx_path)[:-5] + ".mlpackage")
    subprocess.run([os.path.join(build, "bin", "mlconvert"), "-q", "--precision", "float32", "-o", package, onnx_path], check=True)
    return package


def agreeing(library, package, onnx_path, x, threads):
    """Ours and ONNX Runtime's on so many threads, its answer, and how far ours is from that; ends the run where they disagree."""
    library.lib.mlt_set_threads(threads)
    ours, theirs = Ours(library, package, x), Theirs(onnx_path, x, threads)
    expected = theirs.answer()
    error = float(np.abs(ours.answer().reshape(expected.shape) - expected).max() / np.abs(expected).max())
    if not error <= LIMIT["float32"]:
        sys.exit(f"{os.path.basename(onnx_path)}: WRONG ANSWER: difference {error:.2g}")
    return ours, theirs, expected, error


def cpu_name():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def peak_ops(onnx_path):
    """Where ONNX Runtime's time goes, by node."""
    import json
    model = onnx.load(onnx_path)
    session = Theirs(onnx_path, sample(model_input(model)[1]), 1, profile=True)
    for _ in range(20):
        session.predict()
    path = session.session.end_profiling()
    events = [e for e in json.load(open(path)) if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    os.remove(path)
    by_node = {}
    for e in events:
        key = (e["name"], e["args"].get("op_name"), json.dumps(e["args"].get("input_type_shape", ""))[:110])
        by_node.setdefault(key, []).append(e["dur"] / 1e3)
    for key, durations in by_node.items():
        print(f"{statistics.median(durations):9.3f} ms  {key[1]:12} {key[0]:40} {key[2]}")


def main():
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md")
    parser.add_argument("--only", default="", help="networks, separated by commas")
    parser.add_argument("--models", help="folder of more ONNX files, with one float32 input and weights of their own")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall time: for a busy machine")
    parser.add_argument("--profile", default="", help="print ONNX Runtime's time by node for one network instead")
    parser.add_argument("--keep", default="", help="folder for the models made (default: a temporary one)")
    args = parser.parse_args()

    more = {f[:-5]: os.path.join(args.models, f) for f in sorted(os.listdir(args.models)) if f.endswith(".onnx")} if args.models else {}
    names = [n for n in args.only.split(",") if n] or ["mlp"] + LIGHT + [n for n in more if n not in ["mlp"] + LIGHT]
    ort.set_default_logger_severity(3)
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    temporary = tempfile.TemporaryDirectory(prefix="mltbench")
    folder = args.keep or temporary.name
    os.makedirs(folder, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    rows, failed = [], False
    for name in [args.profile] if args.profile else names:
        onnx_path = more.get(name, os.path.join(folder, name + ".onnx"))
        if not os.path.exists(onnx_path):
            source = os.path.join(CORPUS, "onnx", f"onnx__light_{name}.onnx")
            if name != "mlp" and not os.path.exists(source):
                print(f"bench: {name}: skipped: no {os.path.basename(source)} in the corpus")
                continue
            onnx.save(mlp() if name == "mlp" else random_weights(onnx.load(source)), onnx_path)
        if args.profile:
            return peak_ops(onnx_path)
        packages = {}
        for precision in LIMIT:
            packages[precision] = os.path.join(folder, f"{name}-{precision}.mlpackage")
            if not os.path.exists(packages[precision]):
                subprocess.run([os.path.join(args.build, "bin", "mlconvert"), "-q", "--precision", precision, "-o", packages[precision], onnx_path],
                               check=True)
        x = sample(model_input(onnx.load(onnx_path))[1])
        for threads in [int(t) for t in args.threads.split(",")]:
            if threads > cores:
                print(f"bench: {name}: {threads} threads skipped: {cores} cores")
                continue
            library.lib.mlt_set_threads(threads)
            theirs = Theirs(onnx_path, x, threads)
            expected = theirs.answer()
            ours = {p: Ours(library, packages[p], x) for p in LIMIT}
            errors = {}
            for precision, engine in ours.items():
                answer = engine.answer().reshape(expected.shape)
                errors[precision] = float(np.abs(answer - expected).max() / np.abs(expected).max())
                if not errors[precision] <= LIMIT[precision]:
                    print(f"bench: {name} {precision}: WRONG ANSWER: difference {errors[precision]:.2g}, limit {LIMIT[precision]:.2g}")
                    failed = True
            turns, repeats = (args.turns, 3)
            if name == "mlp":
                repeats = 2000
            elif name == "vgg19":
                turns = max(3, args.turns // 3)
            full, half, reference = measure([ours["float32"], ours["float16"], theirs], turns, repeats,
                                            time.process_time if args.cpu else time.perf_counter)
            rows.append((name, threads, full, half, reference, errors["float32"], errors["float16"]))
            print(f"{name:11} {threads}T  ours {full:9.4f}  float16 weights {half:9.4f}  ORT {reference:9.4f} ms   ratio {full / reference:.3f} "
                  f"{half / reference:.3f}   difference {errors['float32']:.1e} {errors['float16']:.1e}", flush=True)
            for engine in ours.values():
                engine.close()
            del theirs
    if failed:
        sys.exit(1)
    if args.write and not args.cpu:
        write(rows, library, args)


def write(rows, library, args):
    path = os.path.join(ROOT, "BENCHMARKS.md")
    # What other scripts wrote below stays.
    text = open(path).read() if os.path.exists(path) else ""
    rest = text[text.index("<!-- "):] if "<!-- " in text else ""
    with open(path, "w") as out:
        out.write(f"""# Benchmarks

`make bench` (scripts/bench.py) on {datetime.date.today()}: mltools {library.lib.mlt_version().decode()} through libmltools.so against ONNX
Runtime {ort.__version__} (CPU provider, I/O binding) on {cpu_name()}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.machine()}. Batch 1, the same
weights and input, medians of an interleaved run; below 1 is faster than ONNX Runtime. "float16" is our model with float16
weights: the arithmetic is float32 in all columns. The difference is the greatest one to ONNX Runtime's answer, relative to
its greatest answer; a run with a difference beyond {LIMIT['float32']:g} (float16: {LIMIT['float16']:g}) fails instead of reporting times.

| network | threads | ours, ms | ours float16, ms | ONNX Runtime, ms | ours / ORT | float16 / ORT | difference | float16 |
|---|---|---|---|---|---|---|---|---|
""")
        for name, threads, full, half, reference, e32, e16 in rows:
            digits = 4 if reference < 0.1 else 2
            out.write(f"| {name} | {threads} | {full:.{digits}f} | {half:.{digits}f} | {reference:.{digits}f} | {full / reference:.2f} | "
                      f"{half / reference:.2f} | {e32:.1e} | {e16:.1e} |\n")
        out.write("""
The networks are those of ONNX's light model tests with pseudo-random weights, a perceptron of 64-128-128-10, and others
exported from PyTorch (`--models`). Compare
ratios: milliseconds change with whatever else the machine does.
""")
        out.write("\n" + rest if rest else "")
    print("bench: wrote BENCHMARKS.md")


if __name__ == "__main__":
    main()
