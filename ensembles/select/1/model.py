"""Triton glue for `sluice.verbs.select`."""

from sluice.triton import PythonModel
from sluice.verbs import select


class TritonPythonModel(PythonModel):
    Config = select.Config

    async def infer(self, inputs):
        return await select.select(self.call, inputs, self.config)
