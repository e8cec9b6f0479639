"""Triton glue for `sluice.detection.Aggregator`: mixture heads in, objects with four uncertainties out."""

from sluice import detection
from sluice.triton import PythonModel
from sluice.versions import network_version


class TritonPythonModel(PythonModel):
    Config = detection.Defaults

    def load(self):
        labels = detection.read_labels(self.repository, self.config.detector)
        version = network_version(self.repository, self.config.detector)
        self.aggregator = detection.Aggregator(self.config, labels, version)

    def infer(self, inputs):
        return self.aggregator.run(inputs)
