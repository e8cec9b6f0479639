"""Writes detections as tasks of Label Studio, so that people correct boxes instead of drawing them.

Boxes are in percent of the image. The `data` of a task holds the address of the image, and values by which Label
Studio's data manager can order the tasks. The `meta` of a box holds its four uncertainties, which Label Studio shows
beside the box.
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

# Names in the labelling configuration; `configuration` writes one that has them.
FROM_NAME, TO_NAME, DATA = "label", "image", "image"


def tasks(
    images: Iterable[Detections], address: str = "{id}", picks: Mapping[str, Pick] | None = None
) -> list[dict[str, Any]]:
    """Return one task per image, in their order; images that failed are left out.

    address: where Label Studio finds an image; {id} stands for the id or path of the image, and is added to an address
             that ends with /. The id is percent-encoded where a browser reads the address, that is with http, https,
             file or no scheme. It stays as it is in a store (s3://, gs://), and where the address is {id} alone.
    picks:   the picks of `select` by id; their rank, score and reason go into the data of the tasks. None for tasks
             without these.

    Raises InvalidRequest when the size of an image is not known, or when `address` has no {id}.
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
    """Percent-encode an id; bytes of a file name that are not UTF-8 are kept."""
    return quote(id, errors="surrogateescape")


def _region(one: Detections, place: int, found: Object) -> dict[str, Any]:
    """Return the box of one object, the `place`-th of its image."""
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
    """Return the labelling configuration, XML, that these tasks need."""
    rows = "".join(f'    <Label value="{escape(label)}"/>\n' for label in labels)
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="${DATA}"/>\n'
        f'  <RectangleLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{rows}  </RectangleLabels>\n</View>\n'
    )
