"""The answers of `sample`, `encode` and `interpolate`, put together from the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..errors import UnexpectedAnswer
from .sample_events import MODEL, End, Event, Result

__all__ = ["Collector", "Latents", "Samples"]


@dataclass(frozen=True)
class Samples:
    """Images in the order of the request; for `interpolate`, first those of the first pair, then those of the second.

    images:  one PNG per image, b"" for an image with an error; () when tensors were asked for.
    tensors: float32 [n, C, S, S], about -1..1, a row of NaN for an image with an error; None when PNG was asked for.
    errors:  one entry per image: why it failed, or None if it succeeded.
    end:     the summary of the request, with network evaluations, seconds and model.
    rows:    the number of pairs for `interpolate`, otherwise 1.
    """

    images: tuple[bytes, ...] = field(repr=False)
    tensors: np.ndarray | None = field(repr=False)
    errors: tuple[str | None, ...]
    end: End
    rows: int = 1

    def __len__(self) -> int:
        return len(self.errors)

    def __iter__(self) -> Iterator[Image.Image | None]:
        return iter(self.pil())

    def pil(self) -> list[Image.Image | None]:
        """Return the images as grey or RGB images of Pillow, None for an image with an error."""
        return self._all().pil()

    def array(self) -> np.ndarray:
        """Return uint8 [n, S, S], or [n, S, S, 3] in colour; zeros for an image with an error."""
        return self._all().array()

    def _all(self) -> Result:
        return Result(1.0, 0, 0, tuple(range(len(self))), self.images, self.tensors, self.errors)


@dataclass(frozen=True)
class Latents:
    """Noise from which `sample(latents=...)` generates given images again.

    tensors: float32 [n, C, S, S], about normally distributed; a row of NaN for an image with an error.
    errors:  one entry per image: why it failed, or None if it succeeded.
    names:   one name per image: its path as given, or its place for other images.
    end:     as of `Samples`.
    """

    tensors: np.ndarray = field(repr=False)
    errors: tuple[str | None, ...]
    names: tuple[str, ...]
    end: End

    def __len__(self) -> int:
        return len(self.errors)

    def good(self) -> Latents:
        """Return the latents of the images without an error."""
        kept = [place for place, error in enumerate(self.errors) if error is None]
        return Latents(self.tensors[kept], (None,) * len(kept), tuple(self.names[place] for place in kept), self.end)


class Collector:
    """Collects the results of a stream and puts them into the order of the request."""

    def __init__(self) -> None:
        self._results: list[Result] = []
        self._end: End | None = None

    def add(self, event: Event) -> None:
        """Keep a result or the end; progress and previews are passed over."""
        if isinstance(event, Result):
            self._results.append(event)
        elif isinstance(event, End):
            self._end = event

    def result(self, count: int | None = None, missing: Sequence[int] = ()) -> tuple[Result, End]:
        """Return all results as one, and the end.

        count:   how many images there should be; None for as many as came.
        missing: places of images that the server was not asked for; they become rows of NaN.
        Raises UnexpectedAnswer when any other image is missing, or came twice.
        """
        index = [place for result in self._results for place in result.index]
        left_out = set(missing)
        wanted = [place for place in range(len(index) if count is None else count) if place not in left_out]
        if self._end is None or not index or sorted(index) != wanted:
            raise UnexpectedAnswer(f"`{MODEL}` should answer every image once; got those of {_short(sorted(index))}.")
        images = [image for result in self._results for image in result.images]
        arrays = [result.tensors for result in self._results if result.tensors is not None]
        errors = [error for result in self._results for error in result.errors]
        if len({array.shape[1:] for array in arrays}) > 1 or (arrays and images):
            raise UnexpectedAnswer(f"`{MODEL}` should answer images of one size and form; got several.")
        total = len(index) + len(missing)
        array = None
        if arrays:
            array = np.full((total, *arrays[0].shape[1:]), np.nan, np.float32)
            array[index] = np.concatenate(arrays)
        all_images = [b""] * total
        all_errors: list[str | None] = [None] * total
        for at, place in enumerate(index):
            all_errors[place] = errors[at]
            if images:
                all_images[place] = images[at]
        whole = Result(1.0, 0, 0, tuple(range(total)), tuple(all_images if images else ()), array, tuple(all_errors))
        return whole, self._end

    def samples(self, rows: int = 1) -> Samples:
        """Return the results as `Samples`. rows: the number of pairs of an interpolation, otherwise 1."""
        result, end = self.result()
        return Samples(result.images, result.tensors, result.errors, end, rows)


def _short(places: Sequence[int]) -> str:
    """Write the first places, and how many more there are."""
    return f"{list(places)}" if len(places) < 9 else f"{list(places[:8])} and {len(places) - 8} more"
