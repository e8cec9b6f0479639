"""Triton glue for `sluice.models.uncertainty_aggregator`: mixture heads in, objects with four uncertainties out."""

from sluice.models import uncertainty_aggregator
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = uncertainty_aggregator.Defaults

    def load(self):
        self.aggregator = uncertainty_aggregator.Aggregator.serving(self.repository, self.config)

    def infer(self, inputs):
        return self.aggregator.run(inputs)
