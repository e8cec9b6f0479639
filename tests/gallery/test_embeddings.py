"""The gallery keeps embeddings of frames and knows which lack one; old galleries are brought up; nothing is lost."""

import contextlib
import sqlite3

import numpy as np
import pytest

from sluice.errors import InvalidArgument
from sluice.gallery import annotate, catalogue, embeddings, snapshot, upkeep
from sluice.gallery.embeddings import PLACES, Embedding
from sluice.gallery.search_words import Words, search
from sluice.gallery.store import Full, Gallery, ReadOnly
from tests.made.gallery_failures import Failing, receipts, start
from tests.made.gallery_frames import (
    CHANNELS,
    EMBEDDER,
    MODEL,
    E,
    batch,
    embedded,
    embedding,
    features,
    picture,
    template,
)
from tests.made.gallery_scores import DETECTOR, as_format_1, drop_faint, found, rows

NEWER = "image_grouper/1/bbbbbbbbbbbb"


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=1) as opened:
        yield opened


def kept(store, embedder=EMBEDDER):
    """Return {id: float16 [E]} of all frames, read as a search reads them."""

    def look(table, connection):
        number = embeddings.embedder_of(connection, embedder)
        seqs = table.rows["seq"][: table.n][table.rows["live"][: table.n]]
        ids = {seq: id_ for seq, id_ in zip(table.rows["seq"].tolist(), table.ids, strict=False)}
        parts = [list(embeddings.stream(connection, number, seqs, whole)) for whole in (True, False)] if number else []
        read = [
            {
                ids[int(seqs[place])]: row.copy()
                for places, rows_ in part
                for place, row in zip(places, rows_, strict=True)
            }
            for part in parts
        ] or [{}, {}]
        assert read[0].keys() == read[1].keys()
        assert all(np.array_equal(read[0][id_], read[1][id_]) for id_ in read[0])
        return read[0]

    with snapshot.opened(store, look) as told:
        return told


def same(store, names):
    told = kept(store)
    assert sorted(told) == sorted(names)
    for name in names:
        np.testing.assert_array_equal(told[name], embedding(name))


def whole(store):
    """Check that the tables of embeddings agree with each other and with the frames."""
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE)) as file:
        places = {(block, place): seq for seq, block, place in file.execute("SELECT seq, block, place FROM embeddings")}
        live = dict(file.execute("SELECT block, live FROM blocks"))
        read = {block: np.frombuffer(seqs, "<i8") for block, seqs in file.execute("SELECT block, seqs FROM vectors")}
        frames = {seq for (seq,) in file.execute("SELECT seq FROM frames")}
        embedder = dict(file.execute("SELECT block, embedder FROM blocks"))
        for seq, number, block in file.execute("SELECT seq, embedder, block FROM embeddings"):
            assert seq in frames and embedder[block] == number
    assert live.keys() == read.keys() and all(live.values())
    assert {block: int((seqs > 0).sum()) for block, seqs in read.items()} == live
    assert {(block, place): seq for block, seqs in read.items() for place, seq in enumerate(seqs) if seq} == places


# ------------------------------------------------------------------------------------------------ storing


def test_embeddings_come_back_as_they_were(store):
    told = store.add(*batch("abc"), embedded=[*embedded("ab"), None])
    assert [receipt.embedded for receipt in told] == [True, True, False]
    assert all(receipt.unembedded is None and not receipt.scored for receipt in told)
    same(store, "ab")
    assert store.describe()["embedders"] == {EMBEDDER: 2} and annotate.EMBEDDINGS.versions(store) == {EMBEDDER: 2}
    whole(store)


def test_blocks_fill_up_and_places_of_deleted_frames_are_used_again(store):
    names = [f"{i}" for i in range(PLACES + 40)]
    store.add(*batch(names), embedded=embedded(names))
    whole(store)
    gone, left = names[10:200], names[:10] + names[200:]
    store.delete(gone)
    same(store, left)
    whole(store)
    late = [f"late {i}" for i in range(150)]
    store.add(*batch(late), embedded=embedded(late))
    same(store, left + late)
    whole(store)
    assert blocks(store) == 2
    store.delete(left + late)
    assert kept(store) == {} and blocks(store) == 0
    whole(store)


