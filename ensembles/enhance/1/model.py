"""Triton glue for `sluice.verbs.enhance`."""

from sluice.triton import StreamingModel
from sluice.verbs import enhance


class TritonPythonModel(StreamingModel):
    Config = enhance.Config

    def load(self):
        self.most = self.config.max_requests
        self.enhancer = enhance.Enhancer(self.call, self.config)

    def infer(self, inputs):
        return self.enhancer.enhance(inputs, inputs.check_cancelled)
