"""Triton glue for `sluice.models.gallery_search`: the commands that look at many frames."""

from sluice.models import gallery_search
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = gallery_search.Config

    def load(self):
        self.commands = gallery_search.Commands.serving(self.repository, self.config)

    def infer(self, inputs):
        return self.commands.run(inputs)

    def finalize(self):
        self.commands.held.close()
