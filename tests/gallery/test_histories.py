"""Whatever is done in whatever order, the gallery is what a dictionary would be: random histories against one."""

import hashlib
import shutil
import tempfile

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sluice.gallery import annotate, search_words, upkeep
from sluice.gallery.embeddings import Embedding
from sluice.gallery.scores import Detector, Score
from sluice.gallery.search_words import Words
from sluice.gallery.store import Frame, Gallery, Search
from tests.made.gallery_frames import CHANNELS, FLAT, MODEL, TALL, WIDE, embedding, features, picture, template
from tests.made.gallery_search import compare

IDS = st.sampled_from([None, "a", "b", "c", "d", "e"])
PICTURES = st.integers(0, 7)
DETECTORS = [Detector("mixture_detector/1/aa", ("Car",)), Detector("mixture_detector/1/bb", ("Car", "Tram"))]
SCORES = st.none() | st.tuples(st.integers(0, 1), st.integers(0, 3))  # which detector, how many objects
EMBEDDERS = ["image_grouper/1/aa", "image_grouper/1/bb"]
SEEN = st.none() | st.tuples(st.integers(0, 1), PICTURES)  # which network, what it says
FRAMES = st.tuples(
    IDS,
    PICTURES,
    st.sampled_from(["", "north", "south"]),
    st.none() | st.integers(0, 5).map(float),
    st.lists(st.sampled_from(["day", "rain"]), max_size=2),
    st.sampled_from([WIDE, FLAT, TALL]),
    st.booleans(),
    SCORES,
    SEEN,
)


def score(told):
    """Return the score of a frame that a pair of SCORES stands for, or None for a frame without one."""
    return None if told is None else Score(DETECTORS[told[0]], np.full((told[1], 16), told[0], np.float32), 0.5)


def embedded(seen):
    """Return the embedding of a frame that a pair of SEEN stands for, or None for a frame without one."""
    return None if seen is None else Embedding(EMBEDDERS[seen[0]], embedding(seen[1]))


