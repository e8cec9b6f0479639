"""The answer of `compare`: how well each image agrees with each text.

found = sluice.compare(["a.jpg", "b.jpg"], texts=["a road", "a dog"])
found.similarity            [2, 2], cosines
found.probabilities[0]      probability of each text, if the first image is about exactly one of them
found.ranking(0)            the texts for it, best first
found.best("a road")        the images for this text, best first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidRequest
from .detect import number
from .words import NOTHING, Words

__all__ = ["Compared", "Likeness"]


class Likeness(NamedTuple):
    """One image and one text.

    id: of the image. similarity: cosine, -1..1. probability: of this text among all texts, 0..1.
    """

    id: str
    text: str
    similarity: float
    probability: float


@dataclass(frozen=True, eq=False)
class Compared:
    """The answer of `compare`; n images, T texts, in the order in which they were given.

    ids:           of the frames, or the paths of the images, or their places in the list.
    texts:         as they were given.
    similarity:    [n, T] float32, cosines -1..1; a row of NaN for an image with an error.
    probabilities: [n, T] float32, the softmax of scale * similarity over the texts, so that each row sums to 1; a row
                   of NaN for an image with an error.
    errors:        one entry per image: why it could not be compared, or None if it was.
    image_embeddings, text_embeddings: [n, E] and [T, E] float32 of unit length; None unless asked for.
    scale:         the factor of the cosines in the softmax.
    model:         the network, "image_grouper/1/<12 hex digits>".
    truncated:     the texts whose end the network did not read, because they were too long.
    words:         which texts the network does not know, and which it cannot tell apart.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    similarity: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    errors: tuple[str | None, ...]
    image_embeddings: np.ndarray | None = field(default=None, repr=False)
    text_embeddings: np.ndarray | None = field(default=None, repr=False)
    scale: float = 0.0
    model: str = ""
    truncated: tuple[str, ...] = ()
    words: Words = NOTHING

    def __len__(self) -> int:
        return len(self.ids)

    def ranking(self, image: int | str) -> list[Likeness]:
        """Return the texts for one image, best first; none where the image could not be compared.

        image: its place or its id. Raises InvalidRequest for an image that is not in this answer.
        """
        row = self._place(image, self.ids, "images")
        if self.errors[row] is not None:
            return []
        return self._sorted([(row, column) for column in range(len(self.texts))])

    def best(self, text: int | str) -> list[Likeness]:
        """Return the images for one text, best first, without those that could not be compared.

        text: the text or its place. Raises InvalidRequest for a text that is not in this answer.
        """
        column = self._place(text, self.texts, "texts")
        return self._sorted([(row, column) for row, error in enumerate(self.errors) if error is None])

    def _sorted(self, places: Sequence[tuple[int, int]]) -> list[Likeness]:
        best = sorted(places, key=lambda place: (-self.similarity[place], place))
        return [
            Likeness(self.ids[row], self.texts[column], *(float(part[row, column]) for part in self._parts))
            for row, column in best
        ]

    @property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.similarity, self.probabilities

    def _place(self, wanted: int | str, among: Sequence[str], what: str) -> int:
        if isinstance(wanted, str) and wanted in among:
            return among.index(wanted)
        if isinstance(wanted, int) and -len(among) <= wanted < len(among):
            return range(len(among))[wanted]
        raise InvalidRequest(f"{wanted!r:.80} is none of the {len(among)} {what} of this answer.")

    def as_json(self) -> list[dict[str, Any]]:
        """Return one object per image."""
        return [
            {
                "id": id,
                "texts": {
                    text: {
                        "similarity": number(float(self.similarity[row, column])),
                        "probability": number(float(self.probabilities[row, column])),
                    }
                    for column, text in enumerate(self.texts)
                },
                "embedding": None
                if self.image_embeddings is None or self.errors[row] is not None
                else self.image_embeddings[row].tolist(),
                "model": self.model,
                "error": self.errors[row],
                "words": self.words.as_json(),
            }
            for row, id in enumerate(self.ids)
        ]
