"""The verb `match`: how well given images match the regions of a query; nothing is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument, Refusal
from sluice.methods import matching
from sluice.methods.matching.places import found_again
from sluice.models.feature_extractor import embed_many, templates
from sluice.process import callers
from sluice.wire import stored_frames
from sluice.wire.calls import Call, Tensors, json_object, json_strings, strings
from sluice.wire.heat_maps import Heats
from sluice.wire.query import Config

MATCH_OPTIONS = {"score": "roi", "combine": "max", "heatmaps": True}


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
    version = await stored_frames.model(call)
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
        "MODEL": version,
    }
