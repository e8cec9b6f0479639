"""The limits of a request of `ingest`, and the models that look at a new frame."""

from __future__ import annotations

from dataclasses import dataclass

from sluice import images
from sluice.wire import pictures


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, the canvases of its images, and the models that look at a new frame."""

    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the networks at the same time
    detector: str = ""  # a model with the tensors of `detect`; "": frames are stored unscored
    embeddings: bool = False  # whether `image_grouper` looks at the frames, too
    embedding_canvases: str = pictures.Config.canvases  # on which `image_grouper` sees frames, as in `compare`
    embedding_size: int = pictures.Config.size  # pixels of the short side that `image_grouper` sees, without canvases
    one_pass: str = ""  # a model that gives features, objects and embedding at once; "": three are asked

    def sketch(self) -> pictures.Config:
        """Return how `image_grouper` sees a frame."""
        return pictures.Config(
            canvases=self.embedding_canvases,
            size=self.embedding_size,
            max_bytes=self.max_bytes,
            max_pixels=self.max_pixels,
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the models that these parameters name."""
        return tuple(filter(None, (self.detector, self.one_pass)))
