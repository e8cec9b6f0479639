"""The verb `ingest`: each new frame gets features and is stored, with a detector's scores and an embedding if wanted.

A frame that the detector fails on is stored unscored, and the gallery's command `unscored` lists it for later; likewise
`unembedded` lists frames without an embedding. Features are required, because no search would find a frame without.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import Cancelled, InvalidArgument, Refusal, Unavailable
from sluice.frames import Frame
from sluice.images import Geometry
from sluice.methods.mixtures.summaries import Detections
from sluice.models import feature_extractor, frame_view, image_grouper, object_detector
from sluice.options import text
from sluice.process import decoding
from sluice.wire import stored_frames
from sluice.wire.calls import Call, Tensors, check_count, each, json_object, json_strings, strings
from sluice.wire.ingest import Config

passes = frame_view.passes

FOUND = (*object_detector.FOUND, "ERRORS", "LABELS", "MODEL")


@dataclass(frozen=True)
class Seen:
    """The detections of one frame. labels, version: of the detector."""

    found: Detections
    labels: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class View:
    """A frame that can be stored.

    features: float16 [h, w, C], unit length per cell.
    seen: the detections; None if no detector is named, or if it failed, and then `unseen` says why.
    embedding: float32 [E], unit length; None if none is wanted, or if it failed, and then `unembedded` says why.
    """

    features: np.ndarray
    geometry: Geometry
    seen: Seen | None
    unseen: str | None = None
    embedding: np.ndarray | None = None
    unembedded: str | None = None


async def ingest(call: Call, inputs: Any, config: Config, shown: str | None = None) -> Tensors:
    """Store frames, each on its own; tensors as in `ensembles/ingest/config.pbtxt`.

    shown: the detector's canvases where one pass gives all (`sluice.models.frame_view`); None for separate passes.

    A receipt says whether its frame is stored (scored or not), known or refused, and why. A receipt `stored` is written
    after the frame is on the disk. Known frames are not looked at again and stay as they were; `differs` lists what the
    request says otherwise of them.
    Raises InvalidArgument for a request that is wrong as a whole.
    """
    json_object(inputs, known=("encoding",))  # which `sluice.triton` has taken out
    batch = [bytes(data) for data in inputs["IMAGES"].reshape(-1)]
    frames = list(inputs["FRAMES"].reshape(-1))
    if len(frames) != len(batch):
        raise InvalidArgument(f"one FRAMES entry per image is needed: {len(batch)} images, {len(frames)} entries")
    check_count("frames", len(batch), config.max_images)
    receipts: list[dict[str, Any]] = []
    for data, frame in zip(batch, frames, strict=True):
        receipts.append({"status": None, "sha256": hashlib.sha256(data).hexdigest(), **_frame(frame)})
    open_ = [i for i, receipt in enumerate(receipts) if not receipt.get("error")]
    sha256, fields = ([receipts[i][key] for i in open_] for key in ("sha256", "frame"))
    for i, stored in zip(open_, await stored_frames.known(call, sha256, fields), strict=True):
        if stored is not None:
            receipts[i].update(status="known", **stored)
    open_ = [i for i in open_ if receipts[i]["status"] is None]

    async def one(i: int) -> View | Refusal:
        return await view(call, batch[i], config, shown)

    groups: dict[Any, list[tuple[int, View]]] = {}
    for i, seen in zip(open_, await each(open_, one, config.in_flight, inputs.check_cancelled), strict=True):
        if isinstance(seen, Refusal):
            receipts[i]["error"] = str(seen)
        else:
            receipts[i] |= {"unscored": seen.unseen, "unembedded": seen.unembedded}
            who = (seen.seen.version, seen.seen.labels) if seen.seen else None
            groups.setdefault((seen.features.shape, who), []).append((i, seen))
    for group in groups.values():
        await _add(call, group, batch, receipts)
    return {"RECEIPTS": json_strings([_receipt(receipt) for receipt in receipts])}


async def view(call: Call, data: bytes, config: Config, shown: str | None = None) -> View | Refusal:
    """Ask all networks about one encoded image; return the Refusal if it is no image.

    shown: as of `ingest`.
    Raises what the image is not at fault for, such as a full queue, but only if the features fail.
    """
    if shown is not None:
        try:
            canvas, geometry = await decoding.run(images.read, data, config)
        except InvalidArgument as refusal:
            return refusal
        try:
            features, found, labels, version, vector = await frame_view.look(call, canvas, geometry, shown)
            if np.isfinite(vector).all():
                return View(features, geometry, Seen(found, labels, version), embedding=vector)
        except Cancelled:
            raise
        except Refusal:
            pass  # one of the three cannot be used or asked; separate passes tell which, and keep the others
    return await separate(call, data, config)


async def separate(call: Call, data: bytes, config: Config) -> View | Refusal:
    """Ask each network by itself about one encoded image, all at the same time. Returns and raises as `view`."""
    looking = _look(call, data, config.detector) if config.detector else _nothing()
    sketching = image_grouper.embed(call, data, config.sketch()) if config.embeddings else _nothing()
    embedded, seen, vector = await asyncio.gather(
        feature_extractor.embed(call, data, config), looking, sketching, return_exceptions=True
    )
    if isinstance(embedded, InvalidArgument):
        return embedded
    if isinstance(embedded, BaseException):
        raise embedded
    features, geometry = embedded
    unseen, unembedded = _why(seen, config.detector), _why(vector, image_grouper.GROUPER)
    seen, vector = (None if isinstance(one, BaseException) else one for one in (seen, vector))
    return View(features, geometry, seen, unseen, vector, unembedded)


def _why(answer: Any, model: str) -> str | None:
    """Return why a model gave no answer; None if it gave one. answer: the answer, or what was raised."""
    if not isinstance(answer, BaseException):
        return None
    # What is no refusal may speak of the server's insides.
    return str(answer) if isinstance(answer, Refusal) else f"{model} failed; the server's log says why"


async def _look(call: Call, data: bytes, detector: str) -> Seen:
    """Ask the detector about one encoded image. Raises InvalidArgument with the reason that the detector gives."""
    answer = await call(detector, {"IMAGES": strings([data])}, FOUND)
    error = text(answer["ERRORS"][0])
    if error:
        raise InvalidArgument(error)
    found = object_detector.detections_in(answer)
    return Seen(found, tuple(map(text, answer["LABELS"])), text(answer["MODEL"][0]))


async def _nothing() -> None:
    """Stand in for a network that is not asked."""


async def _add(call: Call, group: list[tuple[int, View]], batch: list[bytes], receipts: list[dict[str, Any]]) -> None:
    """Store frames of one shape and one detector, and write the gallery's answers into their receipts.

    group: place of each frame in the request, and its view.
    """
    seen = [view.seen for _, view in group if view.seen is not None]
    try:
        added = await stored_frames.add(
            call,
            [receipts[i]["frame"] for i, _ in group],
            [batch[i] for i, _ in group],
            np.stack([view.features for _, view in group]),
            [view.geometry for _, view in group],
            (seen[0].version, seen[0].labels) if seen else None,
            [one.found for one in seen],
            {place: view.embedding for place, (_, view) in enumerate(group) if view.embedding is not None},
        )
    except Cancelled:
        raise
    except Unavailable as refusal:  # nothing of this group is acknowledged; the other groups keep their receipts
        for i, _ in group:
            receipts[i].update(error=str(refusal), retry=True)
        return
    for (i, _), receipt in zip(group, added, strict=True):
        receipts[i].update({key: value for key, value in receipt.items() if value is not None})


def _frame(given: Any) -> dict[str, Any]:
    """Read an entry of FRAMES as {"frame": fields, "id": the caller's}, or {"error": what is wrong with it}."""
    try:
        frame = Frame.from_json(text(given) or "{}")
    except InvalidArgument as error:
        return {"error": str(error)}
    return {"frame": asdict(frame), "id": frame.id}


def _receipt(receipt: dict[str, Any]) -> dict[str, Any]:
    """Return the receipt of a frame as the caller gets it, from what was noted about the frame."""
    status = receipt["status"] or "refused"
    row = {"status": status, **{key: receipt.get(key) for key in ("id", "sha256", "error", "remedy")}}
    if status == "stored":
        row |= {"scored": bool(receipt.get("scored")), "unscored": receipt.get("unscored")}
        row |= {"embedded": bool(receipt.get("embedded")), "unembedded": receipt.get("unembedded")}
    if receipt.get("differs"):
        row["differs"] = receipt["differs"]
    return {**row, "retry": True} if receipt.get("retry") else row
