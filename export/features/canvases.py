"""Chooses the canvases on which a network sees images: its own fixed size, those given, or the usual ones, rounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from export.entry import ExportError
from export.features.maps import Map
from export.features.source import Source
from sluice import images

Size = tuple[int, int]


@dataclass(frozen=True)
class Canvases:
    """sizes: (width, height), pixels. multiple: whole number that divides every side."""

    sizes: tuple[Size, ...]
    multiple: int

    @property
    def text(self) -> str:
        """Return the sizes as the parameter `canvases` of a config.pbtxt."""
        return " ".join(f"{width}x{height}" for width, height in self.sizes)


def read(words: Sequence[str]) -> tuple[Size, ...]:
    """Return the sizes that the words of --canvas give. Raises ExportError for a word that is no WIDTHxHEIGHT."""
    found = [re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", word) for word in words]
    if wrong := [word for word, match in zip(words, found, strict=True) if not match]:
        raise ExportError(f"--canvas is WIDTHxHEIGHT in pixels, such as 448x336; got {wrong[0]}")
    return tuple((int(match[1]), int(match[2])) for match in found if match)


def checked(source: Source, given: tuple[Size, ...]) -> tuple[Size, ...]:
    """Return the sizes that a caller gave. Raises ExportError where the network takes another size only."""
    if source.size and given != (source.size,):
        width, height = source.size
        raise ExportError(
            f"{source.origin} takes images of {width} x {height} only; leave out --canvas, or export the network again "
            "for the size that you want"
        )
    return given


def choose(source: Source, chosen: Map, given: tuple[Size, ...]) -> Canvases:
    """Return the canvases of a network. given: those of the caller, empty for the usual ones.

    Raises ExportError where a side is no multiple of the map's stride.
    """
    stride = chosen.stride
    if given or source.size:
        sizes = checked(source, given) if given else (source.size,)
        for size in sizes:
            if size and (size[0] % stride or size[1] % stride):
                raise ExportError(
                    f"the map has a stride of {stride}, and {size[0]} x {size[1]} are no multiples of it; "
                    f"give --canvas {nearest(size[0], stride)}x{nearest(size[1], stride)}"
                )
        return Canvases(tuple(size for size in sizes if size), stride)
    usual = images.Config()
    # Convolutional networks halve their maps beyond the one that is taken, so they keep the usual multiple.
    multiple = usual.multiple if usual.multiple % stride == 0 else stride
    return Canvases(tuple((nearest(w, multiple), nearest(h, multiple)) for w, h in usual.sizes), multiple)


def nearest(side: int, multiple: int) -> int:
    """Return the multiple that is nearest to a side, at least one of it."""
    return max(1, round(side / multiple)) * multiple
