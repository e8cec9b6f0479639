"""Triton glue for `sluice.verbs.compare.compare`."""

from sluice.triton import PythonModel
from sluice.verbs import compare


class TritonPythonModel(PythonModel):
    Config = compare.Config

    async def infer(self, inputs):
        return await compare.compare(self.call, inputs, self.config)
