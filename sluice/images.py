"""Turns encoded images into network input: decodes, turns upright, scales onto a canvas, and keeps the way back.

Coordinates are continuous pixels, x to the right and y down. The centre of the first pixel is (0.5, 0.5), so an image
covers [0, width] x [0, height]. A network sees a *canvas*: the image scaled with its aspect kept and centred on grey.
There are a few canvases of nearly equal area, so that images of any size have few shapes and can be batched.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image

from sluice import contracts, image_headers
from sluice.errors import InvalidArgument

FORMATS = ("JPEG", "PNG", "WEBP")
STRIP = 1 << 22  # pixels whose mode is changed at a time
GREY = 114  # level of the padding, and of the ground under transparent pixels


@dataclass(frozen=True)
class Limits:
    """The largest encoded image that is accepted; checked before anything is decoded."""

    max_bytes: int = 32 * 2**20  # of the encoded image
    max_pixels: int = 64_000_000  # of the image, as its header says


# Parameters of a config.pbtxt that say on which canvases a network sees an image.
CANVASES = ("canvases", "multiple", "keep_aspect")


@dataclass(frozen=True)
class Config(Limits):
    """The images that are accepted, and the canvases on which a network sees them.

    network: the model whose own config.pbtxt goes before these settings where it gives CANVASES; "": no model does.
    """

    network: ClassVar[str] = "feature_extractor"
    canvases: str = "640x480 736x416 544x544 480x640 416x736"  # width x height
    multiple: int = 32  # the sides of canvases must be multiples of this, as the network demands
    keep_aspect: bool = True  # False stretches the image over all of its canvas, as some networks were trained

    def for_network(self, repository: Path) -> Self:
        """Return these settings with the canvases that the network's own config.pbtxt gives, if it gives any.

        repository: as for `contracts.configured`. Raises ValueError for values that cannot be meant.
        """
        said = contracts.parameters_among(CANVASES, repository, self.network) if self.network else {}
        if not said:
            return self
        read = contracts.parameters(Config, said)
        return replace(self, **{name: getattr(read, name) for name in said})

    def shaping(self) -> dict[str, Any]:
        """Return the parameters that shape what a network sees of an image, where they differ from the usual ones. The
        other parameters only say which images are accepted."""
        usual = Config()
        names = ("canvases", "keep_aspect")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)}

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Return the canvases as (width, height), pixels. Raises ValueError for a text that cannot be meant."""
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
    """The place of the caller's image on the canvas: canvas = image * scale + offset, per axis."""

    width: int  # of the caller's image, pixels, after EXIF orientation
    height: int
    scale_x: float  # canvas pixels per image pixel; with the aspect kept the two differ by rounding to whole pixels
    scale_y: float
    left: float  # canvas pixels
    top: float

    def as_array(self) -> np.ndarray:
        """Return width, height, scale_x, scale_y, left, top as float32 [6], the form in which it crosses the server."""
        return np.array([self.width, self.height, self.scale_x, self.scale_y, self.left, self.top], np.float32)

    @classmethod
    def from_array(cls, array: Any) -> Geometry:
        """Return the geometry of an array [6] that `as_array` made."""
        width, height, scale_x, scale_y, left, top = (float(value) for value in array)
        return cls(round(width), round(height), scale_x, scale_y, left, top)

    def to_canvas(self, xy: Any) -> np.ndarray:
        """Map points from the image to the canvas: [..., 2] x, y pixels -> float64 [..., 2]."""
        return np.asarray(xy, np.float64) * (self.scale_x, self.scale_y) + (self.left, self.top)

    def to_image(self, xy: Any) -> np.ndarray:
        """Map points from the canvas to the image, not clipped to it: [..., 2] x, y pixels -> float64 [..., 2]."""
        return (np.asarray(xy, np.float64) - (self.left, self.top)) / (self.scale_x, self.scale_y)


