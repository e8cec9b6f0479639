"""What `segment` answers: for every pixel of an image which of the caller's classes it shows.

    for one in found:
        one.mask                                 uint8 [H, W]: place of the class in `classes`, 255 is background
        one.of("road")                           bool [H, W]
        one.overlay("photo.jpg").save("o.jpg")   the picture with colours and a legend

Masks have the size of the image after its EXIF orientation.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

from ..drawing import overlays, palette, run_lengths
from ..errors import InvalidRequest, UnexpectedAnswer
from ..query import ImageLike, encoded
from .detect import number
from .words import NOTHING, Words

__all__ = ["MOST_IN_8_BITS", "Segmentation", "Segmented", "Share"]

MOST_IN_8_BITS = 254  # classes; with more, masks are uint16 and the background is 65535


class Share(NamedTuple):
    """What an image shows of one class.

    place: among the classes. area: share of the pixels, 0..1. score: how much the image as a whole looks like it,
    0..1; over all classes they sum to 1.
    """

    name: str
    place: int
    area: float
    score: float


@dataclass(frozen=True)
class Segmentation:
    """What one image shows.

    id:      of the frame, or the path of the image, or its place in the list.
    classes: the names that were asked for.
    scores:  one a class, as of `Share`. areas: one a class; what is missing to 1 is background.
    data:    the mask as it came: a PNG, or run lengths as JSON; b"" when `error` is set.
    width, height: pixels of the image; None where `error` is set.
    groups_png, confidence_png: where they were asked for, else b"".
    grouping: where groups were asked for: windows, groups (of a window), classes (of each, -1 background), scores.
    model:   the network, "image_grouper/1/<12 hex digits>".
    error:   why nothing could be said, else None.
    words:   which of the names the network does not know, and which are one to it.
    """

    id: str
    classes: tuple[str, ...] = field(repr=False)
    scores: tuple[float, ...] = field(default=(), repr=False)
    areas: tuple[float, ...] = field(default=(), repr=False)
    data: bytes = field(default=b"", repr=False)
    width: int | None = None
    height: int | None = None
    groups_png: bytes = field(default=b"", repr=False)
    confidence_png: bytes = field(default=b"", repr=False)
    grouping: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)
    model: str = ""
    error: str | None = None
    words: Words = field(default=NOTHING, repr=False)

    @property
    def background(self) -> int:
        """The mask's value where none of the classes is."""
        return 255 if len(self.classes) <= MOST_IN_8_BITS else 65535

    @property
    def mask(self) -> np.ndarray:
        """[H, W] uint8, uint16 beyond 254 classes. Decoded on each use. Raises InvalidRequest when there is none."""
        if not self.data:
            raise InvalidRequest(f"{self.id} has no mask: {self.error}.")
        kind = np.uint8 if len(self.classes) <= MOST_IN_8_BITS else np.uint16
        if self.data.startswith(b"\x89PNG"):
            return _pixels(self.data).astype(kind)
        if self.width is None or self.height is None:
            raise InvalidRequest(f"The size of {self.id} is not known; give width and height.")
        mask = np.full((self.height, self.width), self.background, kind)
        for one in json.loads(self.data):
            mask[run_lengths.decode(one["size"], one["counts"])] = one["class"]
        return mask

    @property
    def groups(self) -> np.ndarray | None:
        """[H, W], the group of each pixel, numbered through all windows; None unless asked for."""
        return _pixels(self.groups_png) if self.groups_png else None

    @property
    def confidence(self) -> np.ndarray | None:
        """[H, W] uint8: the confidence of each pixel's best class, 0..255 for 0..1; None unless asked for."""
        return _pixels(self.confidence_png) if self.confidence_png else None

    def shares(self) -> list[Share]:
        """The classes that occur, the largest first."""
        found = [
            Share(name, i, area, score)
            for i, (name, area, score) in enumerate(zip(self.classes, self.areas, self.scores, strict=False))
            if area > 0
        ]
        return sorted(found, key=lambda one: (-one.area, one.place))

    def of(self, name: str) -> np.ndarray:
        """bool [H, W]: where this class is. Raises InvalidRequest for a name that was not asked for."""
        if name not in self.classes:
            raise InvalidRequest(f"The classes are {', '.join(self.classes)}, not {name!r}.")
        return self.mask == self.classes.index(name)

    def rle(self) -> dict[int, dict[str, Any]]:
        """The mask of every class that occurs as COCO's run lengths: place of the class -> {"size", "counts"}."""
        if self.data and not self.data.startswith(b"\x89PNG"):
            return {one["class"]: {"size": one["size"], "counts": one["counts"]} for one in json.loads(self.data)}
        mask = self.mask
        return {int(i): run_lengths.encode(mask == i) for i in np.unique(mask) if i != self.background}

    def png(self) -> bytes:
        """The mask as PNG whose pixels are the places of the classes, with a palette, so that viewers show colours.

        The names stand in the file as its text "classes", JSON. Beyond 254 classes: 16 bits a pixel, without a palette.
        """
        about = PngImagePlugin.PngInfo()
        about.add_itxt("classes", json.dumps(self.classes, ensure_ascii=False))
        image = Image.fromarray(self.mask)
        if image.mode == "L":
            colours = np.zeros((256, 3), np.uint8)
            colours[: len(self.classes)] = palette.table(len(self.classes))[:-1]
            image = Image.fromarray(self.mask, "P")
            image.putpalette(colours.tobytes())
        file = io.BytesIO()
        image.save(file, "PNG", pnginfo=about, optimize=True)
        return file.getvalue()

    def overlay(self, image: ImageLike, *, strength: float = 0.5, legend: bool = True) -> Image.Image:
        """The picture under the colours of its classes.

        image:    the one that was segmented, encoded or a path. strength: of the colours, 0..1.
        legend:   below the picture the names of the classes that occur, with their share; then it is not of the
                  picture's size.
        """
        return overlays.overlay(encoded(image), self.mask, self.shares(), strength=strength, legend=legend)

    def as_json(self) -> dict[str, Any]:
        """With the masks as run lengths."""
        return {
            "id": self.id,
            "width": self.width,
            "height": self.height,
            "classes": [
                {"name": name, "score": number(score), "area": number(area)}
                for name, score, area in zip(self.classes, self.scores, self.areas, strict=False)
            ],
            "segments": [{"class": i, **one} for i, one in self.rle().items()] if self.data else [],
            "grouping": self.grouping,
            "model": self.model,
            "error": self.error,
            "words": self.words.as_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Segmentation:
        """What `as_json` made. Raises InvalidRequest when this is something else."""
        try:
            error, rows = value.get("error"), value["classes"]
            segments: list[dict[str, Any]] = [
                {"class": int(one["class"]), "size": list(one["size"]), "counts": str(one["counts"])}
                for one in value["segments"]
            ]
            if any(not 0 <= one["class"] < len(rows) for one in segments):
                raise ValueError("a segment of no class")
            names = tuple(str(one["name"]) for one in rows)
            size = [None, None] if error is not None else [int(value[name]) for name in ("width", "height")]
            return cls(
                id=str(value["id"]),
                classes=names,
                scores=tuple(math.nan if one["score"] is None else float(one["score"]) for one in rows),
                areas=tuple(math.nan if one["area"] is None else float(one["area"]) for one in rows),
                data=b"" if error is not None else json.dumps(segments).encode(),
                width=size[0],
                height=size[1],
                grouping=value.get("grouping"),
                model=value.get("model") or "",
                error=error,
                words=Words.from_json(value.get("words") or {}, names),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(
                f"This is no line of `sluice segment --json`: {type(error).__name__} {error}."
            ) from None


@dataclass(frozen=True)
class Segmented:
    """The answer of `segment`: one entry an image, in the order in which the images were given.

    classes:   the names that were asked for. model: as of `Segmentation`.
    truncated: the names whose end the network did not read, because they were too long.
    words:     which of the names the network does not know, and which are one to it.
    notes:     what the server says besides: templates, rule, top, background, window as understood, text_encoder.
    """

    images: tuple[Segmentation, ...]
    classes: tuple[str, ...] = ()
    model: str = ""
    truncated: tuple[str, ...] = ()
    words: Words = NOTHING
    notes: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, images: Sequence[Segmentation]) -> Segmented:
        """Images that were segmented one by one. Raises InvalidRequest where they have not the same classes."""
        classes = images[0].classes if images else ()
        for one in images:
            if one.classes != classes:
                raise InvalidRequest(
                    f"{one.id} was asked for other classes than {images[0].id}: {', '.join(one.classes)[:80]}; "
                    "show them apart.",
                )
        told = next((one for one in images if one.model), None)
        return cls(tuple(images), classes, told.model if told else "", words=told.words if told else NOTHING)

    def __iter__(self) -> Iterator[Segmentation]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def shares(self) -> list[Share]:
        """The classes that occur in all images together, the largest first; areas and scores are means over them."""
        good = [one for one in self.images if one.error is None]
        means = [(_mean(one.areas[i] for one in good), _mean(one.scores[i] for one in good)) for i in self._places()]
        found = [Share(self.classes[i], i, *means[i]) for i in self._places() if means[i][0] > 0]
        return sorted(found, key=lambda one: (-one.area, one.place))

    def _places(self) -> Sequence[int]:
        return range(len(self.classes))


def _mean(values: Iterator[float]) -> float:
    rows = list(values)
    return sum(rows) / len(rows) if rows else 0.0


def _pixels(png: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image)
    except OSError:
        raise UnexpectedAnswer(f"`segment` should answer PNG; got {png[:12]!r}.") from None
