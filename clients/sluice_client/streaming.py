"""The verbs that are answered many times while the server works: `sample`, `encode`, `interpolate` and `enhance`, for
both clients. What is asked and answered stands in the verbs' own files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from contextlib import aclosing
from typing import Unpack

import numpy as np

from .answers.enhance import Enhanced
from .answers.sample import Latents, Samples
from .answers.sample_events import Event, OnEvent
from .delivery import Asking, AsyncAsking
from .query import ImageLike
from .verbs import encode, enhance, interpolate, sample
from .verbs.encode import EncodeKeywords
from .verbs.enhance import EnhanceKeywords, FrameLike
from .verbs.interpolate import InterpolateKeywords
from .verbs.sample import Labels, SampleKeywords

__all__ = ["AsyncStreaming", "Streaming"]


class Streaming(Asking):
    """The methods of the synchronous client."""

    def sample(
        self,
        model: str | None = None,
        *,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[SampleKeywords],
    ) -> Samples:
        """New pictures of a diffusion network, in the order of their seeds; the same seed gives the same picture.
        Keywords as of `sample.request`: seeds, seed, count, labels, latents; and of `sample.Options`: solver, steps,
        grid, analytic_first, denoise, guidance, guidance_rule, curvature, difference, preview, format.

        model:    the network, such as "digits"; None: the server's first.
        on_event: called with each event as it comes: progress, previews, results, end.
        timeout:  seconds until the first event, with all retries; then until each further.
        """
        return self._collect(sample.request(model, **options), on_event, timeout).samples()

    def sample_stream(
        self, model: str | None = None, *, timeout: float | None = None, **options: Unpack[SampleKeywords]
    ) -> Generator[Event, None, None]:
        """The same as events, as they come; leaving the iteration cancels the request at the server."""
        return self._events(sample.request(model, **options), timeout)

    def encode(
        self,
        images: Sequence[ImageLike] | None = None,
        *,
        tensors: np.ndarray | None = None,
        model: str | None = None,
        labels: Labels | None = None,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[EncodeKeywords],
    ) -> Latents:
        """The latents of pictures, in their order: what `sample(latents=...)` makes them of again with the same model,
        labels, solver, steps and grid. A picture that cannot be read has `error` set; its neighbours are answered.
        Keywords: solver, steps, grid, guidance, guidance_rule, curvature, difference, fit; see `sample.Options`.

        tensors: [n, C, S, S], about -1..1, in place of images.
        """
        work = encode.Encoding(images, tensors)
        return work.latents(self._collect(work.request(model, labels, **options), on_event, timeout, work.event))

    def interpolate(
        self,
        model: str | None = None,
        *,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[InterpolateKeywords],
    ) -> Samples:
        """The pictures on the way from one to another, both ends included, for each pair. Keywords as of
        `interpolate.request`: seeds, images or latents, in pairs; labels; and of `sample.Options`, among them
        between, how many pictures a pair."""
        call, pairs = interpolate.request(model, **options)
        return self._collect(call, on_event, timeout).samples(pairs)

    def enhance(
        self,
        images: Iterable[FrameLike],
        *,
        progress: Callable[[Enhanced], None] | None = None,
        batch: int = 4,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[EnhanceKeywords],
    ) -> list[Enhanced]:
        """These pictures with less of what coding did to them, larger, or both; in their order. Keywords as of
        `enhance.Options`: do, mode, scale, size, strength, bitrate, fps, matrix, range, format, quality.

        A picture that cannot be read has `error` set; its neighbours are answered.

        images:   encoded bytes or paths, pixels [H, W, 3], `Planes`, or `Packet` of H.264.
        progress: called with each answer as it comes. batch: frames of a call. in_flight: calls under way at the same
                  time. timeout: seconds until a call's first news, with all retries; then until each further.
        """
        found = []
        for one in self.enhance_stream(images, batch=batch, in_flight=in_flight, timeout=timeout, **options):
            found.append(one)
            if progress is not None:
                progress(one)
        return found

    def enhance_stream(
        self,
        frames: Iterable[FrameLike],
        *,
        times: Iterable[float | None] | None = None,
        stream: str | None = None,
        first: int = 0,
        batch: int = 4,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[EnhanceKeywords],
    ) -> Generator[Enhanced, None, None]:
        """The frames of a video as they come back, in order. `frames` is drawn from as places come free, so it may be
        endless; leaving the iteration ends the stream. Others as of `enhance`, and policy, backlog, idle.

        times:  of the frames, any numbers; they come back with them.
        stream: its name at the server; default: one of its own. first: the number of the first frame.
        batch:  1 for the least delay.
        """
        work = enhance.pieces(frames, times=times, stream=stream, first=first, batch=batch, **options)
        return self._enhanced(work, in_flight, timeout)


class AsyncStreaming(AsyncAsking):
    """The methods of the asyncio client."""

    async def sample(
        self,
        model: str | None = None,
        *,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[SampleKeywords],
    ) -> Samples:
        """As `Sluice.sample`."""
        return (await self._collect(sample.request(model, **options), on_event, timeout)).samples()

    def sample_stream(
        self, model: str | None = None, *, timeout: float | None = None, **options: Unpack[SampleKeywords]
    ) -> AsyncGenerator[Event, None]:
        """As `Sluice.sample_stream`: `async for event in sluice.sample_stream(...)`. A task that is cancelled in it
        cancels the request too."""
        return self._events(sample.request(model, **options), timeout)

    async def encode(
        self,
        images: Sequence[ImageLike] | None = None,
        *,
        tensors: np.ndarray | None = None,
        model: str | None = None,
        labels: Labels | None = None,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[EncodeKeywords],
    ) -> Latents:
        """As `Sluice.encode`. Files are read in a thread, so the event loop never waits for a disk."""
        work = await asyncio.to_thread(encode.Encoding, images, tensors)
        call = work.request(model, labels, **options)
        return work.latents(await self._collect(call, on_event, timeout, work.event))

    async def interpolate(
        self,
        model: str | None = None,
        *,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[InterpolateKeywords],
    ) -> Samples:
        """As `Sluice.interpolate`. Files are read in a thread, so the event loop never waits for a disk."""
        call, pairs = await asyncio.to_thread(interpolate.request, model, **options)
        return (await self._collect(call, on_event, timeout)).samples(pairs)

    async def enhance(
        self,
        images: Iterable[FrameLike],
        *,
        progress: Callable[[Enhanced], None] | None = None,
        batch: int = 4,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[EnhanceKeywords],
    ) -> list[Enhanced]:
        """As `Sluice.enhance`. Files are read in a thread, so the event loop never waits for a disk."""
        found = []
        answers = self.enhance_stream(images, batch=batch, in_flight=in_flight, timeout=timeout, **options)
        async with aclosing(answers):
            async for one in answers:
                found.append(one)
                if progress is not None:
                    progress(one)
        return found

    def enhance_stream(
        self,
        frames: Iterable[FrameLike],
        *,
        times: Iterable[float | None] | None = None,
        stream: str | None = None,
        first: int = 0,
        batch: int = 4,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[EnhanceKeywords],
    ) -> AsyncGenerator[Enhanced, None]:
        """As `Sluice.enhance_stream`: `async for frame in sluice.enhance_stream(...)`. Frames are drawn in a thread."""
        work = enhance.pieces(frames, times=times, stream=stream, first=first, batch=batch, **options)
        return self._enhanced(work, in_flight, timeout)
