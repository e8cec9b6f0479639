"""The model `feature_extractor`: asks it for feature maps, makes templates of regions, and tells its version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sluice import contracts, images
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
from sluice.wire.query import Config, Query

# The channels of a map are a multiple of STEP, up to where `sluice.methods.scan.codes` proves its bounds.
STEP, MOST_CHANNELS = 16, 1024

# ---------------------------------------------------------------------------------------------- images to features


async def embed(call: Call, data: bytes, config: images.Config) -> tuple[np.ndarray, Geometry]:
    """Return the features of an encoded image, float16 [h, w, C], unit length per cell, and its geometry.

    Raises InvalidArgument as `images.read` does.
    """
    canvas, geometry = await decoding.run(images.read, data, config)
    answer = await call("feature_extractor", {"IMAGE": canvas[None]}, ["FEATURES"])
    return np.array(answer["FEATURES"][0]), geometry


async def embed_many(
    call: Call, batch: list[bytes], config: Config, check: Callable[[], None]
) -> list[tuple[np.ndarray, Geometry] | Refusal]:
    """Return per image its features and geometry, or the Refusal that says what is wrong with it.

    check: raises Cancelled when the caller has gone; called before each image.
    Raises what no single image is at fault for, such as a full queue, a cancelled request or a broken network.
    """

    async def one(data: bytes) -> tuple[np.ndarray, Geometry] | Refusal:
        try:
            return await embed(call, data, config)
        except InvalidArgument as refusal:
            return refusal

    return await each(batch, one, config.in_flight, check)


# ------------------------------------------------------------------------------------------------ queries


async def templates(call: Call, given: Query, config: Config) -> tuple[Templates, list[str]]:
    """Turn the regions of interest of a request into template rows.

    Returns the templates, and a sentence per region that is doubtful: clipped, or smaller than a cell.
    Raises InvalidArgument naming the ROI or the query at fault; NotFound for an id that is not stored.
    """
    views = await asyncio.gather(*(_view(call, given.kind, item, i, config) for i, item in enumerate(given.items)))
    parts, shapes, notes = [], [], []
    for r, (roi, q) in enumerate(zip(given.rois, given.owner, strict=True)):
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
    grids = [views[q][0].shape[:2] for q in given.owner]
    if (covered := sum(map(len, parts))) > config.max_cells:
        raise InvalidArgument(
            f"the ROIs of a request cover at most {config.max_cells:,} cells of feature maps, got {covered:,}; give "
            "fewer or smaller ones, or split them over several requests"
        )
    return matching.stack(parts, given.owner, [h * w for h, w in grids], shapes), notes


async def _view(call: Call, kind: str, item: Any, i: int, config: Config) -> tuple[np.ndarray, Geometry]:
    """Return features and geometry of query i. kind: QUERY_IMAGES or QUERY_IDS. item: its element."""
    if kind == "QUERY_IMAGES":
        try:
            return await embed(call, bytes(item), config)
        except InvalidArgument as error:
            raise InvalidArgument(f"query {i}: {error}") from None
    return await stored_frames.features(call, text(item))


# ------------------------------------------------------------------------------------------------ its version


def served_version(repository: Path, model: str) -> str:
    """Return the version that features of this server's network are stored with.

    The version is the network's, and the canvases on which it sees images unless these are the usual ones.
    Raises FileNotFoundError if there is no such network, and ValueError if `ingest` and `retrieve` see images on
    different canvases.
    """
    verbs: dict[str, type[images.Config]] = {"ingest": ingest.Config, "retrieve": query.Config}
    ways = {verb: configured(kind, repository, verb).for_network(repository).shaping() for verb, kind in verbs.items()}
    if ways["ingest"] != ways["retrieve"]:
        raise ValueError(
            "`ingest` and `retrieve` see images on different canvases, so their features do not compare; set "
            f"canvases and keep_aspect of both config.pbtxt alike; what differs from the defaults is {ways}"
        )
    return seen_version(network_version(repository, model), ways["ingest"])


def served_channels(repository: Path, model: str) -> int:
    """Return the channels of the maps of this server's network, as the output in its config.pbtxt says.

    Raises FileNotFoundError if there is no such config, and ValueError for channels that no gallery can hold.
    """
    path = repository / model / "config.pbtxt"
    channels = contracts.tensors(contracts.read(path).output)["FEATURES"][1][-1]
    if channels % STEP or not 0 < channels <= MOST_CHANNELS:
        raise ValueError(
            f"the config of {model} says {channels} channels of FEATURES, and a gallery holds maps of a multiple of "
            f"{STEP} channels up to {MOST_CHANNELS:,}; export the network anew, reduced to that by a PCA of its map"
        )
    return channels
