"""Joins the served networks that look at a new frame into `frame_networks`, which computes once what they share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export import fit
from export.entry import ExportError
from export.files import digest, replace
from export.frame.union import union
from sluice.models.frame_view import MADE_OF, NETWORKS, PARTS, VIEW
from sluice.process import weights as sets
from sluice.server import root

if TYPE_CHECKING:
    import onnx

IMAGE = "IMAGE"
Say = Callable[[str], None]


def graph(place: Path, model: str) -> Path:
    """Return the path of a model's graph in a root."""
    return place / "model_repository" / model / "1" / "model.onnx"


def concerns(models: Sequence[str], place: Path) -> bool:
    """Return whether one of these models, which were exported, is among the three, and all three are in the root."""
    return not set(PARTS).isdisjoint(models) and all(graph(place, part).is_file() for part in PARTS)


def current(place: Path) -> bool:
    """Return whether the joined graph in a root was made of the graphs that are there now. Raises as `parts`."""
    import onnx

    if not graph(place, NETWORKS).is_file():
        return False
    made = onnx.load(graph(place, NETWORKS), load_external_data=False)
    told = {entry.key: entry.value for entry in made.metadata_props}
    return json.loads(told.get(MADE_OF, "{}")) == parts(place)


def parts(place: Path) -> dict[str, str]:
    """Return the digests of the three graphs. Raises ExportError, with the remedy, where some are missing."""
    if missing := [name for name in PARTS if not graph(place, name).is_file()]:
        raise ExportError(
            f"{NETWORKS} is joined of {', '.join(PARTS)}, and of {', '.join(missing)} there is no model.onnx; run: "
            f"{root.command(place)}"
        )
    return {name: digest(graph(place, name)) for name in PARTS}


def _label(models: Iterable[onnx.ModelProto]) -> dict[str, str]:
    """Return the metadata that name the set of weights of a graph that is joined of these."""
    records = [{entry.key: entry.value for entry in model.metadata_props} for model in models]
    labels = {record.get(sets.KEY, sets.RESEARCH) for record in records}
    if sets.RESEARCH in labels:
        return {}
    return {sets.KEY: labels.pop() if len(labels) == 1 else sets.OWN}


def write(place: Path, say: Say, force: bool = False) -> None:
    """Write the joined graph of a root, unless it is up to date or the three cannot be joined, and say which.

    force: write it in any case. Raises ExportError as `parts` does.
    """
    import onnx

    if not force and current(place):
        say(f"{NETWORKS}: model.onnx is up to date")
        return
    made_of, path = parts(place), graph(place, NETWORKS)
    models = {name: onnx.load(graph(place, name)) for name in PARTS}
    try:
        made = union(models, {name: [out.name for out in model.graph.output] for name, model in models.items()}, IMAGE)
    except ValueError as error:
        path.unlink(missing_ok=True)
        say(f"{NETWORKS}: left out, since its three networks cannot be joined ({error}); `ingest` asks them one by one")
        return
    onnx.helper.set_model_props(made, {sets.OURS: NETWORKS, MADE_OF: json.dumps(made_of), **_label(models.values())})
    replace(path, made.SerializeToString(deterministic=True))
    given = fit.sizes(path)
    seen = {name: [-1, *given[name]] for name in ("FEATURES", "EMBEDDING")}  # an ensemble's sizes include the batch
    for line in fit.written(path.parents[1], given) + fit.written(path.parents[2] / VIEW, seen):
        say(line)
    alone, together = (sum(len(model.graph.node) for model in models.values()), len(made.graph.node))
    say(f"{NETWORKS}: joined of {', '.join(PARTS)}, {together} operators in place of {alone}")
