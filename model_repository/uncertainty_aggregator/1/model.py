"""Triton glue for `sluice.detection.Aggregator`: mixture heads in, objects with four uncertainties out."""

from sluice import detection
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = detection.Defaults

    def load(self):
        self.aggregator = detection.Aggregator.serving(self.repository, self.config)

    def infer(self, inputs):
        return self.aggregator.run(inputs)