def blocks(store):
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE)) as file:
        return file.execute("SELECT count(*) FROM vectors").fetchone()[0]


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (np.ones(E), "rows of 1 to"),
        (np.zeros((2, 0)), "rows of 1 to"),
        ([["x"] * E], "rows of numbers"),
        (np.full((1, E), np.nan), "row 0 has nan"),
        (np.eye(E) * 1.1, "row 0 has 1.1"),
        (np.zeros((1, E)), "row 0 has 0"),
        (np.full((1, E), 1e30), "row 0 has"),
        (np.full((1, 5000), 5000**-0.5), "1 to 4,096"),
    ],
)
def test_what_is_no_embedding_is_refused(vectors, words):
    with pytest.raises(InvalidArgument, match=words):
        embeddings.checked(vectors)


def test_embeddings_written_later_take_the_place_of_older_ones(store):
    store.add(*batch("abc"), embedded=[*embedded("ab"), None])
    newer = [Embedding(NEWER, embedding(name)) for name in ("a", "nobody", "c")]
    assert annotate.EMBEDDINGS.keep(store, ["a", "nobody", "c"], newer) == ["a", "c"]
    assert sorted(kept(store)) == ["b"] and sorted(kept(store, NEWER)) == ["a", "c"]
    assert store.describe()["embedders"] == {EMBEDDER: 1, NEWER: 2}
    again = [Embedding(NEWER, embedding("else"))]
    assert annotate.EMBEDDINGS.keep(store, ["a"], again) == ["a"]
    np.testing.assert_array_equal(kept(store, NEWER)["a"], embedding("else"))
    whole(store)


def test_a_version_of_a_network_has_one_size_and_a_wrong_one_loses_no_frame(store):
    store.add(*batch("a"), embedded=embedded("a"))
    longer = Embedding(EMBEDDER, np.eye(E + 1, dtype=np.float16)[0])
    with pytest.raises(InvalidArgument, match="another version"):
        annotate.EMBEDDINGS.keep(store, ["a"], [longer])
    same(store, "a")
    first, second = store.add(*batch("bc"), found(1, None), [longer, Embedding(NEWER, embedding("c"))])
    assert first.status == "stored" and first.scored and not first.embedded and "another version" in first.unembedded
    assert second.embedded and sorted(kept(store, NEWER)) == ["c"]
    whole(store)


def test_embeddings_need_one_a_frame(store):
    with pytest.raises(InvalidArgument, match="1 embeddings"):
        store.add(*batch("ab"), embedded=embedded("a"))
    with pytest.raises(InvalidArgument, match="2 ids and 1 embeddings"):
        annotate.EMBEDDINGS.keep(store, ["a", "b"], embedded("a"))


def test_pages_of_frames_without_an_embedding_walk_through_them_once(store):
    store.add(*batch("abcdefg"), embedded=[*embedded("a"), None, None, *embedded("d"), None, None, None])
    page = annotate.EMBEDDINGS.lacking(store, EMBEDDER, limit=2)
    assert page["ids"] == ["b", "c"] and page["unembedded"] == 5
    annotate.EMBEDDINGS.keep(store, ["b", "c", "f"], embedded("bcf"))
    store.delete(["e"])
    page = annotate.EMBEDDINGS.lacking(store, EMBEDDER, cursor=page["next"], limit=2)
    assert page == {"ids": ["g"], "next": None, "unembedded": 1}
    assert annotate.EMBEDDINGS.lacking(store, NEWER)["unembedded"] == 6
    with pytest.raises(InvalidArgument):
        annotate.EMBEDDINGS.lacking(store, EMBEDDER, limit=0)


def test_a_deleted_frame_takes_its_embedding_with_it(store):
    store.add(*batch("ab"), embedded=embedded("ab"))
    store.delete(["a"])
    store.add(*batch("a"))
    same(store, "b")
    whole(store)


