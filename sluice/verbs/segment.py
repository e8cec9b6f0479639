"""The verb `segment`: images and class names in, per pixel the class that it shows.

The names become vectors once per request (`sluice.models.text_embedder`). Each image becomes groups of pixels with a
vector per group (`sluice.models.image_grouper`), and the official or the plain rule makes a mask of both
(`sluice.methods.grouping.masks`).
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
from sluice.wire.calls import Call, Tensors, json_strings, strings
from sluice.wire.segment import Config, Request, facts, read

__all__ = ["Config", "indices", "segment"]

MOST_IN_8_BITS = 254  # classes; 255 is the background


@dataclass(frozen=True)
class Segmented:
    """The answer about one image.

    size: [H, W], or None if the image has no mask. mask, groups, confidence: encoded maps, empty if not wanted.
    presence, areas: [C]. found: facts about the groups, or None if they are not wanted.
    """

    size: list[int] | None
    mask: bytes
    groups: bytes
    confidence: bytes
    presence: np.ndarray
    areas: np.ndarray
    found: dict[str, Any] | None


async def segment(call: Call, inputs: Any, config: Config) -> Tensors:
    """Label every pixel of every image; tensors as in `ensembles/segment/config.pbtxt`.

    An image that cannot be read, or an id that is not stored, has no mask, NaN for scores and areas, and its reason in
    ERRORS; the others are answered.
    Raises InvalidArgument for a request that is wrong as a whole, before anything is asked of a network.
    """
    request = read(inputs, config)
    asked, check = pictures.asked(inputs, config), inputs.check_cancelled
    words = await text_embedder.embed(
        call, request.names, request.options.templates, check, "class name", request.answer.allow_unknown, distinct=True
    )
    grouper = Grouper(call, config.in_flight, check)

    async def one(data: bytes) -> Segmented:
        windows, plan = await decoding.run(pictures.read, data, config, request.plan)
        grouped = await grouper.groups(windows)
        found = grouping.segment(grouped, words.vectors, words.scale, plan, request.options)
        return encoded(found, request, grouped.groups.shape[1])

    answers = await pictures.answered(call, asked, config, check, one)
    unknown = np.full(len(request.names), np.nan, np.float32)
    nothing = Segmented(None, b"", b"", b"", unknown, unknown, None)
    rows = [nothing if isinstance(one, Refusal) else one for one in answers]
    notes = {
        **facts(request),
        **words.notes(),
        "text_encoder": words.encoder,
        "sizes": [row.size for row in rows],
        **({"groups": [row.found for row in rows]} if request.answer.groups else {}),
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
    """Encode a segmentation as it crosses the wire. groups: G, the groups of each window."""
    count, wanted = len(request.names), request.answer
    pixels = indices(found.labels, count)
    if wanted.format == "rle":
        masks = [{"class": label - 1, **run} for label, run in runs(found.labels).items() if label]
        mask = json.dumps(masks).encode()
    else:
        mask = images.png(pixels)
    about = None
    if wanted.groups:
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
        images.png(found.group_map.astype(kind)) if wanted.groups else b"",
        images.png(np.rint(found.confidence * 255).astype(np.uint8)) if wanted.confidence else b"",
        found.presence,
        (found.pixels[1:] / found.labels.size).astype(np.float32),
        about,
    )


def indices(labels: np.ndarray, classes: int) -> np.ndarray:
    """Turn labels, 0 for background and k for class k - 1, into indices of classes.

    Returns [H, W], uint8 up to 254 classes and uint16 beyond; background is the type's greatest number.
    """
    kind: type = np.uint8 if classes <= MOST_IN_8_BITS else np.uint16
    moved: np.ndarray = labels.astype(kind)
    moved -= 1  # 0 becomes the greatest
    return moved
