"""The asyncio client: `client.py` with `await`. A test holds both to the same names, signatures and answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from .answers.compare import Compared
from .answers.detect import Detected, Detections
from .answers.embed import Features
from .answers.health import Health
from .answers.ingest import Receipt
from .answers.retrieve import Found, Match, Scores
from .answers.segment import Segmentation, Segmented
from .answers.select import Selection
from .client import default_server
from .errors import Unavailable
from .filters import Filters
from .frames import Frame
from .query import ImageLike, Query
from .streaming import AsyncStreaming
from .transport.connection import Connection, Tls
from .transport.protocol import AsyncTransport
from .transport.retry import Retry, patience, policy
from .verbs import compare, detect, embed, gallery, health, match, retrieve, segment, select, words
from .verbs.compare import CompareKeywords
from .verbs.detect import DetectKeywords
from .verbs.ingest import AddKeywords, NewFrame, batches
from .verbs.match import MatchKeywords
from .verbs.pieces import parts
from .verbs.retrieve import RetrieveKeywords
from .verbs.segment import SegmentKeywords, Templates
from .verbs.select import SelectKeywords
from .verbs.words import Vocabulary

__all__ = ["AsyncSluice"]


class AsyncSluice(AsyncStreaming):
    """A server's verbs as coroutines. Tasks of one event loop may share one. Arguments as of `Sluice`.

    async with AsyncSluice() as sluice:
        found = await sluice.retrieve(Query("bike.jpg", rois=[(210, 80, 260, 140)]), k=5)
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        tls: Tls | bool | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        retry: Retry | None = None,
        on_retry: Callable[[Unavailable, float], None] | None = None,
        transport: AsyncTransport | None = None,
    ):
        self.server = default_server() if server is None or (isinstance(server, str) and not server) else server
        self.timeout = patience(timeout)
        self.retry = policy(retry)
        self.on_retry = on_retry
        self.connection: Connection | None = None
        if transport is None:
            from .transport.grpc_aio import AsyncGrpc

            self.connection = Connection.of(self.server, tls, headers)
            transport = AsyncGrpc(self.connection)
        self._transport = transport

    async def __aenter__(self) -> AsyncSluice:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls still under way are cancelled."""
        await self._transport.close()

    # The verbs ------------------------------------------------------------------------------------------------------

    async def embed(self, image: ImageLike, *, timeout: float | None = None) -> Features:
        """As `Sluice.embed`."""
        return await self._ask(embed.request(image), embed.answer, timeout)

    async def ingest(
        self,
        frames: Iterable[NewFrame | ImageLike],
        *,
        progress: Callable[[list[Receipt]], None] | None = None,
        batch: int = 16,
        batch_bytes: int = 8 << 20,
        in_flight: int = 4,
        timeout: float | None = None,
    ) -> list[Receipt]:
        """As `Sluice.ingest`. Files are read in a thread, so the event loop never waits for a disk."""
        from .transport.in_order import in_order_async

        receipts: list[Receipt] = []
        work = batches(frames, count=batch, size=batch_bytes)
        async for done in in_order_async(lambda one: self._add(one, timeout), work, in_flight):
            receipts += done
            if progress is not None:
                progress(done)
        return receipts

    async def add(self, image: ImageLike, *, timeout: float | None = None, **frame: Unpack[AddKeywords]) -> Receipt:
        """As `Sluice.add`."""
        return (await self.ingest([NewFrame.of(image, **frame)], timeout=timeout))[0]

    async def retrieve(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        texts: Sequence[str] | None = None,
        timeout: float | None = None,
        **options: Unpack[RetrieveKeywords],
    ) -> Found:
        """As `Sluice.retrieve`."""
        call = retrieve.request(query, texts=texts, **options)
        return await self._ask(call, lambda tensors: retrieve.answer(tensors, texts), timeout)

    async def match(
        self,
        query: Query | Sequence[Query],
        images: Sequence[ImageLike],
        *,
        progress: Callable[[list[Match]], None] | None = None,
        batch: int = 32,
        timeout: float | None = None,
        **options: Unpack[MatchKeywords],
    ) -> Scores:
        """As `Sluice.match`."""
        matches: list[Match] = []
        model = ""
        notes: tuple[str, ...] = ()
        chosen = match.Options.of(**options)
        for part in parts("match", images, batch):
            answers = Scores(())
            if part.images:
                call = match.asked(query, part.images, chosen)
                names = part.readable()
                answers = await self._ask(call, lambda tensors, names=names: match.answer(tensors, names), timeout)  # type: ignore[misc]
            model, notes = answers.model or model, answers.notes or notes
            done = part.merge(answers.matches, match.failed)
            matches += done
            if progress is not None:
                progress(done)
        return Scores(tuple(matches), model, notes)

    async def detect(
        self,
        images: Sequence[ImageLike] | None = None,
        *,
        ids: Sequence[str] | None = None,
        keep_scores: bool = False,
        progress: Callable[[list[Detections]], None] | None = None,
        batch: int = 8,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[DetectKeywords],
    ) -> Detected:
        """As `Sluice.detect`. Files are read in a thread, so the event loop never waits for a disk."""
        from .transport.in_order import in_order_async

        found: list[Detections] = []
        labels: tuple[str, ...] = ()
        model = ""
        work = detect.works(images, ids, batch, keep_scores=keep_scores, **options)
        async for done in in_order_async(lambda one: self._do(one, timeout), work, in_flight):
            found += done.images
            labels, model = done.labels or labels, done.model or model
            if progress is not None:
                progress(list(done.images))
        return Detected(tuple(found), labels, model)

    async def select(
        self,
        candidates: Iterable[Detections | Mapping[str, Any]] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[SelectKeywords],
    ) -> Selection:
        """As `Sluice.select`."""
        return await self._ask(select.request(candidates, **options), select.answer, timeout)

    async def segment(
        self,
        images: Sequence[ImageLike] | None = None,
        *,
        ids: Sequence[str] | None = None,
        classes: Sequence[str],
        progress: Callable[[list[Segmentation]], None] | None = None,
        batch: int = 4,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[SegmentKeywords],
    ) -> Segmented:
        """As `Sluice.segment`. Files are read in a thread, so the event loop never waits for a disk."""
        from .transport.in_order import in_order_async

        found: list[Segmentation] = []
        last = Segmented(())
        work = segment.works(images, ids, classes, batch, **options)
        async for done in in_order_async(lambda one: self._do(one, timeout), work, in_flight):
            found += done.images
            last = done if done.model or not last.model else last
            if progress is not None:
                progress(list(done.images))
        return replace(last, images=tuple(found))

    async def compare(
        self,
        images: Sequence[ImageLike] | None = None,
        texts: Sequence[str] = (),
        *,
        ids: Sequence[str] | None = None,
        progress: Callable[[Compared], None] | None = None,
        batch: int = 16,
        in_flight: int = 2,
        timeout: float | None = None,
        **options: Unpack[CompareKeywords],
    ) -> Compared:
        """As `Sluice.compare`. Files are read in a thread, so the event loop never waits for a disk."""
        from .transport.in_order import in_order_async

        found: list[Compared] = []
        work = compare.works(images, ids, texts, batch, **options)
        async for done in in_order_async(lambda one: self._do(one, timeout), work, in_flight):
            found.append(done)
            if progress is not None:
                progress(done)
        return compare.joined(found)

    async def words(
        self, texts: Sequence[str] = (), *, templates: Templates | None = None, timeout: float | None = None
    ) -> Vocabulary:
        """As `Sluice.words`."""
        calls = words.requests(texts, templates)
        return words.joined([await self._ask(call, words.answer, timeout) for call in calls], texts)

    # The gallery ----------------------------------------------------------------------------------------------------

    async def frames(
        self, *, page: int = 500, timeout: float | None = None, **filters: Unpack[Filters]
    ) -> AsyncGenerator[Frame, None]:
        """As `Sluice.frames`: `async for frame in sluice.frames()`."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.list_request(cursor, page, **filters), gallery.list_answer, timeout)
            for frame in part.frames:
                yield frame
            cursor = part.next

    async def unscored(self, *, page: int = 500, timeout: float | None = None) -> AsyncGenerator[str, None]:
        """As `Sluice.unscored`: `async for id in sluice.unscored()`."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.unscored_request(cursor, page), gallery.unscored_answer, timeout)
            for id in part.ids:
                yield id
            cursor = part.next

    async def unembedded(self, *, page: int = 500, timeout: float | None = None) -> AsyncGenerator[str, None]:
        """As `Sluice.unembedded`: `async for id in sluice.unembedded()`."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.unembedded_request(cursor, page), gallery.unscored_answer, timeout)
            for id in part.ids:
                yield id
            cursor = part.next

    async def get(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Frame]:
        """As `Sluice.get`."""
        return await self._ask(gallery.get_request(ids), gallery.get_answer, timeout)

    async def objects(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Detections]:
        """As `Sluice.objects`."""
        return await self._ask(gallery.objects_request(ids), gallery.objects_answer, timeout)

    async def image(self, id: str, *, timeout: float | None = None) -> bytes:
        """As `Sluice.image`."""
        return await self._ask(gallery.image_request(id), gallery.image_answer, timeout)

    async def delete(self, ids: Sequence[str], *, timeout: float | None = None) -> list[str]:
        """As `Sluice.delete`."""
        return await self._ask(gallery.delete_request(ids), gallery.delete_answer, timeout)

    async def describe(self, *, timeout: float | None = None) -> dict[str, Any]:
        """As `Sluice.describe`."""
        return await self._ask(gallery.describe_request(), gallery.describe_answer, timeout)

    async def health(self, *, timeout: float | None = None) -> Health:
        """As `Sluice.health`."""
        return await self._transport.health(health.MODELS, self.timeout if timeout is None else patience(timeout))
