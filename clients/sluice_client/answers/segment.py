"""The answer of `segment`: for every pixel of an image, the class that it shows.

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
    """The part of an image that shows one class.

    place: place of the class among the classes, from 0.
    area:  share of the pixels, 0..1.
    score: how much the image as a whole looks like the class, 0..1; the scores of all classes sum to 1.
    """

    name: str
    place: int
    area: float
    score: float


@dataclass(frozen=True)
class Segmentation:
    """The classes in one image.

    id:      of the frame, or the path of the image, or its place in the list.
    classes: the names that were asked for.
    scores:  one per class, as of `Share`.
    areas:   one per class, as of `Share`; the rest of 1 is background.
    data:    the mask as the server sent it, a PNG or run lengths as JSON; b"" when `error` is set.
    width, height: pixels of the image; None when `error` is set.
    groups_png, confidence_png: PNGs of `groups` and `confidence`; b"" unless asked for.
    grouping: how many windows there are, how many groups a window has, and for each group its class (-1 for background)
             and its score; None unless groups were asked for.
    model:   the network, "image_grouper/1/<12 hex digits>".
    error:   why the image could not be segmented, or None if it was.
    words:   which names the network does not know, and which it cannot tell apart.
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
        """Return the value of the mask where the image shows none of the classes."""
        return 255 if len(self.classes) <= MOST_IN_8_BITS else 65535

    @property
    def mask(self) -> np.ndarray:
        """Decode the mask, [H, W] uint8, or uint16 with more than 254 classes; on each use anew.

        Raises InvalidRequest when there is no mask, or its size is not known.
        """
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
        """Return the group of each pixel, [H, W], numbered through all windows; None unless asked for."""
        return _pixels(self.groups_png) if self.groups_png else None

    @property
    def confidence(self) -> np.ndarray | None:
        """Return the confidence of each pixel's best class, [H, W] uint8, 0..255 for 0..1; None unless asked for."""
        return _pixels(self.confidence_png) if self.confidence_png else None

    def shares(self) -> list[Share]:
        """Return the classes that occur, the largest first."""
        found = [
            Share(name, i, area, score)
            for i, (name, area, score) in enumerate(zip(self.classes, self.areas, self.scores, strict=False))
            if area > 0
        ]
        return sorted(found, key=lambda one: (-one.area, one.place))

    def of(self, name: str) -> np.ndarray:
        """Return where this class is, bool [H, W]. Raises InvalidRequest for a name that was not asked for."""
        if name not in self.classes:
            raise InvalidRequest(f"The classes are {', '.join(self.classes)}, not {name!r}.")
        return self.mask == self.classes.index(name)

    def rle(self) -> dict[int, dict[str, Any]]:
        """Return the masks of the classes that occur, place of the class -> COCO's run lengths {"size", "counts"}."""
        if self.data and not self.data.startswith(b"\x89PNG"):
            return {one["class"]: {"size": one["size"], "counts": one["counts"]} for one in json.loads(self.data)}
        mask = self.mask
        return {int(i): run_lengths.encode(mask == i) for i in np.unique(mask) if i != self.background}

    def png(self) -> bytes:
        """Encode the mask as a PNG whose pixels are the places of the classes, with a palette for viewers.

        The text "classes" of the file holds the names, as JSON. With more than 254 classes the PNG has 16 bits per
        pixel and no palette.
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
        """Paint the classes over the image. Returns an RGB picture.

        image:    the image that was segmented, encoded or a path.
        strength: of the colours, 0 (the image alone) to 1 (the colours alone).
        legend:   True adds a legend below the image: the names of the classes that occur, with their shares.
        Raises InvalidRequest when the image cannot be decoded or has another size than the mask.
        """
        return overlays.overlay(encoded(image), self.mask, self.shares(), strength=strength, legend=legend)

    def as_json(self) -> dict[str, Any]:
        """Return the answer with its masks as run lengths; NaN becomes None."""
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
        """Read what `as_json` wrote. Raises InvalidRequest for anything else."""
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
    """The answer of `segment`: one entry per image, in the order in which the images were given.

    classes:   the names that were asked for. model: as of `Segmentation`.
    truncated: the names whose end the network did not read, because they were too long.
    words:     which names the network does not know, and which it cannot tell apart.
    notes:     the options as the server understood them (templates, rule, top, background, window), and text_encoder,
               the network that read the names.
    """

    images: tuple[Segmentation, ...]
    classes: tuple[str, ...] = ()
    model: str = ""
    truncated: tuple[str, ...] = ()
    words: Words = NOTHING
    notes: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def of(cls, images: Sequence[Segmentation]) -> Segmented:
        """Join images that were segmented one by one. Raises InvalidRequest when their classes differ."""
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
        """Return the classes that occur in any image, the largest first; areas and scores are means over the images."""
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
    """Decode a PNG. Raises UnexpectedAnswer when that fails."""
    try:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image)
    except OSError:
        raise UnexpectedAnswer(f"`segment` should answer PNG; got {png[:12]!r}.") from None
