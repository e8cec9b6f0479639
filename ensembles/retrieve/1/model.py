"""Triton glue for `sluice.retrieval.retrieve`."""

from sluice import retrieval
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = retrieval.Config

    async def infer(self, inputs):
        return await retrieval.retrieve(self.call, inputs, self.config)
