"""The events of a `sample` stream, in the order in which they come: progress and previews, results of parts of the
request as they are finished, and one end."""

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
    """done: 0..1, share of the work of the whole request. step, steps: of the images that are worked on now."""

    done: float
    step: int
    steps: int


@dataclass(frozen=True)
class Preview:
    """How some images are expected to become, as far as one can tell after `step` of `steps`.

    index:  which images of the request, from 0. images: as JPEG, one each.
    """

    done: float
    step: int
    steps: int
    index: tuple[int, ...]
    images: tuple[bytes, ...] = field(repr=False)

    def pil(self) -> list[Image.Image]:
        return [opened(data) for data in self.images]

    def array(self) -> np.ndarray:
        """uint8 [n, S, S], or [n, S, S, 3] in colour."""
        return np.stack([np.asarray(image) for image in self.pil()])


@dataclass(frozen=True)
class Result:
    """Some images that are finished; `encode`: latents.

    index:   which of the request, from 0.
    images:  as PNG, one each, b"" where `errors` says why; empty when tensors were asked for.
    tensors: float32 [n, C, S, S], rows of NaN where `errors` says why; None when PNG was asked for.
    errors:  one each; None: it is well.
    """

    done: float
    step: int
    steps: int
    index: tuple[int, ...]
    images: tuple[bytes, ...] = field(repr=False)
    tensors: np.ndarray | None = field(repr=False)
    errors: tuple[str | None, ...]

    def pil(self) -> list[Image.Image | None]:
        """None where there is no image."""
        if self.tensors is not None:
            return [
                None if error else Image.fromarray(pixels)
                for pixels, error in zip(pixels_of(self.tensors), self.errors, strict=True)
            ]
        return [opened(data) if data else None for data in self.images]

    def array(self) -> np.ndarray:
        """uint8 [n, S, S], or [n, S, S, 3] in colour; zeros where there is no image."""
        return stacked(self.pil())


@dataclass(frozen=True)
class End:
    """What the whole request was.

    images, failed: how many. nfe: network evaluations an image. calls: network calls an image, one after the other.
    seconds: at the server. model: such as "digits". task: sample, encode or interpolate.
    more:    what this server says besides, such as the networks that it asked.
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
    """Turns the answers of one stream into events, and sees to it that it has one end, and that last."""

    def __init__(self) -> None:
        self._ended = False

    def event(self, tensors: Tensors) -> Event:
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
        """Call it when the stream has ended. Raises ServerFailed when the server stopped before its end."""
        if not self._ended:
            raise ServerFailed(f"The stream of `{MODEL}` ended before the request was finished.")


_OF_END = ("kind", "images", "failed", "nfe", "calls", "seconds", "model", "task", "solver", "done", "step", "steps")


def _bytes(array: np.ndarray) -> tuple[bytes, ...]:
    return tuple(bytes(data) for data in array)


def opened(data: bytes) -> Image.Image:
    """The picture, decoded. Raises UnexpectedAnswer when it is none."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image
    except (OSError, ValueError, SyntaxError):
        raise UnexpectedAnswer(f"`{MODEL}` should answer PNG or JPEG; got {data[:8]!r}.") from None


def pixels_of(tensors: np.ndarray) -> np.ndarray:
    """uint8 [n, S, S] or [n, S, S, 3] of images [n, 1 or 3, S, S] of about -1..1."""
    with np.errstate(invalid="ignore"):  # rows of NaN have no pixels
        pixels = np.nan_to_num((tensors + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return pixels[:, 0] if pixels.shape[1] == 1 else np.ascontiguousarray(np.moveaxis(pixels, 1, -1))


def stacked(images: Sequence[Image.Image | None]) -> np.ndarray:
    """uint8 [n, ...]; zeros where there is no image."""
    arrays = [None if image is None else np.asarray(image) for image in images]
    blank = next((np.zeros_like(array) for array in arrays if array is not None), np.zeros((0, 0), np.uint8))
    return np.stack([blank if array is None else array for array in arrays]) if arrays else blank[None][:0]
