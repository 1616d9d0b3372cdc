"""Compute devices, the structure of a model, and its compute plan: one device, the CPU."""
from .library import UNSUPPORTED, MltoolsError


class _MLCPUComputeDeviceProxy:
    pass


class _MLGPUComputeDeviceProxy:
    """There is none; the class is what coremltools compares with."""


class _MLNeuralEngineComputeDeviceProxy:
    """There is none; the class is what coremltools compares with."""

    def get_total_core_count(self):
        return 0


class _MLComputePlanProxy:
    pass


def devices():
    from coremltools.models.compute_device import MLCPUComputeDevice

    return [MLCPUComputeDevice(_MLCPUComputeDeviceProxy())]


def model_structure(path):
    raise MltoolsError(f"{path}: the structure of a compiled model is not available here", UNSUPPORTED)


def compute_plan(path, compute_units):
    raise MltoolsError(f"{path}: a compute plan is not available here", UNSUPPORTED)
