"""Compute devices, the structure of a model, and its compute plan: one device, the CPU."""
import ctypes
import json
import os

from .library import INPUT, UNSUPPORTED, MltoolsError, OpenOptions, check, library, text


class _MLCPUComputeDeviceProxy:
    pass


class _MLGPUComputeDeviceProxy:
    """There is none; the class is what coremltools compares with."""


class _MLNeuralEngineComputeDeviceProxy:
    """There is none; the class is what coremltools compares with."""

    def get_total_core_count(self):
        return 0


class _MLComputePlanProxy:
    """Everything runs on the CPU. Costs are estimates from shapes; their weights add up to 1 within a function."""

    def __init__(self, model_structure=None):
        self._model_structure = model_structure

    @property
    def model_structure(self):
        return self._model_structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        return MLComputePlanDeviceUsage(preferred_compute_device=devices()[0], supported_compute_devices=devices())

    get_compute_device_usage_for_neuralnetwork_layer = get_compute_device_usage_for_mlprogram_operation

    def get_estimated_cost_for_mlprogram_operation(self, operation):
        from coremltools.models.compute_plan import MLComputePlanCost

        weight = operation.__proxy__
        return None if weight is None else MLComputePlanCost(weight=weight)


def devices():
    from coremltools.models.compute_device import MLCPUComputeDevice

    return [MLCPUComputeDevice(_MLCPUComputeDeviceProxy())]


def _block(found):
    from coremltools.models import compute_plan as plan

    def named(name):
        return plan.MLModelStructureProgramNamedValueType(name=name, type=plan.MLModelStructureProgramValueType())

    def argument(bindings):
        value = plan.MLModelStructureProgramValue
        return plan.MLModelStructureProgramArgument(
            [plan.MLModelStructureProgramBinding(name=name, value=value() if name is None else None) for name in bindings]
        )

    operations = [
        plan.MLModelStructureProgramOperation(
            inputs={name: argument(bindings) for name, bindings in operation["inputs"].items()},
            operator_name=operation["operator"],
            outputs=[named(name) for name in operation["outputs"]],
            blocks=[_block(inner) for inner in operation["blocks"]],
            __proxy__=operation.get("cost"),
        )
        for operation in found["operations"]
    ]
    return plan.MLModelStructureProgramBlock(inputs=[named(n) for n in found["inputs"]], operations=operations, output_names=found["outputs"])


def model_structure(path):
    from coremltools.models import compute_plan as plan

    if not os.path.exists(path):
        raise MltoolsError(f"{path}: no compiled model", INPUT)
    lib, handle = library(), ctypes.c_void_p()
    options = OpenOptions()
    options.size = ctypes.sizeof(OpenOptions)
    check(lib.mlt_model_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle)))
    try:
        found = lib.mlt_model_structure(handle)
        if found is None:
            raise MltoolsError(text(lib.mlt_last_error()), UNSUPPORTED)
        found = json.loads(text(found))
    finally:
        lib.mlt_model_close(handle)
    if "neuralNetwork" in found:
        layers = [
            plan.MLModelStructureNeuralNetworkLayer(
                name=layer["name"], type=layer["type"], input_names=layer["inputs"], output_names=layer["outputs"], __proxy__=None
            )
            for layer in found["neuralNetwork"]["layers"]
        ]
        return plan.MLModelStructure(neuralnetwork=plan.MLModelStructureNeuralNetwork(layers), program=None, pipeline=None)
    functions = {}
    for name, function in found["program"]["functions"].items():
        block = _block(function["block"])
        inputs = [
            plan.MLModelStructureProgramNamedValueType(name=n, type=plan.MLModelStructureProgramValueType()) for n in function["inputs"]
        ]
        functions[name] = plan.MLModelStructureProgramFunction(inputs=inputs, block=block)
    return plan.MLModelStructure(neuralnetwork=None, program=plan.MLModelStructureProgram(functions), pipeline=None)


def compute_plan(path, compute_units):
    from coremltools.models.compute_plan import MLComputePlan

    return MLComputePlan(_MLComputePlanProxy(model_structure(path)))
