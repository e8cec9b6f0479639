"""The gallery when its files are taken away, replaced, cut or changed: refused, or set aside and named; and rebuilt."""

import contextlib
import json
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.gallery import annotate, catalogue, rebuilding, records, shards, upkeep
from sluice.gallery.search_words import Words
from sluice.gallery.search_words import search as by_words
from sluice.gallery.store import Busy, Damaged, Gallery, Moved, NotAGallery, Search
from sluice.methods.scan.sums import sums
from tests.made.gallery_frames import (
    CHANNELS,
    MODEL,
    TALL,
    WIDE,
    batch,
    embedded,
    embedding,
    features,
    picture,
    template,
)
from tests.made.gallery_scores import drop_faint

ROW = 12 * CHANNELS  # numbers of a frame


@pytest.fixture
def store(tmp_path):
    with Gallery(tmp_path / "gallery", MODEL, CHANNELS, threads=2) as store:
        yield store


def opened(root, **options):
    return Gallery(root, MODEL, CHANNELS, threads=2, **options)


def statuses(receipts):
    return [receipt.status for receipt in receipts]


def shard_of(store, id_):
    query = "SELECT name, slot FROM frames JOIN shards USING(shard) WHERE id = ?"
    return store._reader.execute(query, (id_,)).fetchone()


def flip(file, at):
    with open(file, "r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


def cut(file, size):
    with open(file, "r+b") as opened:
        opened.truncate(size)


def without_records(monkeypatch):
    """Store as older formats did: no record before a picture, no checksums."""
    monkeypatch.setattr(records, "written", lambda values, shape: b"")
    monkeypatch.setattr("sluice.gallery.intake.CHECK", "DELETE FROM checks WHERE seq = ? AND 0 = ? + ? + ?")


# ------------------------------------------------------------------------------- 'stored' into files that are gone


def remove_folder(root):
    shutil.rmtree(root)


def replace_folder(root):
    root.rename(root.with_name("old"))
    shutil.copytree(root.with_name("old"), root)


def remove_catalogue(root):
    for file in root.glob("frames.sqlite*"):
        file.unlink()


def remove_log(root):
    (root / "frames.sqlite-wal").unlink()


def replace_catalogue(root):
    shutil.copy(root / catalogue.FILE, root / "copy")
    (root / "copy").rename(root / catalogue.FILE)


@pytest.mark.parametrize("harm", [remove_folder, replace_folder, remove_catalogue, remove_log, replace_catalogue])
def test_nothing_is_acknowledged_into_files_that_are_gone(store, harm):
    assert statuses(store.add(*batch("ab"))) == ["stored"] * 2
    harm(store.root)
    for change in (
        lambda: store.add(*batch("cd")),
        lambda: store.add(*batch("ab")),  # nor is 'known'
        lambda: store.known([store_sha("a")]),
        lambda: store.delete(["a"]),
        lambda: annotate.EMBEDDINGS.keep(store, ["a"], embedded("a")),
        lambda: upkeep.compact(store),
        lambda: store.search(template("a")),
    ):
        with pytest.raises(Moved, match="removed or replaced while it was open"):
            change()


def store_sha(name):
    import hashlib

    return hashlib.sha256(picture(name)).hexdigest()


def test_a_folder_that_vanishes_during_the_commit_is_not_acknowledged(store, monkeypatch):
    store.add(*batch("a"))
    insert = store._intake._insert

    def vanish(*arguments):
        done = insert(*arguments)
        store.root.rename(store.root.with_name("elsewhere"))
        return done

    monkeypatch.setattr(store._intake, "_insert", vanish)
    with pytest.raises(Moved):
        store.add(*batch("b"))
    store.root.with_name("elsewhere").rename(store.root)
    monkeypatch.undo()
    assert statuses(store.add(*batch("ab"))) == ["known", "stored"]  # put back, it goes on, and b was not stored


@pytest.mark.parametrize("kind", shards.KINDS)
@pytest.mark.parametrize("harm", ["removed", "replaced", "cut"])
def test_a_shard_that_is_gone_refuses_the_batch_and_the_same_batch_is_stored_then(store, kind, harm):
    store.add(*batch("ab"))
    file = store.folder / f"{shard_of(store, 'a')[0]}.{kind}"
    if harm == "cut":
        cut(file, 10)
    else:
        file.rename(store.root / "taken")
        if harm == "replaced":
            shutil.copy(store.root / "taken", file)
    with pytest.raises(Moved, match=f"{kind} of the gallery was removed, replaced or cut"):
        store.add(*batch("cd"))
    assert statuses(store.add(*batch("cd"))) == ["stored"] * 2
    with opened(store.root) as again:
        assert {"c", "d"} <= set(again.search(template("c")).ids)
        assert again.image("c") == picture("c")


def test_a_folder_that_is_put_back_is_served_again_and_a_missing_one_is_not_made(store):
    store.add(*batch("ab"))
    store.root.rename(store.root.with_name("away"))
    store.close()
    with pytest.raises(NotAGallery, match="was removed while it was open"):
        opened(store.root, create=False)
    assert not store.root.exists()
    store.root.with_name("away").rename(store.root)
    with opened(store.root, create=False) as again:
        assert set(again.search(template("a")).ids) == {"a", "b"}


# --------------------------------------------------------------------------- a catalogue that is lost, and rebuilt


def empty(root):
    remove_catalogue(root)
    (root / catalogue.FILE).touch()


def fresh(root):
    """Replace the lost catalogue by one of a gallery that never had a frame."""
    remove_catalogue(root)
    opened(root.with_name("other")).close()
    shutil.copy(root.with_name("other") / catalogue.FILE, root / catalogue.FILE)


def foreign(root):
    with opened(root.with_name("other")) as other:
        other.add(*batch("xyz"))
    remove_catalogue(root)
    shutil.copy(root.with_name("other") / catalogue.FILE, root / catalogue.FILE)


@pytest.mark.parametrize("lose", [remove_catalogue, empty, fresh, foreign])
def test_shards_without_their_catalogue_are_refused_everywhere_and_stay(store, lose, capsys):
    store.add(*batch("abc"))
    store.close()
    lose(store.root)
    before = {file: file.read_bytes() for file in store.folder.iterdir()}
    for _ in range(2):  # an attempt must leave nothing behind that makes the next one pass
        with pytest.raises(NotAGallery, match="rebuild FOLDER"):
            opened(store.root)
        for verb in ("describe", "verify", "compact"):
            assert upkeep.main([verb, str(store.root)]) == 1
            assert "beside it" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in store.folder.iterdir()} == before


