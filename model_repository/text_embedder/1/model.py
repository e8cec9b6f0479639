"""Triton glue for `sluice.text_embeddings.Embedder`: texts in, remembered vectors out."""

from sluice import text_embeddings
from sluice.triton import PythonModel
from sluice.versions import network_version
from sluice.vocabulary import Vocabulary


class TritonPythonModel(PythonModel):
    Config = text_embeddings.Config

    def load(self):
        names = self.config.encoder, self.config.grouper
        versions = [network_version(self.repository, name) for name in names]
        text_embeddings.check_weights(self.repository, versions)
        known = Vocabulary.of(self.repository, self.config.encoder)
        self.embedder = text_embeddings.Embedder(self.call, self.config, *versions, known)

    async def infer(self, inputs):
        return await self.embedder.run(inputs, inputs.check_cancelled)
