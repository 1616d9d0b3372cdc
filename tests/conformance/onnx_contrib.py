#!/usr/bin/env python3
"""ONNX Runtime's own operators (com.microsoft): models of one node each, converted and run by mlpredict, against the runtime.

  onnx_contrib.py [--tools DIR] [-v]     Needs onnx, onnxruntime, numpy. Exit status 1 when one differs.
"""
import argparse, os, subprocess, sys, tempfile

import numpy as np
import onnxruntime as ort
from onnx import ValueInfoProto, helper, numpy_helper

ap = argparse.ArgumentParser()
ap.add_argument("--tools", default="build/bin")
ap.add_argument("-v", action="store_true")
a = ap.parse_args()
ort.set_default_logger_severity(4)
rng = np.random.default_rng(5)
F = lambda *s: rng.standard_normal(s).astype(np.float32)
U8 = lambda *s: rng.integers(0, 256, s).astype(np.uint8)
I8 = lambda *s: rng.integers(-128, 128, s).astype(np.int8)
f32 = lambda v: np.array(v, np.float32)
work = tempfile.mkdtemp(prefix="contrib.")
cases = []


def case(op, inputs, outputs=1, const=(), domain="com.microsoft", shapes=None, **attributes):
    cases.append((op, inputs, outputs, set(const), domain, attributes))


cos, sin, cos8, sin8 = F(16, 4), F(16, 4), F(16, 8), F(16, 8)
case("BiasGelu", [F(2, 3, 8), F(8)])
case("FastGelu", [F(2, 3, 8), F(8)])
case("Gelu", [F(2, 8)])
case("QuickGelu", [F(2, 8)], alpha=1.702)
case("SkipLayerNormalization", [F(1, 3, 8), F(1, 3, 8), F(8), F(8), F(8)], const=(2, 3, 4), epsilon=1e-5)
case("SkipSimplifiedLayerNormalization", [F(1, 3, 8), F(1, 3, 8), F(8)], const=(2,), epsilon=1e-5)
case("EmbedLayerNormalization", [rng.integers(0, 10, (2, 5)).astype(np.int32), rng.integers(0, 2, (2, 5)).astype(np.int32), F(10, 8), F(6, 8), F(2, 8), F(8), F(8)], const=(2, 3, 4, 5, 6), outputs=1)
case("FusedMatMul", [F(2, 4, 3), F(2, 4, 5)], transA=1, alpha=0.5)
case("Attention", [F(2, 4, 8), F(8, 24), F(24)], const=(1, 2), num_heads=2)
case("Attention", [F(2, 4, 8), F(8, 24), F(24), np.array([[1, 1, 1, 0], [1, 1, 0, 0]], np.int32)], const=(1, 2), num_heads=2)
case("Attention", [F(2, 4, 8), F(8, 24), F(24), np.array([3, 4], np.int32)], const=(1, 2), num_heads=2)
case("Attention", [F(2, 4, 8), F(8, 24), F(24)], const=(1, 2), num_heads=2, unidirectional=1)
case("Attention", [F(1, 2, 8), F(8, 24), F(24), None, F(2, 1, 2, 3, 4)], const=(1, 2), num_heads=2, unidirectional=1, outputs=2)
case("MultiHeadAttention", [F(2, 4, 8), F(2, 6, 8), F(2, 6, 8)], num_heads=2)
case("MultiHeadAttention", [F(2, 4, 8), F(2, 6, 8), F(2, 6, 8), F(24)], num_heads=2, const=(3,))
case("MultiHeadAttention", [F(1, 4, 8), F(1, 4, 8), F(1, 4, 8), None, None, F(1, 2, 4, 4)], num_heads=2)
case("MultiHeadAttention", [F(1, 2, 8), F(1, 2, 8), F(1, 2, 8), None, None, None, F(1, 2, 3, 4), F(1, 2, 3, 4)], num_heads=2, outputs=3, unidirectional=1)
case("GroupQueryAttention", [F(1, 4, 32), F(1, 4, 16), F(1, 4, 16), None, None, np.array([3], np.int32), np.array(4, np.int32)], num_heads=4, kv_num_heads=2, outputs=3, const=(6,))
case("GroupQueryAttention", [F(1, 4, 64), F(1, 4, 32), F(1, 4, 32), None, None, np.array([3], np.int32), np.array(4, np.int32), cos8, sin8], num_heads=4, kv_num_heads=2, do_rotary=1, outputs=3, const=(6, 7, 8))
case("GroupQueryAttention", [F(1, 1, 64), F(1, 1, 32), F(1, 1, 32), F(1, 2, 5, 16), F(1, 2, 5, 16), np.array([5], np.int32), np.array(6, np.int32), cos8, sin8], num_heads=4, kv_num_heads=2, do_rotary=1, outputs=3, const=(6, 7, 8))
case("GroupQueryAttention", [F(1, 4, 128), None, None, None, None, np.array([3], np.int32), np.array(4, np.int32), cos8, sin8], num_heads=4, kv_num_heads=2, do_rotary=1, rotary_interleaved=1, outputs=3, const=(6, 7, 8))
case("RotaryEmbedding", [F(1, 2, 4, 8), np.arange(4)[None].astype(np.int64), cos, sin], const=(2, 3))
case("RotaryEmbedding", [F(1, 4, 16), np.arange(4)[None].astype(np.int64), cos, sin], const=(2, 3), interleaved=1)
case("MatMulNBits", [F(2, 64), U8(5, 2, 16), np.abs(F(10))], const=(1, 2), K=64, N=5, bits=4, block_size=32)
case("MatMulNBits", [F(2, 64), U8(5, 2, 16), np.abs(F(10)), U8(5)], const=(1, 2, 3), K=64, N=5, bits=4, block_size=32)
case("MatMulNBits", [F(2, 64), U8(5, 2, 32), np.abs(F(10))], const=(1, 2), K=64, N=5, bits=8, block_size=32)
case("QLinearAdd", [U8(2, 8), f32(0.02), np.uint8(120), U8(2, 8), f32(0.03), np.uint8(100), f32(0.05), np.uint8(128)], const=(1, 2, 4, 5, 6, 7))
case("QLinearMul", [I8(2, 8), f32(0.02), np.int8(12), I8(2, 8), f32(0.03), np.int8(-10), f32(0.05), np.int8(3)], const=(1, 2, 4, 5, 6, 7))
case("QLinearSigmoid", [U8(2, 8), f32(0.04), np.uint8(120), f32(1 / 256), np.uint8(0)], const=(1, 2, 3, 4))
case("QLinearLeakyRelu", [U8(2, 8), f32(0.04), np.uint8(120), f32(0.03), np.uint8(20)], const=(1, 2, 3, 4), alpha=0.1)
case("QLinearGlobalAveragePool", [U8(1, 3, 4, 4), f32(0.04), np.uint8(120), f32(0.03), np.uint8(120)], const=(1, 2, 3, 4))
case("QLinearConcat", [f32(0.05), np.uint8(10), U8(2, 3), f32(0.04), np.uint8(3), U8(2, 4), f32(0.03), np.uint8(7)], const=(0, 1, 3, 4, 6, 7), axis=1)
case("QLinearSoftmax", [U8(2, 8), f32(0.04), np.uint8(120), f32(1 / 256), np.uint8(0)], const=(1, 2, 3, 4), axis=-1, opset=13)
case("DynamicQuantizeMatMul", [F(2, 8), U8(8, 4), f32(0.02), np.uint8(110), F(4)], const=(1, 2, 3, 4))
case("MatMulIntegerToFloat", [U8(2, 8), U8(8, 4), f32(0.02), f32(0.03), np.uint8(110), np.uint8(99), F(4)], const=(1, 2, 3, 4, 5, 6))
case("BitwiseAnd", [rng.integers(-2**31, 2**31, (3, 4)).astype(np.int32), rng.integers(-2**31, 2**31, (3, 4)).astype(np.int32)], domain="")
case("Det", [F(2, 4, 4)], domain="")
case("SimplifiedLayerNormalization", [F(1, 3, 8), F(8)], const=(1,), domain="", epsilon=1e-5)

