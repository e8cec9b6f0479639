"""The synchronous client. What is asked and answered stands in the verbs' own files; here calls are only moved."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
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
from .errors import Unavailable
from .filters import Filters
from .frames import Frame
from .query import ImageLike, Query
from .streaming import Streaming
from .transport.connection import Connection, Tls
from .transport.protocol import Transport
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

__all__ = ["Sluice", "default_server"]


def default_server() -> str:
    """SLUICE_URL, else 127.0.0.1:8001."""
    return os.environ.get("SLUICE_URL") or "127.0.0.1:8001"


class Sluice(Streaming):
    """A server's verbs as methods. Threads may share one.

        with Sluice() as sluice:
            sluice.ingest([NewFrame("frame.jpg", drive="0016E5")])
            found = sluice.retrieve(Query("bike.jpg", rois=[(210, 80, 260, 140)]), k=5)
            for match in found:
                print(match.id, match.score, match.boxes)

    server:    host:port of gRPC, or grpcs://host:port for TLS; default: environment SLUICE_URL, else 127.0.0.1:8001.
    tls:       True, False, or `Tls(ca=, cert=, key=, server_name=)`; default: as address and environment say, see
               `connection`, else plaintext.
    headers:   sent with every call, such as {"authorization": "Bearer ..."}; besides those of SLUICE_HEADERS.
    timeout:   seconds for one call with all its retries; `ingest` and `frames` count it for each batch and page.
    retry:     how to wait when the server is absent or full.
    on_retry:  called with (error, seconds to wait) before each wait.
    transport: in place of gRPC; see `transport.Function`.

    Every method raises only what `errors` lists.
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
        transport: Transport | None = None,
    ):
        self.server = default_server() if server is None or (isinstance(server, str) and not server) else server
        self.timeout = patience(timeout)
        self.retry = policy(retry)
        self.on_retry = on_retry
        self.connection: Connection | None = None
        if transport is None:
            from .transport.grpc_sync import Grpc

            self.connection = Connection.of(self.server, tls, headers)
            transport = Grpc(self.connection)
        self._transport = transport
        self._closed = threading.Event()

    def __enter__(self) -> Sluice:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls still under way are cancelled."""
        self._closed.set()
        self._transport.close()

    # The verbs ------------------------------------------------------------------------------------------------------

    def embed(self, image: ImageLike, *, timeout: float | None = None) -> Features:
        """The feature map of one image."""
        return self._ask(embed.request(image), embed.answer, timeout)

    def ingest(
        self,
        frames: Iterable[NewFrame | ImageLike],
        *,
        progress: Callable[[list[Receipt]], None] | None = None,
        batch: int = 16,
        batch_bytes: int = 8 << 20,
        in_flight: int = 4,
        timeout: float | None = None,
    ) -> list[Receipt]:
        """Keep these frames, once each; one receipt a frame, in order.

        Files are read only when their turn comes, so `frames` may be endless. Run it again after a failure: what was
        stored comes back as "known", whether or not it had been acknowledged.

        frames:      each a `NewFrame`, or a path or encoded bytes where nothing else is known of it.
        progress:    called with the receipts of each batch, in order; what it got is on the server's disk.
        batch:       the most images of one call; batch_bytes: the most bytes of one call (a larger image goes alone).
        in_flight:   calls under way at the same time.
        timeout:     seconds for each batch with its retries.
        """
        from .transport.in_order import in_order

        receipts: list[Receipt] = []
        work = batches(frames, count=batch, size=batch_bytes)
        for done in in_order(lambda one: self._add(one, timeout), work, in_flight):
            receipts += done
            if progress is not None:
                progress(done)
        return receipts

    def add(self, image: ImageLike, *, timeout: float | None = None, **frame: Unpack[AddKeywords]) -> Receipt:
        """Keep one frame. Keywords as of `NewFrame`: id, drive, camera, time, tags."""
        return self.ingest([NewFrame.of(image, **frame)], timeout=timeout)[0]

    def retrieve(
        self,
        query: Query | Sequence[Query] | None = None,
        *,
        texts: Sequence[str] | None = None,
        timeout: float | None = None,
        **options: Unpack[RetrieveKeywords],
    ) -> Found:
        """The frames of the gallery that show what the query's regions show, what texts say, or both. Keywords as of
        `retrieve.Options`: k, threshold, score, combine, drives, cameras, after, before, tags, exclude, per_drive,
        heatmaps; for texts templates, fuse and allow_unknown."""
        call = retrieve.request(query, texts=texts, **options)
        return self._ask(call, lambda tensors: retrieve.answer(tensors, texts), timeout)

    def match(
        self,
        query: Query | Sequence[Query],
        images: Sequence[ImageLike],
        *,
        progress: Callable[[list[Match]], None] | None = None,
        batch: int = 32,
        timeout: float | None = None,
        **options: Unpack[MatchKeywords],
    ) -> Scores:
        """Score these images against the query's regions, in their order. Keywords: score, combine, heatmaps.

        An image that cannot be read has `error` set and the score NaN; its neighbours are answered.

        progress: called with the matches of each call. batch: images a call. timeout: seconds for each call.
        """
        matches: list[Match] = []
        model = ""
        notes: tuple[str, ...] = ()
        chosen = match.Options.of(**options)
        for part in parts("match", images, batch):
            answers = Scores(())
            if part.images:
                call = match.asked(query, part.images, chosen)
                names = part.readable()
                answers = self._ask(call, lambda tensors, names=names: match.answer(tensors, names), timeout)  # type: ignore[misc]
            model, notes = answers.model or model, answers.notes or notes
            done = part.merge(answers.matches, match.failed)
            matches += done
            if progress is not None:
                progress(done)
        return Scores(tuple(matches), model, notes)

    def detect(
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
        """The objects in these images, or in the stored frames with these ids, in their order. Keywords as of
        `detect.Options`: confidence, candidates, iou, keep, object_score, min_score, class_reduce, labels.

        An image that cannot be read has `error` set; its neighbours are answered.

        keep_scores: with ids, store the result with the frames, for `select`.
        progress:    called with the answers of each call, in order. batch: images a call. in_flight: calls under way
                     at the same time. timeout: seconds for each call.
        """
        from .transport.in_order import in_order

        found: list[Detections] = []
        labels: tuple[str, ...] = ()
        model = ""
        work = detect.works(images, ids, batch, keep_scores=keep_scores, **options)
        for done in in_order(lambda one: self._do(one, timeout), work, in_flight):
            found += done.images
            labels, model = done.labels or labels, done.model or model
            if progress is not None:
                progress(list(done.images))
        return Detected(tuple(found), labels, model)

    def select(
        self,
        candidates: Iterable[Detections | Mapping[str, Any]] | None = None,
        *,
        timeout: float | None = None,
        **options: Unpack[SelectKeywords],
    ) -> Selection:
        """The stored frames that most deserve a label, or the best of `candidates`, which `detect` answered. Keywords
        as of `select.Options`: n, threshold, aggregate, types, class_weights, per_drive, diversity, labelled,
        labelled_tag, drives, cameras, after, before, tags, exclude, statistics, frozen, detector, object_score,
        listed."""
        return self._ask(select.request(candidates, **options), select.answer, timeout)

    def segment(
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
        """Which of these classes, told by their names, each pixel of these images shows, or of the stored frames with
        these ids; in their order. Keywords as of `segment.Options`: templates, rule, top, background, window, format,
        groups, confidence, allow_unknown.

        An image that cannot be read has `error` set; its neighbours are answered. Others as of `detect`.
        """
        from .transport.in_order import in_order

        found: list[Segmentation] = []
        last = Segmented(())
        work = segment.works(images, ids, classes, batch, **options)
        for done in in_order(lambda one: self._do(one, timeout), work, in_flight):
            found += done.images
            last = done if done.model or not last.model else last
            if progress is not None:
                progress(list(done.images))
        return replace(last, images=tuple(found))

    def compare(
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
        """How well each of these images, or of the stored frames with these ids, agrees with each of these texts.
        Keywords as of `compare.request`: templates, embeddings, keep_embeddings, allow_unknown.

        An image that cannot be read has its place in `errors`; its neighbours are answered.

        progress: called with the answer of each call, in order. Others as of `detect`.
        """
        from .transport.in_order import in_order

        found: list[Compared] = []
        work = compare.works(images, ids, texts, batch, **options)
        for done in in_order(lambda one: self._do(one, timeout), work, in_flight):
            found.append(done)
            if progress is not None:
                progress(done)
        return compare.joined(found)

    def words(
        self, texts: Sequence[str] = (), *, templates: Templates | None = None, timeout: float | None = None
    ) -> Vocabulary:
        """Which words the text encoder has learned, and what it reads of these texts; nothing is refused.

        templates: the sentences that the texts will be put into, as of `segment`; None: they are taken as they are.
        """
        calls = words.requests(texts, templates)
        return words.joined([self._ask(call, words.answer, timeout) for call in calls], texts)

    # The gallery ----------------------------------------------------------------------------------------------------

    def frames(
        self, *, page: int = 500, timeout: float | None = None, **filters: Unpack[Filters]
    ) -> Generator[Frame, None, None]:
        """All frames that pass the filters, in the order in which they were stored, fetched a page at a time. Keywords:
        drives, cameras, after, before, tags, exclude; warns with RequestIgnored of those that no frame has."""
        cursor: str | None = ""
        while cursor is not None:
            part = self._ask(gallery.list_request(cursor, page, **filters), gallery.list_answer, timeout)
            yield from part.frames
            cursor = part.next

    def unscored(self, *, page: int = 500, timeout: float | None = None) -> Generator[str, None, None]:
        """The ids of the frames that this server's detector has not scored, fetched a page at a time."""
        cursor: str | None = ""
        while cursor is not None:
            part = self._ask(gallery.unscored_request(cursor, page), gallery.unscored_answer, timeout)
            yield from part.ids
            cursor = part.next

    def unembedded(self, *, page: int = 500, timeout: float | None = None) -> Generator[str, None, None]:
        """The ids of the frames that texts do not find yet; `compare(ids=..., keep_embeddings=True)` mends that."""
        cursor: str | None = ""
        while cursor is not None:
            part = self._ask(gallery.unembedded_request(cursor, page), gallery.unscored_answer, timeout)
            yield from part.ids
            cursor = part.next

    def get(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Frame]:
        """What the gallery knows about these frames, in order. Raises NotFound when an id is unknown."""
        return self._ask(gallery.get_request(ids), gallery.get_answer, timeout)

    def objects(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Detections]:
        """What the detector found in these stored frames when they were scored, in order; a frame that was not scored
        has `error` set. Nothing is detected anew. Raises NotFound when an id is unknown."""
        return self._ask(gallery.objects_request(ids), gallery.objects_answer, timeout)

    def image(self, id: str, *, timeout: float | None = None) -> bytes:
        """The bytes of a frame, exactly as they were added."""
        return self._ask(gallery.image_request(id), gallery.image_answer, timeout)

    def delete(self, ids: Sequence[str], *, timeout: float | None = None) -> list[str]:
        """Remove these frames; the ids that were there."""
        return self._ask(gallery.delete_request(ids), gallery.delete_answer, timeout)

    def describe(self, *, timeout: float | None = None) -> dict[str, Any]:
        """Counts and the model of the gallery, as the server tells them."""
        return self._ask(gallery.describe_request(), gallery.describe_answer, timeout)

    def health(self, *, timeout: float | None = None) -> Health:
        """Is the server live and ready, and which models are? Tries once: raises Unavailable when nothing answers."""
        return self._transport.health(health.MODELS, self.timeout if timeout is None else patience(timeout))
