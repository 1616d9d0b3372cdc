#!/usr/bin/env python3
"""Transformers against ONNX Runtime: as bench.py, with more inputs and outputs and with compressed weights.

The networks have the shapes of ViT-B/16, BERT-base with 128 tokens, the encoder of Whisper-tiny, and GPT-2 decoding one
token after 128, written as exporters write them: attention and GELU spelled out. Weights are pseudo-random. Compressed
forms of GPT-2 are compared with ONNX Runtime's float32 in time, those of four bits with its own four bits too
(MatMulNBits, blocks of 32, products in eight bits, which is the fastest it has), and with our own reference evaluation in
their answers.
"""
import argparse
import ctypes
import datetime
import json
import logging
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

try:  # it needs onnx_ir, a package of its own
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
except ImportError:
    MatMulNBitsQuantizer = None

from bench import MLT_F32, ROOT, Library, Options, cpu_name, measure
from sections import replace_section

MLT_I32 = 6
LIMIT = {"float32": 1e-4, "float16": 2e-2}
BF16, BF16_LIMIT = "bf16 where fast", 3e-2  # the float32 package; float32 again on processors that are faster at it
LOW_BIT_LIMIT = 2e-3  # against the reference evaluation, which rounds expanded weights to float16
COMPRESSED = {"int8": ["--linear", "int8"], "int4 blocks": ["--linear", "int4", "--granularity", "block:32"], "palette 16": ["--palettize", "4"]}


