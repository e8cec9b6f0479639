"""The asyncio client. The verbs' own modules make the requests and read the answers; the client only moves them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from ..answers.compare import Compared
from ..answers.detect import Detected, Detections
from ..answers.embed import Features
from ..answers.health import Health
from ..answers.ingest import Receipt
from ..answers.retrieve import Found, Match, Scores
from ..answers.segment import Segmentation, Segmented
from ..answers.select import Selection
from ..errors import SluiceError, Unavailable
from ..filters import FilterKeywords
from ..frames import Frame
from ..query import ImageLike, Query
from ..transport.connection import Connection, Tls, default_server
from ..transport.in_order import AsyncSignal, in_order_async
from ..transport.protocol import AsyncTransport
from ..transport.retry import Retry, patience, policy
from ..verbs import compare, detect, embed, gallery, health, match, retrieve, segment, select, words
from ..verbs.compare import CompareKeywords
from ..verbs.detect import DetectKeywords
from ..verbs.ingest import AddKeywords, NewFrame, batches
from ..verbs.match import MatchKeywords
from ..verbs.pieces import cut_images
from ..verbs.retrieve import RetrieveKeywords
from ..verbs.segment import SegmentKeywords, Templates
from ..verbs.select import SelectKeywords
from ..verbs.words import Vocabulary
from .streaming import AsyncStreaming

__all__ = ["AsyncSluice"]


class AsyncSluice(AsyncStreaming):
    """The verbs of a server as methods. Tasks of one event loop may share an instance.

        async with AsyncSluice() as sluice:
            await sluice.ingest([NewFrame("frame.jpg", drive="0016E5")])
            found = await sluice.retrieve(Query("bike.jpg", rois=[(210, 80, 260, 140)]), k=5)
            for match in found:
                print(match.id, match.score, match.boxes)

    server:    host:port of gRPC, or grpcs://host:port for TLS. Default: SLUICE_URL of the environment, else
               127.0.0.1:8001.
    tls:       True, False, or `Tls(ca=, cert=, key=, server_name=)`. None: as the address and the environment say, and
               plaintext if they say nothing; see `transport.connection`.
    headers:   sent with every call, such as {"authorization": "Bearer ..."}, in addition to those of SLUICE_HEADERS.
    timeout:   seconds per call, retries included. `ingest` and `frames` count it anew for each batch and page.
    retry:     how to wait when the server is absent or full. None: `Retry()`.
    on_retry:  called with (error, seconds to wait) before each wait. None: nothing is called.
    transport: replaces gRPC, as `transport.protocol.AsyncFunction` does in tests. None: gRPC.

    Every method raises only the exceptions that `errors` lists.
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
            from ..transport.grpc_aio import AsyncGrpc

            self.connection = Connection.of(self.server, tls, headers)
            transport = AsyncGrpc(self.connection)
        self._transport = transport
        self._closed = AsyncSignal()

    async def __aenter__(self) -> AsyncSluice:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and cancel the calls that are still under way."""
        self._closed.set()
        await self._transport.close()

    # The verbs ------------------------------------------------------------------------------------------------------

    async def embed(self, image: ImageLike, *, timeout: float | None = None) -> Features:
        """Return the feature map of one image."""
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
        """Store these frames, each image once, and return one receipt per frame, in order.

        Files are read only when their batch is next, so `frames` may be endless. After a failure, ingest the same
        frames again: those that were stored come back as "known", whether or not their receipts had arrived.
        Files are read in a thread, so that the event loop never waits for a disk.

        frames:      each a `NewFrame`, or a path or encoded bytes if nothing else is known of the frame.
        progress:    called with the receipts of each batch, in order; their frames are then on the server's disk,
                     except those that were refused.
        batch:       maximum images per call. batch_bytes: maximum bytes per call; a larger image is sent alone.
        in_flight:   maximum number of calls under way at the same time.
        timeout:     seconds per batch, retries included.
        """
        receipts: list[Receipt] = []
        work = batches(frames, count=batch, size=batch_bytes)
        async for done in in_order_async(lambda one: self._add(one, timeout), work, in_flight):
            receipts += done
            if progress is not None:
                progress(done)
        return receipts

    async def add(self, image: ImageLike, *, timeout: float | None = None, **frame: Unpack[AddKeywords]) -> Receipt:
        """Store one frame and return its receipt. Keywords are fields of `NewFrame`: id, drive, camera, time, tags."""
        receipts = await self.ingest([NewFrame.of(image, **frame)], timeout=timeout)
        return receipts[0]

    async def retrieve(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        texts: Sequence[str] | None = None,
        timeout: float | None = None,
        **options: Unpack[RetrieveKeywords],
    ) -> Found:
        """Return the stored frames that show what the query's regions show, what the texts say, or both. Keywords are
        the fields of `retrieve.Options`: k, threshold, score, combine, drives, cameras, after, before, tags, exclude,
        per_drive, heatmaps; for texts also templates, fuse and allow_unknown."""
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
        """Score each of these images against the query's regions, in order. Keywords are score, combine, heatmaps.

        For an image that cannot be read, `error` is set and the score is NaN; the other images are answered.

        progress: called with the matches of each call, in order. batch: maximum images per call. timeout: seconds per
                  call, retries included.
        """
        matches: list[Match] = []
        model = ""
        notes: tuple[str, ...] = ()
        chosen = match.Options.of(**options)
        for piece in cut_images("match", images, batch):
            answers = Scores(())
            if piece.images:
                call = match.asked(query, piece.images, chosen)
                names = piece.readable()
                answers = await self._ask(call, partial(match.answer, names=names), timeout)
            model, notes = answers.model or model, answers.notes or notes
            done = piece.merge(answers.matches, match.failed)
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
        """Detect the objects in these images, or in the stored frames with these ids, in order. Keywords are the fields
        of `detect.Options`: confidence, candidates, iou, keep, object_score, min_score, class_reduce, labels.

        For an image that cannot be read, `error` is set; the other images are answered.
        Files are read in a thread, so that the event loop never waits for a disk.

        keep_scores: store the result with the frames, for `select`; needs ids.
        progress:    called with the answers of each call, in order. batch: maximum images per call. in_flight: maximum
                     number of calls under way at the same time. timeout: seconds per call, retries included.
        """
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
        """Return the stored frames that most deserve a label, or the best of `candidates`, which `detect` answered.
        Keywords are the fields of `select.Options`: n, threshold, over_objects, aggregate, rank_empty, types,
        class_weights, per_drive, diversity, labelled, labelled_tag, drives, cameras, after, before, tags, exclude,
        statistics, frozen, detector, object_score, listed."""
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
        """Find which of the named classes each pixel shows, in these images or in the stored frames with these ids, in
        order. Keywords are the fields of `segment.Options`: templates, rule, top, background, window, format, groups,
        confidence, allow_unknown.

        For an image that cannot be read, `error` is set; the other images are answered.
        Files are read in a thread, so that the event loop never waits for a disk.
        The other arguments are those of `detect`.
        """
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
        """Score how well each of these images, or of the stored frames with these ids, agrees with each of these texts.
        Keywords are those of `compare.request`: templates, embeddings, keep_embeddings, allow_unknown.

        An image that cannot be read has an entry in `errors`; the other images are answered.
        Files are read in a thread, so that the event loop never waits for a disk.

        progress: called with the answer of each call, in order. The other arguments are those of `detect`.
        """
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
        """Return the words that the text encoder has learned, and what it reads of these texts; no text is refused.

        templates: the sentences that the texts will be put into, as in `segment`. None: the texts are read as they are.
        """
        calls = words.requests(texts, templates)
        return words.joined([await self._ask(call, words.answer, timeout) for call in calls], texts)

    # The gallery ----------------------------------------------------------------------------------------------------

    async def frames(
        self, *, page: int = 500, timeout: float | None = None, **filters: Unpack[FilterKeywords]
    ) -> AsyncGenerator[Frame, None]:
        """Yield the stored frames that pass the filters, in the order in which they were stored; `page` frames are
        fetched per call. Keywords are drives, cameras, after, before, tags, exclude. Warns with RequestIgnored of
        filter values that no frame has. Usage: `async for frame in sluice.frames(): ...`."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.list_request(cursor, page, **filters), gallery.list_answer, timeout)
            for frame in part.frames:
                yield frame
            cursor = part.next

    async def unscored(self, *, page: int = 500, timeout: float | None = None) -> AsyncGenerator[str, None]:
        """Yield the ids of the frames that this server's detector has not scored; `page` ids are fetched per call."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.unscored_request(cursor, page), gallery.unscored_answer, timeout)
            for id in part.ids:
                yield id
            cursor = part.next

    async def unembedded(self, *, page: int = 500, timeout: float | None = None) -> AsyncGenerator[str, None]:
        """Yield the ids of the frames that texts cannot find yet; `page` ids are fetched per call. After
        `compare(ids=..., keep_embeddings=True)` texts find them."""
        cursor: str | None = ""
        while cursor is not None:
            part = await self._ask(gallery.unembedded_request(cursor, page), gallery.unscored_answer, timeout)
            for id in part.ids:
                yield id
            cursor = part.next

    async def get(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Frame]:
        """Return what the gallery knows of these frames, in order. Raises NotFound when an id is unknown."""
        return await self._ask(gallery.get_request(ids), gallery.get_answer, timeout)

    async def objects(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Detections]:
        """Return the objects that were stored with these frames when they were scored, in order; the detector does not
        run. `error` is set for a frame that was not scored. Raises NotFound when an id is unknown."""
        return await self._ask(gallery.objects_request(ids), gallery.objects_answer, timeout)

    async def image(self, id: str, *, timeout: float | None = None) -> bytes:
        """Return the bytes of a frame, exactly as they were added."""
        return await self._ask(gallery.image_request(id), gallery.image_answer, timeout)

    async def delete(self, ids: Sequence[str], *, timeout: float | None = None) -> list[str]:
        """Remove these frames and return the ids that were stored."""
        return await self._ask(gallery.delete_request(ids), gallery.delete_answer, timeout)

    async def describe(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Return the counts and the model of the gallery, as the server reports them."""
        return await self._ask(gallery.describe_request(), gallery.describe_answer, timeout)

    async def health(self, *, timeout: float | None = None) -> Health:
        """Return whether the server is live and ready, which models are, and its networks' weights and precision.

        Asks once, and raises Unavailable when nothing answers.
        """
        found = await self._transport.health(health.MODELS, self.timeout if timeout is None else patience(timeout))
        if found.models.get("frame_gallery"):
            with suppress(SluiceError):  # an older server does not tell
                said = await self._ask(gallery.precision_request(), gallery.precision_answer, timeout)
                return replace(found, weights=said.pop("weights", ""), precision=said)
        return found
