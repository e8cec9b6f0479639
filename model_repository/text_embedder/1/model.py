"""Triton glue for `sluice.models.text_embedder`: texts in, remembered vectors out."""

from sluice.models import text_embedder
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = text_embedder.Config

    def load(self):
        self.embedder = text_embedder.Embedder.serving(self.call, self.config, self.repository)

    async def infer(self, inputs):
        return await self.embedder.run(inputs, inputs.check_cancelled)