def place(
    width: int, height: int, sizes: list[tuple[int, int]], keep_aspect: bool = True
) -> tuple[tuple[int, int], Geometry]:
    """Choose the canvas that an image fills best, and lay the image on its middle.

    width, height: of the image, pixels, > 0.
    sizes: (width, height) of the canvases, pixels.
    keep_aspect: False stretches the image over the whole canvas.
    Returns (width, height) of the canvas, and the geometry.
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
    """Tell which cells of a feature map show the image and not the padding: bool [h, w], True for at least one cell.

    grid: (h, w) of the feature map. stride: canvas pixels per cell. A cell counts if its centre lies on the image.
    """
    h, w = grid
    x = (np.arange(w) + 0.5) * stride
    y = (np.arange(h) + 0.5) * stride
    right = geometry.left + geometry.width * geometry.scale_x
    bottom = geometry.top + geometry.height * geometry.scale_y
    inside_x = (x > geometry.left) & (x < right)
    inside_y = (y > geometry.top) & (y < bottom)
    # An image narrower than a cell may miss every centre; the cell under its middle then stands for it.
    if not inside_x.any():
        inside_x[min(w - 1, int((geometry.left + right) / 2 / stride))] = True
    if not inside_y.any():
        inside_y[min(h - 1, int((geometry.top + bottom) / 2 / stride))] = True
    return inside_y[:, None] & inside_x[None, :]


def decode(data: bytes, limits: Limits | None = None, longest: int | None = None) -> Image.Image:
    """Decode an encoded image as RGB, upright; transparent pixels are laid over grey.

    limits: of bytes and pixels; the usual ones if not given. longest: pixels, the longer side of what the caller will
    scale the image to. A JPEG of more than twice that on both sides is decoded at 1/2, 1/4 or 1/8 of its size, never
    below twice `longest`. Not given, every image is decoded at its full size.
    Raises InvalidArgument if the bytes are not a whole JPEG, PNG or WebP within the limits.
    """
    return rgb(upright(data, limits, longest))


def upright(data: bytes, limits: Limits | None = None, longest: int | None = None) -> Image.Image:
    """Decode an encoded image in its own mode, upright, with its `info`.

    limits, longest: as of `decode`. Raises InvalidArgument as `decode` does.
    """
    limits = limits or Limits()
    if not data:
        raise InvalidArgument("the image has 0 bytes; send the content of a JPEG, PNG or WebP file")
    if len(data) > limits.max_bytes:
        raise InvalidArgument(
            f"the image has {len(data):,} bytes, more than the limit of {limits.max_bytes:,}; send it smaller"
        )
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError:
        raise InvalidArgument(
            f"the image's header declares more than the limit of {limits.max_pixels:,} pixels; send it smaller"
        ) from None
    except Exception:
        raise InvalidArgument(
            f"not an image: the {len(data):,} bytes do not begin a JPEG, PNG or WebP file; send the file's content"
            + (", or valid base64 with the option encoding: base64" if data[:64].isascii() and _letters(data) else "")
        ) from None
    if width * height > limits.max_pixels:
        raise InvalidArgument(
            f"the image's header declares {width} x {height} pixels, more than the limit of "
            f"{limits.max_pixels:,}; send it smaller"
        )
    header = image_headers.read(data)
    if header is not None and header.scans > image_headers.MOST_SCANS:
        raise InvalidArgument(
            f"the JPEG has more than {image_headers.MOST_SCANS} scans, each of which goes over all pixels "
            "again; cameras and programs write 20 at most: save it anew, as baseline JPEG"
        )
    full = (width, height)
    try:
        if longest is not None:  # nearly free, and twice the size keeps every detail that the scaled image can show
            image.draft("RGB", (2 * longest, 2 * longest))
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
    """Tell whether bytes may be meant as base64: printable ASCII from the first to the 64th."""
    return data[:64].decode("ascii", "replace").isprintable()


# The orientations of EXIF (tag 0x0112), with the turn that makes such an image upright. Source: CIPA DC-008, 4.6.5.
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
    """Read the orientation, 1 (upright) to 8; None for metadata that cannot be read, which are then ignored."""
    try:
        said = image.getexif().get(0x0112, 1)
        if data := image.info.get("exif"):
            Image.Exif().load(data)  # once more, because a second `getexif` of an image hides the error
    except Exception:  # bad metadata can raise anything in Pillow, and the pixels may still be good
        return None
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def _turned(image: Image.Image, turn: Image.Transpose) -> Image.Image:
    """Turn an image, and keep its `info`."""
    turned = image.transpose(turn)
    turned.info = dict(image.info)
    return turned


def rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode into RGB; transparent pixels are laid over grey."""
    if image.size[0] * image.size[1] > STRIP:  # strip by strip the result is the same, in less memory
        whole = Image.new("RGB", image.size)
        rows = max(1, STRIP // image.size[0])
        for top in range(0, image.size[1], rows):
            part = image.crop((0, top, image.size[0], min(top + rows, image.size[1])))
            whole.paste(rgb(part), (0, top))
        return whole
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow's own conversion would clip instead of scale
        image = Image.fromarray((np.asarray(image, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def original_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of an encoded image after EXIF orientation, pixels, from its header alone."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    return (height, width) if (orientation(image) or 1) >= 5 else (width, height)


def read(data: bytes, config: Config | None = None) -> tuple[np.ndarray, Geometry]:
    """Read an encoded image as network input.

    Returns the canvas, uint8 [H, W, 3] RGB 0-255, and the geometry that leads back to the caller's pixels.
    Raises InvalidArgument as `decode` does, and for an image whose sides differ by more than 100 times.
    """
    config = config or Config()
    image = decode(data, config, longest=max(max(size) for size in config.sizes))
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
    """Encode levels, uint8 [h, w], as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
