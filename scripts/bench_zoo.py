#!/usr/bin/env python3
"""Networks of many kinds against ONNX Runtime, in float32: whether anything falls off.

    scripts/bench_zoo.py [BUILD] --models DIR [--only NAMES] [--threads LIST] [--turns N] [--write]

DIR holds ONNX files with one float32 input, those of scripts/make-zoo or any others. An answer beyond the limit of
scripts/bench.py fails the run. --write replaces the table in BENCHMARKS.md.
"""
import argparse
import datetime
import os
import statistics
import sys
import tempfile

import onnx
import onnxruntime as ort

from bench import Library, agreeing, converted, cpu_name, measure, model_input, network_arguments, network_names, sample
from sections import replace_section


def main():
    parser = argparse.ArgumentParser(prog="bench_zoo")
    network_arguments(parser, turns=4)
    args = parser.parse_args()
    ort.set_default_logger_severity(3)
    library = Library(os.path.join(args.build, "lib", "libmltools.so"))
    threads, rows = [int(t) for t in args.threads.split(",")], []
    with tempfile.TemporaryDirectory(prefix="mltbench") as folder:
        for name in network_names(args):
            path = os.path.join(args.models, name + ".onnx")
            package = converted(args.build, path, folder)
            x, times, error = sample(model_input(onnx.load(path))[1]), [], 0.0
            for count in threads:
                ours, theirs, _, difference = agreeing(library, package, path, x, count)
                error = max(error, difference)
                times.append(measure([ours, theirs], args.turns, 3))
                print(f"{name:20} {count}T  ours {times[-1][0]:8.2f}  ORT {times[-1][1]:8.2f} ms   ratio {times[-1][0] / times[-1][1]:.2f}   "
                      f"difference {error:.1e}", flush=True)
                ours.close()
            rows.append((name, times, error))
    means = [statistics.geometric_mean([row[1][i][0] / row[1][i][1] for row in rows]) for i in range(len(threads))]
    print("geometric mean of the ratios: " + ", ".join(f"{m:.2f} on {t}T" for m, t in zip(means, threads)))
    if args.write:
        write(rows, threads, means)


def write(rows, threads, means):
    lines = ["## Networks of many kinds", "", f"""\
`scripts/bench_zoo.py` on {datetime.date.today()}, networks of `scripts/make-zoo`, float32, batch 1, ONNX Runtime {ort.__version__}, on
{cpu_name()}, {len(os.sched_getaffinity(0))} cores; medians of wall time, interleaved, few runs each: read them as "about". Ratio: our
time over ONNX Runtime's; its geometric mean is {", ".join(f"{m:.2f} on {t} thread{'s' * (t > 1)}" for m, t in zip(means, threads))}.
"""]
    lines.append("| network | " + " | ".join(f"ours, {t}T, ms | ONNX Runtime | ratio" for t in threads) + " | difference |")
    lines.append("|---" * (2 + 3 * len(threads)) + "|")
    for name, times, error in rows:
        lines.append(f"| {name} | " + " | ".join(f"{a:.2f} | {b:.2f} | {a / b:.2f}" for a, b in times) + f" | {error:.1e} |")
    replace_section("zoo", "\n".join(lines))


if __name__ == "__main__":
    main()
