"""Triton glue for `sluice.models.text_embedder.Embedder`: texts in, remembered vectors out."""

from sluice.methods.grouping.vocabulary import Vocabulary
from sluice.models import text_embedder
from sluice.triton import PythonModel
from sluice.versions import network_version


class TritonPythonModel(PythonModel):
    Config = text_embedder.Config

    def load(self):
        names = self.config.encoder, self.config.grouper
        versions = [network_version(self.repository, name) for name in names]
        text_embedder.check_weights(self.repository, versions)
        known = Vocabulary.of(self.repository, self.config.encoder)
        self.embedder = text_embedder.Embedder(self.call, self.config, *versions, known)

    async def infer(self, inputs):
        return await self.embedder.run(inputs, inputs.check_cancelled)
