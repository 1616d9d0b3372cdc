"""Models, states and in-memory models as coremltools' Python classes expect them of its extension module."""
import ctypes
import json
import os
import shutil
import tempfile
import time
import weakref

import numpy as np

from .features import Features, copy_array
from .library import FIT_REFUSE, INPUT, USAGE, MltoolsError, OpenOptions, check, library, text

_HINTS = ("allowLowPrecisionAccumulationOnGPU", "reshapeFrequency", "specializationStrategy")
_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")


class _MLModelAssetProxy:
    """A compiled model that is opened later: a directory, or its files in memory."""

    def __init__(self, path=None, files=None):
        self.path = path
        self.files = files

    def open(self, options):
        handle = ctypes.c_void_p()
        if self.files is None:
            check(library().mlt_model_open(os.fsencode(self.path), ctypes.byref(options), ctypes.byref(handle)))
            return handle.value
        names = (ctypes.c_char_p * len(self.files))(*(name.encode() for name in self.files))
        data = (ctypes.c_char_p * len(self.files))(*self.files.values())
        sizes = (ctypes.c_size_t * len(self.files))(*(len(content) for content in self.files.values()))
        check(library().mlt_model_open_files(names, data, sizes, len(self.files), b"model", ctypes.byref(options), ctypes.byref(handle)))
        return handle.value


class _MLStateProxy:
    """What a model keeps between predictions. Values are read and written in float32 whatever the state's type."""

    def __init__(self, model, handle):
        self._model = model
        self.handle = handle
        self._free = weakref.finalize(self, library().mlt_state_free, handle)

    def read_state(self, name):
        data, rank = ctypes.c_void_p(), ctypes.c_size_t()
        shape = ctypes.POINTER(ctypes.c_int64)()
        check(library().mlt_state_read(self.handle, name.encode(), ctypes.byref(data), ctypes.byref(shape), ctypes.byref(rank)))
        return copy_array(data.value, np.dtype("float32"), tuple(shape[: rank.value]) or (1,))

    def write_state(self, name, value):
        array = np.asarray(value)
        described = next((s for s in self._model.description["states"] if s["name"] == name), None)
        shape = described.get("shape") if described else None
        if shape is not None and list(array.shape) != shape and not (array.size == 1 and int(np.prod(shape)) == 1):
            raise MltoolsError(f'state "{name}": expected {shape}, got {list(array.shape)}', USAGE)
        if described is not None and described.get("dtype") == "fp16":
            array = array.astype(np.float16)
        array = np.ascontiguousarray(array, dtype=np.float32)
        check(library().mlt_state_write(self.handle, name.encode(), array.ctypes.data, array.size))


