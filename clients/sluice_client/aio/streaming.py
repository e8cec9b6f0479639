"""The verbs that the server answers many times while it works: `sample`, `encode`, `interpolate` and `enhance`.

The verbs' own modules make the requests and read the answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Unpack

import numpy as np

from ..answers.enhance import Enhanced
from ..answers.sample import Latents, Samples
from ..answers.sample_events import Event, OnEvent
from ..query import ImageLike
from ..verbs import encode, enhance, interpolate, sample
from ..verbs.encode import EncodeKeywords
from ..verbs.enhance import EnhanceKeywords, FrameLike
from ..verbs.interpolate import InterpolateKeywords
from ..verbs.sample import Labels, SampleKeywords
from .delivery import AsyncDelivery

__all__ = ["AsyncStreaming"]


class AsyncStreaming(AsyncDelivery):
    """The methods of the client for these verbs."""

    async def sample(
        self,
        model: str | None = None,
        *,
        on_event: OnEvent | None = None,
        timeout: float | None = None,
        **options: Unpack[SampleKeywords],
    ) -> Samples:
        """Draw new images from a diffusion network, in the order of their seeds; equal seeds give equal images.
        Keywords are those of `sample.request`: seeds, seed, count, labels, latents; and the fields of `sample.Options`:
        solver, steps, grid, analytic_first, denoise, guidance, guidance_rule, curvature, difference, preview, format.

        model:    name of the network, such as "digits"; None: the server's first network.
        on_event: called with each event as it comes: progress, previews, results, end.
        timeout:  seconds until the first event, retries included; then seconds until each further event.
        """
        collected = await self._collect(sample.request(model, **options), on_event, timeout)
        return collected.samples()

    def sample_stream(
        self, model: str | None = None, *, timeout: float | None = None, **options: Unpack[SampleKeywords]
    ) -> AsyncGenerator[Event, None]:
        """Return the events of `sample` as they come: `async for event in sluice.sample_stream(...)`.

        Leaving the iteration cancels the request at the server.
        Cancelling the task that iterates cancels the request too.
        The arguments are those of `sample`.
        """
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
        """Return the latents of images, in order. `sample(latents=...)` makes the images of them again, if it is given
        the same model, labels, solver, steps and grid. Keywords are fields of `sample.Options`: solver, steps, grid,
        guidance, guidance_rule, curvature, difference, fit.

        For an image that cannot be read, `error` is set; the other images are answered.
        Files are read in a thread, so that the event loop never waits for a disk.

        tensors: [n, C, S, S], about -1..1, in place of images. The other arguments are those of `sample`.
        """
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
        """Return the images on the way from one image to another, both ends included, for each pair. Keywords are those
        of `interpolate.request`: seeds, images or latents, in pairs; labels; and fields of `sample.Options`, among them
        between, the number of images per pair.

        Files are read in a thread, so that the event loop never waits for a disk.
        The other arguments are those of `sample`.
        """
        call, pairs = await asyncio.to_thread(interpolate.request, model, **options)
        collected = await self._collect(call, on_event, timeout)
        return collected.samples(pairs)

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
        """Return these images with fewer coding artefacts, larger, or both, in order. Keywords are fields of
        `enhance.Options`: do, mode, scale, size, strength, bitrate, fps, matrix, range, format, quality.

        For an image that the server cannot decode, `error` is set; the other images are answered. Raises InvalidRequest
        for a file that cannot be read.
        Files are read in a thread, so that the event loop never waits for a disk.

        images:   encoded bytes or paths, pixels uint8 [H, W, 3], `Planes`, or `Packet` of H.264.
        progress: called with each answer as it comes. batch: maximum frames per call. in_flight: maximum number of
                  calls under way at the same time. timeout: seconds until the first answer of a call, retries included;
                  then seconds until each further answer.
        """
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
        """Return the frames of a video as they come back, in order: `async for frame in sluice.enhance_stream(...)`.

        Each frame is drawn from `frames` only when a call has room for it, so `frames` may be endless. Leaving the
        iteration ends the stream. Keywords are those of `enhance` and policy, backlog, idle.
        Frames are drawn in a thread, so that the event loop never waits for a disk.

        times:  one number per frame, which comes back with the frame. None: no frame has a time.
        stream: its name at the server; None: a new name. first: the number of the first frame.
        batch:  maximum frames per call, 1 for the least delay. The other arguments are those of `enhance`.
        """
        work = enhance.pieces(frames, times=times, stream=stream, first=first, batch=batch, **options)
        return self._enhanced(work, in_flight, timeout)
