"""Decodes the images of a request of `enhance`, and encodes its answers."""

from __future__ import annotations

import dataclasses
import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from sluice import image_headers, images
from sluice.methods.video.planes import Beside, Colour, Picture
from sluice.wire.calls import Tensors, strings

FORMATS = ("png", "jpeg", "rgb", "yuv420")
NOTHING = Beside()


UNREAD = "its EXIF data cannot be read and was ignored"


def decode(data: bytes, limits: images.Limits, form: str = "png") -> Picture:
    """Decode a JPEG, PNG or WebP, upright, at its full size.

    form: format of the answer, one of FORMATS; only PNG keeps transparent pixels, the others lay them over grey.
    Raises InvalidArgument as `images.decode` does.
    """
    image = images.upright(data, limits)
    notes = [UNREAD] if images.orientation(image) is None else []
    icc, alpha = image.info.get("icc_profile") or None, None
    if icc is not None and form not in ("png", "jpeg"):
        notes.append("its colour profile is not in the answer: pixels alone cannot carry one")
        icc = None
    elif icc is not None and icc[16:20] != b"RGB ":  # the colour space of its data. Source: ICC.1, 7.2.6
        kind = icc[16:20].decode("ascii", "replace").strip()
        notes.append(f"its colour profile, of {kind or 'nothing known'}, does not fit RGB and was left out")
        icc = None
    see_through = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if see_through and not image.mode.startswith("I"):  # 16 bits of grey have at most one transparent level
        if form == "png":
            straight = image.convert("RGBA")
            alpha, image = np.asarray(straight.getchannel("A")), straight.convert("RGB")
        else:
            notes.append("what is transparent was laid over grey, since only PNG can keep it")
    picture = Picture.of_rgb(np.asarray(images.rgb(image)))
    return dataclasses.replace(picture, beside=Beside(icc, alpha, tuple(notes)))


class Coded(NamedTuple):
    """The facts in the header of an encoded image.

    size: (width, height), pixels, or None if the header cannot be read. bits: size of the file, or None if its format
    is lossless.
    """

    size: tuple[int, int] | None
    bits: float | None


def coded(data: bytes) -> Coded:
    """Read the header of an encoded image."""
    header = image_headers.read(data)
    if header is None or not header.pixels:  # decoding will say what is wrong
        return Coded(None, None)
    lossless = header.form == "PNG" or data[12:16] == b"VP8L"
    return Coded(header.size, None if lossless else 8.0 * len(data))


def answer(picture: Picture, form: str, quality: int, colour: Colour, beside: Beside = NOTHING) -> Tensors:
    """Return an enhanced frame as a tensor of the answer: IMAGE, RGB or PLANES.

    form: one of FORMATS. quality: of JPEG, 1 to 100. colour: of yuv420 for a frame that is RGB.
    beside: colour profile and alpha of the file that the frame came from, which may have another size.
    """
    if form == "rgb":
        return {"RGB": picture.rgb()}
    if form == "yuv420":
        return {"PLANES": picture.planes(picture.colour if picture.halved else colour)}
    file, image = io.BytesIO(), Image.fromarray(picture.rgb())
    if form == "jpeg":
        more = {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}
        image.save(file, "JPEG", icc_profile=beside.icc, **more)
    else:
        if beside.alpha is not None:
            image.putalpha(Image.fromarray(beside.alpha).resize(image.size, Image.Resampling.BICUBIC))
        image.save(file, "PNG", compress_level=1, icc_profile=beside.icc)
    return {"IMAGE": strings([file.getvalue()])}
