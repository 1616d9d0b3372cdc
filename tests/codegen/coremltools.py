"""Stands in for coremltools, so that generated Python runs where that is not installed."""
import types


class MLModel:
    def __init__(self, path, **options):
        self.path, self.options = path, options

    def predict(self, data, state=None):
        if isinstance(data, list):
            return [self.predict(record) for record in data]
        return {"classLabel": sorted(data)[0] + str(len(data)), "probabilities": {"a": 1.0}}


class CompiledMLModel(MLModel):
    pass


models = types.SimpleNamespace(MLModel=MLModel, CompiledMLModel=CompiledMLModel)
