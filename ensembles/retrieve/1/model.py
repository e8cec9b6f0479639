"""Triton glue for `sluice.verbs.retrieve.retrieve`."""

from sluice.triton import PythonModel
from sluice.verbs import retrieve


class TritonPythonModel(PythonModel):
    Config = retrieve.Config

    async def infer(self, inputs):
        return await retrieve.retrieve(self.call, inputs, self.config)
