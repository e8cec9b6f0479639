"""What a caller of the verb `enhance` asks for, read and checked before it costs anything."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument
from sluice.methods.video.modes import DO, MODES
from sluice.methods.video.planes import MATRICES, RANGES, Colour, Picture, planes_size, usual
from sluice.methods.video.scaling import SCALES, scaled
from sluice.process import decoding
from sluice.wire import video_frames as pictures
from sluice.wire.calls import json_object

SOURCES = ("IMAGES", "RGB", "PLANES", "PACKETS")
POLICIES = ("wait", "drop")
LARGEST = 2**53  # numbers of frames: what JSON carries everywhere
PASSES = 2  # of the upscaler, at most: four times the size


@dataclass(frozen=True)
class Config(images.Limits):
    """The verb's parameters and limits. `max_bytes` also holds for all packets of a request together, and `max_pixels`
    for a frame as well as for its answer."""

    # NAME=receptive radius, pixels, for the four networks; as in their own configs.
    networks: str = ""
    tile: int = 1 << 20  # pixels that a network sees at a time; a larger picture goes in tiles
    max_frames: int = 32  # of a request
    max_memory: int = 2**30  # bytes of all requests that are under way
    max_streams: int = 64
    max_requests: int = 128  # at a time
    max_waiting: int = 128  # frames of a stream
    in_flight: int = 2  # frames of a stream that are worked on at a time
    workers: int = 4  # the same of all streams

    @cached_property
    def radii(self) -> dict[str, int]:
        found = {}
        for word in self.networks.split():
            name, _, radius = word.partition("=")
            if not radius.isdigit():
                raise ValueError(f"networks: expected NAME=RADIUS, got {word!r}")
            found[name] = int(radius)
        missing = {f"artifact_remover_{m}" for m in ("weak", "strong")} | {
            f"frame_upscaler_{m}" for m in ("clean", "lossy")
        }
        if missing - set(found):
            raise ValueError(f"networks: {', '.join(sorted(missing - set(found)))} missing")
        return found

    @property
    def asked(self) -> tuple[str, ...]:
        """The models that these parameters name."""
        return tuple(self.radii)


@dataclass(frozen=True)
class Options:
    """How to enhance. Every request of a stream gives its own.

    do, mode: see `video_modes`. scale: 1, 4/3, 3/2 or 2, or size:
    [width, height] of the answer. strength: 0 (as it was, or bicubic) to 1 (what the networks say).
    matrix, range: of YUV that comes or is asked for. bitrate: bits a second, and fps, for the mode auto.
    format: png, jpeg, rgb or yuv420; "": as it came. quality: of JPEG. policy: when frames come faster than they are
    enhanced: wait, or drop the oldest of those that wait for longer than backlog others.
    """

    do: str = "artefacts"
    mode: str = "auto"
    scale: str = ""
    size: tuple[int, int] | None = None
    strength: float = 1.0
    matrix: str = ""
    range: str = ""
    bitrate: float | None = None
    fps: float | None = None
    format: str = ""
    quality: int = 92
    policy: str = "wait"
    backlog: int = 4

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the answer to a frame of this size."""
        if self.size is not None:
            return self.size[1], self.size[0]
        scale = SCALES[self.scale] if self.scale else Fraction(1 if self.do == "artefacts" else 2)
        return scaled(height, scale), scaled(width, scale)

    def colour(self, height: int) -> Colour:
        return Colour(self.matrix or usual(height), self.range or "limited")

    @property
    def bits(self) -> float | None:
        """A frame, as the caller tells them."""
        return None if self.bitrate is None or self.fps is None else self.bitrate / self.fps


@dataclass(frozen=True)
class Request:
    """A checked request.

    frames: one function a frame, which makes its picture, where the pictures do not come out of packets; coded: what
    each says of itself before. packets: encoded access units of one H.264 stream.
    """

    stream: str
    first: int
    times: Sequence[int | float | None] | None
    last: bool
    idle: float
    options: Options
    frames: Sequence[Callable[[], Awaitable[Picture]]]
    packets: Sequence[bytes] | None
    coded: Sequence[pictures.Coded]
    still: bool
    memory: int

    def time(self, i: int) -> int | float | None:
        return None if self.times is None else self.times[i]