def test_embeddings_outlive_a_compaction(store):
    store.add(*batch("abcd"), embedded=embedded("abcd"))
    store.delete(["a", "c"])
    upkeep.compact(store, waste=0)
    same(store, "bd")
    assert store.describe()["unreferenced_bytes"] == 0


def test_a_loser_of_a_race_embeds_nothing(store, monkeypatch):
    with contextlib.closing(Gallery(store.root, MODEL, CHANNELS, threads=1)) as rival:
        write = store._intake._store

        def late(entries):
            rival.add(*batch("a"))
            write(entries)

        monkeypatch.setattr(store._intake, "_store", late)
        (receipt,) = store.add(*batch("a"), embedded=embedded("a"))
    assert receipt.status == "known" and not receipt.embedded
    assert kept(store) == {}


# ------------------------------------------------------------------------------------------------ when things go wrong


class Blobs(Failing):
    """A connection that has no space left for one kind of statement, or for what is written into a block."""

    def blobopen(self, *arguments, **more):
        if self._word == "BLOB":
            self.execute("BLOB")
        return self._connection.blobopen(*arguments, **more)


def test_no_acknowledged_embedding_is_lost_when_writers_are_killed(tmp_path):
    """Kill two writers that fill the same blocks with SIGKILL in the middle of the stream, again and again."""
    acknowledged = {}
    with Gallery(tmp_path, MODEL, CHANNELS, threads=1) as store:
        for seed in range(4):
            writers = [start("add", tmp_path, seed + i * 50, seed * 60, 600) for i in range(2)]
            for writer in writers:
                assert writer.stdout.readline() == "ready\n"
            heard = [writers[seed % 2].stdout.readline() for _ in range(1 + seed)]
            for writer in writers:
                writer.kill()
                heard += writer.stdout.readlines()
                writer.wait()
                writer.stdout.close()
            acknowledged |= {name: id_ for name, _, id_ in receipts(heard)}
            whole(store)
            told = kept(store)
            for name, id_ in acknowledged.items():
                np.testing.assert_array_equal(told[id_], embedding(name))
        assert len(acknowledged) > 20
        gone = dict(list(acknowledged.items())[::2])
        store.delete(list(gone.values()))
        assert not set(kept(store)) & set(gone.values())
        whole(store)


@pytest.mark.parametrize("word", ["INTO embedders", "INTO blocks", "INTO vectors", "BLOB", "INTO embeddings", "COMMIT"])
def test_a_disk_that_fills_at_any_step_stores_nothing_of_the_batch(store, monkeypatch, word):
    with monkeypatch.context() as patch:
        patch.setattr(store._intake, "editor", Blobs(store._editor, word))
        with pytest.raises(Full, match="no space is left"):
            store.add(*batch("cd"), embedded=embedded("cd"))
    assert store.describe()["frames"] == 0 and blocks(store) == 0
    assert [receipt.embedded for receipt in store.add(*batch("acd"), embedded=embedded("acd"))] == [True] * 3
    same(store, "acd")
    whole(store)


def test_what_is_half_written_is_undone_with_its_batch(store):
    store.add(*batch("ab"), embedded=embedded("ab"))
    with pytest.raises(InvalidArgument, match="another version"):
        annotate.EMBEDDINGS.keep(
            store, ["a", "b"], [*embedded("z"), Embedding(EMBEDDER, np.eye(E + 1, dtype=np.float16)[0])]
        )
    same(store, "ab")
    whole(store)


# ------------------------------------------------------------------------------------------------ older formats


def as_format_2(root):
    """Make of a closed gallery what the program of format 2 left behind."""
    with contextlib.closing(sqlite3.connect(root / catalogue.FILE, isolation_level=None)) as file:
        for table in ("embedders", "blocks", "vectors", "embeddings", "checks"):
            file.execute(f"DROP TABLE {table}")
        drop_faint(file)
        file.execute("PRAGMA user_version=2")


