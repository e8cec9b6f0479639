"""The model `frame_view`: all that `ingest` stores of a frame, from one pass of the three networks that look at it.

`frame_networks` is the one graph of `feature_extractor`, `mixture_detector` and `image_grouper`, which computes once
what the three have in common (`export.frame`). Its answers are theirs, so it may stand in for them where they are the
networks that it was made of, run in one precision and see the same canvases.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from sluice import contracts
from sluice.images import Geometry
from sluice.methods.mixtures.summaries import Detections
from sluice.models import object_detector, uncertainty_aggregator
from sluice.options import text
from sluice.versions import graph_of, is_served_engine, network_record, precision_of
from sluice.wire import ingest
from sluice.wire.calls import Call, json_strings

NETWORKS, VIEW = "frame_networks", "frame_view"
_, DETECTOR, _ = PARTS = ("feature_extractor", "mixture_detector", "image_grouper")
MADE_OF = "sluice.parts"  # entry of the graph's metadata: JSON, model -> sha256 of the graph that was joined
ASKED = ("FEATURES", "EMBEDDING", *object_detector.FOUND, "LABELS", "MODEL")


def unfit(repository: Path, config: ingest.Config) -> str:
    """Return why a frame must be looked at in separate passes; "" where one pass gives the same.

    repository: the folder of `ingest`. config: its parameters.
    """
    if not config.one_pass:
        return "one_pass of ingest/config.pbtxt names no model"
    if config.detector != "detect" or not config.embeddings:
        return "ingest/config.pbtxt asks for less than features, objects of `detect` and embeddings"
    found = contracts.config_of(repository, NETWORKS)
    if found is None:
        return f"there is no {NETWORKS}"
    folder = found.parents[1]  # of the networks, which may be another than that of the verbs
    try:
        parts = json.loads(network_record(folder, NETWORKS).get(MADE_OF, "{}"))
        served = {name: hashlib.sha256(graph_of(folder, name).read_bytes()).hexdigest() for name in PARTS}
        asked = contracts.configured(uncertainty_aggregator.Defaults, repository, "uncertainty_aggregator").detector
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    if asked != DETECTOR:
        return f"the detector is {asked}"
    if other := [name for name in PARTS if parts.get(name) != served[name]]:
        return f"{NETWORKS} was made of another {' and '.join(other)}; run: sluice export {NETWORKS}"
    if engines := [name for name in (*PARTS, NETWORKS) if is_served_engine(folder, name)]:
        return f"{' and '.join(engines)} run as engines"
    if len({precision_of(name) for name in (*PARTS, NETWORKS)}) > 1:
        return "the networks run in different precisions"
    seen = config.for_network(repository)
    detect = contracts.configured(object_detector.Config, repository, "detect")
    canvases = [seen.canvases, detect.canvases, config.embedding_canvases]
    if len({tuple(one.split()) for one in canvases}) > 1 or not (seen.keep_aspect and detect.keep_aspect):
        return "the three networks see frames on different canvases"
    return ""


def passes(repository: Path, config: ingest.Config) -> tuple[str | None, str]:
    """Return the detector's canvases where one pass may be asked, else None; and a clause that says which it is.

    repository, config: as of `unfit`.
    """
    if why := unfit(repository, config):
        return None, f"a frame takes separate passes: {why}"
    shown = contracts.configured(object_detector.Config, repository, "detect").shown
    return shown, f"one pass of {NETWORKS} gives features, objects and embedding of a frame"


async def look(
    call: Call, canvas: np.ndarray, geometry: Geometry, shown: str
) -> tuple[np.ndarray, Detections, tuple[str, ...], str, np.ndarray]:
    """Return features, objects, class names, version of the detector and embedding of a frame.

    canvas, geometry: of `images.read`. shown: as of `object_detector.Config.shown`.
    Features are float16 [h, w, C], unit length per cell; the embedding is float32 [E], unit length.
    Raises InvalidArgument where one of the networks answers what cannot be used.
    """
    inputs = {
        "IMAGE": canvas[None],
        "GEOMETRY": geometry.as_array()[None],
        "OPTIONS": json_strings([{"shown": shown}]),
    }
    answer = await call(VIEW, inputs, ASKED)
    found = object_detector.detections_in(answer)
    labels, version = tuple(map(text, answer["LABELS"])), text(answer["MODEL"][0])
    return np.array(answer["FEATURES"][0]), found, labels, version, np.array(answer["EMBEDDING"][0], np.float32)
