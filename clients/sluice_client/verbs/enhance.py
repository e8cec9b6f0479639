"""The verb `enhance`: sends images, or frames of a video, in requests of a few each. Its answers are read by
`answers.enhance`."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, Unpack, get_args

import numpy as np

from .. import options
from ..answers.enhance import MODEL
from ..errors import InvalidRequest
from ..query import ImageLike, encoded
from ..tensors import Call, json_tensor, strings

__all__ = ["DO", "FORMATS", "MODES", "EnhanceKeywords", "FrameLike", "Options", "Packet", "Planes", "pieces", "request"]

Do = Literal["artefacts", "upscale", "both"]
Mode = Literal["auto", "weak", "strong", "clean", "lossy"]
Format = Literal["png", "jpeg", "rgb", "yuv420"]
Matrix = Literal["bt601", "bt709"]
Range = Literal["limited", "full"]
Policy = Literal["wait", "drop"]
Scale = Literal["1", "4/3", "3/2", "2", "3", "4"]
DO: tuple[str, ...] = get_args(Do)
MODES: tuple[str, ...] = get_args(Mode)
FORMATS: tuple[str, ...] = get_args(Format)
MATRICES: tuple[str, ...] = get_args(Matrix)
RANGES: tuple[str, ...] = get_args(Range)
POLICIES: tuple[str, ...] = get_args(Policy)
SCALES: tuple[str, ...] = get_args(Scale)

_ANY = (-math.inf, math.inf)
_OWN = ("images", "frames", "times", "stream", "first", "progress", "batch", "in_flight", "timeout")

_OUTPUTS = ("EVENT", "IMAGE", "RGB", "PLANES")
_PIECE_BYTES = 32 << 20  # the most bytes of one request; a larger frame is sent alone


@dataclass(frozen=True)
class Planes:
    """A frame as YUV 4:2:0.

    width, height: pixels.
    data: uint8 [H W + 2 ceil(H/2) ceil(W/2)], all of Y', then Cb, then Cr, each row by row.
    """

    width: int
    height: int
    data: np.ndarray

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            options.whole(name, getattr(self, name), 1)
        size = self.height * self.width + 2 * -(-self.height // 2) * -(-self.width // 2)
        if not isinstance(self.data, np.ndarray):
            raise InvalidRequest(f"planes are a NumPy array, uint8 [{size}]; got {type(self.data).__name__}.")
        if self.data.dtype != np.uint8 or self.data.shape != (size,):
            raise InvalidRequest(
                f"planes of {self.width} x {self.height} are uint8 [{size}]; got {self.data.dtype} "
                f"{list(self.data.shape)}."
            )


@dataclass(frozen=True)
class Packet:
    """A frame as H.264, one access unit in the byte stream format (ITU-T H.264, Annex B).

    Packets are sent in the order of decoding, and the server decodes them. Frames come back in the order in which they
    are shown, some packets later; all of them have come back by the end of the stream.
    """

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes) or not self.data:
            raise InvalidRequest(
                f"a packet is bytes, one at least; got {self.data!r:.40}. For a packet of PyAV give bytes(packet)."
            )


FrameLike = ImageLike | np.ndarray | Planes | Packet
"""An encoded image (bytes or a path), RGB pixels as uint8 [H, W, 3], `Planes`, or a `Packet` of H.264."""


class EnhanceKeywords(TypedDict, total=False):
    """The fields of `Options`, for type checkers and editors."""

    do: Do | None
    mode: Mode | None
    scale: Scale | float | None
    size: tuple[int, int] | None
    strength: float | None
    bitrate: float | None
    fps: float | None
    matrix: Matrix | None
    range: Range | None
    format: Format | None
    quality: int | None
    policy: Policy | None
    backlog: int | None
    idle: float | None


@dataclass(frozen=True)
class Options:
    """The options of `enhance`. An option that is None is not sent, and the server's default, in brackets, holds.

    do:       "artefacts" removes the artefacts of coding, "upscale" enlarges, "both" does one after the other; in mode
              "auto" both may be done by the one network for lossy input, if that is best at the bitrate ("artefacts").
    mode:     which networks do it. "weak" and "clean" are for good input, "strong" and "lossy" for coarse input. "auto"
              chooses by resolution and bitrate, and leaves artefacts alone in good images ("auto"). The server measures
              the bitrate of encoded images and packets itself, as a rolling mean, and follows its changes; see
              `Enhanced.switched`.
    scale:    1, 4/3, 3/2, 2, 3 or 4 (2 for "upscale" and "both"); or
    size:     (width, height) of the answer in pixels, up to 4 times as large. Not both of the two.
    strength: 0..1; 0 leaves a frame as it was, or enlarges it by bicubic interpolation (1).
    bitrate:  bits per second of the video that the frames come from, for mode "auto", as H.264 spends them: give twice
              the bits of H.265, VP9 or AV1. Needs fps.
    fps:      frames per second of that video. Needs bitrate.
    matrix:   of YUV, "bt601" or "bt709" (chosen by height, as players do).
    range:    of YUV, "limited" or "full" ("limited").
    format:   of the answer, "png", "jpeg", "rgb" or "yuv420" (the form of the input; PNG for encoded images).
    quality:  of JPEG, 1..100 (92).
    policy:   if frames come faster than they are enhanced, "wait" lets them wait, and "drop" drops those that have
              waited longest ("wait").
    backlog:  with "drop", how many frames may wait (4).
    idle:     seconds until the server forgets a stream that sends nothing, 1..3600 (60).
    """

    do: Do | None = None
    mode: Mode | None = None
    scale: Scale | float | None = None
    size: tuple[int, int] | None = None
    strength: float | None = None
    bitrate: float | None = None
    fps: float | None = None
    matrix: Matrix | None = None
    range: Range | None = None
    format: Format | None = None
    quality: int | None = None
    policy: Policy | None = None
    backlog: int | None = None
    idle: float | None = None

    def __post_init__(self) -> None:
        options.choices(self, do=DO, mode=MODES, matrix=MATRICES, range=RANGES, format=FORMATS, policy=POLICIES)
        options.numbers_in(self, strength=(0, 1), bitrate=_ANY, fps=_ANY, idle=(1, 3600))
        options.wholes(self, quality=(1, 100), backlog=(0, 128))
        if self.scale is not None and self.size is not None:
            raise InvalidRequest("Give scale or size, not both.")
        if isinstance(self.scale, str):
            if self.scale not in SCALES:
                raise InvalidRequest(
                    f"scale must be one of {', '.join(SCALES)}; got {self.scale!r}. For any other scale give size."
                )
        elif self.scale is not None:
            options.number("scale", self.scale)
        if self.size is not None:
            if isinstance(self.size, str | bytes) or not isinstance(self.size, Sequence) or len(self.size) != 2:
                raise InvalidRequest(f"size must be (width, height); got {self.size!r:.80}.")
            object.__setattr__(self, "size", tuple(options.whole("A side of size", side, 1) for side in self.size))
        if (self.bitrate is None) != (self.fps is None):
            raise InvalidRequest("bitrate and fps go together; got one of them.")

    @classmethod
    def of(cls, **given: Unpack[EnhanceKeywords]) -> Options:
        """Make the options from keywords. Raises InvalidRequest for a keyword that is no option."""
        options.known(MODEL, [field.name for field in fields(cls)], given, _OWN)
        return cls(**given)

    def as_json(self) -> dict[str, Any]:
        """Return the options that are sent, by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def request(
    frames: Sequence[FrameLike],
    *,
    stream: str | None = None,
    first: int = 0,
    times: Sequence[float | None] | None = None,
    last: bool | None = None,
    **given: Unpack[EnhanceKeywords],
) -> Call:
    """Return the call for some frames of a stream. All must be of one kind; pixels and planes also of one size.

    stream: name of the stream; None if these frames are a stream of their own.
    first:  number of the first of these frames in the stream.
    times:  one number per frame, which comes back unchanged with the frame.
    last:   True if the stream ends with these frames.
    given:  the fields of `Options`.
    """
    own = {"stream": stream, "first": first or None, "times": None if times is None else list(times), "last": last}
    return _call(frames, own, Options.of(**given))


