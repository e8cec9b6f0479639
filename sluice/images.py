"""Encoded images in, network input out: decode, orient, scale into a canvas, and the geometry that leads back.

Coordinates are continuous pixels: x right, y down, the centre of the first pixel at (0.5, 0.5), so an image covers
[0, width] x [0, height]. A network sees a *canvas*: the image scaled with its aspect kept and centred on grey. There
are only a few canvases of nearly equal area, so that images of any size fall into a few shapes and can be batched.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from sluice import image_headers
from sluice.errors import InvalidArgument

FORMATS = ("JPEG", "PNG", "WEBP")
STRIP = 1 << 22  # pixels that change their mode at a time
GREY = 114  # the colour of the padding, and what transparent pixels are laid over


@dataclass(frozen=True)
class Config:
    """What the decoder accepts and what it makes of it."""

    canvases: str = "832x640 960x544 736x736 640x832 544x960"  # width x height
    multiple: int = 32  # of which the canvases' sides must be multiples, as the network wants it
    keep_aspect: bool = True  # False: the image is stretched over all of its canvas, as some networks were trained
    max_bytes: int = 32 * 2**20  # of one encoded image
    max_pixels: int = 64_000_000  # of one image, as its header says; checked before anything is decoded

    def shaping(self) -> dict[str, Any]:
        """The parameters that shape what a network sees of a picture, as they differ from the usual ones; the others
        only say which pictures are accepted."""
        usual = Config()
        names = ("canvases", "keep_aspect")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """The canvases as (width, height)."""
        sizes = []
        for word in self.canvases.split():
            width, _, height = word.partition("x")
            whole = width.isdigit() and height.isdigit() and int(width) * int(height) > 0
            if not whole or int(width) % self.multiple or int(height) % self.multiple:
                raise ValueError(f"canvases: expected WIDTHxHEIGHT in multiples of {self.multiple}, got {word!r}")
            sizes.append((int(width), int(height)))
        return sizes


@dataclass(frozen=True)
class Geometry:
    """Where the caller's image lies on the canvas: canvas = image * scale + offset, per axis."""

    width: int  # of the caller's image, pixels, after EXIF orientation
    height: int
    scale_x: float  # canvas pixels per image pixel; with the aspect kept the two differ by rounding to whole pixels
    scale_y: float
    left: float  # canvas pixels
    top: float

    def as_array(self) -> np.ndarray:
        """float32 [6]: width, height, scale_x, scale_y, left, top. The form in which it crosses the server."""
        return np.array([self.width, self.height, self.scale_x, self.scale_y, self.left, self.top], np.float32)

    @classmethod
    def from_array(cls, array: Any) -> Geometry:
        """The inverse of `as_array`."""
        width, height, scale_x, scale_y, left, top = (float(value) for value in array)
        return cls(round(width), round(height), scale_x, scale_y, left, top)

    def to_canvas(self, xy: Any) -> np.ndarray:
        """[..., 2] image pixels -> [..., 2] float64 canvas pixels."""
        return np.asarray(xy, np.float64) * (self.scale_x, self.scale_y) + (self.left, self.top)

    def to_image(self, xy: Any) -> np.ndarray:
        """[..., 2] canvas pixels -> [..., 2] float64 image pixels (not clipped)."""
        return (np.asarray(xy, np.float64) - (self.left, self.top)) / (self.scale_x, self.scale_y)


def place(
    width: int, height: int, sizes: list[tuple[int, int]], keep_aspect: bool = True
) -> tuple[tuple[int, int], Geometry]:
    """Choose the canvas that an image fills best, and lay the image on its middle.

    width, height: of the image, pixels, > 0.
    sizes: the canvases as (width, height).
    keep_aspect: False stretches the image over all of the canvas.
    Returns the canvas's (width, height) and the geometry.
    """

    def filled(canvas: tuple[int, int]) -> float:
        scale = min(canvas[0] / width, canvas[1] / height)
        return scale * width * scale * height / (canvas[0] * canvas[1])

    canvas = max(sizes, key=filled)
    if not keep_aspect:
        return canvas, Geometry(width, height, canvas[0] / width, canvas[1] / height, 0, 0)
    scale = min(canvas[0] / width, canvas[1] / height)
    content = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (canvas[0] - content[0]) // 2, (canvas[1] - content[1]) // 2
    return canvas, Geometry(width, height, content[0] / width, content[1] / height, left, top)


def valid_cells(geometry: Geometry, grid: tuple[int, int], stride: float) -> np.ndarray:
    """Which cells of a feature map show the image and not the padding.

    grid: (h, w) cells; stride: canvas pixels a cell.
    Returns bool [h, w]: True where the cell's centre lies inside the image; at least one cell is.
    """
    h, w = grid
    x = (np.arange(w) + 0.5) * stride
    y = (np.arange(h) + 0.5) * stride
    right = geometry.left + geometry.width * geometry.scale_x
    bottom = geometry.top + geometry.height * geometry.scale_y
    inside_x = (x > geometry.left) & (x < right)
    inside_y = (y > geometry.top) & (y < bottom)
    # A sliver narrower than a cell may miss every centre: the cell under its middle stands for it.
    if not inside_x.any():
        inside_x[min(w - 1, int((geometry.left + right) / 2 / stride))] = True
    if not inside_y.any():
        inside_y[min(h - 1, int((geometry.top + bottom) / 2 / stride))] = True
    return inside_y[:, None] & inside_x[None, :]


