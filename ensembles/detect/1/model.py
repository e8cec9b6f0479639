"""Triton glue for `sluice.verbs.detect.detect`."""

from sluice.triton import PythonModel
from sluice.verbs import detect


class TritonPythonModel(PythonModel):
    Config = detect.Config

    async def infer(self, inputs):
        return await detect.detect(self.call, inputs, self.config)
