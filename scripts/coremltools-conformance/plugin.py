"""A pytest plugin that serves coremltools' own tests with libmltools and records what became of each.

One line of JSON per test is appended to the file in MLT_CONFORMANCE_OUT: {"id", "outcome", "predictions", "seconds",
"loads", "cause", "detail"}. A line {"start": id} precedes it, so that whoever started this process knows which test ended it.
Tests that have a line already are left out.

Outcomes: passed, failed, unsupported (the library refused with status 4), skipped.
"""
import gc
import json
import os
import platform
import random
import time
import zlib

import sys


def _old_libsvm():
    """The tests are written for modules of libsvm's as they were: at the top, with the enumerations' names in them."""
    try:
        import libsvm
        from libsvm import svm, svmutil
    except ImportError:
        return
    for module in (svm, svmutil):
        for forms in (svm.svm_forms, svm.kernel_names) if hasattr(svm, "svm_forms") else ():
            for form in forms:
                setattr(module, form.name, int(form))
        module.svm_parameter = svm.svm_parameter
    libsvm.__version__ = str(getattr(libsvm, "__version__", svm.libsvm.libsvm_version if hasattr(svm.libsvm, "libsvm_version") else "3"))
    sys.modules["svm"], sys.modules["svmutil"] = svm, svmutil


_old_libsvm()

import numpy as np
import pytest

import mltools_coremltools
from mltools_coremltools import MltoolsError, proxy

import coremltools._deps

# The tests compare predictions where this says so.
coremltools._deps._IS_MACOS = True
# Skips that concern Intel Macs or Apple silicon do not concern this machine.
platform.machine = lambda: "generic"



def _houses():
    """In place of the data set that some tests download: the same columns and count, numbers drawn from a fixed seed.
    The tests compare a converted model with its source; what the numbers mean is nothing to them."""
    generator = np.random.default_rng(1978)
    data = generator.gamma(2.0, 3.0, (506, 13)).round(3)
    data[:, 3] = generator.integers(0, 2, 506)
    data[:, 8] = generator.integers(1, 25, 506)
    target = np.clip(22 + 3 * data[:, 5] - 2 * data[:, 12] + generator.normal(0, 3, 506), 5, 50).round(1)
    names = ["CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT"]
    return {"data": data, "target": target, "feature_names": np.array(names, dtype="<U7")}


import coremltools.test.utils

coremltools.test.utils.load_boston = _houses

_out = open(os.environ["MLT_CONFORMANCE_OUT"], "a+")
_counts = {"predictions": 0, "loads": 0, "refused_loads": 0}


def _write(record):
    _out.write(json.dumps(record) + "\n")
    _out.flush()


def _count(function, per_call):
    def wrapper(self, data, *rest):
        _counts["predictions"] += per_call(data)
        return function(self, data, *rest)

    return wrapper


def _counting_init(init):
    def wrapper(self, *arguments, **named):
        try:
            init(self, *arguments, **named)
            _counts["loads"] += 1
        except MltoolsError:
            _counts["refused_loads"] += 1
            raise

    return wrapper


_Model = proxy._MLModelProxy
_Model.__init__ = _counting_init(_Model.__init__)
_Model.predict = _count(_Model.predict, lambda data: 1)
_Model.batchPredict = _count(_Model.batchPredict, len)
mltools_coremltools.set_threads(1)


def _done():
    _out.seek(0)
    ids = {record["id"] for record in map(json.loads, _out) if "id" in record}
    _out.seek(0, os.SEEK_END)
    return ids


def pytest_collection_modifyitems(config, items):
    done = _done()
    _write({"collected": len(items)})
    index, count = map(int, os.environ.get("MLT_CONFORMANCE_SHARD", "0/1").split("/"))
    most = int(os.environ.get("MLT_CONFORMANCE_MAX", "0"))
    # A sample is the same whatever else is selected: tests in the order of a checksum of their name.
    order = sorted(items, key=lambda item: zlib.crc32(item.nodeid.encode()))
    chosen = {item.nodeid for item in (order[:most] if most else order)}
    if os.environ.get("MLT_CONFORMANCE_ONLY"):
        with open(os.environ["MLT_CONFORMANCE_ONLY"]) as names:
            chosen = set(names.read().split("\n"))
    keep = [i for i in items if i.nodeid in chosen and i.nodeid not in done and zlib.crc32(i.nodeid.encode()) % count == index]
    items[:] = keep


def pytest_collection_finish(session):
    # Every conversion collects garbage; what the modules hold (torch, transformers) need not be looked through each time.
    gc.collect()
    gc.freeze()


def pytest_collectreport(report):
    if report.failed:
        _write({"id": report.nodeid, "outcome": "failed", "predictions": 0, "seconds": 0, "cause": "not collected: " + _last_line(report.longreprtext)})


def _last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""


def pytest_runtest_setup(item):
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    try:
        import torch

        torch.manual_seed(seed)
    except ImportError:
        pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    _write({"start": item.nodeid})
    _counts.update(predictions=0, loads=0, refused_loads=0)
    item.mlt = {"id": item.nodeid, "outcome": "passed", "start": time.monotonic()}
    yield
    record = item.mlt
    record["seconds"] = round(time.monotonic() - record.pop("start"), 2)
    record["predictions"] = _counts["predictions"]
    record["loads"] = _counts["loads"]
    if _counts["refused_loads"]:
        record["refused_loads"] = _counts["refused_loads"]
    _write(record)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    result = yield
    report = result.get_result()
    record = item.mlt
    if report.skipped:
        record["outcome"] = "skipped"
        if call.excinfo is not None:
            record["cause"] = str(call.excinfo.value).strip().split("\n")[0][:300]
    elif report.failed and record["outcome"] != "failed":
        record["outcome"] = "failed"
        if call.excinfo is None:  # an expected failure that passed
            record["cause"] = str(report.longrepr)[:300]
            return
        error = call.excinfo.value
        refusal = _refusal(error)
        if refusal is not None and refusal.status == 4:
            record["outcome"] = "unsupported"
        shown = refusal or error
        text = str(shown).strip()
        record["cause"] = (type(shown).__name__ + ": " + (text.split("\n")[0] or ""))[:400]
        record["detail"] = text[:1500]
        record["where"] = str(call.excinfo.traceback[-1].path).split("site-packages/")[-1] + ":" + str(call.excinfo.traceback[-1].lineno + 1)
        lines = [f"{entry.path.name}:{entry.lineno + 1}" for entry in call.excinfo.traceback if "site-packages/coremltools" in str(entry.path)]
        record["trace"] = " < ".join(reversed(lines[-8:]))


def _refusal(error):
    while error is not None:
        if isinstance(error, MltoolsError):
            return error
        error = error.__cause__ or error.__context__
    return None
