"""Compares embed, match and retrieve through the server, with 8 callers, against the same work in one process.

Both sides get encoded images, run the same functions of `sluice` and the same graph with one thread per core, and take
turns in one run. The figure is the share of the in-process throughput that the server reaches.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sluice_client import Query, Sluice

from bench import report
from bench.callers import Tensors, pictures, strings, throughput
from sluice import server
from sluice.gallery.store import Gallery
from sluice.models import feature_extractor
from sluice.models.gallery_search import Commands, Config
from sluice.server import root as roots
from sluice.verbs import match, retrieve

MARK = 0.9


class InProcess:
    """Every model of the server in this process: the calling thread computes what `call` asks for."""

    def __init__(self, folder: Path, version: str):
        """folder: of the gallery. version: of the network that made its features."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        repository = roots.default() / "model_repository"
        graph = repository / "feature_extractor" / "1" / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        store = Gallery(
            folder, model=version, channels=feature_extractor.served_channels(repository, "feature_extractor")
        )
        self.commands = Commands(store, Config())
        self.config = retrieve.Config()

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, Any]:
        """Answer as `sluice.triton.PythonModel.call` does."""
        if model == "feature_extractor":
            return {"FEATURES": self.session.run(["FEATURES"], {"IMAGE": inputs["IMAGE"]})[0]}
        return {name: np.asarray(value) for name, value in self.commands.run(inputs).items()}

    def embed(self, data: bytes) -> Any:
        """Return the features of an encoded image."""
        return asyncio.run(feature_extractor.embed(self.call, data, self.config))

    def retrieve(self, data: bytes, roi: list[float]) -> Any:
        """Return the tensors of one request to `retrieve`. roi: x0, y0, x1, y1 in pixels."""
        inputs = {"QUERY_IMAGES": strings([data]), "ROIS": np.array([roi], np.float32)}
        return asyncio.run(retrieve.retrieve(self.call, inputs, self.config))

    def match(self, data: bytes, roi: list[float], others: list[bytes]) -> Any:
        """Return the tensors of one request to `match`. roi: x0, y0, x1, y1 in pixels. others: the images searched."""
        inputs = Tensors(QUERY_IMAGES=strings([data]), ROIS=np.array([roi], np.float32), IMAGES=strings(others))
        return asyncio.run(match.match(self.call, inputs, self.config))


def main(argv: list[str]) -> int:
    """Measure every verb on both sides, print the table and the claims."""
    parser = argparse.ArgumentParser(prog="python -m bench overhead", description=__doc__)
    parser.add_argument("--callers", type=int, default=8, help="concurrent callers of the server (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each turn (default 6)")
    parser.add_argument("--frames", type=int, default=64, help="frames in the gallery (default 64)")
    parser.add_argument("--profile", default="cpu", help="profile of the server (default cpu)")
    args = report.parse(parser, argv)
    cores = len(os.sched_getaffinity(0))
    images = pictures(args.frames, (640, 480))
    roi = [200.0, 200.0, 300.0, 300.0]
    query = [Query(image, rois=[roi]) for image in images]
    # Two statements, because the client must be closed before the server stops.
    with tempfile.TemporaryDirectory() as folder, server.start(gallery=folder, profile=args.profile) as running:  # noqa: SIM117
        with Sluice(running.grpc, timeout=120) as client:
            for i, image in enumerate(images):
                client.add(image, drive=f"drive {i % 4}", time=float(i))
            here = InProcess(Path(folder), client.describe()["model"])
            four = [images[i : i + 4] for i in range(len(images) - 4)]
            verbs = {
                "embed": (
                    lambda i: client.embed(images[i % len(images)]),
                    lambda i: here.embed(images[i % len(images)]),
                ),
                "match 4 images": (
                    lambda i: client.match(query[i % len(query)], four[i % len(four)]),
                    lambda i: here.match(images[i % len(images)], roi, four[i % len(four)]),
                ),
                "retrieve": (
                    lambda i: client.retrieve(query[i % len(query)]),
                    lambda i: here.retrieve(images[i % len(images)], roi),
                ),
            }
            rows, shares = [], {}
            for verb, (ours, direct) in verbs.items():
                throughput(ours, args.callers, 1.0)
                throughput(direct, cores, 1.0)
                served, alone = [], []
                for _ in range(args.rounds):
                    served.append(throughput(ours, args.callers, args.seconds))
                    alone.append(throughput(direct, cores, args.seconds))
                ratio = [a / b for a, b in zip(served, alone, strict=True)]
                shares[verb] = ratio
                rows.append([verb, statistics.median(served), statistics.median(alone), statistics.median(ratio)])
    report.table(
        f"{args.callers} callers through the server against {cores} threads in one process, calls/s",
        ["verb", "server", "in process", "share"],
        rows,
    )
    for verb, ratio in shares.items():
        value = statistics.median(ratio)
        report.claim(
            f"{verb} through the server", value, MARK, value >= MARK, "of in-process", [min(ratio), max(ratio)]
        )
    return 0
