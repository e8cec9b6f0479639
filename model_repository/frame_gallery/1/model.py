"""Triton glue for `sluice.commands`: one gallery folder (SLUICE_GALLERY), added to, searched and selected from."""

import os
from pathlib import Path

from sluice import commands
from sluice.gallery.holding import Holder
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = commands.Config

    def load(self):
        folder = os.environ.get("SLUICE_GALLERY")
        if not folder:
            raise ValueError("SLUICE_GALLERY is not set; it names the folder that holds the frames")
        version = commands.served_features(self.repository, self.config.feature_model)
        threads = self.config.threads or len(os.sched_getaffinity(0))
        store = Holder(Path(folder), version, channels=self.config.channels, threads=threads)
        detector = commands.served_detector(self.repository, self.config.detector)
        embedder = commands.served_embedder(self.repository, self.config.embedder)
        self.commands = commands.Commands(store, self.config, detector, embedder)

    def infer(self, inputs):
        return self.commands.run(inputs)

    def finalize(self):
        self.commands.held.close()
