#!/usr/bin/env python3
"""Convolutional networks against ncnn, in float32, interleaved with ONNX Runtime.

    scripts/bench_ncnn.py [BUILD] --models DIR [--threads LIST] [--turns N] [--write]

DIR holds ONNX files with one float32 input. ncnn's own converter, pnnx, makes its model from them, in float32; ncnn runs
without its 16-bit options. Every answer is compared with ONNX Runtime's; ours beyond the limit of scripts/bench.py fails
the run, ncnn's is reported and its times left out. --write replaces the table in BENCHMARKS.md. Needs the Python packages
ncnn, pnnx, numpy, onnx and onnxruntime; skips, with a message, without them.
"""
import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import ncnn
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as problem:
    print(f"bench_ncnn: skipped: {problem}")
    sys.exit(0)

from bench import LIMIT, ROOT, Library, Ours, Theirs, cpu_name, measure, model_input, sample
from sections import replace_section


class Ncnn:
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
            sys.exit(f"bench_ncnn: ncnn does not open {stem}")
        self.x = ncnn.Mat(x[0])

    def predict(self):
        run = self.net.create_extractor()
        run.input("in0", self.x)
        status, y = run.extract("out0")
        if status != 0:
            sys.exit("bench_ncnn: ncnn's prediction failed")
        return y

    def answer(self):
        return np.array(self.predict())


def main():
    parser = argparse.ArgumentParser(prog="bench_ncnn")
    parser.add_argument("build", nargs="?", default=os.path.join(ROOT, "build"))
    parser.add_argument("--models", required=True, help="folder of ONNX files")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md")
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    rows = []
    with tempfile.TemporaryDirectory(prefix="mltbench") as folder:
        for file in sorted(f for f in os.listdir(args.models) if f.endswith(".onnx")):
            path = os.path.join(args.models, file)
            package = os.path.join(folder, file[:-5] + ".mlpackage")
            subprocess.run([os.path.join(args.build, "bin", "mlconvert"), "-q", "--precision", "float32", "-o", package, path], check=True)
            x = sample(model_input(onnx.load(path))[1])
            for threads in [int(t) for t in args.threads.split(",")]:
                library.lib.mlt_set_threads(threads)
                ours, theirs, third = Ours(library, package, x), Theirs(path, x, threads), Ncnn(path, folder, x, threads)
                expected = theirs.answer()
                scale = np.abs(expected).max()
                error = float(np.abs(ours.answer().reshape(expected.shape) - expected).max() / scale)
                if not error <= LIMIT["float32"]:
                    sys.exit(f"bench_ncnn: {file}: WRONG ANSWER: difference {error:.2g}")
                answer = third.answer()
                agrees = answer.size == expected.size and np.abs(answer.reshape(expected.shape) - expected).max() <= 1e-2 * scale
                engines = [ours, theirs] + ([third] if agrees else [])
                times = measure(engines, args.turns, 3)
                rows.append((file[:-5], threads, times[0], times[1], times[2] if agrees else None, error))
                print(f"{file[:-5]:12} {threads}T  ours {times[0]:8.3f}  ORT {times[1]:8.3f}  ncnn "
                      + (f"{times[2]:8.3f} ms   ratio {times[0] / times[2]:.3f}" if agrees else "gives another answer"), flush=True)
                ours.close()
    if args.write:
        write(rows)


def write(rows):
    lines = ["## ncnn", "", f"""\
`scripts/bench_ncnn.py` on {datetime.date.today()}: ncnn {ncnn.__version__} (PyPI), models by its own pnnx, float32 in all three, on
{cpu_name()}, {len(os.sched_getaffinity(0))} cores; medians of wall time, interleaved. The speed-up is ncnn's time over ours.
""", "| network | threads | ours, ms | ncnn, ms | ONNX Runtime, ms | speed-up | difference |", "|---|---|---|---|---|---|---|"]
    for name, threads, ours, theirs, third, error in rows:
        answer = (f"{third:.2f}", f"{third / ours:.2f}") if third else ("another answer", "")
        lines.append(f"| {name} | {threads} | {ours:.2f} | {answer[0]} | {theirs:.2f} | {answer[1]} | {error:.1e} |")
    replace_section("ncnn", "\n".join(lines))


if __name__ == "__main__":
    main()
