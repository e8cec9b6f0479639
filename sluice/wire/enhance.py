"""A request of `enhance`, read and checked before it costs anything."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument
from sluice.methods.video.modes import DO, MODES, REMOVERS, UPSCALERS, scale_of
from sluice.methods.video.planes import MATRICES, RANGES, Colour, Picture, planes_size, usual
from sluice.methods.video.scaling import SCALES, scaled
from sluice.options import Kind, check_options, choice, flag, names_of, number, option, split, whole
from sluice.process import decoding
from sluice.wire import video_frames as pictures
from sluice.wire.calls import json_object

SOURCES = ("IMAGES", "RGB", "PLANES", "PACKETS")
POLICIES = ("wait", "drop")
LARGEST = 2**53  # number of a frame: what JSON carries everywhere
PASSES = 2  # of the upscaler, at most: four times the size
SIDE = whole(1, 1 << 20)  # pixels


@dataclass(frozen=True)
class Config(images.Limits):
    """The verb's parameters and limits. `max_bytes` also holds for all packets of a request together, and `max_pixels`
    for a frame as well as for its answer."""

    networks: str = ""  # NAME=RADIUS per network, separated by spaces; the receptive radius in pixels, as in its config
    tile: int = 1 << 20  # pixels that a network sees at a time; a larger frame goes in tiles
    max_frames: int = 32  # of one request
    max_memory: int = 2**30  # bytes of all requests that are under way
    max_streams: int = 64
    max_requests: int = 128  # at the same time
    max_waiting: int = 128  # frames of one stream that wait
    in_flight: int = 2  # frames of one stream that are worked on at the same time
    workers: int = 4  # frames of all streams that are worked on at the same time

    @cached_property
    def radii(self) -> dict[str, int]:
        """Return the receptive radius of each network, pixels.

        Raises ValueError for a word that is not NAME=RADIUS, for a name that `scale_of` does not know, and if one of
        the four networks is missing.
        """
        found = {}
        for word in self.networks.split():
            name, _, radius = word.partition("=")
            if not radius.isdigit():
                raise ValueError(f"networks: expected NAME=RADIUS, got {word!r}")
            try:
                scale_of(name)
            except ValueError as error:
                raise ValueError(f"networks: {error}") from None
            found[name] = int(radius)
        if missing := {*REMOVERS, *UPSCALERS} - set(found):
            raise ValueError(f"networks: {', '.join(sorted(missing))} missing")
        return found

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the models that these parameters name."""
        return tuple(self.radii)


def _scale(value: Any) -> str | None:
    """Return a scale by its name or its value, None if there is no such scale."""
    if isinstance(value, str):
        return value if value in SCALES else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e3:
        return next((name for name, scale in SCALES.items() if math.isclose(value, scale, abs_tol=5e-3)), None)
    return None


def _size(value: Any) -> tuple[int, int] | None:
    good = isinstance(value, list | tuple) and len(value) == 2
    return (SIDE("a side of size", value[0]), SIDE("a side of size", value[1])) if good else None


SCALE = Kind(f"one of {', '.join(SCALES)} (for any other give size: [width, height])", _scale)  # 1.33 is taken for 4/3
SIZE = Kind("[width, height] in pixels", _size)


