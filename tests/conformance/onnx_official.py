#!/usr/bin/env python3
"""The backend tests of the onnx package that is installed, written as folders for scripts/onnx-report.

  onnx_official.py DIR

Node and model tests are generated (model.onnx, test_data_set_N), the recorded ones (PyTorch, simple) are copied. Prints the
package's version and how many tests there are.
"""
import os, shutil, sys

import numpy as np
import onnx
from onnx import numpy_helper as nh
from onnx.backend.test.case import model as models
from onnx.backend.test.case import node as nodes

np.seterr(all="ignore")
root = sys.argv[1]
os.makedirs(root, exist_ok=True)


def write(path, value, info):
    kind = info.type.WhichOneof("value")
    if isinstance(value, onnx.TensorProto):
        proto = value
    elif kind == "map_type":
        proto = nh.from_dict(value, info.name)
    elif kind == "sequence_type":
        proto = nh.from_list(value, info.name)
    elif kind == "optional_type":
        proto = nh.from_optional(value, info.name)
    else:
        proto = nh.from_array(np.asarray(value), info.name)
    with open(path, "wb") as f:
        f.write(proto.SerializeToString())


count = 0
for case in list(nodes.collect_testcases()) + list(models.collect_testcases()):
    if case.model is None:
        continue
    folder = os.path.join(root, case.kind, case.name)
    os.makedirs(folder, exist_ok=True)
    onnx.save(case.model, os.path.join(folder, "model.onnx"))
    for k, (inputs, outputs) in enumerate(case.data_sets):
        data = os.path.join(folder, f"test_data_set_{k}")
        os.makedirs(data, exist_ok=True)
        for what, values, infos in (("input", inputs, case.model.graph.input), ("output", outputs, case.model.graph.output)):
            for j, value in enumerate(values):
                write(os.path.join(data, f"{what}_{j}.pb"), value, infos[j])
    count += 1
recorded = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
for name in ("pytorch-operator", "pytorch-converted"):
    source, copy = os.path.join(recorded, name), os.path.join(root, name)
    if os.path.isdir(source) and not os.path.exists(copy):
        shutil.copytree(source, copy)
        count += len(os.listdir(source))
print(f"onnx {onnx.__version__}, operator set {onnx.defs.onnx_opset_version()}: {count} tests")
