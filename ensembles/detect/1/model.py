"""Triton glue for `sluice.detection.detect`."""

from sluice import detection
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = detection.Config

    async def infer(self, inputs):
        return await detection.detect(self.call, inputs, self.config)
