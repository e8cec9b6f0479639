"""The verb `segment`: pictures and class names in, for every pixel the class that it shows.

The names become vectors once (`sluice.models.text_embedder`), each picture becomes groups of pixels with a vector each
(`image_grouper`), and the official or the plain rule makes a mask of both (`sluice.methods.grouping.masks`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import Refusal
from sluice.methods import grouping
from sluice.methods.grouping.masks import Segmentation
from sluice.methods.grouping.run_lengths import runs
from sluice.models import text_embedder
from sluice.models.image_grouper import Grouper
from sluice.process import decoding
from sluice.wire import pictures
from sluice.wire import segment as segmentation_request
from sluice.wire.calls import Call, Tensors, json_strings, strings
from sluice.wire.segment import Config, Request

__all__ = ["Config", "indices", "segment"]

MOST_IN_8_BITS = 254  # classes; 255 is the background


@dataclass(frozen=True)
class Segmented:
    """The answer about one picture. size: H, W; None where there is no mask. mask, groups, confidence: encoded.
    presence, areas: [C]. found: about the groups, None where they are not wanted."""

    size: list[int] | None
    mask: bytes
    groups: bytes
    confidence: bytes
    presence: np.ndarray
    areas: np.ndarray
    found: dict[str, Any] | None


async def segment(call: Call, inputs: Any, config: Config) -> Tensors:
    """What each pixel of each picture shows; tensors as in `ensembles/segment/config.pbtxt`.

    A picture that cannot be read, or an id that is not stored, has no mask, NaN for scores and areas, and its reason in
    ERRORS; the others are answered.
    Raises InvalidArgument for a request that is wrong as a whole, before anything is asked of a network.
    """
    request = segmentation_request.read(inputs, config)
    pictures.asked(inputs, config)
    check = inputs.check_cancelled
    words = await text_embedder.embed(
        call, request.names, request.options.templates, check, "class name", request.allow_unknown
    )
    grouper = Grouper(call, config.in_flight, check)

    async def one(data: bytes) -> Segmented:
        windows, plan = await decoding.run(pictures.read, data, config, request.plan)
        grouped = await grouper.groups(windows)
        found = grouping.segment(grouped, words.vectors, words.scale, plan, request.options)
        return encoded(found, request, grouped.groups.shape[1])

    answers = await pictures.answered(call, inputs, config, one)
    unknown = np.full(len(request.names), np.nan, np.float32)
    nothing = Segmented(None, b"", b"", b"", unknown, unknown, None)
    rows = [nothing if isinstance(one, Refusal) else one for one in answers]
    notes = {
        **segmentation_request.facts(request),
        **words.notes(),
        "text_encoder": words.encoder,
        "sizes": [row.size for row in rows],
        **({"groups": [row.found for row in rows]} if request.groups else {}),
    }
    return {
        "MASKS": strings(row.mask for row in rows),
        "SCORES": np.stack([row.presence for row in rows]),
        "AREAS": np.stack([row.areas for row in rows]),
        "GROUPS": strings(row.groups for row in rows),
        "CONFIDENCE": strings(row.confidence for row in rows),
        "ERRORS": strings(str(one) if isinstance(one, Refusal) else "" for one in answers),
        "NOTES": json_strings([notes]),
        "MODEL": strings([words.grouper]),
    }


def encoded(found: Segmentation, request: Request, groups: int) -> Segmented:
    """A segmentation as it crosses the wire. groups: G, of each window."""
    count = len(request.names)
    pixels = indices(found.labels, count)
    if request.format == "rle":
        masks = [{"class": label - 1, **run} for label, run in runs(found.labels).items() if label]
        mask = json.dumps(masks).encode()
    else:
        mask = images.png(pixels)
    about = None
    if request.groups:
        labels = found.group_labels.astype(int) - 1
        about = {
            "windows": len(labels) // groups,
            "groups": groups,
            "classes": labels.tolist(),
            "scores": [round(float(score), 4) for score in found.group_scores],
        }
    kind: type = np.uint8 if len(found.group_labels) <= 256 else np.uint16
    return Segmented(
        list(found.labels.shape),
        mask,
        images.png(found.group_map.astype(kind)) if request.groups else b"",
        images.png(np.rint(found.confidence * 255).astype(np.uint8)) if request.confidence else b"",
        found.presence,
        (found.pixels[1:] / found.labels.size).astype(np.float32),
        about,
    )


def indices(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels with background 0 -> each pixel's index of its class, and the type's greatest number for background.

    Returns [H, W] uint8 where 254 classes suffice, else uint16.
    """
    kind: type = np.uint8 if classes <= MOST_IN_8_BITS else np.uint16
    moved: np.ndarray = labels.astype(kind)
    moved -= 1  # 0 becomes the greatest
    return moved
