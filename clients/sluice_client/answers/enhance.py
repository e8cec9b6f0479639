"""The answer of `enhance`: the frames of a stream with what was done to each, and the ends of requests."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ServerFailed, UnexpectedAnswer
from ..tensors import Tensors, from_json, take, texts

__all__ = ["MODEL", "Begun", "Ended", "Enhanced", "Reader"]

MODEL = "enhance"


@dataclass(frozen=True)
class Enhanced:
    """A frame of the stream: enhanced, dropped, or one that could not be read.

    number:   its place in the stream. time: as it was given.
    image:    the encoded frame, where png or jpeg was asked for; else None.
    pixels:   uint8 [H, W, 3], where rgb was asked for; else None.
    planes:   uint8 [H W + 2 ceil(H/2) ceil(W/2)], Y', Cb and Cr, where yuv420 was asked for; else None.
    done:     the networks that the frame went through, and "area" where it was scaled down.
    seconds:  how long the server worked on the frame.
    matrix, range: what the numbers of `planes` mean; None without planes.
    bits:     bits per coded frame on average, by which mode auto chose the networks; None if they are not known, or in
              another mode.
    provisional: True while no whole group of pictures has been seen, so that `bits` may still change.
    switched: True if mode auto chose other networks than for the previous frame.
    notes:    one sentence per part of an encoded image that was ignored or left out.
    dropped:  True if the server had no time for the frame.
    error:    why the frame could not be enhanced, or None if it was.
    """

    number: int
    time: float | None = None
    width: int = 0
    height: int = 0
    image: bytes | None = field(default=None, repr=False)
    pixels: np.ndarray | None = field(default=None, repr=False)
    planes: np.ndarray | None = field(default=None, repr=False)
    done: tuple[str, ...] = ()
    seconds: float = 0.0
    matrix: str | None = None
    range: str | None = None
    bits: float | None = None
    provisional: bool = False
    switched: bool = False
    dropped: bool = False
    error: str | None = None
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether the frame was enhanced."""
        return not self.dropped and self.error is None

    @property
    def repaired(self) -> bool:
        """Tell whether artefacts of coding were removed, which the upscaler for lossy input does as well."""
        return any(name.startswith(("artifact_remover", "frame_upscaler_lossy")) for name in self.done)

    def array(self) -> np.ndarray:
        """Return the frame as uint8 [H, W, 3], RGB.

        Raises ValueError for planes and for a frame that was not enhanced.
        """
        if self.pixels is not None:
            return self.pixels
        if self.image is None:
            why = self.error or ("it was dropped" if self.dropped else "it is planes")
            raise ValueError(f"Frame {self.number} has no pixels: {why}.")
        try:
            return np.asarray(Image.open(io.BytesIO(self.image)).convert("RGB"))
        except (OSError, SyntaxError):
            raise UnexpectedAnswer(f"`{MODEL}` should answer PNG or JPEG; got {self.image[:8]!r}.") from None

    def pil(self) -> Image.Image:
        """Return the frame as an RGB image of Pillow. Raises as `array` does."""
        return Image.fromarray(self.array())


@dataclass(frozen=True)
class Begun:
    """The server has given the frames of a request their numbers.

    stream: its name, or None for a request without one. new: True if the server did not know the stream.
    next:   the least number that a following frame may have.
    """

    stream: str | None
    new: bool
    next: int


@dataclass(frozen=True)
class Ended:
    """A request is finished.

    frames, failed: how many frames were answered, and how many of them failed. dropped: numbers of dropped frames.
    next: the least number that a following frame may have. seconds: how long the server worked on the request.
    """

    frames: int
    dropped: tuple[int, ...]
    failed: int
    next: int
    seconds: float


class Reader:
    """Turns the answers of one request into events, and checks that there is one end, and that it comes last."""

    def __init__(self) -> None:
        self._ended = False

    def event(self, tensors: Tensors) -> Begun | Enhanced | Ended:
        """Read one event. Raises UnexpectedAnswer for anything that is not an event which this client knows."""
        told = from_json(MODEL, texts(take(tensors, MODEL, "EVENT", 1))[0])
        if self._ended:
            raise UnexpectedAnswer(f"`{MODEL}` should say nothing after its end; got {told!r:.80}.")
        try:
            return self._event(told, tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise UnexpectedAnswer(
                f"`{MODEL}` should answer an event; got {told!r:.120} ({type(error).__name__} {error})."
            ) from None

    def _event(self, told: dict[str, Any], tensors: Tensors) -> Begun | Enhanced | Ended:
        kind = told["kind"]
        if kind == "begun":
            return Begun(told["stream"], bool(told["new"]), int(told["next"]))
        if kind == "end":
            self._ended = True
            dropped = tuple(int(number) for number in told["dropped"])
            return Ended(int(told["frames"]), dropped, int(told["failed"]), int(told["next"]), float(told["seconds"]))
        if kind not in ("frame", "dropped", "failed"):
            raise ValueError("an unknown kind")
        place = int(told["number"]), told["time"]
        if kind == "dropped":
            return Enhanced(*place, dropped=True)
        if kind == "failed":
            return Enhanced(*place, error=str(told["error"]))
        width, height = int(told["width"]), int(told["height"])
        size = height * width + 2 * -(-height // 2) * -(-width // 2)
        return Enhanced(
            *place,
            width,
            height,
            bytes(take(tensors, MODEL, "IMAGE", 1)[0]) if "IMAGE" in tensors else None,
            take(tensors, MODEL, "RGB", height, width, 3) if "RGB" in tensors else None,
            take(tensors, MODEL, "PLANES", size) if "PLANES" in tensors else None,
            tuple(str(one) for one in told["done"]),
            float(told["seconds"]),
            told.get("matrix"),
            told.get("range"),
            None if told.get("bits") is None else float(told["bits"]),
            bool(told.get("provisional", False)),
            bool(told.get("switched", False)),
            notes=tuple(str(note) for note in told.get("notes", ())),
        )

    def finish(self) -> None:
        """Check, when the stream has ended, that its end came. Raises ServerFailed when the server stopped before."""
        if not self._ended:
            raise ServerFailed(f"A request of `{MODEL}` ended before its frames were finished.")
