"""Triton glue for `sluice.models.frame_gallery`: one gallery folder (SLUICE_GALLERY), added to, read and deleted from."""

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
