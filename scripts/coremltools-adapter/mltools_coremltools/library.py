"""libmltools.so through ctypes: where it is, what its functions take, and errors as exceptions.

The library is the file named by MLTOOLS_LIBRARY; else the one beside this file (pip put it there), in build/lib of the
source tree that this file is in; else one in the lib directory of the Python environment or of /usr/local; else what the system's loader finds.
"""
import ctypes
import ctypes.util
import os
import sys
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_size_t, c_void_p

STATUS_NAMES = {1: "negative", 2: "usage", 3: "input", 4: "unsupported", 5: "resource", 6: "key"}
OK, USAGE, INPUT, UNSUPPORTED = 0, 2, 3, 4


class MltoolsError(RuntimeError):
    """A refusal of the library. status is the exit status that the tools would give: 4 is valid but unsupported."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status
        self.status_name = STATUS_NAMES.get(status, str(status))


class OpenOptions(ctypes.Structure):
    _fields_ = [
        ("size", c_size_t),
        ("function", c_char_p),
        ("strict_fp16", c_int),
        ("reference", c_int),
        ("image_fit", c_int),
    ]


FIT_STRETCH, FIT_CROP, FIT_PAD, FIT_REFUSE = 0, 1, 2, 3

_SIZE = POINTER(c_size_t)
_HANDLE = POINTER(c_void_p)
# name: (result, arguments); a result of c_int is a status.
_FUNCTIONS = {
    "mlt_version": (c_char_p, []),
    "mlt_last_error": (c_char_p, []),
    "mlt_set_threads": (None, [c_int]),
    "mlt_newest_spec_version": (c_int, []),
    "mlt_required_spec_version": (c_int, [c_char_p, c_size_t, POINTER(c_int)]),
    "mlt_model_open": (c_int, [c_char_p, POINTER(OpenOptions), _HANDLE]),
    "mlt_model_open_files": (c_int, [POINTER(c_char_p), POINTER(c_char_p), _SIZE, c_size_t, c_char_p, POINTER(OpenOptions), _HANDLE]),
    "mlt_model_close": (None, [c_void_p]),
    "mlt_model_describe": (c_char_p, [c_void_p]),
    "mlt_model_structure": (c_char_p, [c_void_p]),
    "mlt_model_predict": (c_int, [c_void_p, c_void_p, c_void_p, _HANDLE]),
    "mlt_compile": (c_int, [c_char_p, c_char_p]),
    "mlt_state_new": (c_int, [c_void_p, _HANDLE]),
    "mlt_state_free": (None, [c_void_p]),
    "mlt_state_read": (c_int, [c_void_p, c_char_p, _HANDLE, POINTER(POINTER(c_int64)), _SIZE]),
    "mlt_state_write": (c_int, [c_void_p, c_char_p, c_void_p, c_size_t]),
    "mlt_features_new": (c_void_p, []),
    "mlt_features_free": (None, [c_void_p]),
    "mlt_features_count": (c_size_t, [c_void_p]),
    "mlt_features_name": (c_char_p, [c_void_p, c_size_t]),
    "mlt_features_kind": (c_int, [c_void_p, c_char_p]),
    "mlt_features_set_int64": (c_int, [c_void_p, c_char_p, c_int64]),
    "mlt_features_set_double": (c_int, [c_void_p, c_char_p, c_double]),
    "mlt_features_set_string": (c_int, [c_void_p, c_char_p, c_char_p]),
    "mlt_features_set_array": (c_int, [c_void_p, c_char_p, c_int, POINTER(c_int64), c_size_t, c_void_p]),
    "mlt_features_set_image": (c_int, [c_void_p, c_char_p, c_int, c_int, c_int, c_size_t, c_char_p]),
    "mlt_features_set_image_float": (c_int, [c_void_p, c_char_p, c_int, c_int, c_void_p]),
    "mlt_features_set_dict_string": (c_int, [c_void_p, c_char_p, POINTER(c_char_p), POINTER(c_double), c_size_t]),
    "mlt_features_set_dict_int64": (c_int, [c_void_p, c_char_p, POINTER(c_int64), POINTER(c_double), c_size_t]),
    "mlt_features_set_list_int64": (c_int, [c_void_p, c_char_p, POINTER(c_int64), c_size_t]),
    "mlt_features_set_list_string": (c_int, [c_void_p, c_char_p, POINTER(c_char_p), c_size_t]),
    "mlt_features_int64": (c_int, [c_void_p, c_char_p, POINTER(c_int64)]),
    "mlt_features_double": (c_int, [c_void_p, c_char_p, POINTER(c_double)]),
    "mlt_features_string": (c_char_p, [c_void_p, c_char_p]),
    "mlt_features_array": (c_int, [c_void_p, c_char_p, POINTER(c_int), POINTER(POINTER(c_int64)), _SIZE, _HANDLE]),
    "mlt_features_image": (c_int, [c_void_p, c_char_p, POINTER(c_int), POINTER(c_int), POINTER(c_int), _HANDLE]),
    "mlt_features_image_float": (c_int, [c_void_p, c_char_p, POINTER(c_int), POINTER(c_int), _HANDLE]),
    "mlt_features_entries": (c_size_t, [c_void_p, c_char_p]),
    "mlt_features_entry_key": (c_char_p, [c_void_p, c_char_p, c_size_t]),
    "mlt_features_entry_value": (c_double, [c_void_p, c_char_p, c_size_t]),
    "mlt_features_list_int64": (c_int, [c_void_p, c_char_p, POINTER(POINTER(c_int64)), _SIZE]),
}


def _candidates():
    named = os.environ.get("MLTOOLS_LIBRARY")
    if named:
        yield named  # and no other: a wrong name is an error, not another library
        return
    here = os.path.dirname(os.path.abspath(__file__))
    for folder in (here, os.path.join(here, "..", "..", "..", "build", "lib"), os.path.join(sys.prefix, "lib"), "/usr/local/lib"):
        path = os.path.normpath(os.path.join(folder, "libmltools.so"))
        if os.path.exists(path):
            yield path
    yield ctypes.util.find_library("mltools") or "libmltools.so.0"


_library = None


def library():
    """The loaded library, its functions declared. OSError when there is none, with every place that was tried."""
    global _library
    if _library is not None:
        return _library
    tried = []
    for path in _candidates():
        try:
            loaded = ctypes.CDLL(path)
        except OSError as error:
            tried.append(str(error))
            continue
        for name, (result, arguments) in _FUNCTIONS.items():
            try:
                function = getattr(loaded, name)
            except AttributeError:
                raise OSError(f"{path} is older than this adapter: it has no {name}") from None
            function.restype = result
            function.argtypes = arguments
        _library = loaded
        return loaded
    raise OSError("libmltools.so cannot be loaded; name it in MLTOOLS_LIBRARY\n  " + "\n  ".join(tried))


def check(status):
    """Raises MltoolsError unless a status is MLT_OK."""
    if status != OK:
        raise MltoolsError(text(library().mlt_last_error()) or "failed", status)


def text(value):
    return value.decode("utf-8", "replace") if value is not None else ""


def version():
    return text(library().mlt_version())


def set_threads(threads):
    """0: all cores available to the process."""
    library().mlt_set_threads(threads)
