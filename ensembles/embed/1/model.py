"""Triton glue for `sluice.verbs.embed.embed`."""

from sluice.triton import PythonModel
from sluice.verbs import embed


class TritonPythonModel(PythonModel):
    async def infer(self, inputs):
        return await embed.embed(self.call, inputs)
