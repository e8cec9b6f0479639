"""The verb `sample`: a stream of previews and pictures from a loop over score networks.

A request is split into parts of at most `Config.part` images. Each part is a `genie.Trajectory` (two if pictures are
encoded first), whose network calls go through the `Rounds` that all requests share. `sluice.wire.sample` checks what is
asked, `sluice.methods.genie` holds the maths; this module does the work and reports it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import numpy as np

from sluice import images
from sluice.errors import InvalidArgument
from sluice.methods import genie
from sluice.methods.genie import pictures as sampling_pictures
from sluice.models.score_network import Rounds
from sluice.process import decoding
from sluice.wire.calls import Call, Tensors, json_strings, strings
from sluice.wire.sample import Config, Request, read

__all__ = ["Config", "Sampler"]

TICKS = 100  # progress events of a request, at most


class Sampler:
    """Answers requests. A process has one, so that all requests share the rounds."""

    def __init__(self, call: Call, config: Config):
        self.call, self.config = call, config
        self._rounds: dict[str, Rounds] = {}

    async def sample(self, inputs: Mapping[str, np.ndarray], check: Callable[[], None]) -> AsyncIterator[Tensors]:
        """Answer a request; tensors as in `ensembles/sample/config.pbtxt`.

        check: raises Cancelled when the caller has gone; called before each network call.
        Raises InvalidArgument and NotFound as `sluice.wire.sample.read` does.
        """
        request = await asyncio.to_thread(read, inputs, self.config)
        work = Work(request, self.config, Asker(self, request, check))
        async for answer in work.answers():
            yield answer

    def rounds(self, model: str, outputs: tuple[str, ...]) -> Rounds:
        """Return the rounds of a model, which all requests share."""
        if model not in self._rounds:
            config = self.config
            self._rounds[model] = Rounds(self.call, model, outputs, config.batch, config.in_flight, config.least)
        return self._rounds[model]


class Asker:
    """Asks the network of a request what its trajectories want to know, and counts the calls."""

    def __init__(self, sampler: Sampler, request: Request, check: Callable[[], None]):
        self.sampler, self.network, self.check = sampler, request.network, check
        self.models: set[str] = set()
        self.asked, self.together = 0, 0.0

    async def __call__(self, call: genie.Call, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the network's answer to a call: its prediction [R, C, H, W], and the derivative or None.

        labels: [B], of the trajectory's images; the call has R rows, B or 2 B.
        """
        self.check()
        model = f"{self.network.name}_{'curvature' if call.derivative else 'score'}"
        outputs = ("EPSILON", "DERIVATIVE") if call.derivative else ("EPSILON",)
        rows: Tensors = {"SAMPLE": call.x.astype(np.float32), "TIME": call.t.astype(np.float32)[:, None]}
        if labels is not None:
            own = np.resize(labels, len(call.x)).astype(np.int64)
            own[call.null] = self.network.null or 0  # no row is null where the network has no such label
            rows["LABEL"] = own[:, None]
        answer, together = await self.sampler.rounds(model, outputs).ask(rows)
        self.models.add(model)
        self.asked, self.together = self.asked + 1, self.together + together
        return answer["EPSILON"], answer.get("DERIVATIVE")


