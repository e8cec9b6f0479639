"""Triton glue for `sluice.ingestion`."""

from sluice import ingestion
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = ingestion.Config

    async def infer(self, inputs):
        return await ingestion.ingest(self.call, inputs, self.config)
