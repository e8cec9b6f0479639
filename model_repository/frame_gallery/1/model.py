"""Triton glue for `sluice.models.frame_gallery`: adds to, reads and deletes from one folder of frames."""

from sluice.models import frame_gallery
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = frame_gallery.Config

    def load(self):
        self.commands = frame_gallery.Commands.serving(self.repository, self.config)

    def infer(self, inputs):
        return self.commands.run(inputs)

    def finalize(self):
        self.commands.held.close()
