"""Triton glue for `sluice.verbs.sample`."""

from sluice.triton import StreamingModel
from sluice.verbs import sample


class TritonPythonModel(StreamingModel):
    Config = sample.Config

    def load(self):
        self.most = self.config.max_requests
        self.sampler = sample.Sampler(self.call, self.config)

    def infer(self, inputs):
        return self.sampler.sample(inputs, inputs.check_cancelled)