class Work:
    """One request that is being answered."""

    def __init__(self, request: Request, config: Config, network: Asker):
        self.request, self.config, self.network = request, config, network
        self.started = time.perf_counter()
        self.calls_done, self.ticks, self.failed = 0, 0, 0

    async def answers(self) -> AsyncIterator[Tensors]:
        """Yield the events of the request."""
        for part in self.parts():
            async for answer in self.part(part):
                yield answer
        yield self.end()

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the indices of the sources that are taken together, or of the pairs for an interpolation."""
        request = self.request
        paired = request.interpolates
        count = request.sources // 2 if paired else request.sources
        size = max(1, self.config.part // request.options.between) if paired else self.config.part
        yield from np.split(np.arange(count), np.arange(size, count, size))

    async def part(self, chosen: np.ndarray) -> AsyncIterator[Tensors]:
        """Yield the events of one part. chosen: indices of its sources or pairs."""
        request = self.request
        if not request.interpolates:
            start, errors = await self.sources(chosen)
            labels = request.labels[chosen] if request.labels is not None else None
            async for answer in self.solve(chosen, start, errors, labels, backward=request.options.task == "encode"):
                yield answer
            return
        ends = np.stack([2 * chosen, 2 * chosen + 1], axis=1).reshape(-1)
        start, errors = await self.sources(ends)
        labels = request.labels[chosen] if request.labels is not None else None
        if request.pictures is not None:
            twice = None if labels is None else np.repeat(labels, 2)
            start = await self.encoded(start, errors, twice)
        count = request.options.between
        latents, errors = between(start, errors, count)
        index = (chosen[:, None] * count + np.arange(count)).reshape(-1)
        labels = None if labels is None else np.repeat(labels, count)
        async for answer in self.solve(index, latents, errors, labels, backward=False):
            yield answer

    async def sources(self, chosen: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Return where the trajectories begin, [n, C, H, W], and per trajectory "" or why it has no beginning.

        A trajectory without a beginning has zeros in its place.
        """
        request, shape = self.request, self.request.network.shape
        if request.seeds is not None:
            return genie.noise([int(seed) for seed in request.seeds[chosen]], shape), [""] * len(chosen)
        if request.tensors is not None:
            return request.tensors[chosen], [""] * len(chosen)
        assert request.pictures is not None
        limits = images.Limits(self.config.max_bytes, self.config.max_pixels)
        found, errors = np.zeros((len(chosen), *shape), np.float32), [""] * len(chosen)
        for row, i in enumerate(chosen):
            try:
                data = request.pictures[i]
                found[row] = await decoding.aside(sampling_pictures.read, data, shape, request.options.fit, limits)
            except InvalidArgument as error:
                errors[row] = str(error)
        return found, errors

    async def encoded(self, pictures: np.ndarray, errors: list[str], labels: np.ndarray | None) -> np.ndarray:
        """Return the latents of pictures [n, C, H, W]; rows that have an error stay as they are."""
        good = np.array([not error for error in errors])
        latents = pictures.copy()
        if good.any():
            own = None if labels is None else labels[good]
            trajectory = self.trajectory(pictures[good], backward=True)
            while trajectory.call is not None:
                trajectory.answer(*await self.network(trajectory.call, own))
            assert trajectory.result is not None
            latents[good] = trajectory.result
        return latents

    def trajectory(self, start: np.ndarray, *, backward: bool) -> genie.Trajectory:
        """Begin a trajectory of the request's solver. backward: from pictures to latents."""
        return genie.Trajectory(start, self.request.solver, backward=backward, latest=self.request.network.latest)

    async def solve(
        self, index: np.ndarray, start: np.ndarray, errors: list[str], labels: np.ndarray | None, *, backward: bool
    ) -> AsyncIterator[Tensors]:
        """Yield the previews of a trajectory of the rows without error, then the results of all rows."""
        request = self.request
        good = np.array([not error for error in errors])
        result = np.full(start.shape, np.nan, np.float32)
        if good.any():
            own = None if labels is None else labels[good]
            trajectory = self.trajectory(start[good], backward=backward)
            step, preview = 0, request.options.preview
            while trajectory.call is not None:
                trajectory.answer(*await self.network(trajectory.call, own))
                self.calls_done += int(good.sum())
                if trajectory.step == step:
                    continue  # the second call of a step, or the first of two
                step = trajectory.step
                if preview and step % preview == 0 and trajectory.preview is not None:
                    shown = strings([sampling_pictures.jpeg(picture) for picture in trajectory.preview])
                    yield self.event("preview", step, INDEX=index[good].astype(np.int32), IMAGES=shown)
                elif self.due():
                    yield self.event("progress", step)
            assert trajectory.result is not None
            result[good] = trajectory.result
        self.failed += int((~good).sum())
        self.calls_done += int((~good).sum()) * request.solver.calls
        answer: Tensors = {"INDEX": index.astype(np.int32), "ERRORS": strings(errors)}
        if request.options.task == "encode" or request.options.format == "tensor":
            answer["TENSORS"] = result
        else:
            pairs = zip(result, good, strict=True)
            answer["IMAGES"] = strings([sampling_pictures.png(picture) if ok else b"" for picture, ok in pairs])
        yield self.event("result", request.solver.steps, **answer)

    # ---------------------------------------------------------------------------------------- what is said

    @property
    def done(self) -> float:
        """Return the share of the request's work that is done, 0 to 1."""
        return self.calls_done / (self.request.images * self.request.solver.calls)

    def due(self) -> bool:
        """Tell whether the share has grown enough for an event of progress."""
        tick = int(self.done * TICKS)
        due, self.ticks = tick > self.ticks, max(tick, self.ticks)
        return due

    def event(self, kind: str, step: int, **tensors: Any) -> Tensors:
        """Make the tensors of an event."""
        said = {"kind": kind, "done": round(self.done, 4), "step": step, "steps": self.request.solver.steps}
        return {"EVENT": json_strings([said]), **tensors}

    def end(self) -> Tensors:
        """Make the last event, which tells what the request cost."""
        request, network = self.request, self.network
        facts = {
            "kind": "end",
            "done": 1.0,
            "images": request.images - self.failed,
            "failed": self.failed,
            "nfe": request.nfe,
            "calls": request.calls,
            "rows_a_call": round(network.together / network.asked, 2) if network.asked else 0,
            "seconds": round(time.perf_counter() - self.started, 4),
            "model": request.network.name,
            "networks": sorted(network.models),
            "task": request.options.task,
            "solver": request.solver.solver,
            "grid": request.solver.grid,
            "derivative": request.solver.derivative,
        }
        return {"EVENT": json_strings([facts])}


def between(ends: np.ndarray, errors: list[str], count: int) -> tuple[np.ndarray, list[str]]:
    """Interpolate between 2 n latents, in pairs; return n * count latents on their great circles, and an error per row.

    An error of one end is the error of its whole way.
    """
    found, said, shares = [], [], np.linspace(0, 1, count)
    for one, other, *wrong in zip(ends[::2], ends[1::2], errors[::2], errors[1::2], strict=True):
        error = next((text for text in wrong if text), "")
        way = np.zeros((count, *one.shape), np.float32)
        try:
            way = way if error else genie.slerp(one, other, shares)
        except InvalidArgument as refusal:  # opposite latents, or one that is all zero
            error = str(refusal)
        found.append(way)
        said += [error] * count
    return np.concatenate(found), said
