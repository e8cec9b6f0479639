"""Compares the verb `detect`, asked by several callers of the server, with the same work in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from sluice_client import Sluice

from bench import report
from bench.callers import Tensors, strings, throughput
from bench.detect.networks import session
from sluice import server
from sluice.models import object_detector, uncertainty_aggregator
from sluice.server import root as roots
from sluice.verbs import detect

MARK = 0.9


class InProcess:
    """The detector and the aggregator in this process: the calling thread computes what `call` asks for."""

    def __init__(self) -> None:
        repository = roots.default() / "model_repository"
        self.network = session(repository / "mixture_detector" / "1" / "model.onnx")
        self.aggregator = uncertainty_aggregator.Aggregator.serving(repository, uncertainty_aggregator.Defaults())
        self.config = object_detector.Config()

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, Any]:
        """Answer as `sluice.triton.PythonModel.call` does."""
        given = dict(inputs)
        if model == "object_detector":
            heads = self.network.run(list(uncertainty_aggregator.HEADS), {"IMAGE": given.pop("IMAGE")})
            given.update(zip(uncertainty_aggregator.HEADS, heads, strict=True))
        return self.aggregator.run(given)

    def detect(self, encoded: Sequence[bytes]) -> Mapping[str, Any]:
        """Return the tensors of one request to `detect`."""
        return asyncio.run(detect.detect(self.call, Tensors(IMAGES=strings(list(encoded))), self.config))


def measure(encoded: Sequence[bytes], callers: int, rounds: int, seconds: float, profile: str) -> None:
    """Print images/s of `callers` through the server and of one thread per core in this process, and the claims."""
    cores = len(os.sched_getaffinity(0))
    here = InProcess()
    fours = [list(encoded[i : i + 4]) for i in range(0, len(encoded) - 3, 4)]
    rows, shares = [], {}
    with server.start(profile=profile) as running, Sluice(running.grpc, timeout=120) as client:
        cases = {
            "1 image per call": [[data] for data in encoded],
            "4 images per call": fours,
        }
        for case, requests in cases.items():

            def served(i: int, requests: list[list[bytes]] = requests) -> None:
                client.detect(requests[i % len(requests)])

            def alone(i: int, requests: list[list[bytes]] = requests) -> None:
                here.detect(requests[i % len(requests)])

            throughput(served, callers, 1.0)
            throughput(alone, cores, 1.0)
            pairs = [(throughput(served, callers, seconds), throughput(alone, cores, seconds)) for _ in range(rounds)]
            images = len(requests[0])
            ratio = shares[case] = [a / b for a, b in pairs]
            rows.append([case, *(images * median(side) for side in zip(*pairs, strict=True)), median(ratio)])
    report.table(
        f"detect: {callers} callers through the server against {cores} threads in one process, images/s",
        ["", "server", "in process", "share"],
        rows,
    )
    for case, ratio in shares.items():
        value = median(ratio)
        report.claim(
            f"detect through the server, {case}", value, MARK, value >= MARK, "of in-process", [min(ratio), max(ratio)]
        )