@pytest.mark.parametrize("lose", [remove_catalogue, empty, fresh])
def test_a_rebuilt_catalogue_has_every_frame_as_it_was(store, lose, capsys):
    store.add(*batch("abc", drive="north", camera="front", time=2.5, tags=("night", "rain")))
    store.add(*batch("de", TALL), embedded=embedded("de"))
    store.delete(["b"])
    before, where = store.list()["frames"], store.root
    order = store.search(template("c"), Search(k=4))
    store.close()
    lose(where)
    assert upkeep.main(["rebuild", str(where)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 4 and told["forgotten"] == 1 and not told["lost"] and not told["unread"]
    assert "sluice score" in told["remedy"]
    with opened(where) as again:
        after = again.list()["frames"]
        assert sorted(after, key=str) == sorted(before, key=str)
        found = again.search(template("c"), Search(k=4))
        assert found.ids == order.ids and np.array_equal(found.scores, order.scores)
        for name, geometry in (*[(n, WIDE) for n in "ac"], *[(n, TALL) for n in "de"]):
            assert again.image(name) == picture(name)
            np.testing.assert_array_equal(again.features(name), features(name, geometry))
        assert list(upkeep.verify(again)) == []
        assert again.describe()["embedders"] == {}
        assert statuses(again.add(*batch("af"))) == ["known", "stored"]
        upkeep.compact(again, waste=0)
        assert set(again.search(template("c")).ids) == set("acdef") and list(upkeep.verify(again)) == []


def test_a_catalogue_with_frames_is_not_rebuilt_and_neither_is_one_in_use(store, capsys):
    store.add(*batch("ab"))
    assert upkeep.main(["rebuild", str(store.root)]) == 1
    assert "has 2 frames" in capsys.readouterr().err
    remove_catalogue(store.root)  # while the shard is still held
    with pytest.raises(Busy, match="stop it"):
        rebuilding.rebuild(store.root)


def test_what_is_damaged_or_torn_is_named_and_the_rest_comes_back(store):
    store.add(*batch("abcd"))
    name, slot = shard_of(store, "b")
    (offset,) = store._reader.execute("SELECT offset FROM frames WHERE id = 'c'").fetchone()
    store.close()
    flip(store.folder / f"{name}.exact", 2 * ROW * slot + 3)
    flip(store.folder / f"{name}.images", offset + 4)
    with open(store.folder / f"{name}.images", "ab") as file:  # of a writer that was killed
        file.write(records.MAGIC + b"torn")
    remove_catalogue(store.root)
    told = rebuilding.rebuild(store.root)
    assert told["frames"] == 2 and set(told["lost"]) == {"b", "c"} and not told["unread"]
    with opened(store.root) as again:
        assert set(again.search(template("a")).ids) == {"a", "d"}
        assert statuses(again.add(*batch("abcd"))) == ["known", "stored", "stored", "known"]


def test_shards_of_older_formats_are_kept_and_named(store, monkeypatch):
    with monkeypatch.context() as patch:
        without_records(patch)
        store.add(*batch("ab"))
    store.add(*batch("cd"))  # behind them, in the same shard
    store.close()
    remove_catalogue(store.root)
    with pytest.raises(NotAGallery):
        opened(store.root)
    told = rebuilding.rebuild(store.root)
    assert told["frames"] == 2 and sum(told["unread"].values()) == 2 * len(picture("a"))
    with opened(store.root) as again:
        assert set(again.search(template("c")).ids) == {"c", "d"}
        upkeep.compact(again, waste=0)
    kept = b"".join(file.read_bytes() for file in (store.root / rebuilding.ASIDE).glob("*.images"))
    assert picture("a") in kept and picture("b") in kept


def test_compaction_gives_older_frames_their_records_and_sums(store, monkeypatch):
    with monkeypatch.context() as patch:
        without_records(patch)
        store.add(*batch("abc"))
    assert not store._reader.execute("SELECT * FROM checks").fetchall()
    assert set(store.search(template("a")).ids) == set("abc") and list(upkeep.verify(store)) == []
    assert upkeep.compact(store)["frames"] == 3 and upkeep.compact(store)["frames"] == 0
    store.close()
    remove_catalogue(store.root)
    assert rebuilding.rebuild(store.root)["frames"] == 3


def test_two_pictures_of_one_id_are_both_kept(store):
    store.add(*batch("a"))
    store.delete(["a"])
    frames, _, maps, geometries = batch("a")
    store.add(frames, [picture("another")], maps, geometries)
    store.close()
    (store.root / records.FORGOTTEN).unlink()  # the note of the deletion was lost
    remove_catalogue(store.root)
    told = rebuilding.rebuild(store.root)
    assert told["frames"] == 2 and told["renamed"] == {"a": store_sha("a")}
    with opened(store.root) as again:
        assert again.image("a") == picture("another") and again.image(store_sha("a")) == picture("a")


def test_a_writer_that_was_killed_at_its_first_batch_leaves_a_gallery_that_opens(store):
    writer = shards.Writer(store.folder, (3, 4), CHANNELS)
    with writer_row(store) as head:
        writer.append([head], [picture("a")], np.zeros((1, 12, CHANNELS), np.uint8), features("a").reshape(1, 12, -1))
    writer.close()
    store.close()
    with opened(store.root) as again:
        assert again.describe()["unreferenced_bytes"] > 0
        assert statuses(again.add(*batch("a"))) == ["stored"]


@contextlib.contextmanager
def writer_row(store):
    with opened(store.root.with_name("donor")) as donor:
        donor._intake.gallery = store._intake.gallery
        donor.add(*batch("a"))
        (file,) = donor.folder.glob("*.images")
        (head,) = donor._reader.execute("SELECT head FROM checks").fetchone()
        yield file.read_bytes()[:head]


@given(st.binary(max_size=200), st.binary(max_size=60), st.binary(max_size=60))
def test_records_are_found_behind_anything_and_nothing_in_a_picture_is_taken_for_one(image, before, behind):
    import hashlib

    shape = records.Shape("0123", MODEL, 3, 4, CHANNELS)
    inner = records.written(fields(b"inner", "inner"), shape) + b"inner"
    image += inner
    before, behind = before.replace(records.MAGIC, b""), behind.replace(records.MAGIC, b"")
    whole = records.written(fields(image, "ü\n"), shape)
    data = before + whole + image + behind
    found = list(records.walk(data))
    (record,) = [one for one in found if isinstance(one, records.Record)]
    assert record.values["id"] == "ü\n" and record.values["sha256"] == hashlib.sha256(image).digest()
    assert data[record.offset : record.end] == image and record.shape == shape
    spans = [one for one in found if isinstance(one, range)]
    assert b"".join(data[one.start : one.stop] for one in spans) in (before + behind, before, behind, b"")


def fields(image, id_):
    import hashlib

    said = (id_, hashlib.sha256(image).digest(), "d", "c", None, "[]", 1.5)
    return (*said, 3, len(image), b"\0" * 24, b"\1" * 8, 0.1, 0.2, 7, -(2**63), 2**63 - 1)


# ------------------------------------------------------------------------------------- one damaged shard, the rest


@pytest.fixture
def two(store):
    """Fill two shards: a and b in one, c and d in the other."""
    store.add(*batch("ab"), embedded=embedded("ab"))
    store.add(*batch("cd", TALL), embedded=embedded("cd"))
    return store


@pytest.mark.parametrize("harm", ["missing", "short"])
@pytest.mark.parametrize("kind", ["exact", "codes"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_damaged_shard_is_set_aside_and_named_and_the_rest_is_served(two, kind, harm, mapped):
    if mapped:
        two.search(template("a"))
    name = shard_of(two, "a")[0]
    file = two.folder / f"{name}.{kind}"
    if harm == "short":
        cut(file, ROW // 2)
    else:
        file.unlink()
    with contextlib.ExitStack() as stack:
        store = two if mapped and harm == "short" else stack.enter_context(opened(two.root))
        found = store.search(template("c", TALL))
        assert set(found.ids) == {"c", "d"} and set(found.aside.ids) == {"a", "b"}
        assert set(found.aside.shards) == {name} and found.aside.to_json()["frames"] == 2
        fused = by_words(store, Words(embedding("a")[None], "image_grouper/1/aaaaaaaaaaaa"), Search(), template("c"))
        assert set(fused.ids) == {"c", "d"} and set(fused.aside.ids) == {"a", "b"}
        told = store.describe()["damaged"]
        assert told[name]["frames"] == 2 and f"{name}.{kind}" in told[name]["damage"]
        assert {id_ for id_, _ in upkeep.verify(store)} == {"a", "b"}
        assert store.image("a") == picture("a") and store.image("d") == picture("d")
        if kind == "exact":
            with pytest.raises(Damaged):
                store.features("a")
        if store is not two:
            assert statuses(store.add(*batch("ef"))) == ["stored"] * 2


def test_a_cut_shard_gets_no_new_frames_and_lost_ones_are_stored_again(two):
    name = shard_of(two, "a")[0]
    two.close()
    for kind in shards.KINDS:
        cut(two.folder / f"{name}.{kind}", 0)
    with opened(two.root) as store:
        assert statuses(store.add(*batch("ef"))) == ["stored"] * 2
        assert shard_of(store, "e")[0] != name
        assert [one and one.id for one in store.known([store_sha("a"), store_sha("c")])] == [None, "c"]
        frames, images, maps, geometries = batch("a", tags=("new",))
        receipts = store.add([type(frames[0])("other id")], images, maps, geometries)
        assert statuses(receipts) == ["stored"] and receipts[0].id == "a"  # under the id that it has always had
        assert store.image("a") == picture("a") and store.get(["a"])[0]["tags"] == []
        found = store.search(template("a"))
        assert found.ids[0] == "a" and found.aside.ids == ("b",)
        assert store.describe()["frames"] == 6
        store.delete(["b"])
        assert store.search(template("a")).aside is None
        done = upkeep.compact(store, waste=0)
        assert not done["damaged"] and list(upkeep.verify(store)) == []


def test_compaction_leaves_what_is_damaged_alone_and_names_it(two):
    name, slot = shard_of(two, "a")
    two.delete(["b", "d"])
    flip(two.folder / f"{name}.exact", 2 * ROW * slot + 3)
    two._intake.close()
    done = upkeep.compact(two, waste=0)
    assert set(done["damaged"]) == {name} and "'a'" in done["damaged"][name] and done["frames"] == 1
    assert shard_of(two, "a")[0] == name and two.image("a") == picture("a")
    flip(two.folder / f"{name}.exact", 2 * ROW * slot + 3)  # put back from a copy
    assert not upkeep.compact(two, waste=0)["damaged"] and list(upkeep.verify(two)) == []


@pytest.mark.parametrize("score", ["roi", "image", "mean"])
@pytest.mark.parametrize("combine", ["max", "mean", "query"])
def test_flipped_features_are_left_out_and_the_list_is_that_of_the_others(store, score, combine):
    names = [str(i) for i in range(60)]
    store.add(*batch(names))
    asked, search = template("7"), Search(k=5, score=score, combine=combine)
    best = store.search(asked, search).ids
    name, slot = shard_of(store, best[0])
    flip(store.folder / f"{name}.exact", 2 * ROW * slot + 9)
    found = store.search(asked, search)
    assert found.aside.ids == (best[0],) and set(found.aside.shards) == {name}
    with opened(store.root.with_name("without")) as without:
        without.add(*batch([one for one in names if one != best[0]]))
        expected = without.search(asked, search)
    assert found.ids == expected.ids and np.array_equal(found.scores, expected.scores)
    with pytest.raises(Damaged, match="not those that were stored"):
        store.features(best[0])


@pytest.mark.parametrize("score", ["roi", "image", "mean"])
def test_flipped_codes_change_no_list(store, score):
    store.add(*batch([str(i) for i in range(60)]))
    asked, search = template("7"), Search(k=5, score=score)
    expected = store.search(asked, search)
    for id_ in (expected.ids[0], expected.ids[3]):
        name, slot = shard_of(store, id_)
        with open(store.folder / f"{name}.codes", "r+b") as file:
            file.seek(ROW * slot)
            file.write(bytes([128]) * ROW)  # all zero: scored by them it would come last
    found = store.search(asked, search)
    assert found.ids == expected.ids and np.array_equal(found.scores, expected.scores) and found.aside is None
    assert len(list(upkeep.verify(store))) == 2


def test_sums_see_every_changed_word_whatever_the_length():
    random = np.random.default_rng(0)
    for cells in (1, 3, 4, 12):
        frames = random.integers(0, 256, (5, cells, 5), np.uint8)
        before = sums(frames)
        assert before.shape == (5,) and before.dtype == np.int64
        padded = np.zeros((5, -(-cells * 5 // 8) * 8), np.uint8)
        padded[:, : cells * 5] = frames.reshape(5, -1)
        whole = [sum(int.from_bytes(row[i : i + 8], "little") for i in range(0, len(row), 8)) for row in padded]
        assert [one % 2**64 for one in before.tolist()] == [one % 2**64 for one in whole]
        frames[2, 0, 1] ^= 64
        assert (sums(frames) != before).tolist() == [False, False, True, False, False]


def test_an_older_catalogue_that_cannot_be_written_is_read_without_sums(store, monkeypatch):
    from sluice.gallery import store as module

    store.add(*batch("ab"))
    store.close()
    with contextlib.closing(sqlite3.connect(store.root / catalogue.FILE, isolation_level=None)) as file:
        file.execute("DROP TABLE checks")
        drop_faint(file)
        file.execute("PRAGMA user_version=3")
    monkeypatch.setattr(module, "writable", lambda folder: False)
    with opened(store.root) as again:
        assert set(again.search(template("a")).ids) == {"a", "b"} and list(upkeep.verify(again)) == []
        assert again.describe()["frames"] == 2
