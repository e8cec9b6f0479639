"""The answer of `detect`: objects with four uncertainties each.

The four uncertainties always stand in this order: location aleatoric, location epistemic, class aleatoric, class
epistemic. Aleatoric uncertainty (blur, distance, occlusion) would remain with more labels, epistemic would shrink.
Boxes are in pixels of the caller's images, x right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import InvalidRequest
from ..frames import Box, Frame

__all__ = ["TYPES", "Detected", "Detections", "Object", "Uncertainties"]


class Uncertainties(NamedTuple):
    """Four numbers of an object, of an image (the maxima over its objects), or their z-scores.

    They are variances: of the location in the space of SSD's box offsets (in units of the prior's size, scaled by 0.1
    and 0.2), of the class aleatoric in logits (0..1), of the class epistemic in probability (0..1/4). NaN stands for a
    type for which the detector has no head.
    """

    location_aleatoric: float
    location_epistemic: float
    class_aleatoric: float
    class_epistemic: float

    def as_json(self) -> dict[str, float | None]:
        """Return type -> number, None for NaN."""
        return {name: number(value) for name, value in zip(TYPES, self, strict=True)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Uncertainties:
        """Read what `as_json` wrote; missing numbers become NaN."""
        return cls(*(float_of((value or {}).get(name)) for name in TYPES))


TYPES = Uncertainties._fields


def number(value: float) -> float | None:
    """Return the number, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def float_of(value: float | None) -> float:
    """Return the number, or NaN for None."""
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Object:
    """An object that was detected.

    class_id: place of the label among the detector's labels; -1 if it is not known.
    score:    0..1.
    box_aleatoric, box_epistemic: variances of cx, cy, w, h, as of `Uncertainties`.
    class_aleatoric, class_epistemic: variances, as of `Uncertainties`.
    """

    label: str
    class_id: int
    score: float
    box: Box
    box_aleatoric: tuple[float, ...]
    box_epistemic: tuple[float, ...]
    class_aleatoric: float
    class_epistemic: float

    @property
    def uncertainties(self) -> Uncertainties:
        """Return the four numbers; those of the location are the largest over cx, cy, w, h."""
        return Uncertainties(
            max(self.box_aleatoric), max(self.box_epistemic), self.class_aleatoric, self.class_epistemic
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "class_id": self.class_id,
            "score": self.score,
            "box": list(self.box),
            **self.uncertainties.as_json(),
            "box_aleatoric": [number(value) for value in self.box_aleatoric],
            "box_epistemic": [number(value) for value in self.box_epistemic],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Object:
        """Read what `as_json` wrote. Raises KeyError, TypeError or ValueError when `value` is something else."""
        return cls(
            label=str(value["label"]),
            class_id=int(value["class_id"]),
            score=float(value["score"]),
            box=Box(*map(float, value["box"])),
            box_aleatoric=_four(value["box_aleatoric"]),
            box_epistemic=_four(value["box_epistemic"]),
            class_aleatoric=float_of(value["class_aleatoric"]),
            class_epistemic=float_of(value["class_epistemic"]),
        )

    @classmethod
    def from_stored(cls, value: Mapping[str, Any]) -> Object:
        """Read an object as the gallery keeps it. Raises KeyError, TypeError or ValueError for anything else."""
        places, kinds = value["box_uncertainties"], value["class_uncertainties"]
        return cls(
            label=str(value["label"]),
            class_id=-1,
            score=float(value["score"]),
            box=Box(*map(float, value["box"])),
            box_aleatoric=_four(places[:4]),
            box_epistemic=_four(places[4:]),
            class_aleatoric=float_of(kinds[0]),
            class_epistemic=float_of(kinds[1]),
        )


def _four(values: Sequence[float | None]) -> tuple[float, ...]:
    """Read four numbers, None as NaN. Raises ValueError when there are not four."""
    if len(values) != 4:
        raise ValueError(f"four numbers for cx, cy, w, h were expected; got {list(values)}")
    return tuple(float_of(value) for value in values)


@dataclass(frozen=True)
class Detections:
    """The objects detected in one image.

    id:      of the frame, or the path of the image, or its place in the list.
    objects: best score first.
    summary: maxima, counts and moments of the image, as `select` takes them; None when `error` is set.
    model:   the detector, its version and its weights, "mixture_detector/1/<12 hex digits>".
    width, height: pixels of the image; None if they are not known.
    frame:   what the gallery knows about the frame; None unless the gallery was asked.
    error:   why the image could not be examined, or None if it was.
    """

    id: str
    objects: tuple[Object, ...] = ()
    summary: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)
    model: str = ""
    width: int | None = None
    height: int | None = None
    frame: Frame | None = None
    error: str | None = None

    def __iter__(self) -> Iterator[Object]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the types of uncertainty that the detector does not give, as the server says; they are NaN."""
        given = (self.summary or {}).get("uncertainties")
        return () if given is None else tuple(name for name in TYPES if name not in given)

    @property
    def maxima(self) -> Uncertainties | None:
        """Return the largest of each uncertainty over the objects that reach `object_score`; None when none does."""
        maxima = (self.summary or {}).get("maxima")
        return None if maxima is None else Uncertainties.from_json(maxima)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "objects": [one.as_json() for one in self.objects],
            "summary": self.summary,
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "frame": None if self.frame is None else self.frame.as_json(),
            "error": self.error,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Detections:
        """Read what `as_json` wrote; every key but `id` may be missing. Raises InvalidRequest for anything else."""
        try:
            frame = value.get("frame")
            return cls(
                id=value["id"],
                objects=tuple(Object.from_json(one) for one in value.get("objects") or ()),
                summary=value.get("summary"),
                model=value.get("model") or "",
                width=value.get("width"),
                height=value.get("height"),
                frame=None if frame is None else Frame.from_json(frame),
                error=value.get("error"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidRequest(
                f"This is no line of `sluice detect --to jsonl`: {type(error).__name__} {error}."
            ) from None


@dataclass(frozen=True)
class Detected:
    """The answer of `detect`: one entry per image, in the order in which the images were given.

    labels: the names of the detector's classes. model: as of `Detections`.
    """

    images: tuple[Detections, ...]
    labels: tuple[str, ...] = ()
    model: str = ""

    def __iter__(self) -> Iterator[Detections]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)