def _call(frames: Sequence[FrameLike], own: dict[str, Any], chosen: Options) -> Call:
    """Return the call. own: further fields of its OPTIONS; a field that is None is not sent."""
    sent = {name: value for name, value in own.items() if value is not None} | chosen.as_json()
    kinds = {_kind(frame) for frame in frames}
    if len(kinds) > 1:
        raise InvalidRequest(f"frames of one request must be of one kind and size; got {len(kinds)} of them.")
    if not kinds:
        raise InvalidRequest("frames must hold at least one frame; got none.")
    one = frames[0]
    if isinstance(one, Planes):
        sent |= {"width": one.width, "height": one.height}
        inputs = {"PLANES": np.stack([frame.data for frame in frames if isinstance(frame, Planes)])[:, None]}
    elif isinstance(one, np.ndarray):
        inputs = {"RGB": np.stack([frame for frame in frames if isinstance(frame, np.ndarray)])}
    elif isinstance(one, Packet):
        inputs = {"PACKETS": strings(frame.data for frame in frames if isinstance(frame, Packet))}
    else:
        inputs = {"IMAGES": strings(encoded(frame) for frame in frames)}  # type: ignore[arg-type]  # all are of one kind
    return Call(MODEL, {"OPTIONS": json_tensor(sent), **inputs}, _OUTPUTS)