_serial = itertools.count()


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """The request in these tensors. Raises InvalidArgument."""
    given = json_object(inputs)
    there = [name for name in SOURCES if name in inputs]
    if len(there) != 1:
        raise InvalidArgument(f"give frames as one of {', '.join(SOURCES)}; got {', '.join(there) or 'none'}")
    source = inputs[there[0]]
    sides: dict[str, int] = {
        name: _whole(name, given.pop(name), 1, 1 << 20) for name in ("width", "height") if name in given
    }
    stream = given.pop("stream", None)
    if stream is not None and (not isinstance(stream, str) or not 1 <= len(stream) <= 200):
        raise InvalidArgument(f"stream is a name of 1 to 200 characters, got {str(stream)[:80]!r}")
    last = given.pop("last", stream is None)
    if not isinstance(last, bool):
        raise InvalidArgument(f"last is true or false, got {str(last)[:40]!r}")
    first = _whole("first", given.pop("first", 0), 0, LARGEST)
    idle = _number("idle", given.pop("idle", 60.0), 1, 3600)
    times = given.pop("times", None)
    options = _options(given)
    count = len(source)
    ends = last and stream is not None  # a request may do nothing but end its stream
    if not (0 if ends else 1) <= count <= config.max_frames:
        raise InvalidArgument(f"a request holds 1 to {config.max_frames} frames, got {count}; send fewer at a time")
    frames, coded = _frames(there[0], source, sides, options, config)
    packets = [bytes(one) for one in source.reshape(-1)] if there == ["PACKETS"] else None
    if packets is not None and sum(map(len, packets)) > config.max_bytes:
        raise InvalidArgument(f"packets of a request have at most {config.max_bytes:,} bytes, got "
                              f"{sum(map(len, packets)):,}; send fewer at a time")  # fmt: skip
    size = sum(len(one) for one in source.reshape(-1)) if source.dtype == object else source.nbytes
    form = options.format or {"IMAGES": "png", "RGB": "rgb"}.get(there[0], "yuv420")
    return Request(
        # A request without a stream is a stream of its own; the name cannot be a caller's, which is not that long.
        stream if stream is not None else f"{'request':>201}{next(_serial)}",
        first,
        _times(times, count),
        last,
        idle,
        dataclasses.replace(options, format=form),
        frames,
        packets,
        coded,
        there == ["IMAGES"],
        size,
    )


def _frames(
    name: str, source: np.ndarray, sides: dict[str, int], options: Options, config: Config
) -> tuple[list[Callable[[], Awaitable[Picture]]], list[pictures.Coded]]:
    if sides and name != "PLANES":
        raise InvalidArgument(f"width and height are for PLANES; {name} have their own, leave them out")
    if name == "PACKETS":
        return [], []
    if name == "IMAGES":
        data = [bytes(one) for one in source.reshape(-1)]
        limits = images.Limits(config.max_bytes, config.max_pixels)
        decoders: list[Callable[[], Awaitable[Picture]]] = [
            partial(decoding.aside, pictures.decode, one, limits, options.format or "png") for one in data
        ]
        return decoders, [pictures.coded(one) for one in data]
    made: list[Callable[[], Awaitable[Picture]]]
    if name == "RGB":
        if source.ndim != 4 or source.shape[-1] != 3:
            raise InvalidArgument(f"RGB is [n, height, width, 3], got {list(source.shape)}")
        height, width = source.shape[1:3]
        made = [partial(asyncio.to_thread, Picture.of_rgb, one) for one in source]
    else:
        height, width = _sides(source, sides)
        flat = source.reshape(len(source), -1)
        colour = options.colour(height)
        made = [partial(asyncio.to_thread, Picture.of_planes, one, height, width, colour) for one in flat]
    if min(height, width) < 1:
        raise InvalidArgument(f"a frame has at least 1 x 1 pixels, got {width} x {height}")
    check_size(height, width, options, config)
    return made, [pictures.Coded((width, height), None)] * len(made)


def _sides(source: np.ndarray, sides: dict[str, int]) -> tuple[int, int]:
    """(height, width) of planes: told, or read off [n, 3 H / 2, W]."""
    if source.ndim != 3:
        raise InvalidArgument(f"PLANES is [n, 3 H / 2, W], or [n, 1, bytes] with width and height, "
                              f"got {list(source.shape)}")  # fmt: skip
    bytes_ = source.shape[1] * source.shape[2]
    if not sides:
        height, width = source.shape[1] // 3 * 2, source.shape[2]
        if source.shape[1] % 3 or width % 2:
            raise InvalidArgument(
                f"PLANES of an odd size is [n, 1, bytes], with width and height in OPTIONS; got {list(source.shape)} "
                "without them, and an even size would be [n, 3 H / 2, W]"
            )
        return height, width
    if len(sides) != 2:
        raise InvalidArgument(f"give width and height, both; got {next(iter(sides))} alone")
    height, width = sides["height"], sides["width"]
    if bytes_ != planes_size(height, width):
        raise InvalidArgument(f"4:2:0 planes of {width} x {height} pixels have {planes_size(height, width):,} bytes "
                              f"a frame, got {bytes_:,}")  # fmt: skip
    return height, width


