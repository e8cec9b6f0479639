"""The events of a `sample` stream: progress, previews, results as parts of the request are finished, and one end."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ServerFailed, UnexpectedAnswer
from ..tensors import Tensors, from_json, take, texts

__all__ = ["MODEL", "End", "Event", "OnEvent", "Preview", "Progress", "Reader", "Result"]

MODEL = "sample"


@dataclass(frozen=True)
class Progress:
    """The progress of the work.

    done: share of the work of the whole request, 0..1. step, steps: of the images that are generated now.
    """

    done: float
    step: int
    steps: int


@dataclass(frozen=True)
class Preview:
    """Some images as the network expects them after `step` of `steps`.

    done:   as of `Progress`. index: places of the images in the request, from 0. images: one JPEG per image.
    """

    done: float
    step: int
    steps: int
    index: tuple[int, ...]
    images: tuple[bytes, ...] = field(repr=False)

    def pil(self) -> list[Image.Image]:
        """Return the previews as images of Pillow."""
        return [opened(data) for data in self.images]

    def array(self) -> np.ndarray:
        """Return the previews as uint8 [n, S, S], or [n, S, S, 3] in colour."""
        return np.stack([np.asarray(image) for image in self.pil()])


@dataclass(frozen=True)
class Result:
    """Some images that are finished; for `encode`, their latents.

    done, step, steps: as of `Progress`.
    index:   places of the images in the request, from 0.
    images:  one PNG per image, b"" for an image with an error; () when tensors were asked for.
    tensors: float32 [n, C, S, S], a row of NaN for an image with an error; None when PNG was asked for.
    errors:  one entry per image: why it failed, or None if it succeeded.
    """

    done: float
    step: int
    steps: int
    index: tuple[int, ...]
    images: tuple[bytes, ...] = field(repr=False)
    tensors: np.ndarray | None = field(repr=False)
    errors: tuple[str | None, ...]

    def pil(self) -> list[Image.Image | None]:
        """Return the images as grey or RGB images of Pillow, None for an image with an error."""
        if self.tensors is not None:
            return [
                None if error else Image.fromarray(pixels)
                for pixels, error in zip(pixels_of(self.tensors), self.errors, strict=True)
            ]
        return [opened(data) if data else None for data in self.images]

    def array(self) -> np.ndarray:
        """Return uint8 [n, S, S], or [n, S, S, 3] in colour; zeros for an image with an error."""
        return stacked(self.pil())


@dataclass(frozen=True)
class End:
    """The summary of a request, which ends its stream.

    images, failed: how many images there were, and how many of them failed.
    nfe:     network evaluations per image. calls: network calls per image that had to follow each other.
    seconds: how long the server worked on the request.
    model:   such as "digits". task: "sample", "encode" or "interpolate". solver: its name.
    more:    whatever else the server reports, such as the networks that it asked.
    """

    images: int
    failed: int
    nfe: int
    calls: int
    seconds: float
    model: str
    task: str
    solver: str
    more: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


Event = Progress | Preview | Result | End
OnEvent = Callable[[Event], None]


class Reader:
    """Turns the answers of one stream into events, and checks that there is one end, and that it comes last."""

    def __init__(self) -> None:
        self._ended = False

    def event(self, tensors: Tensors) -> Event:
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

    def _event(self, told: dict[str, Any], tensors: Tensors) -> Event:
        kind = told["kind"]
        if kind == "end":
            self._ended = True
            return End(
                images=int(told["images"]),
                failed=int(told["failed"]),
                nfe=int(told["nfe"]),
                calls=int(told["calls"]),
                seconds=float(told["seconds"]),
                model=str(told["model"]),
                task=str(told["task"]),
                solver=str(told["solver"]),
                more={name: value for name, value in told.items() if name not in _OF_END},
            )
        place = float(told["done"]), int(told["step"]), int(told["steps"])
        if kind == "progress":
            return Progress(*place)
        index = tuple(take(tensors, MODEL, "INDEX", None).tolist())
        if kind == "preview":
            return Preview(*place, index, _bytes(take(tensors, MODEL, "IMAGES", len(index))))
        if kind != "result":
            raise ValueError("an unknown kind")
        errors = tuple(text or None for text in texts(take(tensors, MODEL, "ERRORS", len(index))))
        if "TENSORS" in tensors:
            arrays = take(tensors, MODEL, "TENSORS", len(index), None, None, None)
            return Result(*place, index, (), arrays, errors)
        return Result(*place, index, _bytes(take(tensors, MODEL, "IMAGES", len(index))), None, errors)

    def finish(self) -> None:
        """Check, when the stream has ended, that its end came. Raises ServerFailed when the server stopped before."""
        if not self._ended:
            raise ServerFailed(f"The stream of `{MODEL}` ended before the request was finished.")


_OF_END = ("kind", "images", "failed", "nfe", "calls", "seconds", "model", "task", "solver", "done", "step", "steps")


def _bytes(array: np.ndarray) -> tuple[bytes, ...]:
    return tuple(bytes(data) for data in array)


def opened(data: bytes) -> Image.Image:
    """Decode an image. Raises UnexpectedAnswer when that fails."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image
    except (OSError, ValueError, SyntaxError):
        raise UnexpectedAnswer(f"`{MODEL}` should answer PNG or JPEG; got {data[:8]!r}.") from None


def pixels_of(tensors: np.ndarray) -> np.ndarray:
    """Convert images [n, 1 or 3, S, S], about -1..1, to uint8 [n, S, S] or [n, S, S, 3]."""
    with np.errstate(invalid="ignore"):  # rows of NaN become zeros
        pixels = np.nan_to_num((tensors + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return pixels[:, 0] if pixels.shape[1] == 1 else np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


def stacked(images: Sequence[Image.Image | None]) -> np.ndarray:
    """Stack images as uint8 [n, ...]; None becomes zeros."""
    arrays = [None if image is None else np.asarray(image) for image in images]
    blank = next((np.zeros_like(array) for array in arrays if array is not None), np.zeros((0, 0), np.uint8))
    return np.stack([blank if array is None else array for array in arrays]) if arrays else blank[None][:0]
