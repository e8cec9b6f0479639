"""Cuts a picture into tiles, so that the memory of a network does not grow with the picture and the result is the same.

The answer of a convolutional network at a pixel depends on the pixels within its receptive radius. So each tile reaches
beyond the part that is kept of it by that radius, and gives there exactly the answer for the whole picture. At the
border of the picture the tile ends too, and the network pads it in the same way. Tiles begin at multiples of `ALIGN`,
so that strided layers and 4:2:0 planes meet the same grid as in the whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass

ALIGN = 8


@dataclass(frozen=True)
class Tile:
    """The part that the network sees and the part that is kept, as slices (rows, columns) in pixels of the picture."""

    seen: tuple[slice, slice]
    kept: tuple[slice, slice]

    def inner(self, scale: int = 1) -> tuple[slice, slice]:
        """Return the kept part as slices of the network's answer, which is `scale` times as large as its input."""
        return _times(tuple(_less(k, s.start) for k, s in zip(self.kept, self.seen, strict=True)), scale)

    def outer(self, scale: int = 1) -> tuple[slice, slice]:
        """Return the kept part as slices of the answer for the whole picture."""
        return _times(self.kept, scale)


def halved(part: tuple[slice, slice]) -> tuple[slice, slice]:
    """Return the same part of the planes of half size. part: begins at even pixels, ends there or with the picture."""
    rows, columns = (slice(one.start // 2, -(-one.stop // 2)) for one in part)
    return rows, columns


def tiles(height: int, width: int, most: int, radius: int) -> list[Tile]:
    """Return the tiles, row by row, that cover a picture with the fewest pixels in all.

    height, width: pixels. most: pixels that the network may see at a time. radius: receptive radius, pixels.
    Raises ValueError when not even a tile that keeps ALIGN x ALIGN pixels fits into `most`.
    """
    if height * width <= most:
        whole = slice(0, height), slice(0, width)
        return [Tile(whole, whole)]
    margin = -(-radius // ALIGN) * ALIGN
    best: tuple[int, int, int] | None = None
    for rows in range(1, -(-height // ALIGN) + 1):
        tall = _part(height, rows)
        seen = min(height, tall + 2 * margin)
        widest = (most // seen - 2 * margin) // ALIGN * ALIGN
        if most // seen >= width:
            widest = -(-width // ALIGN) * ALIGN
        if widest < ALIGN:
            continue
        wide = _part(width, -(-width // widest))
        cost = -(-height // tall) * -(-width // wide) * seen * min(width, wide + 2 * margin)
        if best is None or cost < best[0]:
            best = cost, tall, wide
    if best is None:
        raise ValueError(f"tiles of {most:,} pixels are too few for a receptive radius of {radius}")
    _, tall, wide = best
    return [
        Tile(
            (_grown(top, tall, height, margin), _grown(left, wide, width, margin)),
            (slice(top, min(top + tall, height)), slice(left, min(left + wide, width))),
        )
        for top in range(0, height, tall)
        for left in range(0, width, wide)
    ]


def _part(length: int, parts: int) -> int:
    """Return the length of nearly equal parts, a multiple of ALIGN."""
    return -(-length // (parts * ALIGN)) * ALIGN


def _grown(begin: int, size: int, length: int, margin: int) -> slice:
    return slice(max(0, begin - margin), min(length, begin + size + margin))


def _less(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)


def _times(part: tuple[slice, ...], scale: int) -> tuple[slice, slice]:
    rows, columns = (slice(one.start * scale, one.stop * scale) for one in part)
    return rows, columns
