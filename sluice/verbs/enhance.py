"""The verb `enhance`: frames in, the same frames with fewer coding artefacts, larger, or both, in their order.

A request brings a few frames of a stream. Its answer is a stream of events, one per frame and an end, in the order of
the frames' numbers across all requests of the stream. `sluice.wire.enhance` checks what is asked,
`sluice.methods.video.streams` remembers the streams; this module does the work and reports it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from sluice.errors import InvalidArgument, Unavailable
from sluice.methods.video.modes import REMOVERS, UPSCALERS, Way, choose, reaching, share
from sluice.methods.video.packets import Decoder
from sluice.methods.video.planes import Picture
from sluice.methods.video.rate import Spent
from sluice.methods.video.scaling import resized
from sluice.methods.video.streams import Place, Stream, Streams
from sluice.methods.video.tiles import Tile, halved, tiles
from sluice.wire import video_frames as pictures
from sluice.wire.calls import Call, Tensors, each, json_strings
from sluice.wire.enhance import Config, Request, check_size, read

__all__ = ["Config", "Enhancer"]

CHROMA_RADIUS = 4  # luma pixels beyond a network's own radius that chroma of half size reaches on its way up and down


class Enhancer:
    """Answers requests. A process has one, because it knows all streams."""

    def __init__(self, call: Call, config: Config, clock: Callable[[], float] = time.monotonic):
        self.call, self.config = call, config
        self.radii = config.radii
        self.streams = Streams(config.max_streams, config.in_flight, config.max_waiting, clock)
        self.workers = asyncio.Semaphore(config.workers)
        # Threads of their own, so that hostile packets cannot take those of images and network calls.
        self.decoders = ThreadPoolExecutor(max(1, config.workers // 2), "packets")
        self.held = 0  # bytes of the requests that are under way

    async def enhance(self, inputs: Mapping[str, np.ndarray], check: Callable[[], None]) -> AsyncIterator[Tensors]:
        """Answer a request; tensors as in `ensembles/enhance/config.pbtxt`.

        check: raises Cancelled when the caller has gone; called before each network call.
        Raises InvalidArgument for a request that is wrong as a whole, and Unavailable while too many frames or streams
        are under way.
        """
        # Nothing is awaited before the frames have their places, so that requests keep the order in which they came.
        request = read(inputs, self.config)
        if self.held + request.memory > self.config.max_memory and self.held:
            raise Unavailable(f"frames of {self.held:,} bytes are under way already; wait for answers and try again")
        stream, new = self.streams.open(request.stream, request.idle)
        self.held += request.memory
        work = Work(self, request, stream, check)
        try:
            async for answer in work.answers(new):
                yield answer
        finally:
            self.held -= request.memory + work.decoded_bytes
            self.streams.close(stream, request.last and work.begun)


class Choice(NamedTuple):
    """The networks chosen for a frame.

    do: as of `Options`. way: the networks, in their order. spent: the bits by which mode auto chose them, or None.
    share: of a remover's change that is made.
    """

    do: str
    way: Way
    spent: Spent | None = None
    share: float = 1.0


class Work:
    """One request that is being answered."""

    def __init__(self, enhancer: Enhancer, request: Request, stream: Stream, check: Callable[[], None]):
        self.enhancer, self.request, self.stream, self.check = enhancer, request, stream, check
        self.started = time.perf_counter()
        self.dropped: list[int] = []
        self.choices: list[Choice] = []  # per frame
        self.failed = self.enhanced = self.decoded_bytes = 0
        self.begun = False  # a request that was refused does not end its stream

    async def answers(self, new: bool) -> AsyncIterator[Tensors]:
        """Yield the events of the request. new: whether it began its stream."""
        if self.request.packets is None:
            self.check_room(len(self.request.frames))
            places = self.enter(self.request.first, len(self.request.frames))
            for size, bits in self.request.coded:
                known = self.stream.still(size, bits) if self.request.still and size else None
                self.choices.append(self.choice(size, known))
        else:
            places = await self.decoded(new)
        stream, self.begun = self.stream, True
        tasks = [asyncio.ensure_future(self.frame(i, place)) for i, place in enumerate(places)]
        try:
            yield self.event("begun", stream=self.named, new=new, next=stream.next)
            for place, task, choice in zip(places, tasks, self.choices, strict=True):
                await place.told()
                facts, tensors = await task
                if facts["kind"] == "frame":
                    facts["switched"] = self.switched(choice)
                yield self.event(**facts) | tensors
                place.answered.set()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for place in places:
                stream.leave(place)
                place.answered.set()
        yield self.end()

    def check_room(self, count: int) -> None:
        """Raise Unavailable if the stream has no room for so many frames; under policy drop there is always room."""
        if self.request.options.policy == "wait":
            self.stream.check_room(count)

    def enter(self, first: int, count: int) -> list[Place]:
        """Give `count` frames from number `first` on their places in the stream."""
        options = self.request.options
        return self.stream.enter(range(first, first + count), options.backlog if options.policy == "drop" else None)

    async def decoded(self, new: bool) -> list[Place]:
        """Decode the request's packets; return the places of the frames that came out.

        Raises InvalidArgument for packets out of their order, and Unavailable if there is no room for their frames.
        """
        request, stream, enhancer = self.request, self.stream, self.enhancer
        assert request.packets is not None
        async with stream.entering:  # requests decode in the order in which they came
            if stream.decoder is None:
                stream.decoder = Decoder(request.first)
                stream.next = max(stream.next, request.first)
            decoder = stream.decoder
            if request.first != decoder.next:
                raise InvalidArgument(
                    f"stream {stream.name[:80]!r} wants packet {decoder.next}, got {request.first}; send packets in "
                    "their order, each once, or begin a stream of another name"
                )
            self.check_room(len(request.packets))  # before the decoder has had them
            memory = decoder.frame_bytes * len(request.packets)
            if enhancer.held > request.memory and enhancer.held + memory > enhancer.config.max_memory:
                raise Unavailable(f"frames of {enhancer.held:,} bytes are under way already; wait for answers")
            options = request.options
            given = request.packets, request.times, request.last, options.matrix, options.range, self.check
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(enhancer.decoders, decoder.decode, *given)
            self.request = dataclasses.replace(
                request, frames=[partial(_itself, one.picture) for one in found], times=[one.time for one in found]
            )
            self.decoded_bytes = decoder.frame_bytes * len(found)
            enhancer.held += self.decoded_bytes
            places = self.enter(stream.next, len(found))
            self.choices = [self.choice((one.picture.width, one.picture.height), one.spent) for one in found]
            return places

    async def frame(self, i: int, place: Place) -> tuple[dict[str, Any], Tensors]:
        """Enhance frame i when its turn comes; return the facts of its event, and the tensors of its answer."""
        request = self.request
        said = {"number": place.number, "time": request.time(i)}
        try:
            if not await place.turn:
                self.dropped.append(place.number)
                return {"kind": "dropped", **said}, {}
            async with self.enhancer.workers:
                self.check()
                begun = time.perf_counter()
                picture = await request.frames[i]()
                size, beside = (picture.width, picture.height), picture.beside
                spent = self.choices[i].spent
                picture, done = await self.enhanced_picture(picture, self.choices[i])
                options = request.options
                colour = options.colour(picture.height)
                how = request.form, options.quality, colour, beside
                tensors = await asyncio.to_thread(pictures.answer, picture, *how)
                seconds = round(time.perf_counter() - begun, 4)
        except InvalidArgument as error:
            self.failed += 1
            return {"kind": "failed", **said, "error": str(error)}, {}
        finally:
            self.stream.leave(place)
        self.enhanced += 1
        facts = {"width": picture.width, "height": picture.height, "from": size, "done": done, "seconds": seconds}
        went = {} if spent is None else {"bits": round(spent.mean), "provisional": not spent.whole}
        if beside.notes:
            facts["notes"] = beside.notes
        return {"kind": "frame", **said, **facts, **went, **_meaning(picture, request.form, colour)}, tensors

    def choice(self, size: tuple[int, int] | None, known: Spent | None) -> Choice:
        """Choose the networks for the next frame of the stream.

        size: (width, height), pixels, or None for a frame whose size is unknown because it cannot be decoded.
        known: what is known of the stream's rate, or None; a rate that the caller names comes first.
        """
        options = self.request.options
        if size is None:
            return Choice(options.do, ())
        tall, wide = options.target(size[1], size[0])
        # Where nothing is to be enlarged, no upscaler mends what coding did.
        do = "artefacts" if options.do == "both" and tall <= size[1] and wide <= size[0] else options.do
        if options.mode != "auto":
            return Choice(do, choose(options.mode, do, None))
        spent = known if options.bits is None else Spent.of(options.bits)
        at, still = self.stream.auto.follow(*size, spent), spent is not None and spent.still
        return Choice(do, choose("auto", do, at, still), spent, share(at, still))

    async def enhanced_picture(self, picture: Picture, choice: Choice) -> tuple[Picture, list[str]]:
        """Pass a frame through networks and scale it to the size that was asked for.

        Returns the frame, and the names of the networks that it passed through, with "area" if it was scaled.
        """
        done: list[str] = []
        height, width = check_size(picture.height, picture.width, self.request.options, self.enhancer.config)
        for model in choice.way:
            if model in UPSCALERS:
                ratio = max(height / picture.height, width / picture.width)
                if ratio <= 1:
                    continue
                model = reaching(model, ratio, self.enhancer.radii)
            done.append(model)
            picture = await self.through(model, picture, choice.share if model in REMOVERS else 1.0)
        if (picture.height, picture.width) != (height, width):
            done.append("area")
            picture = await asyncio.to_thread(resized, picture, height, width)
        return picture, done

    async def through(self, model: str, picture: Picture, share: float) -> Picture:
        """Pass a frame through one network, in tiles if it is large. share: of the caller's strength, 0..1."""
        radius = self.enhancer.radii[model] + (CHROMA_RADIUS if picture.halved else 0)
        parts = tiles(picture.height, picture.width, self.enhancer.config.tile, radius)
        colour = picture.colour.to_rgb.astype(np.float32)
        strength = np.array([share * self.request.options.strength], np.float32)
        luma = chroma = np.empty(0, np.uint8)

        async def one(tile: Tile) -> None:
            nonlocal luma, chroma
            seen = halved(tile.seen) if picture.halved else tile.seen
            alone = {
                "LUMA": picture.luma[tile.seen],
                "CHROMA": picture.chroma[seen],
                "COLOUR": colour,
                "STRENGTH": strength,
            }
            # OpenVINO 2026.4 gives wrong numbers in bf16 where batch, height and width are all 1: two copies then.
            copies = 2 if alone["LUMA"].size == 1 else 1
            given = {name: np.stack([array] * copies) for name, array in alone.items()}
            answer = await self.enhancer.call(model, given, ("LUMA_OUT", "CHROMA_OUT"))
            large, small = answer["LUMA_OUT"][0], answer["CHROMA_OUT"][0]
            scale = large.shape[0] // given["LUMA"].shape[1]
            if not luma.size:
                height, width = picture.height * scale, picture.width * scale
                luma = np.empty((height, width), np.uint8)
                chroma = np.empty((*((-(-height // 2), -(-width // 2)) if picture.halved else (height, width)), 2),
                                  np.uint8)  # fmt: skip
            luma[tile.outer(scale)] = large[tile.inner(scale)]
            outer, inner = tile.outer(scale), tile.inner(scale)
            if picture.halved:
                outer, inner = halved(outer), halved(inner)
            chroma[outer] = small[inner]

        await each(parts, one, 2, self.check)
        return Picture(luma, chroma, picture.colour)

    # ---------------------------------------------------------------------------------------- what is said

    @property
    def named(self) -> str | None:
        """Return the stream's name, or None if the caller gave none."""
        return self.request.stream if len(self.request.stream) <= 200 else None

    def event(self, kind: str, **facts: Any) -> Tensors:
        """Make the tensor of an event."""
        return {"EVENT": json_strings([{"kind": kind, **facts}])}

    def switched(self, choice: Choice) -> bool:
        """Tell whether mode auto takes other networks for this frame than for the frame answered before."""
        mode, before = self.request.options.mode, self.stream.shown
        self.stream.shown = (mode, choice.do), choice.way
        return mode == "auto" and before is not None and before[0] == (mode, choice.do) and before[1] != choice.way

    def end(self) -> Tensors:
        """Make the last event, which counts what became of the frames."""
        return self.event(
            "end",
            stream=self.named,
            frames=self.enhanced,
            dropped=self.dropped,
            failed=self.failed,
            next=self.stream.next,
            seconds=round(time.perf_counter() - self.started, 4),
        )


def _meaning(picture: Picture, form: str, colour: Any) -> dict[str, str]:
    """Return matrix and range of planes that are answered; {} for other formats."""
    own = picture.colour if picture.halved else colour
    return {"matrix": own.matrix, "range": own.range} if form == "yuv420" else {}


async def _itself(picture: Picture) -> Picture:
    return picture
