"""Triton glue for `sluice.verbs.segment.segment`."""

from sluice.triton import PythonModel
from sluice.verbs import segment


class TritonPythonModel(PythonModel):
    Config = segment.Config

    async def infer(self, inputs):
        return await segment.segment(self.call, inputs, self.config)
