#!/usr/bin/env python3
"""Networks in eight bits, weights and activations, against ONNX Runtime's float32 and its own eight bits.

    scripts/bench_int8.py [BUILD] [--only NAMES] [--models FOLDER] [--threads LIST] [--turns N] [--cpu] [--keep FOLDER] [--write]

ResNet-50, MobileNetV2 and BERT-base with 128 tokens are made with pseudo-random weights, all others are NAME.onnx of --models
(one float32 input, as scripts/make-zoo makes them); all are quantized by ONNX Runtime's quantize_static (QDQ, weights by channel, calibrated with random data). ONNX Runtime runs that file, of BERT what its
quantize_dynamic makes, which it runs several times faster; ours is the file of quantize_static, converted by mlconvert. Our float32 is the unquantized model. Answers are compared with our reference evaluation of the
quantized model, which computes in float32 what the declared quantizations leave; a difference beyond LIMIT of its greatest
answer, and well beyond ONNX Runtime's own, which is printed beside ours, fails the run. --cpu counts processor time, for a busy
machine; --write puts the table into BENCHMARKS.md.
"""
import argparse
import datetime
import logging
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import bench_transformers
from bench import ROOT, Library, cpu_name, measure
from bench_transformers import Graph, Ours, Theirs, difference
from sections import replace_section

# Of the greatest answer. One step of a code, early in a network of random weights, moves many later ones.
LIMIT = 0.05
TARGETS = {"resnet50": (3.6, 1.05), "mobilenetv2": (2.5, None), "bert_128": (3.7, None), "squeezenet11": (3.5, None), "yolov8n": (3.3, None)}
TITLES = {"resnet50": "ResNet-50", "mobilenetv2": "MobileNetV2", "bert_128": "BERT-base, 128 tokens", "squeezenet11": "SqueezeNet 1.1", "yolov8n": "YOLOv8n"}
MADE = ("resnet50", "mobilenetv2", "bert_128")  # the rest are files of --models


