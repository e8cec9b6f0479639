"""Triton glue for `sluice.images`: encoded image in, canvas and geometry out."""

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument
from sluice.process import decoding
from sluice.triton import PythonModel


class TritonPythonModel(PythonModel):
    Config = images.Config

    async def infer(self, inputs):
        read = [await decoding.run(images.read, bytes(data), self.config) for data in inputs["ENCODED"].reshape(-1)]
        if len({canvas.shape for canvas, _ in read}) > 1:
            raise InvalidArgument("the images of one request fall on canvases of unequal shape; send one a request")
        canvases, geometries = zip(*read, strict=True)
        return {"IMAGE": np.stack(canvases), "GEOMETRY": np.stack([geometry.as_array() for geometry in geometries])}
