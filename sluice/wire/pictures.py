"""Pictures on their way to the grouping network and back: what `segment`, `compare` and the gallery have in common.

A picture is scaled to a working size and seen through one or several windows (`grouping.windows`); each window
is one call of `image_grouper`. A picture that cannot be read fails alone, its neighbours are answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from sluice import images
from sluice.errors import InvalidArgument, NotFound, Refusal
from sluice.methods.grouping.windows import Plan, plan
from sluice.options import text
from sluice.wire import stored_frames
from sluice.wire.calls import Call, each

Result = TypeVar("Result")
THINNEST = 100  # a picture's longer side in shorter ones


SIZE = 336  # pixels of the short side, as `image_grouper` was trained and every gallery has been embedded


@dataclass(frozen=True)
class Config(images.Limits):
    """How the grouping network sees images, and limits of one request, checked before anything is decoded."""

    size: int = 224  # seen whole: pixels of the short side
    longest: int = 2048  # most pixels of the long side that the network sees
    max_images: int = 64
    in_flight: int = 8  # windows of one request that wait for the network at the same time

    def shaping(self) -> dict[str, int]:
        """The parameters that shape an embedding, as they differ from those of the network that is served here."""
        usual = {"size": SIZE, "longest": Config.longest}
        return {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}

    def whole(self, height: int, width: int) -> Plan:
        """The plan of a picture that is seen whole. Raises InvalidArgument as `grouping_windows.plan` does."""
        return plan(height, width, "whole", short=self.size, longest=self.longest)


def read(data: bytes, config: Config, choose: Callable[[int, int], Plan] | None = None) -> tuple[np.ndarray, Plan]:
    """An encoded picture as network input.

    choose: the plan for (height, width) of the picture, upright; `config.whole` unless given.
    Returns the windows, uint8 [W, H, W, 3] RGB 0-255, and the plan that leads back to the caller's pixels.
    Raises InvalidArgument as `images.decode` does, and for a picture that is too thin.
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


async def answered(
    call: Call, inputs: Any, config: Config, work: Callable[[bytes], Awaitable[Result]]
) -> list[Result | Refusal]:
    """`work` on every picture of a request: its result, or what is wrong with that one.

    inputs: with IMAGES, encoded, or IDS of stored frames, and `check_cancelled`; see `asked`.
    Raises what is nobody's own fault: a full queue, a caller who went away, a broken network.
    """
    kind, batch = asked(inputs, config)

    async def one(item: Any) -> Result | Refusal:
        try:
            return await work(bytes(item) if kind == "IMAGES" else await stored_frames.image(call, text(item)))
        except (InvalidArgument, NotFound) as refusal:
            return refusal

    return await each(batch, one, config.in_flight, inputs.check_cancelled)


def asked(inputs: Any, config: Config) -> tuple[str, list[Any]]:
    """Which of IMAGES and IDS is given, and its elements. Raises InvalidArgument for both, neither, or too many."""
    given = [name for name in ("IMAGES", "IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give IMAGES or IDS, exactly one of them; got {' and '.join(given) or 'neither'}")
    batch = list(inputs[given[0]].reshape(-1))
    if not 0 < len(batch) <= config.max_images:
        raise InvalidArgument(f"a request holds 1 to {config.max_images} images, got {len(batch)}; split it")
    return given[0], batch