class Histories(RuleBasedStateMachine):
    """Two processes' views of one folder, and the dictionary."""

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp()
        self.stores = [self.open(), self.open()]
        self.model = {}  # id: [frame, features, geometry, digest, score, seen]

    def open(self):
        return Gallery(self.folder, MODEL, CHANNELS, threads=1, shard_bytes=2000)

    def teardown(self):
        for store in getattr(self, "stores", []):
            store.close()
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)

    @rule(which=st.integers(0, 1), frames=st.lists(FRAMES, max_size=5))
    def add(self, which, frames):
        expected, columns = [], ([], [], [], [], [], [])
        for id_, number, drive, when, tags, geometry, good, told, seen in frames:
            frame, data = Frame(id_, drive, "", when, tuple(tags)), picture(number)
            map_ = features(number, geometry)
            digest = hashlib.sha256(data).hexdigest()
            kept = map_ if good else map_ * np.float16(np.nan)
            for column, value in zip(columns, (frame, data, kept, geometry, score(told), embedded(seen)), strict=True):
                column.append(value)
            name = id_ or digest[:16]
            owner = next((key for key, row in self.model.items() if row[3] == digest), None)
            if owner is not None:
                expected.append(("known", owner))
            elif name in self.model or not good:
                expected.append(("refused", name))
            else:
                expected.append(("stored", name))
                kept = map_[[1, 1, 2, 3, 3]] if geometry == FLAT else map_
                self.model[name] = [Frame(name, drive, "", when, tuple(tags)), kept, geometry, digest, told, seen]
        receipts = self.stores[which].add(*columns)
        assert [(receipt.status, receipt.id) for receipt in receipts] == expected

    @rule(which=st.integers(0, 1), ids=st.lists(IDS.filter(bool), max_size=3), first=st.booleans())
    def delete(self, which, ids, first):
        ids = ids + sorted(self.model)[:1] if first else ids
        expected = [id_ for id_ in dict.fromkeys(ids) if self.model.pop(id_, None)]
        assert self.stores[which].delete(ids) == expected

    @rule(which=st.integers(0, 1), ids=st.lists(IDS.filter(bool), max_size=3), told=SCORES.filter(bool))
    def score(self, which, ids, told):
        expected = [id_ for id_ in ids if id_ in self.model]
        assert annotate.SCORES.keep(self.stores[which], ids, [score(told)] * len(ids)) == expected
        for id_ in expected:
            self.model[id_][4] = told

    @rule(which=st.integers(0, 1), ids=st.lists(IDS.filter(bool), max_size=3), seen=SEEN.filter(bool))
    def embed(self, which, ids, seen):
        expected = [id_ for id_ in ids if id_ in self.model]
        assert annotate.EMBEDDINGS.keep(self.stores[which], ids, [embedded(seen)] * len(ids)) == expected
        for id_ in expected:
            self.model[id_][5] = seen

    @rule(which=st.integers(0, 1), text=PICTURES, embedder=st.integers(0, 1), k=st.integers(1, 9))
    def ask(self, which, text, embedder, k):
        words = Words(embedding(text).astype(np.float32)[None], EMBEDDERS[embedder])
        found = search_words.search(self.stores[which], words, Search(k=k))
        cosines = {
            id_: float(embedding(row[5][1]).astype(np.float64) @ words.vectors[0])
            for id_, row in self.model.items()
            if row[5] is not None and row[5][0] == embedder
        }
        assert (found.searched, found.lacking) == (len(cosines), len(self.model) - len(cosines))
        # Frames of one embedding tie exactly; made-up cosines of others are far apart.
        assert list(found.ids) == sorted(cosines, key=lambda id_: (-round(cosines[id_], 5), id_))[:k]

    @rule(which=st.integers(0, 1), waste=st.sampled_from([0, 0.25]))
    def compact(self, which, waste):
        upkeep.compact(self.stores[which], waste)

    @rule(which=st.integers(0, 1))
    def reopen(self, which):
        self.stores[which].close()
        self.stores[which] = self.open()

    @rule(
        which=st.integers(0, 1),
        query=PICTURES,
        search=st.builds(
            Search,
            k=st.integers(1, 9),
            drives=st.none() | st.lists(st.sampled_from(["", "north"]), max_size=2),
            after=st.none() | st.integers(0, 5),
            tags=st.none() | st.just(("rain",)),
            exclude=st.lists(IDS.filter(bool), max_size=1),
            per_drive=st.none() | st.integers(1, 2),
        ),
    )
    def search(self, which, query, search):
        stored = {id_: tuple(row[:3]) for id_, row in self.model.items()}
        compare(self.stores[which], stored, template(query), search)

    @invariant()
    def the_same(self):
        for store in getattr(self, "stores", []):
            listed = store.list(limit=1000)["frames"]
            assert {frame["id"]: frame["sha256"] for frame in listed} == {
                id_: row[3] for id_, row in self.model.items()
            }
            for detector in (0, 1):
                left = {id_ for id_, row in self.model.items() if row[4] is None or row[4][0] != detector}
                page = annotate.SCORES.lacking(store, DETECTORS[detector].version)
                assert set(page["ids"]) == left and page["unscored"] == len(left)
            for embedder in (0, 1):
                left = {id_ for id_, row in self.model.items() if row[5] is None or row[5][0] != embedder}
                page = annotate.EMBEDDINGS.lacking(store, EMBEDDERS[embedder])
                assert set(page["ids"]) == left and page["unembedded"] == len(left)
            for id_, (frame, map_, geometry, _, found, _) in self.model.items():
                assert np.array_equal(store.features(id_), map_)
                assert np.array_equal(store.geometry(id_), geometry.as_array())
                (told,) = store.get([id_])
                assert (told["drive"], told["time"], told["tags"]) == (frame.drive, frame.time, list(frame.tags))
                objects = None if told["summary"] is None else told["summary"]["objects"]
                # Made-up objects of the first detector have the score 0, those of the second 1.
                assert objects == (None if found is None else found[0] * found[1])
                assert told["detector"] == (None if found is None else DETECTORS[found[0]].version)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
