"""The verb `match`: how well given images match the regions of a query. Nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import Refusal
from sluice.methods import matching
from sluice.models.feature_extractor import embed_many, templates
from sluice.options import check_options, choice, of_json, option
from sluice.process import callers
from sluice.wire import query, stored_frames
from sluice.wire.calls import Call, Tensors, check_count, json_object, json_strings, strings
from sluice.wire.heat_maps import Heats
from sluice.wire.query import Config

__all__ = ["Config", "Options", "match"]


@dataclass(frozen=True)
class Options:
    """The choices of a caller, as in `retrieve`. Raises InvalidArgument naming the option at fault."""

    score: str = option("roi", choice(matching.FORMS))
    combine: str = option("mean", choice(("max", "mean")))
    heatmaps: bool | str = option(True, choice(matching.HEATMAPS))

    def __post_init__(self) -> None:
        check_options(self)


async def match(call: Call, inputs: Any, config: Config) -> Tensors:
    """Score each given image; tensors as in `ensembles/match/config.pbtxt`.

    An image that cannot be read has the score NaN and its reason in ERRORS; the others are answered.
    Raises InvalidArgument for a request that is wrong as a whole, and as `feature_extractor.templates` does.
    """
    options = of_json(Options, json_object(inputs))
    batch = [bytes(data) for data in inputs["IMAGES"].reshape(-1)]
    check_count("images", len(batch), config.max_images)
    regions, notes = await templates(call, query.read(inputs, config), config)
    views = await embed_many(call, batch, config, inputs.check_cancelled)
    version = await stored_frames.model(call)
    n, rois = len(batch), len(regions.query)
    roi_scores = np.full((n, rois), np.nan, np.float32)
    scores = np.full(n, np.nan, np.float32)
    locations = np.full((n, rois, 4), np.nan, np.float32)
    heats, errors = Heats(n, regions, options.heatmaps), [""] * n
    for i, view in enumerate(views):
        if isinstance(view, Refusal):
            errors[i] = str(view)
            continue
        callers.check()
        features, geometry = view
        grid = features.shape[0], features.shape[1]
        valid = images.valid_cells(geometry, grid, matching.stride_of(geometry, grid))
        roi_scores[i] = matching.scores(features, regions, options.score, valid)
        scores[i] = matching.combine(roi_scores[i][None], options.combine, regions.query, options.score)[0]
        locations[i] = matching.found_again(features, geometry, regions)
        scored = matching.scoring_query(roi_scores[i], options.combine, regions.query, options.score)
        heats.draw(i, features, geometry, scored)
    return {
        "SCORES": scores,
        "ROI_SCORES": roi_scores,
        "LOCATIONS": locations,
        **heats.tensors(),
        "ERRORS": strings(errors),
        "NOTES": json_strings([{"notes": notes}]),
        "MODEL": version,
    }
