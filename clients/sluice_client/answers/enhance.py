"""What `enhance` answers: the frames of a stream, each with what was done to it, and the ends of its requests."""

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
    """A frame of the stream, enhanced; or one that was dropped, or could not be read.

    number:  its place in the stream. time: as it was given.
    image:   encoded, where png or jpeg was asked for, else None. pixels: uint8 [H, W, 3] for rgb; planes: uint8
             [H W + 2 ceil(H/2) ceil(W/2)] for yuv420: Y', Cb, Cr.
    done:    the networks that it went through, and "area" where it was scaled down.
    seconds: that it took at the server. matrix, range: of planes.
    bits:    of a frame on average, by which mode auto chose the networks; None: not known, or another mode.
             provisional: no whole group of pictures has been seen yet, so that they may lie elsewhere.
    switched: mode auto chose other networks than for the frame before.
    notes:   what of an encoded picture was ignored or left out, a sentence each.
    dropped: the server had no time for it. error: why it could not be enhanced; None: it is well.
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
        """Whether there is a picture."""
        return not self.dropped and self.error is None

    @property
    def repaired(self) -> bool:
        """Whether what coding did was taken out, which the upscaler for lossy input does while it enlarges."""
        return any(name.startswith("artifact_remover") or name == "frame_upscaler_lossy" for name in self.done)

    def array(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB; for png, jpeg and rgb. Raises ValueError where there is no picture, or planes."""
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
        return Image.fromarray(self.array())


@dataclass(frozen=True)
class Begun:
    """The server has given the frames of a request their places. new: it had not heard of the stream."""

    stream: str | None
    new: bool
    next: int


@dataclass(frozen=True)
class Ended:
    """A request is finished. frames, failed: how many; dropped: numbers; next: the least number that may follow."""

    frames: int
    dropped: tuple[int, ...]
    failed: int
    next: int
    seconds: float


class Reader:
    """Turns the answers of one request into events, and sees to it that it has one end, and that last."""

    def __init__(self) -> None:
        self._ended = False

    def event(self, tensors: Tensors) -> Begun | Enhanced | Ended:
        """Raises UnexpectedAnswer for what is none of the events that this client knows."""
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
        """Call it when the stream has ended. Raises ServerFailed when the server stopped before its end."""
        if not self._ended:
            raise ServerFailed(f"A request of `{MODEL}` ended before its frames were finished.")
