#!/usr/bin/env python3
"""Core ML models to ONNX, run by ONNX Runtime, against mlpredict's answers; ONNX models there and back against themselves.

  onnx_roundtrip.py [--tools DIR] [--only TEXT] [-v] [--node DIR] models|onnx [CORPUS]

models: every .mlmodel and .mlpackage of the corpus. onnx: every .onnx of the corpus; with --node, backend tests unpacked in
DIR. Needs onnx, onnxruntime, numpy. Prints one line a model that differs or is refused and a summary; exit status 1 when
something differs, 0 otherwise. A refusal must have exit status 4.
"""
import argparse, glob, json, os, subprocess, sys, tempfile

import numpy as np
import onnx
import onnxruntime as ort

ort.set_default_logger_severity(4)
np.seterr(all="ignore")
ap = argparse.ArgumentParser()
ap.add_argument("--tools", default="build/bin")
ap.add_argument("--only", default="")
ap.add_argument("--node")
ap.add_argument("-v", action="store_true")
ap.add_argument("what", choices=["models", "onnx"])
ap.add_argument("corpus", nargs="?", default=os.environ.get("MLT_CORPUS", "../shared/corpus"))
a = ap.parse_args()
counts = {"same": 0, "refused": 0, "DIFFERS": 0, "FAILED": 0, "skipped": 0}
work = tempfile.mkdtemp(prefix="roundtrip.")
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int32)": np.int32,
          "tensor(int64)": np.int64, "tensor(bool)": np.bool_, "tensor(string)": np.object_, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def tool(name, *args):
    p = subprocess.run([os.path.join(a.tools, name), *args], capture_output=True, text=True, timeout=600)
    return p.returncode, p.stdout, p.stderr


def tell(kind, name, text=""):
    counts[kind] += 1
    if kind in ("DIFFERS", "FAILED", "refused", "skipped") or a.v:
        print(f"{kind:8} {name}: {text}".rstrip(": "), flush=True)


def deviation(got, want, rtol, atol):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.size != want.size:
        return np.inf
    got, want = got.reshape(-1), want.reshape(-1)
    ok = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(all="ignore"):
        d = np.abs(got - want) / (atol + rtol * np.abs(want))
    d = np.where(ok, 0, np.where(np.isnan(d), np.inf, d))
    return float(d.max()) if d.size else 0.0


def category(graph, name):
    """A string that the first table which reads the input knows."""
    for node in graph.node:
        if name in node.input:
            for x in node.attribute:
                if x.name in ("cats_strings", "keys_strings", "string_vocabulary"):
                    return x.strings[-1].decode()
            if node.op_type in ("Reshape", "Identity"):
                return category(graph, node.output[0])
    return "a"


def write_ppm(path, x):
    c, h, w = x.shape
    pixels = np.repeat(x, 3, 0) if c == 1 else x
    with open(path, "wb") as f:
        f.write(b"P6 %d %d 255\n" % (w, h) + pixels.transpose(1, 2, 0).astype(np.uint8).tobytes())