def conv(g, x, inputs, outputs, size, stride=1, groups=1, f=None, gain=2.0):
    spread = (gain / (inputs // groups * size * size)) ** 0.5
    w, b = g.random(outputs, inputs // groups, size, size, scale=spread), g.random(outputs, scale=0.1)
    y = g.op("Conv", [x, w, b], kernel_shape=[size, size], pads=[size // 2] * 4, strides=[stride, stride], group=groups)
    return f(y) if f else y


def resnet50(g):
    relu = lambda v: g.op("Relu", [v])
    x = conv(g, "x", 3, 64, 7, 2, f=relu)
    x, inputs = g.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = conv(g, conv(g, conv(g, x, inputs, width, 1, f=relu), width, width, 3, stride, f=relu), width, 4 * width, 1, gain=0.5)
            if not block:
                x, inputs = conv(g, x, inputs, 4 * width, 1, stride, gain=1.0), 4 * width
            x = relu(g.op("Add", [y, x]))
    x = g.op("Flatten", [g.op("GlobalAveragePool", [x])])
    return {"x": (1, 3, 224, 224)}, {g.op("Gemm", [x, g.random(1000, 2048, scale=2048 ** -0.5), g.random(1000, scale=0.1)], transB=1): [1, 1000]}


def mobilenetv2(g):
    relu6 = lambda v: g.op("Clip", [v, g.constant(np.float32(0)), g.constant(np.float32(6))])
    x, inputs = conv(g, "x", 3, 32, 3, 2, f=relu6), 32
    for factor, width, count, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(count):
            stride, middle = (first if i == 0 else 1), inputs * factor
            y = conv(g, x, inputs, middle, 1, f=relu6) if factor > 1 else x
            y = conv(g, conv(g, y, middle, middle, 3, stride, middle, f=relu6), middle, width, 1, gain=1.0)
            x, inputs = (g.op("Add", [x, y]) if stride == 1 and inputs == width else y), width
    x = g.op("Flatten", [g.op("GlobalAveragePool", [conv(g, x, 320, 1280, 1, f=relu6)])])
    return {"x": (1, 3, 224, 224)}, {g.op("Gemm", [x, g.random(1000, 1280, scale=1280 ** -0.5), g.random(1000, scale=0.1)], transB=1): [1, 1000]}


def network(name, g):
    """Feeds and outputs; the feeds follow from the name."""
    if name in bench_transformers.NETWORKS:
        return bench_transformers.NETWORKS[name](g)
    shapes, outputs = {"resnet50": resnet50, "mobilenetv2": mobilenetv2}[name](g)
    return {n: np.random.default_rng(3).standard_normal(s, dtype=np.float32) for n, s in shapes.items()}, outputs


class Random(CalibrationDataReader):
    def __init__(self, feeds, count=4):
        rng = np.random.default_rng(11)
        self.left = [{n: v if n == "mask" else rng.integers(0, 30522, v.shape) if v.dtype == np.int64 else rng.standard_normal(v.shape, dtype=np.float32)
                      for n, v in feeds.items()} for _ in range(count)]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantize(source, target, feeds, transformer):
    """As documented for ONNX Runtime. Of a transformer, the products with weights: attention and the rest stay float."""
    plain = target + ".prepared"
    # Its own fusions put reshapes between a transformer's products and what follows them, and quantize_static then makes
    # models that it does not load.
    quant_pre_process(source, plain, skip_symbolic_shape=True, skip_optimization=transformer)
    model = onnx.load(plain)
    for i, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{i}"  # nodes are left out by name, which some share and some lack
    onnx.save(model, plain)
    constants = {t.name for t in model.graph.initializer}
    skip = [n.name for n in model.graph.node if n.op_type == "MatMul" and n.input[1] not in constants]
    extra = {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]} if transformer else {}
    quantize_static(plain, target, Random(feeds), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    op_types_to_quantize=["MatMul", "Gemm"] if transformer else None, nodes_to_exclude=skip, extra_options=extra)
    os.remove(plain)


def main():
    parser = argparse.ArgumentParser(prog="bench_int8", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    parser.add_argument("--only", default="", help="networks, separated by commas; any file of --models (default: " + ", ".join(TARGETS) + ")")
    parser.add_argument("--models", default="", help="folder of networks, NAME.onnx; those that it lacks are skipped")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall time: for a busy machine")
    parser.add_argument("--keep", default="", help="folder for the models made (default: a temporary one)")
    parser.add_argument("--write", action="store_true", help="write the table into BENCHMARKS.md")
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    logging.disable(logging.WARNING)  # quantize_static tells of every bias it copies
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    temporary = tempfile.TemporaryDirectory(prefix="mltbench")
    folder, failed, rows = args.keep or temporary.name, False, []
    os.makedirs(folder, exist_ok=True)
    cores = len(os.sched_getaffinity(0))
    for name in [n for n in args.only.split(",") if n] or TARGETS:
        paths = {form: os.path.join(folder, f"{name}-{form}.onnx") for form in ("float32", "int8")}
        if name not in MADE:
            paths["float32"] = os.path.join(args.models, name + ".onnx")
            if not args.models or not os.path.exists(paths["float32"]):
                print(f"bench: {name}: skipped: no {name}.onnx in --models")
                continue
            shape = [d.dim_value for d in onnx.load(paths["float32"]).graph.input[0].type.tensor_type.shape.dim]
            feeds = {onnx.load(paths["float32"]).graph.input[0].name: np.random.default_rng(3).standard_normal(shape, dtype=np.float32)}
        else:
            graph = Graph(name)
            feeds, outputs = network(name, graph)
            if not os.path.exists(paths["float32"]):
                onnx.save(graph.model(feeds, outputs), paths["float32"])
            del graph
        transformer = name in bench_transformers.NETWORKS
        if not os.path.exists(paths["int8"]):
            quantize(paths["float32"], paths["int8"], feeds, transformer)
        own = paths["int8"].replace(".onnx", "-dynamic.onnx") if transformer else paths["int8"]
        if not os.path.exists(own):
            quantize_dynamic(paths["float32"], own, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"], extra_options={"MatMulConstBOnly": True})
        packages = {}
        for form, path in paths.items():
            packages[form] = os.path.join(folder, f"{name}-{form}.mlpackage")
            if not os.path.exists(packages[form]):
                subprocess.run([os.path.join(args.build, "bin", "mlconvert"), "-q", "--target", "iOS18", "--precision", "float32", "-o", packages[form], path], check=True)
        reference = Ours(library, packages["int8"], feeds, reference=True)
        expected = reference.answers()
        reference.close()
        for threads in [int(t) for t in args.threads.split(",")]:
            if threads > cores:
                print(f"bench: {name}: {threads} threads skipped: {cores} cores")
                continue
            library.lib.mlt_set_threads(threads)
            theirs = {"float32": Theirs(paths["float32"], feeds, threads), "int8": Theirs(own, feeds, threads)}
            ours = {form: Ours(library, package, feeds) for form, package in packages.items()}
            mine, other = difference(ours["int8"].answers(), expected), difference(theirs["int8"].answers(), expected)
            if not mine <= max(LIMIT, 1.5 * other):
                print(f"bench: {name}: WRONG ANSWER: difference {mine:.2g}")
                failed = True
            times = measure([theirs["float32"], theirs["int8"], ours["float32"], ours["int8"]], args.turns, 3, time.process_time if args.cpu else time.perf_counter)
            print(f"{name:12} {threads}T  ORT float32 {times[0]:.2f}  ORT int8 {times[1]:.2f}  ours float32 {times[2]:.2f}  ours int8 {times[3]:.2f} ms   "
                  f"{times[0] / times[3]:.2f}x ORT float32  {times[1] / times[3]:.2f}x ORT int8   difference {mine:.1e} (ORT {other:.1e})", flush=True)
            rows.append((name, threads, times, mine, other))
            for engine in ours.values():
                engine.close()
            del theirs
    if args.write and rows:
        write(rows, args, library, cores)
    if failed:
        sys.exit(1)


def write(rows, args, library, cores):
    lines = []
    for name, threads, (f, i, of, oi), mine, other in rows:
        whole, own = TARGETS.get(name, (None, None))
        lines.append(f"| {TITLES.get(name, name)} | {threads} | {oi:.2f} | {of:.2f} | {f:.2f} | {i:.2f} | {f / oi:.2f} | {whole or ''} | {i / oi:.2f} | {own or ''} | {mine:.1e} | {other:.1e} |")
    clock = "processor time (the machine was busy)" if args.cpu else "wall time"
    replace_section("int8", f"""## Lower precision

`scripts/bench_int8.py{' --cpu' if args.cpu else ''}` on {datetime.date.today()}: mltools {library.lib.mlt_version().decode()} against ONNX Runtime {ort.__version__} on {cpu_name()}, {cores} cores,
medians of {clock}, interleaved. Weights and activations in eight bits: models quantized by ONNX Runtime's quantize_static
(QDQ, unsigned activations, weights by channel; of BERT the products with weights), which it runs itself, and ours converted from them
by mlconvert; of BERT, ONNX Runtime runs what its quantize_dynamic makes, which it runs several times faster. Names in small letters are networks of `scripts/make-zoo`. Above 1 is faster. Differences are to our reference evaluation of the quantized model, which computes in float32,
relative to its greatest answer; weights are random, so that a code on the edge between two moves many later ones.

| network | threads | ours int8, ms | ours float32, ms | ORT float32, ms | ORT int8, ms | to ORT float32 | target | to ORT int8 | target | difference | ORT's |
|---|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}
""")
    print("bench: wrote BENCHMARKS.md")


if __name__ == "__main__":
    main()
