"""Triton glue for `sluice.sampling`."""

from sluice import sampling
from sluice.triton import StreamingModel


class TritonPythonModel(StreamingModel):
    Config = sampling.Config

    def load(self):
        self.most = self.config.max_requests
        self.sampler = sampling.Sampler(self.call, self.config)

    def infer(self, inputs):
        return self.sampler.sample(inputs, inputs.check_cancelled)
