"""The loops of the verbs `retrieve` and `match`: pictures in, network and gallery asked, answers out.

Every function takes `call(model, inputs, outputs)`, which asks another model: see `sluice.calls`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sluice import callers, decoding, images, matching, regions, text_embeddings, vocabulary
from sluice.calls import Call, Tensors, each, json_object, json_strings, strings, text, texts
from sluice.errors import InvalidArgument, Refusal
from sluice.gallery.frames import Search
from sluice.grouping_prompts import TEMPLATES
from sluice.images import Geometry
from sluice.matching import Templates
from sluice.text_embeddings import Words

QUERY = ("QUERY_IMAGES", "QUERY_IDS", "ROIS", "ROI_QUERY")
ANSWER = ("IDS", "SCORES", "QUERY", "ROI_SCORES", "TEXT_SCORES", "LOCATIONS", "HEATMAPS", "HEATMAP_QUERY",
          "QUERY_HEATMAPS", "FRAMES", "MODEL", "SEARCHED")  # fmt: skip
OPTIONS = (*(field.name for field in fields(Search)), "templates", "allow_unknown")
MATCH_OPTIONS = {"score": "roi", "combine": "max", "heatmaps": True}


@dataclass(frozen=True)
class Config(images.Config):
    """Limits of one request, checked before anything is decoded; and those of its images."""

    max_queries: int = 16
    max_rois: int = 64
    max_cells: int = 32_768  # of feature maps, which the ROIs of a request cover together
    max_images: int = 256
    in_flight: int = 8  # images of one request that wait for the network at the same time
    max_texts: int = 16
    texts: bool = False  # whether frames are ranked by words, too


# ---------------------------------------------------------------------------------------------- images to features


async def embed(call: Call, data: bytes, config: Config) -> tuple[np.ndarray, Geometry]:
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
    command = {"op": "features", "id": text(query)}
    answer = await call("frame_gallery", {"COMMAND": json_strings([command])}, ["FEATURES", "GEOMETRY"])
    return np.array(answer["FEATURES"]), Geometry.from_array(answer["GEOMETRY"])


async def words(
    call: Call, inputs: Any, templates: Any, config: Config, allow_unknown: bool | None = None
) -> Words | None:
    """The TEXTS of a request as vectors; None where there are none. templates, allow_unknown: as in `retrieve`'s
    OPTIONS, None where they were not given.

    Raises InvalidArgument naming the text at fault, or where this server ranks by no words.
    """
    given = texts(inputs, "TEXTS")
    if given is None:
        if templates is not None:
            raise InvalidArgument("templates are sentences for TEXTS; give some, or leave templates out")
        if allow_unknown is not None:
            raise InvalidArgument("allow_unknown is about TEXTS; give some, or leave allow_unknown out")
        return None
    if not config.texts:
        raise InvalidArgument("this server does not rank by words: give ROIS, or switch on `texts` of `retrieve`")
    if not 0 < len(given) <= config.max_texts:
        raise InvalidArgument(f"a request holds 1 to {config.max_texts} texts, got {len(given)}; split it")
    if templates is not None and templates not in tuple(TEMPLATES):
        raise InvalidArgument(f"templates is null or one of {', '.join(TEMPLATES)}, got {templates!r:.80}")
    check = inputs.check_cancelled
    return await text_embeddings.embed(call, given, templates, check, allow_unknown=bool(allow_unknown))


# ------------------------------------------------------------------------------------------------ the verbs


async def retrieve(call: Call, inputs: Any, config: Config) -> Tensors:
    """The stored frames that match best, by regions, by words or by both; tensors as in
    `ensembles/retrieve/config.pbtxt`."""
    options = json_object(inputs)
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidArgument(f"OPTIONS has {', '.join(unknown)!s:.200}; known are: {', '.join(OPTIONS)}")
    allow_unknown = vocabulary.flag(options) if "allow_unknown" in options else None
    options.pop("allow_unknown", None)
    said = await words(call, inputs, options.pop("templates", None), config, allow_unknown)
    tensors: Tensors = {}
    more: dict[str, Any] = {}
    if said is not None:
        more |= said.notes()
        options["embedder"] = said.grouper
        tensors["WORDS"] = said.vectors
    if said is None or any(name in inputs for name in QUERY):
        query, told = await templates(call, inputs, config)
        more |= {"notes": told} if told else {}
        tensors |= {
            "TEMPLATES": query.rows,
            "TEMPLATE_ROI": query.roi,
            "ROI_QUERY": query.query,
            "ROI_CELLS": np.asarray(query.cells, np.int32),
            "ROI_SHAPE": np.asarray(query.shape, np.int32),
        }
    answer = await call("gallery_search", {"COMMAND": json_strings([{"op": "search", **options}]), **tensors}, ANSWER)
    if more:
        searched = json.loads(answer["SEARCHED"][0])
        notes = [*searched.get("notes", ()), *more.get("notes", ())]
        searched |= {**more, "notes": notes} if notes else more
        answer = {**answer, "SEARCHED": json_strings([searched])}
    return answer


async def match(call: Call, inputs: Any, config: Config) -> Tensors:
    """How well each given image matches; tensors as in `ensembles/match/config.pbtxt`.

    An image that cannot be read has the score NaN and its reason in ERRORS; the others are answered.
    """
    options = json_object(inputs)
    unknown = set(options) - set(MATCH_OPTIONS)
    if unknown:
        raise InvalidArgument(
            f"OPTIONS has {sorted(unknown)} (retrieve knows more); match knows {', '.join(MATCH_OPTIONS)}"
        )
    options = {**MATCH_OPTIONS, **options}
    batch = [bytes(data) for data in inputs["IMAGES"].reshape(-1)]
    if not 0 < len(batch) <= config.max_images:
        raise InvalidArgument(f"a request holds 1 to {config.max_images} images, got {len(batch)}; split it")
    for name, known in (("score", matching.FORMS), ("combine", ("max", "mean")), ("heatmaps", matching.HEATMAPS)):
        if type(options[name]) not in (bool, str) or options[name] not in known:
            raise InvalidArgument(f"{name} is one of {', '.join(map(repr, known))} in match, got {options[name]!r}")
    query, notes = await templates(call, inputs, config)
    views = await embed_many(call, batch, config, inputs.check_cancelled)
    described = await call("frame_gallery", {"COMMAND": json_strings([{"op": "model"}])}, ["MODEL"])
    n, rois = len(batch), len(query.query)
    roi_scores = np.full((n, rois), np.nan, np.float32)
    scores = np.full(n, np.nan, np.float32)
    locations = np.full((n, rois, 4), np.nan, np.float32)
    heats, errors = Heats(n, query, options["heatmaps"]), [""] * n
    for i, view in enumerate(views):
        if isinstance(view, Refusal):
            errors[i] = str(view)
            continue
        callers.check()
        features, geometry = view
        grid = features.shape[0], features.shape[1]
        valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
        roi_scores[i] = matching.scores(features, query, options["score"], valid)
        scores[i] = matching.combine(roi_scores[i][None], options["combine"], query.query, options["score"])[0]
        locations[i] = found_again(features, geometry, query)
        scored = matching.scoring_query(roi_scores[i], options["combine"], query.query, options["score"])
        heats.draw(i, features, geometry, scored)
    return {
        "SCORES": scores,
        "ROI_SCORES": roi_scores,
        "LOCATIONS": locations,
        **heats.tensors(),
        "ERRORS": strings([error.encode() for error in errors]),
        "NOTES": json_strings([{"notes": notes}]),
        "MODEL": described["MODEL"],
    }


def found_again(features: np.ndarray, geometry: Geometry, query: Templates) -> np.ndarray:
    """Return the boxes float32 [R, 4], pixels of the image, where each region shows again in it."""
    grid = features.shape[0], features.shape[1]
    valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
    return matching.window_boxes(matching.best_windows(features, query, valid), geometry, grid)


class Heats:
    """The heat maps of n images, as the tensors in which both verbs answer them.

    A map shows one query: where several are looked for, a place that looks like another query's object does not glow.
    wanted: one of `matching.HEATMAPS`.
    """

    def __init__(self, n: int, templates: Templates | None, wanted: bool | str):
        self.templates, self.wanted = templates, wanted
        queries = templates.queries if templates is not None and wanted == "all" else 0
        self.best, self.of = [b""] * n, np.full(n, -1, np.int32)
        self.each = np.full((n, queries), b"", object)

    def draw(self, i: int, features: np.ndarray, geometry: Geometry, query: int) -> None:
        """Draw the map of image i, features [h, w, C], for the query that it scored by; of all others where wanted."""
        if not self.wanted or self.templates is None:
            return
        self.of[i] = query
        for q in range(self.each.shape[1]):
            self.each[i, q] = _heat_png(features, geometry, self.templates, q)
        every = self.wanted == "all"
        self.best[i] = self.each[i, query] if every else _heat_png(features, geometry, self.templates, query)

    def tensors(self) -> Tensors:
        """HEATMAPS [n], HEATMAP_QUERY [n], QUERY_HEATMAPS [n, queries or 0], as in `ensembles/match/config.pbtxt`."""
        return {"HEATMAPS": strings(self.best), "HEATMAP_QUERY": self.of, "QUERY_HEATMAPS": self.each}


def _heat_png(features: np.ndarray, geometry: Geometry, templates: Templates, query: int) -> bytes:
    """Encode a query's map over the content of an image: a grey PNG, best cosine of each cell, 0..1 as 0..255."""
    grid = features.shape[0], features.shape[1]
    valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    heat = matching.heat(features, templates, query, valid)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return images.png(np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8))
