"""Triton glue for `sluice.selection_verb`."""

from sluice import selection_verb
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = selection_verb.Config

    async def infer(self, inputs):
        return await selection_verb.select(self.call, inputs, self.config)
