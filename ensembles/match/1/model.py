"""Triton glue for `sluice.verbs.match.match`."""

from sluice.triton import PythonModel
from sluice.verbs import match


class TritonPythonModel(PythonModel):
    Config = match.Config

    async def infer(self, inputs):
        return await match.match(self.call, inputs, self.config)
