"""Triton glue for `sluice.verbs.ingest`."""

from sluice.triton import PythonModel
from sluice.verbs import ingest


class TritonPythonModel(PythonModel):
    Config = ingest.Config

    def load(self):
        self.shown, told = ingest.passes(self.repository, self.config)
        print(f"ingest: {told}", flush=True)

    async def infer(self, inputs):
        return await ingest.ingest(self.call, inputs, self.config, self.shown)
