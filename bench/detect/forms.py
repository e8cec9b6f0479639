"""Compares the frames that `select` picks when a deviation is squared before it is mixed, and when it is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import report
from bench.detect.networks import session
from sluice import images
from sluice.methods import mixtures, selection
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.options import SIGMOIDS, Options
from sluice.methods.mixtures.summaries import TYPES, Detections, Summary
from sluice.methods.selection.candidates import Candidates
from sluice.methods.selection.options import Options as SelectionOptions
from sluice.models import object_detector, uncertainty_aggregator
from sluice.server import root as roots

COUNTS = (10, 20, 50)


def measure(encoded: Sequence[bytes], source: str) -> None:
    """Print how many picks stay, how the order of all frames changes, and which type of uncertainty decides."""
    found = _look(encoded)
    ranked = {how: _ranked(found[how]) for how in SIGMOIDS}
    old, new = ranked["variance"], ranked["deviation"]
    many = len(new[0])
    rows: list[list[Any]] = [
        [f"of the first {n}", f"{len(set(old[0][:n]) & set(new[0][:n]))} stay"] for n in COUNTS if n <= many
    ]
    places = {id_: place for place, id_ in enumerate(old[0])}
    rows += [["rank correlation of all (Spearman)", _spearman([places[id_] for id_ in new[0]])]]
    boxes = {how: np.concatenate([one.types()[:, 0] for one in found[how]]) for how in SIGMOIDS}
    pairs = np.subtract.outer(boxes["variance"], boxes["variance"]) * np.subtract.outer(*[boxes["deviation"]] * 2)
    upper = np.triu_indices(len(pairs), 1)
    rows += [["pairs of objects that change places by location_aleatoric", f"{(pairs[upper] < 0).mean():.2%}"]]
    report.table(f"Picks with sigma squared against the authors' form: {many} of {source}", ("what", "value"), rows)
    report.table(
        "Location uncertainty of the objects, and what decides",
        ("form", "objects", "mean", "deviation", *(f"decided by {name}" for name in TYPES)),
        [[*_form(how), len(boxes[how]), boxes[how].mean(), boxes[how].std(), *ranked[how][1]] for how in SIGMOIDS],
    )


def _form(how: str) -> list[str]:
    return ["squared (a variance)" if how == "deviation" else "the sigmoid itself (the authors')"]


def _look(encoded: Sequence[bytes]) -> dict[str, list[Detections]]:
    """Return the objects of every picture in both forms, from one forward pass, as the server makes them."""
    network = session(roots.default() / "model_repository" / "mixture_detector" / "1" / "model.onnx")
    found: dict[str, list[Detections]] = {how: [] for how in SIGMOIDS}
    config = object_detector.Config()
    for data in encoded:
        canvas, geometry = images.read(data, config)
        outputs = network.run(list(uncertainty_aggregator.HEADS), {"IMAGE": canvas[None]})
        heads = Heads.of(dict(zip(uncertainty_aggregator.HEADS, outputs, strict=True)))
        for how in SIGMOIDS:
            found[how] += mixtures.detections(heads, [geometry], Options(location_sigmoid=how))
    return found


def _ranked(found: Sequence[Detections]) -> tuple[list[str], list[int]]:
    """Return the ids of all frames that can be picked, the best first; and how many of them each type decides."""
    labels = uncertainty_aggregator.read_labels(roots.default() / "model_repository", "mixture_detector")
    wish = SelectionOptions(n=len(found), over_objects="max", aggregate="max")  # the published rule, of one type
    given = [
        json.dumps({"id": f"{i:06}", "summary": json.loads(Summary.of(one, labels, model="both").to_json())})
        for i, one in enumerate(found)
    ]
    pool = Candidates(given, wish)
    picked = selection.select(pool, wish)
    return pool.ids(picked.frames), np.bincount(picked.z.argmax(axis=1), minlength=4).tolist()


def _spearman(places: Sequence[int]) -> float:
    return float(np.corrcoef(np.arange(len(places)), places)[0, 1])
