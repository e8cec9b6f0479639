"""Triton glue for `sluice.embedding.embed`."""

from sluice import embedding
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    async def infer(self, inputs):
        return await embedding.embed(self.call, inputs)
