"""Predictions for coremltools on Linux.

    import mltools_coremltools
    import coremltools as ct
    ct.models.MLModel("cat.mlpackage").predict({"image": picture})

coremltools reaches Core ML through an extension module that exists on macOS only. Importing this package puts a module
of the same interface in its place, served by libmltools.so (see library.py for where that is looked for).
"""
import importlib
import sys

from . import compute, proxy
from .library import MltoolsError, library, set_threads, version

__all__ = ["MltoolsError", "install", "set_threads", "version"]

_EXTENSION = "coremltools.libcoremlpython"
# Modules of coremltools that bind names of the extension when they are imported.
_USERS = (
    "coremltools.models.model",
    "coremltools.models._compiled_model",
    "coremltools.models.compute_device",
    "coremltools.models.compute_plan",
    "coremltools.models.ml_program.experimental.compute_plan_utils",
)
# What coremltools asks before it compiles, loads a compiled model or makes a state: the macOS whose Core ML could run
# everything that this library runs. sys.platform stays what it is.
_MACOS = (26, 0)


def _is_macos():
    """True: predictions are possible."""
    return True


def _macos_version():
    """The version whose Core ML could run everything that this library runs."""
    return _MACOS


def _stand_in():
    module = type(sys)(_EXTENSION, "Core ML's bindings, served by libmltools")
    for name, value in (*vars(proxy).items(), *vars(compute).items()):
        if name.startswith("_ML") and name.endswith("Proxy"):
            setattr(module, name, value)
    return module


def install():
    """Makes libmltools the predictor of coremltools. Called by the import; calling it again changes nothing."""
    library()  # an error now rather than at the first prediction
    if getattr(sys.modules.get(_EXTENSION), "_MLModelProxy", None) is proxy._MLModelProxy:
        return
    module = _stand_in()
    sys.modules[_EXTENSION] = module
    coremltools = importlib.import_module("coremltools")
    coremltools.libcoremlpython = module
    for user in _USERS:
        if user in sys.modules:
            for name in vars(module):
                if name.startswith("_ML") and hasattr(sys.modules[user], name):
                    setattr(sys.modules[user], name, getattr(module, name))
    utils = sys.modules["coremltools.models.utils"]
    for answer in (_is_macos, _macos_version):
        asked = getattr(utils, answer.__name__)
        for name, user in list(sys.modules.items()):
            if name.split(".")[0] == "coremltools" and getattr(user, answer.__name__, None) is asked:
                setattr(user, answer.__name__, answer)


install()