def pieces(
    frames: Iterable[FrameLike],
    *,
    times: Iterable[float | None] | None,
    stream: str | None,
    first: int,
    batch: int,
    **given: Unpack[EnhanceKeywords],
) -> Iterator[Call]:
    """Yield the calls of a stream; frames are drawn when their call is.

    batch: the most frames of one call. The other arguments are those of `request`; stream None gets a name of its own.
    Raises InvalidRequest for wrong options before anything is drawn.
    """
    chosen = Options.of(**given)
    if isinstance(frames, str | bytes | bytearray | memoryview) or not isinstance(frames, Iterable):
        raise InvalidRequest(f"`{MODEL}` needs a list of frames, or an iterator; got {frames!r:.80}. Put it in a list.")
    if isinstance(frames, np.ndarray) and frames.ndim != 4:
        raise InvalidRequest(f"pixels of many frames are uint8 [n, H, W, 3]; got {frames.dtype} {list(frames.shape)}.")
    if times is not None and (isinstance(times, str) or not isinstance(times, Iterable)):
        raise InvalidRequest(f"times must be a list of numbers, one per frame; got {times!r:.80}.")
    if stream is not None and (not isinstance(stream, str) or not stream):
        raise InvalidRequest(f"stream must be a name; got {stream!r:.80}.")
    most, number = options.whole("batch", batch, 1), options.whole("first", first, 0)
    return _pieces(frames, times, stream or uuid.uuid4().hex, number, most, chosen)


def _pieces(
    frames: Iterable[FrameLike],
    times: Iterable[float | None] | None,
    stream: str,
    number: int,
    batch: int,
    chosen: Options,
) -> Iterator[Call]:
    ended = object()
    stamped = zip(frames, itertools.chain(() if times is None else times, itertools.repeat(ended)), strict=False)
    waiting: list[tuple[FrameLike, Any]] = []

    def piece(last: bool) -> Call:
        stamps = None if times is None else [stamp for _, stamp in waiting]
        own = {"stream": stream, "first": number or None, "times": stamps, "last": last}
        return _call([frame for frame, _ in waiting], own, chosen)

    for place, (frame, stamp) in enumerate(stamped):
        if stamp is ended and times is not None:
            raise InvalidRequest(f"times must be one per frame; got {place} times and more frames.")
        full = len(waiting) >= batch or sum(_bytes(one) for one, _ in waiting) + _bytes(frame) > _PIECE_BYTES
        if waiting and (full or _kind(frame) != _kind(waiting[0][0])):
            yield piece(last=False)
            number += len(waiting)
            waiting = []
        waiting.append((frame, stamp))
    if waiting:
        yield piece(last=True)


def _kind(frame: FrameLike) -> tuple[Any, ...]:
    """Return what all frames of one request must have in common: their kind and, of pixels and planes, the size."""
    if isinstance(frame, Planes):
        return "planes", frame.width, frame.height
    if isinstance(frame, np.ndarray):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise InvalidRequest(f"pixels are uint8 [H, W, 3]; got {frame.dtype} {list(frame.shape)}.")
        return "pixels", *frame.shape
    if isinstance(frame, Packet):
        return ("packets",)
    return ("encoded",)


def _bytes(frame: FrameLike) -> int:
    """Return the bytes that a frame takes in a request; an encoded image counts as 1 MiB, since it is not read yet."""
    if isinstance(frame, Packet):
        return len(frame.data)
    data = frame.data if isinstance(frame, Planes) else frame
    return data.nbytes if isinstance(data, np.ndarray) else 1 << 20
