"""The commands that verbs send to the models `frame_gallery` and `gallery_search`, one function each.

The fields and tensors of every command are those of the two models' config.pbtxt; nothing else in the server writes a
command by hand. Each function raises the Refusal that the model answered with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sluice.images import Geometry
from sluice.methods.matching.templates import Templates
from sluice.methods.mixtures.summaries import Detections
from sluice.wire import picks
from sluice.wire.calls import Call, Tensors, json_strings, strings

TEMPLATES = ("TEMPLATES", "TEMPLATE_ROI", "ROI_QUERY", "ROI_CELLS", "ROI_SHAPE")
FOUND = ("IDS", "SCORES", "QUERY", "ROI_SCORES", "TEXT_SCORES", "LOCATIONS", "HEATMAPS", "HEATMAP_QUERY",
         "QUERY_HEATMAPS", "FRAMES", "MODEL", "SEARCHED")  # fmt: skip


# ------------------------------------------------------------------------------------------------ frame_gallery


async def known(call: Call, sha256: Sequence[str], frames: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
    """Ask which images are stored already.

    sha256: digest of each image, 64 hexadecimal digits. frames: what the caller says of each, fields of `Frame`.
    Returns per image its `id` and what `differs` from the stored frame, or None if it is not stored.
    """
    found: list[dict[str, Any] | None] = await _told(call, {"op": "known", "sha256": [*sha256], "frames": [*frames]})
    return found


async def add(
    call: Call,
    frames: Sequence[Mapping[str, Any]],
    encoded: Sequence[bytes],
    features: np.ndarray,
    geometries: Sequence[Geometry],
    detector: tuple[str, Sequence[str]] | None = None,
    found: Sequence[Detections] = (),
    embeddings: Mapping[int, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Store n frames whose feature maps have one shape; return the receipt of each.

    frames: fields of `Frame`. encoded: bytes of each image. features: float16 [n, h, w, C], unit length per cell.
    detector: version and class names of the detector that gave `found`, or None if the frames are stored unscored.
    found: the detections of each frame. embeddings: place of a frame to its float32 [E], unit
    length; frames that are left out are stored without.
    """
    command: dict[str, Any] = {"op": "add", "frames": [*frames]}
    tensors = {
        "ENCODED": strings(encoded),
        "FEATURES": features,
        "GEOMETRY": np.stack([geometry.as_array() for geometry in geometries]),
    }
    if detector is not None:
        command |= {"detector": detector[0], "labels": [*detector[1]]}
        tensors |= _rows(found)
    if embeddings:
        command["embedded"] = [*embeddings]
        tensors["EMBEDDINGS"] = np.stack([*embeddings.values()])
    receipts: list[dict[str, Any]] = await _told(call, command, tensors)
    return receipts


async def image(call: Call, id_: str) -> bytes:
    """Return the bytes of one stored image. Frames are asked for one by one, so that an unknown id fails alone.

    Raises NotFound for an id that is not stored.
    """
    command = {"op": "get", "ids": [id_], "images": True}
    answer = await call("frame_gallery", {"COMMAND": json_strings([command])}, ["ENCODED"])
    return bytes(answer["ENCODED"][0])


async def features(call: Call, id_: str) -> tuple[np.ndarray, Geometry]:
    """Return the feature map of a stored frame, float16 [h, w, C], unit length per cell, and its geometry.

    Raises NotFound for an id that is not stored.
    """
    command = {"op": "features", "id": id_}
    answer = await call("frame_gallery", {"COMMAND": json_strings([command])}, ["FEATURES", "GEOMETRY"])
    return np.array(answer["FEATURES"]), Geometry.from_array(answer["GEOMETRY"])


async def keep_scores(
    call: Call, ids: Sequence[str], detector: str, labels: Sequence[str], found: Sequence[Detections]
) -> None:
    """Have the gallery keep what a detector found in stored frames, for `select`, except frames deleted meanwhile.

    detector, labels: version and class names of the detector. found: the detections of each frame.
    """
    command = {"op": "score", "ids": [*ids], "detector": detector, "labels": [*labels]}
    await _told(call, command, _rows(found))


async def keep_embeddings(call: Call, ids: Sequence[str], vectors: np.ndarray, embedder: str) -> None:
    """Have the gallery keep embeddings of stored frames, for `retrieve`, except of frames deleted meanwhile.

    vectors: float32 [n, E], unit length. embedder: version of the network that made them.
    """
    await _told(call, {"op": "embed", "ids": [*ids], "embedder": embedder}, {"EMBEDDINGS": vectors})


async def model(call: Call) -> np.ndarray:
    """Return the version of the feature model, as the tensor MODEL: one string."""
    answer = await call("frame_gallery", {"COMMAND": json_strings([{"op": "model"}])}, ["MODEL"])
    return answer["MODEL"]


# ----------------------------------------------------------------------------------------------- gallery_search


async def search(
    call: Call, options: Mapping[str, Any], templates: Templates | None = None, words: np.ndarray | None = None
) -> Tensors:
    """Rank stored frames by templates, by words or by both; return tensors as in `ensembles/retrieve/config.pbtxt`.

    options: fields of `Search`, and with words `embedder`, the version of the network that they are compared with.
    words: float32 [n, E], unit length.
    """
    tensors: Tensors = {} if words is None else {"WORDS": words}
    if templates is not None:
        rows = templates.rows, templates.roi, templates.query
        shapes = np.asarray(templates.cells, np.int32), np.asarray(templates.shape, np.int32)
        tensors |= dict(zip(TEMPLATES, (*rows, *shapes), strict=True))
    command = json_strings([{"op": "search", **options}])
    return await call("gallery_search", {"COMMAND": command, **tensors}, FOUND)


async def select(call: Call, options: Mapping[str, Any]) -> Tensors:
    """Select stored frames for labelling; return tensors as in `ensembles/select/config.pbtxt`.

    options: fields of `selection.options.Options`.
    """
    return await call("gallery_search", {"COMMAND": json_strings([{"op": "select", **options}])}, picks.OUTPUTS)


# ------------------------------------------------------------------------------------------------ their parts


async def _told(call: Call, command: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None) -> Any:
    """Send a command to `frame_gallery`; return its ANSWER, parsed."""
    answer = await call("frame_gallery", {"COMMAND": json_strings([command]), **(tensors or {})}, ["ANSWER"])
    return json.loads(answer["ANSWER"][0])


def _rows(found: Sequence[Detections]) -> dict[str, np.ndarray]:
    """Return the detections of n frames as the tensors DETECTIONS [m, 16] and, per frame, COUNTS and FAINT [n]."""
    none = Detections.none().as_array()
    return {
        "DETECTIONS": np.concatenate([none, *(one.as_array() for one in found)]),
        "COUNTS": np.array([len(one) for one in found], np.int32),
        "FAINT": np.array([one.faint for one in found], np.float32),
    }
