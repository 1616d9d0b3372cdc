#!/usr/bin/env python3
"""Networks against ncnn or OpenVINO, in float32, interleaved with ONNX Runtime.

    scripts/bench_peers.py ncnn|openvino [BUILD] --models DIR [--only LIST] [--threads LIST] [--turns N] [--write]

DIR holds ONNX files with one float32 input. ncnn's own converter, pnnx, makes its model from them, in float32; ncnn runs
without its 16-bit options. OpenVINO, whose processor plugin runs oneDNN, opens them as they are, set to float32, for
latency, with one stream. Every answer is compared with ONNX Runtime's; ours beyond the limit of scripts/bench.py fails the run,
the peer's is reported and its times left out. --write replaces the peer's table in BENCHMARKS.md. Needs the Python packages
ncnn and pnnx, or openvino, and numpy, onnx and onnxruntime; skips, with a message, without them.
"""
import argparse
import datetime
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    if "ncnn" in sys.argv[1:2]:
        import ncnn
    if "openvino" in sys.argv[1:2]:
        import openvino
except ImportError as problem:
    print(f"bench_peers: skipped: {problem}")
    sys.exit(0)

from bench import Library, agreeing, converted, cpu_name, measure, model_input, network_arguments, network_names, sample
from sections import replace_section


class Ncnn:
    about = "ncnn {} (PyPI), models by its own pnnx"

    @staticmethod
    def version():
        return ncnn.__version__

    def __init__(self, onnx_path, folder, x, threads):
        stem = os.path.join(folder, os.path.basename(onnx_path)[:-5])
        if not os.path.exists(stem + ".ncnn.bin"):
            shutil.copy(onnx_path, stem + ".onnx")
            tool = os.path.join(os.path.dirname(sys.executable), "pnnx")
            shape = "[" + ",".join(map(str, x.shape)) + "]"
            subprocess.run([tool, stem + ".onnx", "inputshape=" + shape, "fp16=0"], check=True, cwd=folder,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
            setattr(self.net.opt, "use_" + name, False)
        if self.net.load_param(stem + ".ncnn.param") != 0 or self.net.load_model(stem + ".ncnn.bin") != 0:
            sys.exit(f"bench_peers: ncnn does not open {stem}")
        self.x = ncnn.Mat(x[0])

    def predict(self):
        run = self.net.create_extractor()
        run.input("in0", self.x)
        status, y = run.extract("out0")
        if status != 0:
            sys.exit("bench_peers: ncnn's prediction failed")
        return y

    def answer(self):
        return np.array(self.predict())


class OpenVino:
    about = "OpenVINO {} (PyPI; its processor plugin runs oneDNN), set to float32, for latency, with one stream"
    core = None

    @staticmethod
    def version():
        return openvino.__version__.split("-")[0]

    def __init__(self, onnx_path, folder, x, threads):
        if OpenVino.core is None:
            OpenVino.core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        model = OpenVino.core.compile_model(onnx_path, "CPU", options)
        self.request = model.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(x, shared_memory=True))

    def predict(self):
        self.request.infer()

    def answer(self):
        self.predict()
        return np.array(self.request.get_output_tensor(0).data)


PEERS = {"ncnn": ("ncnn", Ncnn), "openvino": ("OpenVINO", OpenVino)}


def main():
    parser = argparse.ArgumentParser(prog="bench_peers")
    parser.add_argument("peer", choices=PEERS)
    network_arguments(parser, turns=10)
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    rows = []
    name, peer = PEERS[args.peer]
    with tempfile.TemporaryDirectory(prefix="mltbench") as folder:
        for network in network_names(args):
            path = os.path.join(args.models, network + ".onnx")
            package = converted(args.build, path, folder)
            x = sample(model_input(onnx.load(path))[1])
            for threads in [int(t) for t in args.threads.split(",")]:
                ours, theirs, expected, error = agreeing(library, package, path, x, threads)
                third = peer(path, folder, x, threads)
                answer = third.answer()
                agrees = answer.size == expected.size and np.abs(answer.reshape(expected.shape) - expected).max() <= 1e-2 * np.abs(expected).max()
                engines = [ours, theirs] + ([third] if agrees else [])
                times = measure(engines, args.turns, 3)
                rows.append((network, threads, times[0], times[1], times[2] if agrees else None, error))
                print(f"{network:12} {threads}T  ours {times[0]:8.3f}  ORT {times[1]:8.3f}  {name} "
                      + (f"{times[2]:8.3f} ms   ratio {times[0] / times[2]:.3f}" if agrees else "gives another answer"), flush=True)
                ours.close()
    if args.write:
        write(args.peer, rows)


def write(key, rows):
    name, peer = PEERS[key]
    lines = [f"## {name}", "", f"""\
`scripts/bench_peers.py {key}` on {datetime.date.today()}: {peer.about.format(peer.version())}, float32 in all three, on
{cpu_name()}, {len(os.sched_getaffinity(0))} cores; medians of wall time, interleaved. The speed-up is {name}'s time over ours
{means(rows)}.
""", f"| network | threads | ours, ms | {name}, ms | ONNX Runtime, ms | speed-up | difference |", "|---|---|---|---|---|---|---|"]
    for network, threads, ours, theirs, third, error in rows:
        answer = (f"{third:.2f}", f"{third / ours:.2f}") if third else ("another answer", "")
        lines.append(f"| {network} | {threads} | {ours:.2f} | {answer[0]} | {theirs:.2f} | {answer[1]} | {error:.1e} |")
    replace_section(key, "\n".join(lines))


def means(rows):
    texts = []
    for threads in sorted({row[1] for row in rows}):
        ratios = [row[4] / row[2] for row in rows if row[1] == threads and row[4]]
        if ratios:
            texts.append(f"{statistics.geometric_mean(ratios):.2f} on {threads} thread{'s' if threads > 1 else ''}")
    return "(geometric mean " + ", ".join(texts) + ")"


if __name__ == "__main__":
    main()
