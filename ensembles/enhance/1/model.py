"""Triton glue for `sluice.enhancement`."""

from sluice import enhancement
from sluice.triton import StreamingModel


class TritonPythonModel(StreamingModel):
    Config = enhancement.Config

    def load(self):
        self.most = self.config.max_requests
        self.enhancer = enhancement.Enhancer(self.call, self.config)

    def infer(self, inputs):
        return self.enhancer.enhance(inputs, inputs.check_cancelled)