class _MLModelProxy:
    def __init__(self, path, compute_units="ALL", function_name="", optimization_hints=None, asset=None):
        # Every compute unit that a caller may choose includes the CPU, and all of them promise the same answers; hints
        # are about speed alone. Both are checked, so that a misspelt one is found here as on a Mac.
        if compute_units not in _UNITS:
            raise MltoolsError(f"unknown compute units {compute_units}", USAGE)
        for hint in optimization_hints or {}:
            if hint not in _HINTS:
                raise MltoolsError(f"unknown optimization hint {hint}", USAGE)
        self._asset = asset if asset is not None else _MLModelAssetProxy(path=path)
        self._compiled_path = None
        self._predict_ns = None
        start = time.perf_counter_ns()
        options = OpenOptions()
        options.size = ctypes.sizeof(OpenOptions)
        options.function = function_name.encode() if function_name else None
        options.image_fit = FIT_REFUSE
        self._handle = self._asset.open(options)
        self._close = weakref.finalize(self, library().mlt_model_close, self._handle)
        self.description = json.loads(text(library().mlt_model_describe(self._handle)))
        self._inputs = {feature["name"]: feature for feature in self.description["inputs"]}
        # The compiled form is made when it is asked for; the source may be gone by then.
        self._source = None
        if asset is None and not _is_compiled(path):
            self._source = _keep(path)
        self._load_ns = time.perf_counter_ns() - start

    def predict(self, data, state=None):
        if not isinstance(data, dict):
            raise TypeError(f"a dictionary of features expected, got {type(data).__name__}")
        start = time.perf_counter_ns()
        out = self._predict(data, state)
        self._predict_ns = time.perf_counter_ns() - start
        return out

    def batchPredict(self, batch):
        start = time.perf_counter_ns()
        out = [self._predict(record, None) for record in batch]
        self._predict_ns = time.perf_counter_ns() - start
        return out

    def _predict(self, data, state):
        inputs = Features()
        for name, value in data.items():
            if name in self._inputs:  # others are ignored, as Core ML does
                _check_shape(name, np.shape(value) if isinstance(value, np.ndarray) else (), self._inputs[name])
                inputs.set(name, value, self._inputs[name])
        if state is None and self.description["states"]:
            names = ", ".join(s["name"] for s in self.description["states"])
            raise MltoolsError(f"the model has states ({names}): give predict() one that make_state() made", USAGE)
        if state is not None and not self.description["states"]:
            raise MltoolsError("the model has no states", USAGE)
        outputs = ctypes.c_void_p()
        status = library().mlt_model_predict(self._handle, inputs, state.handle if state is not None else None, ctypes.byref(outputs))
        try:
            check(status)
        except MltoolsError as error:  # Core ML's words, which scripts look for, before the reason
            kind = "ML Program" if self.description["kind"] == "mlProgram" else f"a {self.description['kind']} model"
            raise MltoolsError(f"Unable to compute the prediction using {kind}: {error}", error.status) from None
        return Features(outputs.value).to_dict()

    def newState(self):
        handle = ctypes.c_void_p()
        check(library().mlt_state_new(self._handle, ctypes.byref(handle)))
        return _MLStateProxy(self, handle.value)

    def get_compiled_model_path(self):
        if self._compiled_path is None:
            if self._source is None:
                return self._asset.path
            self._compiled_path = _compile(self._source.path, self._source.name)
            weakref.finalize(self, shutil.rmtree, os.path.dirname(self._compiled_path), True)
        return self._compiled_path

    def get_load_duration_in_nano_seconds(self):
        return self._load_ns

    def get_last_predict_duration_in_nano_seconds(self):
        return self._predict_ns

    @staticmethod
    def compileModel(path):
        return _compile(path, _base_name(path))

    @staticmethod
    def maximum_supported_specification_version():
        return library().mlt_newest_spec_version()

    @staticmethod
    def auto_set_specification_version(spec):
        """The model with the least specification version that its features allow: a message, or a message's bytes."""
        data = spec if isinstance(spec, bytes) else spec.SerializeToString()
        least = ctypes.c_int()
        check(library().mlt_required_spec_version(data, len(data), ctypes.byref(least)))
        from coremltools import proto

        changed = proto.Model_pb2.Model.FromString(data)
        changed.specificationVersion = least.value
        return changed.SerializeToString() if isinstance(spec, bytes) else changed

    @staticmethod
    def create_model_asset_from_path(path):
        from coremltools.models.model import MLModelAsset

        if not os.path.isdir(path):
            raise MltoolsError(f"{path}: no compiled model", USAGE)
        return MLModelAsset(_MLModelAssetProxy(path=path))

    @staticmethod
    def create_model_asset_from_memory(spec_data, blob_mapping=None):
        from coremltools.models.model import MLModelAsset

        files = {"model.mlmodel": bytes(spec_data)}
        files.update((name, bytes(content)) for name, content in (blob_mapping or {}).items())
        return MLModelAsset(_MLModelAssetProxy(files=files))

    @staticmethod
    def get_available_compute_devices():
        from .compute import devices

        return devices()

    get_all_compute_devices = get_available_compute_devices

    @staticmethod
    def get_model_structure(path):
        from .compute import model_structure

        return model_structure(path)

    @staticmethod
    def get_compute_plan(path, compute_units):
        from .compute import compute_plan

        return compute_plan(path, compute_units)


def _check_shape(name, shape, described):
    """Flexible shapes, in the words of Core ML, which scripts look for; all else is the library's to check."""
    ranges, shapes = described.get("shapeRange"), described.get("shapes")
    if ranges and len(ranges) == len(shape):
        for axis, (size, (lower, upper)) in enumerate(zip(shape, ranges)):
            if size < lower or (0 <= upper < size):
                raise MltoolsError(f'input "{name}": Size ({size}) of dimension ({axis}) is not in allowed range ({lower}..{upper})', INPUT)
    elif shapes and shape and list(shape) not in shapes and list(shape) != described.get("shape"):
        text_of = " x ".join(map(str, shape))
        raise MltoolsError(f'input "{name}": MultiArray Shape ({text_of}) was not in enumerated set of allowed shapes', INPUT)


class _Source:
    """A model file or package that can be compiled even when its name is gone."""

    def __init__(self, path, name, descriptor=None):
        self.path = path
        self.name = name
        if descriptor is not None:
            weakref.finalize(self, os.close, descriptor)


def _keep(path):
    name = _base_name(path)
    if os.path.isdir(path):
        return _Source(path, name)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _Source(f"/proc/self/fd/{descriptor}", name, descriptor)


def _is_compiled(path):
    return str(path).rstrip("/").endswith(".mlmodelc")


def _base_name(path):
    return os.path.splitext(os.path.basename(str(path).rstrip("/")))[0] or "model"


def _compile(path, name):
    folder = tempfile.mkdtemp(prefix="mltools-")
    target = os.path.join(folder, name + ".mlmodelc")
    try:
        check(library().mlt_compile(os.fsencode(path), os.fsencode(target)))
    except MltoolsError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return target