class Graph:
    def __init__(self, name):
        self.name, self.nodes, self.weights, self.count = name, [], [], 0
        self.rng = np.random.default_rng(7)

    def op(self, kind, inputs, outputs=1, **attributes):
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array):
        self.count += 1
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{self.count}"))
        return f"w{self.count}"

    def random(self, *shape, scale):
        return self.constant(self.rng.standard_normal(shape, dtype=np.float32) * np.float32(scale))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def linear(self, x, inputs, outputs, bias=True):
        y = self.op("MatMul", [x, self.random(inputs, outputs, scale=inputs ** -0.5)])
        return self.op("Add", [self.random(outputs, scale=0.02), y]) if bias else y

    def norm(self, x, width):
        return self.op("LayerNormalization", [x, self.constant(np.ones(width, np.float32)), self.constant(np.zeros(width, np.float32))], axis=-1)

    def gelu(self, x):
        erf = self.op("Erf", [self.op("Div", [x, self.constant(np.float32(2 ** 0.5))])])
        half = self.op("Mul", [x, self.op("Add", [erf, self.constant(np.float32(1))])])
        return self.op("Mul", [half, self.constant(np.float32(0.5))])

    def heads(self, x, tokens, heads, perm=(0, 2, 1, 3)):
        return self.op("Transpose", [self.op("Reshape", [x, self.ints(1, tokens, heads, 64)])], perm=perm)

    def attend(self, q, k, v, tokens, heads, mask=None):
        scores = self.op("Div", [self.op("MatMul", [q, k]), self.constant(np.float32(8))])
        if mask is not None:
            scores = self.op("Add", [scores, mask])
        y = self.op("MatMul", [self.op("Softmax", [scores], axis=-1), v])
        return self.op("Reshape", [self.op("Transpose", [y], perm=(0, 2, 1, 3)), self.ints(1, tokens, heads * 64)])

    def attention(self, x, tokens, heads, mask=None):
        width = heads * 64
        q, k, v = (self.linear(x, width, width) for _ in range(3))
        y = self.attend(self.heads(q, tokens, heads), self.heads(k, tokens, heads, (0, 2, 3, 1)), self.heads(v, tokens, heads), tokens, heads, mask)
        return self.linear(y, width, width)

    def feed_forward(self, x, width):
        return self.linear(self.gelu(self.linear(x, width, 4 * width)), 4 * width, width)

    def block(self, x, tokens, heads, mask=None, norm_first=True):
        width = heads * 64
        if norm_first:
            x = self.op("Add", [x, self.attention(self.norm(x, width), tokens, heads)])
            return self.op("Add", [x, self.feed_forward(self.norm(x, width), width)])
        x = self.norm(self.op("Add", [x, self.attention(x, tokens, heads, mask)]), width)
        return self.norm(self.op("Add", [x, self.feed_forward(x, width)]), width)

    def model(self, inputs, outputs):
        info = helper.make_tensor_value_info
        types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
        graph = helper.make_graph(self.nodes, self.name, [info(n, types[a.dtype], a.shape) for n, a in inputs.items()],
                                  [info(n, TensorProto.FLOAT, s) for n, s in outputs.items()], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def vit(g):
    feeds = {"x": g.rng.standard_normal((1, 3, 224, 224), dtype=np.float32)}
    x = g.op("Conv", ["x", g.random(768, 3, 16, 16, scale=768 ** -0.5), g.random(768, scale=0.02)], strides=[16, 16])
    x = g.op("Transpose", [g.op("Reshape", [x, g.ints(1, 768, 196)])], perm=(0, 2, 1))
    x = g.op("Add", [g.op("Concat", [g.random(1, 1, 768, scale=0.02), x], axis=1), g.random(1, 197, 768, scale=0.02)])
    for _ in range(12):
        x = g.block(x, 197, 12)
    x = g.op("Gather", [g.norm(x, 768), g.constant(np.int64(0))], axis=1)
    return feeds, {g.linear(x, 768, 1000): [1, 1000]}


def bert(g):
    feeds = {"ids": g.rng.integers(0, 30522, (1, 128)), "mask": np.ones((1, 128), np.float32)}
    x = g.op("Add", [g.op("Gather", [g.random(30522, 768, scale=1), "ids"], axis=0), g.random(1, 128, 768, scale=0.02)])
    mask = g.op("Sub", [g.constant(np.float32(1)), g.op("Unsqueeze", ["mask", g.ints(1, 2)])])
    mask, x = g.op("Mul", [mask, g.constant(np.float32(-10000))]), g.norm(x, 768)
    for _ in range(12):
        x = g.block(x, 128, 12, mask, norm_first=False)
    return feeds, {x: [1, 128, 768]}


def whisper(g):
    feeds = {"x": g.rng.standard_normal((1, 80, 3000), dtype=np.float32)}
    x = g.gelu(g.op("Conv", ["x", g.random(384, 80, 3, scale=240 ** -0.5), g.random(384, scale=0.02)], pads=[1, 1]))
    x = g.gelu(g.op("Conv", [x, g.random(384, 384, 3, scale=1152 ** -0.5), g.random(384, scale=0.02)], pads=[1, 1], strides=[2]))
    x = g.op("Add", [g.op("Transpose", [x], perm=(0, 2, 1)), g.random(1500, 384, scale=0.02)])
    for _ in range(4):
        x = g.block(x, 1500, 6)
    return feeds, {g.norm(x, 384): [1, 1500, 384]}


def gpt2(g):
    feeds = {"ids": np.full((1, 1), 77), "position": np.full((1, 1), 128), "past": g.rng.standard_normal((24, 1, 12, 128, 64), dtype=np.float32)}
    x = g.op("Add", [g.op("Gather", [g.random(50257, 768, scale=1), "ids"], axis=0), g.op("Gather", [g.random(1024, 768, scale=1), "position"], axis=0)])
    caches = []
    for layer in range(12):
        q, k, v = g.op("Split", [g.linear(g.norm(x, 768), 768, 2304), g.ints(768, 768, 768)], 3, axis=2)
        new = []
        for i, part in enumerate((k, v)):
            past = g.op("Gather", ["past", g.constant(np.int64(2 * layer + i))], axis=0)
            new.append(g.op("Concat", [past, g.heads(part, 1, 12)], axis=2))
            caches.append(g.op("Unsqueeze", [new[-1], g.ints(0)]))
        y = g.attend(g.heads(q, 1, 12), g.op("Transpose", [new[0]], perm=(0, 1, 3, 2)), new[1], 1, 12)
        x = g.op("Add", [x, g.linear(y, 768, 768)])
        x = g.op("Add", [x, g.feed_forward(g.norm(x, 768), 768)])
    logits = g.linear(g.norm(x, 768), 768, 50257, bias=False)
    return feeds, {logits: [1, 1, 50257], g.op("Concat", caches, axis=0): [24, 1, 12, 129, 64]}


NETWORKS = {"vit_b16": vit, "bert_128": bert, "whisper_enc": whisper, "gpt2_decode": gpt2}


class Ours:
    """Bound to arrays of ours, as ONNX Runtime's is to its own."""

    def __init__(self, library, path, feeds, reference=False, bf16=0):
        self.library, self.lib = library, library.lib
        options = Options(ctypes.sizeof(Options), None, 0, int(reference), 0, 0, bf16)
        start = time.perf_counter()
        self.model, self.binding = ctypes.c_void_p(), ctypes.c_void_p()
        library.check(self.lib.mlt_model_open(path.encode(), ctypes.byref(options), ctypes.byref(self.model)))
        library.check(self.lib.mlt_binding_new(self.model, ctypes.byref(self.binding)))
        self.kept = [v.astype(np.int32) if v.dtype == np.int64 else v for v in feeds.values()]
        for name, value in zip(feeds, self.kept):
            self.bind(self.lib.mlt_binding_input, name, MLT_I32 if value.dtype == np.int32 else MLT_F32, value)
        self.outputs = {}
        for output in json.loads(self.lib.mlt_model_describe(self.model))["outputs"]:
            self.outputs[output["name"]] = np.empty(output["shape"], np.float32)
            self.bind(self.lib.mlt_binding_output, output["name"], MLT_F32, self.outputs[output["name"]])
        self.predict()
        self.first = time.perf_counter() - start

    def bind(self, function, name, dtype, array):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.library.check(function(self.binding, name.encode(), dtype, shape, array.ndim, array.ctypes.data))

    def predict(self):
        if self.lib.mlt_binding_run(self.binding, None) != 0:
            self.library.check(1)

    def answers(self):
        self.predict()
        return {name: array.copy() for name, array in self.outputs.items()}

    def close(self):
        self.lib.mlt_binding_free(self.binding)
        self.lib.mlt_model_close(self.model)


class Theirs:
    def __init__(self, path, feeds, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        start = time.perf_counter()
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        for name, value in feeds.items():
            self.binding.bind_cpu_input(name, value)
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name)
        self.predict()
        self.first = time.perf_counter() - start

    def predict(self):
        self.session.run_with_iobinding(self.binding)

    def answers(self):
        return dict(zip([o.name for o in self.session.get_outputs()], self.binding.copy_outputs_to_cpu()))


def difference(found, expected):
    """Greatest difference relative to the greatest answer; outputs in order where their names changed."""
    worst = 0.0
    for i, (name, want) in enumerate(expected.items()):
        got = found.get(name, list(found.values())[i])
        worst = max(worst, float(np.abs(got.reshape(want.shape) - want).max() / np.abs(want).max()))
    return worst


def packages(build, folder, name, onnx_path):
    """Forms of the model by name; a form that mlquantize does not make is left out, with its reason."""
    made = {}
    for precision in LIMIT:
        made[precision] = os.path.join(folder, f"{name}-{precision}.mlpackage")
        if not os.path.exists(made[precision]):
            subprocess.run([os.path.join(build, "bin", "mlconvert"), "-q", "--target", "iOS18", "--precision", precision, "-o", made[precision], onnx_path],
                           check=True)
    if name.startswith("vit"):
        made[BF16] = made["float32"]
    for form, options in COMPRESSED.items() if name.startswith("gpt2") else []:
        path = os.path.join(folder, f"{name}-{form.replace(' ', '-')}.mlpackage")
        if not os.path.exists(path):
            done = subprocess.run([os.path.join(build, "bin", "mlquantize"), "-q", made["float16"], "-o", path] + options, stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                print(f"bench: {name} {form}: skipped: {done.stderr.splitlines()[0] if done.stderr else done.returncode}")
                continue
        made[form] = path
    return made


def four_bits(onnx_path):
    """ONNX Runtime's own four bits of the model, or None where its tool for that is not installed."""
    if MatMulNBitsQuantizer is None:
        print("bench: MatMulNBits skipped: its quantizer does not load (onnx_ir)")
        return None
    path = onnx_path.replace(".onnx", "-nbits.onnx")
    if not os.path.exists(path):
        tool = MatMulNBitsQuantizer(onnx.load(onnx_path), bits=4, block_size=32, is_symmetric=True, accuracy_level=4)
        tool.process()
        onnx.save(tool.model.model, path)
    return path


def main():
    parser = argparse.ArgumentParser(prog="bench_transformers")
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    parser.add_argument("--only", default="", help="networks, separated by commas: " + ", ".join(NETWORKS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall time: for a busy machine")
    parser.add_argument("--keep", default="", help="folder for the models made (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md")
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    logging.disable(logging.WARNING)  # the quantizer tells of every node
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    temporary = tempfile.TemporaryDirectory(prefix="mltbench")
    folder, failed = args.keep or temporary.name, False
    rows = {}  # (network, form): what each number of threads gave
    os.makedirs(folder, exist_ok=True)
    print(f"{datetime.date.today()}: mltools {library.lib.mlt_version().decode()}, ONNX Runtime {ort.__version__}, {cpu_name()}, "
          f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, {'processor' if args.cpu else 'wall'} time")
    print("| network | weights | threads | ours, ms | ONNX Runtime float32, ms | speed-up | difference | load to first answer, s: ours / theirs |\n|---|---|---|---|---|---|---|---|")
    for name in [n for n in args.only.split(",") if n] or NETWORKS:
        onnx_path = os.path.join(folder, name + ".onnx")
        graph = Graph(name)
        feeds, outputs = NETWORKS[name](graph)
        if not os.path.exists(onnx_path):
            onnx.save(graph.model(feeds, outputs), onnx_path)
        del graph
        forms = packages(args.build, folder, name, onnx_path)
        for threads in [int(t) for t in args.threads.split(",") if int(t) <= len(os.sched_getaffinity(0))]:
            library.lib.mlt_set_threads(threads)
            theirs = Theirs(onnx_path, feeds, threads)
            expected = theirs.answers()
            ours, errors = {}, {}
            for form, path in forms.items():
                engine, want = Ours(library, path, feeds, bf16=1 if form == BF16 else 0), expected
                if form in COMPRESSED:
                    reference = Ours(library, path, feeds, reference=True)
                    want = reference.answers()
                    reference.close()
                ours[form], errors[form] = engine, difference(engine.answers(), want)
                if not errors[form] <= (BF16_LIMIT if form == BF16 else LIMIT.get(form, LOW_BIT_LIMIT)):
                    print(f"bench: {name} {form}: WRONG ANSWER: difference {errors[form]:.2g}")
                    failed = True
            own = four_bits(onnx_path) if name.startswith("gpt2") else None
            peers = [theirs] + ([Theirs(own, feeds, threads)] if own else [])
            times = measure(peers + list(ours.values()), args.turns, 12 if name.startswith("gpt2") else 3, time.process_time if args.cpu else time.perf_counter)
            nbits = times[1] if own else None
            for (form, engine), milliseconds in zip(ours.items(), times[len(peers):]):
                print(f"| {name} | {form} | {threads} | {milliseconds:.2f} | {times[0]:.2f} | {times[0] / milliseconds:.2f} | {errors[form]:.1e} | "
                      f"{engine.first:.2f} / {theirs.first:.2f} |", flush=True)
                rows.setdefault((name, form), []).append((milliseconds, times[0], errors[form], engine.first, theirs.first, nbits))
                engine.close()
            if nbits:
                print(f"| {name} | ONNX Runtime's MatMulNBits | {threads} | | {nbits:.2f} | {times[0] / nbits:.2f} | | |", flush=True)
            del theirs, peers
    if failed:
        sys.exit(1)
    if args.write and not args.cpu:
        write(rows, args)


TITLES = {"vit_b16": "ViT-B/16", "bert_128": "BERT-base, 128 tokens", "whisper_enc": "Whisper-tiny encoder", "gpt2_decode": "GPT-2, 1 token after 128"}
TARGETS = {("vit_b16", "float32"): "1.06", ("bert_128", "float32"): "1.12", ("whisper_enc", "float32"): "1.12", ("gpt2_decode", "float32"): "1.5",
           ("gpt2_decode", "float16"): "3", ("gpt2_decode", "int8"): "4.5", ("gpt2_decode", "int4"): "8", ("gpt2_decode", "palette"): "8"}


def write(rows, args):
    lines = ["## Transformers", "", f"""\
`scripts/bench_transformers.py` on {datetime.date.today()}, ONNX Runtime {ort.__version__}, {cpu_name()}, {len(os.sched_getaffinity(0))} cores,
threads {args.threads}; medians of wall time, interleaved; the last column opens packages, with nothing prepared. Above 1 is faster than ONNX
Runtime's float32. Compressed weights are compared with our reference evaluation of them, the others with ONNX Runtime's
answer; arithmetic is float32 except where bf16 is asked for and fast, which it is not on every processor that has it.
""", "| network | weights | ours, ms | ONNX Runtime float32, ms | speed-up | target | difference | load to first answer, s: ours / theirs |", "|---|---|---|---|---|---|---|---|"]
    for (name, form), runs in rows.items():
        target = TARGETS.get((name, form.split(" ")[0].split("-")[0]), "")
        lines.append(f"| {TITLES.get(name, name)} | {form} | {', '.join(f'{r[0]:.2f}' for r in runs)} | {', '.join(f'{r[1]:.2f}' for r in runs)} | "
                     f"{', '.join(f'{r[1] / r[0]:.2f}' for r in runs)} | {target} | {max(r[2] for r in runs):.1e} | {runs[-1][3]:.2f} / {runs[-1][4]:.2f} |")
    own = [(form, runs) for (name, form), runs in rows.items() if form.startswith(("int4", "palette")) and runs[0][5]]
    if own:
        lines += ["", f"ONNX Runtime's own four bits of GPT-2 (MatMulNBits, blocks of 32, activations in eight bits) take {', '.join(f'{r[5]:.2f}' for r in own[0][1])} ms: "
                  + "; ".join(f"our {form} {', '.join(f'{r[5] / r[0]:.2f}' for r in runs)} times as fast" for form, runs in own) + " (goal 1.5)."]
    replace_section("transformers", "\n".join(lines))


if __name__ == "__main__":
    main()