bad = refused = 0
for op, inputs, outputs, const, domain, attributes in cases:
    names = ["" if x is None else f"in{i}" for i, x in enumerate(inputs)]
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x)) for i, (n, x) in enumerate(zip(names, inputs)) if n and i not in const]
    inits = [numpy_helper.from_array(np.asarray(x), n) for i, (n, x) in enumerate(zip(names, inputs)) if n and i in const]
    outs = [f"out{i}" for i in range(outputs)]
    if op == "EmbedLayerNormalization":
        outs = ["out0", "mask"]
    node = helper.make_node(op, names, outs, domain=domain, **attributes)
    graph = helper.make_graph([node], "g", infos, [ValueInfoProto(name=o) for o in outs[:outputs]], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    path, out = os.path.join(work, "m.onnx"), os.path.join(work, "m.mlpackage")
    open(path, "wb").write(model.SerializeToString())
    feed = {n: np.asarray(x) for i, (n, x) in enumerate(zip(names, inputs)) if n and i not in const}
    label = op + (" " + str({k: v for k, v in attributes.items()}) if attributes else "")
    try:
        want = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feed)
    except Exception as e:
        print("skipped", label, str(e)[:200])
        continue
    p = subprocess.run([a.tools + "/mlconvert", "--precision", "float32", "-o", out, path], capture_output=True, text=True)
    if p.returncode:
        print("refused", label, p.returncode, p.stderr.strip()[-250:])
        refused += 1
        continue
    files = []
    for n, x in feed.items():
        np.save(f"{work}/{n}.npy", x.astype(np.int32) if x.dtype.kind in "iu" else x)
        files.append(f"{n}=@{work}/{n}.npy")
    p = subprocess.run([a.tools + "/mlpredict", out, *files, "--outputs", work + "/y.npz"], capture_output=True, text=True)
    if p.returncode:
        print("FAILED ", label, p.stderr.strip()[-250:])
        bad += 1
        continue
    got = np.load(work + "/y.npz")
    worst = 0
    for k, w in enumerate(want):
        g = got[f"out{k}"].reshape(w.shape).astype(np.float64)
        step = 1.01 if w.dtype.kind in "iu" and op not in ("BitwiseAnd",) else 2e-3 * max(1, np.abs(w).max()) if "Quantize" in op else 1e-4 * max(1, float(np.abs(w).max()))
        worst = max(worst, float(np.abs(g - w).max()) / step)
    if worst > 1:
        print("DIFFERS", label, worst)
        bad += 1
    elif a.v:
        print("same   ", label, f"{worst:.2g}")
print(f"contributed operators: {len(cases)} cases, {bad} differ or fail, {refused} refused")
subprocess.run(["rm", "-rf", work])
sys.exit(bad > 0)
