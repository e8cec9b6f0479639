"""Triton glue for `sluice.comparison.compare`."""

from sluice import comparison
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = comparison.Config

    async def infer(self, inputs):
        return await comparison.compare(self.call, inputs, self.config)
