"""Triton glue for `sluice.verbs.ingest`."""

from sluice.triton import PythonModel
from sluice.verbs import ingest


class TritonPythonModel(PythonModel):
    Config = ingest.Config

    async def infer(self, inputs):
        return await ingest.ingest(self.call, inputs, self.config)