def run_model(path, name):
    out = os.path.join(work, "m.onnx")
    rc, _, err = tool("mlconvert", "--to", "onnx", "--precision", "float32", "-o", out, path)
    if rc == 4:
        return tell("refused", name, " | ".join(err.strip().splitlines()[-3:])[:300])
    if rc != 0:
        return tell("FAILED", name, f"exit {rc}: {err.strip()[:300]}")
    try:
        onnx.checker.check_model(out, full_check=os.path.getsize(out) < 5e8)
        session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    except Exception as e:
        return tell("FAILED", name, str(e)[:400].replace("\n", " "))
    meta, graph = session.get_modelmeta().custom_metadata_map, onnx.load(out, load_external_data=False).graph
    rng = np.random.default_rng(7)
    feed, args, state = {}, [], set()
    known = {f["name"]: f for f in json.loads(tool("mlinspect", "--json", path)[1]).get("inputs", [])}
    for i in session.get_inputs():
        dims = [d if isinstance(d, int) else None for d in (i.shape or [])]
        if i.type.startswith("map"):
            keys = ["a", "b", "great", "bad"] if "string" in i.type.split(",")[0] else [0, 1, 2]
            feed[i.name] = {k: float(n + 1) for n, k in enumerate(keys)}
            args.append(i.name + "=" + json.dumps({str(k): v for k, v in feed[i.name].items()}))
            continue
        kind = json.dumps(known.get(i.name, {}))
        classic = bool(i.shape) and i.shape[0] == "N"
        dims = [1 if d is None else d for d in dims]
        if i.name not in known:
            feed[i.name] = np.zeros(dims, DTYPES[i.type])
            state.add(i.name)
            continue
        if "coreml.input." + i.name in meta:
            color = meta["coreml.input." + i.name]
            x = rng.integers(0, 256, dims[1:]).astype(np.float32)
            image = os.path.join(work, i.name.replace("/", "_") + ".ppm")
            write_ppm(image, x[::-1] if "BGR" in color else x)
            feed[i.name] = x[None]
            args.append(f"{i.name}=@{image}")
            continue
        t = DTYPES[i.type]
        if t is np.object_:
            feed[i.name] = np.array([[category(graph, i.name)]], object)
            args.append(f"{i.name}={category(graph, i.name)}")
        elif t in (np.int32, np.int64):
            feed[i.name] = rng.integers(0, 5, dims).astype(t)
        elif t is np.bool_:
            feed[i.name] = rng.integers(0, 2, dims).astype(t)
        else:
            feed[i.name] = rng.standard_normal(dims).astype(t)
        if t is not np.object_:
            x = feed[i.name]
            if classic and x.size == 1 and "multiArray" not in kind:
                args.append(f"{i.name}={x.reshape(-1)[0]}")
            else:
                file = os.path.join(work, "in%d.npy" % len(args))
                want = known.get(i.name, {}).get("shape")
                np.save(file, (x.reshape(-1) if classic else x).astype(np.float32 if t == np.float16 else t))
                args.append(f"{i.name}=@{file}")
    rc, text, err = tool("mlpredict", path, *args, "--json")
    if rc != 0:
        return tell("skipped", name, "mlpredict: " + err.strip()[:200])
    want = json.loads(text.splitlines()[0])
    try:
        got = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed)))
    except Exception as e:
        return tell("FAILED", name, "run: " + str(e)[:300].replace("\n", " "))
    worst = 0.0
    for key, value in want.items():
        g = got.get(key)
        if g is None:
            return tell("DIFFERS", name, f"no output {key}")
        if isinstance(value, dict) and "coreml.classes." + key in meta:
            classes = [str(c) for c in json.loads(meta["coreml.classes." + key])]
            value = [value.get(c, 0.0) for c in classes]
        if isinstance(value, dict) and "data" in value:
            value = value["data"]
        if "coreml.output." + key in meta and not isinstance(value, str):
            value = np.array(value, dtype=np.float64)
            g = np.clip(np.round(g[0]), 0, 255)
            g = g.transpose(1, 2, 0) if value.size == g.size and value.ndim == 3 and value.shape[-1] == g.shape[0] else g
            if "BGR" in meta["coreml.output." + key]:
                g = g[..., ::-1]
        if isinstance(value, str) or isinstance(g.reshape(-1)[0] if g.size else 0, str):
            if str(value) != str(g.reshape(-1)[0]):
                return tell("DIFFERS", name, f"{key}: {g.reshape(-1)[0]!r}, want {value!r}")
            continue
        try:
            value = np.array(value, dtype=np.float64)
        except Exception:
            return tell("skipped", name, f"{key}: {str(value)[:80]}")
        scale = float(np.abs(value[np.isfinite(value)]).max()) if value.size and np.isfinite(value).any() else 1.0
        # Pixels are whole numbers: roundings may differ by one.
        d = deviation(g, value, 2e-3, 2 if "coreml.output." + key in meta else 1e-5 + 2e-4 * scale)
        worst = max(worst, d)
        if d > 1:
            v, w = np.asarray(g, np.float64).reshape(-1), value.reshape(-1)
            at = int(np.argmax(np.abs(v - w))) if v.size == w.size else -1
            return tell("DIFFERS", name, f"{key} {np.shape(g)}: {d:.3g} tolerances; element {at}: {v[at] if v.size else None}, want {w[at] if w.size else None}, sizes {v.size} {w.size}")
    tell("same", name, f"{worst:.2g} of the tolerance")


