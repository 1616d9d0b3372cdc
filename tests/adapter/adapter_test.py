"""coremltools with predictions of libmltools: one of everything that the adapter translates."""
import copy
import logging
import os
import shutil
import tempfile
import unittest

logging.disable(logging.WARNING)

import mltools_coremltools
import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import Program, get_new_symbol as mb_symbol, types
from coremltools.models import datatypes
from coremltools.proto import FeatureTypes_pb2, Model_pb2
from PIL import Image

FOLDER = tempfile.mkdtemp()


def program(shape=(2, 3), target="iOS15", dtype=types.fp32):
    @mb.program(input_specs=[mb.TensorSpec(shape=shape, dtype=dtype), mb.TensorSpec(shape=shape, dtype=dtype)], opset_version=ct.target[target])
    def prog(x, y):
        return mb.add(x=x, y=y, name="sum"), mb.sub(x=x, y=y, name="difference")

    return prog


def convert(prog, **options):
    return ct.convert(prog, compute_units=ct.ComputeUnit.CPU_ONLY, **options)


def with_pictures(model, colours):
    """The model with its arrays described as pictures instead."""
    spec = model.get_spec()
    for feature in (*spec.description.input, *spec.description.output):
        feature.type.imageType.colorSpace = FeatureTypes_pb2.ImageFeatureType.ColorSpace.Value(colours)
        feature.type.imageType.height, feature.type.imageType.width = 4, 5
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, compute_units=ct.ComputeUnit.CPU_ONLY)


