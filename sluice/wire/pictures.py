"""The images of a request: how many it holds, each answered on its own, and how the grouping network sees one.

`segment`, `compare` and `detect` take encoded images or ids of stored frames. An image that cannot be read fails
alone; the others of its request are answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image

from sluice import images
from sluice.errors import InvalidArgument, NotFound, Refusal
from sluice.methods.grouping.windows import Plan, plan
from sluice.options import text
from sluice.wire import stored_frames
from sluice.wire.calls import Call, check_count, each

Result = TypeVar("Result")
THINNEST = 100  # greatest ratio of an image's longer side to its shorter side
SIZE = 336  # the usual pixels of the short side of an image that is laid on no canvas


# ------------------------------------------------------------------------------------------ the images of a request


class Sizes(Protocol):
    """The limits of a request that holds images."""

    @property
    def max_images(self) -> int:
        """The most images of one request."""

    @property
    def in_flight(self) -> int:
        """The images of one request that are worked on at the same time."""


class Asked(NamedTuple):
    """The images of one request. kind: IMAGES or IDS. items: its elements, encoded images or ids."""

    kind: str
    items: list[Any]

    def ids(self, places: list[int]) -> list[str]:
        """Return the ids at these places of a request that gives IDS."""
        return [text(self.items[place]) for place in places]


def asked(inputs: Mapping[str, np.ndarray], limits: Sizes) -> Asked:
    """Read the images of a request, given as IMAGES or as IDS of stored frames.

    Raises InvalidArgument if both or neither are given, and for too many or no images.
    """
    given = [name for name in ("IMAGES", "IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give IMAGES or IDS, exactly one of them; got {' and '.join(given) or 'neither'}")
    batch = list(inputs[given[0]].reshape(-1))
    check_count("images", len(batch), limits.max_images)
    return Asked(given[0], batch)


async def answered(
    call: Call, given: Asked, limits: Sizes, check: Callable[[], None], work: Callable[[bytes], Awaitable[Result]]
) -> list[Result | Refusal]:
    """Work on every image of a request; return per image the result, or the Refusal that says what is wrong with it.

    work: makes the result of one encoded image. check: raises Cancelled when the caller has gone; called before each
    image.
    Raises what no single image is at fault for, such as a full queue, a cancelled request or a broken network.
    """

    async def one(item: Any) -> Result | Refusal:
        try:
            return await work(bytes(item) if given.kind == "IMAGES" else await stored_frames.image(call, text(item)))
        except (InvalidArgument, NotFound) as refusal:
            return refusal

    return await each(given.items, one, limits.in_flight, check)


# --------------------------------------------------------------------------- how the grouping network sees an image


@dataclass(frozen=True)
class Config(images.Limits):
    """The way in which the grouping network sees images, and limits of one request."""

    canvases: str = ""  # width x height, on which an image that is seen whole is laid; "": it is scaled to `size`
    size: int = 224  # pixels of the short side of an image that is seen whole, without canvases
    longest: int = 2048  # most pixels of the long side that the network sees
    max_images: int = 64
    in_flight: int = 8  # windows of one request that wait for the network at the same time

    def shaping(self) -> dict[str, int | str]:
        """Return the parameters that shape an embedding, where they differ from the usual ones."""
        if self.canvases:
            return {"canvases": self.canvases}
        usual = {"size": SIZE, "longest": Config.longest}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    def whole(self, height: int, width: int) -> Plan:
        """Plan an image that is seen whole. Raises InvalidArgument as `grouping.windows.plan` does."""
        return plan(height, width, "whole", short=self.size, longest=self.longest)


def read_whole(data: bytes, config: Config) -> np.ndarray:
    """Decode an encoded image that is seen whole as input of `image_grouper`, uint8 [H, W, 3] RGB 0-255.

    Raises InvalidArgument as `read` does.
    """
    if not config.canvases:
        return read(data, config)[0][0]
    limits = images.Config(canvases=config.canvases, max_bytes=config.max_bytes, max_pixels=config.max_pixels)
    return images.read(data, limits)[0]


def read(data: bytes, config: Config, choose: Callable[[int, int], Plan] | None = None) -> tuple[np.ndarray, Plan]:
    """Decode an encoded image as input of `image_grouper`.

    choose: makes the plan for (height, width) of the upright image; `config.whole` if not given.
    Returns the windows, uint8 [W, H, W, 3] RGB 0-255, and the plan that leads back to the caller's pixels.
    Raises InvalidArgument as `images.decode` does, and for an image that is too thin.
    """
    image = images.decode(data, config, longest=config.longest)
    width, height = images.original_size(data)
    if max(width, height) > THINNEST * min(width, height):
        raise InvalidArgument(
            f"the image is {width} x {height}: sides beyond 1:{THINNEST} cannot be shown; cut it first"
        )
    chosen = (choose or config.whole)(height, width)
    size = chosen.working[1], chosen.working[0]
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return chosen.crops(np.asarray(image)), chosen
