"""Compares a stream of frames through the server with the same verb in this process, and measures added latency.

Frames are YUV 4:2:0. Both sides run the verb's own code over the same graphs with one thread per core, one network call
at a time. Rate: frames per second of one stream whose requests follow each other closely. Added latency: the time from
sending one frame, on a stream where nothing else is under way, to its answer, less the time of its network call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sluice_client import Planes, Sluice

from bench import report
from bench.callers import Tensors
from bench.enhance.networks import REMOVERS, SHIPPED, UPSCALERS, Session
from sluice import contracts, server
from sluice.server import root as roots
from sluice.verbs.enhance import Config, Enhancer
from sluice.wire.calls import json_strings

TASKS: Mapping[str, tuple[Mapping[str, str], str]] = {  # by title: the options, and the network that is called
    "artefacts": ({"do": "artefacts", "mode": "weak"}, REMOVERS[0]),
    "upscale x2": ({"do": "upscale", "mode": "clean"}, UPSCALERS[0]),
}
FRAMES = 8  # per turn
BATCH = 4  # frames per request
ALONE = 3  # frames per turn that are sent one by one
MARK, MARK_LATENCY = 0.9, 1.0


class InProcess:
    """The verb in this process."""

    def __init__(self, root: Path | None = None):
        """Open the graphs of a folder with model_repository and ensembles, None for that of the served weights.

        Raises SystemExit if they have not been exported.
        """
        root = root or roots.default()
        given = contracts.models(root)["enhance"].parameters
        config = contracts.parameters(Config, {name: value.string_value for name, value in given.items()})
        self.enhancer = Enhancer(self.call, config)
        self.sessions = {}
        for model in SHIPPED:
            path = root / "model_repository" / model / "1" / "model.onnx"
            if not path.is_file():
                raise SystemExit(f"the graph of {model} is missing; run: make export")
            self.sessions[model] = Session(str(path))
        self.turn = asyncio.Lock()

    async def call(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]) -> dict[str, np.ndarray]:
        """Answer as `sluice.triton.PythonModel.call` does, one call at a time, as one instance of a model does."""
        async with self.turn:
            luma, chroma = await asyncio.to_thread(self.sessions[model].run, inputs)
        return {"LUMA_OUT": luma, "CHROMA_OUT": chroma}

    def enhance(self, frames: Sequence[Planes], options: Mapping[str, str]) -> list[np.ndarray]:
        """Return the planes of each frame's answer."""
        return asyncio.run(self._enhance(frames, options))

    async def _enhance(self, frames: Sequence[Planes], options: Mapping[str, str]) -> list[np.ndarray]:
        self.turn = asyncio.Lock()  # a lock belongs to one event loop
        sides = {"width": frames[0].width, "height": frames[0].height}
        given = Tensors(
            PLANES=np.stack([one.data for one in frames])[:, None], OPTIONS=json_strings([{**options, **sides}])
        )
        answers = [answer async for answer in self.enhancer.enhance(given, given.check_cancelled)]
        found = [answer["PLANES"] for answer in answers if "PLANES" in answer]
        if len(found) != len(frames):
            raise SystemExit(f"enhance answered {len(found)} of {len(frames)} frames of this benchmark")
        return found


def pictures(height: int, width: int, count: int = BATCH) -> list[Planes]:
    """Draw street scenes and return them as YUV 4:2:0."""
    import scenes
    from sluice.methods.video.planes import Colour, Picture

    colour = Colour("bt709", "limited")
    drawn = (scenes.render(seed, (width, height)).image for seed in range(count))
    return [Planes(width, height, Picture.of_rgb(image).planes(colour)) for image in drawn]


def through(client: Sluice, frames: Sequence[Planes], options: Mapping[str, Any], batch: int = BATCH) -> list[Any]:
    """Send the frames through the server as one stream. Raises SystemExit if a frame fails."""
    found = list(client.enhance_stream(frames, batch=batch, timeout=600, **options))
    for one in found:
        if not one:
            raise SystemExit(f"enhance refuses a frame of this benchmark: {one.error or 'it was dropped'}")
    return found


def same(client: Sluice, here: InProcess, options: Mapping[str, str]) -> None:
    """Raise SystemExit if the two sides do not do the same work."""
    frames = pictures(64, 96, 2)
    for one, other in zip(through(client, frames, options), here.enhance(frames, options), strict=True):
        if np.abs(one.planes.astype(int) - other.astype(int)).max() > 1:
            raise SystemExit(
                "the server's frames are not those of this process: its graphs are others; run: make export"
            )


def measure(profile: str, rounds: int, size: tuple[int, int]) -> None:
    """Print rates, latencies and claims. size: (H, W) of the frames."""
    if not (contracts.ROOT / "ensembles" / "enhance" / "config.pbtxt").is_file():
        raise SystemExit("the verb enhance is not in ensembles/; nothing to measure")
    here = InProcess()
    with (
        server.start(profile=profile, models=("enhance", *SHIPPED)) as running,
        Sluice(running.grpc, timeout=600) as client,
    ):
        compare(client, here, rounds, size)


def compare(client: Sluice, here: InProcess, rounds: int, size: tuple[int, int]) -> None:
    """Measure both sides in turns, one after the other, and print the table and the claims."""
    height, width = size
    few = pictures(height, width)
    frames = [few[i % len(few)] for i in range(FRAMES)]
    rows, claims = [], []
    for title, (options, model) in TASKS.items():
        same(client, here, options)
        rates: dict[str, list[float]] = {"server": [], "process": []}
        compute, added = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            through(client, frames, options)
            rates["server"].append(FRAMES / (time.perf_counter() - begin))
            begin = time.perf_counter()
            for i in range(0, FRAMES, BATCH):
                here.enhance(frames[i : i + BATCH], options)
            rates["process"].append(FRAMES / (time.perf_counter() - begin))
            for i in range(ALONE):
                alone = network_seconds(here, model, frames[i])
                begin = time.perf_counter()
                through(client, [frames[i]], options, batch=1)
                compute.append(alone)
                added.append(time.perf_counter() - begin - alone)
        share = np.array(rates["server"]) / np.array(rates["process"])
        late = np.array(added) / np.array(compute)
        rows.append([
            title, model, median(rates["server"]), median(rates["process"]), median(share), min(share), max(share),
            1000 * median(compute), 1000 * median(added), median(late),
        ])  # fmt: skip
        value, delay = float(median(share)), float(median(late))
        claims += [
            (f"{title} of a {width} x {height} stream through the server", value, MARK, value >= MARK,
             "of the in-process rate", [min(share), max(share)]),
            (f"added latency of {title}, {width} x {height}", delay, MARK_LATENCY, delay < MARK_LATENCY,
             "of a frame's network time", [min(late), max(late)]),
        ]  # fmt: skip
    report.table(
        f"enhance, {width} x {height} in YUV 4:2:0: one stream through the server against this process",
        ["", "network", "server, frames/s", "in process", "share", "least", "most", "network ms", "added ms",
         "added over network"],
        rows,
    )  # fmt: skip
    for one in claims:
        report.claim(*one)


def network_seconds(here: InProcess, model: str, frame: Planes) -> float:
    """Return the seconds of one network call on the whole frame."""
    from sluice.methods.video.planes import Colour, Picture

    picture = Picture.of_planes(frame.data, frame.height, frame.width, Colour("bt709", "limited"))
    begin = time.perf_counter()
    here.sessions[model].planes(picture.luma, picture.chroma, picture.colour)
    return time.perf_counter() - begin
