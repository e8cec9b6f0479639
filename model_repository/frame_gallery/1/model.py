"""Triton glue for `sluice.commands`: one gallery folder (SLUICE_GALLERY), added to, read and deleted from."""

from sluice import commands
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = commands.Config

    def load(self):
        self.commands = commands.Commands.serving(self.repository, self.config)

    def infer(self, inputs):
        return self.commands.run(inputs)

    def finalize(self):
        self.commands.held.close()
