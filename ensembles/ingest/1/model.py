"""Triton glue for `sluice.retrieval.ingest`."""

from sluice import retrieval
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = retrieval.Config

    async def infer(self, inputs):
        return await retrieval.ingest(self.call, inputs, self.config)