@dataclass(frozen=True)
class Options:
    """The choices for enhancing; each request of a stream has its own.

    Raises InvalidArgument naming the option at fault.
    """

    do: str = option("artefacts", choice(DO))
    mode: str = option("auto", choice(MODES))  # see `sluice.methods.video.modes`
    scale: str | None = option(None, SCALE)  # of the answer; None: 1 to take artefacts out, else 2
    size: tuple[int, int] | None = option(None, SIZE)  # (width, height) of the answer, instead of scale
    strength: float = option(1.0, number(0, 1))  # 0: as the frame came, or bicubic; 1: what the networks say
    matrix: str | None = option(None, choice(MATRICES))  # of YUV, given or wanted; None: the usual one of the height
    range: str | None = option(None, choice(RANGES))  # of YUV, given or wanted; None: limited
    bitrate: float | None = option(None, number(1e-3, 1e12))  # bits per second, for mode auto; together with fps
    fps: float | None = option(None, number(1e-6, 1e6))  # frames per second
    format: str | None = option(None, choice(pictures.FORMATS))  # of the answer; None: that of the source
    quality: int = option(92, whole(1, 100))  # of JPEG
    policy: str = option("wait", choice(POLICIES))  # when frames come faster than they are enhanced: wait, or drop
    backlog: int = option(4, whole(0, 128))  # under drop, frames that may wait before the oldest is dropped

    def __post_init__(self) -> None:
        check_options(self)
        if self.scale is not None and self.size is not None:
            raise InvalidArgument("give scale or size, not both")
        if (self.bitrate is None) != (self.fps is None):
            raise InvalidArgument("bitrate (bits per second) and fps (frames per second) go together; got one of them")
        if self.do == "artefacts" and SCALES[self.scale or "1"] != 1:
            raise InvalidArgument(f"scale {self.scale} needs do upscale or both, got do artefacts")

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the answer to a frame of this size, pixels."""
        if self.size is not None:
            return self.size[1], self.size[0]
        scale = SCALES[self.scale] if self.scale else Fraction(1 if self.do == "artefacts" else 2)
        return scaled(height, scale), scaled(width, scale)

    def colour(self, height: int) -> Colour:
        """Return the colour space of a YUV frame of this height, pixels."""
        return Colour(self.matrix or usual(height), self.range or "limited")

    @property
    def bits(self) -> float | None:
        """Return the bits per frame that the caller names; None if there are none."""
        return None if self.bitrate is None or self.fps is None else self.bitrate / self.fps


def _times(value: Any) -> tuple[int | float | None, ...] | None:
    finite = number()
    good = isinstance(value, list | tuple) and all(one is None or finite.accept(one) is not None for one in value)
    return tuple(value) if good else None


NAME = Kind("a name of 1 to 200 characters", lambda v: v if isinstance(v, str) and 1 <= len(v) <= 200 else None)
TIMES = Kind("a list of finite numbers or null, one per frame", _times)


@dataclass(frozen=True)
class Numbers:
    """The place of a request in its stream.

    Raises InvalidArgument naming the option at fault.
    """

    stream: str | None = option(None, NAME)  # None: the request is a stream of its own
    first: int = option(0, whole(0, LARGEST))  # number of the first frame
    times: tuple[int | float | None, ...] | None = option(None, TIMES)  # per frame what its answer repeats
    last: bool | None = option(None, flag)  # whether the stream ends here; None means that it ends if it has no name
    idle: float = option(60.0, number(1, 3600))  # seconds without a request after which the stream is forgotten
    width: int | None = option(None, SIDE)  # of PLANES
    height: int | None = option(None, SIDE)  # of PLANES

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def sides(self) -> dict[str, int]:
        """Return width and height, those that are given."""
        given = (("width", self.width), ("height", self.height))
        return {name: side for name, side in given if side is not None}


@dataclass(frozen=True)
class Request:
    """A checked request.

    stream: name of its stream. first: number of its first frame. times: per frame what its answer repeats, or None.
    last: whether the stream ends with it. idle: seconds until the stream is forgotten.
    frames: one function per frame that decodes the frame when called. Empty if the request holds H.264 packets, which
    are decoded later. coded: per frame what its file says of itself; as long as `frames`. form: format of the answers.
    packets: encoded access units of one H.264 stream, or None. still: whether the frames are encoded images.
    memory: bytes of the request.
    """

    stream: str
    first: int
    times: Sequence[int | float | None] | None
    last: bool
    idle: float
    options: Options
    frames: Sequence[Callable[[], Awaitable[Picture]]]
    form: str
    packets: Sequence[bytes] | None
    coded: Sequence[pictures.Coded]
    still: bool
    memory: int

    def time(self, i: int) -> int | float | None:
        """Return what the answer to frame i repeats; None if nothing was given."""
        return None if self.times is None else self.times[i]


_serial = itertools.count()


def read(inputs: Mapping[str, np.ndarray], config: Config) -> Request:
    """Read a request. Raises InvalidArgument naming the tensor, the frame or the option at fault."""
    there = [name for name in SOURCES if name in inputs]
    if len(there) != 1:
        raise InvalidArgument(f"give frames as one of {', '.join(SOURCES)}; got {', '.join(there) or 'none'}")
    name, source = there[0], inputs[there[0]]
    given = {key: value for key, value in json_object(inputs).items() if value is not None}
    numbers, options = split(given, names_of(Numbers), names_of(Options))
    asked, how = Numbers(**numbers), Options(**options)
    last = asked.stream is None if asked.last is None else asked.last
    count = len(source)
    ends = last and asked.stream is not None  # a request may do nothing but end its stream
    if not (0 if ends else 1) <= count <= config.max_frames:
        raise InvalidArgument(f"a request holds 1 to {config.max_frames} frames, got {count}; send fewer at a time")
    if asked.times is not None and len(asked.times) != count:
        raise InvalidArgument(f"times is a list of one number or null per frame: {count}, got {len(asked.times)}")
    frames, coded = _frames(name, source, asked.sides, how, config)
    packets = [bytes(one) for one in source.reshape(-1)] if name == "PACKETS" else None
    if packets is not None and sum(map(len, packets)) > config.max_bytes:
        raise InvalidArgument(f"packets of a request have at most {config.max_bytes:,} bytes, got "
                              f"{sum(map(len, packets)):,}; send fewer at a time")  # fmt: skip
    return Request(
        # A request without a stream is a stream of its own; no caller's name is that long.
        asked.stream if asked.stream is not None else f"{'request':>201}{next(_serial)}",
        asked.first,
        asked.times,
        last,
        asked.idle,
        how,
        frames,
        how.format or {"IMAGES": "png", "RGB": "rgb"}.get(name, "yuv420"),
        packets,
        coded,
        name == "IMAGES",
        sum(len(one) for one in source.reshape(-1)) if source.dtype == object else source.nbytes,
    )


def _frames(
    name: str, source: np.ndarray, sides: dict[str, int], options: Options, config: Config
) -> tuple[list[Callable[[], Awaitable[Picture]]], list[pictures.Coded]]:
    """Return `frames` and `coded` of a `Request`. name: of the source. sides: width and height, where given."""
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
    """Return (height, width) of planes: as given, or read off [n, 3 H / 2, W]."""
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
                              f"per frame, got {bytes_:,}")  # fmt: skip
    return height, width


def check_size(height: int, width: int, options: Options, config: Config) -> tuple[int, int]:
    """Return (height, width) of the answer to a frame. Raises InvalidArgument if frame or answer exceed a limit."""
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
