"""Shows where the time of a detection goes: decoding, network, boxes and mixtures, suppression, aggregation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import numpy as np

from bench import report
from bench.clock import clocked
from bench.detect.networks import Contender
from sluice import images
from sluice.methods import mixtures
from sluice.methods.mixtures import objects
from sluice.methods.mixtures.heads import Heads
from sluice.methods.mixtures.objects import Options
from sluice.methods.mixtures.summaries import Summary

MARK = 0.15  # share of the network's time that all steps after it may take
BATCH = 8
STEPS = ("decode the images", "network", "mixtures and boxes", "suppression", "aggregation")


def once(
    detector: Contender, encoded: Sequence[bytes], config: images.Config, labels: Sequence[str], options: Options
) -> tuple[dict[str, float], int]:
    """Return the seconds of each of `STEPS` for encoded images of one size, and the count of boxes returned."""
    seconds: dict[str, float] = defaultdict(float)
    clock = [time.perf_counter()]

    def step(name: str) -> None:
        clock.append(time.perf_counter())
        seconds[name] += clock[-1] - clock[-2]

    canvases, geometry = zip(*(images.read(data, config) for data in encoded), strict=True)
    step("decode the images")
    (outputs,) = detector.network(np.stack(canvases))
    step("network")
    with clocked(objects, "nms", seconds, "suppression"):
        found = mixtures.detections(Heads.of(outputs), geometry, options, labels)
    step("mixtures and boxes")
    seconds["mixtures and boxes"] -= seconds["suppression"]
    for detections in found:
        Summary.of(detections, labels, options.object_score).to_json()
    step("aggregation")
    return dict(seconds), sum(map(len, found))


def measure(
    detector: Contender, encoded: Sequence[bytes], config: images.Config, labels: Sequence[str], rounds: int
) -> None:
    """Print the shares at batch 8, for objects alone and for every box down to a score of 0.01, and the claim."""
    cases = {"objects": Options(), "all boxes from 0.01": Options(min_score=0.01)}
    times: dict[str, list[dict[str, float]]] = {case: [] for case in cases}
    boxes: dict[str, list[int]] = {case: [] for case in cases}
    for r in range(rounds + 1):
        batch = [encoded[i % len(encoded)] for i in range(r * BATCH, (r + 1) * BATCH)]
        for case, options in cases.items():
            seconds, count = once(detector, batch, config, labels, options)
            if r:  # the first round warms up
                times[case].append(seconds)
                boxes[case].append(count)
    rows = [
        [case, *(1000 * median(t[step] for t in turns) / BATCH for step in STEPS), median(boxes[case]) / BATCH]
        for case, turns in times.items()
    ]
    report.table(
        f"ms per image, one thread, {BATCH} images at once, median of {rounds}",
        ["returned", *STEPS, "boxes per image"],
        rows,
    )
    shares = [sum(t[step] for step in STEPS[2:]) / t["network"] for t in times["objects"]]
    value = median(shares)
    report.claim(
        f"boxes, suppression and aggregation of {BATCH} images",
        value,
        MARK,
        value < MARK,
        "of the network's time",
        [min(shares), max(shares)],
    )