class Predictions(unittest.TestCase):
    x, y = np.arange(6.0).reshape(2, 3), np.full((2, 3), 2.0)

    def check(self, out):
        np.testing.assert_array_equal(out["sum"], (self.x + self.y).astype(np.float32))
        np.testing.assert_array_equal(out["difference"], (self.x - self.y).astype(np.float32))
        self.assertEqual(out["sum"].dtype, np.float32)

    def test_program_and_network(self):
        for kind in ("mlprogram", "neuralnetwork"):
            model = convert(program(), convert_to=kind)
            self.check(model.predict({"x": self.x, "y": self.y}))
            self.assertEqual(len(model.predict([{"x": self.x, "y": self.y}] * 3)), 3)

    def test_float16_arrays(self):
        model = convert(program(target="iOS16", dtype=types.fp16), convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16)
        self.assertEqual(model.get_spec().description.output[0].type.multiArrayType.dataType, FeatureTypes_pb2.ArrayFeatureType.FLOAT16)
        self.check(model.predict({"x": self.x.astype(np.float16), "y": self.y.astype(np.float16)}))

    def test_wrong_inputs(self):
        model = convert(program(), convert_to="mlprogram")
        with self.assertRaisesRegex(RuntimeError, '"y" is missing') as caught:
            model.predict({"x": self.x})
        self.assertEqual(caught.exception.status_name, "input")
        with self.assertRaisesRegex(RuntimeError, "expected 2x3, got 3x3"):
            model.predict({"x": np.zeros((3, 3)), "y": self.y})
        with self.assertRaises(RuntimeError):
            model.predict({"x": np.array([["a", "b", "c"]] * 2), "y": self.y})

    def test_flexible_shapes(self):
        for shape, good, bad, message in (
            (ct.RangeDim(2, 4), (4, 3), (5, 3), r"Size \(5\) of dimension \(0\) is not in allowed range \(2\.\.4\)"),
            (None, (7, 3), (5, 3), r"MultiArray Shape \(5 x 3\) was not in enumerated set of allowed shapes"),
        ):
            @mb.program(input_specs=[mb.TensorSpec(shape=(mb_symbol(), 3))])
            def prog(x):
                return mb.add(x=x, y=np.float32(1), name="out")

            described = ct.Shape((shape, 3)) if shape else ct.EnumeratedShapes([(2, 3), (7, 3)])
            for kind in ("mlprogram", "neuralnetwork"):
                model = convert(copy.deepcopy(prog), convert_to=kind, inputs=[ct.TensorType("x", described)])
                np.testing.assert_array_equal(model.predict({"x": np.zeros(good)})["out"], np.ones(good))
                with self.assertRaisesRegex(RuntimeError, message):
                    model.predict({"x": np.zeros(bad)})

    def test_compiled(self):
        model = convert(program(), convert_to="mlprogram")
        self.check(ct.models.CompiledMLModel(model.get_compiled_model_path()).predict({"x": self.x, "y": self.y}))
        package = os.path.join(FOLDER, "p.mlpackage")
        model.save(package)
        target = ct.models.utils.compile_model(package, os.path.join(FOLDER, "q.mlmodelc"))
        asset = ct.models.model.MLModelAsset.from_path(target)
        self.check(ct.models.CompiledMLModel.from_asset(asset).predict({"x": self.x, "y": self.y}))
        asset = ct.models.model.MLModelAsset.from_memory(model.get_spec().SerializeToString())
        self.check(ct.models.CompiledMLModel.from_asset(asset).predict({"x": self.x, "y": self.y}))
        with self.assertRaises(RuntimeError):
            ct.models.CompiledMLModel(os.path.join(FOLDER, "nothing.mlmodelc"))

    def test_weights_in_memory(self):
        @mb.program(input_specs=[mb.TensorSpec(shape=(4, 50))])
        def prog(x):
            return mb.linear(x=x, weight=np.ones((10, 50), np.float32), name="out")

        model = convert(prog, convert_to="mlprogram")
        with open(os.path.join(model.weights_dir, "weight.bin"), "rb") as file:
            weights = file.read()
        asset = ct.models.model.MLModelAsset.from_memory(model.get_spec().SerializeToString(), {"weights/weight.bin": weights})
        out = ct.models.CompiledMLModel.from_asset(asset).predict({"x": np.ones((4, 50))})
        np.testing.assert_allclose(out["out"], np.full((4, 10), 50.0))
        empty = ct.models.model.MLModelAsset.from_memory(model.get_spec().SerializeToString(), {})
        with self.assertRaises(RuntimeError):
            ct.models.CompiledMLModel.from_asset(empty).predict({"x": np.ones((4, 50))})

    def test_structure(self):
        model = convert(program(), convert_to="mlprogram")  # its compiled form goes with it
        plan = ct.models.compute_plan.MLComputePlan.load_from_path(model.get_compiled_model_path())
        main = plan.model_structure.program.functions["main"]
        self.assertEqual([value.name for value in main.inputs], ["x", "y"])
        add = next(operation for operation in main.block.operations if operation.operator_name == "add")
        self.assertEqual([len(add.inputs["x"].bindings), len(add.outputs), add.blocks], [1, 1, []])
        usage = plan.get_compute_device_usage_for_mlprogram_operation(add)
        self.assertIsInstance(usage.preferred_compute_device, ct.models.compute_device.MLCPUComputeDevice)
        costs = {operation.operator_name: plan.get_estimated_cost_for_mlprogram_operation(operation) for operation in main.block.operations}
        self.assertIsNone(costs.get("const"))
        weights = [cost.weight for cost in map(plan.get_estimated_cost_for_mlprogram_operation, main.block.operations) if cost is not None]
        self.assertGreater(costs["add"].weight, 0)
        self.assertAlmostEqual(sum(weights), 1)

    def test_structure_of_a_network(self):
        model = convert(program(), convert_to="neuralnetwork")
        network = ct.models.compute_plan.MLModelStructure.load_from_path(model.get_compiled_model_path()).neuralnetwork
        self.assertEqual([layer.type for layer in network.layers], ["addBroadcastable", "activation", "addBroadcastable"])
        self.assertEqual([len(network.layers[0].input_names), len(network.layers[0].output_names)], [2, 1])

    def test_compute_devices(self):
        self.assertEqual(len(ct.models.MLModel.get_available_compute_devices()), 1)
        for unit in ct.ComputeUnit:
            self.check(ct.convert(program(), convert_to="mlprogram", compute_units=unit).predict({"x": self.x, "y": self.y}))


class Pictures(unittest.TestCase):
    def test_colours_in_and_out(self):
        rgb = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        for colours in ("RGB", "BGR"):
            for kind in ("mlprogram", "neuralnetwork"):

                @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 4, 5))])
                def prog(x):
                    return mb.relu(x=x, name="out")

                model = with_pictures(convert(prog, convert_to=kind), colours)
                out = model.predict({"x": Image.fromarray(rgb)})["out"]
                self.assertEqual(out.mode, "RGBA")
                np.testing.assert_array_equal(np.asarray(out)[:, :, :3], rgb)
                with self.assertRaisesRegex(RuntimeError, "the model takes 5x4"):
                    model.predict({"x": Image.fromarray(rgb[:3])})

    def test_grey(self):
        floats = np.linspace(-1, 3, 20).astype(np.float16).astype(np.float32)
        for colours, mode, values in (("GRAYSCALE", "L", np.arange(20, dtype=np.uint8)), ("GRAYSCALE_FLOAT16", "F", floats)):

            @mb.program(input_specs=[mb.TensorSpec(shape=(1, 1, 4, 5))], opset_version=ct.target.iOS16)
            def prog(x):
                return mb.identity(x=x, name="out")

            model = with_pictures(convert(prog, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16), colours)
            picture = Image.fromarray(values.reshape(4, 5))
            self.assertEqual(picture.mode, mode)
            out = model.predict({"x": picture})["out"]
            self.assertEqual(out.mode, mode)
            np.testing.assert_array_equal(np.asarray(out), np.asarray(picture))


