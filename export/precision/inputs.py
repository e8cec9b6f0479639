"""Makes the inputs that a network is calibrated on: of a user's frames, or generated ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from export.entry import ExportError, Network

COUNT = 16  # inputs of one batch row each
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SEED = 900_000_000  # of generated inputs; no training and no benchmark draws from there

Inputs = dict[str, np.ndarray]


def generated(network: Network, count: int = COUNT, seed: int = SEED) -> Iterator[Inputs]:
    """Yield inputs like those that callers send, batches of one, at the size of the network's first check."""
    shapes = {name: (1, *shape[1:]) for name, shape in network.check[0].items()}
    for index in range(count):
        yield network.make(shapes, seed + index)


def of_frames(network: Network, folder: Path, count: int = COUNT) -> Iterator[Inputs]:
    """Yield inputs made of the pictures of a folder and the folders in it, at most `count`, evenly chosen in order of
    their paths.

    Raises ExportError where the network is not given pictures, or the folder holds none, or a file is none.
    """
    names = {tensor.name for tensor in network.inputs}
    if not names & {"IMAGE", "LUMA"}:
        raise ExportError(
            f"{network.name} is not given frames but {', '.join(sorted(names))}; leave out --frames, and it is "
            "calibrated on generated inputs"
        )
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not paths:
        raise ExportError(f"{folder} holds no pictures ({', '.join(ENDINGS)}); give --frames the folder that does")
    for index in np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)):
        try:
            image = Image.open(paths[index]).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise ExportError(f"{paths[index]} cannot be read as a picture ({error}); remove it") from None
        yield _image(network, image) if "IMAGE" in names else _planes(image)


def _image(network: Network, image: Image.Image) -> Inputs:
    """Return a picture as IMAGE, of about the size of the network's first check, sides multiples of 32."""
    _, height, width, _ = network.check[0]["IMAGE"]
    scale = (height * width / (image.height * image.width)) ** 0.5
    size = tuple(max(32, 32 * round(side * scale / 32)) for side in image.size)
    return {"IMAGE": np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR))[None].copy()}


def _planes(image: Image.Image) -> Inputs:
    """Return a picture as a frame of YUV 4:2:0 at full strength, its middle of at most 480 x 270 pixels."""
    from sluice.methods.video.planes import Colour, Picture

    left, top = max(0, (image.width - 480) // 2), max(0, (image.height - 270) // 2)
    part = np.asarray(image.crop((left, top, min(left + 480, image.width), min(top + 270, image.height))))
    colour = Colour("bt709", "limited")
    height, width = part.shape[:2]
    picture = Picture.of_planes(Picture.of_rgb(part).planes(colour), height, width, colour)
    return {
        "LUMA": picture.luma[None],
        "CHROMA": picture.chroma[None],
        "COLOUR": colour.to_rgb[None].astype(np.float32),
        "STRENGTH": np.ones((1, 1), np.float32),
    }