def tensors(folder, prefix):
    out = []
    for k in range(1000):
        f = os.path.join(folder, f"{prefix}_{k}.pb")
        if not os.path.exists(f):
            return out
        t = onnx.TensorProto()
        t.ParseFromString(open(f, "rb").read())
        out.append(onnx.numpy_helper.to_array(t))


def run_onnx(path, name, data=None):
    package, back = os.path.join(work, "m.mlpackage"), os.path.join(work, "back.onnx")
    try:
        first = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as e:
        if data is None:
            return tell("skipped", name, "ONNX Runtime: " + str(e)[:150].replace("\n", " "))
        first = None
    rng = np.random.default_rng(3)
    options, feed = [], {}
    inputs = first.get_inputs() if first else []
    if data is not None:
        model = onnx.load(path)
        initial = {i.name for i in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in initial]
        try:
            values = tensors(data, "input")
        except Exception as e:
            return tell("skipped", name, "input data: " + str(e)[:100])
        feed = dict(zip(names, values))
        shapes = {i.name: [d.dim_value if d.HasField("dim_value") else None for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
        for n, v in feed.items():
            if v.ndim and shapes.get(n) != list(v.shape):
                options += ["--input", f"{n},shape=" + "x".join(map(str, v.shape))]
    else:
        for i in inputs:
            dims = [d if isinstance(d, int) and d > 0 else 1 for d in i.shape]
            recorded = os.path.join(os.path.dirname(path), "io.npz")
            if os.path.exists(recorded) and i.name in np.load(recorded):
                dims = list(np.load(recorded)[i.name].shape)
            t = DTYPES.get(i.type)
            if t is None or t is np.object_:
                return tell("skipped", name, "input " + i.type)
            feed[i.name] = (rng.integers(0, 5, dims) if t in (np.int32, np.int64) else rng.random(dims)).astype(t)
            if any(not isinstance(d, int) or d <= 0 for d in i.shape):
                options += ["--input", f"{i.name},shape=" + "x".join(map(str, dims))]
    rc, _, err = tool("mlconvert", "--precision", "float32", *options, "-o", package, path)
    if rc == 4 and data is not None:  # what an operator insists on as a constant
        bound = {n for n, v in feed.items() if v.ndim <= 1 and 0 < v.size <= 16 and v.dtype.kind in "iubf" and (v.ndim == 0 or len(feed) > 1) and (v.dtype.kind != "f" or len(feed) > 1)}
        short = [o for o in options if o != "--input" and o.split(",")[0] not in bound]
        extra = []
        for o in short:
            extra += ["--input", o]
        for n in sorted(bound):
            extra += ["--input", f"{n},value=" + ",".join(repr(float(x)) if feed[n].dtype.kind == "f" else str(int(x)) for x in feed[n].reshape(-1)) + (f",shape={feed[n].size}" if feed[n].ndim and shapes.get(n) != list(feed[n].shape) else "")]
        rc, _, err = tool("mlconvert", "--precision", "float32", *extra, "-o", package, path)
    if rc in (2, 3, 4):
        return tell("refused" if rc == 4 or data else "FAILED", name, "to Core ML: " + " | ".join(err.strip().splitlines()[-2:])[:200])
    if rc:
        return tell("FAILED", name, f"exit {rc} {err[:200]}")
    rc, _, err = tool("mlconvert", "--to", "onnx", "-o", back, package)
    if rc == 4:
        return tell("refused", name, "to ONNX: " + " | ".join(err.strip().splitlines()[-2:])[:300])
    if rc:
        return tell("FAILED", name, f"exit {rc} {err[:200]}")
    try:
        onnx.checker.check_model(back, full_check=True)
        second = ort.InferenceSession(back, providers=["CPUExecutionProvider"])
        types = {i.name: DTYPES[i.type] for i in second.get_inputs()}
        shapes = {i.name: i.shape for i in second.get_inputs()}
        clean = dict(zip([i.name for i in second.get_inputs()], [i.name for i in second.get_inputs()]))
        names = [i.name for i in second.get_inputs()]
        mine = {}
        for n, v in feed.items():
            key = n if n in types else "".join(c if c.isalnum() or c == "_" else "_" for c in n)
            key = key if key in types else "_" + key
            if key not in types:
                continue
            v = np.asarray(v)
            mine[key] = np.clip(v, -2**31, 2**31 - 1).astype(types[key]) if v.dtype.kind in "iu" else v.astype(types[key])
            if v.ndim == 0:
                mine[key] = mine[key].reshape(1)
        got = second.run(None, mine)
    except Exception as e:
        return tell("FAILED", name, str(e)[:400].replace("\n", " "))
    if data is not None:
        want = tensors(data, "output")
    else:
        try:
            want = first.run(None, feed)
        except Exception as e:
            return tell("skipped", name, "ONNX Runtime: " + str(e)[:150])
    for k, (g, w) in enumerate(zip(got, want)):
        w = np.asarray(w)
        if w.dtype.kind not in "fiub" and "float" not in str(w.dtype):
            return tell("skipped", name, f"output of {w.dtype}")
        w = w.astype(np.float64)
        half = any(t in str(np.asarray(want[k]).dtype) for t in ("float16", "bfloat16"))
        if np.asarray(want[k]).dtype == np.float64 and np.abs(w[np.isfinite(w)]).max(initial=0) > 3e38:
            return tell("skipped", name, "values beyond float32")
        scale = float(np.abs(w[np.isfinite(w)]).max()) if w.size and np.isfinite(w).any() else 1.0
        d = deviation(g, w, 1e-2 if half else 1e-3, 1e-5 + 1e-5 * scale if data is None else 1e-5)
        if d > 1:
            v = np.asarray(g, np.float64).reshape(-1)
            w = w.reshape(-1)
            at = int(np.nanargmax(np.abs(v - w))) if v.size == w.size and v.size else -1
            return tell("DIFFERS", name, f"output {k} {np.shape(g)}: {d:.3g} tolerances, element {at}: {v[at] if v.size else None}, want {w[at] if w.size else None}")
    tell("same", name)


if a.what == "models":
    paths = sorted(glob.glob(a.corpus + "/mlmodel/*.mlmodel") + glob.glob(a.corpus + "/mlpackage/*.mlpackage"))
    for p in paths:
        if a.only in p:
            run_model(p, os.path.basename(p))
elif a.node:
    for p in sorted(glob.glob(a.node + "/**/model.onnx", recursive=True)):
        folder = os.path.dirname(p)
        if a.only in p and "bernoulli" not in p and os.path.isdir(folder + "/test_data_set_0"):
            try:
                run_onnx(p, os.path.basename(folder), folder + "/test_data_set_0")
            except subprocess.TimeoutExpired:
                tell("FAILED", os.path.basename(folder), "time")
            except Exception as e:
                tell("skipped", os.path.basename(folder), "script: " + str(e)[:100].replace("\n", " "))
else:
    for p in sorted(glob.glob(a.corpus + "/onnx/*.onnx") + glob.glob(a.corpus + "/onnx/*/*.onnx")):
        if a.only in p:
            run_onnx(p, os.path.relpath(p, a.corpus + "/onnx"))
print("round trip %s: " % a.what + ", ".join(f"{v} {k}" for k, v in counts.items()))
subprocess.run(["rm", "-rf", work])
sys.exit(1 if counts["DIFFERS"] + counts["FAILED"] else 0)
