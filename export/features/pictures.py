"""Runs a network on a user's pictures: as the verbs will show them, on the canvases that the network takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.entry import ExportError
from export.features import batches
from export.features.maps import Map
from export.features.served import EPSILON, Plan
from export.features.source import Pixels, Source, pruned, session
from export.features.whitening import Moments
from sluice import images
from sluice.errors import InvalidArgument

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST_FRAMES = 200  # that the whitening is fitted on, spread evenly over the folder
Vectors = Callable[[np.ndarray], np.ndarray]


def prepared(source: Source, image: np.ndarray, mean: Pixels, std: Pixels) -> np.ndarray:
    """Return images uint8 [B, H, W, 3] RGB as the network takes them. mean, std: of pixels from 0 to 1."""
    pixels = image
    if source.dtype != np.uint8:
        low, scale = np.multiply(mean, 255), np.multiply(std, 255)
        pixels = ((image - np.float32(low)) * np.float32(1 / scale)).astype(source.dtype)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if source.nchw else pixels


def vectors(source: Source, chosen: Map, mean: Pixels, std: Pixels) -> Vectors:
    """Return the source network as a function, images uint8 [B, H, W, 3] -> vectors float32 [B, h, w, D].

    The network is torch's where it came as one, otherwise ONNX Runtime on the graph as it came.
    """
    batch = batches.fixed(source)
    graph: Any = session(pruned(source.model, [chosen.name])) if source.run is None else None

    def one(image: np.ndarray) -> np.ndarray:
        given = prepared(source, image, mean, std)
        if source.run is not None:
            return cells(source.run(given, chosen.name), chosen, image.shape[1:3])
        given = np.repeat(given, batch or 1, axis=0)[: batch or 1]
        (answer,) = graph.run([chosen.name], {source.image.name: given})
        return cells(answer[:1], chosen, image.shape[1:3])

    return lambda image: np.concatenate([one(image[i : i + 1]) for i in range(len(image))])


def cells(array: np.ndarray, chosen: Map, size: tuple[int, int] | tuple[int, ...]) -> np.ndarray:
    """Return a map as vectors float32 [B, h, w, D]. size: height and width of the image.

    Raises ExportError where the map has not as many rows and columns as its stride says.
    """
    rows, columns = size[0] // chosen.stride, size[1] // chosen.stride
    if chosen.layout == "nchw":
        array = array.transpose(0, 2, 3, 1)
    if chosen.layout == "tokens":
        array = array[:, chosen.before :]
    if array.size != len(array) * rows * columns * chosen.channels or array.shape[-1] != chosen.channels:
        raise ExportError(
            f"{chosen.name} is {list(array.shape)} on an image of {size[1]} x {size[0]}, not {rows} x {columns} cells "
            f"of {chosen.channels}; give canvases that fit it with --canvas WIDTHxHEIGHT"
        )
    return array.reshape(len(array), rows, columns, chosen.channels).astype(np.float32)


def features(found: np.ndarray, plan: Plan) -> np.ndarray:
    """Return FEATURES float16 [B, h, w, C] of vectors float32 [B, h, w, D], computed in float64."""
    wide = found.astype(np.float64)
    if plan.projection is not None:
        wide = (wide - plan.projection.mean) @ plan.projection.matrix.astype(np.float64)
    return (wide / np.sqrt(np.square(wide).sum(-1, keepdims=True) + EPSILON)).astype(np.float16)


def listed(folder: Path) -> list[Path]:
    """Return the pictures of a folder and the folders in it, MOST_FRAMES at most, spread evenly.

    Raises ExportError where there are none.
    """
    if not folder.is_dir():
        raise ExportError(f"--frames {folder} is no folder; give one with pictures of your cameras (JPEG, PNG, WebP)")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ExportError(f"--frames {folder} holds no JPEG, PNG or WebP; give a folder with pictures of your cameras")
    step = max(1, len(found) / MOST_FRAMES)
    return [found[int(i * step)] for i in range(min(len(found), MOST_FRAMES))]


def moments(paths: Sequence[Path], config: images.Config, look: Vectors, say: Callable[[str], None]) -> Moments:
    """Return the moments of the vectors of all cells that show a picture and not its padding.

    say: is given a line per picture that cannot be read. Raises ExportError where none can.
    """
    result = Moments()
    for path in paths:
        try:
            canvas, geometry = images.read(path.read_bytes(), config)
        except (InvalidArgument, OSError) as error:
            say(f"left out {path.name}: {error}")
            continue
        found = look(canvas[None])[0]
        stride = canvas.shape[0] / found.shape[0]
        result.add(found[images.valid_cells(geometry, (found.shape[0], found.shape[1]), stride)])
    if not result.count:
        raise ExportError(f"none of the {len(paths)} pictures of --frames could be read; give others")
    return result
