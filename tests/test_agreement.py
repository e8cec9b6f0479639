"""The constants that client and server each have are the same: what one offers, the other takes."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
from sluice_client.answers import detect as detect_answer
from sluice_client.filters import Filter
from sluice_client.verbs import detect, enhance, health, match, retrieve, sample, segment, select

from sluice import contracts, frames
from sluice.methods.genie import schedule, solvers, trajectory
from sluice.methods.grouping import masks, prompts
from sluice.methods.mixtures import options as mixture_options
from sluice.methods.mixtures import summaries
from sluice.methods.selection import options as selection_options
from sluice.methods.video import modes, planes, scaling
from sluice.wire import enhance as wire_enhance
from sluice.wire import sample as wire_sample
from sluice.wire import segment as wire_segment
from sluice.wire import video_frames

# What the client offers, what the server takes; order does not matter.
PAIRS = {
    "solvers": (sample.SOLVERS, solvers.SOLVERS),
    "grids": (sample.GRIDS, schedule.GRIDS),
    "rules of sample": (sample.RULES, trajectory.RULES),
    "formats of sample": (sample.FORMATS, wire_sample.FORMATS),
    "rules of segment": (segment.RULES, masks.RULES),
    "templates": (segment.TEMPLATES, prompts.TEMPLATES),
    "windows": (segment.WINDOWS, wire_segment.WINDOWS),
    "formats of segment": (segment.FORMATS, wire_segment.FORMATS),
    "do": (enhance.DO, modes.DO),
    "modes": (enhance.MODES, modes.MODES),
    "formats of enhance": (enhance.FORMATS, video_frames.FORMATS),
    "matrices": (enhance.MATRICES, planes.MATRICES),
    "ranges": (enhance.RANGES, planes.RANGES),
    "policies": (enhance.POLICIES, wire_enhance.POLICIES),
    "scales": (enhance.SCALES, scaling.SCALES),
    "aggregates": (select.AGGREGATES, selection_options.AGGREGATES),
    "types of uncertainty": (detect_answer.TYPES, summaries.TYPES),
    "types of uncertainty, as typed": (get_args(select.UncertaintyType), summaries.TYPES),
    "reductions": (detect.REDUCTIONS, mixture_options.REDUCTIONS),
    "sigmoids": (detect.SIGMOIDS, mixture_options.SIGMOIDS),
    "scores": (retrieve.SCORES, frames.FORMS),
    "combinations of retrieve": (retrieve.COMBINES, frames.COMBINATIONS),
    "combinations of match": ((*match.COMBINES, "query"), frames.COMBINATIONS),
    "filters": ([field.name for field in fields(Filter)], [field.name for field in fields(frames.Filter)]),
    "models": (health.MODELS, contracts.models()),
    "verbs": (health.VERBS, {path.parent.name for path in contracts.ROOT.glob("ensembles/*/config.pbtxt")}),
}


@pytest.mark.parametrize("what", PAIRS)
def test_client_and_server_agree(what):
    offered, taken = PAIRS[what]
    assert len(set(offered)) == len(list(offered)) and set(offered) == set(taken)