def check_size(height: int, width: int, options: Options, config: Config) -> tuple[int, int]:
    """(height, width) of the answer to a frame. Raises InvalidArgument where frame or answer is beyond a limit."""
    if height * width > config.max_pixels:
        raise InvalidArgument(f"a frame has at most {config.max_pixels:,} pixels, got {width} x {height}; "
                              "send it smaller")  # fmt: skip
    tall, wide = options.target(height, width)
    if tall * wide > config.max_pixels:
        raise InvalidArgument(f"an answer has at most {config.max_pixels:,} pixels, {width} x {height} would become "
                              f"{wide} x {tall}; ask for a smaller size")  # fmt: skip
    if max(tall / height, wide / width) > 2**PASSES:
        raise InvalidArgument(f"a frame becomes at most {2**PASSES} times as large, {width} x {height} would become "
                              f"{wide} x {tall}; ask for a smaller size")  # fmt: skip
    if options.do == "artefacts" and (tall > height or wide > width):
        raise InvalidArgument(f"to make {width} x {height} larger ({wide} x {tall}), ask for upscale or both; "
                              "do is artefacts")  # fmt: skip
    return tall, wide


def _options(given: dict[str, Any]) -> Options:
    names = [one.name for one in dataclasses.fields(Options)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        own = ("stream", "first", "times", "last", "idle", "width", "height")
        raise InvalidArgument(f"OPTIONS has {', '.join(map(repr, unknown))}; known are: {', '.join((*own, *names))}")
    given = {name: value for name, value in given.items() if value is not None}
    if "scale" in given:
        given["scale"] = _scale(given["scale"])
        if "size" in given:
            raise InvalidArgument("give scale or size, not both")
    if "size" in given:
        size = given["size"]
        if not isinstance(size, list) or len(size) != 2:
            raise InvalidArgument(f"size is [width, height] in pixels, got {str(size)[:40]}")
        given["size"] = tuple(_whole("a side of size", side, 1, 1 << 20) for side in size)
    for name, allowed in (
        ("do", DO), ("mode", MODES), ("matrix", MATRICES), ("range", RANGES), ("policy", POLICIES),
        ("format", pictures.FORMATS),
    ):  # fmt: skip
        if name in given and given[name] not in allowed:
            raise InvalidArgument(f"{name} is one of {', '.join(allowed)}, got {str(given[name])[:40]!r}")
    for name, low, high in (("strength", 0, 1), ("bitrate", 1e-3, 1e12), ("fps", 1e-6, 1e6)):
        if name in given:
            given[name] = _number(name, given[name], low, high)
    for name, least, most in (("quality", 1, 100), ("backlog", 0, 128)):
        if name in given:
            given[name] = _whole(name, given[name], least, most)
    if ("bitrate" in given) != ("fps" in given):
        raise InvalidArgument("bitrate (bits a second) and fps (frames a second) go together; got one of them")
    options = Options(**given)
    if options.do == "artefacts" and SCALES[options.scale or "1"] != 1:
        raise InvalidArgument(f"scale {options.scale} needs do upscale or both, got do artefacts")
    return options


def _scale(value: Any) -> str:
    """A scale by its name or its value."""
    if isinstance(value, str) and value in SCALES:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, scale in SCALES.items():
            if abs(value) < 1e3 and math.isclose(value, scale, abs_tol=5e-3):  # 1.33 is meant for 4/3
                return name
    raise InvalidArgument(f"scale is one of {', '.join(SCALES)}, got {str(value)[:40]}; "
                          "for any other give size: [width, height]")  # fmt: skip


def _times(times: Any, count: int) -> list[int | float | None] | None:
    if times is None:
        return None
    if not isinstance(times, list) or len(times) != count:
        raise InvalidArgument(f"times is a list of one number or null for each of {count} frames")
    for one in times:
        number = isinstance(one, int | float) and not isinstance(one, bool)
        if one is not None and not (number and abs(one) <= sys.float_info.max):  # which NaN is not either
            raise InvalidArgument(f"times holds finite numbers or null, got {str(one)[:40]!r}")
    return times


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidArgument(f"{name} is a whole number from {low} to {high}, got {str(value)[:40]}")
    return value


def _number(name: str, value: Any, low: float, high: float) -> float:
    # No isfinite: it fails on a whole number beyond every float. NaN is within no limits.
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidArgument(f"{name} is a number from {low:g} to {high:g}, got {str(value)[:40]}")
    return float(value)
