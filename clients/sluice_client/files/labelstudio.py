"""Detections as Label Studio's tasks with predictions: boxes to correct instead of boxes to draw.

Boxes are in percent of the image. Each task's `data` has the image's address and what helps to order the tasks in the
data manager; each box tells its four uncertainties under `meta`, which Label Studio shows beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from ..answers.detect import Detections, Object
from ..answers.select import Pick
from ..errors import InvalidRequest

__all__ = ["configuration", "tasks"]

# Of the labelling configuration; `configuration` writes one that has them.
FROM_NAME, TO_NAME, DATA = "label", "image", "image"


def tasks(
    images: Iterable[Detections], address: str = "{id}", picks: Mapping[str, Pick] | None = None
) -> list[dict[str, Any]]:
    """One task an image, in their order; images that failed are left out.

    address: where Label Studio finds the image; {id} stands for its id or path, which may also follow a / at the end.
             It is percent-encoded where a browser reads the address: with http, https, file or no scheme. Names in a
             store (s3://, gs://) stand as they are, and so does {id} alone.
    picks:   of `select`, by id: their place, score and reason go into the task's data.

    Raises InvalidRequest when the size of an image is not known, or `address` is no such template.
    """
    address += "{id}" if address.endswith("/") else ""
    if "{id}" not in address:
        raise InvalidRequest(f"The address of an image needs {{id}} in the place of its id; got {address!r}.")
    scheme = re.match(r"(\w[\w+.-]*)://", address)
    encoded = address != "{id}" and (scheme is None or scheme[1].lower() in ("http", "https", "file"))
    places = {id: place for place, id in enumerate(picks or (), 1)}
    made = []
    for one in images:
        if one.error is not None:
            continue
        data: dict[str, Any] = {DATA: address.replace("{id}", _quoted(one.id) if encoded else one.id), "id": one.id}
        if one.frame is not None and one.frame.drive:
            data["drive"] = one.frame.drive
        if one.maxima is not None:
            data |= one.maxima.as_json()
        if picks is not None and one.id in picks:
            pick = picks[one.id].as_json()
            data |= {"rank": places[one.id], "uncertainty": pick["score"], "reason": pick["reason"]}
        prediction: dict[str, Any] = {
            "model_version": one.model,
            "result": [_region(one, i, found) for i, found in enumerate(one)],
        }
        if one.objects:
            prediction["score"] = sum(found.score for found in one) / len(one)
        made.append({"data": data, "predictions": [prediction]})
    return made


def _quoted(id: str) -> str:
    return quote(id, errors="surrogateescape")


def _region(one: Detections, place: int, found: Object) -> dict[str, Any]:
    if one.width is None or one.height is None:
        raise InvalidRequest(f"The size of {one.id} is not known; give width and height.")
    x0, y0, x1, y1 = found.box
    four = found.uncertainties.as_json()
    told = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in four.items() if value is not None]
    return {
        "id": f"box{place}",
        "type": "rectanglelabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": one.width,
        "original_height": one.height,
        "image_rotation": 0,
        "value": {
            "x": 100 * x0 / one.width,
            "y": 100 * y0 / one.height,
            "width": 100 * (x1 - x0) / one.width,
            "height": 100 * (y1 - y0) / one.height,
            "rotation": 0,
            "rectanglelabels": [found.label],
        },
        "score": found.score,
        "meta": {"text": told, **four},
    }


def configuration(labels: Iterable[str]) -> str:
    """The labelling configuration that these tasks need."""
    rows = "".join(f'    <Label value="{escape(label)}"/>\n' for label in labels)
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="${DATA}"/>\n'
        f'  <RectangleLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{rows}  </RectangleLabels>\n</View>\n'
    )