class Dictionaries(unittest.TestCase):
    def test_classifier(self):
        for labels in (["cat", "dog", "cow"], [7, 8, 9]):

            @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3))])
            def prog(x):
                return mb.softmax(x=x, axis=-1, name="p")

            for kind in ("mlprogram", "neuralnetwork"):
                # (a program is changed by its conversion)
                model = convert(copy.deepcopy(prog), convert_to=kind, classifier_config=ct.ClassifierConfig(labels))
                out = model.predict({"x": np.array([[0.0, 2.0, 1.0]])})
                spec = model.get_spec().description
                self.assertEqual(out[spec.predictedFeatureName], labels[1])
                scores = out[spec.predictedProbabilitiesName]
                self.assertEqual(set(scores), set(labels))
                self.assertAlmostEqual(sum(scores.values()), 1, places=3)

    def test_dict_vectorizer(self):
        spec = Model_pb2.Model()
        spec.specificationVersion = 1
        for description, name in ((spec.description.input.add(), "words"), (spec.description.output.add(), "v")):
            description.name = name
        spec.description.input[0].type.dictionaryType.stringKeyType.SetInParent()
        array = spec.description.output[0].type.multiArrayType
        array.shape.append(2)
        array.dataType = FeatureTypes_pb2.ArrayFeatureType.DOUBLE
        spec.dictVectorizer.stringToIndex.vector.extend(["a", "b"])
        model = ct.models.MLModel(spec)
        np.testing.assert_array_equal(model.predict({"words": {"b": 2}})["v"], [0, 2])
        np.testing.assert_array_equal(model.predict({"words": {}})["v"], [0, 0])

    def test_specification_version(self):
        spec = Model_pb2.Model()
        spec.specificationVersion = 9
        spec.glmRegressor.offset.append(0.5)
        spec.glmRegressor.weights.add().value.append(2.0)
        spec.description.predictedFeatureName = "y"
        for description, name in ((spec.description.input.add(), "x"), (spec.description.output.add(), "y")):
            description.name = name
            description.type.doubleType.SetInParent()
        path = os.path.join(FOLDER, "glm.mlmodel")
        ct.models.utils.save_spec(spec, path, auto_set_specification_version=True)
        self.assertEqual(ct.models.utils.load_spec(path).specificationVersion, 1)
        self.assertEqual(ct.models.MLModel(path).predict({"x": 3})["y"], 6.5)
        self.assertEqual(ct.models.CompiledMLModel(ct.models.utils.compile_model(path)).predict({"x": np.float32(3)})["y"], 6.5)


class States(unittest.TestCase):
    def test_state(self):
        @mb.program(input_specs=[mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)], opset_version=ct.target.iOS18)
        def prog(x, acc):
            total = mb.add(x=mb.read_state(input=acc), y=x)
            mb.coreml_update_state(state=acc, value=total)
            return mb.identity(x=total, name="out")

        model = convert(prog, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18)
        state, x = model.make_state(), np.array([1.0, 2.5])
        for i in (1, 2, 3):
            np.testing.assert_array_equal(model.predict({"x": x}, state=state)["out"], i * x)
        np.testing.assert_array_equal(state.read_state("acc"), 3 * x)
        state.write_state("acc", np.array([10.0, 20.0]))
        np.testing.assert_array_equal(model.predict({"x": x}, state=state)["out"], x + [10, 20])
        np.testing.assert_array_equal(model.predict({"x": x}, state=model.make_state())["out"], x)
        with self.assertRaisesRegex(RuntimeError, "states"):
            model.predict({"x": x})
        with self.assertRaises(RuntimeError):
            state.read_state("nothing")
        with self.assertRaises(RuntimeError):
            state.write_state("acc", np.zeros(3))

    def test_functions(self):
        prog = Program()
        for name, factor in (("main", 2.0), ("second", 3.0)):
            @mb.function(input_specs=[mb.TensorSpec((2,))], opset_version=ct.target.iOS18)
            def function(x):
                return mb.mul(x=x, y=np.float32(factor), name="out")

            prog.add_function(name, function)
        prog.default_function_name = "main"
        prog.export_as_multifunction = True
        path = os.path.join(FOLDER, "two.mlpackage")
        convert(prog, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18).save(path)
        for name, factor in ((None, 2.0), ("main", 2.0), ("second", 3.0)):
            out = ct.models.MLModel(path, function_name=name).predict({"x": np.array([1.0, 4.0])})
            np.testing.assert_allclose(out["out"], [factor, 4 * factor])


if __name__ == "__main__":
    try:
        unittest.main()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
