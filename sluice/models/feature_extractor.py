"""The model `feature_extractor`: encoded images to feature maps, and regions of them to templates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sluice import images
from sluice.contracts import configured
from sluice.errors import InvalidArgument, Refusal
from sluice.images import Geometry
from sluice.methods import matching
from sluice.methods.matching import regions
from sluice.methods.matching.templates import Templates
from sluice.options import text
from sluice.process import decoding
from sluice.versions import network_version, seen_version
from sluice.wire import ingest, query, stored_frames
from sluice.wire.calls import Call, each
from sluice.wire.query import Config

# ---------------------------------------------------------------------------------------------- images to features


async def embed(call: Call, data: bytes, config: images.Config) -> tuple[np.ndarray, Geometry]:
    """One encoded image -> its features, float16 [h, w, C], unit length per cell, and its geometry."""
    canvas, geometry = await decoding.run(images.read, data, config)
    answer = await call("feature_extractor", {"IMAGE": canvas[None]}, ["FEATURES"])
    return np.array(answer["FEATURES"][0]), geometry


async def embed_many(
    call: Call, batch: list[bytes], config: Config, check: Callable[[], None]
) -> list[tuple[np.ndarray, Geometry] | Refusal]:
    """Every image on its own: features and geometry, or the Refusal that says what is wrong with it.

    check: raises Cancelled when the caller has gone; asked before each image.
    Raises what is nobody's own fault: a full queue, a caller who went away, a broken network.
    """

    async def one(data: bytes) -> tuple[np.ndarray, Geometry] | Refusal:
        try:
            return await embed(call, data, config)
        except InvalidArgument as refusal:
            return refusal

    return await each(batch, one, config.in_flight, check)


# ------------------------------------------------------------------------------------------------ queries


async def templates(call: Call, inputs: Mapping[str, np.ndarray], config: Config) -> tuple[Templates, list[str]]:
    """Return the regions of interest of a request as template rows, and what there is to say about the regions.

    inputs: QUERY_IMAGES or QUERY_IDS, ROIS [R, 4], ROI_QUERY [R] (optional), as in `retrieve`'s config.
    Raises InvalidArgument naming the ROI or the query at fault; NotFound for an id that is not stored.
    """
    given = [name for name in ("QUERY_IMAGES", "QUERY_IDS") if name in inputs]
    if len(given) != 1:
        raise InvalidArgument(f"give QUERY_IMAGES or QUERY_IDS, exactly one of them; got {given or 'neither'}")
    if "ROIS" not in inputs:
        raise InvalidArgument("give ROIS, the regions of the queries to look for: x0, y0, x1, y1 each")
    queries = list(inputs[given[0]].reshape(-1))
    rois = np.asarray(inputs["ROIS"], np.float64).reshape(-1, 4)
    owner = np.asarray(inputs.get("ROI_QUERY", np.zeros(len(rois), np.int32)), np.int32).reshape(-1)
    if not 0 < len(queries) <= config.max_queries:
        raise InvalidArgument(f"a request holds 1 to {config.max_queries} queries, got {len(queries)}; split it")
    if not 0 < len(rois) <= config.max_rois:
        raise InvalidArgument(f"a request holds 1 to {config.max_rois} ROIs, got {len(rois)}; split it")
    if len(owner) != len(rois):
        raise InvalidArgument(f"ROI_QUERY needs one number a ROI: {len(rois)} ROIs, {len(owner)} numbers")
    idle = sorted(set(range(len(queries))) ^ set(owner.tolist()))
    if idle:
        raise InvalidArgument(
            f"ROI_QUERY must name each of the {len(queries)} queries (0 to {len(queries) - 1}) at least once "
            f"and nothing else; wrong or missing: {idle[:8]}"
        )
    views = await asyncio.gather(*(_view(call, given[0], query, i, config) for i, query in enumerate(queries)))
    parts, shapes, notes = [], [], []
    for r, (roi, q) in enumerate(zip(rois, owner, strict=True)):
        features, geometry = views[q]
        try:
            grid = features.shape[0], features.shape[1]
            said = regions.checked(roi, geometry, grid)
            y0, y1, x0, x1 = cells = matching.roi_cells(roi, geometry, grid)
        except ValueError as error:
            raise InvalidArgument(f"ROI {r}: {error}") from None
        notes += [f"ROI {r}: {one}" for one in said]
        parts.append(matching.template(features, cells))
        shapes.append((y1 - y0, x1 - x0))
    grids = [views[q][0].shape[:2] for q in owner]
    if (covered := sum(map(len, parts))) > config.max_cells:
        raise InvalidArgument(
            f"the ROIs of a request cover at most {config.max_cells:,} cells of feature maps, got {covered:,}; give "
            "fewer or smaller ones, or split them over several requests"
        )
    return matching.stack(parts, owner, [h * w for h, w in grids], shapes), notes


async def _view(call: Call, kind: str, query: Any, i: int, config: Config) -> tuple[np.ndarray, Geometry]:
    if kind == "QUERY_IMAGES":
        try:
            return await embed(call, bytes(query), config)
        except InvalidArgument as error:
            raise InvalidArgument(f"query {i}: {error}") from None
    return await stored_frames.features(call, text(query))


# ------------------------------------------------------------------------------------------------ its version


def served_version(repository: Path, model: str) -> str:
    """Return the version that features of this server's network are stored with.

    The version is the network's, and the canvases on which it sees images unless these are the usual ones.
    Raises FileNotFoundError if there is no such network, and ValueError if `ingest` and `retrieve` see images on
    different canvases.
    """
    verbs: dict[str, type[images.Config]] = {"ingest": ingest.Config, "retrieve": query.Config}
    ways = {verb: configured(kind, repository, verb).shaping() for verb, kind in verbs.items()}
    if ways["ingest"] != ways["retrieve"]:
        raise ValueError(
            "`ingest` and `retrieve` see pictures on different canvases, so their features do not compare; set "
            f"canvases and keep_aspect of both config.pbtxt alike; apart from the usual they say {ways}"
        )
    return seen_version(network_version(repository, model), ways["ingest"])
