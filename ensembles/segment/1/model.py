"""Triton glue for `sluice.segmentation.segment`."""

from sluice import segmentation
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = segmentation.Config

    async def infer(self, inputs):
        return await segmentation.segment(self.call, inputs, self.config)