@pytest.fixture(params=[as_format_1, as_format_2])
def old(tmp_path, request):
    root = tmp_path / "old"
    with Gallery(root, MODEL, CHANNELS, threads=1) as store:
        store.add(*batch("abcd"), found(1, 2, None, None))
        store.delete(["c"])
    request.param(root)
    return root


def test_an_old_gallery_is_brought_up_and_loses_no_frame(old):
    with contextlib.closing(sqlite3.connect(old / catalogue.FILE)) as file:
        before = file.execute("SELECT * FROM frames ORDER BY seq").fetchall()
        scored = file.execute("PRAGMA user_version").fetchone() == (2,)
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert rows(store) == before and len(before) == 3
        assert store.describe()["format"] == 5 and store.describe()["embedders"] == {}
        assert store.describe()["detectors"] == ({DETECTOR.version: 2} if scored else {})
        assert set(store.search(template("a")).ids) == set("abd")
        assert annotate.EMBEDDINGS.lacking(store, EMBEDDER)["ids"] == list("abd")
        assert annotate.EMBEDDINGS.keep(store, ["b"], embedded("b")) == ["b"]
        assert store.add(*batch("g"), embedded=embedded("g"))[0].embedded
        assert list(upkeep.verify(store)) == []
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        same(store, "bg")
        whole(store)


def test_a_migration_that_breaks_off_leaves_the_old_gallery(old, monkeypatch):
    with contextlib.closing(sqlite3.connect(old / catalogue.FILE)) as file:
        version = file.execute("PRAGMA user_version").fetchone()
        tables = set(file.execute("SELECT name FROM sqlite_master"))
    monkeypatch.setattr(catalogue, "SCHEMA_3", catalogue.SCHEMA_3 + "INSERT INTO nowhere VALUES(1);\n")
    with pytest.raises(Exception, match="nowhere"):
        Gallery(old, MODEL, CHANNELS)
    with contextlib.closing(sqlite3.connect(old / catalogue.FILE)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == version
        assert set(file.execute("SELECT name FROM sqlite_master")) == tables


def test_an_old_program_goes_on_adding_and_deleting_beside_a_new_one(old):
    """Write as a program that knows no embeddings: its frames have none, and what it deletes is found no more."""
    program = contextlib.closing(sqlite3.connect(old / catalogue.FILE, isolation_level=None))
    with program as program, Gallery(old, MODEL, CHANNELS, threads=1) as store:
        annotate.EMBEDDINGS.keep(store, ["a", "b"], embedded("ab"))
        row = program.execute("SELECT * FROM frames WHERE id = 'a'").fetchone()
        program.execute("INSERT INTO changes(seq) VALUES(1)")
        program.execute("DELETE FROM frames WHERE id = 'a'")
        program.execute(catalogue.INSERT, ("z", *row[2:]))
        assert annotate.EMBEDDINGS.lacking(store, EMBEDDER)["ids"] == list("dz")
        same(store, "b")


def test_an_old_gallery_that_cannot_be_written_has_no_embeddings(old, monkeypatch):
    from sluice.gallery import store as module

    before = (old / catalogue.FILE).read_bytes()
    monkeypatch.setattr(module, "writable", lambda folder: False)
    with Gallery(old, MODEL, CHANNELS, threads=1) as store:
        assert annotate.EMBEDDINGS.lacking(store, EMBEDDER)["unembedded"] == 3 and store.describe()["embedders"] == {}
        told = search(store, Words(embedding("a")[None], EMBEDDER), module.Search())
        assert told.ids == () and told.lacking == 3
        with pytest.raises(ReadOnly):
            annotate.EMBEDDINGS.keep(store, ["a"], embedded("a"))
    assert (old / catalogue.FILE).read_bytes() == before


def test_a_frame_without_anything_else_may_have_an_embedding(store):
    arguments = batch("a")
    (receipt,) = store.add(*arguments, embedded=embedded("a"))
    assert receipt.to_json()["embedded"] and receipt.to_json()["unembedded"] is None
    assert store.image("a") == picture("a") and np.array_equal(store.features("a"), features("a"))