def decode(data: bytes, config: Config | None = None) -> Image.Image:
    """Decode an encoded image as RGB, upright; transparent pixels are laid over grey.

    Raises InvalidArgument when the bytes are not a whole JPEG, PNG or WebP within the limits.
    """
    return rgb(upright(data, config))


def upright(data: bytes, config: Config | None = None) -> Image.Image:
    """Decode an encoded image in its own mode, upright, with its `info`.

    Raises InvalidArgument as `decode` does.
    """
    config = config or Config()
    if not data:
        raise InvalidArgument("the image has 0 bytes; send the content of a JPEG, PNG or WebP file")
    if len(data) > config.max_bytes:
        raise InvalidArgument(
            f"the image has {len(data):,} bytes, more than the limit of {config.max_bytes:,}; send it smaller"
        )
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError:
        raise InvalidArgument(
            f"the image's header declares more than the limit of {config.max_pixels:,} pixels; send it smaller"
        ) from None
    except Exception:
        raise InvalidArgument(
            f"not an image: the {len(data):,} bytes do not begin a JPEG, PNG or WebP file; send the file's content"
            + (", or valid base64 with the option encoding: base64" if data[:64].isascii() and _letters(data) else "")
        ) from None
    if width * height > config.max_pixels:
        raise InvalidArgument(
            f"the image's header declares {width} x {height} pixels, more than the limit of "
            f"{config.max_pixels:,}; send it smaller"
        )
    header = image_headers.read(data)
    if header is not None and header.scans > image_headers.MOST_SCANS:
        raise InvalidArgument(
            f"the JPEG has more than {image_headers.MOST_SCANS} scans, each of which goes over all pixels "
            "again; cameras and programs write 20 at most: save it anew, as baseline JPEG"
        )
    # JPEG can be decoded at 1/2, 1/4, 1/8 for nearly nothing; twice the canvas keeps every detail that it can show.
    longest = 2 * max(max(size) for size in config.sizes)
    full = (width, height)
    try:
        image.draft("RGB", (longest, longest))
        image.load()
        turn = _TURNS.get(orientation(image) or 1)
        return image if turn is None else _turned(image, turn)
    except MemoryError:  # of `sluice.process.decoding`, which says what the limit is
        raise
    except Exception as error:
        if "out of memory" in str(error):  # Pillow's words for a codec that gets none
            raise MemoryError from None
        raise InvalidArgument(
            f"the image is damaged or truncated: the {image.format or 'file'} of {len(data):,} bytes does not "
            f"decode to its {full[0]} x {full[1]} pixels; send it whole"
        ) from None


def _letters(data: bytes) -> bool:
    """Return whether bytes may be meant as base64: printable ASCII from the first to the 64th."""
    return data[:64].decode("ascii", "replace").isprintable()


# The orientations of EXIF (tag 0x0112) and what turns such a picture upright. Source: CIPA DC-008, 4.6.5.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int | None:
    """Read the orientation, 1 (upright) to 8; None where the metadata cannot be read, which then count for nothing."""
    try:
        said = image.getexif().get(0x0112, 1)
        if data := image.info.get("exif"):
            Image.Exif().load(data)  # of its own, since an image says nothing the second time that it trips
    except Exception:  # Pillow raises whatever the bytes make it trip over; the pixels are another part of the file
        return None
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def _turned(image: Image.Image, turn: Image.Transpose) -> Image.Image:
    turned = image.transpose(turn)
    turned.info = dict(image.info)
    return turned


def rgb(image: Image.Image) -> Image.Image:
    """Turn any mode into RGB; transparent pixels are laid over grey."""
    if image.size[0] * image.size[1] > STRIP:  # as the whole would become, in less memory
        whole = Image.new("RGB", image.size)
        rows = max(1, STRIP // image.size[0])
        for top in range(0, image.size[1], rows):
            part = image.crop((0, top, image.size[0], min(top + rows, image.size[1])))
            whole.paste(rgb(part), (0, top))
        return whole
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip instead of scale
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def original_size(data: bytes) -> tuple[int, int]:
    """(width, height) of an encoded image after EXIF orientation, from its header alone."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    return (height, width) if (orientation(image) or 1) >= 5 else (width, height)


def read(data: bytes, config: Config | None = None) -> tuple[np.ndarray, Geometry]:
    """An encoded image as network input.

    Returns the canvas, uint8 [H, W, 3] RGB 0-255, and the geometry that leads back to the caller's pixels.
    Raises InvalidArgument as `decode` does, and for an image too thin to leave one pixel on the canvas.
    """
    config = config or Config()
    image = decode(data, config)
    width, height = original_size(data)
    (canvas_width, canvas_height), geometry = place(width, height, config.sizes, config.keep_aspect)
    if max(width, height) > 100 * min(width, height):
        raise InvalidArgument(f"the image is {width} x {height}: sides beyond 1:100 cannot be shown; cut it first")
    content = round(width * geometry.scale_x), round(height * geometry.scale_y)
    if image.size != content:
        image = image.resize(content, Image.Resampling.BILINEAR, reducing_gap=2.0)
    canvas = np.full((canvas_height, canvas_width, 3), GREY, np.uint8)
    left, top = math.floor(geometry.left), math.floor(geometry.top)
    canvas[top : top + content[1], left : left + content[0]] = np.asarray(image)
    return canvas, geometry


def png(grey: np.ndarray) -> bytes:
    """uint8 [h, w] -> the bytes of an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
